//go:build linux && amd64

package cuda

import (
	"nosa/compute"
)

// LayoutArgs is the struct of layout.cuh, which kernels of other packages are told too.
type LayoutArgs struct {
	Heads, Dim, Block, Segments, Span, KV, SummaryBytes, BlockBytes int32
}

// LayoutOf is a layout as kernels are told it.
func LayoutOf(l compute.Layout) LayoutArgs {
	a := LayoutArgs{Heads: int32(l.Heads), Dim: int32(l.Dim), Block: int32(l.Block), Segments: int32(l.Segments()),
		Span: int32(l.Span()), KV: int32(l.Type), BlockBytes: int32(l.BlockBytes())}
	if l.Stride > 0 {
		a.SummaryBytes = int32(l.SummaryBytes())
	}
	return a
}

type appendArgs struct {
	l                               LayoutArgs
	tail, k, v, s                   uintptr
	means, segScore, score, ownList uintptr
	at, n                           int32
}

// Append: see the definition.
func (d *Device) Append(c *compute.Cache, t compute.Tile, k, v, s compute.Tensor) {
	own := t.Own(c.Block)
	ids := make([]int32, c.Heads)
	for h := range ids {
		ids[h] = t.Tables[h][own]
	}
	row := uintptr(t.Row * c.Heads * 4)
	a := appendArgs{l: LayoutOf(c.Layout), tail: t.Tail.Addr,
		k: k.Addr + row*uintptr(c.Dim), v: v.Addr + row*uintptr(c.Dim),
		means: c.Segments.Addr, ownList: list(d, ids), at: int32(t.Pos % c.Block), n: int32(t.N)}
	if c.Scores {
		a.s, a.segScore, a.score = s.Addr+row, c.SegScore.Addr, c.Score.Addr
	}
	launch(d, d.k.append, grid(c.Heads, 1, 1), 256, 0, &a)
}

type sealArgs struct {
	l          LayoutArgs
	slot, tail uintptr
}

// Seal writes the tile's full tail of one KV head into a slot, in the cache's format.
func (d *Device) Seal(c *compute.Cache, t compute.Tile, head int, slot int32) {
	a := sealArgs{LayoutOf(c.Layout), c.Slots.Rows(int(slot), int(slot)+1).Addr, t.Tail.Addr + uintptr(head*2*c.Block*c.Dim*4)}
	launch(d, d.k.seal, grid(c.Dim+c.Block, 1, 1), 32, 0, &a)
}
