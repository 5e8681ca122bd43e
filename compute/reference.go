package compute

import "nosa/dtype"

// Reference is the device that runs the definitions, on one goroutine, in the
// host's memory. Other devices of the host embed it and replace what they do
// faster.
type Reference struct{}

var (
	_ TilesDevice     = Reference{}
	_ KeyLogitsDevice = Reference{}
)

// Name is "reference"; --device does not offer it.
func (Reference) Name() string { return "reference" }

// Info describes the device in a line.
func (Reference) Info() string { return "plain Go definitions, one thread" }

// Numbers: the definitions.
func (Reference) Numbers() string { return "reference" }

// Alloc returns zeroed memory of the Go heap.
func (Reference) Alloc(t dtype.Type, shape ...int) (Tensor, error) {
	x := Describe(t, shape...)
	// As float32s, so that the memory is aligned for every view of it.
	x.Data = bytesOf(make([]float32, (x.Bytes()+3)/4))[:x.Bytes()]
	return x, nil
}

// Free leaves the memory to the collector.
func (Reference) Free(Tensor) {}

// Load uses the mapped weight where it lies.
func (Reference) Load(t dtype.Type, data []byte, shape ...int) (Tensor, error) {
	return NewTensor(t, data, shape...), nil
}

// Upload copies src into the tensor.
func (Reference) Upload(dst Tensor, src []byte) { copy(dst.Data, src) }

// Download copies the tensor into dst.
func (Reference) Download(dst []byte, src Tensor) { copy(dst, src.Data) }

// Sync has nothing to wait for.
func (Reference) Sync() error { return nil }

// Close has nothing to give back.
func (Reference) Close() error { return nil }

// Embed: see the definition.
func (Reference) Embed(out, table Tensor, ids []int32) { Embed(out.F32(), table, ids) }

// RMSNorm: see the definition.
func (Reference) RMSNorm(out, x, weight Tensor, eps float32) {
	RMSNorm(out.F32(), x.F32(), weight.F32(), eps)
}

// Linear: see the definition.
func (Reference) Linear(out, x, weight, bias Tensor) {
	Linear(out.F32(), x.F32(), weight, optional(bias))
}

// Angles: see the definition.
func (Reference) Angles(out Tensor, pos []int32, rope *Rope) { Angles(out.F32(), pos, rope) }

// Rotate: see the definition.
func (Reference) Rotate(x, angles Tensor, rope *Rope) {
	Rotate(x.F32(), angles.F32(), x.Dims[1], x.Dims[2], rope)
}

// SwiGLU: see the definition.
func (Reference) SwiGLU(out, gate, up Tensor) { SwiGLU(out.F32(), gate.F32(), up.F32()) }

// AddScaled: see the definition.
func (Reference) AddScaled(x, y Tensor, scale float32) { AddScaled(x.F32(), y.F32(), scale) }

// Scale: see the definition.
func (Reference) Scale(x Tensor, scale float32) { Scale(x.F32(), scale) }

// Importance: see the definition.
func (Reference) Importance(out, v, delta, bias, a Tensor) {
	Importance(out.F32(), v.F32(), delta.F32(), optional(bias), a.F32())
}

// Append: see the definition.
func (Reference) Append(c *Cache, t Tile, k, v, s Tensor) { Append(c, t, k, v, s) }

// Seal writes the tile's full tail of one KV head into a slot, in the cache's
// format.
func (Reference) Seal(c *Cache, t Tile, head int, slot int32) {
	n := c.Block * c.Dim
	tail := t.Tail.F32()[head*2*n : (head+1)*2*n]
	c.EncodeBlock(c.Slots.Rows(int(slot), int(slot)+1).Data, tail[:n], tail[n:])
}

// CopySlot copies a slot's block to the host, byte for byte. It and FillSlot may
// run on the store's transfer goroutines, beside ops that leave the slot alone.
func (Reference) CopySlot(c *Cache, dst []byte, slot int32) {
	copy(dst, c.Slots.Rows(int(slot), int(slot)+1).Data)
}

// FillSlot copies a block from the host into a slot, byte for byte.
func (Reference) FillSlot(c *Cache, slot int32, src []byte) {
	copy(c.Slots.Rows(int(slot), int(slot)+1).Data, src)
}

// ScoreBlocks: see the definition.
func (Reference) ScoreBlocks(out, q Tensor, c *Cache, t Tile) { ScoreBlocks(out, q, c, t) }

// ScoreImportance: see the definition.
func (Reference) ScoreImportance(out Tensor, c *Cache, t Tile) { ScoreImportance(out, c, t) }

// Select: see the definition.
func (Reference) Select(sel Selection, byQuery, byScore Tensor, t Tile, block int, p SelectParams) {
	Select(sel, byQuery, byScore, t, block, p)
}

// AttendBegin: see the definition.
func (Reference) AttendBegin(state Tensor, t Tile, heads, dim int) {
	AttendBegin(state.F32()[:t.N*heads*StateLen(dim)], dim)
}

// Attend: see the definition.
func (Reference) Attend(state, q Tensor, c *Cache, t Tile, sel Selection, parts []Part) {
	Attend(state, q, c, t, sel, parts)
}

// AttendEnd writes the tile's rows of out [rows, heads, dim].
func (Reference) AttendEnd(out, state Tensor, t Tile) {
	heads, dim := out.Dims[1], out.Dims[2]
	AttendEnd(out.F32()[t.Row*heads*dim:(t.Row+t.N)*heads*dim], state.F32()[:t.N*heads*StateLen(dim)], dim)
}

// KeyLogits: see the definition.
func (Reference) KeyLogits(out, q Tensor, c *Cache, t Tile, p Part) { KeyLogits(out, q, c, t, p) }

// TakesTiles: any.
func (Reference) TakesTiles(Layout, int, int) bool { return true }

// AppendTiles is Append of each tile.
func (r Reference) AppendTiles(c *Cache, tiles []Tile, k, v, s Tensor) {
	for _, t := range tiles {
		r.Append(c, t, k, v, s)
	}
}

// SealTiles is Seal of each tile and KV head, into slots [tiles, kvHeads]; −1 leaves one out.
func (r Reference) SealTiles(c *Cache, tiles []Tile, slots []int32) {
	for i, slot := range slots {
		if slot >= 0 {
			r.Seal(c, tiles[i/c.Heads], i%c.Heads, slot)
		}
	}
}

// SelectTiles: see the definition.
func (Reference) SelectTiles(sel Selection, q Tensor, c *Cache, tiles []Tile, p SelectParams) {
	SelectTiles(sel, q, c, tiles, p)
}

// AttendTiles: see the definition.
func (Reference) AttendTiles(out, q Tensor, c *Cache, tiles []Tile, sel Selection, slots [][]int32) {
	AttendTiles(out, q, c, tiles, sel, slots)
}

func optional(t Tensor) []float32 {
	if t.None() {
		return nil
	}
	return t.F32()
}
