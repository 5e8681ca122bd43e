//go:build linux && amd64

package train

import (
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
	all := newBench(b)
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
			d := &bench{b, all.Device, all.rng}
			docs := compute.Documents{Begins: []int32{0}, Block: 64, Kernel: 32, Stride: 16}
			for i := range tc.docs {
				docs.Begins = append(docs.Begins, int32((i+1)*tc.rows/tc.docs))
			}
			heads := tc.kvHeads * tc.group
			time := func(name string, flop float64, op func()) {
				b.Run(name, func(b *testing.B) { d.timed(b, flop/1e12, "TFLOP/s", op) })
			}
			bf16 := func(heads int) compute.Tensor { return d.normals(dtype.BF16, tc.rows, heads, tc.dim) }
			q, out, dout, dq := bf16(heads), bf16(heads), bf16(heads), bf16(heads)
			k, v, dk, dv := bf16(tc.kvHeads), bf16(tc.kvHeads), bf16(tc.kvHeads), bf16(tc.kvHeads)
			s, ds, lse := d.normals(dtype.F32, tc.rows, tc.kvHeads), d.normals(dtype.F32, tc.rows, tc.kvHeads), d.normals(dtype.F32, tc.rows, heads)
			var sel compute.Selection
			pairs := 0.0
			count := make([]int32, tc.rows*tc.kvHeads)
			for i := range count {
				count[i] = -1
			}
			if tc.p.K > 0 {
				sel.Blocks, sel.Count = d.alloc(dtype.I32, tc.rows, tc.kvHeads, tc.p.Most()), d.alloc(dtype.I32, tc.rows, tc.kvHeads)
				time("choose", 0, func() { d.ChooseBlocks(sel, q, k, s, docs, tc.p) })
				d.Download(unsafe.Slice((*byte)(unsafe.Pointer(&count[0])), 4*len(count)), sel.Count)
			}
			docs.Tiles(func(row, n, pos int) {
				for r := range n {
					blocks := pos / docs.Block
					if c := int(count[(row+r)*tc.kvHeads]); c >= 0 {
						blocks = c - 1
					}
					pairs += float64(blocks*docs.Block + r + 1)
				}
			})
			flop := 2 * pairs * float64(heads*tc.dim)
			time("forward", 2*flop, func() { d.AttendDocuments(out, lse, q, k, v, s, sel, docs) })
			time("gradient", 5*flop, func() { d.AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs) })
		})
	}
}

// normals is a large tensor of normal numbers, some thousands of them again and again, but not from row to row.
func (b *bench) normals(t dtype.Type, shape ...int) compute.Tensor {
	b.Helper()
	x := b.alloc(t, shape...)
	const some = 1 << 16
	v := make([]float32, x.Len())
	for i := range v {
		if i < some {
			v[i] = float32(b.rng.NormFloat64())
		} else {
			v[i] = v[(5*i+i/some)%some]
		}
	}
	b.upload(x, v)
	return x
}
