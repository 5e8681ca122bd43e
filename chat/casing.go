package chat

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

//go:generate sh -c "python3 ../scripts/oracles/chat_casing.py > gen_casing.go"

// isSpace tells what Python counts as white space.
func isSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

func isUpper(r rune) bool { return unicode.IsUpper(r) || unicode.Is(unicode.Other_Uppercase, r) }
func isLower(r rune) bool { return unicode.IsLower(r) || unicode.Is(unicode.Other_Lowercase, r) }
func isCased(r rune) bool { return isUpper(r) || isLower(r) || unicode.IsTitle(r) }

// upper, lower and the others below map as Python does, some characters to
// several.
func upper(s string) string {
	var b strings.Builder
	for _, r := range s {
		writeMapped(&b, r, longUpper, unicode.ToUpper)
	}
	return b.String()
}

func writeMapped(b *strings.Builder, r rune, long map[rune]string, one func(rune) rune) {
	if r < 0x80 {
		b.WriteRune(one(r))
		return
	}
	if t, ok := long[r]; ok {
		b.WriteString(t)
		return
	}
	b.WriteRune(one(r))
}

func lower(s string) string {
	var b strings.Builder
	for i, r := range s {
		writeLower(&b, s, i, r)
	}
	return b.String()
}

// writeLower writes the lower case of r, which stands at s[i:].
func writeLower(b *strings.Builder, s string, i int, r rune) {
	switch r {
	case 'İ':
		b.WriteString("i\u0307")
	case 'Σ':
		if finalSigma(s[:i], s[i+len("Σ"):]) {
			b.WriteRune('ς')
			return
		}
		b.WriteRune('σ')
	default:
		b.WriteRune(unicode.ToLower(r))
	}
}

// finalSigma tells whether a sigma between the two texts ends a word.
func finalSigma(before, after string) bool {
	last := strings.LastIndexFunc(before, func(r rune) bool { return !caseIgnorable(r) })
	if last < 0 {
		return false
	}
	if r, _ := utf8.DecodeRuneInString(before[last:]); !isCased(r) {
		return false
	}
	next := strings.IndexFunc(after, func(r rune) bool { return !caseIgnorable(r) })
	if next < 0 {
		return true
	}
	for _, r := range after[next:] {
		return !isCased(r)
	}
	return true
}

// caseIgnorable tells whether r is passed over when the ends of a word are
// looked for.
func caseIgnorable(r rune) bool {
	return unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf, unicode.Lm, unicode.Sk) || strings.ContainsRune("'.:·‘’․‧︓﹒﹕＇．：", r)
}

// capitalize makes the first character title case and the others lower case.
func capitalize(s string) string {
	var b strings.Builder
	for i, r := range s {
		if i == 0 {
			writeMapped(&b, r, longTitle, unicode.ToTitle)
			continue
		}
		writeLower(&b, s, i, r)
	}
	return b.String()
}

// title makes the first letter of each run of letters title case.
func title(s string) string {
	var b strings.Builder
	inWord := false
	for i, r := range s {
		if inWord {
			writeLower(&b, s, i, r)
		} else {
			writeMapped(&b, r, longTitle, unicode.ToTitle)
		}
		inWord = isCased(r)
	}
	return b.String()
}

func swapcase(s string) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case isUpper(r):
			writeLower(&b, s, i, r)
		case isLower(r):
			writeMapped(&b, r, longUpper, unicode.ToUpper)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// cased tells whether s has letters with a case and all of them satisfy want.
func cased(s string, want func(rune) bool) bool {
	any := false
	for _, r := range s {
		switch {
		case want(r):
			any = true
		case isCased(r):
			return false
		}
	}
	return any
}

// istitle tells whether upper case follows only what has no case, and lower
// case only what has one.
func istitle(s string) bool {
	any, inWord := false, false
	for _, r := range s {
		switch {
		case isUpper(r) || unicode.IsTitle(r):
			if inWord {
				return false
			}
			any, inWord = true, true
		case isLower(r):
			if !inWord {
				return false
			}
			any = true
		default:
			inWord = false
		}
	}
	return any
}

// all tells whether s is not empty and all of its characters satisfy want.
func all(s string, want func(rune) bool) bool {
	for _, r := range s {
		if !want(r) {
			return false
		}
	}
	return s != ""
}

// isLineEnd tells the characters that end a line for splitlines.
func isLineEnd(r rune) bool {
	switch r {
	case '\n', '\r', '\v', '\f', 0x1c, 0x1d, 0x1e, 0x85, 0x2028, 0x2029:
		return true
	}
	return false
}
