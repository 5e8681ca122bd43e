//go:build linux && amd64

package cuda

import (
	"math"
	"unsafe"

	"nosa/compute"
)

var _ compute.TilesDevice = (*Device)(nil)

// tileArgs is the struct of tile.cuh.
type tileArgs struct {
	tail                   uintptr
	from, first, rows, pos int32
}

// tileBytes is its size.
const tileBytes = int(unsafe.Sizeof(tileArgs{}))

// tileList copies tiles to the GPU, and numbers behind them, and returns where both lie.
func tileList(d *Device, tiles []compute.Tile, numbers ...[]int32) (at, behind uintptr) {
	n := 0
	for _, v := range numbers {
		n += len(v)
	}
	host, device := d.stage(tileBytes*len(tiles) + 4*n)
	words := unsafe.Slice((*tileArgs)(unsafe.Pointer(unsafe.SliceData(host))), len(tiles))
	first := 0
	for i, t := range tiles {
		words[i] = tileArgs{tail: t.Tail.Addr, from: int32(t.Row), first: int32(first), rows: int32(t.N), pos: int32(t.Pos)}
		first += t.N
	}
	rest := host[tileBytes*len(tiles):]
	for _, v := range numbers {
		rest = rest[4*copy(asNumbers[int32](rest), v):]
	}
	d.ctx.CopyIn(d.stream, device, address(host), len(host))
	return device, device + uintptr(tileBytes*len(tiles))
}

// tables are the first blocks of those of the tiles.
func tables(t compute.Tile, heads, blocks int) [][]int32 {
	lists := make([][]int32, heads)
	for h := range lists {
		lists[h] = t.Tables[h][:blocks]
	}
	return lists
}

// rowsOf is how many rows tiles have in all, and at most.
func rowsOf(tiles []compute.Tile) (all, most int) {
	for _, t := range tiles {
		all += t.N
		most = max(most, t.N)
	}
	return all, most
}

// TakesTiles reports whether the kernels of tiles take a cache, and the lists of its blocks
// have room in shared memory.
func (d *Device) TakesTiles(l compute.Layout, heads, blocks int) bool {
	return d.tiles(l) && tileShared(l, wholeLists)+wholeShared(blocks) <= d.props.SharedMemory &&
		(l.Stride == 0 || d.scoreTiles(l, heads/l.Heads))
}

// AppendTiles: see the definition.
func (d *Device) AppendTiles(c *compute.Cache, tiles []compute.Tile, k, v, s compute.Tensor) {
	ids := make([]int32, 0, len(tiles)*c.Heads)
	for _, t := range tiles {
		for h := range c.Heads {
			ids = append(ids, t.Tables[h][t.Own(c.Block)])
		}
	}
	a := appendArgs{l: LayoutOf(c.Layout), k: k.Addr, v: v.Addr, means: c.Segments.Addr}
	a.tiles, a.ids = tileList(d, tiles, ids)
	if c.Scores {
		a.s, a.segScore, a.score = s.Addr, c.SegScore.Addr, c.Score.Addr
	}
	launch(d, d.k.append, grid(c.Heads, len(tiles), ceil(c.Dim, 32)), 256, 0, &a)
}

// SealTiles: see the definition.
func (d *Device) SealTiles(c *compute.Cache, tiles []compute.Tile, slots []int32) {
	a := sealArgs{l: LayoutOf(c.Layout), slots: c.Slots.Addr}
	a.tiles, a.slotOf = tileList(d, tiles, slots)
	launch(d, d.k.seal, grid(c.Dim+c.Block, c.Heads, len(tiles)), 32, 0, &a)
}

// tilesScratch is what scores of tiles may take of the scratch memory at a time, if one tile
// does not take more.
const tilesScratch = 128 << 20

// SelectTiles: see the definition. Scores are taken of as many tiles at a time as have room
// in scratch memory, and of none that sees every block.
func (d *Device) SelectTiles(sel compute.Selection, q compute.Tensor, c *compute.Cache, tiles []compute.Tile, p compute.SelectParams) {
	dense := 0
	for _, t := range tiles {
		if t.Pos+t.N > p.DenseLen && t.Own(c.Block)+1 > p.K {
			break
		}
		dense++
	}
	heads, first := q.Dims[1], 0
	for len(tiles) > 0 {
		n := dense
		most := tiles[len(tiles)-1].Own(c.Block) + 1
		scores := 4 * c.Heads * most
		if n == 0 {
			for rows := 0; n < len(tiles) && (n == 0 || (rows+tiles[n].N)*2*scores <= tilesScratch); n++ {
				rows += tiles[n].N
			}
		}
		some := tiles[:n]
		rows, _ := rowsOf(some)
		var byQuery, byScore uintptr
		if dense == 0 {
			plan := d.scorePlan(c.Layout, heads, most, some)
			used := plan.bytes()
			scratch, err := d.scratch.need(d.ctx, used+2*rows*scores)
			if err != nil {
				d.keep(err)
				return
			}
			at, ids := tileList(d, some, tables(some[0], c.Heads, most)...)
			if p.ByQuery {
				byQuery = scratch + uintptr(used)
				d.scoreTile(byQuery, q, c, some, at, ids, most, plan, scratch)
			}
			if p.ByScore {
				byScore = scratch + uintptr(used+rows*scores)
				d.importance(byScore, c, some, at, ids, most)
			}
		}
		d.choose(sel.Rows(first, rows), byQuery, byScore, some, most, c.Block, p)
		tiles, first, dense = tiles[n:], first+rows, 0
	}
}

// attendTilesArgs is the struct of attend_tile.cu.
type attendTilesArgs struct {
	l                            LayoutArgs
	out, q, slots, score         uintptr
	selected, count, tiles       uintptr
	slotOf, idOf                 uintptr
	group, places, most, longest int32
}

// wholeLists is how many blocks the lists of a whole walk have room for.
const wholeLists = 256

// wholeShared is the shared memory of a whole walk beside that of a run: two words for 32
// blocks.
func wholeShared(blocks int) int { return 8 * ceil(blocks, 32) }

// AttendTiles: see the definition.
func (d *Device) AttendTiles(out, q compute.Tensor, c *compute.Cache, tiles []compute.Tile, sel compute.Selection, slots [][]int32) {
	_, rows := rowsOf(tiles)
	most := tiles[len(tiles)-1].Own(c.Block) + 1
	a := attendTilesArgs{l: LayoutOf(c.Layout), out: out.Addr, q: q.Addr, slots: c.Slots.Addr, selected: sel.Blocks.Addr, count: sel.Count.Addr,
		group: int32(q.Dims[1] / c.Heads), places: int32(sel.Blocks.Dims[2]), most: int32(most), longest: wholeLists}
	lists := make([][]int32, c.Heads, 2*c.Heads)
	for h := range lists {
		lists[h] = make([]int32, most) // the last tile's own block has no slot
		copy(lists[h], slots[h])
	}
	if c.Scores {
		a.score = c.Score.Addr
		lists = append(lists, tables(tiles[0], c.Heads, most)...)
	}
	a.tiles, a.slotOf = tileList(d, tiles, lists...)
	a.idOf = a.slotOf + uintptr(4*c.Heads*most)
	k := d.k.attendTiles[c.Type].narrow
	if c.Dim > tileMostDim/2 {
		k = d.k.attendTiles[c.Type].wide
	}
	shared := tileShared(c.Layout, wholeLists) - tileFixed(c.Dim) + wholeShared(most)
	launch(d, k, grid(ceil(rows*int(a.group), tileQueries), len(tiles), c.Heads), 2*tileQueries, shared, &a)
}

// selectArgs is the struct of select.cu.
type selectArgs struct {
	blocks, count, byQuery, byScore, tiles uintptr
	heads, places, most, block             int32
	init, local, query, k, denseLen        int32
}

// choose is Select of tiles, from scores [rows, heads, most].
func (d *Device) choose(sel compute.Selection, byQuery, byScore uintptr, tiles []compute.Tile, most, block int, p compute.SelectParams) {
	_, rows := rowsOf(tiles)
	a := selectArgs{blocks: sel.Blocks.Addr, count: sel.Count.Addr, byQuery: byQuery, byScore: byScore,
		heads: int32(sel.Blocks.Dims[1]), places: int32(sel.Blocks.Dims[2]), most: int32(most), block: int32(block),
		init: int32(p.Init), local: int32(p.Local), query: int32(p.Query), k: int32(p.K), denseLen: int32(min(p.DenseLen, math.MaxInt32))}
	a.tiles, _ = tileList(d, tiles)
	launch(d, d.k.selectBlocks, grid(rows, sel.Blocks.Dims[1], len(tiles)), 256, 4*ceil(most, 32), &a)
}

// scoreImpArgs is a struct of score.cu.
type scoreImpArgs struct {
	l                            LayoutArgs
	out, segScore, tables, tiles uintptr
	most, kernel, stride         int32
}

// importance is ScoreImportance of tiles, into out [rows, heads, most].
func (d *Device) importance(out uintptr, c *compute.Cache, tiles []compute.Tile, at, ids uintptr, most int) {
	_, rows := rowsOf(tiles)
	a := scoreImpArgs{l: LayoutOf(c.Layout), out: out, segScore: c.SegScore.Addr, tables: ids, tiles: at,
		most: int32(most), kernel: int32(c.Kernel), stride: int32(c.Stride)}
	launch(d, d.k.scoreImp, grid(ceil(most, 256), rows, len(tiles)*c.Heads), 256, 0, &a)
}
