//go:build linux && amd64

package cuda

import (
	"nosa/compute"
)

// scoreArgs is the struct of score.cu.
type scoreArgs struct {
	l                                   LayoutArgs
	out, q, means, tables, part, window uintptr
	blocks, group, pos, kernel, stride  int32
}

// scratchBytes is what the rows of a tile may take of the scratch memory at a time, if
// one row does not take more.
const scratchBytes = 512 << 20

// rowsAtOnce is how many rows of bytes each go in one launch.
func rowsAtOnce(rows, bytes int) int { return min(rows, max(1, scratchBytes/max(1, bytes))) }

func scoreOf(d *Device, out compute.Tensor, c *compute.Cache, t compute.Tile) scoreArgs {
	blocks := t.Own(c.Block) + 1
	return scoreArgs{l: LayoutOf(c.Layout), out: out.Addr, tables: list(d, tables(t, c.Heads, blocks)...), blocks: int32(blocks),
		pos: int32(t.Pos), kernel: int32(c.Kernel), stride: int32(c.Stride)}
}

// ScoreBlocks: see the definition.
func (d *Device) ScoreBlocks(out, q compute.Tensor, c *compute.Cache, t compute.Tile) {
	heads := q.Dims[1]
	if d.scoreTiles(c.Layout, heads/c.Heads) {
		tiles, blocks := []compute.Tile{t}, t.Own(c.Block)+1
		p := d.scorePlan(c.Layout, heads, blocks, tiles)
		scratch, err := d.scratch.need(d.ctx, p.bytes())
		if err != nil {
			d.keep(err)
			return
		}
		at, ids := tileList(d, tiles, tables(t, c.Heads, blocks)...)
		d.scoreTile(out.Addr, q, c, tiles, at, ids, blocks, p, scratch)
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
	tiles, blocks := []compute.Tile{t}, t.Own(c.Block)+1
	at, ids := tileList(d, tiles, tables(t, c.Heads, blocks)...)
	d.importance(out.Addr, c, tiles, at, ids, blocks)
}

// Select: see the definition.
func (d *Device) Select(sel compute.Selection, byQuery, byScore compute.Tensor, t compute.Tile, block int, p compute.SelectParams) {
	var query, score uintptr
	if p.ByQuery {
		query = byQuery.Addr
	}
	if p.ByScore {
		score = byScore.Addr
	}
	d.choose(sel, query, score, []compute.Tile{t}, t.Own(block)+1, block, p)
}
