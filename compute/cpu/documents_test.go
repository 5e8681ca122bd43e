package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/compute/computetest"
	"nosa/dtype"
)

var _ computetest.DocumentsDevice = (*Device)(nil)

// TestDocuments holds attention over packed documents and its gradient against the
// definitions, on every level.
func TestDocuments(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		computetest.RunDocuments(t, open(t, Options{Threads: 2, Level: level}), computetest.Float32)
	})
}

// TestDocumentsThreads: the bits are the same on any number of threads.
func TestDocumentsThreads(t *testing.T) {
	const heads, kv, dim = 6, 2, 48
	docs := compute.Documents{Begins: []int32{0, 300, 301, 390}, Block: 16, Kernel: 8, Stride: 4}
	p := compute.SelectParams{Init: 1, Local: 1, Query: 3, K: 6, ByQuery: true, ByScore: true}
	eachLevel(t, func(t *testing.T, level string) {
		results := func(threads int) (all []float32) {
			rng := rand.New(rand.NewPCG(3, 4))
			rows := docs.Rows()
			tensor := func(shape ...int) compute.Tensor {
				x := compute.F32s(make([]float32, compute.Describe(dtype.F32, shape...).Len()), shape...)
				fill(x.F32(), rng)
				return x
			}
			d := open(t, Options{Threads: threads, Level: level})
			q, k, v, s, dout := tensor(rows, heads, dim), tensor(rows, kv, dim), tensor(rows, kv, dim), tensor(rows, kv), tensor(rows, heads, dim)
			out, lse := tensor(rows, heads, dim), tensor(rows, heads)
			dq, dk, dv, ds := tensor(rows, heads, dim), tensor(rows, kv, dim), tensor(rows, kv, dim), tensor(rows, kv)
			sel := compute.Selection{
				Blocks: compute.I32s(make([]int32, rows*kv*p.Most()), rows, kv, p.Most()),
				Count:  compute.I32s(make([]int32, rows*kv), rows, kv),
			}
			d.ChooseBlocks(sel, q, k, s, docs, p)
			d.AttendDocuments(out, lse, q, k, v, s, sel, docs)
			d.AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs)
			loss, taught := tensor(rows, kv, 2), tensor(rows, kv)
			d.ReceivedLoss(loss, taught, lse, q, k, s, sel, docs, p, 0.5)
			for _, x := range []compute.Tensor{out, lse, dq, dk, dv, ds, loss, taught} {
				all = append(all, x.F32()...)
			}
			for _, b := range sel.Blocks.I32() {
				all = append(all, float32(b))
			}
			return all
		}
		want := results(1)
		for _, threads := range []int{2, 3, 7} {
			for i, x := range results(threads) {
				if math.Float32bits(x) != math.Float32bits(want[i]) {
					t.Fatalf("%d threads: value %d of %d is %v, on one thread %v", threads, i, len(want), x, want[i])
				}
			}
		}
	})
}

// TestAttentionGradients holds attention and its gradients against PyTorch's.
func TestAttentionGradients(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		computetest.RunAttentionGradients(t, open(t, Options{Threads: 2, Level: level}), 5e-6)
	})
}
