//go:build linux && amd64

package train

import (
	"math"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// BenchmarkDocuments is attention of one layer in training. Operations are those of the tokens that a
// query sees: two products forward, five for the gradient (of which two are computed twice, once by
// queries and once by keys). Random queries choose as differently as can be; those of "importance" all choose the
// same. Between them are queries that drift, as a trained model's do: tiles/block is how many blocks the rows of 64
// queries choose together, by one row's. Forward is measured with each kernel that takes the shape, and so are the two
// walks of the gradient, three products by queries and four by keys.
func BenchmarkDocuments(b *testing.B) {
	all := newBench(b)
	nosa := compute.SelectParams{Init: 1, Local: 16, Query: 16, K: 64, ByQuery: true, ByScore: true}
	for _, tc := range []struct {
		name                string
		rows, docs          int
		kvHeads, group, dim int
		p                   compute.SelectParams
		drift               float64 // by how much of itself a query is the next row's
	}{
		{"dense-8x2048", 16384, 8, 3, 3, 64, compute.SelectParams{}, 0},
		{"dense-2x8192", 16384, 2, 3, 3, 64, compute.SelectParams{}, 0},
		{"dense-16384", 16384, 1, 3, 3, 64, compute.SelectParams{}, 0},
		{"nosa-16384", 16384, 1, 3, 3, 64, nosa, 0},
		{"nosa-16384-drift90", 16384, 1, 3, 3, 64, nosa, 0.9},
		{"nosa-16384-drift99", 16384, 1, 3, 3, 64, nosa, 0.99},
		{"importance-16384", 16384, 1, 3, 3, 64, compute.SelectParams{Init: 1, Local: 16, K: 64, ByScore: true}, 0},
		{"dense-8192-dim128", 8192, 1, 2, 16, 128, compute.SelectParams{}, 0},
		{"nosa-16384-dim128", 16384, 1, 2, 16, 128, nosa, 0},
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
			if tc.drift > 0 {
				d.drifting(q, tc.drift)
			}
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
				b.Run("choose", func(b *testing.B) {
					d.timed(b, 0, "TFLOP/s", func() { d.ChooseBlocks(sel, q, k, s, docs, tc.p) })
					b.ReportMetric(d.together(sel, docs, documentTokens/tc.group), "tiles/block")
				})
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
			kernels := all.a.attend
			for _, by := range kernels {
				if by.takes(documentShape{dim: tc.dim}, docs) {
					all.a.attend = []*attendKernel{by}
					time("forward/"+by.name, 2*flop, func() { d.AttendDocuments(out, lse, q, k, v, s, sel, docs) })
				}
			}
			all.a.attend = kernels
			time("gradient", 5*flop, func() { d.AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs) })
			shape := documentShape{dim: tc.dim}
			for _, by := range all.a.queriesGrad {
				if !by.takes(shape, !sel.None()) {
					continue
				}
				w, _ := all.gradient(gradientKernels{by, firstOf(all.a.keysGrad, shape, !sel.None())}, dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs)
				time("gradient/queries/"+by.name, 3*flop, func() { all.walkQueries(by, w) })
			}
			for _, by := range all.a.keysGrad {
				if !by.takes(shape, !sel.None()) {
					continue
				}
				w, _ := all.gradient(gradientKernels{firstOf(all.a.queriesGrad, shape, !sel.None()), by}, dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs)
				time("gradient/keys/"+by.name, 4*flop, func() { all.walkKeys(by, w) })
			}
		})
	}
}

// drifting makes a random walk of each head's queries: a row's are those before, times drift, and something new.
func (b *bench) drifting(q compute.Tensor, drift float64) {
	b.Helper()
	stride := q.Stride()
	v := make([]float32, q.Len())
	for i := range v {
		v[i] = float32(b.rng.NormFloat64())
		if i >= stride {
			v[i] = float32(drift)*v[i-stride] + float32(math.Sqrt(1-drift*drift))*v[i]
		}
	}
	b.upload(q, v)
}

// together is how many blocks so many neighbouring rows choose together, by how many a row does.
func (b *bench) together(sel compute.Selection, docs compute.Documents, rows int) float64 {
	b.Helper()
	ints := func(x compute.Tensor) []int32 {
		v := make([]int32, x.Len())
		b.Download(unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), 4*len(v)), x)
		return v
	}
	host := compute.Selection{
		Blocks: compute.I32s(ints(sel.Blocks), sel.Blocks.Dims[0], sel.Blocks.Dims[1], sel.Blocks.Dims[2]),
		Count:  compute.I32s(ints(sel.Count), sel.Count.Dims[0], sel.Count.Dims[1]),
	}
	all, each := 0.0, 0.0
	for i := range docs.Count() {
		begin, end := docs.Span(i)
		for from := begin; from < end; from += rows {
			n := min(rows, end-from)
			for h := range sel.Count.Dims[1] {
				seen := map[int32]bool{}
				for r := from; r < from+n; r++ {
					list := host.List(r, h, (r-begin)/docs.Block)
					for _, b := range list {
						seen[b] = true
					}
					each += float64(len(list)) / float64(n)
				}
				all += float64(len(seen))
			}
		}
	}
	return all / each
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
