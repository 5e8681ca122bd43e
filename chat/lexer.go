package chat

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// kind is the kind of a token. Operators are their own text.
type kind string

const (
	kEOF      kind = "end of template"
	kData     kind = "text"
	kVarBegin kind = "{{"
	kVarEnd   kind = "}}"
	kBegin    kind = "{%"
	kEnd      kind = "%}"
	kName     kind = "name"
	kString   kind = "string"
	kNumber   kind = "number"
	kFloat    kind = "float"
)

// token is one word of a template: its kind, the line it begins in, its text
// (unescaped for strings) and the value of a number.
type token struct {
	kind kind
	line int
	text string
	num  value
}

// describe names a token in an error message.
func (t token) describe() string {
	switch t.kind {
	case kName, kString:
		return strconv.Quote(t.text)
	case kNumber, kFloat:
		return fmt.Sprint(t.num)
	}
	return "'" + string(t.kind) + "'"
}

// lexState tells what surrounds the position: text, or one of the two tags.
type lexState int

const (
	inText lexState = iota
	inVar
	inBlock
)

// lexer cuts a template into tokens on demand, so that a template is never
// held a second time as a list of tokens.
type lexer struct {
	src       string
	pos       int
	line      int
	state     lexState
	brackets  []byte // closing brackets that are still owed; tags end only outside of them
	lineStart bool   // what was read last ended with a newline
}

// newLexer normalises line ends to \n and drops one newline at the end, as
// Jinja does before it looks at anything else.
func newLexer(src string) *lexer {
	src = strings.ReplaceAll(src, "\r\n", "\n")
	src = strings.ReplaceAll(src, "\r", "\n")
	src = strings.TrimSuffix(src, "\n")
	return &lexer{src: src, line: 1, lineStart: true}
}

func (l *lexer) fail(format string, args ...any) {
	panic(failure{&Error{Line: l.line, Msg: fmt.Sprintf(format, args...), Kind: ErrSyntax}})
}

// advance moves over n bytes and counts their lines.
func (l *lexer) advance(n int) string {
	s := l.src[l.pos : l.pos+n]
	l.pos += n
	l.line += strings.Count(s, "\n")
	if n > 0 {
		l.lineStart = s[n-1] == '\n'
	}
	return s
}

// next gives the next token; after the last it gives kEOF for ever.
func (l *lexer) next() token {
	for {
		if l.state != inText {
			return l.code()
		}
		if l.pos >= len(l.src) {
			return token{kind: kEOF, line: l.line}
		}
		if t, ok := l.text(); ok {
			return t
		}
	}
}

// text reads up to and over the next opening tag. It reports ok for a token to
// hand out: the text before the tag, or the tag itself when no text is left.
func (l *lexer) text() (token, bool) {
	rest := l.src[l.pos:]
	at := nextTag(rest)
	if at < 0 {
		t := token{kind: kData, line: l.line, text: rest}
		l.advance(len(rest))
		return t, true
	}
	tag := rest[at : at+2]
	sign := byte(0)
	if at+2 < len(rest) && (rest[at+2] == '-' || rest[at+2] == '+') {
		sign = rest[at+2]
	}
	if at > 0 {
		t := token{kind: kData, line: l.line, text: l.trimLeft(rest[:at], sign, tag != "{{")}
		l.advance(at)
		if t.text != "" {
			return t, true
		}
		rest = rest[at:]
	}
	n := 2
	if sign != 0 {
		n = 3
	}
	t := token{line: l.line}
	switch tag {
	case "{#":
		l.advance(n)
		l.comment()
		return token{}, false
	case "{{":
		t.kind, l.state = kVarBegin, inVar
	default:
		if m := rawBegin(rest, n); m > 0 {
			l.advance(m)
			return l.raw()
		}
		t.kind, l.state = kBegin, inBlock
	}
	l.advance(n)
	return t, true
}

// nextTag gives the offset of the first {{, {% or {#, or -1.
func nextTag(s string) int {
	for i := 0; ; {
		j := strings.IndexByte(s[i:], '{')
		if j < 0 || i+j+1 >= len(s) {
			return -1
		}
		i += j
		if c := s[i+1]; c == '{' || c == '%' || c == '#' {
			return i
		}
		i++
	}
}

// trimLeft applies the sign of a tag to the text before it: '-' takes all
// white space, none takes the indentation of a tag that is alone on its line.
func (l *lexer) trimLeft(text string, sign byte, block bool) string {
	switch {
	case sign == '-':
		return strings.TrimRightFunc(text, isSpace)
	case sign == '+' || !block:
		return text
	}
	cut := strings.LastIndexByte(text, '\n') + 1
	if (cut > 0 || l.lineStart) && strings.TrimLeftFunc(text[cut:], isSpace) == "" {
		return text[:cut]
	}
	return text
}

// comment skips to the end of a comment.
func (l *lexer) comment() {
	i := strings.Index(l.src[l.pos:], "#}")
	if i < 0 {
		l.fail("the comment has no end, want #}")
	}
	sign := byte(0)
	if i > 0 {
		sign = l.src[l.pos+i-1]
	}
	l.advance(i)
	l.closeTag(2, sign)
}

// closeTag moves over the n bytes of a closing tag and what its sign trims:
// '-' all white space, '+' nothing, none one newline.
func (l *lexer) closeTag(n int, sign byte) {
	l.advance(n)
	rest := l.src[l.pos:]
	switch {
	case sign == '-':
		l.advance(len(rest) - len(strings.TrimLeftFunc(rest, isSpace)))
	case sign != '+' && strings.HasPrefix(rest, "\n"):
		l.advance(1)
	}
}

// rawBegin gives the length of a {% raw %} tag at the start of s, whose
// opening and sign are n bytes, or 0.
func rawBegin(s string, n int) int {
	r := strings.TrimLeftFunc(s[n:], isSpace)
	if !strings.HasPrefix(r, "raw") {
		return 0
	}
	r = strings.TrimLeftFunc(r[3:], isSpace)
	if strings.HasPrefix(r, "-%}") {
		return len(s) - len(strings.TrimLeftFunc(r[3:], isSpace))
	}
	if strings.HasPrefix(r, "%}") {
		return len(s) - len(r) + 2
	}
	return 0
}

// raw reads text as it is up to {% endraw %}.
func (l *lexer) raw() (token, bool) {
	start := l.line
	for i := l.pos; ; i += 2 {
		j := strings.Index(l.src[i:], "{%")
		if j < 0 {
			l.fail("raw has no end, want {%% endraw %%}")
		}
		i += j
		r, sign := l.src[i+2:], byte(0)
		if r != "" && (r[0] == '-' || r[0] == '+') {
			sign, r = r[0], r[1:]
		}
		r = strings.TrimLeftFunc(r, isSpace)
		if !strings.HasPrefix(r, "endraw") {
			continue
		}
		r = strings.TrimLeftFunc(r[len("endraw"):], isSpace)
		end := byte(0)
		if r != "" && (r[0] == '-' || r[0] == '+') {
			end, r = r[0], r[1:]
		}
		if !strings.HasPrefix(r, "%}") {
			continue
		}
		text := l.trimLeft(l.src[l.pos:i], sign, true)
		l.advance(i - l.pos)
		l.closeTag(len(l.src)-len(r)+2-i, end)
		return token{kind: kData, line: start, text: text}, text != ""
	}
}

// operators, the longer before their beginnings.
var operators = []string{
	"//", "**", "==", "!=", ">=", "<=",
	"+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";",
}

// code reads one token inside a tag.
func (l *lexer) code() token {
	rest := l.src[l.pos:]
	rest = rest[len(l.advance(len(rest)-len(strings.TrimLeftFunc(rest, isSpace)))):]
	if rest == "" {
		return token{kind: kEOF, line: l.line}
	}
	if len(l.brackets) == 0 {
		if t, ok := l.tagEnd(rest); ok {
			return t
		}
	}
	c := rest[0]
	afterDot := l.pos > 0 && l.src[l.pos-1] == '.'
	switch {
	case c >= '0' && c <= '9':
		return l.number(rest, afterDot)
	case c == '\'' || c == '"':
		return l.quoted(rest)
	}
	if n := nameLen(rest); n > 0 {
		t := token{kind: kName, line: l.line, text: rest[:n]}
		l.advance(n)
		return t
	}
	for _, op := range operators {
		if strings.HasPrefix(rest, op) {
			t := token{kind: kind(op), line: l.line}
			l.bracket(op[0])
			l.advance(len(op))
			return t
		}
	}
	r, _ := utf8.DecodeRuneInString(rest)
	l.fail("unexpected character %q", r)
	return token{}
}

// tagEnd reads the end of the tag that the lexer is in.
func (l *lexer) tagEnd(rest string) (token, bool) {
	end, k := "%}", kEnd
	if l.state == inVar {
		end, k = "}}", kVarEnd
	}
	sign, n := byte(0), 2
	if rest[0] == '-' || rest[0] == '+' && l.state == inBlock {
		sign, n, rest = rest[0], 3, rest[1:]
	}
	if !strings.HasPrefix(rest, end) {
		return token{}, false
	}
	t := token{kind: k, line: l.line}
	if l.state == inVar && sign == 0 {
		sign = '+' // a newline after {{ … }} stays
	}
	l.closeTag(n, sign)
	l.state = inText
	return t, true
}

// bracket keeps account of what must still be closed.
func (l *lexer) bracket(c byte) {
	switch c {
	case '(':
		l.brackets = append(l.brackets, ')')
	case '[':
		l.brackets = append(l.brackets, ']')
	case '{':
		l.brackets = append(l.brackets, '}')
	case ')', ']', '}':
		n := len(l.brackets)
		if n == 0 {
			l.fail("unexpected '%c'", c)
		}
		if want := l.brackets[n-1]; want != c {
			l.fail("unexpected '%c', want '%c'", c, want)
		}
		l.brackets = l.brackets[:n-1]
	}
	if len(l.brackets) > maxNesting {
		panic(failure{&Error{Line: l.line, Msg: fmt.Sprintf("brackets nest deeper than %d", maxNesting), Kind: ErrLimit}})
	}
}

// nameLen gives the length of the identifier at the start of s.
func nameLen(s string) int {
	for i, r := range s {
		ok := r == '_' || unicode.IsLetter(r) || unicode.Is(unicode.Nl, r)
		if i > 0 {
			ok = ok || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Mc, r) || unicode.Is(unicode.Pc, r)
		}
		if !ok || r == utf8.RuneError {
			return i
		}
	}
	return len(s)
}
