package cpu

import (
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// BenchmarkDocuments is attention of one layer in training. Operations are those of the
// keys that a row sees: two products forward, five for the gradient (of which two are
// computed twice, once by queries and once by keys); choosing has none to count by.
func BenchmarkDocuments(b *testing.B) {
	p := compute.SelectParams{Init: 1, Local: 2, Query: 4, K: 16, ByQuery: true, ByScore: true}
	for _, tc := range []struct {
		name                string
		rows, docs          int
		kvHeads, group, dim int
		sparse              bool
	}{
		{"dense-2x1024", 2048, 2, 3, 3, 64, false},
		{"dense-4096", 4096, 1, 3, 3, 64, false},
		{"dense-2048-dim128", 2048, 1, 2, 8, 128, false},
		{"nosa-8192", 8192, 1, 3, 3, 64, true},
	} {
		rng := rand.New(rand.NewPCG(1, 2))
		docs := compute.Documents{Begins: []int32{0}, Block: 64, Kernel: 32, Stride: 16}
		for i := range tc.docs {
			docs.Begins = append(docs.Begins, int32((i+1)*tc.rows/tc.docs))
		}
		heads := tc.kvHeads * tc.group
		tensor := func(shape ...int) compute.Tensor {
			x := compute.F32s(make([]float32, compute.Describe(dtype.F32, shape...).Len()), shape...)
			fill(x.F32(), rng)
			return x
		}
		q, dout, out, dq := tensor(tc.rows, heads, tc.dim), tensor(tc.rows, heads, tc.dim), tensor(tc.rows, heads, tc.dim), tensor(tc.rows, heads, tc.dim)
		k, v, dk, dv := tensor(tc.rows, tc.kvHeads, tc.dim), tensor(tc.rows, tc.kvHeads, tc.dim), tensor(tc.rows, tc.kvHeads, tc.dim), tensor(tc.rows, tc.kvHeads, tc.dim)
		s, ds, lse := tensor(tc.rows, tc.kvHeads), tensor(tc.rows, tc.kvHeads), tensor(tc.rows, heads)
		var sel compute.Selection
		choose := func(d *Device) {
			sel.Blocks = compute.I32s(make([]int32, tc.rows*tc.kvHeads*p.Most()), tc.rows, tc.kvHeads, p.Most())
			sel.Count = compute.I32s(make([]int32, tc.rows*tc.kvHeads), tc.rows, tc.kvHeads)
			d.ChooseBlocks(sel, q, k, s, docs, p)
		}
		pairs := func() (n float64) { // rows and keys that meet
			docs.Tiles(func(row, count, pos int) {
				for r := range count {
					blocks := pos / docs.Block
					if !sel.None() && sel.Count.I32()[(row+r)*tc.kvHeads] >= 0 {
						blocks = int(sel.Count.I32()[(row+r)*tc.kvHeads]) - 1
					}
					n += float64(blocks*docs.Block + r + 1)
				}
			})
			return n
		}
		run := func(name string, products float64, op func(d *Device)) {
			b.Run(tc.name+"/"+name, func(b *testing.B) {
				benchLevels(b, func(b *testing.B, d *Device) {
					if tc.sparse && sel.None() {
						choose(d)
					}
					d.AttendDocuments(out, lse, q, k, v, s, sel, docs) // the gradient reads these
					peak, _, _ := d.Peak()
					for b.Loop() {
						op(d)
					}
					rate := products * 2 * pairs() * float64(heads*tc.dim) * float64(b.N) / b.Elapsed().Seconds()
					if products > 0 {
						b.ReportMetric(rate/1e9, "GFLOP/s")
						b.ReportMetric(100*rate/peak, "%peak")
					}
				})
			})
		}
		if tc.sparse {
			run("choose", 0, choose)
		}
		run("forward", 2, func(d *Device) { d.AttendDocuments(out, lse, q, k, v, s, sel, docs) })
		run("gradient", 5, func(d *Device) { d.AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs) })
	}
}
