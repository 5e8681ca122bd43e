package tokenizer

import (
	"strings"
	"unicode/utf8"
)

// preTokenizer cuts a piece of text into words. Published tokenizers of the big families take the fast way: one scan of
// the text. All others run step by step, each step cutting the pieces of the step before.
type preTokenizer struct {
	scan        scan // nil: steps
	digits      bool // numbers are set apart, digit by digit, before scan
	prefixSpace bool // scan begins with a space

	steps  []step
	mapped bool // the words that steps give have each byte as its character
}

// step cuts a piece and hands what it cuts on. start is set for the piece with which the whole text begins.
type step interface {
	cut(s string, start bool, sc *scratch, next func(s string, start bool))
}

// split calls word for each word of s.
func (p *preTokenizer) split(s string, start bool, sc *scratch, word func(string)) {
	if p.scan == nil {
		p.walk(0, s, start, sc, word)
		return
	}
	t := classes()
	if p.prefixSpace && !strings.HasPrefix(s, " ") {
		s = " " + s
	}
	if !p.digits {
		for i := 0; i < len(s); {
			end := p.scan(t, s, i)
			word(s[i:end])
			i = end
		}
		return
	}
	for len(s) > 0 {
		number, n := t.nextDigit(s)
		for i := 0; i < number; {
			end := p.scan(t, s[:number], i)
			word(s[i:end])
			i = end
		}
		if n > 0 {
			word(s[number : number+n])
		}
		s = s[number+n:]
	}
}

// nextDigit returns where the next digit of s starts and its length, or the length of s and 0.
func (t *classTable) nextDigit(s string) (at, n int) {
	for i := 0; i < len(s); {
		c, n := t.at(s, i)
		if c&digit != 0 {
			return i, n
		}
		i += n
	}
	return len(s), 0
}

func (p *preTokenizer) walk(k int, s string, start bool, sc *scratch, word func(string)) {
	if s == "" {
		return
	}
	if k < len(p.steps) {
		p.steps[k].cut(s, start, sc, func(s string, start bool) { p.walk(k+1, s, start, sc, word) })
		return
	}
	if p.mapped {
		raw, _ := fromByteLevel(make([]byte, 0, len(s)), s)
		s = string(raw)
	}
	word(s)
}

// behavior says what becomes of the matches at which a text is cut.
type behavior uint8

const (
	isolated behavior = iota
	removed
	mergedWithPrevious
	mergedWithNext
	contiguous
)

var behaviors = map[string]behavior{
	"Isolated": isolated, "Removed": removed, "MergedWithPrevious": mergedWithPrevious,
	"MergedWithNext": mergedWithNext, "Contiguous": contiguous,
}

// arrange joins matches as the behavior wants, in place. Those that are to be dropped keep found set.
func (b behavior) arrange(ms []match) []match {
	if b == removed {
		return ms
	}
	out := ms[:0]
	before := false // whether the match before this one was found
	if b == mergedWithNext {
		// From behind: a match joins the piece on its right, unless that is a match itself.
		for i := len(ms) - 1; i >= 0; i-- {
			found := ms[i].found
			if found && !before && i+1 < len(ms) {
				ms[i].end = ms[i+1].end
				ms[i+1].start = ms[i+1].end
			}
			before = found
		}
		for _, m := range ms {
			if m.start < m.end {
				out = append(out, match{m.start, m.end, false})
			}
		}
		return out
	}
	for _, m := range ms {
		join := false
		switch b {
		case mergedWithPrevious:
			join = m.found && !before
		case contiguous:
			join = m.found == before
		}
		if join && len(out) > 0 {
			out[len(out)-1].end = m.end
		} else {
			out = append(out, match{m.start, m.end, false})
		}
		before = m.found
	}
	return out
}

// cutter is the step that all splitting comes down to: find matches, arrange them, hand on what is left.
type cutter struct {
	find     func(ms []match, s string, sc *scratch) []match
	behavior behavior
	invert   bool // what is found is what was not matched
}

func (c cutter) cut(s string, start bool, sc *scratch, next func(string, bool)) {
	ms := c.find(nil, s, sc)
	if c.invert {
		for i := range ms {
			ms[i].found = !ms[i].found
		}
	}
	for _, m := range c.behavior.arrange(ms) {
		if !m.found && m.start < m.end {
			next(s[m.start:m.end], start && m.start == 0)
		}
	}
}

// findClass matches up to most characters in a row that have one of the properties.
func findClass(any class, most int) func([]match, string, *scratch) []match {
	return func(ms []match, s string, _ *scratch) []match {
		t := classes()
		done := 0
		for i := 0; i < len(s); {
			c, n := t.at(s, i)
			if c&any == 0 {
				i += n
				continue
			}
			if done < i {
				ms = append(ms, match{done, i, false})
			}
			done = t.runUpTo(s, i+n, any, most-1)
			ms = append(ms, match{i, done, true})
			i = done
		}
		if done < len(s) {
			ms = append(ms, match{done, len(s), false})
		}
		return ms
	}
}

// findText matches a text that is not empty.
func findText(text string) func([]match, string, *scratch) []match {
	return func(ms []match, s string, _ *scratch) []match {
		done := 0
		for {
			n := strings.Index(s[done:], text)
			if n < 0 {
				break
			}
			if n > 0 {
				ms = append(ms, match{done, done + n, false})
			}
			ms = append(ms, match{done + n, done + n + len(text), true})
			done += n + len(text)
		}
		if done < len(s) {
			ms = append(ms, match{done, len(s), false})
		}
		return ms
	}
}

// findScan matches the words of a known pattern, which leave no gaps.
func findScan(f scan) func([]match, string, *scratch) []match {
	return func(ms []match, s string, _ *scratch) []match {
		t := classes()
		for i := 0; i < len(s); {
			end := f(t, s, i)
			ms = append(ms, match{i, end, true})
			i = end
		}
		return ms
	}
}

// findWords matches \w+ and [^\w\s]+, with white space between them: the Whitespace step.
func findWords(ms []match, s string, _ *scratch) []match {
	t := classes()
	for i := 0; i < len(s); {
		c, n := t.at(s, i)
		var end int
		switch {
		case c&word != 0:
			end = t.run(s, i+n, word)
		case c&space != 0:
			end = t.run(s, i+n, space)
		default:
			end = t.runNot(s, i+n, word|space)
		}
		ms = append(ms, match{i, end, c&(word|space) != space})
		i = end
	}
	return ms
}

// byteLevelStep cuts at the pattern of GPT-2 if it is asked to, and writes every byte as its character.
type byteLevelStep struct{ prefixSpace, cuts bool }

func (b byteLevelStep) cut(s string, start bool, _ *scratch, next func(string, bool)) {
	if b.prefixSpace && !strings.HasPrefix(s, " ") {
		s = " " + s
	}
	t := classes()
	for i := 0; i < len(s); {
		end := len(s)
		if b.cuts {
			end = scanGPT2(t, s, i)
		}
		next(string(toByteLevel(nil, s[i:end])), start && i == 0)
		i = end
	}
}

// metaspaceStep writes spaces as a visible character, puts one before the text, and cuts before each.
type metaspaceStep struct {
	mark                     string
	always, first, splitting bool
}

func (m metaspaceStep) cut(s string, start bool, sc *scratch, next func(string, bool)) {
	s = strings.ReplaceAll(s, " ", m.mark)
	if (m.always || m.first && start) && !strings.HasPrefix(s, m.mark) {
		s = m.mark + s
	}
	if !m.splitting {
		next(s, start)
		return
	}
	cutter{findText(m.mark), mergedWithNext, false}.cut(s, start, sc, next)
}

// fixedStep cuts after every n characters.
type fixedStep int

func (n fixedStep) cut(s string, start bool, _ *scratch, next func(string, bool)) {
	for from := 0; from < len(s); {
		end := from
		for k := 0; k < int(n) && end < len(s); k++ {
			_, size := utf8.DecodeRuneInString(s[end:])
			end += size
		}
		next(s[from:end], start && from == 0)
		from = end
	}
}
