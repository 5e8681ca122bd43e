package engine

import (
	"bytes"
	"slices"
)

// later tells whether a request had better wait for another that is reading the same
// beginning: questions about one document that come together have it read once, by the
// first, and the others take its blocks over when it is there.
func (s *Service) later(j *job) bool {
	r := s.runs[j]
	if r.a.o.whole() && r.index == 0 {
		return false
	}
	if r.ahead != nil && !s.reads(r.ahead, r.alike) {
		r.ahead = nil // it is there, or will not be
	}
	if r.ahead == nil {
		for _, j := range s.sched.running {
			o := s.runs[j]
			if n := s.commonBlocks(r, o); n > 0 && s.reads(o, n) && (r.ahead == nil || n > r.alike) {
				r.ahead, r.alike = o, n
			}
		}
	}
	return r.ahead != nil
}

// reads tells whether a request has a seat, and so many tokens of its prompt are still to
// come.
func (s *Service) reads(r *run, tokens int) bool {
	return s.runs[&r.job] == r && r.held < tokens && slices.Contains(s.sched.running, &r.job)
}

// commonBlocks is how many tokens with which both prompts begin one can take over from the
// other; 0 where those are there already.
func (s *Service) commonBlocks(r, from *run) int {
	a, b := r.a.o.IDs, from.a.o.IDs
	most := min(len(a)-1, len(b)) // the last token has to be computed in any case
	if from.held >= most || a[from.held] != b[from.held] || !bytes.Equal(r.a.o.Salt, from.a.o.Salt) {
		return 0
	}
	n := 0
	for n < most && a[n] == b[n] {
		n++
	}
	if n -= n % s.e.set.layout.Block; n <= from.held {
		return 0
	}
	return n
}
