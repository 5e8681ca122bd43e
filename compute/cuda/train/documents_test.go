//go:build linux && amd64

package train

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/computetest"
	"nosa/dtype"
)

// TestDocuments holds attention over packed documents and its gradients against their definitions, with each of the
// kernels that attend.
func TestDocuments(t *testing.T) {
	d := open(t)
	all := d.a.attend
	of := map[int][]*attendKernel{}
	for _, k := range all {
		of[k.wide] = append(of[k.wide], k)
	}
	narrow, wide := of[documentMostDim/2], of[documentMostDim]
	for i := range max(len(narrow), len(wide)) {
		n, w := narrow[min(i, len(narrow)-1)], wide[min(i, len(wide)-1)]
		t.Run(n.name+" "+w.name, func(t *testing.T) {
			d.a.attend = []*attendKernel{n, w}
			computetest.RunDocuments(t, d, computetest.BFloat16)
		})
	}
	d.a.attend = all
}

// TestShortDocuments: documents that have too few rows for arranged tiles.
func TestShortDocuments(t *testing.T) {
	d := newBench(t)
	docs := compute.Documents{Begins: []int32{0}, Block: 64, Kernel: 32, Stride: 16}
	for i := range int32(600) {
		docs.Begins = append(docs.Begins, docs.Begins[i]+1+i%3)
	}
	slices.SortStableFunc(d.a.attend, func(x, y *attendKernel) int { return min(y.tile, 1) - min(x.tile, 1) }) // those with tiles first
	if k := d.attendKernel(documentShape{dim: 8}, docs); k.tile > 0 {
		t.Errorf("%s attends", k.name)
	}
	d.attendLike(t, docs, 2, 1, 8, 1, nil)
}

// TestPassedOver: rows that are near each other see much and little, so that some of a thread block pass over what others
// see. Queries of any size, so that the largest logit so far is one of the first tiles, or grows again and again.
func TestPassedOver(t *testing.T) {
	d := newBench(t)
	const rows, group = 1500, 3
	docs := compute.Documents{Begins: []int32{0, rows}, Block: 64, Kernel: 32, Stride: 16}
	choose := func(r, own int) (list []int32) {
		for b := range int32(own) {
			some := b == 0
			switch r * group / documentTokens % 4 {
			case 0:
				some = d.rng.IntN(8) > 0
			case 1:
				some = b == 0 || d.rng.IntN(own) == 0
			case 2:
				some = b%7 < 2
			}
			if some {
				list = append(list, b)
			}
		}
		return append(list, int32(own))
	}
	all := d.a.attend
	for _, k := range all {
		if k.wide != documentMostDim/2 {
			continue
		}
		for _, size := range []float32{1, 40} {
			t.Run(fmt.Sprintf("%s/%g", k.name, size), func(t *testing.T) {
				d.a.attend = []*attendKernel{k}
				d.attendLike(t, docs, 1, group, 8, size, choose)
			})
		}
	}
	d.a.attend = all
	d.eachGradient(t, func(t *testing.T) { d.attendLike(t, docs, 1, group, 8, 1, choose) })
}

// attendLike holds attention of queries of some size and its gradient against their definitions, with the blocks that rows choose, or all.
func (b *bench) attendLike(t *testing.T, docs compute.Documents, heads, group, dim int, size float32, choose func(r, own int) []int32) {
	t.Helper()
	rows := docs.Rows()
	normal := func(heads int, size float32) (dev, ref compute.Tensor) {
		dev = b.alloc(dtype.BF16, rows, heads, dim)
		v := make([]float32, dev.Len())
		for i := range v {
			v[i] = size * float32(b.rng.NormFloat64())
		}
		return dev, compute.F32s(b.upload(dev, v), rows, heads, dim)
	}
	q, q1 := normal(heads*group, size)
	k, k1 := normal(heads, 1)
	v, v1 := normal(heads, 1)
	out, out1 := normal(heads*group, 1)
	lse, lse1 := b.alloc(dtype.F32, rows, heads*group), compute.F32s(make([]float32, rows*heads*group), rows, heads*group)
	var sel, ref compute.Selection
	if choose != nil {
		places := ceil(rows, docs.Block)
		blocks, count := make([]int32, rows*heads*places), make([]int32, rows*heads)
		for i := range count {
			r := i / heads
			count[i] = int32(copy(blocks[i*places:(i+1)*places], choose(r, r/docs.Block)))
		}
		upload := func(v []int32, shape ...int) (dev, ref compute.Tensor) {
			dev = b.alloc(dtype.I32, shape...)
			ref = compute.I32s(v, shape...)
			b.Upload(dev, ref.Data)
			return dev, ref
		}
		sel.Blocks, ref.Blocks = upload(blocks, rows, heads, places)
		sel.Count, ref.Count = upload(count, rows, heads)
	}
	none := compute.Tensor{}
	b.AttendDocuments(out, lse, q, k, v, none, sel, docs)
	compute.AttendDocuments(out1, lse1, q1, k1, v1, none, ref, docs)
	near(t, b, map[string][2]compute.Tensor{"out": {out, out1}, "lse": {lse, lse1}})
	dtype.Decode(out.Type, out1.F32(), b.bytes(out)) // so that the gradient's own error shows
	dout, dout1 := normal(heads*group, 1)
	dq, dq1 := normal(heads*group, 1)
	dk, dk1 := normal(heads, 1)
	dv, dv1 := normal(heads, 1)
	b.AttendDocumentsGrad(dq, dk, dv, none, dout, out, lse, q, k, v, none, sel, docs)
	compute.AttendDocumentsGrad(dq1, dk1, dv1, none, dout1, out1, lse1, q1, k1, v1, none, ref, docs)
	near(t, b, map[string][2]compute.Tensor{"dq": {dq, dq1}, "dk": {dk, dk1}, "dv": {dv, dv1}})
}

// near holds results against those of definitions, within two roundings of the largest number; float32 sums are nearer.
func near(t *testing.T, d *bench, results map[string][2]compute.Tensor) {
	t.Helper()
	for name, x := range results {
		data, got := make([]byte, x[0].Bytes()), make([]float32, x[0].Len())
		d.Download(data, x[0])
		dtype.Decode(x[0].Type, got, data)
		var top, worst float64
		for i, w := range x[1].F32() {
			if math.IsNaN(float64(got[i])) {
				t.Fatalf("%s: element %d is not a number", name, i)
			}
			top, worst = max(top, math.Abs(float64(w))), max(worst, math.Abs(float64(got[i]-w)))
		}
		bound := 2. / 256 * top
		if x[0].Type == dtype.F32 {
			bound = 1e-4 * max(1, top)
		}
		if !(worst <= bound) {
			t.Errorf("%s is off by %.3g of %.3g", name, worst, top)
		}
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestDocumentGradients: and with each of the kernels of the gradient, where they take a shape.
func TestDocumentGradients(t *testing.T) {
	d := open(t)
	d.eachGradient(t, func(t *testing.T) { computetest.RunDocuments(t, d, computetest.BFloat16) })
}

// eachGradient runs a test with each of the kernels of the gradient before all others of its kind: what it does not take, the
// others of its kind do with the same bits.
func (d *Device) eachGradient(t *testing.T, run func(t *testing.T)) {
	queries, keys := d.a.queriesGrad, d.a.keysGrad
	before := func(first *gradientKernel, list []*gradientKernel) []*gradientKernel {
		list = slices.Concat([]*gradientKernel{first}, list)
		slices.SortStableFunc(list, func(x, y *gradientKernel) int {
			of := func(k *gradientKernel) int {
				if k.eights == first.eights {
					return 0
				}
				return 1
			}
			return of(x) - of(y)
		})
		return list
	}
	for i := range max(len(queries), len(keys)) {
		q, k := queries[i%len(queries)], keys[i%len(keys)]
		t.Run(q.name+" "+k.name, func(t *testing.T) {
			d.a.queriesGrad, d.a.keysGrad = before(q, queries), before(k, keys)
			run(t)
		})
	}
	d.a.queriesGrad, d.a.keysGrad = queries, keys
}

// TestAttentionGradients: and against PyTorch's autograd, within two roundings of a factor.
func TestAttentionGradients(t *testing.T) { computetest.RunAttentionGradients(t, open(t), 2./256) }

// TestLongDocument: rows that see a tile of keys come in several lists, of which a part of the last
// queries is left for the next.
func TestLongDocument(t *testing.T) {
	d := newBench(t)
	const rows, heads, group, dim, places = 9000, 1, 3, 8, 2
	docs := compute.Documents{Begins: []int32{0, rows}, Block: 64, Kernel: 32, Stride: 16}
	blocks, count := make([]int32, rows*places), make([]int32, rows)
	for r := range count { // the first block and the own one, not all of them
		own := int32(r / docs.Block)
		blocks[places*r], blocks[places*r+1] = own, -1
		count[r] = 1
		if own > 0 && d.rng.IntN(4) > 0 {
			blocks[places*r], blocks[places*r+1], count[r] = 0, own, 2
		}
	}
	normal := func(heads int) (dev, ref compute.Tensor) {
		dev, v := d.normal(dtype.BF16, rows, heads, dim)
		return dev, compute.F32s(v, rows, heads, dim)
	}
	q, q1 := normal(heads * group)
	k, k1 := normal(heads)
	v, v1 := normal(heads)
	dout, dout1 := normal(heads * group)
	out, out1 := normal(heads * group)
	dq, dq1 := normal(heads * group)
	dk, dk1 := normal(heads)
	dv, dv1 := normal(heads)
	lse, lse1 := d.alloc(dtype.F32, rows, heads*group), compute.F32s(make([]float32, rows*heads*group), rows, heads*group)
	list := func(v []int32, shape ...int) compute.Tensor {
		x := d.alloc(dtype.I32, shape...)
		d.Upload(x, compute.I32s(v, shape...).Data)
		return x
	}
	sel := compute.Selection{Blocks: list(blocks, rows, heads, places), Count: list(count, rows, heads)}
	ref := compute.Selection{Blocks: compute.I32s(blocks, rows, heads, places), Count: compute.I32s(count, rows, heads)}
	none := compute.Tensor{}
	d.AttendDocuments(out, lse, q, k, v, none, sel, docs)
	d.AttendDocumentsGrad(dq, dk, dv, none, dout, out, lse, q, k, v, none, sel, docs)
	compute.AttendDocuments(out1, lse1, q1, k1, v1, none, ref, docs)
	compute.AttendDocumentsGrad(dq1, dk1, dv1, none, dout1, out1, lse1, q1, k1, v1, none, ref, docs)
	near(t, d, map[string][2]compute.Tensor{"out": {out, out1}, "lse": {lse, lse1}, "dq": {dq, dq1}, "dk": {dk, dk1}, "dv": {dv, dv1}})
}

// TestPlanDocuments: each query, tile of keys and 32 rows are of one thread block, the longest walks first.
func TestPlanDocuments(t *testing.T) {
	docs := compute.Documents{Begins: []int32{0, 1, 65, 400, 401}, Block: 16}
	p := planDocuments(docs, documentShape{heads: 2, group: 3, dim: 64, block: docs.Block})
	if p.words != 1 || p.blocks != 21 || p.tiles != 12 || p.columns != 1*1+4*2+21*11+1*1 {
		t.Errorf("%d words, %d blocks, %d tiles, %d words of columns", p.words, p.blocks, p.tiles, p.columns)
	}
	for name, tc := range map[string]struct {
		list     []documentWork
		by, each int // how many rows and queries
	}{"queries": {p.queries, 128, 3}, "keys": {p.keys, 1, 64}, "lists": {p.lists, 1, 32}} {
		seen := map[documentWork]bool{}
		n := 0
		for i := range docs.Count() {
			begin, end := docs.Span(i)
			size := (end - begin + tc.each - 1) / tc.each
			if name == "queries" {
				size = (end - begin) * tc.each
			}
			n += (size + tc.by - 1) / tc.by
		}
		for _, w := range tc.list {
			seen[documentWork{begin: w.begin, first: w.first}] = true
		}
		if len(tc.list) != n || len(seen) != n {
			t.Errorf("%s: %d thread blocks, of which %d are different, want %d", name, len(tc.list), len(seen), n)
		}
	}
	if p.queries[0].first != 896 || p.keys[0] != (documentWork{begin: 65, end: 400, columns: 9, tiles: 4}) {
		t.Errorf("first are queries %v and keys %v", p.queries[0], p.keys[0])
	}
}

// TestDocumentShapes: what has no kernel is said, not computed.
func TestDocumentShapes(t *testing.T) {
	d := open(t)
	for _, shape := range []struct{ dim, block int }{{7, 64}, {130, 64}, {64, 1}, {64, 24}, {64, 96}} {
		x, err := d.Alloc(dtype.BF16, 3, 1, shape.dim)
		if err != nil {
			t.Fatal(err)
		}
		lse, err := d.Alloc(dtype.F32, 3, 1)
		if err != nil {
			t.Fatal(err)
		}
		none := compute.Tensor{}
		d.AttendDocuments(x, lse, x, x, x, none, compute.Selection{}, compute.Documents{Begins: []int32{0, 3}, Block: shape.block})
		if err := d.Sync(); !errors.Is(err, errDocuments) {
			t.Errorf("%d channels, blocks of %d tokens: %v", shape.dim, shape.block, err)
		}
		d.Free(x)
		d.Free(lse)
	}
}
