package corpus

import (
	"fmt"
	"math"
	"sort"
)

// Documents are cut into windows of the context's length; what is left of each, and each document that is shorter, is a
// remainder. A set is two lanes: the windows, each of which fills a sequence, and the remainders, which are packed one behind
// the other and cut where a sequence ends, to go on in the next. So no long window is cut to make up for a short one before
// it. Either lane is shuffled anew in each epoch.

// span is a part of a document.
type span struct{ document, begin, length uint64 }

// lane is an endless row of tokens.
type lane interface {
	// fill sets all of tokens and targets, and calls begins with the rows, in order from 0, where documents begin.
	fill(tokens, targets []int32, begins func(row int)) error
	position() Position
	moveTo(p Position) error
}

// spanLane is a lane of a set's windows or remainders.
type spanLane struct {
	set   *Set
	count uint64
	span  func(i uint64) span
	seed  uint64

	epoch, index, offset uint64
	ids                  []int32
}

// lanesOf makes the lanes of a set, with the tokens of an epoch of each.
func lanesOf(set *Set, context uint64, seed uint64) (lanes []*spanLane, tokens []uint64, err error) {
	n := set.Documents()
	if n > math.MaxUint32 {
		return nil, nil, fmt.Errorf("%s: %d documents, at most %d can be shuffled: %w", set.dir, n, uint32(math.MaxUint32), ErrConfig)
	}
	windows := make([]uint64, 0, n) // by document: full windows in it and all before it
	var rest []uint32               // documents with a remainder
	var full, left uint64
	for _, sh := range set.shards {
		for d := range sh.documents {
			begin, end := sh.document(d)
			full += (end - begin) / context
			if r := (end - begin) % context; r > 0 {
				rest = append(rest, uint32(len(windows)))
				left += r
			}
			windows = append(windows, full)
		}
	}
	if full > 0 {
		lanes = append(lanes, &spanLane{set: set, count: full, seed: derive(seed, 0), span: func(i uint64) span {
			d := sort.Search(len(windows), func(d int) bool { return windows[d] > i })
			if d > 0 {
				i -= windows[d-1]
			}
			return span{uint64(d), i * context, context}
		}})
		tokens = append(tokens, full*context)
	}
	if left > 0 {
		lanes = append(lanes, &spanLane{set: set, count: uint64(len(rest)), seed: derive(seed, 1), span: func(i uint64) span {
			d := uint64(rest[i])
			length := set.length(d)
			return span{d, length - length%context, length % context}
		}})
		tokens = append(tokens, left)
	}
	return lanes, tokens, nil
}

func (l *spanLane) fill(tokens, targets []int32, begins func(row int)) error {
	for row := 0; row < len(tokens); {
		s := l.span(permute(derive(l.seed, l.epoch), l.index, l.count))
		n := min(s.length-l.offset, uint64(len(tokens)-row))
		at := s.begin + l.offset
		known := min(n+1, l.set.length(s.document)-at) // one more than is served, for the last target
		if uint64(cap(l.ids)) < known {
			l.ids = make([]int32, known)
		}
		ids := l.ids[:known]
		if err := l.set.read(s.document, at, ids); err != nil {
			return err
		}
		begins(row)
		copy(tokens[row:], ids[:n])
		copy(targets[row:], ids[1:])
		if row += int(n); known == n {
			targets[row-1] = -1
		}
		if l.offset += n; l.offset == s.length {
			l.offset = 0
			if l.index++; l.index == l.count {
				l.index = 0
				l.epoch++
			}
		}
	}
	return nil
}

func (l *spanLane) position() Position {
	return Position{Epoch: l.epoch, Index: l.index, Offset: l.offset}
}

func (l *spanLane) moveTo(p Position) error {
	if p.Index >= l.count {
		return fmt.Errorf("index %d of %d: %w", p.Index, l.count, ErrState)
	}
	if s := l.span(permute(derive(l.seed, p.Epoch), p.Index, l.count)); p.Offset >= s.length {
		return fmt.Errorf("offset %d in a part of %d tokens: %w", p.Offset, s.length, ErrState)
	}
	l.epoch, l.index, l.offset = p.Epoch, p.Index, p.Offset
	return nil
}
