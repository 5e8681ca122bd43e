package train

import (
	"fmt"
	"slices"
	"sync"

	"nosa/compute"
	"nosa/model"
)

// A run may have several devices. Each has all parameters and computes passes of its own, side by
// side; their gradients are added up in the order of the devices before each takes the same step,
// so that they stay the same to the bit. How the passes are dealt out does not depend on time: the
// same devices give the same bits, whereas another number adds in another order.
type replica struct {
	dev     compute.Trainer
	params  *Parameters
	decoder *Decoder
}

func newReplica(dev compute.Trainer, shape *model.Config, tied, deltaBias bool, c *Config) (*replica, error) {
	r := &replica{dev: dev}
	var err error
	if r.params, err = newParameters(dev, declare(shape, tied, deltaBias), &c.Optimiser); err != nil {
		return r, err
	}
	r.decoder, err = NewDecoder(dev, shape, r.params, c.Batch, c.Loss)
	return r, err
}

func (r *replica) close() {
	if r.decoder != nil {
		r.decoder.Close()
	}
	if r.params != nil {
		r.params.Close()
	}
}

// together calls f for each replica, side by side, and returns the first's error of those that fail.
func (r *Run) together(f func(i int, one *replica) error) error {
	errs := make([]error, len(r.replicas))
	var all sync.WaitGroup
	for i, one := range r.replicas[1:] {
		all.Go(func() { errs[i+1] = f(i+1, one) })
	}
	errs[0] = f(0, r.replicas[0])
	all.Wait()
	for i, err := range errs {
		if err != nil && len(errs) > 1 {
			return fmt.Errorf("device %s: %w", r.replicas[i].dev.Name(), err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// passes computes n passes on the replicas, one on each at a time. next gives the rows of a pass,
// and each is told of their losses, in the order of passes.
func (r *Run) passes(n int, next func() (Rows, error), learn bool, each func(Rows, []float32)) error {
	rows, losses := make([]Rows, len(r.replicas)), make([][]float32, len(r.replicas))
	for done := 0; done < n; done += len(r.replicas) {
		now := min(len(r.replicas), n-done)
		for i := range now {
			x, err := next()
			if err != nil {
				return fmt.Errorf("data: %w", err)
			}
			rows[i] = Rows{slices.Clone(x.IDs), slices.Clone(x.Targets), slices.Clone(x.Begins)}
		}
		err := r.together(func(i int, one *replica) (err error) {
			if i < now {
				losses[i], err = one.decoder.run(rows[i], learn)
			}
			return err
		})
		if err != nil {
			return err
		}
		for i := range now {
			each(rows[i], losses[i])
		}
	}
	return nil
}

// exchangeElements is how much of a bank is in the host's memory at a time, of each device.
const exchangeElements = 8 << 20

// sumGrads gives every replica the sum of the gradients of all, by way of the host.
func (r *Run) sumGrads() error {
	if len(r.replicas) == 1 {
		return nil
	}
	for b, first := range r.replicas[0].params.banks {
		if !first.trained {
			continue
		}
		err := r.exchange(first.size, func(one *replica) compute.Tensor { return one.params.banks[b].grads }, func(parts [][]float32) {
			for _, p := range parts[1:] {
				for i, v := range p {
					parts[0][i] += v
				}
			}
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// spread gives every replica what the first has: masters and the optimiser's state.
func (r *Run) spread() error {
	if len(r.replicas) == 1 {
		return nil
	}
	for b, first := range r.replicas[0].params.banks {
		for _, of := range []func(*bank) compute.Tensor{
			func(x *bank) compute.Tensor { return x.values }, func(x *bank) compute.Tensor { return x.means }, func(x *bank) compute.Tensor { return x.squares },
		} {
			if of(first).None() {
				continue
			}
			err := r.exchange(first.size, func(one *replica) compute.Tensor { return of(one.params.banks[b]) }, func([][]float32) {})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// exchange brings a tensor of each replica to the host, piece by piece, has the first's made into
// what all are to have, and gives it to all.
func (r *Run) exchange(size int, of func(*replica) compute.Tensor, settle func(parts [][]float32)) error {
	parts := make([][]float32, len(r.replicas))
	for from := 0; from < size; from += exchangeElements {
		to := min(from+exchangeElements, size)
		err := r.together(func(i int, one *replica) (err error) {
			parts[i], err = one.params.download(of(one).Rows(from, to))
			return err
		})
		if err != nil {
			return err
		}
		settle(parts)
		err = r.together(func(_ int, one *replica) error {
			one.dev.Upload(of(one).Rows(from, to), compute.F32s(parts[0], to-from).Data)
			return one.dev.Sync()
		})
		if err != nil {
			return err
		}
	}
	return nil
}
