//go:build linux && amd64

package train

import (
	"errors"
	"math/rand/v2"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// BenchmarkDocuments is attention of one layer in training. Operations are those of the tokens that a
// query sees: two products forward, five for the gradient (of which two are computed twice, once by
// queries and once by keys). Random queries choose as differently as can be; those of "importance"
// all choose the same.
func BenchmarkDocuments(b *testing.B) {
	d := open(b)
	nosa := compute.SelectParams{Init: 1, Local: 16, Query: 16, K: 64, ByQuery: true, ByScore: true}
	for _, tc := range []struct {
		name                string
		rows, docs          int
		kvHeads, group, dim int
		p                   compute.SelectParams
	}{
		{"dense-8x2048", 16384, 8, 3, 3, 64, compute.SelectParams{}},
		{"dense-2x8192", 16384, 2, 3, 3, 64, compute.SelectParams{}},
		{"dense-16384", 16384, 1, 3, 3, 64, compute.SelectParams{}},
		{"nosa-16384", 16384, 1, 3, 3, 64, nosa},
		{"importance-16384", 16384, 1, 3, 3, 64, compute.SelectParams{Init: 1, Local: 16, K: 64, ByScore: true}},
		{"dense-8192-dim128", 8192, 1, 2, 16, 128, compute.SelectParams{}},
		{"nosa-16384-dim128", 16384, 1, 2, 16, 128, nosa},
	} {
		if testing.Short() { // about as little as can be, for an emulator
			tc.rows, tc.p.K, tc.p.Local, tc.p.Query = 128, min(tc.p.K, 1), 0, 0
		}
		b.Run(tc.name, func(b *testing.B) {
			l := &documentLayer{Device: d, b: b, rng: rand.New(rand.NewPCG(1, 2))}
			defer l.free()
			l.docs = compute.Documents{Begins: []int32{0}, Block: 64, Kernel: 32, Stride: 16}
			for i := range tc.docs {
				l.docs.Begins = append(l.docs.Begins, int32((i+1)*tc.rows/tc.docs))
			}
			heads := tc.kvHeads * tc.group
			bf16 := func(heads int) compute.Tensor { return l.tensor(dtype.BF16, tc.rows, heads, tc.dim) }
			q, out, dout, dq := bf16(heads), bf16(heads), bf16(heads), bf16(heads)
			k, v, dk, dv := bf16(tc.kvHeads), bf16(tc.kvHeads), bf16(tc.kvHeads), bf16(tc.kvHeads)
			s, ds, lse := l.tensor(dtype.F32, tc.rows, tc.kvHeads), l.tensor(dtype.F32, tc.rows, tc.kvHeads), l.tensor(dtype.F32, tc.rows, heads)
			var sel compute.Selection
			pairs := 0.0
			count := make([]int32, tc.rows*tc.kvHeads)
			for i := range count {
				count[i] = -1
			}
			if tc.p.K > 0 {
				sel.Blocks, sel.Count = l.tensor(dtype.I32, tc.rows, tc.kvHeads, tc.p.Most()), l.tensor(dtype.I32, tc.rows, tc.kvHeads)
				l.time("choose", 0, func() { d.ChooseBlocks(sel, q, k, s, l.docs, tc.p) })
				d.Download(unsafe.Slice((*byte)(unsafe.Pointer(&count[0])), 4*len(count)), sel.Count)
			}
			l.docs.Tiles(func(row, n, pos int) {
				for r := range n {
					blocks := pos / l.docs.Block
					if c := int(count[(row+r)*tc.kvHeads]); c >= 0 {
						blocks = c - 1
					}
					pairs += float64(blocks*l.docs.Block + r + 1)
				}
			})
			flop := 2 * pairs * float64(heads*tc.dim)
			l.time("forward", 2*flop, func() { d.AttendDocuments(out, lse, q, k, v, s, sel, l.docs) })
			l.time("gradient", 5*flop, func() { d.AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, l.docs) })
		})
	}
}

// documentLayer is a benchmark's memory.
type documentLayer struct {
	*Device
	b    *testing.B
	rng  *rand.Rand
	docs compute.Documents
	all  []compute.Tensor
}

// tensor has normal numbers, some thousands of them again and again.
func (l *documentLayer) tensor(t dtype.Type, shape ...int) compute.Tensor {
	x, err := l.Alloc(t, shape...)
	if err != nil {
		l.b.Fatal(err)
	}
	l.all = append(l.all, x)
	if t == dtype.I32 {
		return x
	}
	v := make([]float32, x.Len())
	for i := range v {
		if i < 1<<16 {
			v[i] = float32(l.rng.NormFloat64())
		} else {
			v[i] = v[(i*5+i>>16)&(1<<16-1)]
		}
	}
	data := make([]byte, x.Bytes())
	dtype.Encode(t, data, v)
	l.Upload(x, data)
	return x
}

func (l *documentLayer) free() {
	for _, x := range l.all {
		l.Free(x)
	}
}

// time reports an op's time on the GPU, and its operations in a second.
func (l *documentLayer) time(name string, flop float64, op func()) {
	l.b.Run(name, func(b *testing.B) {
		ctx, stream := l.Context(), l.Stream()
		from, err1 := ctx.NewEvent(true)
		to, err2 := ctx.NewEvent(true)
		if err := errors.Join(err1, err2); err != nil {
			b.Fatal(err)
		}
		defer func() {
			if err := errors.Join(ctx.FreeEvent(from), ctx.FreeEvent(to)); err != nil {
				b.Error(err)
			}
		}()
		op()
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
		n := 0
		ctx.Record(from, stream)
		for b.Loop() {
			op()
			n++
		}
		ctx.Record(to, stream)
		if err := l.Sync(); err != nil {
			b.Fatal(err)
		}
		ms, err := ctx.Elapsed(from, to)
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(ms/float64(n), "ms")
		if flop > 0 {
			b.ReportMetric(flop*float64(n)/ms/1e9, "TFLOP/s")
		}
		b.ReportMetric(0, "ns/op")
	})
}
