package compute

// TilesDevice is a Device whose ops take several tiles of one layer of a sequence together:
// tiles in ascending order, with the same tables, each with a tail of its own. They compute
// what the ops of single tiles do, to the bit, however tiles are grouped. Nothing of it is
// for the host to read, so that it has not to wait for the device.
//
// The rows of the tiles follow each other in a selection; they are where their tiles say in
// q, k, v, s and out.
type TilesDevice interface {
	Device
	// TakesTiles reports whether tiles of a cache are taken together, with that many query
	// heads and at most so many blocks in a sequence.
	TakesTiles(l Layout, heads, blocks int) bool
	AppendTiles(c *Cache, tiles []Tile, k, v, s Tensor)
	SealTiles(c *Cache, tiles []Tile, slots []int32)
	SelectTiles(sel Selection, q Tensor, c *Cache, tiles []Tile, p SelectParams)
	AttendTiles(out, q Tensor, c *Cache, tiles []Tile, sel Selection, slots [][]int32)
}

// SelectTiles chooses the blocks of each tile's rows: ScoreBlocks and ScoreImportance, as
// far as p asks for them, and Select.
func SelectTiles(sel Selection, q Tensor, c *Cache, tiles []Tile, p SelectParams) {
	first := 0
	for _, t := range tiles {
		blocks := t.Own(c.Block) + 1
		scores := func(score func(Tensor)) Tensor {
			x := F32s(make([]float32, t.N*c.Heads*blocks), t.N, c.Heads, blocks)
			score(x)
			return x
		}
		var byQuery, byScore Tensor
		if p.ByQuery {
			byQuery = scores(func(x Tensor) { ScoreBlocks(x, q, c, t) })
		}
		if p.ByScore {
			byScore = scores(func(x Tensor) { ScoreImportance(x, c, t) })
		}
		Select(sel.Rows(first, t.N), byQuery, byScore, t, c.Block, p)
		first += t.N
	}
}

// AttendTiles sets the rows of out [rows, heads, dim]: AttendBegin, Attend of all blocks that
// have a slot and of the own one, and AttendEnd for each tile. slots are those of blocks, by
// KV head and block number; one that no row selected may be without, which is −1.
func AttendTiles(out, q Tensor, c *Cache, tiles []Tile, sel Selection, slots [][]int32) {
	heads, first := q.Dims[1], 0
	state := make([]float32, c.Block*heads*StateLen(c.Dim))
	for _, t := range tiles {
		own := t.Own(c.Block)
		parts := make([]Part, c.Heads)
		for h := range parts {
			p := Part{Head: h}
			for b, slot := range slots[h][:own] {
				if slot >= 0 {
					p.Blocks, p.Slots = append(p.Blocks, int32(b)), append(p.Slots, slot)
				}
			}
			p.Blocks, p.Slots = append(p.Blocks, int32(own)), append(p.Slots, -1)
			parts[h] = p
		}
		s := state[:t.N*heads*StateLen(c.Dim)]
		AttendBegin(s, c.Dim)
		Attend(F32s(s, t.N, heads, StateLen(c.Dim)), q, c, t, sel.Rows(first, t.N), parts)
		AttendEnd(out.Rows(t.Row, t.Row+t.N).F32(), s, c.Dim)
		first += t.N
	}
}

// Rows are n rows of a selection.
func (s Selection) Rows(from, n int) Selection {
	return Selection{Blocks: s.Blocks.Rows(from, from+n), Count: s.Count.Rows(from, from+n)}
}
