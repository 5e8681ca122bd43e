package policy_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/policy"
	"nosa/policy/policytest"
)

// Every method as it is by default works on prompts that are shorter than what it wants to keep,
// and on a single token; the newest token is there when it attends.
func TestShortPrompts(t *testing.T) {
	shape := policy.Shape{Layers: 4, Heads: 4, KVHeads: 2, Dim: 6, Block: 4}
	rng := rand.New(rand.NewPCG(7, 8))
	draw := func(n int) []float32 {
		x := make([]float32, n)
		for i := range x {
			x[i] = float32(rng.NormFloat64())
		}
		return x
	}
	for _, m := range policy.Methods() {
		for _, prompt := range []int{1, 2, 3, 4, 5, 17, 33, 70, 101} {
			name := fmt.Sprintf("%s, %d tokens", m.Name(), prompt)
			r := policy.Request{
				Prompt: make([]int32, prompt), Text: func(int32) string { return "word" }, Special: func(int32) bool { return false },
			}
			s := beginRequest(t, m.Name(), shape, r)
			watch, _ := s.(policy.Watcher)
			l := policytest.New(shape, 2, make([]int32, prompt+5))
			next := s.Next(0)
			for pos := range prompt + 5 {
				out := l.Append(draw(4*6), draw(2*6), draw(2*6), watch)
				if slices.ContainsFunc(out, func(x float32) bool { return math.IsNaN(float64(x)) }) {
					t.Fatalf("%s: position %d gets %v", name, pos, out)
				}
				if pos+1 == next {
					if err := s.Compress(t.Context(), l); err != nil {
						t.Fatalf("%s: at %d tokens: %v", name, next, err)
					}
					next = s.Next(next)
				}
				if next <= pos+1 {
					t.Fatalf("%s: after %d tokens compresses at %d", name, pos+1, next)
				}
			}
		}
	}
}
