package policy_test

import (
	"errors"
	"testing"

	"nosa/compute"
	"nosa/policy"
	"nosa/policy/policytest"
)

// thinkExample is a layer with the example's prompt of 5 tokens.
func thinkExample() *policytest.Layer {
	l := policytest.New(policy.Shape{Layers: 1, Heads: 2, KVHeads: 1, Dim: 4}, 0, nil)
	k := []float32{2, .1, -1, 3, 1, -.2, -2, 3, 2, .3, -1, 2, 3, .1, -1, 3, 1, .2, -2, 2}
	v := []float32{1, 0, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0}
	q := make([]float32, 5*8)
	copy(q[3*8:], []float32{1, 3, 2, .1, .5, 2, 1, -.1})
	copy(q[4*8:], []float32{2, -1, 1, .2, 1, 1, 2, .1})
	l.Prompt(q, k, v, nil)
	return l
}

func TestThinK(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 2, KVHeads: 1, Dim: 4}
	q, k, v := []float32{1, 2, 1, .2, 2, 1, 1, .1}, []float32{1, .1, -1, 2}, []float32{1, 1, 0, 0}
	for _, tc := range []struct {
		options string
		keys    []float32
		out     []float32
	}{
		{"window=2,prune=.5,recent=1", []float32{2, 0, -1, 0, 1, 0, -2, 0, 2, 0, -1, 0, 3, 0, -1, 0, 1, .2, -2, 2}, []float32{1.1360, .6100, 1.3940, .3892}},
		{"window=2,prune=0,recent=1", nil, []float32{1.2040, .5386, 1.4161, .3685}},
		{"window=2,prune=.5,recent=5", nil, []float32{1.2040, .5386, 1.4161, .3685}}, // nothing but recent tokens
		{"window=9,prune=.25,recent=0", []float32{2, .1, -1, 0, 1, -.2, -2, 0, 2, .3, -1, 0, 3, .1, -1, 0, 1, .2, -2, 0}, nil},
	} {
		l := thinkExample()
		whole, err := l.Keys(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		s := begin(t, "think:"+tc.options, shape, 5)
		compress(t, s, l)
		got, err := l.Keys(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		if tc.keys == nil {
			tc.keys = whole
		}
		near(t, "keys of "+tc.options, got, tc.keys...)
		out := l.Append(q, k, v, nil)
		if tc.out != nil {
			near(t, "output of "+tc.options, []float32{out[0], out[1], out[4], out[5]}, tc.out...)
		}
		if s.Next(5) != policy.Never {
			t.Errorf("%s: goes on after the prompt", tc.options)
		}
	}
}

func TestThinKRefused(t *testing.T) {
	spec, err := policy.Parse("think")
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range []compute.KVType{compute.KVQ8, compute.KVQ4} {
		if _, err := spec.Method.New(spec.Values, policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 8, Type: kind}); !errors.Is(err, policy.ErrPolicy) {
			t.Errorf("channels of a %v cache: %v", kind, err)
		}
	}
}
