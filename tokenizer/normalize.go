package tokenizer

import (
	"strings"
	"sync"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// normalizer rewrites a piece of text before it is cut into words. Stray bytes pass through it.
type normalizer interface {
	normalize(s string, sc *scratch) string
}

type normalizers []normalizer

func (ns normalizers) normalize(s string, sc *scratch) string {
	for _, n := range ns {
		s = n.normalize(s, sc)
	}
	return s
}

// form is one of NFC, NFD, NFKC and NFKD, in the age of the reference: code points that it does not know stay where they
// are, and nothing is composed or reordered across them.
type form norm.Form

func (f form) normalize(s string, _ *scratch) string {
	if isASCII(s) {
		return s
	}
	nf := norm.Form(f)
	if nf.IsNormalString(s) && !strings.ContainsFunc(s, inert) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s))
	for len(s) > 0 {
		end := strings.IndexFunc(s, inert)
		if end < 0 {
			b.WriteString(nf.String(s))
			break
		}
		_, n := utf8.DecodeRuneInString(s[end:])
		b.WriteString(nf.String(s[:end]))
		b.WriteString(s[end : end+n])
		s = s[end+n:]
	}
	return b.String()
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// inert reports whether normalisation passes over a code point.
func inert(r rune) bool {
	if r < normInert[0][0] {
		return false
	}
	lo, hi := 0, len(normInert)
	for lo < hi {
		if mid := (lo + hi) / 2; normInert[mid][1] < r {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo < len(normInert) && normInert[lo][0] <= r
}

type lowercase struct{}

var lowerOf = sync.OnceValue(func() map[rune]rune {
	m := map[rune]rune{}
	for _, run := range lowerRuns {
		for r := run[0]; r <= run[1]; r += run[2] {
			m[r] = r + run[3]
		}
	}
	return m
})

func (lowercase) normalize(s string, _ *scratch) string {
	table := lowerOf()
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		r, n := utf8.DecodeRuneInString(s[i:])
		if to, ok := table[r]; ok {
			b.WriteRune(to)
		} else if r == 'İ' {
			b.WriteString("i̇") // the one lower case of two characters
		} else {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// strip removes white space at the ends.
type strip struct{ left, right bool }

func (st strip) normalize(s string, _ *scratch) string {
	t := classes()
	if st.left {
		s = s[t.run(s, 0, space):]
	}
	for st.right && len(s) > 0 {
		c, n := t.before(s, len(s))
		if c&space == 0 {
			break
		}
		s = s[:len(s)-n]
	}
	return s
}

type stripAccents struct{}

func (stripAccents) normalize(s string, _ *scratch) string {
	t := classes()
	var b strings.Builder
	b.Grow(len(s))
	for i := 0; i < len(s); {
		c, n := t.at(s, i)
		if c&accent == 0 {
			b.WriteString(s[i : i+n])
		}
		i += n
	}
	return b.String()
}

// prepend puts its text before every piece that is not empty.
type prepend string

func (p prepend) normalize(s string, _ *scratch) string {
	if s == "" {
		return s
	}
	return string(p) + s
}

// replace puts to wherever from stands.
type replace struct{ from, to string }

func (r replace) normalize(s string, _ *scratch) string {
	if r.from == "" {
		return s
	}
	return strings.ReplaceAll(s, r.from, r.to)
}

// replaceRegex puts to wherever the pattern matches.
type replaceRegex struct {
	pattern *regex
	to      string
}

func (r replaceRegex) normalize(s string, sc *scratch) string {
	var b strings.Builder
	for _, m := range r.pattern.matches(nil, s, sc) {
		if m.found {
			b.WriteString(r.to)
		} else {
			b.WriteString(s[m.start:m.end])
		}
	}
	return b.String()
}

// byteLevelNormalizer writes every byte as its character before the text is cut.
type byteLevelNormalizer struct{}

func (byteLevelNormalizer) normalize(s string, _ *scratch) string {
	return string(toByteLevel(make([]byte, 0, len(s)), s))
}
