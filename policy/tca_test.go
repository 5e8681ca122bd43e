package policy_test

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"testing"

	"nosa/policy"
)

// tcaExample is the weights of an event of 4 blocks of 4 tokens, and of one token behind it, which
// judges.
var tcaExample = []float64{.01, .01, .01, .01, .20, .02, .01, .01, .10, .08, .06, .08, .03, .01, .09, .03, .25}

func TestTCA(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 1, Block: 4}
	later := []float64{.005, .01, .005, .01, .22, .02, .01, .01, .09, .10, .05, .07, .02, .02, .08, .02, .26}
	for _, tc := range []struct {
		mu, sigma float64
		held      []int
		recall    float64
	}{
		{1, 1, []int{0, 4, 5, 8, 9, 10, 11, 12, 14, 16}, .915},
		{0, .5, []int{0, 4, 8, 14, 16}, .655},
		{1, .5, []int{0, 1, 4, 5, 8, 9, 10, 11, 12, 14, 16}, .925},
		{2, .5, between(0, 17), 1},
	} {
		name := fmt.Sprintf("tca:mu=%v,sigma=%v,event=4,sink=0,local=1,rows=1", tc.mu, tc.sigma)
		s, l := begin(t, name, shape, 17), told(tcaExample)
		if got := s.Next(0); got != 17 {
			t.Fatalf("judges at %d tokens, want 17", got)
		}
		compress(t, s, l)
		holds(t, name, l, 0, tc.held...)
		recall := 1.0
		for at, x := range later {
			recall -= x
			for _, held := range tc.held {
				if held == at {
					recall += x
				}
			}
		}
		if math.Abs(recall-tc.recall) > 1e-9 {
			t.Errorf("%s: recalls %.3f, want %.3f", name, recall, tc.recall)
		}
	}
}

// Events are judged at their lengths, or the prompt's at its end.
func TestTCANext(t *testing.T) {
	shape := policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 1, Block: 64}
	for name, lengths := range map[string][]int{
		"tca":            {1344, 2368, 3392, 4416},
		"tca:select=end": {3000, 3392, 4416},
	} {
		s := begin(t, name, shape, 3000)
		tokens := 0
		for _, want := range lengths {
			if got := s.Next(tokens); got != want {
				t.Errorf("%s: after %d tokens judges at %d, want %d", name, tokens, got, want)
			}
			if got := s.Next(want - 1); got != want {
				t.Errorf("%s: after %d tokens judges at %d, want %d", name, want-1, got, want)
			}
			tokens = want
		}
	}
}

// A head keeps what its profile says.
func TestTCAProfile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "profile.json")
	profile := `{"format":"nosa-tca-1","model":"m","block":4,"event":4,"sink":0,"local":1,"rows":1,"tau":0.9,"heads":[[{"mu":1,"sigma":1,"counts":%s}]]}`
	shape := policy.Shape{Layers: 1, Heads: 1, KVHeads: 1, Dim: 1, Block: 4}
	for counts, want := range map[string][]int{"[1,2,1]": {0, 4, 5, 8, 9, 10, 11, 12, 14, 16}, "[4,0,0]": {0, 4, 8, 14, 16}, "[0,0,4]": between(0, 17)} {
		if err := os.WriteFile(name, fmt.Appendf(nil, profile, counts), 0o600); err != nil {
			t.Fatal(err)
		}
		s, l := begin(t, "tca:profile="+name, shape, 17), told(tcaExample)
		compress(t, s, l)
		holds(t, counts, l, 0, want...)
	}
	spec, err := policy.Parse("tca:profile=" + name)
	if err != nil {
		t.Fatal(err)
	}
	for what, s := range map[string]policy.Shape{
		"layers": {Layers: 2, Heads: 1, KVHeads: 1, Dim: 1, Block: 4}, "heads": {Layers: 1, Heads: 2, KVHeads: 2, Dim: 1, Block: 4},
		"blocks": {Layers: 1, Heads: 1, KVHeads: 1, Dim: 1, Block: 8}, "odd blocks": {Layers: 1, Heads: 1, KVHeads: 1, Dim: 1, Block: 6},
	} {
		if _, err := spec.Method.New(spec.Values, s); err == nil {
			t.Errorf("a profile of another model is taken: other %s", what)
		}
	}
	for _, name := range []string{"tca:rows=9,local=8", "tca:profile=" + name + ".none"} {
		spec, err := policy.Parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := spec.Method.New(spec.Values, shape); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
