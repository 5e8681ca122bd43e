package train

import (
	"context"
	"errors"
	"fmt"
	"slices"
)

// Runner runs settings on a device.
type Runner interface {
	// Machine is what the figures are held against.
	Machine() (*Machine, error)
	// Run measures a setting. An error that wraps ErrNoRoom says that it does not fit, and
	// leaves the Runner fit for others.
	Run(ctx context.Context, s Setting) (Measured, error)
}

// Machine is the device.
type Machine struct {
	Kind        string  `json:"kind"` // train_machine
	Device      string  `json:"device"`
	Activations string  `json:"activations"` // their type, which is also that of the weights that products read
	Memory      int64   `json:"memory"`      // free, in bytes, before anything was allocated; 0: no memory of its own
	Peak        float64 `json:"peak"`        // FLOP a second: of tensor cores in bf16 at the highest clock, of a CPU measured in float32; 0: unknown
}

// Measured is what a Runner saw.
type Measured struct {
	MS         []float64 // of each step
	Parts      []Part    // of one more
	ProfileMS  float64   // which took so long
	Loss       float64   // before the last step
	Parameters int       // all of the model's
	Memory     int64     // bytes that are allocated, at most
	Device     int64     // bytes of the device that are in use by anything
}

// Part is where the time of a step goes.
type Part struct {
	Name string  `json:"name"`
	MS   float64 `json:"ms"`
	FLOP float64 `json:"flop,omitempty"` // of products and attention as they are computed, what is computed again included
}

// Result is a setting's outcome.
type Result struct {
	Kind   string `json:"kind"` // train
	System string `json:"system"`
	Setting
	Error string `json:"error,omitempty"` // why there is none

	MS           float64   `json:"ms"` // a step, the median
	MinMS        float64   `json:"ms_min"`
	MaxMS        float64   `json:"ms_max"`
	Samples      []float64 `json:"samples"`
	Tokens       int       `json:"tokens"` // of a step
	Speed        float64   `json:"tokens_per_second"`
	FLOP         Work      `json:"flop"` // of a step
	Rate         float64   `json:"flop_per_second"`
	RooflineMS   float64   `json:"roofline_ms"`
	Fraction     float64   `json:"fraction"`      // roofline_ms / ms
	Memory       int64     `json:"memory"`        // bytes that tensors take at the peak
	DeviceMemory int64     `json:"memory_device"` // bytes of the device that are in use then, by anything; 0: unknown
	Parameters   int       `json:"parameters"`
	Loss         float64   `json:"loss"`
	ProfileMS    float64   `json:"profile_ms,omitempty"` // the step whose parts were timed
	Parts        []Part    `json:"parts,omitempty"`
}

func resultOf(s Setting) Result { return Result{Kind: "train", System: "nosa", Setting: s} }

// fill holds what was measured against what the machine allows.
func (r *Result) fill(m Measured, on *Machine) error {
	if len(m.MS) == 0 {
		return fmt.Errorf("%s: no step was measured", r.Setting)
	}
	var err error
	if r.FLOP, err = r.Work(); err != nil {
		return err
	}
	r.Samples, r.Parts, r.ProfileMS, r.Loss, r.Parameters, r.Memory, r.DeviceMemory = m.MS, m.Parts, m.ProfileMS, m.Loss, m.Parameters, m.Memory, m.Device
	sorted := slices.Sorted(slices.Values(m.MS))
	n := len(sorted)
	r.MS, r.MinMS, r.MaxMS = (sorted[(n-1)/2]+sorted[n/2])/2, sorted[0], sorted[n-1]
	r.Tokens = r.Setting.Tokens()
	r.Speed = float64(r.Tokens) / r.MS * 1e3
	r.Rate = r.FLOP.Sum() / r.MS * 1e3
	if on.Peak > 0 {
		r.RooflineMS = r.FLOP.Sum() / on.Peak * 1e3
		r.Fraction = r.RooflineMS / r.MS
	}
	return nil
}

// Config says what is measured and who hears of it.
type Config struct {
	Settings []Setting
	Emit     func(any) error // *Machine, then a *Result each
	Begin    func(Setting)   // before each; may be absent
}

// Run measures the settings one after the other. One that does not fit is a Result that says so;
// any other error ends it.
func Run(ctx context.Context, r Runner, c Config) error {
	machine, err := r.Machine()
	if err != nil {
		return err
	}
	machine.Kind = "train_machine"
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
		result := resultOf(s)
		measured, err := r.Run(ctx, s)
		switch {
		case errors.Is(err, ErrNoRoom):
			result.Error = err.Error()
		case err != nil:
			return fmt.Errorf("%s: %w", s, err)
		default:
			if err := result.fill(measured, machine); err != nil {
				return err
			}
		}
		if err := c.Emit(&result); err != nil {
			return err
		}
	}
	return nil
}
