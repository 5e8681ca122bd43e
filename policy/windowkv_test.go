package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

// windowExample is a layer with the example's prompt of 12 tokens.
func windowExample(layers, index int) *policytest.Layer {
	l := policytest.New(policy.Shape{Layers: layers, Heads: 2, KVHeads: 1, Dim: 2}, index, nil)
	k := []float32{1, 0, 0, 1, .5, .5, 1.2, 0, -1, 0, -1, -1, .8, .8, .9, .7, .7, .9, 0, -1, .2, .1, .1, .3}
	v := []float32{1, 0, 0, 1, 1, 1, 3, 0, 0, 0, 0, 0, 1, 2, 2, 1, 2, 2, 0, 3, 1, 0, 0, 1}
	q := make([]float32, 12*4)
	copy(q[10*4:], []float32{2, 0, 2, .5, 1.5, 1, 1, 1})
	l.Prompt(q, k, v, nil)
	return l
}

func TestWindowKV(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 2, KVHeads: 1, Dim: 2}
	for _, tc := range []struct {
		options string
		held    []int
		out     []float32
	}{
		{"keep=10,task=localization", between(0, 12), []float32{1.2729, 1.0369}},
		{"keep=3,task=localization", []int{3, 4, 5, 10, 11}, nil},
		{"keep=3,task=aggregation", []int{6, 7, 8, 10, 11}, nil},
		{"keep=6,task=localization", []int{3, 4, 5, 6, 7, 8, 10, 11}, []float32{1.5351, 1.1149}},
		{"keep=6,task=aggregation", []int{0, 1, 2, 6, 7, 8, 10, 11}, []float32{1.1461, 1.1507}},
		{"keep=3,task=aggregation,first=keep", []int{0, 1, 2, 10, 11}, nil},
		{"keep=1,task=aggregation,window=10", []int{10, 11}, nil}, // even one window would be too many
	} {
		options := "windowkv:observe=2,layers=1," + tc.options
		if !strings.Contains(options, "window=") {
			options += ",window=3"
		}
		s, l := begin(t, options, shape, 12), windowExample(1, 0)
		compress(t, s, l)
		holds(t, tc.options, l, 0, tc.held...)
		if tc.out != nil {
			near(t, tc.options, l.Append([]float32{1, 1, 0, 0}, []float32{.3, .3}, []float32{1, 1}, nil)[:2], tc.out...)
		}
	}
	// With nothing before the last queries the method is off.
	s, l := begin(t, "windowkv:observe=12,keep=1,task=localization,layers=1", shape, 12), windowExample(1, 0)
	compress(t, s, l)
	holds(t, "all observe", l, 0, between(0, 12)...)
}

// The layers of a group hold what their lowest one has chosen, whatever their own queries are.
func TestWindowKVGroups(t *testing.T) {
	shape := policy.Shape{Layers: 5, Heads: 2, KVHeads: 1, Dim: 2}
	// Budgets: 4·2/2 = 4 at the end, 8−4 = 4 at the beginning; the fifth layer joins the last group.
	s := begin(t, "windowkv:observe=2,window=3,keep=4,task=localization,layers=2,beta=2", shape, 12)
	for index := range 5 {
		l := windowExample(5, index)
		if index == 1 || index == 4 {
			l = policytest.New(shape, index, nil)
			l.Prompt(make([]float32, 12*4), make([]float32, 12*2), make([]float32, 12*2), nil)
		}
		compress(t, s, l)
		holds(t, fmt.Sprint("layer ", index), l, 0, 3, 4, 5, 6, 7, 8, 10, 11)
	}
	if s.Next(0) != 12 || s.Next(11) != 12 || s.Next(12) != policy.Never {
		t.Error("compresses at another length than the prompt's")
	}
}
