package tokenizer

import (
	"math"
	"strings"
)

// A scan returns where the word of s that starts at i ends. The known patterns match every text without gaps, so that a
// text is cut by scanning from word to word.
type scan func(t *classTable, s string, i int) int

// knownPatterns are the patterns of published tokenizers that are scanned by hand, by their exact text. All others run
// in a regular expression engine, at about a tenth of the speed.
var knownPatterns = map[string]scan{
	patternGPT2:     scanGPT2,
	patternLlama3:   scanLlama3,
	patternQwen2:    scanQwen2,
	patternQwen35:   scanQwen35,
	patternMiniCPM5: scanMiniCPM5,
	patternO200K:    scanO200K,
	patternTekken:   scanTekken,
	// Other writings of the same.
	contractions + oneBefore + `\p{L}+|\p{N}{1}` + rest:                           scanQwen2,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}` + restPossessive: scanLlama3,
	`'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}` + restPossessive:      scanQwen2,
}

// numberPatterns are those that find numbers alone, with the length of a group.
var numberPatterns = map[string]int{`\p{N}`: 1, `\p{N}{1}`: 1, `\p{N}{1,3}`: 3, `\p{N}+`: math.MaxInt}

const (
	patternGPT2     = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+` + restSpaces
	patternLlama3   = contractions + oneBefore + `\p{L}+|\p{N}{1,3}` + rest
	patternQwen2    = contractions + oneBefore + `\p{L}+|\p{N}` + rest
	patternMiniCPM5 = contractions + oneBefore + `\p{L}+|\p{N}+` + rest
	patternQwen35   = contractions + oneBefore + `[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*` + restLines
	patternO200K    = upperThenLower + shortened + oneBefore + uppers + `+` + lowers + `*` + shortened + `|\p{N}{1,3}` + restSlash
	patternTekken   = upperThenLower + oneBefore + uppers + `+` + lowers + `*|\p{N}` + restSlash

	patternDeepSeek3 = "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+" +
		`|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*` + restLines
)

const (
	contractions   = `(?i:'s|'t|'re|'ve|'m|'ll|'d)`
	shortened      = contractions + `?`
	oneBefore      = `|[^\r\n\p{L}\p{N}]?`
	uppers         = `[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`
	lowers         = `[\p{Ll}\p{Lm}\p{Lo}\p{M}]`
	upperThenLower = `[^\r\n\p{L}\p{N}]?` + uppers + `*` + lowers + `+`
	rest           = `| ?[^\s\p{L}\p{N}]+[\r\n]*` + restLines
	restSlash      = `| ?[^\s\p{L}\p{N}]+[\r\n/]*` + restLines
	restPossessive = `| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]` + restSpaces
	restLines      = `|\s*[\r\n]+` + restSpaces
	restSpaces     = `|\s+(?!\S)|\s+`
)

func scanGPT2(t *classTable, s string, i int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], false); n > 0 {
			return i + 1 + n
		}
	}
	c, n := t.at(s, i)
	if s[i] == ' ' && i+1 < len(s) {
		if after, m := t.at(s, i+1); after&space == 0 {
			c, n = after, m+1
		}
	}
	switch {
	case c&letter != 0:
		return t.run(s, i+n, letter)
	case c&number != 0:
		return t.run(s, i+n, number)
	case c&space == 0:
		return t.runNot(s, i+n, letter|number|space)
	}
	end := t.run(s, i+n, space)
	if end == len(s) {
		return end
	}
	return leaveOne(t, s, i, end)
}

func scanLlama3(t *classTable, s string, i int) int   { return t.scanCL100K(s, i, letter, 3) }
func scanQwen2(t *classTable, s string, i int) int    { return t.scanCL100K(s, i, letter, 1) }
func scanMiniCPM5(t *classTable, s string, i int) int { return t.scanCL100K(s, i, letter, len(s)) }
func scanQwen35(t *classTable, s string, i int) int   { return t.scanCL100K(s, i, letter|mark, 1) }

// scanCL100K is the family of OpenAI's cl100k: contractions in either case, one character of any kind before letters,
// numbers in groups of up to digits, symbols together with the line ends that follow.
func (t *classTable) scanCL100K(s string, i int, letters class, digits int) int {
	if s[i] == '\'' {
		if n := contraction(s[i+1:], true); n > 0 {
			return i + 1 + n
		}
	}
	c, n := t.at(s, i)
	if c&letters != 0 {
		return t.run(s, i+n, letters)
	}
	if c&number != 0 {
		return t.runUpTo(s, i+n, number, digits-1)
	}
	if i+n < len(s) {
		after, m := t.at(s, i+n)
		if after&letters != 0 && s[i] != '\r' && s[i] != '\n' {
			return t.run(s, i+n+m, letters)
		}
		if s[i] == ' ' && after&(letters|number|space) == 0 {
			c, n = after, n+m
		}
	}
	if c&space == 0 {
		end := t.runNot(s, i+n, letters|number|space)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n') {
			end++
		}
		return end
	}
	return t.scanSpace(s, i, i+n)
}

func scanO200K(t *classTable, s string, i int) int  { return t.scanCase(s, i, true, 3) }
func scanTekken(t *classTable, s string, i int) int { return t.scanCase(s, i, false, 1) }

// scanCase is the family of OpenAI's o200k: like cl100k, but a word ends where a capital follows a small letter.
func (t *classTable) scanCase(s string, i int, contractions bool, digits int) int {
	c, n := t.at(s, i)
	first := i // where the letters start if one character is taken before them
	if c&(letter|number) == 0 && s[i] != '\r' && s[i] != '\n' {
		first = i + n
	}
	end := t.smallEnd(s, first)
	if end < 0 && first > i {
		end = t.smallEnd(s, i)
	}
	if end < 0 {
		if end = t.capitalEnd(s, first); end < 0 && first > i {
			end = t.capitalEnd(s, i)
		}
	}
	if end >= 0 {
		if contractions && end < len(s) && s[end] == '\'' {
			if n := contraction(s[end+1:], true); n > 0 {
				end += 1 + n
			}
		}
		return end
	}
	if c&number != 0 {
		return t.runUpTo(s, i+n, number, digits-1)
	}
	if s[i] == ' ' && i+1 < len(s) {
		if after, m := t.at(s, i+1); after&(letter|number|space) == 0 {
			c, n = after, m+1
		}
	}
	if c&space == 0 {
		end := t.runNot(s, i+n, letter|number|space)
		for end < len(s) && (s[end] == '\r' || s[end] == '\n' || s[end] == '/') {
			end++
		}
		return end
	}
	return t.scanSpace(s, i, i+n)
}

// capital and small are [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}] and [\p{Ll}\p{Lm}\p{Lo}\p{M}]: letters without case and marks
// are in both.
func capital(c class) bool { return c&mark != 0 || c&(letter|lower) == letter }
func small(c class) bool   { return c&mark != 0 || c&(letter|upper) == letter }

// smallEnd matches capital* small+ at i and returns its end or -1. The capitals give back as much as small+ needs.
func (t *classTable) smallEnd(s string, i int) int {
	back := -1 // end of the last character so far that is both
	for i < len(s) {
		c, n := t.at(s, i)
		if !capital(c) {
			if !small(c) {
				break
			}
			for i < len(s) {
				c, n := t.at(s, i)
				if !small(c) {
					break
				}
				i += n
			}
			return i
		}
		i += n
		if small(c) {
			back = i
		}
	}
	return back
}

// capitalEnd matches capital+ small* at i where smallEnd found nothing, and returns its end or -1.
func (t *classTable) capitalEnd(s string, i int) int {
	start := i
	for i < len(s) {
		c, n := t.at(s, i)
		if !capital(c) {
			break
		}
		i += n
	}
	if i == start {
		return -1
	}
	return i
}

// scanSpace ends a word of white space: behind its last line end, or before its last character if a word follows.
func (t *classTable) scanSpace(s string, i, end int) int {
	end = t.run(s, end, space)
	if n := strings.LastIndexAny(s[i:end], "\r\n"); n >= 0 {
		return i + n + 1
	}
	if end == len(s) {
		return end
	}
	return leaveOne(t, s, i, end)
}

// leaveOne leaves the last of several characters of s[i:end] to the word that follows.
func leaveOne(t *classTable, s string, i, end int) int {
	if _, n := t.before(s, end); end-n > i {
		return end - n
	}
	return end
}

// run returns the end of the characters from i on that have one of the properties.
func (t *classTable) run(s string, i int, any class) int {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&any == 0 {
			break
		}
		i += n
	}
	return i
}

// runUpTo is run for at most n characters.
func (t *classTable) runUpTo(s string, i int, any class, n int) int {
	for ; n > 0 && i < len(s); n-- {
		c, size := t.at(s, i)
		if c&any == 0 {
			break
		}
		i += size
	}
	return i
}

// runNot returns the end of the characters from i on that have none of the properties.
func (t *classTable) runNot(s string, i int, none class) int {
	for i < len(s) {
		c, n := t.at(s, i)
		if c&none != 0 {
			break
		}
		i += n
	}
	return i
}

// contraction returns the length of what follows an apostrophe in 's 't 're 've 'm 'll 'd, or 0. In either case means
// also the long s.
func contraction(s string, eitherCase bool) int {
	if s == "" {
		return 0
	}
	fold := func(b byte) byte {
		if eitherCase && b >= 'A' && b <= 'Z' {
			return b + 'a' - 'A'
		}
		return b
	}
	switch fold(s[0]) {
	case 's', 't', 'm', 'd':
		return 1
	case 'r', 'v':
		if len(s) > 1 && fold(s[1]) == 'e' {
			return 2
		}
	case 'l':
		if len(s) > 1 && fold(s[1]) == 'l' {
			return 2
		}
	case "ſ"[0]:
		if eitherCase && strings.HasPrefix(s, "ſ") {
			return len("ſ")
		}
	}
	return 0
}
