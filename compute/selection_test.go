package compute

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// selected runs Select for one row at the last position of its block, one KV head.
func selected(p SelectParams, byQuery, byScore []float32) (blocks []int32, count int) {
	n := max(len(byQuery), len(byScore))
	wrap := func(v []float32) Tensor {
		if v == nil {
			return Tensor{}
		}
		return F32s(v, 1, 1, len(v))
	}
	p.ByQuery, p.ByScore = byQuery != nil, byScore != nil
	sel := Selection{Blocks: I32s(make([]int32, p.Most()), 1, 1, p.Most()), Count: I32s(make([]int32, 1), 1, 1)}
	Select(sel, wrap(byQuery), wrap(byScore), Tile{N: 1, Pos: n*8 - 1}, 8, p)
	return sel.Blocks.I32(), int(sel.Count.I32()[0])
}

func TestSelect(t *testing.T) {
	inf, nan := float32(math.Inf(-1)), float32(math.NaN())
	flat := make([]float32, 10)
	rising := []float32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}
	for name, tc := range map[string]struct {
		p            SelectParams
		query, score []float32
		want         []int32
		everything   bool
	}{
		"forced, then ties to the lower": {SelectParams{Init: 1, Local: 1, K: 5}, flat, nil, []int32{0, 1, 2, 8, 9}, false},
		"the best by query":              {SelectParams{Init: 1, Local: 1, K: 5}, rising, nil, []int32{0, 6, 7, 8, 9}, false},
		"query then score": {SelectParams{Init: 1, Local: 1, Query: 2, K: 6},
			rising, []float32{0, 0, 0, 5, 4, 9, 0, 0, 0, 0}, []int32{0, 3, 5, 7, 8, 9}, false},
		"what the query took, the score does not count": {SelectParams{Init: 1, Query: 2, K: 5},
			rising, rising, []int32{0, 6, 7, 8, 9}, false},
		"score alone": {SelectParams{Init: 1, Local: 1, K: 4}, nil, []float32{0, 0, 7, 0, 0, 0, 0, 0, 0, 0}, []int32{0, 2, 8, 9}, false},
		"the last places go to −∞, not to NaN": {SelectParams{K: 9},
			[]float32{inf, nan, inf, 1, 1, 1, 1, 1, 1, 1}, nil, []int32{0, 2, 3, 4, 5, 6, 7, 8, 9}, false},
		"more forced than K":            {SelectParams{Init: 2, Local: 3, K: 3}, rising, nil, []int32{0, 1, 6, 7, 8, 9}, false},
		"forced runs overlap":           {SelectParams{Init: 8, Local: 6, K: 3}, rising, nil, numbers(10), false},
		"as many blocks as K":           {SelectParams{K: 10}, rising, nil, nil, true},
		"one block more than K":         {SelectParams{K: 9}, rising, nil, []int32{1, 2, 3, 4, 5, 6, 7, 8, 9}, false},
		"positions below DenseLen":      {SelectParams{K: 2, DenseLen: 80}, rising, nil, nil, true},
		"the position at DenseLen":      {SelectParams{K: 2, DenseLen: 79}, rising, nil, []int32{8, 9}, false},
		"k_q beyond K leaves no filler": {SelectParams{Query: 100, K: 3}, rising, []float32{9, 9, 9, 0, 0, 0, 0, 0, 0, 0}, []int32{7, 8, 9}, false},
	} {
		t.Run(name, func(t *testing.T) {
			got, count := selected(tc.p, tc.query, tc.score)
			if tc.everything {
				if count != -1 {
					t.Fatalf("count %d, want every block", count)
				}
				return
			}
			if count != len(tc.want) || !slices.Equal(got[:count], tc.want) {
				t.Fatalf("selected %v, count %d, want %v", got, count, tc.want)
			}
			for _, b := range got[count:] {
				if b != -1 {
					t.Fatalf("beyond the %d selected: %v", count, got)
				}
			}
		})
	}
}

// TestSelectShares: between neighbouring steps with other queries at least
// K − (what the query may choose) blocks stay, which is why it offloads well.
func TestSelectShares(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := SelectParams{Init: 1, Local: 4, Query: 6, K: 32}
	score := random(rng, 100).F32()
	for range 100 {
		a, _ := selected(p, random(rng, 100).F32(), score)
		b, _ := selected(p, random(rng, 100).F32(), score)
		same := 0
		for _, x := range a {
			if slices.Contains(b, x) {
				same++
			}
		}
		if same < p.K-p.Query {
			t.Fatalf("%d of %d blocks stayed", same, p.K)
		}
	}
}
