package policy_test

import (
	"encoding/json"
	"os"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/policy"
	"nosa/policy/policytest"
)

// kept is testdata/kept.json: what a computation in NumPy keeps (scripts/oracles/policies.py).
type kept struct {
	Heads   int       `json:"heads"`
	KVHeads int       `json:"kv_heads"`
	Dim     int       `json:"dim"`
	Prompt  int       `json:"prompt"`
	Block   int       `json:"block"`
	Inv     []float32 // of the rotation of keys
	Factor  float32
	IDs     []int32 // of the text: 1 is a marker, 2 is punctuation
	Tags    []int   // of the prompt
	Inputs  []struct{ Q, K, V []float32 }
	Cases   []struct {
		Policy  string
		Input   int
		Kept    [][][]int     // by length, from the prompt's on, and KV head
		Outputs [][][]float32 // by length and query head
	}
}

func TestKept(t *testing.T) {
	b, err := os.ReadFile("testdata/kept.json")
	if err != nil {
		t.Fatal(err)
	}
	var want kept
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	shape := policy.Shape{Layers: 1, Heads: want.Heads, KVHeads: want.KVHeads, Dim: want.Dim, Block: want.Block, Rope: &compute.Rope{Inv: want.Inv, Factor: want.Factor}}
	qw, kw := want.Heads*want.Dim, want.KVHeads*want.Dim
	tags := make([]uint8, len(want.Tags))
	for i, tag := range want.Tags {
		tags[i] = uint8(tag)
	}
	for _, tc := range want.Cases {
		in := want.Inputs[tc.Input]
		state := beginRequest(t, tc.Policy, shape, policy.Request{
			Prompt:  want.IDs[:want.Prompt],
			Tags:    tags,
			Special: func(id int32) bool { return id == 1 },
			Text:    func(id int32) string { return map[int32]string{0: "word", 2: ","}[id] },
		})
		watch, _ := state.(policy.Watcher)
		l := policytest.New(shape, 0, want.IDs)
		next := state.Next(0)
		for pos := range want.Prompt + len(tc.Kept) - 1 {
			out := l.Append(in.Q[pos*qw:(pos+1)*qw], in.K[pos*kw:(pos+1)*kw], in.V[pos*kw:(pos+1)*kw], watch)
			if pos+1 == next {
				if err := state.Compress(t.Context(), l); err != nil {
					t.Fatal(err)
				}
				next = state.Next(next)
			}
			at := pos + 1 - want.Prompt
			if at < 0 {
				continue
			}
			for h, positions := range tc.Kept[at] {
				if got := l.Positions(h); !slices.Equal(got, positions) {
					t.Fatalf("%s, input %d, %d tokens, head %d: holds %v, want %v", tc.Policy, tc.Input, pos+1, h, got, positions)
				}
			}
			for h, row := range tc.Outputs[at] {
				for d, x := range row {
					if got := out[h*want.Dim+d]; max(got-x, x-got) > 1e-5 {
						t.Fatalf("%s, input %d, position %d, head %d: %v, want %v in channel %d", tc.Policy, tc.Input, pos, h, got, x, d)
					}
				}
			}
		}
	}
}

// begin is the state of a policy for a prompt of n tokens.
func begin(t *testing.T, name string, shape policy.Shape, n int) policy.State {
	t.Helper()
	return beginRequest(t, name, shape, policy.Request{Prompt: make([]int32, n)})
}

func beginRequest(t *testing.T, name string, shape policy.Shape, r policy.Request) policy.State {
	t.Helper()
	spec, err := policy.Parse(name)
	if err != nil {
		t.Fatal(err)
	}
	p, err := spec.Method.New(spec.Values, shape)
	if err != nil {
		t.Fatal(err)
	}
	s, err := p.Begin(r)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A lot falls the same way each time, by seed, layer and head, and keeps the budget.
func TestRandom(t *testing.T) {
	shape := policy.Shape{Layers: 2, Heads: 2, KVHeads: 2, Dim: 1}
	draw := func(name string, layer int) [][]int {
		l := policytest.New(shape, layer, nil)
		for range 100 {
			l.Append([]float32{1, 1}, []float32{1, 1}, []float32{1, 1}, nil)
		}
		if err := begin(t, name, shape, 100).Compress(t.Context(), l); err != nil {
			t.Fatal(err)
		}
		return [][]int{l.Positions(0), l.Positions(1)}
	}
	a := draw("random:keep=30,window=10", 0)
	for _, list := range a {
		if len(list) != 30 || list[20] != 90 {
			t.Errorf("30 of 100, 10 of them the newest: %v", list)
		}
	}
	if b := draw("random:keep=30%,window=10", 0); !slices.Equal(a[0], b[0]) || !slices.Equal(a[1], b[1]) {
		t.Errorf("drawn again: %v, was %v", b, a)
	}
	for name, other := range map[string][]int{
		"head": a[1], "layer": draw("random:keep=30,window=10", 1)[0], "seed": draw("random:keep=30,window=10,seed=1", 0)[0],
	} {
		if slices.Equal(a[0], other) {
			t.Errorf("another %s draws the same", name)
		}
	}
	if b := draw("random:keep=5,window=10", 0); !slices.Equal(b[0], []int{95, 96, 97, 98, 99}) {
		t.Errorf("a window above the budget: %v", b[0])
	}
}
