package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"nosa/kv"
)

// Stream is one sequence that is held open between steps: tokens are fed to it,
// and it is decoded from as often as wanted, alone or beside others. It belongs
// to its engine's goroutine, and must be closed before the engine is.
type Stream struct {
	e   *Engine
	seq *kv.Sequence
	err error  // why it is unfit for more tokens
	in  uint64 // the last step that it was to be in
}

// ErrStream is returned for a stream that an earlier error, or Close, has ended.
var ErrStream = errors.New("the stream has ended")

// NewStream opens a stream of up to so many tokens. prefix is the beginning of
// what it will be fed: where another stream that is open now has computed the same
// tokens, its full blocks are taken over, Len begins at Shared, and Feed goes on
// from there. As many streams can be full at once as Options.Sequences says.
func (e *Engine) NewStream(tokens int, prefix []int32) (*Stream, error) {
	switch {
	case tokens < 1:
		return nil, fmt.Errorf("%w: a stream of %d tokens: want 1 or more", ErrOptions, tokens)
	case tokens > e.set.Context:
		return nil, fmt.Errorf("%w: a stream of %d tokens, the context has %d: try --context %d", ErrContext, tokens, e.set.Context, tokens)
	}
	if err := e.checkIDs(prefix); err != nil {
		return nil, err
	}
	return e.stream(kv.SequenceOptions{Tokens: tokens, Prefix: prefix})
}

func (e *Engine) stream(o kv.SequenceOptions) (*Stream, error) {
	seq, err := e.store.NewSequence(o)
	if err != nil {
		return nil, err
	}
	return &Stream{e: e, seq: seq}, nil
}

// Len is the number of tokens that the stream holds.
func (s *Stream) Len() int { return s.seq.Len() }

// Shared is the number of tokens that were taken over from another stream.
func (s *Stream) Shared() int { return s.seq.Shared() }

// Stats are the counters of its blocks, also after Close.
func (s *Stream) Stats() kv.Stats { return s.seq.Stats() }

// Err is why the stream takes no more tokens, or nil.
func (s *Stream) Err() error { return s.err }

// Close frees its blocks. A second call does nothing.
func (s *Stream) Close() {
	s.seq.Free()
	if s.err == nil {
		s.err = fmt.Errorf("%w: it was closed", ErrStream)
	}
}

// fail ends the stream: its blocks are not all of one step any more.
func (s *Stream) fail(err error) { s.err = fmt.Errorf("%w: %w", ErrStream, err) }

// Feed appends tokens, in chunks, and computes no logits of them: the last token
// of a prompt goes to DecodeStep instead. After an error that is not ErrOptions the
// stream is to be closed.
func (s *Stream) Feed(ctx context.Context, ids []int32) error {
	if err := s.e.checkIDs(ids); err != nil {
		return err
	}
	return s.feed(ctx, ids, math.MaxInt, func(int, int) error { return nil })
}

// feed appends tokens in chunks. Hidden states are wanted from position want on.
// f is called after each chunk, with the positions that it had.
func (s *Stream) feed(ctx context.Context, ids []int32, want int, f func(from, to int) error) error {
	for len(ids) > 0 {
		n := min(len(ids), s.e.set.Chunk)
		from := s.Len()
		if err := s.step(ctx, ids[:n], max(0, want-from)); err != nil {
			return err
		}
		if err := f(from, from+n); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// step is one forward pass of this stream alone. The first skip rows leave keys
// and values only.
func (s *Stream) step(ctx context.Context, ids []int32, skip int) error {
	e := s.e
	if err := e.begin(); err != nil {
		return err
	}
	if err := e.join(s, 0, ids); err != nil {
		return err
	}
	if e.set.OnSelect == nil { // which is told of every row
		e.batch.From = min(skip, len(ids))
	}
	if err := e.pass(ctx); err != nil {
		return err
	}
	return e.batch.Spans[0].Err
}

// StreamError is what went wrong for one stream of a step.
type StreamError struct {
	Index int // in the streams that the step was given
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
	Logits bool    // wanted, of what follows the last of them
}

// Step appends tokens to several streams, pieces of prompts and single ones of texts
// that are being generated alike, in one forward pass that reads the weights once. It
// takes up to Rows tokens in all. each is called with the logits [vocabulary] of what
// follows, for those parts that want them; they are valid during the call. A stream's
// logits are the same bits in any company and however its text was cut.
//
// What goes wrong with one stream is in a *StepError, and does not concern the
// others. Such a stream has failed for good, and its Err is set, unless nothing
// was done for it yet: kv.ErrFull (no room now: it may be tried again when another
// stream has ended) and kv.ErrLength (it holds all that it was opened for). An
// error of each is reported as the stream's too, which has gone on all the same.
//
// Any other error is of the whole step. ErrOptions means that nothing was done;
// after others, such as the end of ctx, streams whose Err is set have failed.
func (e *Engine) Step(ctx context.Context, parts []Part, each func(i int, logits []float32) error) error {
	if err := e.checkParts(parts); err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	var failed []StreamError
	e.batch.From = -1
	// Rows whose hidden states nobody wants come first, so that the last layer leaves
	// them out.
	for _, logits := range []bool{false, true} {
		for _, single := range []bool{false, true} {
			for i, p := range parts {
				if p.Logits != logits || (len(p.IDs) == 1) != single {
					continue
				}
				if err := e.join(p.Stream, i, p.IDs); err != nil {
					failed = append(failed, StreamError{i, err})
				} else if logits && e.batch.From < 0 {
					e.batch.From = len(e.batch.IDs) - 1
				}
			}
		}
	}
	if e.batch.From < 0 {
		e.batch.From = len(e.batch.IDs)
	}
	wanted := e.batch.From
	if e.set.OnSelect != nil { // which is told of every row
		e.batch.From = 0
	}
	if err := e.pass(ctx); err != nil {
		return err
	}
	for at := range e.riders {
		i, sp := e.riders[at].index, &e.batch.Spans[at]
		if !parts[i].Logits && sp.Err != nil {
			failed = append(failed, StreamError{i, sp.Err})
		}
	}
	rider, err := 0, error(nil)
	for from := wanted; from < len(e.batch.IDs) && err == nil; {
		for e.batch.Spans[rider].Last() < from {
			rider++
		}
		first := rider
		from = e.batch.Spans[first].Last()
		to := from
		for ; rider < len(e.riders) && e.batch.Spans[rider].Last() == to; rider++ {
			to++
		}
		err = e.logits(from, to, func(row int, logits []float32) error {
			r := first + row - from
			i, err := e.riders[r].index, e.batch.Spans[r].Err
			if err == nil {
				err = each(i, logits)
			}
			if err != nil {
				failed = append(failed, StreamError{i, err})
			}
			return nil
		})
		from = to
	}
	if err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(a, b StreamError) int { return a.Index - b.Index })
	return &StepError{failed}
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
		if len(p.IDs) == 0 {
			return fmt.Errorf("%w: stream %d of a step has no token in it", ErrOptions, i)
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
		e.parts = append(e.parts, Part{s, next[i : i+1], true})
	}
	return e.Step(ctx, e.parts, each)
}
