package engine

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/dtype"
	"nosa/weights"
)

// ErrContext is returned for a text that is longer than the context.
var ErrContext = errors.New("longer than the context")

// checkLength refuses a prompt that leaves no room for n more tokens.
func (e *Engine) checkLength(prompt, n int) error {
	switch {
	case prompt <= e.set.Context && n <= e.set.Context-prompt:
		return nil
	case prompt <= maxContext && n <= maxContext-prompt:
		return fmt.Errorf("%w: %d tokens of prompt and up to %d to generate, the context has %d: try --context %d", ErrContext, prompt, n, e.set.Context, prompt+n)
	case prompt < e.set.Context:
		return fmt.Errorf("%w: %d tokens of prompt and up to %d to generate, the context has %d: try --max-tokens %d", ErrContext, prompt, n, e.set.Context, e.set.Context-prompt)
	}
	return fmt.Errorf("%w: %d tokens of prompt, the context has %d and can have %d at most: shorten the prompt", ErrContext, prompt, e.set.Context, maxContext)
}

// checkIDs refuses ids that the model has no embedding for.
func (e *Engine) checkIDs(ids []int32) error {
	for i, id := range ids {
		if id < 0 || int(id) >= e.model.Vocab {
			return fmt.Errorf("%w: token %d is id %d: the vocabulary has %d", ErrOptions, i, id, e.model.Vocab)
		}
	}
	return nil
}

// rider is a stream of the step that is being made. Its rows are in the batch, or, where
// its sequence sits, its one row is in the device's own steps.
type rider struct {
	*Stream
	index  int // by which the caller knows it
	sits   bool
	row, n int   // rows of the batch, or of the device's own steps
	hidden bool  // hidden states are wanted of it, no logits
	err    error // why it could not go on

	choice *choice // see Part
	token  Token   // that it has drawn
	drawn  bool
	wrong  error // why it has not
}

// begin begins a step: an empty batch, for streams to join.
func (e *Engine) begin() error {
	if err := e.Checkpoint.Check(); err != nil {
		return err
	}
	e.store.BeginStep()
	e.batch.Reset()
	e.riders, e.rows, e.sat, e.seated, e.kept, e.latest = e.riders[:0], e.rows[:0], e.sat[:0], e.seated[:0], e.kept[:0], 0
	return nil
}

// join gives a stream's next tokens rows in the step. A single one that was generated and of
// which anything is wanted goes to the device's own steps, if there is room to sit. One of a
// prompt does not, since how a prompt is cut depends on its company, and on a device of two
// ways they do not give the same bits. An error leaves the stream and the step as they were.
func (e *Engine) join(ctx context.Context, p Part, index int) error {
	s, ids := p.Stream, p.IDs
	if s.err != nil {
		return s.err
	}
	if err := s.seq.Reserve(len(ids)); err != nil {
		return err
	}
	r := rider{Stream: s, index: index, row: len(e.batch.IDs), n: len(ids), hidden: p.Hidden, choice: p.choice}
	if e.dec != nil {
		if len(ids) == 1 && p.Want == 1 && !p.Prompt {
			var seat int
			if seat, r.sits = s.seq.Sit(ctx); r.sits {
				r.row = len(e.rows)
				row := compute.StepRow{Seat: int32(seat), Pos: int32(s.seq.Len()), Token: ids[0]}
				if r.choice != nil && r.choice.asks() {
					row.Ask = r.choice.sampling.Ask(e.model.Vocab)
				}
				e.rows = append(e.rows, row)
				e.sat, e.seated = append(e.sat, s.seq), append(e.seated, len(e.riders))
			}
		} else {
			s.seq.Rise()
		}
	}
	if !r.sits {
		e.batch.Add(s.seq, ids)
		e.batch.Spans[len(e.batch.Spans)-1].Policy = s.press
	}
	e.riders = append(e.riders, r)
	return nil
}

// first is a rider's first row, counted over the batch and then the device's own steps.
func (e *Engine) first(r *rider) int {
	if r.sits {
		return len(e.batch.IDs) + r.row
	}
	return r.row
}

// pass runs the step. An error of one rider ends its stream; pass returns one that is of
// all that had not gone on before it.
func (e *Engine) pass(ctx context.Context) error {
	err := e.decode(ctx)
	if err == nil {
		err = e.guard(func() error { return e.model.Forward(ctx, e.att, e.work, &e.batch) })
	}
	spans := e.batch.Spans
	for i := range e.riders {
		r := &e.riders[i]
		if r.sits {
			continue
		}
		sp := &spans[0]
		spans = spans[1:]
		switch r.err = sp.Err; {
		case err != nil:
			r.fail(err)
		case r.err != nil:
			r.fail(r.err)
		default:
			r.seq.Advance(e.batch.IDs[sp.Row : sp.Row+sp.N])
		}
	}
	return err
}

// guard runs f, which reads weights where they are mapped. A file that is cut
// short meanwhile is an error that names it, not the end of the process.
func (e *Engine) guard(f func() error) error {
	err := weights.Guard(f)
	if errors.Is(err, weights.ErrChanged) {
		if named := e.Checkpoint.Check(); named != nil {
			return named
		}
	}
	return err
}

// logits calls f with the logits of rows from to to−1 of the last step.
func (e *Engine) logits(from, to int, f func(row int, logits []float32) error) error {
	return e.outputs(false, from, to, f)
}

// outputs calls f with what the model makes of rows from to to−1 of the last step: hidden
// states or logits. Rows of the batch come first, then those of the device's own steps.
func (e *Engine) outputs(hidden bool, from, to int, f func(row int, v []float32) error) error {
	return e.pieces(hidden, from, to, func(from, to int, v []float32) error {
		width := len(v) / (to - from)
		for row := from; row < to; row++ {
			if err := f(row, v[:width:width]); err != nil {
				return err
			}
			v = v[width:]
		}
		return nil
	})
}

// pieces is outputs, by as many rows as are there at a time.
func (e *Engine) pieces(hidden bool, from, to int, f func(from, to int, v []float32) error) error {
	batch := len(e.batch.IDs)
	for at := from; at < to; {
		var v []float32
		end := at + 1
		if at >= batch && at-batch < len(e.kept) {
			v = e.kept[at-batch]
		} else {
			if end = min(at+e.work.LogitRows, to); at < batch {
				end = min(end, batch)
			}
			var err error
			if v, err = e.made(hidden, at, end); err != nil {
				return err
			}
		}
		if err := f(at, end, v); err != nil {
			return err
		}
		at = end
	}
	return nil
}

// made is what the model makes of rows from to to−1, which all are of the batch, or of the
// device's last step. It holds until the next call.
func (e *Engine) made(hidden bool, from, to int) ([]float32, error) {
	var t compute.Tensor
	if err := e.guard(func() error {
		own := from - len(e.batch.IDs) - e.latest
		switch {
		case from >= len(e.batch.IDs) && hidden:
			t = e.dec.States(own, own+to-from)
		case from >= len(e.batch.IDs):
			t = e.dec.Logits(own, own+to-from)
		case hidden:
			t = e.model.States(e.work, from, to)
		default:
			t = e.model.Logits(e.work, from, to)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if v := t.F32(); v != nil {
		return v, nil
	}
	if e.host == nil {
		e.openHost()
	}
	v := e.host[:t.Len()]
	e.dev.Download(compute.F32s(v, len(v)).Data, t)
	return v, nil
}

// openHost takes the host's memory for what a device with memory of its own has made: such as
// it writes itself, where it can.
func (e *Engine) openHost() {
	n := e.work.LogitRows * max(e.model.Vocab, e.model.Hidden)
	if from, ok := e.dev.(compute.HostAllocator); ok {
		if b, err := from.AllocHost(4 * n); err == nil {
			e.host, e.pinned = compute.NewTensor(dtype.F32, b, n).F32(), b
			return
		}
	}
	e.host = make([]float32, n)
}

// closeHost gives it back.
func (e *Engine) closeHost() (err error) {
	if e.pinned != nil {
		err = e.dev.(compute.HostAllocator).FreeHost(e.pinned)
	}
	e.host, e.pinned = nil, nil
	return err
}
