package prefill

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Runner runs settings on a GPU.
type Runner interface {
	// Machine is what the figures are held against.
	Machine() *Machine
	// Run measures a setting. An error that wraps ErrNoRoom says that it does not fit,
	// and leaves the Runner fit for others.
	Run(ctx context.Context, s Setting) (Measured, error)
	Close() error
}

// Machine is the GPU.
type Machine struct {
	Kind   string  `json:"kind"` // prefill_machine
	Device string  `json:"device"`
	Memory int64   `json:"memory"` // free, in bytes, before anything was loaded
	Peak   float64 `json:"peak"`   // FLOP a second of its tensor cores in bf16, at the highest clock
}

// Measured is what a Runner saw.
type Measured struct {
	Seconds []float64 // of each run
	Parts   []Part    // of one more
}

// Part is where the time of a run goes.
type Part struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Result is a setting's outcome.
type Result struct {
	Kind string `json:"kind"` // prefill
	Setting
	Error string `json:"error,omitempty"` // why there is none

	Seconds  float64   `json:"seconds"` // the median
	Min      float64   `json:"seconds_min"`
	Max      float64   `json:"seconds_max"`
	Samples  []float64 `json:"samples"`
	Speed    float64   `json:"tokens_per_second"`
	FLOP     Work      `json:"flop"`
	Rate     float64   `json:"flop_per_second"`
	Roofline float64   `json:"roofline_seconds"`
	Fraction float64   `json:"fraction"` // roofline_seconds / seconds
	Parts    []Part    `json:"parts,omitempty"`
}

// newResult holds what was measured against what the machine allows.
func newResult(s Setting, m Measured, on *Machine) (Result, error) {
	r := Result{Kind: "prefill", Setting: s, Samples: m.Seconds, Parts: m.Parts}
	meaning, err := s.Meaning()
	if err != nil {
		return r, err
	}
	sorted := slices.Sorted(slices.Values(m.Seconds))
	n := len(sorted)
	r.Seconds, r.Min, r.Max = (sorted[(n-1)/2]+sorted[n/2])/2, sorted[0], sorted[n-1]
	r.Speed = float64(s.Context) / r.Seconds
	r.FLOP = meaning.Work(s.Context)
	r.Rate = r.FLOP.Sum() / r.Seconds
	if on.Peak > 0 {
		r.Roofline = r.FLOP.Sum() / on.Peak
		r.Fraction = r.Roofline / r.Seconds
	}
	return r, nil
}

// Config says what is measured and who hears of it.
type Config struct {
	Settings []Setting
	Emit     func(any) error // *Machine, then a *Result each
	Begin    func(Setting)   // before each; may be absent
}

// Run measures the settings one after the other. One that does not fit is a Result that says
// so; any other error ends it.
func Run(ctx context.Context, r Runner, c Config) error {
	machine := r.Machine()
	machine.Kind = "prefill_machine"
	if err := c.Emit(machine); err != nil {
		return err
	}
	for _, s := range c.Settings {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if c.Begin != nil {
			c.Begin(s)
		}
		measured, err := r.Run(ctx, s)
		result := Result{Kind: "prefill", Setting: s}
		switch {
		case errors.Is(err, ErrNoRoom):
			result.Error = err.Error()
		case err != nil:
			return fmt.Errorf("%s: %w", s, err)
		default:
			if result, err = newResult(s, measured, machine); err != nil {
				return err
			}
		}
		if err := c.Emit(&result); err != nil {
			return err
		}
	}
	return nil
}
