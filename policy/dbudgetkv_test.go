package policy_test

import (
	"math"
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

// told is a layer of one KV head in which the last query of each query head gives its tokens
// the weights that are told; they may add up to anything but 0.
func told(weights ...[]float64) *policytest.Layer {
	n, heads := len(weights[0]), len(weights)
	l := policytest.New(policy.Shape{Layers: 1, Heads: heads, KVHeads: 1, Dim: heads, Block: 2}, 0, nil)
	q, kv := make([]float32, n*heads*heads), make([]float32, n*heads)
	for h := range heads {
		q[((n-1)*heads+h)*heads+h] = float32(math.Sqrt(float64(heads)))
		for at, w := range weights[h] {
			kv[at*heads+h] = float32(math.Log(w))
		}
	}
	l.Prompt(q, kv, kv, nil)
	return l
}

func TestDBudgetKV(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 2, KVHeads: 1, Dim: 2, Block: 2}
	a := [][]float64{{.40, .06, .01, .02, .01, .02, .08, .06, .12, .22}, {.50, .03, .02, .01, .03, .01, .02, .18, .05, .15}}
	for _, tc := range []struct {
		options string
		held    []int
	}{
		{"sinks=2,recent=2,whole=0", []int{0, 1, 6, 7, 8, 9}},
		{"sinks=2,recent=2,whole=0,loss=.05", []int{0, 1, 6, 7, 8, 9}}, // token 6 might go too, but its block stays
		{"sinks=2,recent=2,whole=0,loss=0", between(0, 10)},
		{"sinks=2,recent=2,whole=0,loss=.003", between(0, 10)}, // token 2 might go
		{"sinks=2,recent=2,whole=0,loss=.004", []int{0, 1, 4, 5, 6, 7, 8, 9}},
		{"sinks=2,recent=2,whole=0,loss=.9", []int{0, 1, 8, 9}}, // the newest stay
		{"sinks=2,recent=2,whole=0,loss=.042", []int{0, 1, 6, 7, 8, 9}},
		{"sinks=2,recent=2,whole=0,loss=.042,norm=all", []int{0, 1, 8, 9}},
		{"sinks=2,recent=2,whole=0,norm=all", []int{0, 1, 6, 7, 8, 9}},
		{"sinks=2,recent=8,whole=0", between(0, 10)},
		{"sinks=2,recent=2,whole=1", between(0, 10)},
		{"sinks=2,recent=2,whole=0,rows=1,ranking=attention", []int{0, 6, 7, 8, 9}},
		{"sinks=2,recent=2,whole=0,rows=1,ranking=attention,loss=.05", []int{0, 7, 8, 9}},
	} {
		l := told(a...)
		compress(t, begin(t, "dbudgetkv:"+tc.options, shape, 10), l)
		holds(t, tc.options, l, 0, tc.held...)
	}
	// Weights that are no numbers lose nothing.
	l := told([]float64{1, 1, math.NaN(), 1, 1, 1, 1, 1})
	compress(t, begin(t, "dbudgetkv:sinks=0,recent=1,whole=0,loss=.9", shape, 8), l)
	holds(t, "not a number", l, 0, between(0, 8)...)
}
