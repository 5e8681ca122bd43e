package cpu

// What the processor can do, and what float weights reach on an Intel Xeon of two
// processors (model 167, 2.6 GHz nominal, 48 KiB of L1, 2 MiB of L2). Figures are
// the best of a dozen runs of BenchmarkLinearFloat, since the machine was shared.
//
//	                                    avx512          avx2          go
//	threads                             1     2        1     2        1
//	fused multiply-add in registers    246   492      133   265            GFLOP/s (BenchmarkPeak)
//	tile, operands in L1               234            129
//
//	rows  n×k        weights
//	512   576×576    F32, F16          212   386      125   222      11.4  GFLOP/s
//	512   1536×576   F32, F16          205   380      125   216
//	512   576×1536   F16               209   401      122   241
//	512   2048×2048  F16               212   417      122   242
//	512   5632×2048  F16               212   414      122
//	512   2048×5632  F16               203   399      119
//	 64   576×576    F16               175
//
//	                                                                       GB/s of weights
//	reads of 100 MiB, of 1 GiB          29, 15  59, 28
//	  1   5632×2048  F16, 23 MB, hot   29.8           29.4  58.8
//	  1   5632×2048  F32, 300 MB       22.2  40.3     23.0  39.8
//	  1              F16               20.2  40.9     20.6  41.1
//	  1              Q8_0 in float32   14.6  27.3     13.6  25.7
//	  1              Q4_0 in float32    9.7  17.5      6.7  12.6
//	  4              F16                     34.0           30.1
//	  8              F16                     25.2           19.1
//
// A product of many rows is bound by the first, 2·rows·n·k operations; one of a few
// rows by the bytes of its weights, each of which is read once. The other quantised
// formats are expanded strip by strip before (BenchmarkExpand).
//
// Attention of 64 rows over 4096 tokens reaches 72 GFLOP/s (61 %): per 64 keys of
// one row and head some 512 cycles are products and 300 the exponentials, the
// reductions of short sums and the calls.

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// benchLevels runs a benchmark on one thread and on all of them, on the best
// level.
func benchLevels(b *testing.B, f func(b *testing.B, d *Device)) {
	for _, threads := range []int{1, Threads()} {
		d, err := New(Options{Threads: threads})
		if err != nil {
			b.Fatal(err)
		}
		b.Run(fmt.Sprintf("threads=%d", threads), func(b *testing.B) { f(b, d) })
		if err := d.Close(); err != nil {
			b.Fatal(err)
		}
		if threads == Threads() {
			break
		}
	}
}

// BenchmarkLinear has the shapes of SmolLM2-135M. Bytes are those of the weights.
func BenchmarkLinear(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, shape := range [][2]int{{576, 576}, {1536, 576}, {49152, 576}, {576, 1536}} {
		n, k := shape[0], shape[1]
		values := make([]float32, n*k)
		for i := range values {
			values[i] = rng.Float32() - 0.5
		}
		for _, format := range []dtype.Type{dtype.F32, dtype.F16, dtype.Q8_0, dtype.Q4_1} {
			size, err := format.Size(n * k)
			if err != nil {
				b.Fatal(err)
			}
			data := make([]byte, size)
			encode(format, data, values, rng)
			w := compute.NewTensor(format, data, n, k)
			for _, rows := range []int{1, 64, 512} {
				if n > 10000 && rows > 64 {
					continue
				}
				x := compute.F32s(values[:rows*k:rows*k], rows, k)
				if rows*k > len(values) {
					b.Fatal("rows beyond the values")
				}
				out := compute.F32s(make([]float32, rows*n), rows, n)
				b.Run(fmt.Sprintf("%dx%d/%v/rows=%d", n, k, format, rows), func(b *testing.B) {
					benchLevels(b, func(b *testing.B, d *Device) {
						b.SetBytes(int64(size))
						for b.Loop() {
							d.Linear(out, x, w, compute.Tensor{})
						}
						b.ReportMetric(2*float64(n)*float64(k)*float64(rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
					})
				})
			}
		}
	}
}

// encode fills data with values where the format can be written, and with random
// codes and harmless scales where it is only read.
func encode(t dtype.Type, data []byte, values []float32, rng *rand.Rand) {
	if t != dtype.Q4_1 {
		dtype.Encode(t, data, values)
		return
	}
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	for i := 0; i < len(data); i += 20 {
		data[i], data[i+1], data[i+2], data[i+3] = 0, 0x24, 0, 0xa8 // 2⁻⁶, −2⁻⁵
	}
}

// BenchmarkAttend is one layer of SmolLM2-135M at 4096 tokens: 9 query heads over
// 3 KV heads of 64 channels, every block visible, in bf16.
func BenchmarkAttend(b *testing.B) {
	const heads, tokens, block, dim, kv = 9, 4096, 64, 64, 3
	rng := rand.New(rand.NewPCG(3, 4))
	for _, rows := range []int{1, 64} {
		for _, format := range []compute.KVType{compute.KVBF16, compute.KVF32, compute.KVQ8} {
			b.Run(fmt.Sprintf("rows=%d/%v", rows, format), func(b *testing.B) {
				benchLevels(b, func(b *testing.B, d *Device) {
					l := compute.Layout{Heads: kv, Dim: dim, Block: block, Type: format}
					const blocks = tokens / block
					c := &compute.Cache{Layout: l}
					c.Slots, _ = d.Alloc(dtype.U8, kv*blocks, l.BlockBytes())
					tile := compute.Tile{N: rows, Pos: tokens - rows}
					tile.Tail, _ = d.Alloc(dtype.F32, kv, 2, block, dim)
					fill(tile.Tail.F32(), rng)
					var parts []compute.Part
					for h := range kv {
						p := compute.Part{Head: h}
						tile.Tables = append(tile.Tables, make([]int32, blocks))
						for i := range blocks {
							slot := int32(h*blocks + i)
							d.Seal(c, tile, h, slot)
							p.Blocks = append(p.Blocks, int32(i))
							p.Slots = append(p.Slots, slot)
						}
						parts = append(parts, p)
					}
					sel := compute.Selection{
						Blocks: compute.I32s(make([]int32, rows*kv), rows, kv, 1),
						Count:  compute.I32s(make([]int32, rows*kv), rows, kv),
					}
					for i := range sel.Count.I32() {
						sel.Count.I32()[i] = -1
					}
					q := compute.F32s(make([]float32, rows*heads*dim), rows, heads, dim)
					fill(q.F32(), rng)
					state := compute.F32s(make([]float32, rows*heads*compute.StateLen(dim)), rows, heads, compute.StateLen(dim))
					b.SetBytes(int64(len(c.Slots.Data)))
					for b.Loop() {
						d.AttendBegin(state, tile, heads, dim)
						d.Attend(state, q, c, tile, sel, parts)
					}
					b.ReportMetric(4*float64(rows*heads*tokens*dim)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			})
		}
	}
}

func fill(x []float32, rng *rand.Rand) {
	for i := range x {
		x[i] = float32(rng.NormFloat64())
	}
}

// BenchmarkRead streams float32 weights that no cache holds: the bytes a second
// that a decode step can hope for.
func BenchmarkRead(b *testing.B) {
	const width, n = 1024, 1 << 17
	benchLevels(b, func(b *testing.B, d *Device) {
		w, err := d.Alloc(dtype.F32, n, width)
		if err != nil {
			b.Fatal(err)
		}
		defer d.Free(w)
		fill(w.F32()[:width], rand.New(rand.NewPCG(1, 1)))
		x, out := compute.F32s(w.F32()[:width:width], 1, width), compute.F32s(make([]float32, n), 1, n)
		for i := range w.F32() { // so that every page is there
			w.F32()[i] = 1
		}
		b.SetBytes(4 * width * n)
		for b.Loop() {
			d.Linear(out, x, w, compute.Tensor{})
		}
	})
}

// BenchmarkOps are the light ops of one layer of SmolLM2-135M, for a tile of 64
// rows at 4096 tokens.
func BenchmarkOps(b *testing.B) {
	const rows, heads, kv, dim, hidden, width, block, blocks = 64, 9, 3, 64, 576, 1536, 64, 64
	d, err := New(Options{Threads: 1})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	rng := rand.New(rand.NewPCG(5, 6))
	f := func(shape ...int) compute.Tensor {
		x, err := d.Alloc(dtype.F32, shape...)
		if err != nil {
			b.Fatal(err)
		}
		fill(x.F32(), rng)
		return x
	}
	bench := func(name string, op func()) {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				op()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*rows), "ns/row")
		})
	}
	x, y, norm := f(rows, hidden), f(rows, hidden), f(hidden)
	wide, gate, up := f(rows, width), f(rows, width), f(rows, width)
	bench("RMSNorm", func() { d.RMSNorm(y, x, norm, 1e-5) })
	bench("SwiGLU", func() { d.SwiGLU(wide, gate, up) })
	bench("AddScaled", func() { d.AddScaled(x, y, 1e-3) })
	q, k, v := f(rows, heads, dim), f(rows, kv, dim), f(rows, kv, dim)
	for _, interleaved := range []bool{false, true} {
		rope := &compute.Rope{Inv: make([]float32, dim/2), Factor: 1, Interleaved: interleaved}
		pos, angles := make([]int32, rows), f(rows, 2, dim/2)
		bench(fmt.Sprintf("Rotate/interleaved=%v", interleaved), func() {
			d.Angles(angles, pos, rope)
			d.Rotate(q, angles, rope)
		})
	}
	l := compute.Layout{Heads: kv, Dim: dim, Block: block, Kernel: 32, Stride: 16, Scores: true}
	c := &compute.Cache{Layout: l, Segments: f(kv*blocks, l.SummarySteps(), l.Segments(), 4), SegScore: f(kv*blocks, l.Segments()), Score: f(kv*blocks, block)}
	tile := compute.Tile{N: rows, Pos: block * (blocks - 1), Tail: f(kv, 2, block, dim)}
	for h := range kv {
		tile.Tables = append(tile.Tables, make([]int32, blocks))
		for b := range blocks {
			tile.Tables[h][b] = int32(h*blocks + b)
		}
	}
	s := f(rows, kv)
	bench("Append", func() { d.Append(c, tile, k, v, s) })
	byQuery, byScore := f(rows, kv, blocks), f(rows, kv, blocks)
	bench("ScoreBlocks", func() { d.ScoreBlocks(byQuery, q, c, tile) })
	bench("ScoreImportance", func() { d.ScoreImportance(byScore, c, tile) })
	p := compute.SelectParams{Init: 1, Local: 4, Query: 4, K: 16, ByQuery: true, ByScore: true}
	sel := compute.Selection{
		Blocks: compute.I32s(make([]int32, rows*kv*p.Most()), rows, kv, p.Most()),
		Count:  compute.I32s(make([]int32, rows*kv), rows, kv),
	}
	bench("Select", func() { d.Select(sel, byQuery, byScore, tile, block, p) })
	state := f(rows, heads, compute.StateLen(dim))
	bench("AttendEnd", func() {
		d.AttendBegin(state, tile, heads, dim)
		d.AttendEnd(q, state, tile)
	})
	for _, kvType := range []compute.KVType{compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
		c.Type = kvType
		c.Slots, _ = d.Alloc(dtype.U8, 1, c.BlockBytes())
		bench(fmt.Sprintf("Seal/%v", kvType), func() {
			for h := range kv {
				d.Seal(c, tile, h, 0)
			}
		})
	}
}

// BenchmarkExpand expands one row of weights again and again; bytes are those
// that are read.
func BenchmarkExpand(b *testing.B) {
	const n = 1536
	rng := rand.New(rand.NewPCG(1, 2))
	dst := make([]float32, n)
	for _, k := range available() {
		for _, t := range []dtype.Type{dtype.F16, dtype.BF16, dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q5_0, dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K} {
			size, err := t.Size(n)
			if err != nil {
				b.Fatal(err)
			}
			src := make([]byte, size)
			for i := range src {
				src[i] = byte(rng.Uint32()) & 0x3f // no scale is infinite or not a number
			}
			b.Run(fmt.Sprintf("%s/%v", k.name, t), func(b *testing.B) {
				b.SetBytes(int64(size))
				for b.Loop() {
					k.expand(t, dst, src)
				}
				b.ReportMetric(n*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "values/ns")
			})
		}
	}
}
