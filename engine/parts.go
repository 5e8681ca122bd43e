package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// StreamError is what went wrong for one stream of a step.
type StreamError struct {
	Index int // in the parts that the step was given
	Err   error
}

func (e StreamError) Error() string { return fmt.Sprintf("stream %d: %v", e.Index, e.Err) }

func (e StreamError) Unwrap() error { return e.Err }

// StepError lists the streams of a step that failed; the others have gone on.
type StepError struct {
	Failed []StreamError // ascending in index
}

func (e *StepError) Error() string {
	say := make([]string, len(e.Failed))
	for i, f := range e.Failed {
		say[i] = f.Error()
	}
	return strings.Join(say, "; ")
}

func (e *StepError) Unwrap() []error {
	errs := make([]error, len(e.Failed))
	for i, f := range e.Failed {
		errs[i] = f
	}
	return errs
}

// Part is what one stream gets in a step.
type Part struct {
	Stream *Stream
	IDs    []int32 // the next tokens of its text, one at least
	Want   int     // logits are wanted of what follows each of the last so many of them
	Prompt bool    // they were given, and not generated: also a single one is read as prompts are
	// Hidden wants their hidden states after the last norm [hidden] instead, and no
	// logits are computed.
	Hidden bool

	// choice is who draws a token from what follows the last of them, in place of having it
	// called: from logits, or from what a device says of them.
	choice *choice
}

// said is what a row of a step has come to: its logits or hidden state, or what a choice has
// drawn from them.
type said struct {
	v     []float32
	token Token
	drawn bool
}

// Step appends tokens to several streams, pieces of prompts and single ones of texts
// that are being generated alike, in one forward pass that reads the weights once. It
// takes up to Rows tokens in all. each is called with the logits [vocabulary] of what
// follows a token, for all that are wanted: i is the part, at the token's index in its
// IDs, ascending. They are valid during the call. A stream's logits are the same bits
// in any company and however its text was cut.
//
// What goes wrong with one stream is in a *StepError, and does not concern the
// others. Such a stream has failed for good, and its Err is set, unless nothing
// was done for it yet: kv.ErrFull (no room now: it may be tried again when another
// stream has ended) and kv.ErrLength (it holds all that it was opened for). An
// error of each is reported as the stream's too, which has gone on all the same but
// is told no more of this step.
//
// Any other error is of the whole step. ErrOptions means that nothing was done;
// after others, such as the end of ctx, streams whose Err is set have failed.
func (e *Engine) Step(ctx context.Context, parts []Part, each func(i, at int, logits []float32) error) error {
	return e.run(ctx, parts, func(i, at int, s said) error { return each(i, at, s.v) })
}

// run is Step, for parts that may have a draw.
func (e *Engine) run(ctx context.Context, parts []Part, each func(i, at int, s said) error) error {
	if err := e.checkParts(parts); err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	var failed []StreamError
	// Rows whose hidden states nobody wants come first, so that the last layer leaves
	// them out.
	for sort := range 3 {
		for i, p := range parts {
			if p.sort() != sort {
				continue
			}
			if err := e.join(ctx, p, i); err != nil {
				failed = append(failed, StreamError{i, err})
			}
		}
	}
	first := 0 // rider of whom logits are wanted
	for first < len(e.riders) && parts[e.riders[first].index].Want == 0 {
		first++
	}
	if !e.seesAll() {
		e.batch.From = len(e.batch.IDs)
		for i := len(e.riders) - 1; i >= first; i-- {
			if !e.riders[i].sits {
				e.batch.From = e.wanted(parts, i)
			}
		}
	}
	if err := e.pass(ctx); err != nil {
		return err
	}
	for i := range e.riders {
		if r := &e.riders[i]; r.err != nil {
			failed = append(failed, StreamError{r.index, r.err})
		}
	}
	if err := e.drawLeft(); err != nil {
		return err
	}
	for first < len(e.riders) {
		// Rows in a row, of one rider or of several.
		from := e.wanted(parts, first)
		to, end := from, first
		r := &e.riders[first]
		if r.drawn {
			if err := each(r.index, r.n-1, said{token: r.token, drawn: true}); err != nil {
				failed = append(failed, StreamError{r.index, err})
			}
			first++
			continue
		}
		hidden := r.hidden
		for ; end < len(e.riders) && e.wanted(parts, end) == to && r.with(&e.riders[end]); end++ {
			to = e.first(&e.riders[end]) + e.riders[end].n
		}
		var over error // of the rider that row is of
		if err := e.pieces(hidden, from, to, func(from, to int, v []float32) error {
			e.draw(e.riders[first:end], from, to, v)
			width := len(v) / (to - from)
			for row := from; row < to; row++ {
				r := &e.riders[first]
				for ; row >= e.first(r)+r.n; r = &e.riders[first] {
					first, over = first+1, nil
				}
				own := v[(row-from)*width:][:width:width]
				if r.err != nil || over != nil {
					continue
				}
				if over = r.wrong; over == nil {
					over = each(r.index, row-e.first(r), said{v: own, token: r.token, drawn: r.drawn})
				}
				if over != nil {
					failed = append(failed, StreamError{r.index, over})
				}
			}
			return nil
		}); err != nil {
			return err
		}
		first = end
	}
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(a, b StreamError) int { return a.Index - b.Index })
	return &StepError{failed}
}

// sort is which parts come first in a batch: those without logits, those with some,
// those with all.
func (p Part) sort() int {
	switch p.Want {
	case 0:
		return 0
	case len(p.IDs):
		return 2
	}
	return 1
}

// wanted is the first row of a rider whose logits are wanted.
func (e *Engine) wanted(parts []Part, rider int) int {
	r := &e.riders[rider]
	return e.first(r) + r.n - parts[r.index].Want
}

// Rows is the most tokens of a step.
func (e *Engine) Rows() int { return e.work.Rows }

// checkParts refuses a step that can not be, and marks its streams as being in it.
func (e *Engine) checkParts(parts []Part) error {
	rows := 0
	e.asked++
	for i, p := range parts {
		if p.Stream.e != e || p.Stream.in == e.asked {
			return fmt.Errorf("%w: stream %d of a step is another engine's, or is in it twice", ErrOptions, i)
		}
		if len(p.IDs) == 0 || p.Want < 0 || p.Want > len(p.IDs) {
			return fmt.Errorf("%w: stream %d of a step has %d tokens in it, logits are wanted of %d", ErrOptions, i, len(p.IDs), p.Want)
		}
		if err := e.checkIDs(p.IDs); err != nil {
			return fmt.Errorf("stream %d of a step: %w", i, err)
		}
		p.Stream.in = e.asked
		rows += len(p.IDs)
	}
	if rows > e.work.Rows {
		return fmt.Errorf("%w: a step of %d tokens: want %d at most", ErrOptions, rows, e.work.Rows)
	}
	return nil
}

// DecodeStep is a Step that appends one token to each of several streams, next[i] to
// streams[i], and wants the logits of all. each is called in order.
func (e *Engine) DecodeStep(ctx context.Context, streams []*Stream, next []int32, each func(i int, logits []float32) error) error {
	if len(streams) != len(next) {
		return fmt.Errorf("%w: a step of %d streams and %d tokens: want as many of both", ErrOptions, len(streams), len(next))
	}
	e.parts = e.parts[:0]
	for i, s := range streams {
		e.parts = append(e.parts, Part{Stream: s, IDs: next[i : i+1], Want: 1})
	}
	return e.Step(ctx, e.parts, func(i, _ int, logits []float32) error { return each(i, logits) })
}
