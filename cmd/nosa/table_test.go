package main

import (
	"strings"
	"testing"
)

func TestTable(t *testing.T) {
	tb := newTable("tier", "blocks", "bytes", "note")
	tb.row("device", "12", "384.0 KiB", "")
	tb.row("host", "3456", "1.2 GiB", "pinned")
	tb.row("世界", "1")
	tb.row("evil\x1b[2J\nname", "1", "2", "3", "dropped")
	want := "" +
		"tier           blocks      bytes  note\n" +
		"device             12  384.0 KiB\n" +
		"host             3456    1.2 GiB  pinned\n" +
		"世界                1\n" +
		"evil?[2J?name       1          2  3\n"
	if got := tb.String(); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if got := newTable("a", "b").String(); got != "" {
		t.Errorf("a table without rows prints %q", got)
	}
	bare := newTable("", "")
	bare.row("format", "1")
	bare.row("x", "22")
	if got, want := bare.String(), "format   1\nx       22\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestPrintable(t *testing.T) {
	for in, want := range map[string]string{
		"plain ü 世": "plain ü 世", "a\tb": "a?b", "\x1b]0;title\x07": "?]0;title?", "\u202egpj.exe": "?gpj.exe", "bad \xff": "bad ?", "\u009b2J": "?2J",
		strings.Repeat("x", 300): strings.Repeat("x", 120) + "…",
	} {
		if got := printable(in, 120); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}
