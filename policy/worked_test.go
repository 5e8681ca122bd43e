package policy_test

import (
	"math"
	"slices"
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

// The tests of the published methods walk through worked examples: small numbers, rounded to
// four digits, that have been computed by hand from the papers' equations.

// rounded is how far a number may be from one that is rounded to four digits.
const rounded = 6e-5

func near(t *testing.T, what string, got []float32, want ...float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %v, want %v", what, got, want)
	}
	for i, x := range got {
		if d := x - want[i]; d != d || max(d, -d) > rounded {
			t.Errorf("%s: %v, want %v", what, got, want)
			return
		}
	}
}

func holds(t *testing.T, what string, l *policytest.Layer, head int, want ...int) {
	t.Helper()
	if got := l.Positions(head); !slices.Equal(got, want) {
		t.Errorf("%s: head %d holds %v, want %v", what, head, got, want)
	}
}

func compress(t *testing.T, s policy.State, l policy.Layer) {
	t.Helper()
	if err := s.Compress(t.Context(), l); err != nil {
		t.Fatal(err)
	}
}

// attend is what a query of the only query head gets from what a layer holds, without a token of
// its own.
func attend(t *testing.T, l *policytest.Layer, q []float32) []float32 {
	t.Helper()
	k, err := l.Keys(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	v, err := l.Values(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	dim := len(q)
	out, sum := make([]float64, dim), 0.0
	for i, c := range l.Cells(0) {
		x := float64(c.Bias)
		for d := range q {
			x += float64(q[d]) * float64(k[i*dim+d]) / math.Sqrt(float64(dim))
		}
		sum += math.Exp(x)
		for d := range out {
			out[d] += math.Exp(x) * float64(v[i*dim+d])
		}
	}
	list := make([]float32, dim)
	for d := range list {
		list[d] = float32(out[d] / sum)
	}
	return list
}

// between are the numbers from a to b−1.
func between(a, b int) []int {
	var list []int
	for ; a < b; a++ {
		list = append(list, a)
	}
	return list
}
