//go:build linux && amd64

package train

import (
	"errors"
	"fmt"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// timed reports an op's time on the GPU, and how much of a unit it does in a second. The GPU is
// kept busy at first, so that a few ops are posted before it comes to them. With -short it is about
// as little as can be, for an emulator.
func (b *bench) timed(t *testing.B, amount float64, unit string, op func()) {
	t.Helper()
	ctx, stream := b.Device.Context(), b.Stream()
	from, err1 := ctx.NewEvent(true)
	to, err2 := ctx.NewEvent(true)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(ctx.FreeEvent(from), ctx.FreeEvent(to)); err != nil {
			t.Error(err)
		}
	}()
	warm, busy := 3, 256<<20
	if testing.Short() {
		warm, busy = 1, 1<<10
	}
	before := b.alloc(dtype.U8, busy)
	for range warm {
		op()
	}
	b.Zero(before)
	n := 0
	ctx.Record(from, stream)
	for t.Loop() {
		op()
		n++
	}
	ctx.Record(to, stream)
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	ms, err := ctx.Elapsed(from, to)
	if err != nil {
		t.Fatal(err)
	}
	t.ReportMetric(ms*1e3/float64(n), "us/op")
	t.ReportMetric(amount*float64(n)*1e3/ms, unit)
}

// random is a large tensor of numbers of some size: one row of them, again and again.
func (b *bench) random(t dtype.Type, shape ...int) compute.Tensor {
	b.Helper()
	x := b.alloc(t, shape...)
	row := x.Stride()
	part, _ := b.normal(t, row)
	data := b.bytes(part)
	for len(data) < 4<<20 && len(data) < x.Bytes() {
		data = append(data, data...)
	}
	flat := x.Reshape(x.Len())
	for at := 0; at < x.Bytes(); at += len(data) {
		n := min(len(data), x.Bytes()-at)
		each := x.Bytes() / x.Len()
		b.Upload(flat.Rows(at/each, (at+n)/each), data[:n])
	}
	return x
}

// model is the shape of one, and of a pass.
type shapes struct {
	name                                        string
	rows, headRows                              int
	hidden, intermediate, heads, kv, dim, vocab int
}

func benchShapes() []shapes {
	if testing.Short() {
		return []shapes{{"tiny", 40, 40, 64, 96, 2, 1, 32, 200}}
	}
	return []shapes{
		{"135M", 16384, 4096, 576, 1536, 9, 3, 64, 49152},
		{"1B", 16384, 4096, 2048, 8192, 32, 8, 64, 128256},
	}
}

// BenchmarkProduct has the products of a layer and of the head, forward and backward.
func BenchmarkProduct(t *testing.B) {
	b := newBench(t)
	for _, s := range benchShapes() {
		for _, of := range []struct {
			name       string
			rows, n, k int
		}{
			{"q", s.rows, s.heads * s.dim, s.hidden}, {"k", s.rows, s.kv * s.dim, s.hidden},
			{"up", s.rows, s.intermediate, s.hidden}, {"down", s.rows, s.hidden, s.intermediate}, {"head", s.headRows, s.vocab, s.hidden},
		} {
			x, w, y := b.random(dtype.BF16, of.rows, of.k), b.random(dtype.BF16, of.n, of.k), b.random(dtype.BF16, of.rows, of.n)
			dw := b.random(dtype.F32, of.n, of.k)
			flops := 2 * float64(of.rows) * float64(of.n) * float64(of.k) / 1e12
			for _, k := range b.p.kernels {
				run := func(name string, p *product) {
					p.kind, p.bias = map[order]int{orderNT: kindSet, orderNN: kindSet, orderTN: kindSum}[p.order], 0
					t.Run(fmt.Sprintf("%s/%s/%s/%s", s.name, of.name, name, k.name), func(t *testing.B) {
						b.timed(t, flops, "TFLOP/s", func() { b.multiplyBy(k, p, k.splits(p)) })
					})
				}
				if k.name == "product" && of.name != "up" { // the other one is what counts here
					continue
				}
				run("forward", &product{order: orderNT, a: x, b: w, out: y, m: of.rows, n: of.n, k: of.k})
				run("input", &product{order: orderNN, a: y, b: w, out: x, m: of.rows, n: of.k, k: of.n})
				run("weight", &product{order: orderTN, a: y, b: x, out: dw, m: of.n, n: of.k, k: of.rows})
			}
		}
	}
}

// BenchmarkRows has the ops between products: bytes that they must read and write.
func BenchmarkRows(t *testing.B) {
	b := newBench(t)
	s := benchShapes()[0]
	act := func(shape ...int) compute.Tensor { return b.random(dtype.BF16, shape...) }
	floats := func(shape ...int) compute.Tensor { return b.random(dtype.F32, shape...) }
	x, y, z := act(s.rows, s.hidden), act(s.rows, s.hidden), act(s.rows, s.hidden)
	gate, up, dy := act(s.rows, s.intermediate), act(s.rows, s.intermediate), act(s.rows, s.intermediate)
	weight, dweight := floats(s.hidden), floats(s.hidden)
	logits, loss := act(s.headRows, s.vocab), floats(s.headRows)
	table, dtable := act(s.vocab, s.hidden), floats(s.vocab, s.hidden)
	q, angles := act(s.rows, s.heads, s.dim), floats(s.rows, 2, s.dim/2)
	kv := s.kv * s.dim
	v, dv, score, delta, ddelta, a, da := act(s.rows, kv), act(s.rows, kv), floats(s.rows, s.kv), floats(s.kv, kv), floats(s.kv, kv), floats(s.kv), floats(s.kv)
	ids, targets := make([]int32, s.rows), make([]int32, s.headRows)
	for i := range ids {
		ids[i] = int32(float64(s.vocab) * b.rng.Float64() * b.rng.Float64() * b.rng.Float64()) // some often
	}
	for i := range targets {
		targets[i] = b.rng.Int32N(int32(s.vocab))
	}
	rope := &compute.Rope{Inv: make([]float32, s.dim/2), Factor: 1}
	bank := make([]compute.Tensor, 4)
	for i := range bank {
		bank[i] = floats(64 << 20 / map[bool]int{false: 1, true: 1 << 14}[testing.Short()])
	}
	working := b.alloc(dtype.BF16, bank[0].Len())
	mb := func(list ...compute.Tensor) (n int) {
		for _, x := range list {
			n += x.Bytes()
		}
		return n
	}
	for _, of := range []struct {
		name  string
		bytes int
		op    func()
	}{
		{"RMSNorm", mb(x, y), func() { b.RMSNorm(y, x, weight, 1e-5) }},
		{"RMSNormGrad", mb(x, y, z, z), func() { b.RMSNormGrad(z, dweight, y, x, weight, 1e-5, true) }},
		{"SwiGLU", mb(gate, up, dy), func() { b.SwiGLU(dy, gate, up) }},
		{"SwiGLUGrad", 5 * gate.Bytes(), func() { b.SwiGLUGrad(gate, up, dy, gate, up) }},
		{"AddScaled", mb(x, x, y), func() { b.AddScaled(x, y, 0) }},
		{"Rotate", mb(q, q, angles), func() { b.Rotate(q, angles, rope) }},
		{"CrossEntropy", 2 * logits.Bytes(), func() { b.CrossEntropy(loss, logits, targets, 1) }},
		{"Embed", 2 * x.Bytes(), func() { b.Embed(x, table, ids) }},
		{"EmbedGrad", x.Bytes(), func() { b.EmbedGrad(dtable, y, ids) }},
		{"Importance", mb(v), func() { b.Importance(score, v, delta, compute.Tensor{}, a) }},
		{"ImportanceGrad", mb(v, dv, dv), func() { b.ImportanceGrad(dv, ddelta, compute.Tensor{}, da, score, v, delta, compute.Tensor{}, a) }},
		{"AdamW", 7 * bank[0].Bytes(), func() {
			b.AdamW(bank[0], bank[1], bank[2], bank[3], compute.AdamWStep{Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Step: 1})
		}},
		{"SquaredNorm", bank[0].Bytes(), func() { b.SquaredNorm(bank[0]) }},
		{"Copy", mb(bank[0], working), func() { b.Copy(working, bank[0]) }},
		{"Zero", bank[0].Bytes(), func() { b.Zero(bank[0]) }},
	} {
		t.Run(of.name, func(t *testing.B) { b.timed(t, float64(of.bytes)/1e9, "GB/s", of.op) })
	}
}
