package policy

import (
	"errors"
	"slices"
	"strings"
	"testing"
)

func TestLocalizes(t *testing.T) {
	filler := strings.Repeat("lorem ipsum ", 300)
	for prompt, want := range map[string]bool{
		"What is the PASS\n KEY":                   true,
		"Find  the\tneedle.":                       true,
		"where is it? " + strings.Repeat("x", 187): true,
		"where is it? " + strings.Repeat("x", 200): false,
		"Answer the question, then summarize.":     false,
		"based on the code: f(x)[0] = {1};":        false,
		"tell me a story":                          false,
		"":                                         false,
		"Question: what? " + filler:                true, // the beginning is read
		filler + "find the pot. " + filler:         false,
		filler + "According to whom":               true,
		strings.Repeat("f(x)[0] = {1}; ", 5) + filler + "based on the": true, // code counts at the end alone
	} {
		ids := []int32{0} // a token is a character, and 0 a marker that looks like code
		for _, c := range prompt {
			ids = append(ids, c)
		}
		r := Request{Prompt: ids, Special: func(id int32) bool { return id == 0 }, Text: func(id int32) string {
			if id == 0 {
				return "<[?]>"
			}
			return string(id)
		}}
		if got := localizes(r); got != want {
			t.Errorf("%.40q: localizes %v, want %v", prompt, got, want)
		}
		// What it wants decides how many of the newest tokens observe.
		p, err := windowkv{}.New(mustParse(t, "windowkv").Values, Shape{Layers: 1})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Begin(r)
		if err != nil {
			t.Fatal(err)
		}
		if got := s.(*windowkvState); got.spikes != want || got.observe != map[bool]int{true: 32, false: 16}[want] {
			t.Errorf("%.40q: %+v", prompt, got)
		}
	}
}

func mustParse(t *testing.T, s string) Spec {
	t.Helper()
	spec, err := Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return spec
}

// The budgets are those that the authors' code has for 32 layers.
func TestPyramid(t *testing.T) {
	for c, want := range map[int][]int{2048: {2926, 2341, 1756, 1170}, 1024: {1463, 1171, 879, 585}, 512: {732, 586, 440, 292}} {
		if got := pyramid(c, 8, 14, 4); !slices.Equal(got, want) {
			t.Errorf("%d tokens: %v, want %v", c, got, want)
		}
	}
	for layers, want := range map[int]int{1: 1, 2: 2, 13: 13, 17: 1, 30: 10, 32: 8, 36: 9} {
		p, err := windowkv{}.New(mustParse(t, "windowkv").Values, Shape{Layers: layers})
		if err != nil || p.(windowkvPolicy).layers != want {
			t.Errorf("%d layers: groups of %+v, %v, want %d", layers, p, err, want)
		}
	}
	for v, want := range map[string]int{"12%": 120, "5%": 64, "100": 100, "12.55%": 126} {
		p, err := windowkv{}.New(mustParse(t, "windowkv:task=localization,keep="+v).Values, Shape{Layers: 8})
		if err != nil {
			t.Fatal(err)
		}
		s, err := p.Begin(Request{Prompt: make([]int32, 1000)})
		if err != nil {
			t.Fatal(err)
		}
		if got := s.(*windowkvState).budgets; !slices.Equal(got, []int{want}) {
			t.Errorf("%s of 1000 tokens: %v, want %d", v, got, want)
		}
	}
	if _, err := (windowkv{}).New(mustParse(t, "windowkv:layers=15").Values, Shape{Layers: 30}); !errors.Is(err, ErrPolicy) {
		t.Errorf("a pyramid upside down: %v", err)
	}
}
