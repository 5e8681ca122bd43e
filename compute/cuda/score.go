//go:build linux && amd64

package cuda

import (
	"nosa/compute"
)

// scoreArgs is the struct of score.cu.
type scoreArgs struct {
	l                                             LayoutArgs
	out, q, means, segScore, tables, part, window uintptr
	blocks, group, pos, kernel, stride            int32
}

// scratchBytes is what the rows of a tile may take of the scratch memory at a time, if
// one row does not take more.
const scratchBytes = 512 << 20

// rowsAtOnce is how many rows of bytes each go in one launch.
func rowsAtOnce(rows, bytes int) int { return min(rows, max(1, scratchBytes/max(1, bytes))) }

func scoreOf(d *Device, out compute.Tensor, c *compute.Cache, t compute.Tile) scoreArgs {
	blocks := t.Own(c.Block) + 1
	tables := make([][]int32, c.Heads)
	for h := range tables {
		tables[h] = t.Tables[h][:blocks]
	}
	return scoreArgs{l: LayoutOf(c.Layout), out: out.Addr, tables: list(d, tables...), blocks: int32(blocks),
		pos: int32(t.Pos), kernel: int32(c.Kernel), stride: int32(c.Stride)}
}

// ScoreBlocks: see the definition.
func (d *Device) ScoreBlocks(out, q compute.Tensor, c *compute.Cache, t compute.Tile) {
	heads := q.Dims[1]
	if d.scoreTiles(c.Layout, heads/c.Heads) {
		d.scoreTile(out, q, c, t)
		return
	}
	a := scoreOf(d, out, c, t)
	a.group, a.means = int32(heads/c.Heads), c.Segments.Addr
	segments := int(a.blocks) * c.Layout.Segments()
	each := 4 * segments * (heads + c.Heads)
	step := rowsAtOnce(t.N, each)
	scratch, err := d.scratch.need(d.ctx, step*each)
	if err != nil {
		d.keep(err)
		return
	}
	a.part = scratch
	for r := 0; r < t.N; r += step {
		n := min(step, t.N-r)
		a.window = scratch + uintptr(4*n*segments*heads)
		a.pos = int32(t.Pos + r)
		a.q = q.Addr + uintptr(4*(t.Row+r)*heads*c.Dim)
		a.out = out.Addr + uintptr(4*r*c.Heads*int(a.blocks))
		launch(d, d.k.scoreParts, grid(ceil(segments, 8), n, c.Heads), 256, 0, &a)
		launch(d, d.k.scoreBlocks, grid(n, c.Heads, 1), 256, 0, &a)
	}
}

// ScoreImportance: see the definition.
func (d *Device) ScoreImportance(out compute.Tensor, c *compute.Cache, t compute.Tile) {
	a := scoreOf(d, out, c, t)
	a.segScore = c.SegScore.Addr
	launch(d, d.k.scoreImp, grid(ceil(int(a.blocks), 256), t.N, c.Heads), 256, 0, &a)
}

// selectArgs is the struct of select.cu.
type selectArgs struct {
	blocks, count, byQuery, byScore uintptr
	heads, places, own, pos         int32
	init, local, query, k, denseLen int32
}

// Select: see the definition.
func (d *Device) Select(sel compute.Selection, byQuery, byScore compute.Tensor, t compute.Tile, block int, p compute.SelectParams) {
	own := t.Own(block)
	a := selectArgs{blocks: sel.Blocks.Addr, count: sel.Count.Addr,
		heads: int32(sel.Blocks.Dims[1]), places: int32(sel.Blocks.Dims[2]), own: int32(own), pos: int32(t.Pos),
		init: int32(p.Init), local: int32(p.Local), query: int32(p.Query), k: int32(p.K), denseLen: int32(p.DenseLen)}
	if p.ByQuery {
		a.byQuery = byQuery.Addr
	}
	if p.ByScore {
		a.byScore = byScore.Addr
	}
	launch(d, d.k.selectBlocks, grid(t.N, sel.Blocks.Dims[1], 1), 256, 4*ceil(own+1, 32), &a)
}
