//go:build linux && amd64

package cuda

import (
	"nosa/compute"
)

// layoutArgs is the struct of layout.cuh.
type layoutArgs struct {
	heads, dim, block, segments, span, kv, summaryBytes, blockBytes int32
}

func layoutOf(l compute.Layout) layoutArgs {
	a := layoutArgs{heads: int32(l.Heads), dim: int32(l.Dim), block: int32(l.Block), segments: int32(l.Segments()),
		span: int32(l.Span()), kv: int32(l.Type), blockBytes: int32(l.BlockBytes())}
	if l.Stride > 0 {
		a.summaryBytes = int32(l.SummaryBytes())
	}
	return a
}

type appendArgs struct {
	l                               layoutArgs
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
	a := appendArgs{l: layoutOf(c.Layout), tail: t.Tail.Addr,
		k: k.Addr + row*uintptr(c.Dim), v: v.Addr + row*uintptr(c.Dim),
		means: c.Segments.Addr, ownList: list(d, ids), at: int32(t.Pos % c.Block), n: int32(t.N)}
	if c.Scores {
		a.s, a.segScore, a.score = s.Addr+row, c.SegScore.Addr, c.Score.Addr
	}
	launch(d, d.k.append, grid(c.Heads, 1, 1), 256, 0, &a)
}

type sealArgs struct {
	l          layoutArgs
	slot, tail uintptr
}

// Seal writes the tile's full tail of one KV head into a slot, in the cache's format.
func (d *Device) Seal(c *compute.Cache, t compute.Tile, head int, slot int32) {
	a := sealArgs{layoutOf(c.Layout), c.Slots.Rows(int(slot), int(slot)+1).Addr, t.Tail.Addr + uintptr(head*2*c.Block*c.Dim*4)}
	launch(d, d.k.seal, grid(c.Dim+c.Block, 1, 1), 32, 0, &a)
}
