package policy

import (
	"errors"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for in, want := range map[string]string{
		"":                              "none",
		"none":                          "none",
		"snapkv":                        "snapkv:keep=1024,window=32,kernel=7,pool=max",
		"snapkv:keep=12.5%,pool=avg":    "snapkv:keep=12.5%,window=32,kernel=7,pool=avg",
		"streamingllm:sinks=0,recent=1": "streamingllm:sinks=0,recent=1",
	} {
		p, err := Parse(in)
		if err != nil || p.String() != want {
			t.Errorf("%q is %v, %v, want %s", in, p, err, want)
			continue
		}
		if again, err := Parse(p.String()); err != nil || again.String() != want {
			t.Errorf("%s is read as %v, %v", p, again, err)
		}
	}
	for in, want := range map[string]string{
		"snap":                     `"snap": use none, streamingllm, snapkv, h2o, random`,
		"snapkv:":                  `"" is not key=value`,
		"snapkv:window":            `"window" is not key=value`,
		"snapkv:windows=3":         `snapkv has no option "windows": it has keep, window, kernel, pool`,
		"snapkv:window=3,window=4": "window is given twice",
		"snapkv:window=0":          "window=0: want a number from 1 to 4096",
		"snapkv:window=1e3":        "window=1e3: want a number",
		"snapkv:keep=0":            "keep=0: want tokens from 1 on, or a share of the prompt as 25%",
		"snapkv:keep=NaN%":         "keep=NaN%: want",
		"snapkv:keep=101%":         "keep=101%: want",
		"snapkv:keep=99999999999":  "want tokens",
		"snapkv:pool=median":       "pool=median: want max, avg",
	} {
		if p, err := Parse(in); !errors.Is(err, ErrPolicy) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is %v, error %v, want %q", in, p, err, want)
		}
	}
	p, err := Parse("snapkv:kernel=4")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Method.New(p.Values, Shape{}); !errors.Is(err, ErrPolicy) {
		t.Errorf("an even kernel: %v", err)
	}
}

// What a method says of itself is whole: its defaults are values that it takes, so that the
// listing can be typed.
func TestMethods(t *testing.T) {
	seen := map[string]bool{"none": true}
	for _, m := range Methods() {
		if seen[m.Name()] || m.About() == "" {
			t.Errorf("%q is there twice, or says nothing of itself", m.Name())
		}
		seen[m.Name()] = true
		for _, o := range m.Options() {
			if !o.check(o.Default) || o.Accepts == "" || o.About == "" || strings.ContainsAny(o.Key+o.Default, ",=: ") {
				t.Errorf("%s: option %+v", m.Name(), o)
			}
		}
		p, err := Parse(m.Name())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.New(p.Values, Shape{Layers: 2, Heads: 4, KVHeads: 2, Dim: 8, Block: 64}); err != nil {
			t.Errorf("%s as it is by default: %v", m.Name(), err)
		}
	}
}

// A share is rounded down, but not by what float64 loses of it.
func TestAmount(t *testing.T) {
	for _, tc := range []struct {
		v       string
		n, want int
	}{{"7", 3, 7}, {"10%", 30, 3}, {"10%", 39, 3}, {"7%", 100, 7}, {"0.1%", 3, 0}, {"33.3%", 1000, 333}, {"100%", 12, 12}} {
		if got := (Values{"x": tc.v}).Amount("x", tc.n); got != tc.want {
			t.Errorf("%s of %d: %d, want %d", tc.v, tc.n, got, tc.want)
		}
	}
}
