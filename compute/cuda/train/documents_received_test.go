//go:build linux && amd64

package train

import (
	"errors"
	"math"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestReceivedLong: rows that see a tile of keys come in several lists, whose parts of a block of rows are added up;
// documents have more than 32 blocks, so that sums of blocks pass from a scan to the next.
func TestReceivedLong(t *testing.T) {
	d := newBench(t)
	const heads, group, dim, places = 2, 2, 8, 3
	docs := compute.Documents{Begins: []int32{0, 70, 4700}, Block: 64, Kernel: 32, Stride: 16}
	rows := docs.Rows()
	p := compute.SelectParams{Init: 1, Local: 2}
	blocks, count := make([]int32, rows*heads*places), make([]int32, rows*heads)
	docs.Tiles(func(row, n, pos int) {
		for at := row * heads; at < (row+n)*heads; at++ { // the own block, one that half of the rows have in common, and another
			own := int32(pos / docs.Block)
			list := map[int32]bool{own: true}
			if own > 0 {
				list[min(own, 3)] = d.rng.IntN(2) > 0
				list[d.rng.Int32N(own)] = true
			}
			for b := range own + 1 {
				if list[b] {
					blocks[at*places+int(count[at])] = b
					count[at]++
				}
			}
		}
	})
	sel := compute.Selection{Blocks: d.alloc(dtype.I32, rows, heads, places), Count: d.alloc(dtype.I32, rows, heads)}
	ref := compute.Selection{Blocks: compute.I32s(blocks, rows, heads, places), Count: compute.I32s(count, rows, heads)}
	d.Upload(sel.Blocks, ref.Blocks.Data)
	d.Upload(sel.Count, ref.Count.Data)
	q, q1 := d.normal(dtype.BF16, rows, heads*group, dim)
	k, k1 := d.normal(dtype.BF16, rows, heads, dim)
	s, s1 := d.normal(dtype.F32, rows, heads)
	for i := range s1 { // one document's scores are far from 0, and grow
		s1[i] = 3*s1[i] + 40 + float32(i)/100
	}
	tensor := func(v []float32, shape ...int) compute.Tensor { return compute.F32s(v, shape...) }
	scores := tensor(s1, rows, heads)
	d.Upload(s, scores.Data)
	out, lse := tensor(make([]float32, len(q1)), rows, heads*group, dim), tensor(make([]float32, rows*heads*group), rows, heads*group)
	compute.AttendDocuments(out, lse, tensor(q1, rows, heads*group, dim), tensor(k1, rows, heads, dim), tensor(k1, rows, heads, dim), scores, ref, docs)
	lse1 := d.alloc(dtype.F32, rows, heads*group)
	d.Upload(lse1, lse.Data)

	want, loss := tensor(make([]float32, rows*heads), rows, heads), tensor(make([]float32, 2*rows*heads), rows, heads, 2)
	compute.ReceivedLoss(loss, want, lse, tensor(q1, rows, heads*group, dim), tensor(k1, rows, heads, dim), scores, ref, docs, p, 2)
	ds, losses := d.alloc(dtype.F32, rows, heads), d.alloc(dtype.F32, rows, heads, 2)
	d.Zero(ds)
	d.Zero(losses)
	d.ReceivedLoss(losses, ds, lse1, q, k, s, sel, docs, p, 2)
	for name, x := range map[string][2]compute.Tensor{"loss": {losses, loss}, "ds": {ds, want}} {
		got := make([]float32, x[0].Len())
		d.Download(tensor(got, len(got)).Data, x[0])
		var top, worst float64
		for i, w := range x[1].F32() {
			top, worst = max(top, math.Abs(float64(w))), max(worst, math.Abs(float64(got[i]-w)))
		}
		t.Logf("%s: off by %.2g of %.3g", name, worst, top)
		if !(worst <= 1e-4*top) || top < 1 {
			t.Errorf("%s is off by %.3g of %.3g", name, worst, top)
		}
	}
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestReceivedShapes: what has no kernel is said, not computed.
func TestReceivedShapes(t *testing.T) {
	d := newBench(t)
	x, y := d.alloc(dtype.BF16, 3, 1, 7), d.alloc(dtype.F32, 3, 1)
	d.ReceivedLoss(y, y, y, x, x, y, compute.Selection{}, compute.Documents{Begins: []int32{0, 3}, Block: 64}, compute.SelectParams{}, 1)
	if err := d.Sync(); !errors.Is(err, errDocuments) {
		t.Error(err)
	}
}

// BenchmarkReceived is ReceivedLoss of a layer of the built-in model, beside attention forward. Operations are those of one product
// of queries with the far tokens that they see.
func BenchmarkReceived(b *testing.B) {
	all := newBench(b)
	const heads, group, dim = 2, 3, 64
	p := compute.SelectParams{Init: 1, Local: 8, Query: 8, K: 32, ByQuery: true, ByScore: true}
	for _, tc := range []struct {
		name       string
		rows, docs int
	}{{"dense-32x2048", 65536, 32}, {"nosa-8x8192", 65536, 8}, {"nosa-2x32768", 65536, 2}} {
		if testing.Short() { // about as little as can be, for an emulator
			tc.rows, tc.docs = 1024, 1
		}
		b.Run(tc.name, func(b *testing.B) {
			d := &bench{b, all.Device, all.rng}
			docs := compute.Documents{Begins: []int32{0}, Block: 64, Kernel: 32, Stride: 16}
			for i := range tc.docs {
				docs.Begins = append(docs.Begins, int32((i+1)*tc.rows/tc.docs))
			}
			q, out := d.normals(dtype.BF16, tc.rows, heads*group, dim), d.normals(dtype.BF16, tc.rows, heads*group, dim)
			k, s, lse := d.normals(dtype.BF16, tc.rows, heads, dim), d.normals(dtype.F32, tc.rows, heads), d.normals(dtype.F32, tc.rows, heads*group)
			loss, ds := d.normals(dtype.F32, tc.rows, heads, 2), d.normals(dtype.F32, tc.rows, heads)
			var sel compute.Selection
			if tc.rows/tc.docs > p.K*docs.Block {
				sel.Blocks, sel.Count = d.alloc(dtype.I32, tc.rows, heads, p.Most()), d.alloc(dtype.I32, tc.rows, heads)
				d.ChooseBlocks(sel, q, k, s, docs, p)
			}
			pairs, far := 0.0, 0.0
			docs.Tiles(func(_, n, pos int) {
				own := pos / docs.Block
				pairs += float64(n * docs.Block * min(own+1, p.K))
				far += float64(n * docs.Block * max(min(own+1, p.K)-p.Init-p.Local-1, 0))
			})
			const flop = 2 * heads * group * dim / 1e12
			b.Run("forward", func(b *testing.B) {
				d.timed(b, 2*flop*pairs, "TFLOP/s", func() { d.AttendDocuments(out, lse, q, k, k, s, sel, docs) })
			})
			b.Run("received", func(b *testing.B) {
				d.timed(b, flop*far, "TFLOP/s", func() { d.ReceivedLoss(loss, ds, lse, q, k, s, sel, docs, p, 1) })
			})
		})
	}
}
