//go:build linux && amd64

package train

import (
	"fmt"
	"math"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

const (
	// chooseRows is about how many rows choose at a time: so many queries are widened to float32.
	chooseRows = 8192
	// chooseGroup is how many query heads of a KV head block scores take, chooseLanes of how many
	// channels they take a multiple, chooseMostDim of how many at most.
	chooseGroup, chooseLanes, chooseMostDim = 16, 16, 256
)

// summaryArgs and summaryQueriesArgs are the structs of documents_choose.cu.
type summaryArgs struct {
	l                     cuda.LayoutArgs
	k, s, means, segScore uintptr
	rows, blocks, dim     int32
}

type summaryQueriesArgs struct {
	out, x   uintptr
	n        int64
	from, to int32
	scale    float32
}

// ChooseBlocks: see the definition. Each document has the summaries that inference keeps of it,
// and chooses by inference's kernels.
func (d *Device) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	group, dim := q.Dims[1]/k.Dims[1], q.Dims[2]
	l := compute.Layout{Heads: k.Dims[1], Dim: chooseLanes * ceil(dim, chooseLanes), Block: docs.Block, Kernel: docs.Kernel, Stride: docs.Stride,
		Type: compute.KVBF16, Scores: p.ByScore}
	if group > chooseGroup || l.Dim > chooseMostDim {
		d.Fail(fmt.Errorf("choice of blocks for %d query heads of %d channels: %w", group, dim, errChoose))
		return
	}
	for i := range docs.Count() {
		begin, end := docs.Span(i)
		c := documentChoice{Layout: l, SelectParams: p, rows: end - begin, q: q.Rows(begin, end), k: k.Rows(begin, end)}
		if p.ByScore {
			c.s = s.Rows(begin, end)
		}
		if !d.choose(sel.Rows(begin, end-begin), c) {
			return
		}
	}
}

// documentChoice is what one document chooses by.
type documentChoice struct {
	compute.Layout
	compute.SelectParams
	q, k, s compute.Tensor
	rows    int
}

// tiles are the document's, with tables in which its blocks have the numbers of their places.
func (c *documentChoice) tiles() []compute.Tile {
	blocks := ceil(c.rows, c.Block)
	tables := make([][]int32, c.Heads)
	for h := range tables {
		tables[h] = make([]int32, blocks)
		for b := range tables[h] {
			tables[h][b] = int32(h*blocks + b)
		}
	}
	var tiles []compute.Tile
	for pos := 0; pos < c.rows; pos += c.Block {
		tiles = append(tiles, compute.Tile{Pos: pos, N: min(c.Block, c.rows-pos), Tables: tables})
	}
	return tiles
}

// choose chooses for the rows of one document.
func (d *Device) choose(sel compute.Selection, c documentChoice) bool {
	heads, dim, blocks := c.q.Dims[1], c.q.Dims[2], ceil(c.rows, c.Block)
	cache := &compute.Cache{Layout: c.Layout}
	some := max(1, chooseRows/c.Block) // tiles at a time
	wide := compute.Describe(dtype.F32, min(c.rows, some*c.Block), heads, c.Layout.Dim)
	sparse := blocks > c.K && c.rows > c.DenseLen // else nothing is scored
	if sparse {
		a := summaryArgs{l: cuda.LayoutOf(c.Layout), k: c.k.Addr, s: c.s.Addr, rows: int32(c.rows), blocks: int32(blocks), dim: int32(dim)}
		if !d.share([]part{
			{&a.means, c.Heads * blocks * c.SummaryBytes()},
			{&a.segScore, 4 * c.Heads * blocks * c.Segments()},
			{&wide.Addr, wide.Bytes()},
		}) {
			return false
		}
		cache.Segments.Addr, cache.SegScore.Addr = a.means, a.segScore
		launch(d, d.a.summary, grid(blocks, c.Heads), documentThreads, 0, &a)
	}
	tiles := c.tiles()
	for len(tiles) > 0 {
		now := tiles[:min(some, len(tiles))]
		tiles = tiles[len(now):]
		first, last := now[0].Pos, now[len(now)-1]
		n := last.Pos + last.N - first
		for i := range now {
			now[i].Row = now[i].Pos - first
		}
		if sparse && c.ByQuery {
			// Channels that are added are 0; scores are divided by the root of all.
			a := summaryQueriesArgs{out: wide.Addr, x: c.q.Rows(first, first+n).Addr, n: int64(n * heads), from: int32(dim), to: int32(c.Layout.Dim),
				scale: float32(math.Sqrt(float64(c.Layout.Dim) / float64(dim)))}
			const threads, most = 256, 2048 // thread blocks
			launch(d, d.a.summaryQueries, grid(min(ceil(n*heads*c.Layout.Dim, threads), most), 1), threads, 0, &a)
		}
		d.SelectTiles(sel.Rows(first, n), wide, cache, now, c.SelectParams)
	}
	return true
}
