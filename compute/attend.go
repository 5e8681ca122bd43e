package compute

import (
	"math"
	"slices"
)

// Split is the number of selected blocks of a row that are summed by themselves
// before they join the row's total. Splits are counted along the row's own
// selection, so they depend on block numbers alone.
const Split = 16

// StateLen is the number of float32 that Attend keeps between parts for one row
// and query head: how many blocks the running split holds, then maximum, sum and
// weighted values [dim] of that split, then the same three of the total.
func StateLen(dim int) int { return 1 + 2*(2+dim) }

// AttendBegin makes state [N, heads, StateLen] ready for the first part.
func AttendBegin(state []float32, dim int) {
	n := StateLen(dim)
	for at := 0; at < len(state); at += n {
		s := state[at : at+n]
		clear(s)
		s[1], s[3+dim] = negInf, negInf
	}
}

// Attend continues softmax(q·kᵀ/√dim + bias)·v (spec nosa, section 2) over the
// blocks in parts, for the rows that selected them and the keys at or before each
// row. The bias is the token's importance score, absent without Scores. Parts
// come in ascending block order per KV head, over as many calls as it takes; the
// result does not depend on where they are cut.
//
//	q      [rows, heads, dim] float32, after rotation; heads is a multiple of the KV heads
//	state  [N, heads, StateLen] float32
func Attend(state, q Tensor, c *Cache, t Tile, sel Selection, parts []Part) {
	heads := q.Dims[1]
	group, own := heads/c.Heads, t.Own(c.Block)
	k, v := make([]float32, c.Block*c.Dim), make([]float32, c.Block*c.Dim)
	for _, p := range parts {
		for i, b := range p.Blocks {
			key, val := k, v
			if int(b) == own {
				key = t.Tail.F32()[p.Head*2*c.Block*c.Dim:][:c.Block*c.Dim]
				val = t.Tail.F32()[(p.Head*2+1)*c.Block*c.Dim:][:c.Block*c.Dim]
			} else {
				c.DecodeBlock(k, v, c.SlotData(p.Slots[i]))
			}
			var bias []float32
			if c.Scores {
				bias = c.Score.F32()[int(t.Tables[p.Head][b])*c.Block:][:c.Block]
			}
			for r := range t.N {
				if !sel.Has(r, p.Head, b) {
					continue
				}
				seen := min(c.Block, t.Pos+r+1-int(b)*c.Block)
				for g := range group {
					h := p.Head*group + g
					s := state.F32()[(r*heads+h)*StateLen(c.Dim):][:StateLen(c.Dim)]
					attendBlock(s, q.F32()[((t.Row+r)*heads+h)*c.Dim:][:c.Dim], key, val, bias, seen)
				}
			}
		}
	}
}

// Has reports whether a row of the tile selected block b for a KV head.
func (s Selection) Has(row, head int, b int32) bool {
	at := row*s.Count.Dims[1] + head
	n := s.Count.I32()[at]
	if n < 0 {
		return true
	}
	_, ok := slices.BinarySearch(s.Blocks.I32()[at*s.Blocks.Dims[2]:][:n], b)
	return ok
}

// List is a copy of what a row of a tile in block own selected for a KV head:
// block numbers, ascending, written out where the row sees every block.
func (s Selection) List(row, head, own int) []int32 {
	at := row*s.Count.Dims[1] + head
	if n := s.Count.I32()[at]; n >= 0 {
		return slices.Clone(s.Blocks.I32()[at*s.Blocks.Dims[2]:][:n])
	}
	list := make([]int32, own+1)
	for b := range list {
		list[b] = int32(b)
	}
	return list
}

// attendBlock adds the first seen keys of one block, k [dim, Block] and v [Block,
// dim], to a state.
func attendBlock(s, q, k, v, bias []float32, seen int) {
	dim, block := len(q), len(k)/len(q)
	logit := make([]float64, seen)
	top := s[1]
	for j := range logit {
		for d, x := range q {
			logit[j] += float64(x) * float64(k[d*block+j])
		}
		logit[j] /= math.Sqrt(float64(dim))
		if bias != nil {
			logit[j] += float64(bias[j])
		}
		top = max(top, float32(logit[j])) // as the state keeps it
	}
	shift := shiftOf(top)
	decay := math.Exp(float64(s[1]) - shift)
	sum := float64(s[2]) * decay
	acc := make([]float64, dim)
	for d := range acc {
		acc[d] = float64(s[3+d]) * decay
	}
	for j, x := range logit {
		p := math.Exp(x - shift)
		sum += p
		for d := range acc {
			acc[d] += p * float64(v[j*dim+d])
		}
	}
	s[1], s[2] = top, float32(sum)
	for d := range acc {
		s[3+d] = float32(acc[d])
	}
	if s[0]++; s[0] == Split {
		foldSplit(s, dim)
	}
}

// shiftOf is what is taken from the logits before they are exponentiated: their
// maximum, but nothing where all are −∞, so that they weigh 0.
func shiftOf(top float32) float64 {
	if top == negInf {
		return 0
	}
	return float64(top)
}

// foldSplit merges the running split into the total and starts the next one.
func foldSplit(s []float32, dim int) {
	cur, tot := s[1:3+dim], s[3+dim:]
	if s[0] == 0 {
		return
	}
	top := max(cur[0], tot[0])
	shift := shiftOf(top)
	a, b := math.Exp(float64(tot[0])-shift), math.Exp(float64(cur[0])-shift)
	for i := 1; i < len(tot); i++ {
		tot[i] = float32(float64(tot[i])*a + float64(cur[i])*b)
	}
	tot[0] = top
	clear(s[:3+dim])
	s[1] = negInf
}

// AttendEnd sets the rows of a tile in out [N, heads, dim] from their states. A
// row that attended to nothing gets zeros; one that is not a number stays so.
func AttendEnd(out, state []float32, dim int) {
	n := StateLen(dim)
	for i := 0; i*n < len(state); i++ {
		s := state[i*n : (i+1)*n]
		foldSplit(s, dim)
		tot := s[3+dim:]
		o := out[i*dim : (i+1)*dim]
		for d := range o {
			o[d] = 0
			if tot[1] != 0 {
				o[d] = tot[2+d] / tot[1]
			}
		}
	}
}
