//go:build linux && amd64

package cuda

import (
	"nosa/compute"
)

// The shapes of score_tile.cu.
const (
	scoreQueries = 128 // of a thread block
	scoreChunk   = 64  // windows that it takes at a time
	scoreStrip   = 256 // windows that it has
	scoreMostDim = 256
)

// scoreTiles reports whether block scores are taken on tensor cores.
func (d *Device) scoreTiles(l compute.Layout, group int) bool {
	return d.numerics != compute.NumericsF32 && l.Type != compute.KVF32 && l.Dim%16 == 0 && l.Dim <= scoreMostDim && group <= scoreQueries
}

// scoreTileArgs is the struct of score_tile.cu.
type scoreTileArgs struct {
	l                                                 LayoutArgs
	out, q, means, tables, part, window               uintptr
	blocks, group, pos, kernel, stride, rows, windows int32
}

// scoreTile is ScoreBlocks on tensor cores.
func (d *Device) scoreTile(out, q compute.Tensor, c *compute.Cache, t compute.Tile) {
	s := scoreOf(d, out, c, t)
	heads, windows := q.Dims[1], c.Windows(t.Pos+t.N)
	a := scoreTileArgs{l: s.l, out: s.out, q: q.Addr + uintptr(4*t.Row*heads*c.Dim), means: c.Segments.Addr, tables: s.tables,
		blocks: s.blocks, group: int32(heads / c.Heads), pos: s.pos, kernel: s.kernel, stride: s.stride, rows: int32(t.N), windows: int32(windows)}
	strips := ceil(windows, scoreStrip)
	sums := 8 * strips * t.N * heads
	scratch, err := d.scratch.need(d.ctx, sums+4*t.N*c.Heads*windows)
	if err != nil {
		d.keep(err)
		return
	}
	a.part, a.window = scratch, scratch+uintptr(sums)
	if windows > 0 {
		blocks := grid(strips, ceil(t.N, scoreQueries/int(a.group)), c.Heads)
		shared := 2 * (scoreQueries + scoreChunk) * (c.Dim + 8)
		launch(d, d.k.scoreTileSums, blocks, 256, shared, &a)
		launch(d, d.k.scoreTileWindows, blocks, 256, shared+4*scoreQueries*(2+scoreChunk+1), &a)
	}
	launch(d, d.k.scoreTilePool, grid(ceil(int(a.blocks), 256), t.N, c.Heads), 256, 0, &a)
}
