package policy_test

import (
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

// between are the numbers from a to b−1.
func between(a, b int) []int {
	var list []int
	for ; a < b; a++ {
		list = append(list, a)
	}
	return list
}
