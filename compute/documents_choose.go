package compute

import "nosa/dtype"

// ChooseBlocks sets sel [rows, kvHeads, K] to the blocks that inference would select for
// each row and KV head (spec nosa, section 3): Append, ScoreBlocks, ScoreImportance and
// Select over a cache that holds the row's document alone, in float32. A row that sees every
// block has Count −1. No gradient goes through a choice.
//
//	q  [rows, heads, dim], k [rows, kvHeads, dim] float32, after rotation
//	s  [rows, kvHeads] importance scores; not read where p does not choose by them
func ChooseBlocks(sel Selection, q, k, s Tensor, d Documents, p SelectParams) {
	ChooseBlocksBy(Reference{}, sel, q, k, s, d, p)
}

// ChooseBlocksBy is ChooseBlocks by the ops of a device that works in the host's memory.
func ChooseBlocksBy(dev Device, sel Selection, q, k, s Tensor, d Documents, p SelectParams) {
	c := newChooser(dev, q, k, s, d, p)
	for i := range d.Count() {
		begin, end := d.Span(i)
		for pos := 0; begin+pos < end; pos += d.Block {
			c.tile.Row, c.tile.N, c.tile.Pos = begin+pos, min(d.Block, end-begin-pos), pos
			c.choose(sel.Rows(c.tile.Row, c.tile.N))
		}
	}
}

// chooser chooses for the rows of one tile after the other.
type chooser struct {
	dev     Device
	q, k, s Tensor
	params  SelectParams
	cache   *Cache
	tile    Tile
	byQuery []float32 // [rows of a block, kvHeads, blocks]
	byScore []float32
}

// newChooser has room for the longest document.
func newChooser(dev Device, q, k, s Tensor, d Documents, p SelectParams) *chooser {
	heads, dim, longest := k.Dims[1], k.Dims[2], 0
	for i := range d.Count() {
		begin, end := d.Span(i)
		longest = max(longest, end-begin)
	}
	blocks := (longest + d.Block - 1) / d.Block
	l := Layout{Heads: heads, Dim: dim, Block: d.Block, Kernel: d.Kernel, Stride: d.Stride, Type: KVF32, Scores: p.ByScore}
	c := &chooser{
		dev: dev, q: q, k: k, s: s, params: p,
		cache: &Cache{Layout: l, Segments: zeros(heads*blocks, l.SummarySteps(), l.Segments(), meanLanes)},
		tile:  Tile{Tail: zeros(heads, 2, d.Block*dim)},
	}
	if p.ByScore {
		c.cache.SegScore, c.cache.Score = zeros(heads*blocks, l.Segments()), zeros(heads*blocks, d.Block)
		c.byScore = make([]float32, d.Block*heads*blocks)
	}
	if p.ByQuery {
		c.byQuery = make([]float32, d.Block*heads*blocks)
	}
	for h := range heads {
		table := make([]int32, blocks)
		for b := range table {
			table[b] = int32(h*blocks + b)
		}
		c.tile.Tables = append(c.tile.Tables, table)
	}
	return c
}

func zeros(shape ...int) Tensor {
	return F32s(make([]float32, Describe(dtype.F32, shape...).Len()), shape...)
}

// choose takes the tile's keys into the cache and chooses for its rows.
func (c *chooser) choose(sel Selection) {
	// Nothing is read of values but in attention, which is elsewhere.
	c.dev.Append(c.cache, c.tile, c.k, c.k, c.s)
	t, heads, blocks, p := c.tile, c.cache.Heads, c.tile.Own(c.cache.Block)+1, c.params
	if blocks <= p.K || t.Pos+t.N <= p.DenseLen {
		p.ByQuery, p.ByScore = false, false // every row sees every block
	}
	var byQuery, byScore Tensor
	if p.ByQuery {
		byQuery = F32s(c.byQuery[:t.N*heads*blocks], t.N, heads, blocks)
		c.dev.ScoreBlocks(byQuery, c.q, c.cache, t)
	}
	if p.ByScore {
		byScore = F32s(c.byScore[:t.N*heads*blocks], t.N, heads, blocks)
		c.dev.ScoreImportance(byScore, c.cache, t)
	}
	c.dev.Select(sel, byQuery, byScore, t, c.cache.Block, p)
}
