package kv

import (
	"context"
	"fmt"
)

// promise is room that is set aside for a sequence: what its Reserves will take.
type promise struct{ columns, homes int }

func (p *promise) add(columns, homes int) {
	p.columns += columns
	p.homes += homes
}

// within is the room that there is for blocks that somebody will hold: what is free,
// what dying blocks will give back, and what cached ones can.
func (s *Store) within() promise {
	cached := s.cached.n
	return promise{s.free.left + s.dyingColumns + cached, s.cfg.homes() - s.due + s.dyingDue + cached*s.cfg.Layers*s.cfg.Layout.Heads}
}

// spares reports whether a cached column can be held again without the room that has
// been promised to others.
func (s *Store) spares() bool {
	have, width := s.within(), s.cfg.Layers*s.cfg.Layout.Heads
	return have.columns > s.promised.columns && have.homes-width >= s.promised.homes
}

// setAside promises a new sequence room for all that it may hold, beside what it has
// taken over, or returns ErrFull. Cached columns are not ended for it yet.
func (s *Store) setAside(q *Sequence) error {
	l := s.cfg.Layout
	width := s.cfg.Layers * l.Heads
	tokens := max(q.opt.Tokens, 0)
	need := promise{(tokens+l.Block-1)/l.Block - len(q.columns), (tokens/l.Block - q.dues) * width}
	if q.opt.Rewrites {
		q.rewritten.columns = tokens / l.Block
		need.columns += q.rewritten.columns
		q.rewritten.homes = q.dues * width // what it has taken over stays with others when it replaces it
		need.homes += q.rewritten.homes
	}
	have := s.within()
	if columns, homes := have.columns-s.promised.columns, have.homes-s.promised.homes; need.columns > columns || need.homes > homes {
		q.rewritten.columns, q.rewritten.homes = 0, 0
		return fmt.Errorf("kv: sequence of %d tokens: it needs %d block ids and %d homes, %d and %d can be had: %w: wait for other sequences, shorten it, or raise --kv-host or --kv-disk",
			tokens, need.columns*width, need.homes, columns*width, homes, ErrFull)
	}
	q.promise = need
	s.promised.add(need.columns, need.homes)
	return nil
}

// makeFree reports whether q can have so many columns and homes, after having ended as
// many cached columns as it takes. What has been promised is left, but for its own part that
// this is.
func (s *Store) makeFree(q *Sequence, own promise, columns, homes int) bool {
	now := func(soon, soonHomes int) bool {
		return columns <= s.free.left+soon && homes <= s.cfg.homes()-s.due+soonHomes
	}
	can := func() bool {
		have := s.within()
		return columns <= have.columns-(s.promised.columns-own.columns) && homes <= have.homes-(s.promised.homes-own.homes)
	}
	if !can() {
		s.settle(false)
	}
	if !can() {
		return false
	}
	for !now(0, 0) {
		switch s.settle(false); {
		case now(0, 0):
		case !now(s.dyingColumns, s.dyingDue) && s.forget():
		case s.dying > 0 && !s.hung:
			// Those who held these blocks are gone; what moves them will report soon.
			if s.await(context.Background(), q, -1, func() (bool, error) { return now(0, 0) || s.dying == 0, nil }) != nil {
				return false
			}
		case !s.forget():
			return false
		}
	}
	return true
}
