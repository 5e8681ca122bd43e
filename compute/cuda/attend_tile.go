//go:build linux && amd64

package cuda

import (
	"nosa/compute"
)

// The shapes that the kernels of attend_tile.cu have.
const (
	tileTokens  = 64  // of a block, at most
	tileMostDim = 128 // channels
	tileQueries = 64  // of a thread block
)

// tiles reports whether attention to a cache runs on tensor cores. The rows of a call do
// not enter: a row's bits are the same in a tile and alone.
func (d *Device) tiles(l compute.Layout) bool {
	return d.numerics != compute.NumericsF32 && l.Type != compute.KVF32 &&
		l.Block%16 == 0 && l.Block <= tileTokens && l.Dim%16 == 0 && l.Dim <= tileMostDim
}

// attendTileArgs is the struct of attend_tile.cu.
type attendTileArgs struct {
	l                                                      LayoutArgs
	state, q, slots, score, tail                           uintptr
	selected, count, runs, wanted, part, sums              uintptr
	rows, group, places, own, pos, most, runCount, longest int32
}

// runOf cuts the blocks that rows of block own see into runs, whose sums are taken beside
// each other: the last 64, which selections have most of their blocks among, in runs of 8,
// and those before them in 8 runs, so that the sums are few, or in more if they are longer
// than the lists that shared memory has room for.
func runOf(b, own int) int {
	const recent, short, long, longest = 64, 8, 8, 512
	far := max(0, own+1-recent)
	size := min(max(short, ceil(far, long)), longest)
	if b < far {
		return b / size
	}
	return ceil(far, size) + (b-far)/short
}

// attendTile is Attend on tensor cores.
func (d *Device) attendTile(state, q compute.Tensor, c *compute.Cache, t compute.Tile, sel compute.Selection, parts []compute.Part) {
	heads, own := q.Dims[1], t.Own(c.Block)
	a := attendTileArgs{l: LayoutOf(c.Layout), slots: c.Slots.Addr, tail: t.Tail.Addr, own: int32(own), pos: int32(t.Pos),
		rows: int32(t.N), group: int32(heads / c.Heads), places: int32(sel.Blocks.Dims[2]),
		state: state.Addr, q: q.Addr + uintptr(4*t.Row*heads*c.Dim), selected: sel.Blocks.Addr, count: sel.Count.Addr}
	var tables [][]int32
	if c.Scores {
		a.score, tables = c.Score.Addr, t.Tables
	}
	if !d.runs(&a, c.Heads, own, tables, parts) {
		return
	}
	queries := t.N * heads
	scratch, err := d.scratch.need(d.ctx, 4*int(a.runCount)*queries*(c.Dim+2))
	if err != nil {
		d.keep(err)
		return
	}
	a.part, a.sums = scratch, scratch+uintptr(4*int(a.runCount)*queries*c.Dim)
	k := d.k.attendTile[c.Type].narrow
	if c.Dim > tileMostDim/2 {
		k = d.k.attendTile[c.Type].wide
	}
	launch(d, k, grid(ceil(t.N*int(a.group), tileQueries), int(a.runCount), c.Heads), 2*tileQueries, tileShared(c.Layout, int(a.longest))-tileFixed(c.Dim), &a)
	launch(d, d.k.attendTileFold, grid(ceil(queries, 4), 1, 1), 128, 0, &a)
}

// tileShared is the shared memory of a thread block, in which runs have at most longest
// blocks.
func tileShared(l compute.Layout, longest int) int {
	wide := 64 * ceil(l.Dim, 64)
	stage := 4 * wide * tileTokens
	bytes := tileFixed(l.Dim) + 1024 + 2*tileQueries*wide + 8*tileTokens + 20*longest
	if l.Type == compute.KVQ8 || l.Type == compute.KVQ4 {
		return bytes + stage + 2*l.BlockBytes()
	}
	return bytes + 2*stage
}

// tileFixed is what of it are the kernel's own variables: as nvcc says, for poison and everything.
func tileFixed(dim int) int { return 16 + 8*64*ceil(dim, 64) }

// runs copies the lists of a call to the GPU: the runs of each KV head, and its blocks with
// their slots and, where there are tables, ids. It reports whether there are any.
func (d *Device) runs(a *attendTileArgs, heads, own int, tables [][]int32, parts []compute.Part) bool {
	total := make([]int, heads)
	most := 0
	for _, p := range parts {
		total[p.Head] += len(p.Blocks)
		most = max(most, total[p.Head])
	}
	if most == 0 {
		return false
	}
	wanted := make([]int32, heads*3*most)
	clear(total)
	for _, p := range parts {
		w, n := wanted[p.Head*3*most:][:3*most], total[p.Head]
		copy(w[n:], p.Blocks)
		copy(w[most+n:], p.Slots)
		if tables != nil {
			for i, b := range p.Blocks {
				w[2*most+n+i] = tables[p.Head][b]
			}
		}
		total[p.Head] += len(p.Blocks)
	}
	type run struct{ first, n, number int32 }
	lists := make([][]run, heads)
	count, longest := 0, 0
	for h := range lists {
		for i, b := range wanted[h*3*most:][:total[h]] {
			number := int32(runOf(int(b), own))
			if n := len(lists[h]); n == 0 || lists[h][n-1].number != number {
				lists[h] = append(lists[h], run{first: int32(i), number: number})
			}
			last := &lists[h][len(lists[h])-1]
			last.n++
			longest = max(longest, int(last.n))
		}
		count = max(count, len(lists[h]))
	}
	flat := make([]int32, heads*count*3)
	for h, list := range lists {
		for i, r := range list {
			copy(flat[(h*count+i)*3:], []int32{r.first, r.n, r.number})
		}
	}
	a.runs = list(d, flat, wanted)
	a.wanted = a.runs + uintptr(4*len(flat))
	a.most, a.runCount, a.longest = int32(most), int32(count), int32(longest)
	return true
}
