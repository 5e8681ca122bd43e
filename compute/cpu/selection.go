package cpu

import (
	"math"

	"nosa/compute"
)

// selection is the task of Select; a piece is a run of a tile's rows.
type selection struct {
	sel              compute.Selection
	byQuery, byScore []float32
	tile             compute.Tile
	own, heads       int
	forced           int
	params           compute.SelectParams
	step             int
}

// Select: see compute.Select, whose result this is: the best blocks are found by
// partition instead of by sorting them all.
func (d *Device) Select(sel compute.Selection, byQuery, byScore compute.Tensor, t compute.Tile, block int, p compute.SelectParams) {
	s := &d.selection
	*s = selection{sel: sel, tile: t, own: t.Own(block), heads: sel.Blocks.Dims[1], params: p}
	if p.ByQuery {
		s.byQuery = byQuery.F32()[:t.N*s.heads*(s.own+1)]
	}
	if p.ByScore {
		s.byScore = byScore.F32()[:t.N*s.heads*(s.own+1)]
	}
	for b := range s.own + 1 {
		if p.Forced(b, s.own) {
			s.forced++
		}
	}
	var pieces int
	s.step, pieces = d.share(t.N, 8*s.heads*(s.own+1))
	d.team.do(s, pieces)
	*s = selection{}
}

func (s *selection) run(w *worker, piece int) {
	n, p := s.own+1, s.params
	places := s.sel.Blocks.Dims[2]
	in, keys := room(&w.in, n), room(&w.order, n)
	for at := piece * s.step * s.heads; at < min(s.tile.N, (piece+1)*s.step)*s.heads; at++ {
		count := &s.sel.Count.I32()[at]
		if s.tile.Pos+at/s.heads < p.DenseLen || n <= p.K {
			*count = -1
			continue
		}
		for b := range in {
			in[b] = p.Forced(b, s.own)
		}
		have := s.forced
		if p.ByQuery {
			want := p.K
			if p.ByScore {
				want = min(p.K, p.Init+p.Local+p.Query)
			}
			have = take(in, keys, s.byQuery[at*n:(at+1)*n], have, want)
		}
		if p.ByScore {
			have = take(in, keys, s.byScore[at*n:(at+1)*n], have, p.K)
		}
		row := s.sel.Blocks.I32()[at*places : (at+1)*places]
		*count = int32(have)
		i := 0
		for b, chosen := range in {
			if chosen {
				row[i] = int32(b)
				i++
			}
		}
		for ; i < places; i++ {
			row[i] = -1
		}
	}
}

// take adds the best blocks by score to in until there are want, lower numbers
// first among equals, and returns how many there are.
func take(in []bool, keys []uint64, score []float32, have, want int) int {
	if have >= want {
		return have
	}
	keys = keys[:0]
	for b, chosen := range in {
		if !chosen {
			keys = append(keys, rank(score[b], b))
		}
	}
	n := min(want-have, len(keys))
	largest(keys, n)
	for _, key := range keys[:n] {
		in[uint32(math.MaxUint32-key&math.MaxUint32)] = true
	}
	return have + n
}

// rank is a number that is greater for what is to be taken first: by score, what
// is not a number last, then by lower block. No two blocks have the same.
func rank(score float32, block int) uint64 {
	var order uint32
	switch u := math.Float32bits(score); {
	case score != score:
	case score == 0: // of either sign
		order = 1 << 31
	case u>>31 == 0:
		order = u | 1<<31
	default:
		order = ^u
	}
	return uint64(order)<<32 | uint64(math.MaxUint32-uint32(block))
}

// largest moves the n largest keys, which are all different, to the front.
func largest(keys []uint64, n int) {
	lo, hi := 0, len(keys)
	for hi-lo > 1 && n > lo && n < hi {
		// Median of three against sorted input; keys are distinct, so every round
		// takes at least the pivot away.
		a, b, c := keys[lo], keys[(lo+hi)/2], keys[hi-1]
		pivot := max(min(a, b), min(max(a, b), c))
		i, j := lo, hi-1
		for i <= j {
			switch {
			case keys[i] > pivot:
				i++
			case keys[j] < pivot:
				j--
			default:
				keys[i], keys[j] = keys[j], keys[i]
				i++
				j--
			}
		}
		// Now keys[lo:j+1] ≥ pivot ≥ keys[i:hi].
		switch {
		case n <= j+1:
			hi = j + 1
		case n >= i:
			lo = i
		default:
			return
		}
	}
}
