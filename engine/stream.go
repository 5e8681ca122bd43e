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
	in  uint64 // the last step that it was asked to join
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

// DecodeStep appends one token to each of several streams, next[i] to streams[i],
// in one forward pass that reads the weights once. each is called, in order, with
// the logits [vocabulary] of what follows; they are valid during the call. A
// stream's logits are the same bits in any company.
//
// What goes wrong with one stream is in a *StepError, and does not concern the
// others. Such a stream has failed for good, and its Err is set, unless nothing
// was done for it yet: kv.ErrFull (no room now: it may be tried again when another
// stream has ended) and kv.ErrLength (it holds all that it was opened for). An
// error of each is reported as the stream's too, which has gone on all the same.
//
// Any other error is of the whole step. ErrOptions means that nothing was done;
// after others, such as the end of ctx, streams whose Err is set have failed.
func (e *Engine) DecodeStep(ctx context.Context, streams []*Stream, next []int32, each func(i int, logits []float32) error) error {
	if len(streams) != len(next) || len(streams) > e.work.Rows {
		return fmt.Errorf("%w: a step of %d streams and %d tokens: want as many of both, and %d at most", ErrOptions, len(streams), len(next), e.work.Rows)
	}
	if err := e.checkIDs(next); err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	for i, s := range streams {
		if s.e != e || s.in == e.steps {
			return fmt.Errorf("%w: stream %d of a step is another engine's, or is in it twice", ErrOptions, i)
		}
		s.in = e.steps
	}
	var failed []StreamError
	for i, s := range streams {
		if err := e.join(s, i, next[i:i+1]); err != nil {
			failed = append(failed, StreamError{i, err})
		}
	}
	if err := e.pass(ctx); err != nil {
		return err
	}
	if err := e.logits(0, len(e.batch.IDs), func(row int, logits []float32) error {
		i, err := e.riders[row].index, e.batch.Spans[row].Err
		if err == nil {
			err = each(i, logits)
		}
		if err != nil {
			failed = append(failed, StreamError{i, err})
		}
		return nil
	}); err != nil {
		return err
	}
	if len(failed) == 0 {
		return nil
	}
	slices.SortFunc(failed, func(a, b StreamError) int { return a.Index - b.Index })
	return &StepError{failed}
}
