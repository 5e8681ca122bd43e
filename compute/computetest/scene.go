package computetest

import (
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// scene is a sequence of one layer, with its cache on both sides: blocks in
// scattered slots, summaries under scattered ids, and a tile of queries.
type scene struct {
	*suite
	layout compute.Layout
	group  int
	blocks int // the own one included

	tile   compute.Tile // without Tail
	q      pair
	tail   pair
	slots  [][]int32 // by KV head and block: its slot
	pool   pair
	seg    pair
	segSco pair
	score  pair
}

// newScene draws a sequence whose tile has rows at positions from pos on. Block
// lives in slots under numbers that have nothing to do with each other, and what
// no row may read is not a number.
func (s *suite) newScene(t *testing.T, l compute.Layout, group, pos, rows int) *scene {
	t.Helper()
	if err := l.Validate(); err != nil {
		t.Fatal(err)
	}
	sc := &scene{suite: s, layout: l, group: group, blocks: pos/l.Block + 1}
	heads := l.Heads * group
	first := s.rng.IntN(3) // rows of other sequences before the tile's
	sc.tile = compute.Tile{Row: first, N: rows, Pos: pos}
	sc.q = s.f32(t, s.normal((first+rows+1)*heads*l.Dim), first+rows+1, heads, l.Dim)

	tail := make([]float32, l.Heads*2*l.Block*l.Dim)
	for i := range tail {
		tail[i] = float32(math.NaN())
		token := i / l.Dim % l.Block
		if i/(l.Block*l.Dim)%2 == 0 { // keys lie by channel
			token = i % l.Block
		}
		if token < pos%l.Block+rows {
			tail[i] = float32(s.rng.NormFloat64())
		}
	}
	sc.tail = s.f32(t, tail, l.Heads, 2, l.Block, l.Dim)

	ids, slots := sc.blocks*l.Heads+5, sc.blocks*l.Heads+3
	idOrder, slotOrder := s.rng.Perm(ids), s.rng.Perm(slots)
	pool := make([]byte, slots*l.BlockBytes())
	for i := range pool {
		pool[i] = 0xff
	}
	for h := range l.Heads {
		table, at := make([]int32, sc.blocks), make([]int32, sc.blocks)
		for b := range sc.blocks {
			table[b], at[b] = int32(idOrder[h*sc.blocks+b]), int32(slotOrder[h*sc.blocks+b])
			if b == sc.blocks-1 {
				at[b] = -1
				continue
			}
			n := l.BlockBytes()
			l.EncodeBlock(pool[int(at[b])*n:][:n], s.normal(l.Block*l.Dim), s.normal(l.Block*l.Dim))
		}
		sc.tile.Tables = append(sc.tile.Tables, table)
		sc.slots = append(sc.slots, at)
	}
	sc.pool = s.put(t, dtype.U8, pool, slots, l.BlockBytes())
	if l.Stride > 0 {
		sc.seg = s.means(t, l, ids, func() []float32 { return s.normal(l.Dim) })
	}
	if l.Scores {
		sc.score = s.f32(t, s.normal(ids*l.Block), ids, l.Block)
		if l.Stride > 0 {
			sc.segSco = s.f32(t, s.normal(ids*l.Segments()), ids, l.Segments())
		}
	}
	return sc
}

// means are the summaries of ids blocks.
func (s *suite) means(t *testing.T, l compute.Layout, ids int, mean func() []float32) pair {
	t.Helper()
	data := make([]byte, ids*l.SummaryBytes())
	for id := range ids {
		for seg := range l.Segments() {
			for d, x := range mean() {
				l.PutMean(data[id*l.SummaryBytes():][:l.SummaryBytes()], seg, d, x)
			}
		}
	}
	return s.put(t, l.SummaryType(), data, ids, l.SummarySteps(), l.Segments(), 4)
}

// on returns the scene's cache and tile on one side.
func (sc *scene) on(side func(pair) compute.Tensor) (*compute.Cache, compute.Tile) {
	t := sc.tile
	t.Tail = side(sc.tail)
	return &compute.Cache{
		Layout: sc.layout, Slots: side(sc.pool), Segments: side(sc.seg),
		SegScore: side(sc.segSco), Score: side(sc.score),
	}, t
}

func onDev(p pair) compute.Tensor { return p.dev }
func onRef(p pair) compute.Tensor { return p.ref }

// choose draws a selection: each row its own blocks, the own one always among
// them, or every visible block. K is the longest possible.
func (sc *scene) choose(t *testing.T, every func(row, head int) bool) (sel func(func(pair) compute.Tensor) compute.Selection, wanted [][]int32) {
	t.Helper()
	rows, heads, k := sc.tile.N, sc.layout.Heads, sc.blocks
	count, list := make([]int32, rows*heads), make([]int32, rows*heads*k)
	wanted = make([][]int32, heads)
	for i := range list {
		list[i] = -1
	}
	for r := range rows {
		for h := range heads {
			at := r*heads + h
			count[at] = -1
			if every(r, h) {
				for b := range sc.blocks {
					wanted[h] = append(wanted[h], int32(b))
				}
				continue
			}
			var blocks []int32
			for b := range sc.blocks {
				if b == sc.blocks-1 || sc.rng.IntN(3) > 0 {
					blocks = append(blocks, int32(b))
				}
			}
			count[at] = int32(len(blocks))
			copy(list[at*k:], blocks)
			wanted[h] = append(wanted[h], blocks...)
		}
	}
	for h := range wanted {
		slices.Sort(wanted[h])
		wanted[h] = slices.Compact(wanted[h])
	}
	c, l := sc.i32(t, count, rows, heads), sc.i32(t, list, rows, heads, k)
	return func(side func(pair) compute.Tensor) compute.Selection {
		return compute.Selection{Blocks: side(l), Count: side(c)}
	}, wanted
}

// parts lists the wanted blocks of every KV head with their slots.
func (sc *scene) parts(wanted [][]int32) []compute.Part {
	var parts []compute.Part
	for h, blocks := range wanted {
		p := compute.Part{Head: h, Blocks: blocks}
		for _, b := range blocks {
			p.Slots = append(p.Slots, sc.slots[h][b])
		}
		parts = append(parts, p)
	}
	return parts
}

// cut breaks parts anywhere, into calls of which some are empty.
func (sc *scene) cut(parts []compute.Part) [][]compute.Part {
	calls := make([][]compute.Part, 2+sc.rng.IntN(4))
	for _, p := range parts {
		for i := range calls {
			n := sc.rng.IntN(len(p.Blocks) + 1)
			if i == len(calls)-1 {
				n = len(p.Blocks)
			}
			head := compute.Part{Head: p.Head, Blocks: p.Blocks[:n], Slots: p.Slots[:n]}
			p.Blocks, p.Slots = p.Blocks[n:], p.Slots[n:]
			if m := sc.rng.IntN(n + 1); sc.rng.IntN(2) == 0 { // two parts of a head in one call
				calls[i] = append(calls[i], compute.Part{Head: p.Head, Blocks: head.Blocks[:m], Slots: head.Slots[:m]})
				head.Blocks, head.Slots = head.Blocks[m:], head.Slots[m:]
			}
			calls[i] = append(calls[i], head)
		}
	}
	return calls
}
