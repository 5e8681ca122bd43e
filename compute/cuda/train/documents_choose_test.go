//go:build linux && amd64

package train

import (
	"errors"
	"testing"

	"nosa/compute"
	"nosa/compute/computetest"
	"nosa/dtype"
)

// TestChoices holds the choice of blocks against its definition.
func TestChoices(t *testing.T) { computetest.RunChoices(t, open(t), computetest.BFloat16) }

// TestPlanChoice: each row is of one thread block, the longest walks first; scores of a launch have room, and
// lie beside each other.
func TestPlanChoice(t *testing.T) {
	const heads, each, dense = 3, 40, 4096
	docs := compute.Documents{Begins: []int32{0, 70000, 70001, 74097, 78194}, Block: 64}
	p := planChoice(docs, heads, each, dense, true)
	if len(p.documents) != 2 || p.documents[0].end != 70000 || p.documents[1].begin != 74097 || p.blocks != 1094 {
		t.Errorf("documents %v of up to %d blocks", p.documents, p.blocks)
	}
	rows := make([]int, docs.Rows())
	first, from := int32(1<<30), 0
	if len(p.launches) < 2 {
		t.Errorf("%d launches", len(p.launches))
	}
	for _, end := range p.launches {
		free := 0
		for _, w := range p.work[from:end] {
			if w.first > first {
				t.Fatalf("rows from %d on come behind those from %d on", w.first, first)
			}
			first = w.first
			last := min(w.first+each, w.end-w.begin)
			for r := w.first; r < last; r++ {
				rows[w.begin+r]++
			}
			if last <= dense {
				continue
			}
			if int(w.at)*chooseRoom != free {
				t.Fatalf("scores at %d, want %d", int(w.at)*chooseRoom, free)
			}
			free += int(last-w.first) * heads * chooseRoom * ceil(int(last-1)/docs.Block+1, chooseRoom)
		}
		if 4*free > p.scores || 4*free > chooseScores {
			t.Errorf("%d bytes of scores, %d are planned", 4*free, p.scores)
		}
		from = end
	}
	if from != len(p.work) {
		t.Errorf("%d of %d thread blocks are launched", from, len(p.work))
	}
	for r, n := range rows {
		if n != 1 {
			t.Fatalf("row %d is of %d thread blocks", r, n)
		}
	}
	if p := planChoice(docs, heads, each, dense, false); p.scores != 0 || len(p.launches) != 1 {
		t.Errorf("without queries: %d bytes of scores, %d launches", p.scores, len(p.launches))
	}
}

// TestChoiceShapes: what has no kernel is said, not computed.
func TestChoiceShapes(t *testing.T) {
	d := open(t)
	alloc := func(typ dtype.Type, shape ...int) compute.Tensor {
		x, err := d.Alloc(typ, shape...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Free(x) })
		return x
	}
	sel := compute.Selection{Blocks: alloc(dtype.I32, 3, 1, 2), Count: alloc(dtype.I32, 3, 1)}
	docs := compute.Documents{Begins: []int32{0, 3}, Block: 64, Kernel: 32, Stride: 16}
	for _, shape := range []struct{ group, dim int }{{17, 64}, {1, 130}} {
		q, k := alloc(dtype.BF16, 3, shape.group, shape.dim), alloc(dtype.BF16, 3, 1, shape.dim)
		d.ChooseBlocks(sel, q, k, compute.Tensor{}, docs, compute.SelectParams{K: 2, ByQuery: true})
		if err := d.Sync(); !errors.Is(err, errChoose) {
			t.Errorf("%d query heads of %d channels: %v", shape.group, shape.dim, err)
		}
	}
}
