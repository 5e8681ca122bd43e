package tokenizer

import "slices"

// scratch is what one encoding needs besides its result. It is reused, by one encoding at a time.
type scratch struct {
	ids   []int32
	to    []int32
	rank  []uint32
	next  []int32
	prev  []int32
	heap  []uint64
	text  []byte
	edges []int32
	runes []rune

	outer, inner []span
	words        *wordCache
	seen         int          // bytes of text so far
	word         func(string) // appends a word's ids to out
	out          []int32      // the caller's slice
	err          error
}

// scratchMax bounds what a scratch keeps when it is put back, in symbols.
const scratchMax = 1 << 16

func (sc *scratch) trim() {
	if cap(sc.ids) > scratchMax || cap(sc.heap) > scratchMax || cap(sc.text) > 4*scratchMax || cap(sc.runes) > scratchMax {
		sc.ids, sc.to, sc.rank, sc.next, sc.prev, sc.heap, sc.text, sc.edges, sc.runes = nil, nil, nil, nil, nil, nil, nil, nil, nil
	}
	if cap(sc.outer) > scratchMax || cap(sc.inner) > scratchMax {
		sc.outer, sc.inner = nil, nil
	}
	sc.out, sc.err = nil, nil
}

// fewSymbols is the length up to which looking through all pairs beats keeping a heap of them.
const fewSymbols = 48

// apply merges ids in place and returns what is left of them.
func (m *merges) apply(ids []int32, sc *scratch) []int32 {
	if len(ids) < 2 {
		return ids
	}
	sc.rank = grow(sc.rank, len(ids))
	sc.to = grow(sc.to, len(ids))
	for i := range len(ids) - 1 {
		sc.rank[i], sc.to[i] = m.find(ids[i], ids[i+1])
	}
	sc.rank[len(ids)-1] = noRank
	if len(ids) <= fewSymbols {
		return m.applyFew(ids, sc.rank, sc.to)
	}
	return m.applyMany(ids, sc)
}

// applyFew removes each merged symbol from the slices: O(n²), and fast for the length of words.
// rank[i] and to[i] are of the pair i, i+1.
func (m *merges) applyFew(ids []int32, rank []uint32, to []int32) []int32 {
	n := len(ids)
	for n > 1 {
		best, at := uint32(noRank), 0
		for i, r := range rank[:n-1] {
			if r < best {
				best, at = r, i
			}
		}
		if best == noRank {
			break
		}
		ids[at] = to[at]
		copy(ids[at+1:], ids[at+2:n])
		copy(rank[at+1:], rank[at+2:n])
		copy(to[at+1:], to[at+2:n])
		n--
		rank[at] = noRank
		if at+1 < n {
			rank[at], to[at] = m.find(ids[at], ids[at+1])
		}
		if at > 0 {
			rank[at-1], to[at-1] = m.find(ids[at-1], ids[at])
		}
	}
	return ids[:n]
}

// applyMany keeps the symbols in a linked list and the pairs in a heap of rank << 32 | position. An entry whose rank is
// not that of the pair at its position any more is stale and passed over.
func (m *merges) applyMany(ids []int32, sc *scratch) []int32 {
	n := int32(len(ids))
	sc.next, sc.prev = grow(sc.next, len(ids)), grow(sc.prev, len(ids))
	next, prev, rank, to := sc.next, sc.prev, sc.rank, sc.to
	heap := sc.heap[:0]
	for i := range n {
		next[i], prev[i] = i+1, i-1
		if rank[i] != noRank {
			heap = append(heap, uint64(rank[i])<<32|uint64(i))
		}
	}
	slices.Sort(heap) // a sorted slice is a heap
	pair := func(i int32) {
		rank[i] = noRank
		if next[i] < n {
			rank[i], to[i] = m.find(ids[i], ids[next[i]])
			if rank[i] != noRank {
				heap = push(heap, uint64(rank[i])<<32|uint64(i))
			}
		}
	}
	for len(heap) > 0 {
		top := heap[0]
		heap = pop(heap)
		i := int32(uint32(top))
		if rank[i] != uint32(top>>32) {
			continue
		}
		gone := next[i]
		ids[i] = to[i]
		rank[gone] = noRank
		next[i] = next[gone]
		if next[i] < n {
			prev[next[i]] = i
		}
		pair(i)
		if prev[i] >= 0 {
			pair(prev[i])
		}
	}
	sc.heap = heap
	out := ids[:0]
	for i := int32(0); i < n; i = next[i] {
		out = append(out, ids[i])
	}
	return out
}

// push and pop keep the smallest entry in front, four children to a node.
func push(h []uint64, v uint64) []uint64 {
	h = append(h, v)
	i := len(h) - 1
	for i > 0 {
		up := (i - 1) / 4
		if h[up] <= v {
			break
		}
		h[i] = h[up]
		i = up
	}
	h[i] = v
	return h
}

func pop(h []uint64) []uint64 {
	v := h[len(h)-1]
	h = h[:len(h)-1]
	if len(h) == 0 {
		return h
	}
	i := 0
	for {
		down := 4*i + 1
		if down >= len(h) {
			break
		}
		for c := down + 1; c < min(4*i+5, len(h)); c++ {
			if h[c] < h[down] {
				down = c
			}
		}
		if h[down] >= v {
			break
		}
		h[i] = h[down]
		i = down
	}
	h[i] = v
	return h
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
