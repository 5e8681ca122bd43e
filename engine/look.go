package engine

import (
	"context"
	"errors"
	"time"

	"nosa/kv"
)

// Phase says what a choice of a request is at.
type Phase string

const (
	Waiting Phase = "waiting" // for a seat, or for room
	Prefill Phase = "prefill" // its prompt is being read
	Decode  Phase = "decode"  // its answer is being written
	Paused  Phase = "paused"  // it has lost its seat to a higher priority
)

// RequestState is how one choice of a request that has not ended stands. It has no text.
type RequestState struct {
	ID       string // of its Order
	Tenant   string
	Priority int
	Choice   int
	Phase    Phase
	Seat     int // the place among those that run; −1: none
	Prompt   int // tokens
	Shared   int // of them, those that were in the cache
	Held     int // tokens that have gone through the model, those of the cache too
	Written  int // tokens of its answer
	Most     int // tokens that it may come to hold
	Age      time.Duration
}

// ErrNoRequest is returned for a request that is not there, or not any more.
var ErrNoRequest = errors.New("there is no such request")

// View is where blocks are; Range is a part of its layers, or of its columns.
type (
	View  = kv.View
	Range = kv.Range
)

// WatchedSteps is how far back a View's cells know what was wanted.
const WatchedSteps = kv.WatchedSteps

// watchFor is how long blocks are watched after somebody has looked at them.
const watchFor = 10 * time.Second

// ask has f run by the loop, after the step that runs.
func ask[T any](ctx context.Context, s *Service, f func() T) (v T, err error) {
	answer := make(chan T, 1) // nobody may be left who waits for it
	s.mu.Lock()
	s.looks = append(s.looks, func() { answer <- f() })
	s.poke()
	s.mu.Unlock()
	select {
	case v = <-answer:
		return v, nil
	case <-s.ended:
		return v, ErrDraining
	case <-ctx.Done():
		return v, context.Cause(ctx)
	}
}

// Look tells how the service stands, after the step that runs.
func (s *Service) Look(ctx context.Context) (State, error) { return ask(ctx, s, s.state) }

// Requests tells how requests stand of which seen says that they are to be told of, up
// to most: those that run in the order of their seating, then those that wait. left is
// how many more there are.
func (s *Service) Requests(ctx context.Context, seen func(tenant string) bool, most int) (states []RequestState, left int, err error) {
	type told struct {
		states []RequestState
		left   int
	}
	t, err := ask(ctx, s, func() (t told) {
		now := time.Now()
		tell := func(j *job, seat int) {
			switch r := s.runs[j]; {
			case !seen(r.tenant):
			case len(t.states) == most:
				t.left++
			default:
				t.states = append(t.states, r.look(now, seat))
			}
		}
		for seat, j := range s.sched.running {
			tell(j, seat)
		}
		for _, j := range s.sched.waiting {
			tell(j, -1)
		}
		return t
	})
	return t.states, t.left, err
}

// look is how a run stands that has a seat, or −1.
func (r *run) look(now time.Time, seat int) RequestState {
	st := RequestState{
		ID: r.a.o.ID, Tenant: r.tenant, Priority: r.priority, Choice: r.index, Phase: Decode, Seat: seat,
		Prompt: r.prompt, Held: r.held, Written: r.told, Most: r.most, Age: now.Sub(r.a.came),
	}
	switch {
	case r.s == nil:
		st.Phase = Waiting
	case seat < 0:
		st.Phase = Paused
	case r.held < r.prompt:
		st.Phase = Prefill
	}
	if r.s != nil {
		st.Shared = r.s.Shared()
	}
	return st
}

// Blocks tells where the blocks of a choice of a request are, if seen says so of whose
// it is; ErrNoRequest otherwise. See kv.Sequence.Look. From then on, for a while, it is
// noted which blocks are wanted.
func (s *Service) Blocks(ctx context.Context, seen func(tenant string) bool, id string, choice int, layers, columns Range) (kv.View, error) {
	type told struct {
		view kv.View
		err  error
	}
	t, err := ask(ctx, s, func() told {
		s.watch()
		for _, r := range s.runs {
			if r.a.o.ID != id || r.index != choice || !seen(r.tenant) {
				continue
			}
			if r.s == nil {
				return told{}
			}
			return told{view: r.s.seq.Look(layers, columns)}
		}
		return told{err: ErrNoRequest}
	})
	return t.view, errors.Join(err, t.err)
}

// Kept is Blocks for those that no request holds. See kv.Store.LookCached.
func (s *Service) Kept(ctx context.Context, layers, columns Range) (kv.View, error) {
	return ask(ctx, s, func() kv.View {
		s.watch()
		return s.e.store.LookCached(layers, columns)
	})
}

// watch has the store watched from now on.
func (s *Service) watch() {
	s.watched = time.Now()
	s.e.store.Watch(true)
}

// unwatch ends the watch when nobody has looked for a while.
func (s *Service) unwatch() {
	if !s.watched.IsZero() && time.Since(s.watched) > watchFor {
		s.watched = time.Time{}
		s.e.store.Watch(false)
	}
}
