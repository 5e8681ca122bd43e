package computetest

import (
	"fmt"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// tileCases have a context before the tiles, in blocks; tiles from a position of its own
// block on, the last of which may be short.
var tileCases = []struct {
	layout        compute.Layout
	group, blocks int
	at, rows      int
	params        compute.SelectParams
}{
	{compute.Layout{Heads: 2, Dim: 128, Block: 64, Kernel: 32, Stride: 16, Scores: true}, 16, 33, 0, 64 + 5,
		compute.SelectParams{Init: 1, Local: 3, Query: 5, K: 16, ByQuery: true, ByScore: true}},
	{compute.Layout{Heads: 1, Dim: 64, Block: 16, Kernel: 8, Stride: 4, Scores: true}, 3, 280, 5, 16*2 + 1,
		compute.SelectParams{Init: 1, Local: 2, Query: 4, K: 20, ByQuery: true, ByScore: true}},
	{compute.Layout{Heads: 3, Dim: 80, Block: 32, Kernel: 32, Stride: 16}, 5, 41, 31, 32*3 + 9,
		compute.SelectParams{Init: 2, Local: 1, K: 9, ByQuery: true}},
	{compute.Layout{Heads: 2, Dim: 32, Block: 16, Kernel: 16, Stride: 16, Scores: true}, 1, 6, 15, 16 * 4,
		compute.SelectParams{Init: 1, Local: 1, K: 7, DenseLen: 16*7 + 3, ByScore: true}},
	{compute.Layout{Heads: 1, Dim: 16, Block: 16}, 2, 3, 7, 16*9 + 2, compute.SelectParams{DenseLen: 1 << 20}},
	{compute.Layout{Heads: 2, Dim: 48, Block: 64, Kernel: 32, Stride: 16}, 7, 0, 0, 64*3 + 1,
		compute.SelectParams{Init: 1, Local: 1, K: 3, ByQuery: true}},
}

// tiles: the ops of tiles together leave what those of single tiles do, to the bit.
func (s *suite) tiles(t *testing.T) {
	dev, ok := s.dev.(compute.TilesDevice)
	if !ok {
		t.Skip("no ops of tiles together")
	}
	for i, tc := range tileCases {
		if heavy(t, i, tc.rows*tc.layout.Heads*tc.group*tc.blocks*tc.layout.Block*tc.layout.Dim) {
			continue
		}
		for _, kv := range kvTypes {
			l := tc.layout
			l.Type = kv
			last := tc.blocks*l.Block + tc.at + tc.rows - 1
			if !dev.TakesTiles(l, l.Heads*tc.group, last/l.Block+1) {
				continue
			}
			t.Logf("case %d, %v", i, kv)
			// Blocks of the scene are those before the tiles; theirs are made here.
			sc := s.newScene(t, l, tc.group, last/l.Block*l.Block, 1)
			x := sc.together(t, tc.blocks*l.Block+tc.at, tc.rows, tc.params)
			want := x.one(dev, tc.params)
			for _, group := range []int{len(x.tiles), 1, 2} {
				what := fmt.Sprintf("case %d, %v, groups of %d: ", i, kv, group)
				for name, got := range x.many(dev, group, tc.params) {
					same(t, what+name, got, want[name])
				}
			}
		}
	}
}

// together is tiles over a scene's blocks.
type together struct {
	*scene
	c          *compute.Cache
	tiles      []compute.Tile
	first      []int // row of each tile in the selection
	k, v, s, q compute.Tensor
	out        compute.Tensor
	tails      compute.Tensor
	sel        compute.Selection
	slots      [][]int32
}

func (sc *scene) together(t *testing.T, pos, rows int, p compute.SelectParams) *together {
	t.Helper()
	l, before := sc.layout, 2 // rows of others in q, k and v
	c, tile := sc.on(onDev)
	x := &together{scene: sc, c: c, slots: sc.slots}
	f32 := func(shape ...int) compute.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return sc.f32(t, sc.normal(n), shape...).dev
	}
	heads := l.Heads * sc.group
	x.k, x.v, x.q = f32(before+rows, l.Heads, l.Dim), f32(before+rows, l.Heads, l.Dim), f32(before+rows, heads, l.Dim)
	if l.Scores {
		x.s = f32(before+rows, l.Heads)
	}
	x.out = f32(before+rows, heads, l.Dim)
	all := 0
	for at := 0; at < rows; {
		n := min(rows-at, l.Block-(pos+at)%l.Block)
		tile.Row, tile.N, tile.Pos = before+at, n, pos+at
		x.tiles, x.first = append(x.tiles, tile), append(x.first, all)
		at, all = at+n, all+n
	}
	x.tails = f32(len(x.tiles)*l.Heads, 2, l.Block, l.Dim)
	for i := range x.tiles {
		x.tiles[i].Tail = x.tails.Rows(i*l.Heads, (i+1)*l.Heads)
	}
	x.sel = compute.Selection{Blocks: sc.alloc(t, sc.dev, dtype.I32, rows, l.Heads, max(1, min(p.Most(), sc.blocks))), Count: sc.alloc(t, sc.dev, dtype.I32, rows, l.Heads)}
	return x
}

// slotsOf are the slots that tile i's blocks are sealed into, or −1 for one that is not full.
func (x *together) slotsOf(i int) []int32 {
	t, slots := x.tiles[i], make([]int32, x.layout.Heads)
	for h := range slots {
		slots[h] = -1
		if (t.Pos+t.N)%x.layout.Block == 0 && t.Own(x.layout.Block) < len(x.slots[h]) {
			slots[h] = x.slots[h][t.Own(x.layout.Block)]
		}
	}
	return slots
}

// forget takes away what was computed before.
func (x *together) forget() {
	for _, y := range []compute.Tensor{x.out, x.sel.Blocks, x.sel.Count} {
		x.dev.Upload(y, make([]byte, y.Bytes()))
	}
}

// results are what was computed, as numbers.
func (x *together) results() map[string][]float32 {
	r := map[string][]float32{"outputs": read(x.dev, x.out), "tails": read(x.dev, x.tails)}
	for name, v := range map[string]compute.Tensor{"blocks": x.sel.Blocks, "counts": x.sel.Count} {
		ints := readInts(x.dev, v)
		f := make([]float32, len(ints))
		for i, n := range ints {
			f[i] = float32(n)
		}
		// What is behind a row's blocks means nothing where it sees all.
		r[name] = f
	}
	counts, places := r["counts"], x.sel.Blocks.Dims[2]
	for i, n := range counts {
		if n < 0 {
			clear(r["blocks"][i*places : (i+1)*places])
		}
	}
	pool := make([]byte, x.c.Slots.Bytes())
	x.dev.Download(pool, x.c.Slots)
	for _, b := range pool {
		r["slots"] = append(r["slots"], float32(b))
	}
	for name, v := range map[string]compute.Tensor{"importance": x.c.SegScore, "scores": x.c.Score} {
		if !v.None() {
			r[name] = read(x.dev, v)
		}
	}
	return r
}

// one computes tile by tile, with the ops of single tiles.
func (x *together) one(dev compute.Device, p compute.SelectParams) map[string][]float32 {
	x.forget()
	l, heads := x.layout, x.layout.Heads*x.group
	for i, t := range x.tiles {
		dev.Append(x.c, t, x.k, x.v, x.s)
		for h, slot := range x.slotsOf(i) {
			if slot >= 0 {
				dev.Seal(x.c, t, h, slot)
			}
		}
	}
	for i, t := range x.tiles {
		rows := x.sel.Rows(x.first[i], t.N)
		own := t.Own(l.Block)
		scratch := func(shape ...int) compute.Tensor {
			y, err := dev.Alloc(dtype.F32, shape...)
			if err != nil {
				panic(err)
			}
			return y
		}
		var byQuery, byScore compute.Tensor
		if p.ByQuery {
			byQuery = scratch(t.N, l.Heads, own+1)
			dev.ScoreBlocks(byQuery, x.q, x.c, t)
		}
		if p.ByScore {
			byScore = scratch(t.N, l.Heads, own+1)
			dev.ScoreImportance(byScore, x.c, t)
		}
		dev.Select(rows, byQuery, byScore, t, l.Block, p)
		parts := make([]compute.Part, l.Heads)
		for h := range parts {
			parts[h].Head = h
			for b := range own {
				parts[h].Blocks, parts[h].Slots = append(parts[h].Blocks, int32(b)), append(parts[h].Slots, x.slots[h][b])
			}
			parts[h].Blocks, parts[h].Slots = append(parts[h].Blocks, int32(own)), append(parts[h].Slots, -1)
		}
		state := scratch(t.N, heads, compute.StateLen(l.Dim))
		dev.AttendBegin(state, t, heads, l.Dim)
		dev.Attend(state, x.q, x.c, t, rows, parts)
		dev.AttendEnd(x.out, state, t)
		for _, y := range []compute.Tensor{byQuery, byScore, state} {
			dev.Free(y)
		}
	}
	return x.results()
}

// many computes with the ops of tiles together, so many at a time.
func (x *together) many(dev compute.TilesDevice, group int, p compute.SelectParams) map[string][]float32 {
	x.forget()
	for from := 0; from < len(x.tiles); from += group {
		tiles := x.tiles[from:min(from+group, len(x.tiles))]
		var slots []int32
		for i := range tiles {
			slots = append(slots, x.slotsOf(from+i)...)
		}
		last := len(tiles) - 1
		first, end := x.first[from], x.first[from+last]+tiles[last].N
		sel := x.sel.Rows(first, end-first)
		dev.AppendTiles(x.c, tiles, x.k, x.v, x.s)
		dev.SealTiles(x.c, tiles, slots)
		dev.SelectTiles(sel, x.q, x.c, tiles, p)
		dev.AttendTiles(x.out, x.q, x.c, tiles, sel, x.slots)
	}
	return x.results()
}
