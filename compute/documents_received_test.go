package compute

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestReceivedLoss holds the gradient against differences of the loss, whose weights stay as they were, and the loss
// against the formula over all pairs of rows.
func TestReceivedLoss(t *testing.T) {
	const heads, kvHeads, dim, scale = 4, 2, 4, 0.75
	rng := rand.New(rand.NewPCG(31, 32))
	d := Documents{Begins: []int32{0, 5, 41}, Block: 4, Kernel: 2, Stride: 1}
	rows := d.Rows()
	q, k, v, s := random(rng, rows, heads, dim), random(rng, rows, kvHeads, dim), random(rng, rows, kvHeads, dim), random(rng, rows, kvHeads)
	out, lse := zeros(rows, heads, dim), zeros(rows, heads)
	p := SelectParams{Init: 1, Local: 1, Query: 1, K: 4, ByQuery: true, ByScore: true}
	sparse := Selection{Blocks: I32s(make([]int32, rows*kvHeads*p.Most()), rows, kvHeads, p.Most()), Count: I32s(make([]int32, rows*kvHeads), rows, kvHeads)}
	ChooseBlocks(sparse, q, k, s, d, p)
	for name, sel := range map[string]Selection{"full": {}, "sparse": sparse} {
		t.Run(name, func(t *testing.T) {
			AttendDocuments(out, lse, q, k, v, s, sel, d)
			weights := make([]float64, rows*rows*kvHeads) // of row i, KV head, token j
			d.eachQuery(q, k, s, sel, func(row, h, head int, keys []int, logits []float64) {
				for i, j := range keys {
					weights[(row*kvHeads+head)*rows+j] += math.Exp(logits[i] - float64(lse.F32()[row*heads+h]))
				}
			})
			value := func(head int) (sum, weight float64) { // of the last document
				const begin = 5
				for row := begin; row < rows; row++ {
					var z float64
					far := func(j int) bool { b := (j - begin) / d.Block; return b >= p.Init && b < (row-begin)/d.Block-p.Local }
					for j := begin; j < row; j++ {
						if far(j) {
							z += math.Exp(float64(s.F32()[j*kvHeads+head]))
						}
					}
					for j := begin; j < row; j++ {
						if far(j) {
							a := weights[(row*kvHeads+head)*rows+j]
							sum, weight = sum+a*(math.Log(z)-float64(s.F32()[j*kvHeads+head])), weight+a
						}
					}
				}
				return sum, weight
			}
			loss, ds := zeros(rows, kvHeads, 2), zeros(rows, kvHeads)
			for i := range ds.F32() {
				ds.F32()[i] = 2 // is added to
			}
			ReceivedLoss(loss, ds, lse, q, k, s, sel, d, p, scale)
			for i, got := range loss.F32() {
				want := 0.0
				if i/2/kvHeads == 5 {
					sum, weight := value(i / 2 % kvHeads)
					if want = []float64{sum, weight}[i%2]; want < 1 {
						t.Fatalf("the loss is %v of %v", sum, weight)
					}
				}
				if math.Abs(float64(got)-want) > 1e-5 {
					t.Errorf("loss at row %d, KV head %d: sum %d is %v, want %v", i/2/kvHeads, i/2%kvHeads, i%2, got, want)
				}
			}
			for i, got := range ds.F32() {
				at, before := &s.F32()[i], s.F32()[i]
				const step = 1. / 64
				*at = before + step
				up, _ := value(i % kvHeads)
				*at = before - step
				down, _ := value(i % kvHeads)
				*at = before
				if want := 2 + scale*(up-down)/(2*step); math.Abs(float64(got)-want) > 2e-4 {
					t.Errorf("ds of row %d, KV head %d is %v, by differences %v", i/kvHeads, i%kvHeads, got, want)
				}
			}
		})
	}
}
