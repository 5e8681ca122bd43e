package corpus

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// numbered makes documents whose tokens are all different, so that a token tells where it is from.
func numbered(t testing.TB, lengths []int, from int) *Set {
	t.Helper()
	docs := make([][]int32, len(lengths))
	id := int32(from)
	for d, n := range lengths {
		for range n {
			docs[d] = append(docs[d], id)
			id++
		}
	}
	return madeSet(t, docs, 150)
}

// checkBatch holds a batch against what every batch is.
func checkBatch(t *rapid.T, b *Batch, context int, next map[int32]int32) {
	n := len(b.Tokens)
	if b.Begins[0] != 0 || int(b.Begins[len(b.Begins)-1]) != n {
		t.Fatalf("begins %v of %d rows", b.Begins, n)
	}
	for i := 1; i < len(b.Begins); i++ {
		if length := b.Begins[i] - b.Begins[i-1]; length < 1 || int(length) > context {
			t.Fatalf("a document of %d tokens, the context has %d", length, context)
		}
		for r := b.Begins[i-1]; r < b.Begins[i]; r++ {
			want, ok := next[b.Tokens[r]]
			if !ok {
				want = -1
			}
			if b.Targets[r] != want {
				t.Fatalf("row %d: token %d has target %d, want %d", r, b.Tokens[r], b.Targets[r], want)
			}
			if r+1 < b.Begins[i] && b.Tokens[r+1] != want {
				t.Fatalf("row %d: %d follows %d", r+1, b.Tokens[r+1], b.Tokens[r])
			}
		}
	}
}

func TestSampler(t *testing.T) {
	outer := t
	rapid.Check(t, func(t *rapid.T) {
		count := rapid.IntRange(1, 3).Draw(t, "sources")
		context := rapid.IntRange(1, 40).Draw(t, "context")
		weighted := rapid.Bool().Draw(t, "weighted")
		c := SamplerConfig{Seed: rapid.Uint64().Draw(t, "seed"), Context: context}
		next := map[int32]int32{}
		owner := map[int32]int{}
		var shares []float64
		total, id := 0.0, 0
		for i := range count {
			lengths := rapid.SliceOfN(rapid.IntRange(1, 60), 1, 12).Draw(t, "lengths")
			set := numbered(outer, lengths, id)
			for _, n := range lengths {
				for k := range n {
					owner[int32(id)] = i
					if k+1 < n {
						next[int32(id)] = int32(id + 1)
					}
					id++
				}
			}
			w := 0.0
			share := float64(set.Tokens())
			if weighted {
				w = rapid.Float64Range(0.05, 1).Draw(t, "weight")
				share = w
			}
			c.Sources = append(c.Sources, Source{Name: "it", Set: set, Weight: w})
			shares, total = append(shares, share), total+share
		}
		s, err := NewSampler(c)
		if err != nil {
			t.Fatal(err)
		}
		served := make([]int, count)
		times := map[int32]int{}
		tokens := 0
		var states []State
		var batches []Batch
		for range rapid.IntRange(1, 30).Draw(t, "batches") {
			states = append(states, s.State())
			b := NewBatch(rapid.IntRange(1, 3*context).Draw(t, "rows"))
			if err := s.Next(b); err != nil {
				t.Fatal(err)
			}
			checkBatch(t, b, context, next)
			for _, id := range b.Tokens {
				served[owner[id]]++
				times[id]++
			}
			tokens += len(b.Tokens)
			batches = append(batches, *b)
		}
		// Weights hold: each source is within a sequence of each of its lanes, and of the others'.
		for i := range served {
			if want := float64(tokens) * shares[i] / total; math.Abs(float64(served[i])-want) > float64(2*context*len(s.lanes)) {
				t.Fatalf("source %d of %d tokens, want %v", i, served[i], want)
			}
		}
		// Each token comes once an epoch: within a lane no token is two ahead of another.
		for _, l := range s.lanes {
			l := l.(*spanLane)
			for i := range l.count {
				sp := l.span(i)
				ids := make([]int32, sp.length)
				if err := l.set.read(sp.document, sp.begin, ids); err != nil {
					t.Fatal(err)
				}
				for _, id := range ids {
					if n := uint64(times[id]); n != l.epoch && n != l.epoch+1 {
						t.Fatalf("token %d came %d times in epoch %d", id, n, l.epoch)
					}
					delete(times, id)
				}
			}
		}
		if len(times) != 0 {
			t.Fatalf("%d tokens are in no lane", len(times))
		}
		// What was kept as JSON brings the same batches.
		k := rapid.IntRange(0, len(states)-1).Draw(t, "resume")
		var kept State
		if b, err := json.Marshal(states[k]); err != nil {
			t.Fatal(err)
		} else if err := json.Unmarshal(b, &kept); err != nil {
			t.Fatal(err)
		}
		other, err := NewSampler(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Restore(kept); err != nil {
			t.Fatal(err)
		}
		for _, want := range batches[k:] {
			b := NewBatch(len(want.Tokens))
			if err := other.Next(b); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(*b, want) {
				t.Fatalf("after %d batches: %v, want %v", k, *b, want)
			}
		}
		if !reflect.DeepEqual(other.State(), s.State()) {
			t.Fatal("ended elsewhere")
		}
	})
}

// TestSequences: where batches are whole sequences, windows are never cut, and batches of any number of sequences bring the
// same tokens.
func TestSequences(t *testing.T) {
	const context = 16
	set := numbered(t, []int{100, 3, 16, 50, 7, 33, 1, 64}, 0)
	serve := func(sequences int) (tokens []int32, begins int) {
		s, err := NewSampler(SamplerConfig{Seed: 7, Context: context, Sources: []Source{{Set: set}}})
		if err != nil {
			t.Fatal(err)
		}
		for len(tokens) < 60*context {
			b := NewBatch(sequences * context)
			if err := s.Next(b); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(b.Begins); i++ {
				if crossed := int(b.Begins[i]-1)/context != int(b.Begins[i-1])/context; crossed {
					t.Fatalf("a document lies in two sequences: %v", b.Begins)
				}
				if b.Begins[i]-b.Begins[i-1] == context {
					begins++
				}
			}
			tokens = append(tokens, b.Tokens...)
		}
		return tokens, begins
	}
	one, whole := serve(1)
	if whole < 30 {
		t.Errorf("%d whole windows in 60 sequences", whole)
	}
	for _, n := range []int{2, 3, 5} {
		if more, _ := serve(n); !slices.Equal(more, one) {
			t.Errorf("%d sequences a batch bring other tokens", n)
		}
	}
	first := slices.Clone(one[:20*context])
	if second := one[20*context : 40*context]; slices.Equal(first, second) {
		t.Error("epochs have the same order")
	}
}

func TestSamplerRefuses(t *testing.T) {
	set := numbered(t, []int{5, 6}, 0)
	needles := &Needles{}
	for want, c := range map[string]SamplerConfig{
		"a context of 0":           {Sources: []Source{{Set: set}}},
		"no sources":               {Context: 1},
		"either a set or needles":  {Context: 1, Sources: []Source{{}}},
		"weight -1":                {Context: 1, Sources: []Source{{Set: set, Weight: -1}}},
		"weight NaN":               {Context: 1, Sources: []Source{{Set: set, Weight: math.NaN()}}},
		"needles have no size":     {Context: 1, Sources: []Source{{Needles: needles}}},
		"1 of 2 sources":           {Context: 1, Sources: []Source{{Set: set, Weight: 1}, {Set: set}}},
		"want either":              {Context: 1, Sources: []Source{{Set: set, Needles: needles, Weight: 1}}},
		"a context of 99999999999": {Context: 99999999999, Sources: []Source{{Set: set}}},
	} {
		if _, err := NewSampler(c); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	c := SamplerConfig{Context: 4, Sources: []Source{{Set: set}}}
	s, err := NewSampler(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Next(&Batch{}); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
	good := s.State()
	for _, edit := range []func(*State){
		func(st *State) { st.Order = "" }, func(st *State) { st.Lanes = st.Lanes[:1] },
		func(st *State) { st.Lanes[0].Index = 99 }, func(st *State) { st.Lanes[0].Offset = 4 },
	} {
		bad := State{good.Order, slices.Clone(good.Lanes)}
		edit(&bad)
		if err := s.Restore(bad); !errors.Is(err, ErrState) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
	c.Seed = 1
	other, err := NewSampler(c)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Restore(good); !errors.Is(err, ErrState) {
		t.Error(err)
	}
}

func TestPermute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.Uint64Range(1, 5000).Draw(t, "n")
		seed := rapid.Uint64().Draw(t, "seed")
		seen := make([]bool, n)
		for i := range n {
			p := permute(seed, i, n)
			if p >= n || seen[p] {
				t.Fatalf("%d comes twice, or not below %d", p, n)
			}
			seen[p] = true
		}
	})
	// Neighbours do not stay together, and the order is that of every machine.
	together := 0
	for i := range uint64(9999) {
		if a, b := permute(1, i, 10000), permute(1, i+1, 10000); a+1 == b || b+1 == a {
			together++
		}
	}
	if together > 20 {
		t.Errorf("%d neighbours of 9999 stay together, chance gives 2", together)
	}
	if got, want := [3]uint64{permute(1, 0, 10000), permute(1, 1, 10000), permute(2, 0, 10000)}, [3]uint64{748, 7356, 792}; got != want {
		t.Errorf("%v, want %v", got, want)
	}
}
