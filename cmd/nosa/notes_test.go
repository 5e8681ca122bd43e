package main

import (
	"strings"
	"testing"

	"github.com/mattn/go-runewidth"
)

func TestWrap(t *testing.T) {
	const line = "cpu; attention full; weights 92.1MiB; KV of 4324 tokens"
	for name, tc := range map[string]struct {
		text  string
		width int
		want  string
	}{
		"fits":        {line, 80, line},
		"exact":       {"ab cd", 5, "ab cd"},
		"one over":    {"ab cde", 5, "ab\n  cde"},
		"long word":   {"a bcdefghij k", 6, "a\n  bcdefghij\n  k"},
		"wide runes":  {"鲸鱼 鲸鱼 鲸", 9, "鲸鱼 鲸鱼\n  鲸"},
		"no width":    {line, 0, line},
		"no room":     {line, 4, line},
		"empty":       {"", 10, ""},
		"two breaks":  {"aaa bbb ccc", 5, "aaa\n  bbb\n  ccc"},
		"indent fits": {"aaaa bb cc", 7, "aaaa bb\n  cc"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := wrap(tc.text, tc.width); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
	for width := 12; width < 80; width++ {
		for _, l := range strings.Split(wrap(line, width), "\n") {
			if w := runewidth.StringWidth(l); w > width {
				t.Errorf("width %d: %q has %d cells", width, l, w)
			}
		}
	}
}
