//go:build linux && amd64

package cuda

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// timed runs an op until its time on the GPU is known, and reports it and its bytes.
func timed(b *testing.B, d *Device, bytes int, op func(i int)) {
	b.Helper()
	timedAs(b, d, float64(bytes)/1e9, "GB/s", op)
}

// timedAs reports an op's time on the GPU, and how much of a unit it does in a second. The
// GPU is kept busy at first, so that a few ops are posted before it comes to them. With
// -short it is about as little as can be, for an emulator.
func timedAs(b *testing.B, d *Device, amount float64, unit string, op func(i int)) {
	b.Helper()
	from, err1 := d.ctx.NewEvent(true)
	to, err2 := d.ctx.NewEvent(true)
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	defer func() {
		if err := errors.Join(d.ctx.FreeEvent(from), d.ctx.FreeEvent(to)); err != nil {
			b.Error(err)
		}
	}()
	warm, busy := 8, 1<<30
	if testing.Short() {
		warm, busy = 1, 1<<10
	}
	before, err := d.Alloc(dtype.U8, busy)
	if err != nil {
		b.Fatal(err)
	}
	defer d.Free(before)
	for i := range warm {
		op(i)
	}
	for range 8 {
		d.ctx.Memset(d.stream, before.Addr, 0, busy)
	}
	n := 0
	d.ctx.Record(from, d.stream)
	for b.Loop() {
		op(n)
		n++
	}
	d.ctx.Record(to, d.stream)
	if err := d.Sync(); err != nil {
		b.Fatal(err)
	}
	ms, err := d.ctx.Elapsed(from, to)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(ms*1e3/float64(n), "us/op")
	b.ReportMetric(amount*float64(n)*1e3/ms, unit)
}

// BenchmarkLinear streams weights of an 8B model from memory: sets of them take turns,
// so that no cache holds the next one.
func BenchmarkLinear(b *testing.B) {
	d := open(b)
	const n, k, sets = 14336, 4096, 6
	rng := rand.New(rand.NewPCG(1, 2))
	values := make([]float32, k)
	for i := range values {
		values[i] = float32(rng.NormFloat64())
	}
	for _, t := range []dtype.Type{dtype.F32, dtype.BF16, dtype.F16, dtype.Q8_0, dtype.Q4_0} {
		row := make([]byte, compute.Describe(t, k).Bytes())
		dtype.Encode(t, row, values)
		var w [sets]compute.Tensor
		for i := range w {
			x, err := d.Alloc(t, n, k)
			if err != nil {
				b.Fatal(err)
			}
			for r := range n {
				d.Upload(x.Rows(r, r+1), row)
			}
			w[i] = x
		}
		for _, rows := range []int{1, 4, 8, 64, 512} {
			x, err1 := d.Alloc(dtype.F32, rows, k)
			out, err2 := d.Alloc(dtype.F32, rows, n)
			if err := errors.Join(err1, err2); err != nil {
				b.Fatal(err)
			}
			for r := range rows {
				d.Upload(x.Rows(r, r+1), compute.F32s(values, k).Data)
			}
			b.Run(fmt.Sprintf("%v/rows=%d", t, rows), func(b *testing.B) {
				timed(b, d, w[0].Bytes(), func(i int) { d.Linear(out, x, w[i%sets], compute.Tensor{}) })
			})
			d.Free(x)
			d.Free(out)
		}
		for _, x := range w {
			d.Free(x)
		}
	}
}

// BenchmarkCopy is what memory gives: bytes read and written.
func BenchmarkCopy(b *testing.B) {
	d := open(b)
	const n = 1 << 30
	x, err1 := d.Alloc(dtype.U8, n)
	y, err2 := d.Alloc(dtype.U8, n)
	if err := errors.Join(err1, err2); err != nil {
		b.Fatal(err)
	}
	timed(b, d, 2*n, func(int) { d.ctx.Copy(d.stream, y.Addr, x.Addr, n) })
}

// BenchmarkLaunch is an op that does next to nothing: what posting one costs.
func BenchmarkLaunch(b *testing.B) {
	d := open(b)
	x, err := d.Alloc(dtype.F32, 32)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	timed(b, d, 4, func(int) { d.Scale(x, 1) })
}

// BenchmarkAttend is a decode step of one layer of an 8B model: one sequence, 64
// selected blocks.
func BenchmarkAttend(b *testing.B) {
	d := open(b)
	const kv, heads, dim, block, chosen = 2, 32, 128, 64, 64
	for _, t := range []compute.KVType{compute.KVBF16, compute.KVQ8, compute.KVQ4} {
		l := compute.Layout{Heads: kv, Dim: dim, Block: block, Kernel: 32, Stride: 16, Type: t}
		const sets = 32
		c := &compute.Cache{Layout: l}
		alloc := func(t dtype.Type, shape ...int) compute.Tensor {
			x, err := d.Alloc(t, shape...)
			if err != nil {
				b.Fatal(err)
			}
			return x
		}
		c.Slots = alloc(dtype.U8, sets*kv*chosen, l.BlockBytes())
		q, state, out := alloc(dtype.F32, 1, heads, dim), alloc(dtype.F32, 1, heads, compute.StateLen(dim)), alloc(dtype.F32, 1, heads, dim)
		tile := compute.Tile{N: 1, Pos: block*(chosen+1) - 1, Tail: alloc(dtype.F32, kv, 2, block, dim)}
		sel := compute.Selection{Blocks: alloc(dtype.I32, 1, kv, chosen), Count: alloc(dtype.I32, 1, kv)}
		d.Upload(sel.Count, compute.I32s([]int32{-1, -1}, 2).Data)
		parts := make([][]compute.Part, sets)
		for s := range parts {
			for h := range kv {
				p := compute.Part{Head: h}
				for i := range chosen {
					p.Blocks, p.Slots = append(p.Blocks, int32(i)), append(p.Slots, int32((s*kv+h)*chosen+i))
				}
				parts[s] = append(parts[s], p)
			}
		}
		b.Run(t.String(), func(b *testing.B) {
			timed(b, d, kv*chosen*l.BlockBytes(), func(i int) {
				d.AttendBegin(state, tile, heads, dim)
				d.Attend(state, q, c, tile, sel, parts[i%sets])
				d.AttendEnd(out, state, tile)
			})
		})
	}
}
