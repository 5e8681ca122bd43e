package engine

import (
	"context"
	"errors"
	"fmt"
	"math"

	"nosa/kv"
	"nosa/policy"
)

// Stream is one sequence that is held open between steps: tokens are fed to it,
// and it is decoded from as often as wanted, alone or beside others. It belongs
// to its engine's goroutine, and must be closed before the engine is.
type Stream struct {
	e     *Engine
	seq   *kv.Sequence
	press *policy.Run // nil: nothing compresses it
	err   error       // why it is unfit for more tokens
	in    uint64      // the last step that it was to be in
}

// ErrStream is returned for a stream that an earlier error, or Close, has ended.
var ErrStream = errors.New("the stream has ended")

// NewStream opens a stream of up to so many tokens. prefix is the beginning of
// what it will be fed: where another stream that is open now has computed the same
// tokens, its full blocks are taken over, Len begins at Shared, and Feed goes on
// from there. As many streams can be full at once as Options.Sequences says,
// and as many be open as Options.Seats. A policy takes prefix for the prompt.
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
	return e.stream(kv.SequenceOptions{Tokens: tokens, Prefix: prefix}, prefix)
}

// stream opens a stream; prompt is what a policy takes for its prompt.
func (e *Engine) stream(o kv.SequenceOptions, prompt []int32) (*Stream, error) {
	var state policy.State
	var err error
	if e.press != nil {
		if state, err = e.beginPolicy(&o, prompt); err != nil {
			return nil, err
		}
	}
	seq, err := e.store.NewSequence(o)
	if err != nil {
		return nil, err
	}
	s := &Stream{e: e, seq: seq}
	if state != nil {
		s.press = e.press.Run(seq, state, prompt[:seq.Shared()])
	}
	return s, nil
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
		skip := min(max(0, want-from), n)
		if err := s.step(ctx, Part{IDs: ids[:n], Want: n - skip, Prompt: true}); err != nil {
			return err
		}
		if err := f(from, from+n); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

// step is one forward pass of this stream alone. Rows of which nothing is wanted leave keys
// and values only.
func (s *Stream) step(ctx context.Context, p Part) error {
	e := s.e
	if err := e.begin(); err != nil {
		return err
	}
	p.Stream = s
	if err := e.join(ctx, p, 0); err != nil {
		return err
	}
	if !e.seesAll() {
		e.batch.From = min(len(p.IDs)-p.Want, len(e.batch.IDs))
	}
	if err := e.pass(ctx); err != nil {
		return err
	}
	return e.riders[0].err
}
