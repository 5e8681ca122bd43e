package engine

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/model"
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

// rider is a stream of the batch that is being made.
type rider struct {
	*Stream
	index int // by which the caller knows it
}

// begin begins a step: an empty batch, for streams to join.
func (e *Engine) begin() error {
	if err := e.Checkpoint.Check(); err != nil {
		return err
	}
	e.store.BeginStep()
	e.batch.Reset()
	e.riders = e.riders[:0]
	return nil
}

// join gives a stream's next tokens rows in the batch. An error leaves the stream
// and the batch as they were.
func (e *Engine) join(s *Stream, index int, ids []int32) error {
	if s.err != nil {
		return s.err
	}
	if err := s.seq.Reserve(len(ids)); err != nil {
		return err
	}
	e.batch.Add(s.seq, ids)
	e.riders = append(e.riders, rider{s, index})
	return nil
}

// pass runs the batch, whose hidden states are in the workspace afterwards. Its
// error is of the whole batch and ends all streams in it; the error of one is in
// its span, and ends that one.
func (e *Engine) pass(ctx context.Context) error {
	err := e.guard(func() error { return e.model.Forward(ctx, e.att, e.work, &e.batch) })
	for i, r := range e.riders {
		sp := &e.batch.Spans[i]
		switch {
		case err != nil:
			r.fail(err)
		case sp.Err != nil:
			r.fail(sp.Err)
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
	return e.outputs(e.model.Logits, e.model.Vocab, from, to, f)
}

// outputs calls f with what the model makes of rows from to to−1 of the last step, width
// numbers each.
func (e *Engine) outputs(of func(w *model.Workspace, from, to int) compute.Tensor, width, from, to int, f func(row int, v []float32) error) error {
	for at := from; at < to; at += e.work.LogitRows {
		end := min(at+e.work.LogitRows, to)
		var t compute.Tensor
		if err := e.guard(func() error { t = of(e.work, at, end); return nil }); err != nil {
			return err
		}
		v := t.F32()
		if v == nil { // a device with memory of its own
			if e.host == nil {
				e.host = make([]float32, e.work.LogitRows*max(e.model.Vocab, e.model.Hidden))
			}
			v = e.host[:t.Len()]
			e.dev.Download(compute.F32s(v, len(v)).Data, t)
		}
		for r := at; r < end; r++ {
			if err := f(r, v[(r-at)*width:(r-at+1)*width]); err != nil {
				return err
			}
		}
	}
	return nil
}
