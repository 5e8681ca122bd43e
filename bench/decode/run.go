package decode

import (
	"context"
	"errors"
	"fmt"
)

// Config says what is measured and who hears of it.
type Config struct {
	Settings []Setting
	Emit     func(any) error // *Machine, then a *Result each, then a *Best each
	Begin    func(Setting)   // before each; may be absent
}

// Run measures the settings one after the other. One that does not fit, or that the
// device has no steps for, is a Result that says so; any other error ends it, after what is known was emitted.
func Run(ctx context.Context, r Runner, c Config) error {
	machine, err := r.Machine(ctx)
	if err != nil {
		return fmt.Errorf("measuring the GPU: %w", err)
	}
	machine.Kind = "decode_machine"
	if err := c.Emit(machine); err != nil {
		return err
	}
	var results []*Result
	for _, s := range c.Settings {
		if err = context.Cause(ctx); err != nil {
			break
		}
		if c.Begin != nil {
			c.Begin(s)
		}
		var measured Measured
		if measured, err = r.Run(ctx, s); err != nil && !errors.Is(err, ErrNoRoom) && !errors.Is(err, errors.ErrUnsupported) {
			err = fmt.Errorf("%s: %w", s, err)
			break
		}
		result := Result{Kind: "decode", Setting: s}
		switch {
		case err != nil:
			result.Error, err = err.Error(), nil
		case len(measured.Milliseconds) == 0:
			return fmt.Errorf("%s: no step was measured", s)
		default:
			if result, err = newResult(s, measured, machine); err != nil {
				return err
			}
		}
		if err = c.Emit(&result); err != nil {
			return err
		}
		results = append(results, &result)
	}
	for _, b := range Compare(results) {
		err = errors.Join(err, c.Emit(b))
	}
	return err
}

// String names a setting in one line.
func (s Setting) String() string {
	return fmt.Sprintf("%s %s, KV %s, %d × %d tokens", s.Shape, s.System, s.KVType, s.Batch, s.Context)
}
