package compute

import (
	"cmp"
	"slices"
)

// Forced reports whether block b is selected for a row of block own whatever the
// scores say: the first blocks, the own one and those just before it.
func (p SelectParams) Forced(b, own int) bool {
	return b <= own && (b < p.Init || b >= own-p.Local)
}

// forcedCount is the number of forced blocks of a row in block own.
func (p SelectParams) forcedCount(own int) int {
	local := min(p.Local, own) + 1
	return local + min(p.Init, own+1-local)
}

// Most is the largest number of blocks that a row can select.
func (p SelectParams) Most() int {
	return max(p.K, p.Init+p.Local+1)
}

// Wanted is the most blocks beside its own that a row of a context can select.
func (p SelectParams) Wanted(context, block int) int {
	own := (context+block-1)/block - 1 // the last row's
	every := min(context, p.DenseLen)  // rows that see every block
	return min(own, max(p.Most()-1, (every+block-1)/block-1, 0))
}

// Select fills sel for the rows of a tile (spec nosa, section 3, steps 4 to 8)
// from the two scores [N, kvHeads, blocks], of which the one that the method does
// not use is absent. Forced blocks come first; then the query chooses up to Init
// + Local + Query blocks in all (or K, where no importance score follows); then
// the importance score fills up to K. Equal scores: lower block number first.
func Select(sel Selection, byQuery, byScore Tensor, t Tile, block int, p SelectParams) {
	own := t.Own(block)
	heads, places := sel.Blocks.Dims[1], sel.Blocks.Dims[2]
	order := make([]int32, own+1)
	in := make([]bool, own+1)
	for r := range t.N {
		for h := range heads {
			at := r*heads + h
			count := &sel.Count.I32()[at]
			if t.Pos+r < p.DenseLen || own+1 <= p.K {
				*count = -1
				continue
			}
			for b := range in {
				in[b] = p.Forced(b, own)
			}
			n := p.forcedCount(own)
			if p.ByQuery {
				want := p.K
				if p.ByScore {
					want = min(p.K, p.Init+p.Local+p.Query)
				}
				n = take(in, order, byQuery.F32()[at*(own+1):(at+1)*(own+1)], n, want)
			}
			if p.ByScore {
				n = take(in, order, byScore.F32()[at*(own+1):(at+1)*(own+1)], n, p.K)
			}
			row := sel.Blocks.I32()[at*places : (at+1)*places]
			*count = int32(n)
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
}

// take adds the best blocks by score to in until there are want, and returns how
// many there are.
func take(in []bool, order []int32, score []float32, have, want int) int {
	if have >= want {
		return have
	}
	order = order[:0]
	for b, chosen := range in {
		if !chosen {
			order = append(order, int32(b))
		}
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := cmp.Compare(score[b], score[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	for _, b := range order[:min(want-have, len(order))] {
		in[b] = true
		have++
	}
	return have
}
