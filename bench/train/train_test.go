package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/train"
)

// runner is a device that does what is asked at half its peak, and holds so many tokens.
type runner struct {
	most int
	fail error
	ran  []Setting
}

func (r *runner) Machine() (*Machine, error) { return &Machine{Device: "fake", Peak: 1e15}, nil }

func (r *runner) Run(_ context.Context, s Setting) (out Measured, err error) {
	r.ran = append(r.ran, s)
	if s.Rows > r.most {
		return out, fmt.Errorf("%w: %d tokens", ErrNoRoom, s.Rows)
	}
	if r.fail != nil {
		return out, r.fail
	}
	w, err := s.Work()
	for i := range s.Steps {
		out.MS = append(out.MS, 2*w.Sum()/1e12*(1+0.01*float64(i%3-1)))
	}
	return out, err
}

func sweep(methods ...string) Sweep {
	return Sweep{Shape: "135m", Methods: methods, Contexts: []int{2048, 32768}, Rows: 16384,
		Common: Setting{Passes: 2, HeadRows: 4096, Recompute: "none", Same: 1, Warm: 1, Steps: 3}}
}

func TestRun(t *testing.T) {
	settings, err := sweep("full", "nosa").Settings()
	if err != nil || len(settings) != 4 || settings[0].Rows != 16384 || settings[2].Rows != 32768 {
		t.Fatalf("%v, %v", settings, err)
	}
	r := &runner{most: 16384}
	var machines, results int
	err = Run(t.Context(), r, Config{Settings: settings, Emit: func(v any) error {
		switch v := v.(type) {
		case *Machine:
			machines++
			if v.Kind != "train_machine" {
				t.Errorf("%+v", v)
			}
		case *Result:
			results++
			if (v.Rows > 16384) != (v.Error != "") {
				t.Errorf("%s: error %q", v.Setting, v.Error)
			}
			if v.Error == "" && (v.Kind != "train" || v.Tokens != 32768 || math.Abs(v.Fraction-0.5) > 1e-9 || math.Abs(v.Speed*v.MS-32768e3) > 1e-3 || !(v.MinMS < v.MS && v.MS < v.MaxMS)) {
				t.Errorf("%+v", v)
			}
		}
		return nil
	}})
	if err != nil || machines != 1 || results != 4 {
		t.Fatalf("%d machines, %d results, %v", machines, results, err)
	}
}

// TestRunEnds: an error that is no lack of room ends the run, and so does an end of the context.
func TestRunEnds(t *testing.T) {
	settings, err := sweep("full").Settings()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{most: 1 << 20, fail: errors.New("the GPU is gone")}
	err = Run(t.Context(), r, Config{Settings: settings, Emit: func(any) error { return nil }})
	if !errors.Is(err, r.fail) || !strings.Contains(err.Error(), "135m full") || len(r.ran) != 1 {
		t.Errorf("%v after %d settings", err, len(r.ran))
	}
	ctx, cancel := context.WithCancel(t.Context())
	r = &runner{most: 1 << 20}
	err = Run(ctx, r, Config{Settings: settings, Emit: func(v any) error {
		if _, ok := v.(*Result); ok {
			cancel()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) || len(r.ran) != 1 {
		t.Errorf("%v after %d settings", err, len(r.ran))
	}
}

// TestWork holds the counts to what the shapes give by hand.
func TestWork(t *testing.T) {
	const weights = 30*(576*(576+2*192)+576*576+3*576*1536) + 49152*576 // 134.5M, SmolLM2's without its norms
	for _, tc := range []struct {
		method  string
		context int
		pairs   float64
	}{
		{"full", 2048, 2048.0 * 2049 / 2 * 8},
		{"nosa", 2048, 2048.0 * 2049 / 2 * 8}, // 64 blocks are all
		{"full", 16384, 16384.0 * 16385 / 2},
		// Up to 4,096 tokens all are seen, then 63 blocks of 64 and what there is of a query's own.
		{"nosa", 16384, 4096.0*4097/2 + 12288*63*64 + 192*64.0*65/2},
		{"dma", 16384, 4096.0*4097/2 + 12288*63*64 + 192*64.0*65/2},
	} {
		s := Setting{Shape: "135m", Method: tc.method, Context: tc.context, Rows: 16384, Passes: 3}
		w, err := s.Work()
		if err != nil {
			t.Fatal(err)
		}
		want := Work{6 * weights * 16384 * 3, 12 * 30 * 576 * tc.pairs * 3}
		if w != want {
			t.Errorf("%s: %+v, want %+v", s, w, want)
		}
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, change := range map[string]func(*Sweep){
		"method":    func(w *Sweep) { w.Methods = []string{"nosi"} },
		"shape":     func(w *Sweep) { w.Shape = "9b" },
		"context":   func(w *Sweep) { w.Contexts = []int{0} },
		"rows":      func(w *Sweep) { w.Rows = 0 },
		"passes":    func(w *Sweep) { w.Common.Passes = 0 },
		"head-rows": func(w *Sweep) { w.Common.HeadRows = 0 },
		"recompute": func(w *Sweep) { w.Common.Recompute = "all" },
		"same":      func(w *Sweep) { w.Common.Same = 0 },
		"warm":      func(w *Sweep) { w.Common.Warm = 0 },
		"steps":     func(w *Sweep) { w.Common.Steps = 0 },
		"nothing":   func(w *Sweep) { w.Contexts = nil },
	} {
		w := sweep("full")
		change(&w)
		if got, err := w.Settings(); !errors.Is(err, ErrSetting) || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

// TestPasses: documents of the context, whose last tokens foretell nothing.
func TestPasses(t *testing.T) {
	s := Setting{Context: 4, Rows: 12, Passes: 2, Same: 2}
	all := s.passes(50)
	if len(all) != 2 || slices.Equal(all[0].IDs, all[1].IDs) {
		t.Fatalf("%v", all)
	}
	for _, r := range all {
		if !slices.Equal(r.Begins, []int32{0, 4, 8, 12}) {
			t.Errorf("documents %v", r.Begins)
		}
		for i, id := range r.Targets {
			switch {
			case i%4 == 3 && id != -1, i%4 < 3 && id != r.IDs[i+1], i%2 == 1 && r.IDs[i] != r.IDs[i-1]:
				t.Errorf("row %d: token %d, target %d", i, r.IDs[i], id)
			}
		}
	}
}

// partsOf runs a tiny setting of every kind on a device, and returns the parts of each.
func partsOf(t *testing.T, dev compute.Trainer) map[string][]string {
	t.Helper()
	r, all := On(dev), map[string][]string{}
	for _, tc := range []struct {
		method, recompute string
		context           int
	}{{"full", "none", 96}, {"nosa", "layer", 96}, {"nosa", "none", 32}, {"infllmv2", "cheap", 96}, {"dma", "none", 96}} {
		settings, err := Sweep{Shape: "tiny", Methods: []string{tc.method}, Contexts: []int{tc.context}, Rows: 100,
			Common: Setting{Passes: 2, HeadRows: 64, Recompute: tc.recompute, Same: 1, Warm: 1, Steps: 2, Profile: true}}.Settings()
		if err != nil {
			t.Fatal(err)
		}
		s := settings[0]
		m, err := r.Run(t.Context(), s)
		if err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		if len(m.MS) != 2 || !(m.MS[0] > 0) || !(m.Loss > 3 && m.Loss < 6) || m.Parameters < 20000 || m.Memory < 16*int64(m.Parameters) {
			t.Errorf("%s: %+v", s, m)
		}
		flop, names := map[string]float64{}, []string(nil)
		for _, p := range m.Parts {
			names = append(names, p.Name)
			flop[p.Name] = p.FLOP
		}
		all[fmt.Sprintf("%s %s %d", tc.method, tc.recompute, tc.context)] = names
		if tc.recompute == "layer" {
			continue
		}
		// What was computed is what a step cannot do without, and once more the weights of attention.
		w, err := s.Work()
		if err != nil {
			t.Fatal(err)
		}
		products := flop[partNames[forward]] + flop[partNames[inputs]] + flop[partNames[weights]] + flop[partNames[head]]
		attention := flop[partNames[attend]] + flop[partNames[attendGrad]]
		if products != w.Products || attention != w.Attention*14/12 {
			t.Errorf("%s: products of %v FLOP, attention of %v, want %+v", s, products, attention, w)
		}
	}
	return all
}

// wantParts of partsOf.
func wantParts(t *testing.T, got map[string][]string) {
	t.Helper()
	without := func(parts ...int) (names []string) {
		for i, n := range partNames {
			if !slices.Contains(parts, i) {
				names = append(names, n)
			}
		}
		return names
	}
	for setting, want := range map[string][]string{
		"full none 96": without(choose, score), "nosa layer 96": without(), "nosa none 32": without(choose),
		"infllmv2 cheap 96": without(score), "dma none 96": without(),
	} {
		if !slices.Equal(got[setting], want) {
			t.Errorf("%s: parts %q, want %q", setting, got[setting], want)
		}
	}
}

func TestCPU(t *testing.T) {
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	wantParts(t, partsOf(t, dev))
	if n := dev.Allocated(); n != 0 {
		t.Errorf("%d bytes are still taken", n)
	}
	if m, err := On(dev).Machine(); err != nil || m.Activations != "f32" {
		t.Errorf("%+v, %v", m, err)
	}
	if err := dev.Close(); err != nil {
		t.Error(err)
	}
}

// A step that fails tells why, and leaves no memory behind.
func TestFails(t *testing.T) {
	dev := &timed{Trainer: compute.Reference{}}
	if err := dev.begin(&brokenClock{}); err != nil {
		t.Fatal(err)
	}
	if _, err := dev.end(train.ErrDiverged); !errors.Is(err, train.ErrDiverged) || !errors.Is(err, errClock) {
		t.Error(err)
	}
}

var errClock = errors.New("no time")

type brokenClock struct{}

func (brokenClock) mark() error                 { return errClock }
func (brokenClock) between() ([]float64, error) { return nil, nil }
