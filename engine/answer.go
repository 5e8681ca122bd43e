package engine

import (
	"context"
	"io"
	"sync"
	"time"

	"nosa/kv"
)

// Answer is what comes of a request of a Service. Next is for one goroutine, Cancel
// for any.
type Answer struct {
	s     *Service
	o     Order
	came  time.Time
	watch func() bool // ends the watch over the caller's context
	runs  []*run      // of the service's loop alone

	mu     sync.Mutex
	events []Event
	ready  chan struct{}
	left   int   // choices that have not ended
	over   bool  // no event will come any more
	err    error // why it failed
	cause  error // why nobody wants it any more
	usage  ServiceUsage
	stats  kv.Stats
	prompt []Token
	vector []float32
}

// Event is what is new of one choice.
type Event struct {
	Choice int
	Text   string  // that is certain now, in whole characters
	Tokens []Token // that were generated; their text may be held back
	Finish string  // FinishStop or FinishLength with the last event of a choice
	End    *Token  // that ended the choice and is none of its tokens, if log-probabilities were asked for
}

// ServiceUsage is Usage with the time in the queue. Prefill ends with the first token of
// the first choice, Decode with the last one of all.
type ServiceUsage struct {
	Usage
	Queue time.Duration
}

// Next waits for what comes next. It returns io.EOF after the last event of all
// choices, and the error that the request has failed with after the last event before
// it. When ctx ends, the request goes on.
func (a *Answer) Next(ctx context.Context) (Event, error) {
	for {
		a.mu.Lock()
		switch {
		case len(a.events) > 0:
			e := a.events[0]
			if a.events = a.events[1:]; len(a.events) == 0 {
				a.events = nil
			}
			a.mu.Unlock()
			return e, nil
		case a.err != nil:
			defer a.mu.Unlock()
			return Event{}, a.err
		case a.over:
			a.mu.Unlock()
			return Event{}, io.EOF
		}
		a.mu.Unlock()
		select {
		case <-a.ready:
		case <-ctx.Done():
			return Event{}, context.Cause(ctx)
		}
	}
}

// Cancel ends the request, if it has not ended; Next says ErrCancelled then. What it
// held is free before the step after the one that runs.
func (a *Answer) Cancel() { a.cancel(ErrCancelled) }

func (a *Answer) cancel(cause error) {
	a.mu.Lock()
	late := a.over || a.err != nil || a.cause != nil
	if !late {
		a.cause = cause
	}
	a.mu.Unlock()
	if late {
		return
	}
	a.s.mu.Lock()
	defer a.s.mu.Unlock()
	a.s.leaving = append(a.s.leaving, a)
	a.s.poke()
}

// Usage counts tokens and time; it is whole when Next has said io.EOF.
func (a *Answer) Usage() ServiceUsage {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.usage
}

// Stats are the counters of the blocks of all choices, and where the blocks were that each held at its end; they are whole as
// Usage is.
func (a *Answer) Stats() kv.Stats {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.stats
}

// Prompt is the prompt's tokens with their log-probabilities, if they were asked for:
// all of them when the first event is there.
func (a *Answer) Prompt() []Token {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.prompt
}

// Vector is the text's, if Order.Embed has asked for it, when Next has said io.EOF.
func (a *Answer) Vector() []float32 {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.vector
}

// tell hands an event over. One of a choice whose last event nobody has taken yet is
// added to that.
func (a *Answer) tell(e Event) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch a.usage.Completion += len(e.Tokens); {
	case a.usage.Prefill == 0:
		a.usage.Prefill = max(1, time.Since(a.came)-a.usage.Queue)
	default:
		a.usage.Decode = time.Since(a.came) - a.usage.Queue - a.usage.Prefill
	}
	if n := len(a.events); n > 0 && a.events[n-1].Choice == e.Choice {
		last := &a.events[n-1]
		last.Text += e.Text
		last.Tokens = append(last.Tokens, e.Tokens...)
		last.Finish, last.End = e.Finish, e.End
	} else {
		a.events = append(a.events, e)
	}
	a.poke()
}

func (a *Answer) poke() {
	select {
	case a.ready <- struct{}{}:
	default:
	}
}

// seated notes the end of the wait, and how many tokens of the prompt are there.
func (a *Answer) seated(shared int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.usage.Queue, a.usage.Shared = time.Since(a.came), shared
}

func (a *Answer) embedded(v []float32) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.vector = v
}

func (a *Answer) promptToken(t Token) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.prompt = append(a.prompt, t)
}

// finished counts a choice that has come to its end, and reports whether it was the
// last one.
func (a *Answer) finished(stats kv.Stats) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stats.Add(stats)
	a.left--
	a.over = a.left == 0
	if a.over {
		a.poke()
	}
	return a.over
}

// failed ends all that is left, and reports whether anything was.
func (a *Answer) failed(err error) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.over || a.err != nil {
		return false
	}
	a.err = err
	a.poke()
	return true
}

// why is the cause of a cancellation.
func (a *Answer) why() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cause
}
