package engine

import (
	"cmp"
	"slices"
	"time"
)

// scheduler decides which requests are in the next step, and with how many tokens
// each. It knows numbers alone: what time it is, and whether there is room, it is
// told; so its promises are proved by simulation.
//
//	           seat                       remove
//	waiting ──────────▶ running ──────────────▶
//	   ▲                   │
//	   └───── pause ───────┘   somebody of a higher priority wants the seat
//
// # Who gets a seat
//
// The highest priority first; among equals tenants share by start-time fair queueing
// (Goyal, Vin and Cheng, 1996): a request begins, in virtual time, where its tenant's
// last one has ended, but not before those that are being served; it takes as much of
// it as it may hold tokens; and who begins first goes first. So one tenant's many
// requests delay another's one by about one of theirs. To wait for the length of
// patience raises a request by one priority, so that none waits for ever.
//
// A request whose blocks have no room stops those that come after it and have no
// blocks either, so that small ones can not keep a large one out. A paused one keeps
// its blocks, which sink into the lower tiers as others want their slots, and needs no
// more than a seat to go on.
//
// # Who gets tokens
//
// Every running request that is being decoded gets its one in every step. What is left
// goes to prompts: a quarter to the one that was seated first, so that each comes to
// its end; the rest to the one that has least to go, and the next, which is what brings
// first tokens soonest on the average.
type scheduler struct {
	seats    int           // requests that run at once, at most
	rows     int           // tokens of a step, at most: more than seats, if there is more than one
	piece    int           // of them, of prompts, while anything is being decoded
	patience time.Duration // 0: priorities are for ever

	// later tells whether a request had better wait, since what it begins with is being
	// computed for another; nil: none does. It stops nobody else.
	later func(*job) bool

	waiting []*job
	running []*job // in the order of their seating
	turns   []turn
	order   []*job

	came    int64              // requests so far
	virtual float64            // where the last request that was seated began
	ends    map[string]float64 // by tenant: where its last request ends
}

// job is what the scheduler knows of a request.
type job struct {
	tenant   string
	priority int // the higher goes first
	prompt   int // tokens, one at least
	most     int // tokens that its stream may come to hold
	held     int // tokens that it holds
	opened   bool

	since  time.Time // that it waits
	number int64     // in the order of coming
	begins float64   // in virtual time
	rank   int       // with which it got its seat
}

// turn is a request's part of a step.
type turn struct {
	*job
	tokens int
}

// add queues a request.
func (s *scheduler) add(j *job, now time.Time) {
	if s.ends == nil {
		s.ends = map[string]float64{}
	}
	j.number, j.since = s.came, now
	s.came++
	j.begins = max(s.virtual, s.ends[j.tenant])
	s.ends[j.tenant] = j.begins + float64(j.most)
	s.waiting = append(s.waiting, j)
}

// remove takes a request out, wherever it is.
func (s *scheduler) remove(j *job) {
	is := func(o *job) bool { return o == j }
	s.waiting = slices.DeleteFunc(s.waiting, is)
	s.running = slices.DeleteFunc(s.running, is)
	if len(s.waiting)+len(s.running) == 0 {
		clear(s.ends) // of tenants that may never come again; virtual time goes on
	}
}

// step seats whom it can and returns the parts of the next step, which hold until the
// next call. open is asked to give a request its blocks.
func (s *scheduler) step(now time.Time, open func(*job) bool) []turn {
	s.seat(now, open)
	s.turns, s.order = s.turns[:0], s.order[:0]
	for _, j := range s.running {
		if j.held >= j.prompt {
			s.turns = append(s.turns, turn{j, 1})
		} else {
			s.order = append(s.order, j)
		}
	}
	if len(s.order) == 0 {
		return s.turns
	}
	left := s.rows - len(s.turns)
	if len(s.turns) > 0 {
		left = min(left, s.piece)
	}
	first := s.order[0]
	oldest := min(first.prompt-first.held, (left+3)/4)
	left -= oldest
	slices.SortStableFunc(s.order, func(a, b *job) int { return (a.prompt - a.held) - (b.prompt - b.held) })
	for _, j := range s.order {
		has := 0
		if j == first {
			has = oldest
		}
		more := min(j.prompt-j.held-has, left)
		left -= more
		if has+more > 0 {
			s.turns = append(s.turns, turn{j, has + more})
		}
	}
	return s.turns
}

// seat moves requests from waiting to running, in their order.
func (s *scheduler) seat(now time.Time, open func(*job) bool) {
	if len(s.waiting) == 0 {
		return
	}
	slices.SortFunc(s.waiting, func(a, b *job) int {
		if c := s.gained(b, now) - s.gained(a, now); c != 0 {
			return c
		}
		if c := cmp.Compare(a.begins, b.begins); c != 0 {
			return c
		}
		return int(a.number - b.number)
	})
	stopped := false
	var paused []*job
	s.waiting = slices.DeleteFunc(s.waiting, func(j *job) bool {
		if stopped && !j.opened {
			return false
		}
		if !j.opened && s.later != nil && s.later(j) {
			return false
		}
		var victim *job
		if len(s.running) >= s.seats {
			if victim = s.weakest(); victim.rank >= j.priority {
				return false
			}
		}
		if !j.opened && !open(j) {
			stopped = true
			return false
		}
		if victim != nil {
			s.running = slices.DeleteFunc(s.running, func(o *job) bool { return o == victim })
			victim.since = now
			paused = append(paused, victim)
		}
		j.opened, j.rank = true, s.gained(j, now)
		s.running = append(s.running, j)
		s.virtual = max(s.virtual, j.begins)
		return true
	})
	s.waiting = append(s.waiting, paused...)
}

// gained is a request's priority with what waiting has added.
func (s *scheduler) gained(j *job, now time.Time) int {
	if s.patience <= 0 {
		return j.priority
	}
	return j.priority + int(now.Sub(j.since)/s.patience)
}

// weakest is the running request that would be paused first: the lowest rank, and of
// those the one that came last. What it gained by waiting counts, or it could lose its
// seat before it has done anything, again and again.
func (s *scheduler) weakest() *job {
	return slices.MinFunc(s.running, func(a, b *job) int {
		if a.rank != b.rank {
			return a.rank - b.rank
		}
		return int(b.number - a.number)
	})
}
