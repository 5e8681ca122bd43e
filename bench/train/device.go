package train

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"nosa/bench"
	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/train"
)

// device runs settings on a device that trains.
type device struct {
	dev compute.Trainer
}

// On runs settings on a device, which stays the caller's.
func On(dev compute.Trainer) Runner { return &device{dev} }

// Machine describes the device.
func (r *device) Machine() (*Machine, error) {
	m := &Machine{Device: r.dev.Info(), Activations: strings.ToLower(r.dev.Activations().String()), Peak: peakOf(r.dev)}
	if p, ok := r.dev.(bench.Prober); ok && m.Peak == 0 {
		m.Peak, _, _ = p.Peak()
	}
	if d, ok := r.dev.(compute.MemoryDevice); ok {
		var err error
		if m.Memory, _, err = d.Memory(); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// Run measures a setting.
func (r *device) Run(ctx context.Context, s Setting) (out Measured, err error) {
	c, err := s.config()
	if err != nil {
		return out, err
	}
	pairs, err := s.Pairs()
	if err != nil {
		return out, err
	}
	dev := &timed{Trainer: r.dev, vocab: c.Model.Vocab, pairs: pairs}
	model, err := train.NewSingle(dev, c)
	if err != nil {
		return out, roomOr(err)
	}
	defer func() {
		model.Close()
		err = errors.Join(err, r.dev.Sync())
	}()
	out.Parameters, _ = model.Parameters().Count()
	passes := s.passes(c.Model.Vocab)
	for n := range s.Warm + s.Steps {
		if err := context.Cause(ctx); err != nil {
			return out, err
		}
		begun := time.Now()
		if out.Loss, err = model.Step(passes); err != nil {
			return out, roomOr(err)
		}
		if n >= s.Warm {
			out.MS = append(out.MS, milliseconds(time.Since(begun)))
		}
	}
	if err := r.memory(&out); err != nil {
		return out, err
	}
	if s.Profile {
		begun := time.Now()
		if err := dev.begin(clockOf(r.dev)); err != nil {
			return out, err
		}
		_, err := model.Step(passes)
		out.Parts, err = dev.end(err)
		out.ProfileMS = milliseconds(time.Since(begun))
		return out, roomOr(err)
	}
	return out, nil
}

// memory is what is allocated: what ops need beside a model is there since the warm-up, and stays.
func (r *device) memory(out *Measured) error {
	if d, ok := r.dev.(interface{ Allocated() int64 }); ok {
		out.Memory = d.Allocated()
	}
	if d, ok := r.dev.(compute.MemoryDevice); ok {
		free, total, err := d.Memory()
		if err != nil {
			return err
		}
		out.Device = total - free
	}
	return nil
}

// passes are the rows of a step, of random tokens, each of which foretells the next.
func (s Setting) passes(vocab int) []train.Rows {
	rng := rand.New(rand.NewPCG(1, 2))
	var all []train.Rows
	for range s.Passes {
		r := train.Rows{IDs: make([]int32, s.Rows), Targets: make([]int32, s.Rows)}
		for i := range r.IDs {
			if i%s.Same == 0 {
				r.IDs[i] = int32(rng.IntN(vocab))
			} else {
				r.IDs[i] = r.IDs[i-1]
			}
			r.Targets[i] = -1
			if i%s.Context > 0 {
				r.Targets[i-1] = r.IDs[i]
			}
		}
		for at := 0; at <= s.Rows; at += s.Context {
			r.Begins = append(r.Begins, int32(at))
		}
		all = append(all, r)
	}
	return all
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

// roomOr makes an error of a device without memory left one of a setting that does not fit.
func roomOr(err error) error {
	if errors.Is(err, driver.ErrMemory) {
		return fmt.Errorf("%w: %w", ErrNoRoom, err)
	}
	return err
}
