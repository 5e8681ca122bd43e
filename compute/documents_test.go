package compute

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestAttendDocumentsGrad holds the gradients against differences of the results: of Σ
// out·dout, by q, k, v and s, where blocks are selected and where they are not.
func TestAttendDocumentsGrad(t *testing.T) {
	const heads, kvHeads, dim = 4, 2, 4
	rng := rand.New(rand.NewPCG(21, 22))
	d := Documents{Begins: []int32{0, 5, 31}, Block: 4, Kernel: 2, Stride: 1}
	rows := d.Rows()
	q, k, v, s := random(rng, rows, heads, dim), random(rng, rows, kvHeads, dim), random(rng, rows, kvHeads, dim), random(rng, rows, kvHeads)
	dout, out, lse := random(rng, rows, heads, dim), zeros(rows, heads, dim), zeros(rows, heads)
	p := SelectParams{Init: 1, Query: 1, K: 3, ByQuery: true, ByScore: true}
	sparse := Selection{Blocks: I32s(make([]int32, rows*kvHeads*p.Most()), rows, kvHeads, p.Most()), Count: I32s(make([]int32, rows*kvHeads), rows, kvHeads)}
	ChooseBlocks(sparse, q, k, s, d, p)
	for name, sel := range map[string]Selection{"full": {}, "sparse": sparse} {
		t.Run(name, func(t *testing.T) {
			value := func() float64 {
				AttendDocuments(out, lse, q, k, v, s, sel, d)
				return dot(out.F32(), dout.F32())
			}
			value()
			dq, dk, dv, ds := zeros(rows, heads, dim), zeros(rows, kvHeads, dim), zeros(rows, kvHeads, dim), zeros(rows, kvHeads)
			AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, d)
			for name, x := range map[string][2]Tensor{"dq": {q, dq}, "dk": {k, dk}, "dv": {v, dv}, "ds": {s, ds}} {
				for i := range x[0].F32() {
					at, before := &x[0].F32()[i], x[0].F32()[i]
					const step = 1. / 64 // a power of two: before ± step is nearly exact
					*at = before + step
					up := value()
					*at = before - step
					down := value()
					*at = before
					want := (up - down) / (2 * step)
					// Rounding of results, and the third derivative.
					if got := float64(x[1].F32()[i]); math.Abs(got-want) > 1e-3 {
						t.Fatalf("%s %d is %v, by differences %v", name, i, got, want)
					}
				}
			}
		})
	}
}
