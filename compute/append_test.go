package compute

import (
	"math/rand/v2"
	"testing"

	"nosa/dtype"
)

// newCache is a cache on the heap whose blocks and ids are numbered alike: id and
// slot of block b of head h are h·blocks + b.
func newCache(l Layout, blocks int) (*Cache, Tile) {
	n := l.Heads * blocks
	f := func(shape ...int) Tensor {
		return F32s(make([]float32, Describe(dtype.F32, shape...).Len()), shape...)
	}
	c := &Cache{Layout: l, Slots: NewTensor(dtype.U8, make([]byte, n*l.BlockBytes()), n, l.BlockBytes())}
	if l.Stride > 0 {
		c.Segments = NewTensor(l.SummaryType(), make([]byte, n*l.SummaryBytes()), n, l.SummarySteps(), l.Segments(), 4)
		c.SegScore = f(n, l.Segments())
	}
	c.Score = f(n, l.Block)
	t := Tile{Tail: f(l.Heads, 2, l.Block, l.Dim)}
	for h := range l.Heads {
		table := make([]int32, blocks)
		for b := range table {
			table[b] = int32(h*blocks + b)
		}
		t.Tables = append(t.Tables, table)
	}
	return c, t
}

// feed appends all rows of k, v and s, block by block in pieces of at most chunk,
// sealing what fills, and returns the tile of the last block.
func feed(c *Cache, t Tile, chunk int, k, v, s Tensor) Tile {
	tables := t.Tables
	for row := 0; row < k.Dims[0]; row += t.N {
		own := row / c.Block
		t.Row, t.Pos, t.N = row, row, min(chunk, k.Dims[0]-row, (own+1)*c.Block-row)
		t.Tables = make([][]int32, len(tables))
		for h := range tables {
			t.Tables[h] = tables[h][:own+1]
		}
		Append(c, t, k, v, s)
		if row+t.N == (own+1)*c.Block {
			for h := range c.Heads {
				Reference{}.Seal(c, t, h, t.Tables[h][own])
			}
		}
	}
	return t
}

func TestAppendByHand(t *testing.T) {
	c, tile := newCache(Layout{Heads: 2, Dim: 1, Block: 4, Kernel: 2, Stride: 2, Scores: true, Type: KVF32}, 2)
	k := F32s([]float32{1, 10, 2, 20, 3, 30, 4, 40, 5, 50}, 5, 2, 1)
	v := F32s([]float32{-1, -10, -2, -20, -3, -30, -4, -40, -5, -50}, 5, 2, 1)
	s := F32s([]float32{.5, 5, 1.5, 6, 2.5, 7, 3.5, 8, 4.5, 9}, 5, 2)
	tile = feed(c, tile, 3, k, v, s)
	// Ids 0 and 1 are the first head's blocks, 2 and 3 the second's.
	near(t, "segments", means(c), []float32{1.5, 3.5, 0, 0, 15, 35, 0, 0}, 0)
	near(t, "scores", c.Score.F32(), []float32{.5, 1.5, 2.5, 3.5, 4.5, 0, 0, 0, 5, 6, 7, 8, 9, 0, 0, 0}, 0)
	near(t, "scores of segments", c.SegScore.F32(), []float32{1, 3, 0, 0, 5.5, 7.5, 0, 0}, 0)
	tail := tile.Tail.F32()
	near(t, "tail: the fifth token over the first", []float32{tail[0], tail[4], tail[8], tail[12]}, []float32{5, -5, 50, -50}, 0)
	key, val := make([]float32, 4), make([]float32, 4)
	c.DecodeBlock(key, val, c.Slots.Rows(2, 3).Data)
	near(t, "sealed keys of head 1", key, []float32{10, 20, 30, 40}, 0)
	near(t, "sealed values of head 1", val, []float32{-10, -20, -30, -40}, 0)
}

// means lists the means of all segments of all ids.
func means(c *Cache) []float32 {
	var all []float32
	mean := make([]float32, c.Dim)
	for id := range c.Segments.Dims[0] {
		for seg := range c.Layout.Segments() {
			c.Mean(mean, c.Summary(int32(id)), seg)
			all = append(all, mean...)
		}
	}
	return all
}

// TestAppendInChunks: cutting a prompt anywhere leaves the same bits.
func TestAppendInChunks(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const tokens = 83
	for _, l := range []Layout{
		{Heads: 2, Dim: 4, Block: 8, Kernel: 4, Stride: 2, Scores: true, Type: KVQ4},
		{Heads: 1, Dim: 7, Block: 16, Kernel: 16, Stride: 4, Type: KVBF16},
		{Heads: 3, Dim: 5, Block: 32, Scores: true, Type: KVF16},
	} {
		k, v, s := random(rng, tokens, l.Heads, l.Dim), random(rng, tokens, l.Heads, l.Dim), random(rng, tokens, l.Heads)
		blocks := (tokens + l.Block - 1) / l.Block
		whole, tile := newCache(l, blocks)
		tile = feed(whole, tile, tokens, k, v, s)
		for _, chunk := range []int{1, 3, 5, 8, 31} {
			c, cut := newCache(l, blocks)
			cut = feed(c, cut, chunk, k, v, s)
			for _, p := range [][2]Tensor{{c.Slots, whole.Slots}, {c.Segments, whole.Segments}, {c.SegScore, whole.SegScore}, {c.Score, whole.Score}, {cut.Tail, tile.Tail}} {
				if string(p[0].Data) != string(p[1].Data) {
					t.Fatalf("%+v in chunks of %d: other bits in a tensor of shape %v", l, chunk, p[0].Dims)
				}
			}
		}
	}
}

func random(rng *rand.Rand, shape ...int) Tensor {
	v := make([]float32, Describe(dtype.F32, shape...).Len())
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return F32s(v, shape...)
}
