package compute

// Cache is the memory of a KV store that ops read and write. The kv room owns
// it; everything here lies on the device.
type Cache struct {
	Layout

	Slots Tensor // U8 [slots, BlockBytes]: the one pool, for all sequences and layers

	// Pages is the host pool, where the device reads the host's memory as fast as
	// its own: U8 [pages, page bytes], a block at the start of each page. There a
	// block needs no slot to be attended to: numbers from len(Slots) on stand for
	// pages. Absent on other devices.
	Pages Tensor

	// Summaries, by block id, for as long as the block lives.
	Segments Tensor // SummaryType [ids, SummarySteps, Segments, 4]: mean key of each segment, after rotation
	SegScore Tensor // F32 [ids, Segments]: mean importance score of each segment; absent without Scores
	Score    Tensor // F32 [ids, Block]: importance score of each token; absent without Scores
}

// SlotData is the block in a slot, or in the page that a number from len(Slots)
// on stands for, on a device whose memory the host reaches.
func (c *Cache) SlotData(slot int32) []byte {
	size := c.Slots.Dims[1]
	if page := int(slot) - c.Slots.Dims[0]; page >= 0 {
		return c.Pages.Data[page*c.Pages.Dims[1]:][:size:size]
	}
	return c.Slots.Data[int(slot)*size:][:size:size]
}

// Tile is the unit in which attention works: rows Row to Row+N−1 of a batch, at
// consecutive positions Pos … of one sequence, all in one block. A decode step is
// a tile of one row. Rows of a tile share the loads of the blocks they select.
type Tile struct {
	Row, N int
	Pos    int

	// Tables lists the block ids of this sequence and layer, by KV head and block
	// number; the last one is the tile's own block, the tail.
	Tables [][]int32

	// Tail is the own block as it was computed: F32 [kvHeads, 2, Block·Dim], keys
	// after rotation, K and V as in a Layout's blocks. Tokens up to the tile's last
	// position are filled.
	Tail Tensor
}

// Own is the number of the block that the tile's rows lie in.
func (t Tile) Own(block int) int { return t.Pos / block }

// Selection says which blocks each row attends to, per KV head.
type Selection struct {
	Blocks Tensor // I32 [rows, kvHeads, K]: block numbers, ascending, −1 from the end of a short row
	Count  Tensor // I32 [rows, kvHeads]: how many of them; −1: every visible block
}

// Part is a run of wanted blocks of one KV head that are in slots now, or in pages
// that the device reads: numbers ascending, and the slot of each, as
// [Cache.SlotData] takes it; −1 stands for the tile's own block, which is read from
// the tail.
type Part struct {
	Head   int
	Blocks []int32
	Slots  []int32
}

// SelectParams are the constants of selection (spec nosa, sections 1 and 3).
type SelectParams struct {
	Init     int  // first blocks, always selected
	Local    int  // blocks before the own one, always selected
	Query    int  // k_q: further blocks that the query chooses
	K        int  // all selected blocks
	DenseLen int  // queries at positions below it see every block
	ByQuery  bool // whether the query's scores choose at all (not for DMA)
	ByScore  bool // whether the importance score fills up to K (not for InfLLM-V2)
}
