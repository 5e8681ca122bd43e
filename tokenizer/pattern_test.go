package tokenizer

import (
	"math/rand/v2"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"
)

// engineWriting gives, for patterns that the regular expression engine cannot read, one that means the same.
func engineWriting(p string) string {
	p = strings.ReplaceAll(p, `?+\p{L}+`, `?\p{L}+`)
	return strings.ReplaceAll(p, `++[\r\n]*|`, `+[\r\n]*|`)
}

// agreed keeps the characters whose properties are the same in Go's tables, which the engine uses, and in the reference's.
func agreed(s string) string {
	t := classes()
	return strings.Map(func(r rune) rune {
		c := t.of(r)
		for _, p := range []struct {
			class class
			table []*unicode.RangeTable
		}{
			{letter, []*unicode.RangeTable{unicode.L}}, {number, []*unicode.RangeTable{unicode.N}},
			{space, []*unicode.RangeTable{unicode.White_Space}}, {mark, []*unicode.RangeTable{unicode.M}},
			{upper, []*unicode.RangeTable{unicode.Lu, unicode.Lt}}, {lower, []*unicode.RangeTable{unicode.Ll}},
		} {
			if (c&p.class != 0) != unicode.In(r, p.table...) {
				return -1
			}
		}
		return r
	}, s)
}

// comparePattern holds a scanner against the engine.
func comparePattern(t *testing.T, pattern string, f scan, s string) {
	t.Helper()
	re, err := newRegex(engineWriting(pattern))
	if err != nil {
		t.Fatal(err)
	}
	var sc scratch
	want := re.matches(nil, s, &sc)
	if sc.err != nil {
		t.Skip(sc.err)
	}
	table := classes()
	at := 0
	for _, m := range want {
		if !m.found {
			t.Fatalf("%q: the pattern %s leaves %q out", s, pattern, s[m.start:m.end])
		}
		if m.start == m.end {
			continue
		}
		if end := f(table, s, at); end != m.end {
			t.Fatalf("%q: word at %d ends at %d, by the engine at %d\npattern %s", s, at, end, m.end, pattern)
		}
		at = m.end
	}
	if at != len(s) {
		t.Fatalf("%q: the engine stops at %d", s, at)
	}
}

// pieces are what the patterns tell apart.
var pieces = []string{
	"'s", "'S", "'ſ", "'ſt", "'re", "'RE", "'rE", "'Ve", "'ll", "'lL", "'d", "'M", "'", "''", "'x", "a", "Z", "é", "中", "ǅ", "ʰ", "ª", "ß",
	"\u0301", "\u0903", "1", "22", "4444", "½", "٣", "Ⅷ", ".", "!?", "/", "_", "🙂", "\u200d", "\ufffd", " ", "  ", "   ", "\t",
	"\n", "\r\n", "\n\n", "\u00a0", "\u2003", "\u3000", "\u0085", "\u2028", "\v", "\x00", "K", "ﬅ",
}

func TestPatterns(t *testing.T) {
	seed := uint64(20)
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	for pattern, f := range knownPatterns {
		for range 400 {
			var b strings.Builder
			for range r.IntN(12) {
				if r.IntN(8) == 0 {
					b.WriteRune(rune(r.IntN(0x3000)))
				} else {
					b.WriteString(pieces[r.IntN(len(pieces))])
				}
			}
			comparePattern(t, pattern, f, agreed(b.String()))
		}
	}
}

func FuzzPatterns(f *testing.F) {
	for _, p := range pieces {
		f.Add(p + " " + p + "a1" + p)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if len(s) > 1<<10 {
			t.Skip()
		}
		s = agreed(strings.ToValidUTF8(s, ""))
		for pattern, scan := range knownPatterns {
			comparePattern(t, pattern, scan, s)
		}
	})
}

// Every scanner goes forward by at least one byte on any bytes, and ends no later than the text.
func FuzzScan(f *testing.F) {
	f.Add("a\xff b\xc3 \xe4\xbd\n\r\x80'\xc5")
	f.Fuzz(func(t *testing.T, s string) {
		table := classes()
		for pattern, scan := range knownPatterns {
			for i := 0; i < len(s); {
				end := scan(table, s, i)
				if end <= i || end > len(s) {
					t.Fatalf("%q: word at %d ends at %d of %d\npattern %s", s, i, end, len(s), pattern)
				}
				i = end
			}
		}
	})
}

// The tables differ from Go's only where Go's Unicode is older: each code point that Go knows has the same class.
func TestClasses(t *testing.T) {
	table := classes()
	if len(table.data) > 256 {
		t.Fatalf("%d different pages, a byte counts 256", len(table.data))
	}
	younger := 0
	for r := rune(0); r <= unicode.MaxRune; r++ {
		if !utf8.ValidRune(r) {
			continue
		}
		c := table.of(r)
		if (c&space != 0) != unicode.IsSpace(r) {
			t.Errorf("%U: space %v, by Go %v", r, c&space != 0, unicode.IsSpace(r))
		}
		for name, p := range map[string][2]bool{
			"letter": {c&letter != 0, unicode.IsLetter(r)}, "number": {c&number != 0, unicode.IsNumber(r)},
			"mark": {c&mark != 0, unicode.IsMark(r)}, "lower": {c&lower != 0, unicode.Is(unicode.Ll, r)},
		} {
			if p[0] == p[1] {
				continue
			}
			younger++
			if p[1] || unicode.In(r, unicode.L, unicode.N, unicode.M, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Co) {
				t.Errorf("%U: %s %v, by Go %v", r, name, p[0], p[1])
			}
		}
		if c&(lower|upper) != 0 && c&letter == 0 {
			t.Errorf("%U has case but is no letter", r)
		}
	}
	t.Logf("%d properties of code points younger than Unicode %s", younger, unicode.Version)
}

// A pattern that needs a construct which the engine reads otherwise is refused, not misread.
func TestPatternRefused(t *testing.T) {
	for _, p := range []string{`[a-z&&[^x]]+`, `[\p{L}[0-9]]`, `\h+`, `a++`, `a?+b`, `\R`, `(`, `[`, `a{2}+`, strings.Repeat("a", maxPattern+1)} {
		if _, err := newRegex(p); err == nil {
			t.Errorf("%q was taken", shorten(p))
		}
	}
	for _, p := range []string{`\++`, `[+]+`, `[]a]+`, `[^]]`, `\[[a]`, `a\?+`, `[^\s\p{L}\p{N}]+[\r\n]*`, patternDeepSeek3} {
		if _, err := newRegex(p); err != nil {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// The patterns of published tokenizers that are left to the engine take long runs in their stride.
func TestEngineLongRuns(t *testing.T) {
	re, err := newRegex(patternDeepSeek3)
	if err != nil {
		t.Fatal(err)
	}
	for _, piece := range []string{"a", "é", " ", ".", "\n", "1", "a1 .", "中"} {
		var sc scratch
		text := strings.Repeat(piece, 1<<18/len(piece))
		ms := re.matches(nil, text, &sc)
		if sc.err != nil {
			t.Errorf("%q: %v", piece, sc.err)
		}
		if len(ms) == 0 || ms[len(ms)-1].end != len(text) {
			t.Errorf("%q: the matches end early", piece)
		}
	}
}
