package engine

import (
	"context"
	"errors"
	"slices"

	"nosa/compute"
)

// openSteps prepares the device's own steps, if the plan has any.
func (e *Engine) openSteps() error {
	p, s := e.plan, e.set
	if p.StepRows == 0 {
		if s.steps != nil {
			e.log.Warn("the device does not decode by itself, which is slower: it does not serve this model, or --kv-device has no room for what a token selects in a layer")
		}
		return nil
	}
	o := e.store.StepOptions()
	o.Rows, o.Context, o.Select = p.StepRows, s.Context, s.method.Params(s.constants)
	err := e.guard(func() (err error) {
		e.dec, err = s.steps.dev.NewStep(e.model.Decoder(), e.store.Cache(), o)
		return err
	})
	if err != nil {
		e.dec = nil
		if errors.Is(err, compute.ErrStep) {
			e.log.Warn("the device does not decode by itself, which is slower", "error", err)
			return nil
		}
		return err
	}
	e.store.SetStep(e.dec)
	return nil
}

// decode runs the rows of those who sit, in as many of the device's own steps as it takes.
// An error of a step is of the riders in it. The one that decode returns ends those too
// that had not been run.
func (e *Engine) decode(ctx context.Context) error {
	if len(e.rows) == 0 && e.beside != nil {
		e.beside()
	}
	for from := 0; from < len(e.rows); {
		to := min(from+e.plan.StepRows, len(e.rows))
		err := context.Cause(ctx)
		if err == nil {
			err = e.keep(from)
		}
		if err != nil {
			for _, i := range e.seated[from:] {
				e.riders[i].fail(err)
			}
			return err
		}
		var counts compute.StepCounts
		if err = e.guard(func() (err error) {
			e.dec.Run(e.rows[from:to])
			if e.beside != nil {
				e.beside()
			}
			counts, err = e.dec.Wait()
			return err
		}); err == nil {
			e.store.Stepped(e.sat[from:to], counts)
		} else {
			e.kept = append(e.kept, make([][]float32, to-from)...) // nobody asks for what they said
		}
		for at := from; at < to; at++ {
			r := &e.riders[e.seated[at]]
			if r.err = err; err != nil {
				r.fail(err)
				continue
			}
			e.token[0] = e.rows[at].Token
			r.seq.Advance(e.token[:])
		}
		if e.latest = from; err == nil {
			e.drawPeaks(from, to)
		}
		from = to
	}
	return nil
}

// keep takes what the rows before one have said out of the device, whose next step will
// overwrite it, but for those from which a token has been drawn.
func (e *Engine) keep(before int) error {
	batch := len(e.batch.IDs)
	for at := len(e.kept); at < before; at = len(e.kept) {
		first, end := &e.riders[e.seated[at]], at+1
		if first.drawn {
			e.kept = append(e.kept, nil)
			continue
		}
		for end < min(before, at+e.work.LogitRows) && first.with(&e.riders[e.seated[end]]) {
			end++
		}
		v, err := e.made(first.hidden, batch+at, batch+end)
		if err != nil {
			return err
		}
		v = slices.Clone(v)
		for width := len(v) / (end - at); len(v) > 0; v = v[width:] {
			e.kept = append(e.kept, v[:width:width])
		}
	}
	return nil
}
