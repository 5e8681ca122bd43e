//go:build linux && amd64

package step

import (
	"fmt"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// BenchmarkDense is the dense part of a layer of an 8B model for the rows of a prompt, in
// all and by what it is made of. Layers take turns, so that no cache holds the weights of
// the next one.
func BenchmarkDense(b *testing.B) {
	d, _ := open(b)
	m, free, err := Random(d, Shape{Layers: 4, Hidden: 4096, Intermediate: 14336, Vocab: 1024, Heads: 32, KVHeads: 2, Dim: 128, RopeBase: 5e5}, dtype.BF16)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(free)
	x, err := packDense(d, m)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := x.Close(); err != nil {
			b.Error(err)
		}
	})
	for _, rows := range []int{512, 2048, 4096} {
		if err := x.Reserve(rows); err != nil {
			b.Fatal(err)
		}
		alloc := func(shape ...int) compute.Tensor {
			t, err := d.Alloc(dtype.F32, shape...)
			if err != nil {
				b.Fatal(err)
			}
			b.Cleanup(func() { d.Free(t) })
			return t
		}
		hidden, angles := alloc(rows, m.Hidden), alloc(rows, 2, len(m.Rope.Inv))
		q, o, k, v := alloc(rows, m.Heads, m.Dim), alloc(rows, m.Heads, m.Dim), alloc(rows, m.KVHeads, m.Dim), alloc(rows, m.KVHeads, m.Dim)
		ids, pos := make([]int32, rows), make([]int32, rows)
		for i := range ids {
			ids[i], pos[i] = int32(i%m.Vocab), int32(i)
		}
		d.Embed(hidden, m.Embed, ids)
		d.Angles(angles, pos, m.Rope)
		outs := func(w *weight) float64 { return 2 * float64(w.n) * float64(w.k) * float64(rows) }
		for _, part := range []struct {
			name  string
			flop  float64
			bytes float64
			run   func(i int)
		}{
			{"all", outs(&x.layers[0].qkv) + outs(&x.layers[0].o) + outs(&x.layers[0].gateUp) + outs(&x.layers[0].down), 0, func(i int) {
				x.Project(i, q, k, v, hidden, angles)
				x.Join(i, hidden, o)
				x.MLP(i, hidden)
			}},
			{"norm", 0, 6 * float64(hidden.Len()), func(i int) { x.postNorm(hidden, m.Norm, 1) }},
			{"qkv", outs(&x.layers[0].qkv), 0, func(i int) {
				x.products.run(x.g, x.qkv.Addr, x.read(x.h, rows), &x.layers[i].qkv, rows, epilogue{kind: store})
			}},
			{"heads", 0, 8 * float64(x.qkv.Len()) / float64(x.rows) * float64(rows), func(i int) { x.postHeads(i, q, k, v, angles, rows) }},
			{"round", 0, 6 * float64(o.Len()), func(i int) { x.postRound(o) }},
			{"o", outs(&x.layers[0].o), 0, func(i int) {
				x.products.run(x.g, hidden.Addr, x.read(x.h, rows), &x.layers[i].o, rows, epilogue{kind: add, scale: 1e-3})
			}},
			{"gate and up", outs(&x.layers[0].gateUp), 0, func(i int) {
				x.products.run(x.g, x.mid.Addr, x.read(x.h, rows), &x.layers[i].gateUp, rows, epilogue{kind: swiglu, arranged: x.products.arranged(x.g, rows)})
			}},
			{"down", outs(&x.layers[0].down), 0, func(i int) {
				x.products.run(x.g, hidden.Addr, x.read(x.mid, rows), &x.layers[i].down, rows, epilogue{kind: add, scale: 1e-3})
			}},
		} {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, part.name), func(b *testing.B) {
				from, err1 := x.g.ctx.NewEvent(true)
				to, err2 := x.g.ctx.NewEvent(true)
				if err1 != nil || err2 != nil {
					b.Fatal(err1, err2)
				}
				for range 2 {
					part.run(0)
				}
				x.g.ctx.Record(from, x.g.stream)
				for i := range b.N {
					part.run(i % len(m.Layers))
				}
				x.g.ctx.Record(to, x.g.stream)
				if err := d.Sync(); err != nil {
					b.Fatal(err)
				}
				ms, err := x.g.ctx.Elapsed(from, to)
				if err != nil {
					b.Fatal(err)
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(1e3*ms/float64(b.N), "us")
				if part.flop > 0 {
					b.ReportMetric(part.flop*float64(b.N)/ms/1e9, "TFLOP/s")
				}
				if part.bytes > 0 {
					b.ReportMetric(part.bytes*float64(b.N)/ms/1e6, "GB/s")
				}
			})
		}
	}
}
