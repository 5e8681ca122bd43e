package eval

import (
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// Weights are those of a softmax by hand: keys that are alike share evenly, one along the query takes its part, and those behind the
// query have none. Two query heads share the KV head.
func TestMass(t *testing.T) {
	m := newMass(2, 2, 1)
	keys := compute.F32s([]float32{0, 0, 0, 0, 2, 0, 50, 50}, 4, 1, 2)
	m.attend(0, 0, compute.F32s(make([]float32, 2*2*2), 2, 2, 2), keys.Rows(0, 2)) // a prompt's chunk, then a token at a time
	m.attend(0, 2, compute.F32s([]float32{0, 0, math.Sqrt2, 0}, 1, 2, 2), keys.Rows(2, 3))
	m.attend(0, 3, compute.F32s([]float32{9, 9, 9, 9}, 1, 2, 2), keys.Rows(3, 4))
	if len(m.weights) != 1 {
		t.Fatalf("%d positions have weights, want that of 2 alone", len(m.weights))
	}
	e2 := math.Exp(2)
	got, want := m.weights[place{0, 0, 2}], []float64{(2.0/3 + 2/(2+e2)) / 2, (1.0/3 + e2/(2+e2)) / 2}
	for b := range want {
		if math.Abs(got[b]-want[b]) > 1e-7 {
			t.Errorf("block %d: %g, want %g", b, got[b], want[b])
		}
	}
	sel := compute.Selection{Blocks: compute.I32s([]int32{1, -1}, 1, 1, 2), Count: compute.I32s([]int32{1}, 1, 1)}
	m.selected(0, compute.Tile{N: 1, Pos: 2, Tables: make([][]int32, 1)}, sel)
	m.selected(0, compute.Tile{N: 1, Pos: 3, Tables: make([][]int32, 1)}, sel) // which nobody asked for
	if all, layers := m.share(); all == nil || len(layers) != 1 || math.Abs(*all-want[1]) > 1e-7 {
		t.Errorf("%v, %v", all, layers)
	}
	unseen := newMass(0, 2, 1)
	unseen.attend(0, 0, compute.Describe(dtype.F32, 1, 1, 2), compute.Describe(dtype.F32, 1, 1, 2)) // a GPU's
	if all, _ := unseen.share(); all != nil {
		t.Errorf("a share of nothing: %g", *all)
	}
}

// The whole of a row is one, whatever the queries and keys.
func TestMassIsWhole(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	const tokens, heads, kvHeads, dim = 37, 6, 2, 8
	values := func(n int) []float32 {
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(8 * r.NormFloat64())
		}
		return v
	}
	m := newMass(0, 16, 1)
	m.attend(0, 0, compute.F32s(values(tokens*heads*dim), tokens, heads, dim), compute.F32s(values(tokens*kvHeads*dim), tokens, kvHeads, dim))
	if len(m.weights) != kvHeads*((tokens+massEvery-1)/massEvery) {
		t.Errorf("%d rows", len(m.weights))
	}
	for at, w := range m.weights {
		sum := 0.0
		for _, v := range w {
			sum += v
		}
		if math.Abs(sum-1) > 1e-12 || len(w) != int(at.block)/16+1 {
			t.Errorf("%+v: %d blocks, %g in all", at, len(w), sum)
		}
	}
}
