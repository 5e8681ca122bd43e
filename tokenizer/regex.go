package tokenizer

import (
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dlclark/regexp2/v2"
)

// patternTime is what one search of a pattern may take, and patternTimeKiB what each KiB of a text adds for all searches
// in it. Patterns of tokenizers need a thousandth of it; one that backtracks without end is stopped.
const (
	patternTime    = 2 * time.Second
	patternTimeKiB = 10 * time.Millisecond
	maxPattern     = 64 << 10 // bytes of a pattern; the longest published one has 4 KiB
)

// match is a piece of text that a pattern found, or one between such pieces.
type match struct {
	start, end int
	found      bool
}

// regex is a pattern that no scanner is written for. Its \p classes are those of Go's Unicode tables.
type regex struct {
	source string
	re     *regexp2.Regexp
}

func newRegex(source string) (*regex, error) {
	if len(source) > maxPattern {
		return nil, fmt.Errorf("%w: pattern of %d bytes, at most %d are allowed", ErrUnsupported, len(source), maxPattern)
	}
	if err := checkPattern(source); err != nil {
		return nil, err
	}
	re, err := regexp2.Compile(source)
	if err != nil {
		return nil, fmt.Errorf("%w: pattern %q: %w", ErrUnsupported, shorten(source), err)
	}
	re.MatchTimeout = patternTime
	return &regex{source, re}, nil
}

// checkPattern refuses what Oniguruma, whose language the patterns are written in, reads otherwise than the engine here.
func checkPattern(p string) error {
	refuse := func(what string) error {
		return fmt.Errorf("%w: pattern %q uses %s", ErrUnsupported, shorten(p), what)
	}
	class := false
	for i := 0; i < len(p); i++ {
		rest := p[i:]
		switch {
		case p[i] == '\\':
			i++
			if i < len(p) && strings.IndexByte("hHRXKyYO", p[i]) >= 0 {
				return refuse(`\` + p[i:i+1])
			}
		case !class && p[i] == '[':
			class = true
			if strings.HasPrefix(rest, "[^") {
				i++
			}
			if strings.HasPrefix(p[i+1:], "]") {
				i++
			}
		case class && p[i] == ']':
			class = false
		case class && p[i] == '[':
			return refuse("a class within a class")
		case class && strings.HasPrefix(rest, "&&"):
			return refuse("an intersection of classes")
		case !class && i > 0 && p[i] == '+' && strings.IndexByte("?*+", p[i-1]) >= 0 && !escaped(p, i-1),
			!class && p[i] == '+' && countBefore(p, i):
			return refuse("a possessive quantifier")
		}
	}
	return nil
}

// countBefore reports whether {2}, {2,} or {2,3} stands before i.
func countBefore(p string, i int) bool {
	open := strings.LastIndexByte(p[:i], '{')
	return open >= 0 && open+1 < i-1 && p[i-1] == '}' && strings.Trim(p[open+1:i-1], "0123456789,") == ""
}

// escaped reports whether the character at i stands behind an odd number of backslashes.
func escaped(p string, i int) bool {
	n := 0
	for i-n > 0 && p[i-n-1] == '\\' {
		n++
	}
	return n%2 == 1
}

// matches appends the matches in s and the text between them, which together cover s.
func (r *regex) matches(ms []match, s string, sc *scratch) []match {
	// The engine counts in runes; edges has the byte offset of each. A stray byte is a rune of its own.
	sc.runes, sc.edges = sc.runes[:0], sc.edges[:0]
	for i := 0; i < len(s); {
		c, n := utf8.DecodeRuneInString(s[i:])
		sc.runes = append(sc.runes, c)
		sc.edges = append(sc.edges, int32(i))
		i += n
	}
	sc.edges = append(sc.edges, int32(len(s)))
	done, count := 0, 0
	limit := patternTime + time.Duration(len(s)>>10)*patternTimeKiB
	begin := time.Now()
	late := false
	err := r.re.FindRunesMatches(sc.runes, 0, func(v regexp2.MatchView) bool {
		at, n, _ := v.GroupRange(0)
		start, end := int(sc.edges[at]), int(sc.edges[at+n])
		if done < start {
			ms = append(ms, match{done, start, false})
		}
		ms = append(ms, match{start, end, true})
		done = end
		count++
		late = count%256 == 0 && time.Since(begin) > limit
		return !late
	})
	if err != nil || late {
		// The engine's own message would repeat the text.
		sc.err = fmt.Errorf("%w: %q stopped at byte %d of %d after %v", ErrPattern, shorten(r.source), done, len(s),
			time.Since(begin).Round(time.Millisecond))
	}
	if done < len(s) {
		ms = append(ms, match{done, len(s), false})
	}
	return ms
}

// shorten makes a quoted piece of a file short enough for a message.
func shorten(s string) string {
	const most = 60
	if len(s) <= most {
		return s
	}
	cut := most
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}
