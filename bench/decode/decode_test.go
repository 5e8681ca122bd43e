package decode

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"nosa/bench"
)

// runner is a GPU whose steps take what the roofline says, twice, and which holds so many
// sequences.
type runner struct {
	most int
	fail error
	ran  []Setting
}

func (r *runner) Machine(context.Context) (*Machine, error) {
	return &Machine{Device: "fake", Copy: 1e12, Bus: 1e10}, nil
}

func (r *runner) Run(_ context.Context, s Setting) (Measured, error) {
	r.ran = append(r.ran, s)
	if s.Batch > r.most {
		return Measured{}, fmt.Errorf("%w: %d sequences", ErrNoRoom, s.Batch)
	}
	if r.fail != nil {
		return Measured{}, r.fail
	}
	m, err := s.Meaning()
	if err != nil {
		return Measured{}, err
	}
	out := Measured{Selected: []int64{100, 300}, Missed: []int64{10, 10}, Slots: int64(s.Batch * m.Shape.Layers * m.Shape.KVHeads * 128)}
	if m.Resident {
		out.Missed = []int64{0, 0}
	}
	b := m.Roofline.Step(slices.Repeat([]int{s.Context + s.Warm + (s.Steps+1)/2}, s.Batch), float64(out.Missed[0]+out.Missed[1])/400)
	ms := 2e3 * b.Seconds(1e12, 1e10, m.Series)
	for i := range s.Steps {
		out.Milliseconds = append(out.Milliseconds, ms*(1+0.01*float64(i%3-1)))
	}
	return out, nil
}

func (r *runner) Close() error { return nil }

func sweep(systems ...string) Sweep {
	return Sweep{Shape: "8b", Systems: systems, Weights: []string{"bf16"}, KVTypes: []string{"bf16"}, Batches: []int{16, 1, 48, 16}, Contexts: []int{32768},
		Common: Setting{New: 0.161, Steps: 6, Warm: 3}, NosiNew: 0.1}
}

func TestRun(t *testing.T) {
	settings, err := sweep("full", "infllmv2", "nosi", "nosa").Settings()
	if err != nil {
		t.Fatal(err)
	}
	if len(settings) != 12 {
		t.Fatalf("%d settings, want 12", len(settings))
	}
	for _, s := range settings {
		if want := map[string]float64{"infllmv2": 0.161, "nosi": 0.1, "nosa": 0.161}[s.System]; s.New != want {
			t.Errorf("%s: %g new, want %g", s, s.New, want)
		}
	}
	r := &runner{most: 20}
	var machines []*Machine
	var results []*Result
	var best []*Best
	err = Run(t.Context(), r, Config{Settings: settings, Emit: func(v any) error {
		switch v := v.(type) {
		case *Machine:
			machines = append(machines, v)
		case *Result:
			results = append(results, v)
		case *Best:
			best = append(best, v)
		}
		return nil
	}})
	if err != nil || len(machines) != 1 || machines[0].Kind != "decode_machine" || len(results) != 12 || len(best) != 4 {
		t.Fatalf("%d machines, %d results, %d best, %v", len(machines), len(results), len(best), err)
	}
	for _, r := range results {
		if (r.Batch == 48) != (r.Error != "") {
			t.Errorf("%s: error %q", r.Setting, r.Error)
			continue
		}
		if r.Error != "" {
			continue
		}
		hits, worst := 0.95, 0.9
		if r.System == "full" || r.System == "infllmv2" {
			hits, worst = 1, 1
		}
		if math.Abs(r.Fraction-0.5) > 1e-9 || math.Abs(r.HitRate-hits) > 1e-9 || math.Abs(r.WorstLayer-worst) > 1e-9 || r.SlotsEach != 128 {
			t.Errorf("%s: %+v", r.Setting, r)
		}
		if math.Abs(r.Speed-1e3*float64(r.Batch)/r.MS) > 1e-6 || !(r.MinMS < r.MS && r.MS < r.MaxMS) || math.Abs(r.Deviation-0.01*math.Sqrt(2.0/3)*r.MS) > 1e-6 {
			t.Errorf("%s: %g ms, %g to %g, deviation %g, %g tokens/s", r.Setting, r.MS, r.MinMS, r.MaxMS, r.Deviation, r.Speed)
		}
	}
	// 16 sequences of 32K of which every block is read: 1073 MB each, weights of 14.6 GB.
	if full := best[0]; full.System != "full" || full.Batch != 16 || math.Abs(full.Speed-16/(2*(14.607e9+16*32832.0/64*2*32*32768)/1e12)) > 0.5 {
		t.Errorf("%+v", full)
	}
	if nosa := best[3]; len(nosa.Over) != 3 || nosa.Over[0].System != "full" || math.Abs(nosa.Over[0].Ratio-nosa.Speed/best[0].Speed) > 1e-9 {
		t.Errorf("%+v", nosa)
	}
}

// TestRunEnds: an error that is no lack of room ends the run, behind what is known.
func TestRunEnds(t *testing.T) {
	settings, err := sweep("full").Settings()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{most: 100, fail: errors.New("the GPU is gone")}
	emitted := 0
	err = Run(t.Context(), r, Config{Settings: settings, Emit: func(any) error { emitted++; return nil }})
	if !errors.Is(err, r.fail) || !strings.Contains(err.Error(), "8b full") || len(r.ran) != 1 || emitted != 1 {
		t.Errorf("%v after %d settings, %d lines", err, len(r.ran), emitted)
	}
	ctx, cancel := context.WithCancel(t.Context())
	r = &runner{most: 100}
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

func TestCompare(t *testing.T) {
	result := func(system, kv string, context, batch int, memory int64, speed float64) *Result {
		return &Result{Setting: Setting{Shape: "8b", Weights: "bf16", System: system, KVType: kv, Context: context, Batch: batch, Memory: memory}, Speed: speed}
	}
	gone := result("nosa", "bf16", 100, 64, 0, 0)
	gone.Error = "does not fit"
	light := result("nosa", "bf16", 100, 8, 0, 100)
	light.Weights = "q8_0"
	got := Compare([]*Result{
		result("full", "bf16", 100, 1, 0, 10), result("full", "bf16", 100, 8, 0, 20), result("full", "bf16", 100, 16, 0, 19), result("nosa", "bf16", 100, 8, 0, 50), gone,
		result("nosa", "q8", 100, 8, 0, 80), light, result("full", "bf16", 200, 8, 0, 5), result("nosa", "bf16", 100, 4, 24, 30),
	})
	var lines []string
	for _, b := range got {
		lines = append(lines, fmt.Sprintf("%s %s %d %d: %d %g %v", b.System, b.KVType, b.Context, b.Memory, b.Batch, b.Speed, b.Over))
	}
	want := []string{
		"full bf16 100 0: 8 20 [nosa bf16 0.40x nosa q8 0.25x nosa bf16 with weights in q8_0 0.20x]",
		"nosa bf16 100 0: 8 50 [full bf16 2.50x]",
		"nosa q8 100 0: 8 80 [full bf16 4.00x]",
		"nosa bf16 100 0: 8 100 [full bf16 5.00x]",
		"full bf16 200 0: 8 5 []",
		"nosa bf16 100 24: 4 30 []",
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(lines, "\n"), strings.Join(want, "\n"))
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, change := range map[string]func(*Sweep){
		"system":  func(w *Sweep) { w.Systems = []string{"vllm"} },
		"shape":   func(w *Sweep) { w.Shape = "9b" },
		"format":  func(w *Sweep) { w.Weights = []string{"q3"} },
		"kv":      func(w *Sweep) { w.KVTypes = []string{"q2"} },
		"batch":   func(w *Sweep) { w.Batches = []int{0} },
		"context": func(w *Sweep) { w.Contexts = []int{-1} },
		"steps":   func(w *Sweep) { w.Common.Steps = 0 },
		"replay":  func(w *Sweep) { w.Systems, w.Common.New = []string{"nosa"}, 0.9 },
		"nothing": func(w *Sweep) { w.Batches = nil },
	} {
		w := sweep("full")
		change(&w)
		if got, err := w.Settings(); err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		} else if name == "shape" && !errors.Is(err, bench.ErrShape) || name == "batch" && !errors.Is(err, ErrSetting) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestReplayOf: what a setting replays covers its steps, in the shape's layers and heads.
func TestReplayOf(t *testing.T) {
	s := Setting{Shape: "tiny", Weights: "bf16", System: "nosa", KVType: "bf16", Batch: 3, Context: 8191, New: 0.1, Warm: 2, Steps: 5}
	m, err := s.Meaning()
	if err != nil {
		t.Fatal(err)
	}
	r, err := s.Replay(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	if got := r.Selection(nil, 2, 1, 1, 8191+6); len(got) != 64 || got[63] != 128 {
		t.Errorf("selected %v", got)
	}
	s.New = 0
	if r, err := s.Replay(m, 1); r != nil || err != nil {
		t.Errorf("%v, %v", r, err)
	}
}

// TestReaders: those of one document share its columns, have others of their own, and
// a block that several of them select counts once.
func TestReaders(t *testing.T) {
	s := sweep("readers").Common
	s.Shape, s.System, s.Weights, s.KVType, s.Batch, s.Context = "tiny", "readers", "bf16", "bf16", 5, 6500
	m, err := s.Meaning()
	if err != nil {
		t.Fatal(err)
	}
	c := s.span(m)
	if want := (span{whole: 102, shared: 101, batch: 5}); c != want || c.columns() != 106 {
		t.Errorf("%+v, %d columns; want %+v and 106", c, c.columns(), want)
	}
	owners := map[int32]int{}
	for seat := range s.Batch {
		for block := range c.whole {
			owners[c.at(seat, block)]++
		}
	}
	for column, n := range owners {
		if shared := column < 101; column < 0 || column >= 106 || shared != (n == 5) || !shared && n != 1 {
			t.Errorf("column %d is of %d sequences", column, n)
		}
	}
	r, err := s.Replay(m, 1)
	if err != nil {
		t.Fatal(err)
	}
	// 63 of 101 blocks for each of five, 17 of them the same: no more than all, no less than one's own.
	if got := s.different(m, r); got < 1.0/5 || got > float64(101+5)/(5*64) {
		t.Errorf("%.3f of the blocks are different", got)
	}
	if got := s.different(m, nil); math.Abs(got-102.0/(5*64)) > 1e-9 {
		t.Errorf("%.3f of the blocks are different, of selections that nobody knows", got)
	}
	s.System = "nosa"
	if m, err = s.Meaning(); err != nil {
		t.Fatal(err)
	}
	if c := s.span(m); c.shared != 0 || c.columns() != 5*102 || c.at(4, 101) != 509 || s.different(m, r) != 1 {
		t.Errorf("%+v, %d columns", c, c.columns())
	}
}
