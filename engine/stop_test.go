package engine

import (
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
)

// stopped is the definition: the text up to the stop string whose end comes first, of
// those that end there the longest.
func stopped(text string, list []string) (before, found string) {
	for end := 1; end <= len(text); end++ {
		for _, s := range list {
			if strings.HasSuffix(text[:end], s) && len(s) > len(found) {
				found = s
			}
		}
		if found != "" {
			return text[:end-len(found)], found
		}
	}
	return text, ""
}

// TestStops cuts random texts of few letters into random pieces.
func TestStops(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	word := func(n int) string {
		b := make([]byte, n)
		for i := range b {
			b[i] = "ab"[rnd.IntN(2)]
		}
		return string(b)
	}
	found := 0
	for range 20000 {
		var list []string
		for range rnd.IntN(4) {
			list = append(list, word(1+rnd.IntN(8)))
		}
		text := word(rnd.IntN(60))
		want, wantFound := stopped(text, list)
		s := newStops(list)
		var got strings.Builder
		var gotFound string
		for rest := text; rest != "" && gotFound == ""; {
			n := 1 + rnd.IntN(len(rest))
			var piece string
			piece, gotFound = s.push(rest[:n])
			got.WriteString(piece)
			rest = rest[n:]
			// What is held back begins one of the strings.
			if held := string(s.held); held != "" {
				begins := false
				for _, p := range list {
					begins = begins || strings.HasPrefix(p, held) && len(held) < len(p)
				}
				if !begins {
					t.Fatalf("%q of %q: %q is held back", text, list, held)
				}
			}
		}
		got.WriteString(s.flush())
		if got.String() != want || gotFound != wantFound {
			t.Fatalf("%q, stops %q: %q before %q, want %q before %q", text, list, got.String(), gotFound, want, wantFound)
		}
		if wantFound != "" {
			found++
		}
	}
	if found == 0 {
		t.Error("none was found")
	}
}

func TestCheckStops(t *testing.T) {
	for name, list := range map[string][]string{
		"empty": {"a", ""}, "long": {strings.Repeat("x", MaxStopBytes+1)}, "many": strings.Split(strings.Repeat("x", MaxStops+1), ""),
	} {
		if err := checkStops(list); !errors.Is(err, ErrOptions) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := checkStops([]string{"a", strings.Repeat("x", MaxStopBytes)}); err != nil {
		t.Error(err)
	}
}
