package prefill

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"nosa/bench"
)

// runner is a GPU that does what is asked at half its peak, and holds so many tokens.
type runner struct {
	most int
	fail error
	ran  []Setting
}

func (r *runner) Machine() *Machine { return &Machine{Device: "fake", Peak: 1e15} }

func (r *runner) Run(_ context.Context, s Setting) (out Measured, err error) {
	r.ran = append(r.ran, s)
	if s.Context > r.most {
		return out, fmt.Errorf("%w: %d tokens", ErrNoRoom, s.Context)
	}
	if r.fail != nil {
		return out, r.fail
	}
	m, err := s.Meaning()
	if err != nil {
		return out, err
	}
	seconds := 2 * m.Work(s.Context).Sum() / 1e15
	for i := range s.Runs {
		out.Seconds = append(out.Seconds, seconds*(1+0.01*float64(i%3-1)))
	}
	if s.Parts {
		out.Parts = []Part{{"products", seconds}}
	}
	return out, nil
}

func (r *runner) Close() error { return nil }

func sweep(methods ...string) Sweep {
	return Sweep{Shape: "8b", Methods: methods, Weights: []string{"bf16"}, KVTypes: []string{"bf16"}, Contexts: []int{1000, 1 << 17},
		Common: Setting{Chunk: 2048, Same: 1, Runs: 3, Parts: true}}
}

func TestRun(t *testing.T) {
	settings, err := sweep("full", "infllmv2", "nosa").Settings()
	if err != nil || len(settings) != 6 || settings[0].Chunk != 1000 || settings[3].Chunk != 2048 {
		t.Fatalf("%v, %v", settings, err)
	}
	r := &runner{most: 1 << 16}
	var machines, results int
	err = Run(t.Context(), r, Config{Settings: settings, Emit: func(v any) error {
		switch v := v.(type) {
		case *Machine:
			machines++
			if v.Kind != "prefill_machine" {
				t.Errorf("%+v", v)
			}
		case *Result:
			results++
			if (v.Context == 1<<17) != (v.Error != "") {
				t.Errorf("%s: error %q", v.Setting, v.Error)
			}
			if v.Error == "" && (v.Kind != "prefill" || math.Abs(v.Fraction-0.5) > 1e-9 || math.Abs(v.Speed*v.Seconds-1000) > 1e-6 || !(v.Min < v.Seconds && v.Seconds < v.Max) || len(v.Parts) != 1) {
				t.Errorf("%+v", v)
			}
		}
		return nil
	}})
	if err != nil || machines != 1 || results != 6 {
		t.Fatalf("%d machines, %d results, %v", machines, results, err)
	}
}

// TestRunEnds: an error that is no lack of room ends the run, behind what is known.
func TestRunEnds(t *testing.T) {
	settings, err := sweep("full").Settings()
	if err != nil {
		t.Fatal(err)
	}
	r := &runner{most: 1 << 20, fail: errors.New("the GPU is gone")}
	emitted := 0
	err = Run(t.Context(), r, Config{Settings: settings, Emit: func(any) error { emitted++; return nil }})
	if !errors.Is(err, r.fail) || !strings.Contains(err.Error(), "8b full") || len(r.ran) != 1 || emitted != 1 {
		t.Errorf("%v after %d settings, %d lines", err, len(r.ran), emitted)
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
	for _, tc := range []struct {
		method                      string
		tokens                      int
		products, attention, scores float64
	}{
		// 211.8M weights in each of 32 layers, and a head for one token.
		{"full", 1 << 15, 2 * (32768*32*211812352 + 128256*4096), 4 * 32 * 4096 * (32768.0 * 32769 / 2), 0},
		// Up to 4,096 tokens all are seen, then 64 blocks of 64.
		{"infllmv2", 4096, 2 * (4096*32*211812352 + 128256*4096), 4 * 32 * 4096 * (4096.0 * 4097 / 2), 0},
		{"nosa", 4098, 2 * (4098*32*211812352 + 128256*4096), 4 * 32 * 4096 * (4096.0*4097/2 + 2*4096), 2 * 32 * 4096 * 2 * 256},
	} {
		m, err := Setting{Shape: "8b", Weights: "bf16", Method: tc.method, KVType: "bf16"}.Meaning()
		if err != nil {
			t.Fatal(err)
		}
		if w := m.Work(tc.tokens); w != (Work{tc.products, tc.attention, tc.scores}) {
			t.Errorf("%s, %d tokens: %+v, want %+v", tc.method, tc.tokens, w, tc)
		}
	}
}

func TestSettingsRefused(t *testing.T) {
	for name, change := range map[string]func(*Sweep){
		"method":  func(w *Sweep) { w.Methods = []string{"nosi"} },
		"shape":   func(w *Sweep) { w.Shape = "9b" },
		"format":  func(w *Sweep) { w.Weights = []string{"q3"} },
		"kv":      func(w *Sweep) { w.KVTypes = []string{"q2"} },
		"context": func(w *Sweep) { w.Contexts = []int{-1} },
		"chunk":   func(w *Sweep) { w.Common.Chunk = 0 },
		"same":    func(w *Sweep) { w.Common.Same = 0 },
		"runs":    func(w *Sweep) { w.Common.Runs = 0 },
		"nothing": func(w *Sweep) { w.Contexts = nil },
	} {
		w := sweep("full")
		change(&w)
		if got, err := w.Settings(); err == nil || got != nil {
			t.Errorf("%s: %v, %v", name, got, err)
		} else if name == "shape" && !errors.Is(err, bench.ErrShape) || name == "chunk" && !errors.Is(err, ErrSetting) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
