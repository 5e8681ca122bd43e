//go:build linux && amd64

package cuda

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// tileBench is one layer of an 8B model in prefill: a tile of rows at the end of a context.
type tileBench struct {
	d     *Device
	c     *compute.Cache
	t     compute.Tile
	q     compute.Tensor
	state compute.Tensor
	out   compute.Tensor
	sel   compute.Selection
	parts []compute.Part
	pairs int // of a row and a block of a KV head that are attended to
}

const (
	tileKV, tileHeads, tileDim, tileBlock = 2, 32, 128, 64
)

// newTileBench has blocks of random keys and values, in slots in a random order. choose is
// a row's selection for a KV head, or nil for every block.
func newTileBench(b *testing.B, d *Device, kv compute.KVType, blocks, rows int, choose func(rng *rand.Rand, row int) []int32) *tileBench {
	b.Helper()
	rng := rand.New(rand.NewPCG(1, 2))
	x := &tileBench{d: d}
	alloc := func(t dtype.Type, shape ...int) compute.Tensor {
		x, err := d.Alloc(t, shape...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Free(x) })
		return x
	}
	normal := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(rng.NormFloat64())
		}
		return v
	}
	fill := func(x compute.Tensor) compute.Tensor {
		d.Upload(x, compute.F32s(normal(x.Len()), x.Len()).Data)
		return x
	}
	l := compute.Layout{Heads: tileKV, Dim: tileDim, Block: tileBlock, Kernel: 32, Stride: 16, Type: kv}
	x.c = &compute.Cache{Layout: l, Slots: alloc(dtype.U8, tileKV*blocks, l.BlockBytes()),
		Segments: alloc(l.SummaryType(), tileKV*blocks, l.SummarySteps(), l.Segments(), 4)}
	some := make([][]byte, 8) // of which all blocks are copies
	for i := range some {
		some[i] = make([]byte, l.BlockBytes())
		l.EncodeBlock(some[i], normal(tileBlock*tileDim), normal(tileBlock*tileDim))
	}
	for s := range tileKV * blocks {
		d.Upload(x.c.Slots.Rows(s, s+1), some[rng.IntN(len(some))])
	}
	mean := make([]byte, l.SummaryBytes())
	for i := range l.Segments() {
		for ch, v := range normal(tileDim) {
			l.PutMean(mean, i, ch, v/4)
		}
	}
	for s := range tileKV * blocks {
		d.Upload(x.c.Segments.Rows(s, s+1), mean)
	}
	x.q, x.out = fill(alloc(dtype.F32, rows, tileHeads, tileDim)), alloc(dtype.F32, rows, tileHeads, tileDim)
	x.state = alloc(dtype.F32, rows, tileHeads, compute.StateLen(tileDim))
	x.t = compute.Tile{N: rows, Pos: tileBlock*blocks - rows, Tail: fill(alloc(dtype.F32, tileKV, 2, tileBlock, tileDim))}
	order := rng.Perm(tileKV * blocks)
	x.t.Tables = make([][]int32, tileKV)
	for h := range x.t.Tables {
		for i := range blocks {
			x.t.Tables[h] = append(x.t.Tables[h], int32(order[h*blocks+i]))
		}
	}
	const places = 64
	count, chosen := make([]int32, rows*tileKV), make([]int32, rows*tileKV*places)
	union := make([]map[int32]bool, tileKV)
	for h := range union {
		union[h] = map[int32]bool{}
		for r := range rows {
			at := r*tileKV + h
			if choose == nil {
				count[at] = -1
				x.pairs += blocks
				for i := range blocks {
					union[h][int32(i)] = true
				}
				continue
			}
			list := choose(rng, r)
			slices.Sort(list)
			count[at] = int32(copy(chosen[at*places:], list))
			x.pairs += len(list)
			for _, i := range list {
				union[h][i] = true
			}
		}
		p := compute.Part{Head: h}
		for i := range union[h] {
			p.Blocks = append(p.Blocks, i)
		}
		slices.Sort(p.Blocks)
		for _, i := range p.Blocks {
			slot := x.t.Tables[h][i]
			if int(i) == blocks-1 {
				slot = -1
			}
			p.Slots = append(p.Slots, slot)
		}
		x.parts = append(x.parts, p)
	}
	x.sel = compute.Selection{Blocks: alloc(dtype.I32, rows, tileKV, places), Count: alloc(dtype.I32, rows, tileKV)}
	d.Upload(x.sel.Blocks, compute.I32s(chosen, len(chosen)).Data)
	d.Upload(x.sel.Count, compute.I32s(count, len(count)).Data)
	return x
}

// attend is one call of the three ops, timed; flops are those of what rows selected.
func (x *tileBench) attend(b *testing.B) {
	flops := 4 * x.pairs * (tileHeads / tileKV) * tileBlock * tileDim
	timedAs(b, x.d, float64(flops)/1e12, "TFLOP/s", func(int) {
		x.d.AttendBegin(x.state, x.t, tileHeads, tileDim)
		x.d.Attend(x.state, x.q, x.c, x.t, x.sel, x.parts)
		x.d.AttendEnd(x.out, x.state, x.t)
	})
}

// sparse selects as a method does: the first block, the own one and the 16 before it, and
// a quarter of up to 182 others, half of which all rows have in common.
func sparse(blocks int) func(rng *rand.Rand, row int) []int32 {
	pool := rand.New(rand.NewPCG(3, 4)).Perm(blocks - 18)
	pool = pool[:min(len(pool), 182)]
	n := len(pool) / 8
	return func(rng *rand.Rand, row int) []int32 {
		list := []int32{0}
		for i := range 17 {
			list = append(list, int32(blocks-1-i))
		}
		for _, i := range pool[:n] {
			list = append(list, int32(1+i))
		}
		for _, i := range rng.Perm(len(pool) - n)[:n] {
			list = append(list, int32(1+pool[n+i]))
		}
		return list
	}
}

// tileSizes are the blocks of contexts of 4K, 32K and 128K, and the rows of a tile; with
// -short what an emulator does in seconds.
func tileSizes() (contexts [3]int, rows int) {
	if testing.Short() {
		return [3]int{2, 40, 70}, 2
	}
	return [3]int{64, 512, 2048}, 64
}

// BenchmarkTileAttend is attention of a tile of 64 rows, full and sparse.
func BenchmarkTileAttend(b *testing.B) {
	d := open(b)
	contexts, rows := tileSizes()
	for i, name := range []string{"4K", "32K", "128K"} {
		b.Run("full/"+name, newTileBench(b, d, compute.KVBF16, contexts[i], rows, nil).attend)
	}
	blocks := contexts[1]
	for _, kv := range []compute.KVType{compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
		b.Run(fmt.Sprintf("sparse/32K/%v", kv), newTileBench(b, d, kv, blocks, rows, sparse(blocks)).attend)
	}
}

// BenchmarkTileScore is what rows of a tile of 64, and one row, ask for the blocks of a
// context.
func BenchmarkTileScore(b *testing.B) {
	d := open(b)
	contexts, tile := tileSizes()
	for i, name := range []string{"4K", "32K", "128K"} {
		for _, rows := range []int{1, tile} {
			blocks := contexts[i]
			x := newTileBench(b, d, compute.KVBF16, blocks, rows, nil)
			out, err := d.Alloc(dtype.F32, rows, tileKV, blocks)
			if err != nil {
				b.Fatal(err)
			}
			b.Run(fmt.Sprintf("%s/rows=%d", name, rows), func(b *testing.B) {
				flops := 2 * rows * tileHeads * x.c.Windows(blocks*tileBlock) * tileDim
				timedAs(b, d, float64(flops)/1e12, "TFLOP/s", func(int) { d.ScoreBlocks(out, x.q, x.c, x.t) })
			})
			d.Free(out)
		}
	}
}

// BenchmarkTiles is what a chunk of 2048 rows at the end of a context costs a layer, by part:
// keys and values appended and sealed, selection of 64 blocks a row with scores, attention to
// these, and to all.
func BenchmarkTiles(b *testing.B) {
	d := open(b)
	contexts, size := tileSizes()
	tiles := min(32, size)
	for i, name := range []string{"4K", "32K", "128K"} {
		blocks := contexts[i]
		tiles := min(tiles, blocks)
		x := newTileBench(b, d, compute.KVBF16, blocks, 1, nil)
		rows := tiles * tileBlock
		alloc := func(t dtype.Type, shape ...int) compute.Tensor {
			y, err := d.Alloc(t, shape...)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { d.Free(y) })
			if t == dtype.F32 {
				rng, v := rand.New(rand.NewPCG(5, 6)), make([]float32, y.Len())
				for i := range v {
					v[i] = float32(rng.NormFloat64())
				}
				d.Upload(y, compute.F32s(v, len(v)).Data)
			}
			return y
		}
		q, k, v, out := alloc(dtype.F32, rows, tileHeads, tileDim), alloc(dtype.F32, rows, tileKV, tileDim), alloc(dtype.F32, rows, tileKV, tileDim), alloc(dtype.F32, rows, tileHeads, tileDim)
		tails := alloc(dtype.F32, tiles*tileKV, 2, tileBlock, tileDim)
		sel := compute.Selection{Blocks: alloc(dtype.I32, rows, tileKV, 64), Count: alloc(dtype.I32, rows, tileKV)}
		var all []compute.Tile
		var ids []int32 // slots have the numbers of blocks here
		for i := range tiles {
			t := compute.Tile{Row: i * tileBlock, N: tileBlock, Pos: (blocks - tiles + i) * tileBlock, Tables: x.t.Tables, Tail: tails.Rows(i*tileKV, (i+1)*tileKV)}
			all = append(all, t)
			for h := range tileKV {
				ids = append(ids, t.Tables[h][t.Own(tileBlock)])
			}
		}
		b.Run(name+"/append", func(b *testing.B) {
			timedAs(b, d, float64(rows), "rows/s", func(int) {
				d.AppendTiles(x.c, all, k, v, compute.Tensor{})
				d.SealTiles(x.c, all, ids)
			})
		})
		windows := 0
		for r := range rows {
			windows += x.c.Windows((blocks-tiles)*tileBlock + r + 1)
		}
		b.Run(name+"/select", func(b *testing.B) {
			flops := 2 * tileHeads * windows * tileDim
			p := compute.SelectParams{Init: 1, Local: 16, K: 64, ByQuery: true}
			timedAs(b, d, float64(flops)/1e12, "TFLOP/s", func(int) { d.SelectTiles(sel, q, x.c, all, p) })
		})
		b.Run(name+"/sparse", func(b *testing.B) {
			flops := 4 * rows * tileHeads * min(64, blocks) * tileBlock * tileDim
			timedAs(b, d, float64(flops)/1e12, "TFLOP/s", func(int) { d.AttendTiles(out, q, x.c, all, sel, x.t.Tables) })
		})
		b.Run(name+"/full", func(b *testing.B) {
			flops := 0
			for i := range all {
				flops += 4 * tileBlock * tileHeads * (blocks - tiles + i + 1) * tileBlock * tileDim
			}
			d.SelectTiles(sel, q, x.c, all, compute.SelectParams{DenseLen: 1 << 30})
			timedAs(b, d, float64(flops)/1e12, "TFLOP/s", func(int) { d.AttendTiles(out, q, x.c, all, sel, x.t.Tables) })
		})
	}
}
