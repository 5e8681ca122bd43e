//go:build linux && amd64

package train

import (
	"errors"
	"math"
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
	for _, k := range all {
		t.Run(k.name, func(t *testing.T) {
			d.a.attend = append([]*attendKernel{k}, all...)
			computetest.RunDocuments(t, d, computetest.BFloat16)
		})
	}
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
	for name, x := range map[string][2]compute.Tensor{"out": {out, out1}, "lse": {lse, lse1}, "dq": {dq, dq1}, "dk": {dk, dk1}, "dv": {dv, dv1}} {
		data, got := make([]byte, x[0].Bytes()), make([]float32, x[0].Len())
		d.Download(data, x[0])
		dtype.Decode(x[0].Type, got, data)
		var top, worst float64
		for i, w := range x[1].F32() {
			top, worst = max(top, math.Abs(float64(w))), max(worst, math.Abs(float64(got[i]-w)))
		}
		if !(worst <= 2./256*top) {
			t.Errorf("%s is off by %.3g of %.3g", name, worst, top)
		}
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestPlanDocuments: each query, tile of keys and 32 rows are of one thread block, the longest walks first.
func TestPlanDocuments(t *testing.T) {
	docs := compute.Documents{Begins: []int32{0, 1, 65, 400, 401}, Block: 16}
	p := planDocuments(docs, documentShape{heads: 2, group: 3, dim: 64, block: docs.Block})
	if p.words != 1 || p.blocks != 21 || p.tiles != 9 || p.columns != 1*1+4*2+21*11+1*1 {
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
	if p.queries[0].first != 896 || p.keys[0] != (documentWork{begin: 65, end: 400, columns: 9, tiles: 2}) {
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
