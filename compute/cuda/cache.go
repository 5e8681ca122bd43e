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
	l                           LayoutArgs
	tiles, k, v, s              uintptr
	means, segScore, score, ids uintptr
}

// Append: see the definition.
func (d *Device) Append(c *compute.Cache, t compute.Tile, k, v, s compute.Tensor) {
	d.AppendTiles(c, []compute.Tile{t}, k, v, s)
}

type sealArgs struct {
	l                    LayoutArgs
	slots, tiles, slotOf uintptr
}

// Seal writes the tile's full tail of one KV head into a slot, in the cache's format.
func (d *Device) Seal(c *compute.Cache, t compute.Tile, head int, slot int32) {
	slots := make([]int32, c.Heads)
	for h := range slots {
		slots[h] = -1
	}
	slots[head] = slot
	d.SealTiles(c, []compute.Tile{t}, slots)
}
