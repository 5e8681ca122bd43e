package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// scored is one layer of a long sequence: three KV heads of 64 channels in bf16,
// or four for groups of eight, blocks born in runs of eight as a prompt makes them.
type scored struct {
	cache            *compute.Cache
	tile             compute.Tile
	q, byQuery       compute.Tensor
	byScore          compute.Tensor
	sel              compute.Selection
	params           compute.SelectParams
	kv, heads, group int
	blocks           int
}

func newScored(b *testing.B, d *Device, group, tokens, rows, layers int) []*scored {
	const dim, block, born = 64, 64, 8
	kv := map[int]int{3: 3, 8: 4}[group]
	rng := rand.New(rand.NewPCG(1, 2))
	l := compute.Layout{Heads: kv, Dim: dim, Block: block, Kernel: 32, Stride: 16, Scores: true, Type: compute.KVBF16}
	blocks := tokens / block
	c := &compute.Cache{Layout: l}
	alloc := func(t dtype.Type, shape ...int) compute.Tensor {
		x, err := d.Alloc(t, shape...)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { d.Free(x) })
		return x
	}
	ids := layers * kv * blocks
	c.Segments = alloc(l.SummaryType(), ids, l.SummarySteps(), l.Segments(), 4)
	c.SegScore = alloc(dtype.F32, ids, l.Segments())
	some := make([]float32, 1<<16)
	fill(some, rng)
	for at := 0; at < len(c.Segments.Data); {
		n := min(len(some)*2, len(c.Segments.Data)-at)
		dtype.Encode(dtype.F16, c.Segments.Data[at:at+n], some[:n/2])
		at += n
	}
	fill(c.SegScore.F32(), rng)
	var all []*scored
	for layer := range layers {
		s := &scored{cache: c, kv: kv, heads: kv * group, group: group, blocks: blocks}
		s.tile = compute.Tile{N: rows, Pos: tokens - rows}
		for h := range kv {
			table := make([]int32, blocks)
			for i := range table {
				table[i] = int32(i/born*born*layers*kv + (layer*kv+h)*min(born, blocks-i/born*born) + i%born)
			}
			s.tile.Tables = append(s.tile.Tables, table)
		}
		s.q = alloc(dtype.F32, rows, s.heads, dim)
		fill(s.q.F32(), rng)
		s.byQuery, s.byScore = alloc(dtype.F32, rows, kv, blocks), alloc(dtype.F32, rows, kv, blocks)
		s.params = compute.SelectParams{Init: 1, Local: 32, Query: 31, K: 64, ByQuery: true}
		s.sel = compute.Selection{
			Blocks: compute.I32s(make([]int32, rows*kv*s.params.Most()), rows, kv, s.params.Most()),
			Count:  compute.I32s(make([]int32, rows*kv), rows, kv),
		}
		all = append(all, s)
	}
	return all
}

// eachScored walks contexts, rows, groups and threads. Thirty layers, as SmolLM2
// has, each with summaries of its own, so that a decode step finds them where it
// would; a tile of a prompt has fewer for the time's sake.
func eachScored(b *testing.B, f func(b *testing.B, d *Device, layers []*scored)) {
	for _, group := range []int{3, 8} {
		for _, rows := range []int{1, 64} {
			for _, tokens := range []int{8 << 10, 32 << 10, 128 << 10} {
				for _, threads := range []int{1, 2} {
					b.Run(fmt.Sprintf("group=%d/rows=%d/tokens=%dK/threads=%d", group, rows, tokens>>10, threads), func(b *testing.B) {
						layers := 30
						if rows > 1 {
							layers = 2
						}
						d, err := New(Options{Threads: threads})
						if err != nil {
							b.Fatal(err)
						}
						all := newScored(b, d, group, tokens, rows, layers)
						f(b, d, all)
						if err := d.Close(); err != nil {
							b.Fatal(err)
						}
					})
				}
			}
		}
	}
}

// BenchmarkScore is ScoreBlocks; an iteration is a layer. Bytes are those of the
// summaries.
func BenchmarkScore(b *testing.B) {
	eachScored(b, func(b *testing.B, d *Device, layers []*scored) {
		s := layers[0]
		b.SetBytes(int64(s.kv * s.blocks * s.cache.SummaryBytes()))
		i := 0
		for b.Loop() {
			s := layers[i%len(layers)]
			d.ScoreBlocks(s.byQuery, s.q, s.cache, s.tile)
			i++
		}
		windows := float64(s.tile.N*s.heads*s.blocks*4) * float64(b.N)
		b.ReportMetric(2*64*windows/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/windows, "ns/window")
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*s.tile.N)*30/1000, "ms/token30")
	})
}

// BenchmarkScoreKernels runs the kernels on operands in the first cache: a chunk
// of sixteen blocks of 64 channels, and the windows of a chunk.
func BenchmarkScoreKernels(b *testing.B) {
	const steps, blocks, most = 16, 16, 12
	rng := rand.New(rand.NewPCG(1, 2))
	q, base := make([]float32, most*4*steps), make([]float32, blocks*16*steps)
	fill(q, rng)
	fill(base, rng)
	half := make([]byte, 2*len(base))
	dtype.Encode(dtype.F16, half, base)
	out := make([]float32, most*(4*blocks+16))
	table := inOrder[:]
	for _, k := range available() {
		for _, h := range []int{1, 2, 3, 4, 6} {
			if h > k.tall {
				continue
			}
			gflops := func(b *testing.B) {
				b.ReportMetric(2*64*4*blocks*float64(h)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			}
			b.Run(fmt.Sprintf("%s/means16/queries=%d", k.name, h), func(b *testing.B) {
				b.SetBytes(int64(len(half)))
				for b.Loop() {
					k.means16(out, 4*blocks+16, q, h, steps, half, table)
				}
				gflops(b)
			})
			b.Run(fmt.Sprintf("%s/means32/queries=%d", k.name, h), func(b *testing.B) {
				for b.Loop() {
					k.means32(out, 4*blocks+16, q, h, steps, base, table)
				}
				gflops(b)
			})
		}
		const n = 4 * chunkBlocks
		part, win, blocks := make([]float32, 3*n+16), make([]float32, 3*n), make([]float32, chunkBlocks)
		fill(part, rng)
		each := func(b *testing.B, per float64) {
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/per, "ns/window")
		}
		b.Run(k.name+"/windows", func(b *testing.B) {
			for b.Loop() {
				k.windows(win[:n], part, 2, 0.05)
			}
			each(b, n)
		})
		b.Run(k.name+"/blend", func(b *testing.B) {
			for b.Loop() {
				k.blend(win[:n], part, n, blocks, 1, 3)
			}
			each(b, 3*n)
		})
		b.Run(k.name+"/pool", func(b *testing.B) {
			for b.Loop() {
				k.pool(blocks[:chunkBlocks-1], win)
			}
			each(b, n)
		})
		b.Run(k.name+"/widen", func(b *testing.B) {
			b.SetBytes(int64(len(half)))
			for b.Loop() {
				k.widen(base, half, len(half)/16, table)
			}
		})
	}
}
