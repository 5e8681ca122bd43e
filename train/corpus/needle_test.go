package corpus

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func needlesOf(t testing.TB, c NeedleConfig) *Needles {
	t.Helper()
	n, err := NewNeedles(c)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestNeedles(t *testing.T) {
	v := vocabulary(t, "smollm2")
	filler := built(t, Options{Vocabulary: v, Path: texts(t, prose(1, 30000), prose(2, 100), prose(3, 9000))})
	rapid.Check(t, func(t *rapid.T) {
		c := NeedleConfig{Vocabulary: v, Seed: rapid.Uint64().Draw(t, "seed"), HeldOut: rapid.Bool().Draw(t, "held")}
		if rapid.Bool().Draw(t, "text") {
			c.Filler = filler
		}
		c.Keys = rapid.IntRange(1, 12).Draw(t, "keys")
		c.Questions = rapid.IntRange(1, c.Keys).Draw(t, "questions")
		c.Digits = rapid.IntRange(2, 7).Draw(t, "digits")
		c.AnswerOnly = rapid.Bool().Draw(t, "only")
		n, err := NewNeedles(c)
		if err != nil {
			t.Fatal(err)
		}
		length := rapid.IntRange(1, 3000).Draw(t, "length")
		i := rapid.Uint64().Draw(t, "i")
		d, err := n.Document(i, length)
		if err != nil {
			t.Fatal(err)
		}
		if len(d.Tokens) != length || len(d.Targets) != length {
			t.Fatalf("%d tokens and %d targets, want %d", len(d.Tokens), len(d.Targets), length)
		}
		if again, err := n.Document(i, length); err != nil || !reflect.DeepEqual(again, d) {
			t.Fatal("another document the second time")
		}
		if length > 2000 && len(d.Answers) != c.Questions {
			t.Fatalf("%d answers of %d", len(d.Answers), c.Questions)
		}
		due := map[int]bool{}
		for _, a := range d.Answers {
			text := v.Decode(d.Tokens[:a.Row], true)
			sentence := "\nThe number of " + a.Key + " is " + a.Value + ".\n"
			if strings.Count(text, sentence) != 1 || !strings.HasPrefix(v.Decode(d.Tokens[a.Needle:], true), sentence) {
				t.Fatalf("%q is not in %q", sentence, text)
			}
			if !strings.HasSuffix(text, "\nWhat is the number of "+a.Key+"? The number of "+a.Key+" is") || len(a.Value) != c.Digits {
				t.Fatalf("%q does not ask for %s, of %s", text, a.Key, a.Value)
			}
			if got := d.Tokens[a.Row : a.Row+len(a.Tokens)]; !slices.Equal(got, a.Tokens) || v.Decode(got, true) != " "+a.Value {
				t.Fatalf("answer %q, want %s", v.Decode(got, true), a.Value)
			}
			for k := range len(a.Tokens) + 1 { // and the full stop
				due[a.Row-1+k] = true
			}
		}
		for r, target := range d.Targets {
			want := int32(-1)
			if r+1 < length && (due[r] || !c.AnswerOnly) {
				want = d.Tokens[r+1]
			}
			if target != want {
				t.Fatalf("row %d of %d: target %d, want %d", r, length, target, want)
			}
		}
	})
}

// TestNeedleKeys: held-out documents ask for keys that no other document has.
func TestNeedleKeys(t *testing.T) {
	v := vocabulary(t, "gpt2")
	var keys [2]map[string]bool
	for k, held := range []bool{false, true} {
		keys[k] = map[string]bool{}
		n := needlesOf(t, NeedleConfig{Vocabulary: v, Keys: 8, Questions: 8, HeldOut: held})
		for i := range uint64(200) {
			d, err := n.Document(i, 1000)
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range d.Answers {
				keys[k][a.Key] = true
			}
		}
	}
	for key := range keys[1] {
		if keys[0][key] {
			t.Errorf("%s is in both", key)
		}
	}
	if len(keys[0]) < 1000 || len(keys[1]) < 200 {
		t.Errorf("%d and %d keys", len(keys[0]), len(keys[1]))
	}
	for _, words := range [][]string{needleAdjectives, needleNouns} {
		if len(words) != 64 || len(slices.Compact(slices.Sorted(slices.Values(words)))) != 64 {
			t.Error("words come twice")
		}
	}
}

// TestNeedleDepths: needles lie anywhere in the text.
func TestNeedleDepths(t *testing.T) {
	n := needlesOf(t, NeedleConfig{Vocabulary: vocabulary(t, "gpt2"), Keys: 4})
	var quarters [4]int
	for i := range uint64(400) {
		d, err := n.Document(i, 4096)
		if err != nil {
			t.Fatal(err)
		}
		quarters[4*d.Answers[0].Needle/4096]++
	}
	for q, count := range quarters {
		if count < 70 || count > 130 {
			t.Errorf("quarter %d has %d of 400", q, count)
		}
	}
}

func TestNeedleLane(t *testing.T) {
	v := vocabulary(t, "gpt2")
	set := built(t, Options{Vocabulary: v, Path: texts(t, prose(1, 200000))})
	rapid.Check(t, func(t *rapid.T) {
		c := NeedleConfig{Vocabulary: v, Filler: set, Keys: 3, Questions: 2, AnswerOnly: true, Min: rapid.IntRange(60, 300).Draw(t, "min")}
		if rapid.Bool().Draw(t, "bounded") {
			c.Max = c.Min + rapid.IntRange(0, 400).Draw(t, "max")
		}
		n, err := NewNeedles(c)
		if err != nil {
			t.Fatal(err)
		}
		context := rapid.IntRange(1, 1500).Draw(t, "context")
		config := SamplerConfig{Seed: 3, Context: context, Sources: []Source{{Set: set, Weight: 1}, {Needles: n, Weight: 1}}}
		s, err := NewSampler(config)
		if err != nil {
			t.Fatal(err)
		}
		var batches []Batch
		var states []State
		for range 6 {
			states = append(states, s.State())
			b := NewBatch(2*context + 5)
			if err := s.Next(b); err != nil {
				t.Fatal(err)
			}
			for i := 1; i < len(b.Begins); i++ {
				if n := b.Begins[i] - b.Begins[i-1]; n < 1 || int(n) > context {
					t.Fatalf("begins %v with a context of %d", b.Begins, context)
				}
			}
			batches = append(batches, *b)
		}
		k := rapid.IntRange(0, 5).Draw(t, "resume")
		other, err := NewSampler(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Restore(states[k]); err != nil {
			t.Fatal(err)
		}
		for _, want := range batches[k:] {
			b := NewBatch(len(want.Tokens))
			if err := other.Next(b); err != nil || !reflect.DeepEqual(*b, want) {
				t.Fatalf("other batches after %d: %v", k, err)
			}
		}
	})
}

func TestNeedleLengths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := &Needles{c: NeedleConfig{Min: rapid.IntRange(1, 500).Draw(t, "min")}}
		if rapid.Bool().Draw(t, "bounded") {
			n.c.Max = n.c.Min + rapid.IntRange(0, 5000).Draw(t, "max")
		}
		room := rapid.IntRange(1, 20000).Draw(t, "room")
		r := random(rapid.Uint64().Draw(t, "seed"))
		whole := room
		for room > 0 {
			got := n.length(&r, room)
			switch {
			case got < 1 || got > room:
				t.Fatalf("%d of %d", got, room)
			case got < n.c.Min && whole >= n.c.Min:
				t.Fatalf("%d of %d, at least %d are wanted", got, room, n.c.Min)
			case n.c.Max > 0 && got > max(n.c.Max, 2*n.c.Min):
				t.Fatalf("%d of %d, at most %d are wanted", got, room, n.c.Max)
			}
			room -= got
		}
	})
}

func TestNeedlesRefuse(t *testing.T) {
	v := vocabulary(t, "gpt2")
	other := built(t, Options{Vocabulary: vocabulary(t, "llama3"), Path: texts(t, "text")})
	for want, c := range map[string]NeedleConfig{
		"without a vocabulary":      {},
		"2000 needles":              {Vocabulary: v, Keys: 2000},
		"2 questions for 1 needles": {Vocabulary: v, Questions: 2},
		"19 digits":                 {Vocabulary: v, Digits: 19},
		"documents of 9 to 8":       {Vocabulary: v, Min: 9, Max: 8},
		"-1 needles":                {Vocabulary: v, Keys: -1},
	} {
		if _, err := NewNeedles(c); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if _, err := NewNeedles(NeedleConfig{Vocabulary: v, Filler: other}); !errors.Is(err, ErrVocabulary) {
		t.Error(err)
	}
	if _, err := needlesOf(t, NeedleConfig{Vocabulary: v}).Document(1, 0); !errors.Is(err, ErrConfig) {
		t.Error(err)
	}
	// One digit has nine values: the tenth needle has one again.
	if _, err := needlesOf(t, NeedleConfig{Vocabulary: v, Keys: 20, Digits: 1}).Document(1, 2000); err != nil {
		t.Error(err)
	}
}
