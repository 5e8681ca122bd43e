package policy_test

import (
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

// mergeExample is a layer with the example's prompt of 8 tokens.
func mergeExample() *policytest.Layer {
	l := policytest.New(policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 2}, 0, nil)
	k := []float32{10, 0, 7.878, 1.389, 8.157, 3.804, -.872, 9.962, -3.106, 11.591, -4.225, 7.947, -9.397, -3.42, 5.5, 9.526}
	v := []float32{1, 0, 0, 1, 2, 2, 1, 1, 3, 0, 0, 3, 1, 2, 2, 1}
	l.Prompt(make([]float32, 16), k, v, nil)
	l.SetSums(0, []float64{.9, .2, .5, .4, .3, .6, .1, .7})
	return l
}

func TestKVMerger(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 2}
	for _, tc := range []struct {
		options string
		v1, v2  []float32 // of the two merged tokens
		bias    []float32
		out     []float32
	}{
		{"", []float32{1.0590, 1.5295}, []float32{1.1995, 1.5041}, []float32{0, 0}, []float32{1.4288, .9044}},
		{",values=count", []float32{2.1181, 3.0590}, []float32{3.5985, 4.5122}, []float32{0, 0}, []float32{1.8673, 1.5066}},
		{",bias=count", []float32{1.0590, 1.5295}, []float32{1.1995, 1.5041}, []float32{.6931, 1.0986}, []float32{1.3377, 1.0792}},
	} {
		l := mergeExample()
		compress(t, begin(t, "kvmerger:recent=1,top=1,first=0,last=0"+tc.options, shape, 8), l)
		holds(t, tc.options, l, 0, 0, 2, 5, 6, 7)
		k, _ := l.Keys(t.Context(), 0)
		near(t, "keys", k, 10, 0, 8.0257, 2.6678, -2.8943, 9.6412, -9.397, -3.42, 5.5, 9.526)
		v, _ := l.Values(t.Context(), 0)
		near(t, "values"+tc.options, v[2:6], append(tc.v1, tc.v2...)...)
		cells := l.Cells(0)
		near(t, "bias"+tc.options, []float32{cells[0].Bias, cells[1].Bias, cells[2].Bias}, 0, tc.bias[0], tc.bias[1])
		if cells[0].Count != 1 || cells[1].Count != 2 || cells[2].Count != 3 || cells[3].Count != 1 {
			t.Errorf("%s: cells %v", tc.options, cells)
		}
		// The example's query is a further token without a key of its own.
		near(t, "output"+tc.options, attend(t, l, []float32{.3, .2}), tc.out...)
	}
	near(t, "output of all", attend(t, mergeExample(), []float32{.3, .2}), 1.4435, 1.0283)
}

// The bounds of what is merged.
func TestKVMergerBounds(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 2}
	for options, held := range map[string][]int{
		"recent=1,top=1,first=1,last=0":           between(0, 8),
		"recent=1,top=1,first=0,last=1":           between(0, 8),
		"recent=8,top=1,first=0,last=0":           between(0, 8),
		"recent=1,top=7,first=0,last=0":           between(0, 8),
		"recent=1,top=1,alike=.98,first=0,last=0": {0, 1, 2, 3, 5, 6, 7},
		"recent=1,top=1,alike=.2,first=0,last=0":  {0, 5, 6, 7},
		"recent=1,top=1,keep=6,first=0,last=0":    {0, 1, 2, 5, 6, 7},
		"recent=1,top=1,keep=4,first=0,last=0":    {0, 5, 6, 7},
		"recent=1,top=1,keep=2,first=0,last=0":    {0, 5, 7}, // no further than cosine 0
		"recent=1,top=1,keep=50%,first=0,last=0":  {0, 5, 6, 7},
	} {
		l := mergeExample()
		compress(t, begin(t, "kvmerger:"+options, shape, 8), l)
		holds(t, options, l, 0, held...)
	}
}
