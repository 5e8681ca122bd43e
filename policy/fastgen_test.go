package policy_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

// fastgenText is a prompt of 10 tokens and two more: 0 is a marker, 4, 7 and 11 are signs.
func fastgenText(prompt int) policy.Request {
	r := policy.Request{Special: func(id int32) bool { return id == 0 }, Text: func(id int32) string {
		return map[int32]string{0: "<s>", 4: ".", 7: "?!", 11: " ,"}[id] + map[bool]string{true: "a."}[id == 3]
	}}
	for i := range prompt {
		r.Prompt = append(r.Prompt, int32(i))
	}
	return r
}

// fastgenExample makes rows of a layer in which each of five heads attends to a token as much as
// the token has of weight there, and the fourth 16 times as much to the newest three.
func fastgenExample() (shape policy.Shape, row func(pos int) (q, k []float32)) {
	weights := [][]float64{
		{200, 1, 1, 1, 1, 1, 1, 1, 1, 1}, {40, 1, 1, 1, 25, 1, 1, 25, 1, 1}, {10, 1, 40, 1, 1, 40, 1, 1, 1, 1},
		{4, 1, 10, 1, 1, 10, 1, 1, 1, 1}, {1, 1, 1, 1, 1, 1, 1, 1, 1, 1},
	}
	shape = policy.Shape{Layers: 1, Heads: 5, KVHeads: 5, Dim: 13, Block: 4}
	return shape, func(pos int) (q, k []float32) {
		q, k = make([]float32, 5*13), make([]float32, 5*13)
		for h, w := range weights {
			root := float32(math.Sqrt(13))
			q[h*13] = root
			if h == 3 {
				for near := max(0, pos-2); near <= pos; near++ {
					q[h*13+1+near] = root * float32(math.Log(16))
				}
			}
			if pos < len(w) {
				k[h*13] = float32(math.Log(w[pos]))
			}
			k[h*13+1+pos] = 1
		}
		return q, k
	}
}

func TestFastGen(t *testing.T) {
	shape, row := fastgenExample()
	s := beginRequest(t, "fastgen:recover=.94", shape, fastgenText(10))
	l := policytest.New(shape, 0, fastgenText(12).Prompt)
	want := map[int][][]int{
		9:  {{0}, {0, 4, 7}, {0, 2, 4, 5, 7}, {0, 2, 4, 5, 7, 8, 9}, between(0, 10)},
		10: {{0}, {0, 4, 7}, {0, 2, 4, 5, 7}, {0, 2, 4, 5, 7, 8, 9, 10}, between(0, 11)},
		11: {{0}, {0, 4, 7, 11}, {0, 2, 4, 5, 7, 11}, {0, 2, 4, 5, 7, 8, 9, 10, 11}, between(0, 12)},
	}
	next := s.Next(0)
	for pos := range 12 {
		q, k := row(pos)
		l.Append(q, k, k, s.(policy.Watcher))
		if pos+1 != next {
			continue
		}
		compress(t, s, l)
		next = s.Next(next)
		for h, held := range want[pos] {
			holds(t, fmt.Sprint("after position ", pos), l, h, held...)
		}
	}
	if next != 13 {
		t.Errorf("would go on at %d tokens, want 13", next)
	}
}

// The share of its weights that each rule recovers decides, to the fourth digit.
func TestFastGenRecovery(t *testing.T) {
	for _, tc := range []struct {
		head     int
		recovery []float64 // of the rules that keep ever more
		held     []int     // tokens that each keeps
	}{
		{0, []float64{.9782, .9825, .9908, .9966, 1}, []int{1, 3, 5, 7, 10}},
		{1, []float64{.6848, .9497, .9497, .9789, 1}, []int{1, 3, 3, 5, 10}},
		{2, []float64{.3013, .3115, .9635, .9876, 1}, []int{1, 3, 5, 7, 10}},
		{3, []float64{.2271, .3038, .8315, .9905, 1}, []int{1, 3, 5, 7, 10}},
		{4, []float64{.2929, .4111, .7469, .9210, 1}, []int{1, 3, 5, 7, 10}},
	} {
		for r, recovery := range tc.recovery {
			for _, off := range []float64{-1e-4, 1e-4} {
				want := tc.held[r]
				if off > 0 { // the next rule that recovers more
					next := slices.IndexFunc(tc.recovery, func(x float64) bool { return x > recovery+off })
					if next < 0 {
						continue
					}
					want = tc.held[next]
				}
				if got := fastgenHolds(t, fmt.Sprintf("fastgen:recover=%.5f", recovery+off), tc.head); got != want {
					t.Errorf("head %d holds %d of the prompt's tokens to recover %.5f, want %d", tc.head, got, recovery+off, want)
				}
			}
		}
	}
	for options, want := range map[string][]int{ // by head
		"recover=0":                        {1, 1, 1, 1, 1},
		"recover=0,sinks=3":                {3, 3, 3, 3, 3},
		"recover=.94,frequent=.05,local=0": {1, 3, 10, 10, 10},
	} {
		for h, n := range want {
			if got := fastgenHolds(t, "fastgen:"+options, h); got != n {
				t.Errorf("%s: head %d holds %d, want %d", options, h, got, n)
			}
		}
	}
}

// fastgenHolds is how many of the example's prompt a head holds.
func fastgenHolds(t *testing.T, name string, head int) int {
	t.Helper()
	shape, row := fastgenExample()
	s := beginRequest(t, name, shape, fastgenText(10))
	l := policytest.New(shape, 0, fastgenText(10).Prompt)
	for pos := range 10 {
		q, k := row(pos)
		l.Append(q, k, k, s.(policy.Watcher))
	}
	compress(t, s, l)
	return len(l.Positions(head))
}
