package policy_test

import (
	"errors"
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

var cspShape = policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 2, Block: 4}

// cspExample is a layer with the example's prompt of 8 tokens.
func cspExample() *policytest.Layer {
	l := policytest.New(cspShape, 0, nil)
	k := []float32{1, 0, 2, 1, 0, 2, 1, 1, 0, 1, 1, -1, .5, .5, 1, .5}
	v := []float32{1, 0, 0, 1, 2, 0, 1, 1, 0, 2, 1, 0, 0, 1, 1, 1}
	q := make([]float32, 16)
	copy(q[12:], []float32{1, .5, .5, 1})
	l.Prompt(q, k, v, nil)
	return l
}

func TestCSP(t *testing.T) {
	plain := []uint8{0, 1, 1, 1, 0, 0, 0, 0}
	both := []uint8{0, 1, 1, 1, 0, 0, 1, 0}
	for _, tc := range []struct {
		options string
		tags    []uint8
		held    []int
		out     []float32
	}{
		{"heavy=4,recent=4", plain, between(0, 8), []float32{.6923, .8962}},
		{"heavy=4,recent=2", plain, []int{0, 1, 2, 4, 6, 7}, []float32{.6217, .9283}},
		{"heavy=50%,recent=25%", plain, []int{0, 1, 2, 4, 6, 7}, []float32{.6217, .9283}},
		{"heavy=4,recent=2", nil, []int{0, 1, 2, 3, 6, 7}, nil},
		{"heavy=4,recent=2,cross=.25", plain, []int{0, 1, 4, 5, 6, 7}, nil},
		{"heavy=4,recent=2,cross=0", plain, []int{0, 1, 4, 5, 6, 7}, nil}, // three are of their own kind
		{"heavy=4,recent=2,cross=1", plain, []int{0, 1, 2, 3, 6, 7}, nil},
		{"heavy=4,recent=2", both, []int{0, 1, 2, 3, 6, 7}, nil},
		{"heavy=4,recent=2,decode=extra,extra=1", plain, []int{0, 1, 2, 3, 4, 6, 7}, []float32{.5930, .8853}}, // 3 holds the term
		{"heavy=4,recent=2,decode=mass", plain, []int{0, 1, 2, 4, 6, 7}, []float32{.4950, .7390}},
		{"heavy=4,recent=2,decode=mean", plain, []int{0, 1, 2, 4, 6, 7}, []float32{.6989, .8410}},
		{"heavy=2,recent=2,bias=0", plain, []int{0, 1, 2, 4}, nil},
		{"heavy=2,recent=2,bias=1.5", plain, []int{0, 5, 6, 7}, nil},
		{"heavy=1,recent=1,bias=9", plain, []int{6, 7}, nil}, // never more than the budget
	} {
		l := cspExample()
		s := beginRequest(t, "csp:"+tc.options, cspShape, policy.Request{Prompt: make([]int32, 8), Tags: tc.tags})
		compress(t, s, l)
		holds(t, tc.options, l, 0, tc.held...)
		if tc.out != nil {
			near(t, tc.options, l.Append([]float32{1, .8}, []float32{.5, .5}, []float32{1, 2}, nil), tc.out...)
		}
	}
}

// The term of decode stands for all that has been dropped.
func TestCSPTerm(t *testing.T) {
	l := cspExample()
	s := beginRequest(t, "csp:heavy=1,recent=1,bias=0,cross=0,decode=extra,extra=.5", cspShape, policy.Request{Prompt: make([]int32, 8), Tags: []uint8{0, 1, 1, 1, 1, 1, 1, 0}})
	compress(t, s, l)
	holds(t, "the term", l, 0, 0, 1, 7)
	c := l.Cells(0)[1]
	near(t, "logit", []float32{c.Bias}, -.6931)
	if c.Count != 6 {
		t.Errorf("the term is %+v, want 6 tokens", c)
	}
}

func TestCSPRefused(t *testing.T) {
	spec, err := policy.Parse("csp:decode=mass")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := spec.Method.New(spec.Values, policy.Shape{Layers: 1, Heads: 4, KVHeads: 2, Dim: 2}); !errors.Is(err, policy.ErrPolicy) {
		t.Errorf("two query heads that share a KV head: %v", err)
	}
	p, err := spec.Method.New(spec.Values, cspShape)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Begin(policy.Request{Prompt: make([]int32, 3), Tags: make([]uint8, 2)}); !errors.Is(err, policy.ErrPolicy) {
		t.Errorf("two tags of three tokens: %v", err)
	}
}
