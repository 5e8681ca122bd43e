package chat

import (
	"strings"
	"unicode/utf8"
)

// quoted reads a string literal and unescapes it.
func (l *lexer) quoted(s string) token {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case quote:
			t := token{kind: kString, line: l.line, text: l.unescape(s[1:i])}
			l.advance(i + 1)
			return t
		}
	}
	l.fail("the string has no end, want %c", quote)
	return token{}
}

// simpleEscapes are the escapes of one letter.
var simpleEscapes = map[byte]string{
	'\\': "\\", '\'': "'", '"': "\"", 'a': "\a", 'b': "\b", 'f': "\f",
	'n': "\n", 'r': "\r", 't': "\t", 'v': "\v", '\n': "",
}

// unescape resolves Python's escapes. An unknown escape stays as it is.
func (l *lexer) unescape(s string) string {
	if strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			i++
			continue
		}
		c := s[i+1]
		if text, ok := simpleEscapes[c]; ok {
			b.WriteString(text)
			i += 2
			continue
		}
		i += 2
		switch {
		case c >= '0' && c <= '7':
			n, r := 1, rune(c-'0')
			for ; n < 3 && i < len(s) && s[i] >= '0' && s[i] <= '7'; n++ {
				r = r<<3 | rune(s[i]-'0')
				i++
			}
			b.WriteRune(r)
		case c == 'x' || c == 'u' || c == 'U':
			n := map[byte]int{'x': 2, 'u': 4, 'U': 8}[c]
			b.WriteRune(l.hex(s[i:], c, n))
			i += n
		case c == 'N':
			l.fail(`\N{…} in a string is not supported, write \u and four hexadecimal digits`)
		case c >= utf8.RuneSelf:
			// Jinja escapes what is not ASCII before it unescapes, so a
			// backslash before such a character makes its escape literal.
			r, n := utf8.DecodeRuneInString(s[i-1:])
			b.WriteString(asciiEscape(r))
			i += n - 1
		default:
			b.WriteByte('\\')
			b.WriteByte(c)
		}
	}
	return b.String()
}

// asciiEscape writes r as Python's backslashreplace does.
func asciiEscape(r rune) string {
	const digits = "0123456789abcdef"
	lead, n := `\U`, 8
	switch {
	case r < 0x100:
		lead, n = `\x`, 2
	case r < 0x10000:
		lead, n = `\u`, 4
	}
	b := []byte(lead)
	for shift := 4 * (n - 1); shift >= 0; shift -= 4 {
		b = append(b, digits[(r>>shift)&15])
	}
	return string(b)
}

// hex reads n hexadecimal digits of the escape \c.
func (l *lexer) hex(s string, c byte, n int) rune {
	var r uint32
	for i := range n {
		var d byte
		if i < len(s) {
			d = s[i]
		}
		switch {
		case isDecimal(d):
			r = r<<4 | uint32(d-'0')
		case d|0x20 >= 'a' && d|0x20 <= 'f':
			r = r<<4 | uint32(d|0x20-'a'+10)
		default:
			l.fail(`the escape \%c needs %d hexadecimal digits`, c, n)
		}
	}
	if r > utf8.MaxRune || !utf8.ValidRune(rune(r)) {
		l.fail(`the escape \%c%s is not a character`, c, s[:n])
	}
	return rune(r)
}
