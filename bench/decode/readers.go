package decode

import "nosa/compute/cuda/step"

// span is the columns of a setting's cache: each sequence has whole of them, the first
// shared of which are those of all.
type span struct{ whole, shared, batch int }

func (s Setting) span(m Meaning) span {
	c := span{whole: (s.Context+s.Warm+s.Steps)/m.Layout.Block + 1, batch: s.Batch}
	if m.Shared { // what is full: a block that is still open belongs to one sequence
		c.shared = s.Context / m.Layout.Block
	}
	return c
}

// columns is how many there are.
func (c span) columns() int { return c.shared + (c.whole-c.shared)*c.batch }

// at is the column of a sequence's block.
func (c span) at(seat, block int) int32 {
	if block < c.shared {
		return int32(block)
	}
	return int32(c.shared + seat*(c.whole-c.shared) + block - c.shared)
}

// different is the share of a step's selected blocks that are left when those that several
// sequences select are counted once, in the middle of the steps that count. Of selections
// that nobody has recorded it is the least that there can be.
func (s Setting) different(m Meaning, r *step.Replay) float64 {
	c := s.span(m)
	if c.shared == 0 {
		return 1
	}
	if r == nil {
		return min(1, float64(c.whole)/float64(s.Batch*min(m.Select.K, c.whole)))
	}
	seen, all := map[int32]bool{}, 0
	var blocks []int32
	left := 0
	for layer := range m.Shape.Layers {
		for head := range m.Layout.Heads {
			clear(seen)
			for seat := range s.Batch {
				blocks = r.Selection(blocks[:0], seat, layer, head, s.Context+s.Warm+s.Steps/2)
				for _, b := range blocks {
					seen[c.at(seat, int(b))] = true
				}
				all += len(blocks)
			}
			left += len(seen)
		}
	}
	if all == 0 { // a context in which every block is selected
		return float64(c.columns()) / float64(s.Batch*c.whole)
	}
	return float64(left) / float64(all)
}
