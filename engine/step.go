package engine

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/kv"
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

// step runs the tokens ids of one sequence, after the ones it holds, and leaves
// their hidden states in the workspace. An error leaves the sequence unfit for
// more.
func (e *Engine) step(ctx context.Context, seq *kv.Sequence, ids []int32) error {
	if err := e.Checkpoint.Check(); err != nil {
		return err
	}
	e.store.BeginStep()
	if err := seq.Reserve(len(ids)); err != nil {
		return err
	}
	at := seq.Len()
	b := model.Batch{IDs: ids, Pos: make([]int32, len(ids)), Spans: []model.Span{{Seq: seq, N: len(ids)}}}
	for i := range b.Pos {
		b.Pos[i] = int32(at + i)
	}
	if err := e.guard(func() error { return e.model.Forward(ctx, e.att, e.work, &b) }); err != nil {
		return err
	}
	if err := b.Spans[0].Err; err != nil {
		return err
	}
	seq.Advance(ids)
	return nil
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

// chunks calls f for every prefill step over ids, which the sequence may hold in
// part already.
func (e *Engine) chunks(ctx context.Context, seq *kv.Sequence, ids []int32, f func(from, to int) error) error {
	for from := seq.Len(); from < len(ids); {
		to := min(from+e.set.Chunk, len(ids))
		if err := e.step(ctx, seq, ids[from:to]); err != nil {
			return err
		}
		if err := f(from, to); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// logits calls f with the logits of rows from to to−1 of the last step.
func (e *Engine) logits(from, to int, f func(row int, logits []float32) error) error {
	vocab := e.model.Vocab
	host := make([]float32, 0)
	for at := from; at < to; at += e.work.LogitRows {
		end := min(at+e.work.LogitRows, to)
		var t compute.Tensor
		if err := e.guard(func() error { t = e.model.Logits(e.work, at, end); return nil }); err != nil {
			return err
		}
		v := t.F32()
		if v == nil { // a device with memory of its own
			host = append(host[:0], make([]float32, t.Len())...)
			download(e, host, t)
			v = host
		}
		for r := at; r < end; r++ {
			if err := f(r, v[(r-at)*vocab:(r-at+1)*vocab]); err != nil {
				return err
			}
		}
	}
	return nil
}
