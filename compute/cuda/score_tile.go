//go:build linux && amd64

package cuda

import (
	"math/bits"

	"nosa/compute"
)

// The shapes of score_tile.cu.
const (
	scoreChunk   = 128 // windows that products take at a time
	scoreHalves  = 4   // halves of a chunk that there is room for
	scoreStrip   = 24  // chunks of a thread block
	scorePanel   = 64  // channels
	scoreQueries = 128 // of a thread block, at most
	scoreMostDim = 256
	scorePlaces  = 16 // of a group, at most
)

// scoreBlocksOf is how many blocks have all their windows in a chunk.
func scoreBlocksOf(l compute.Layout) int { return (scoreChunk - l.Span() + 1) / max(1, l.Segments()) }

// scoreTiles reports whether block scores are taken on tensor cores.
func (d *Device) scoreTiles(l compute.Layout, group int) bool {
	return d.numerics != compute.NumericsF32 && l.Type != compute.KVF32 && l.Dim%16 == 0 && l.Dim <= scoreMostDim && group <= scorePlaces &&
		scoreBlocksOf(l) > 0 && scoreShared(l, scoreQueries/2) <= d.props.SharedMemory
}

// scoreShared is the shared memory of a thread block.
func scoreShared(l compute.Layout, queries int) int {
	width := 128 * scorePanels(l)
	return 1024 + queries*width + scoreHalves*scoreChunk/2*width + queries/16*4*scoreChunk
}

// scorePanels is how many panels of channels the kernels have: a power of two.
func scorePanels(l compute.Layout) int { return power(ceil(l.Dim, scorePanel)) }

// power is the least power of two that is no less.
func power(n int) int { return 1 << bits.Len(uint(n-1)) }

// scorePlan is how tiles are scored.
type scorePlan struct {
	queries, perTile   int // of a thread block; thread blocks of a tile
	image, mine, parts int // bytes of scratch memory: windows, queries, and sums of strips
}

// scorePlan is the plan of tiles that see at most so many blocks.
func (d *Device) scorePlan(l compute.Layout, heads, blocks int, tiles []compute.Tile) (p scorePlan) {
	if l.Stride == 0 {
		return p
	}
	rows, longest := rowsOf(tiles)
	places, chunks := power(heads/l.Heads), ceil(blocks, scoreBlocksOf(l))
	p.queries = scoreQueries
	if longest*places <= p.queries/2 || scoreShared(l, p.queries) > d.props.SharedMemory {
		p.queries /= 2
	}
	p.perTile = ceil(longest, p.queries/places)
	width := 128 * scorePanels(l)
	p.image = l.Heads * chunks * scoreChunk * width
	p.mine = len(tiles) * l.Heads * p.perTile * p.queries * width
	p.parts = 8 * rows * l.Heads * places * ceil(chunks, scoreStrip)
	return p
}

// bytes is all scratch memory of a plan.
func (p scorePlan) bytes() int { return p.image + p.mine + p.parts }

// scoreTileArgs is the struct of score_tile.cu.
type scoreTileArgs struct {
	l                                                  LayoutArgs
	out, q, means, tables, tiles, image, queries, part uintptr
	rows, most, group, places, kernel, stride          int32
	windows, chunks, each, perTile, panels             int32
}

// scoreTile is ScoreBlocks of tiles, into out [rows, heads, most]. at and ids are their list
// and tables on the GPU; scratch has room for the plan.
func (d *Device) scoreTile(out uintptr, q compute.Tensor, c *compute.Cache, tiles []compute.Tile, at, ids uintptr, most int, p scorePlan, scratch uintptr) {
	rows, _ := rowsOf(tiles)
	last := tiles[len(tiles)-1]
	group, each, panels := q.Dims[1]/c.Heads, scoreBlocksOf(c.Layout), scorePanels(c.Layout)
	a := scoreTileArgs{l: LayoutOf(c.Layout), out: out, q: q.Addr, means: c.Segments.Addr, tables: ids, tiles: at,
		rows: int32(rows), most: int32(most), group: int32(group), places: int32(power(group)), kernel: int32(c.Kernel), stride: int32(c.Stride),
		windows: int32(c.Windows(last.Pos + last.N)), chunks: int32(ceil(most, each)), each: int32(each), panels: int32(panels)}
	a.image, a.queries, a.part, a.perTile = scratch, scratch+uintptr(p.image), scratch+uintptr(p.image+p.mine), int32(p.perTile)
	k := d.k.scoreTile[panels]
	blocks := k.blocks
	if a.places < scorePlaces {
		blocks = k.few
	}
	launch(d, d.k.scoreTileImage, grid(int(a.chunks), c.Heads, 1), 256, 0, &a)
	launch(d, d.k.scoreTileQueries, grid(p.perTile*p.queries/64, c.Heads, len(tiles)), 256, 0, &a)
	shape, shared := grid(ceil(int(a.chunks), scoreStrip), len(tiles)*p.perTile, c.Heads), scoreShared(c.Layout, p.queries)
	launch(d, k.sums, shape, 2*p.queries, shared, &a)
	launch(d, blocks, shape, 2*p.queries, shared, &a)
}
