package chat

import (
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// number reads an integer or a float; right after a dot (a.0.1) only integers.
func (l *lexer) number(s string, afterDot bool) token {
	t := token{kind: kFloat, line: l.line}
	n := 0
	if !afterDot {
		n = floatLen(s)
	}
	if n > 0 {
		// Out of range gives an infinity, as it does in Python.
		t.num, _ = strconv.ParseFloat(strings.ReplaceAll(s[:n], "_", ""), 64)
	} else {
		t.kind, n = kNumber, intLen(s)
		if n > maxDigits {
			panic(failure{&Error{Line: l.line, Msg: fmt.Sprintf("a number has more than %d digits", maxDigits), Kind: ErrLimit}})
		}
		b, ok := new(big.Int).SetString(strings.ReplaceAll(s[:n], "_", ""), 0)
		if !ok {
			l.fail("%q is not a number", s[:n])
		}
		t.num = normInt(b)
	}
	l.advance(n)
	return t
}

// digits gives the length of digits with single underscores between them.
func digits(s string, ok func(byte) bool) int {
	n := 0
	for n < len(s) {
		switch {
		case ok(s[n]):
			n++
		case s[n] == '_' && n > 0 && n+1 < len(s) && ok(s[n+1]):
			n += 2
		default:
			return n
		}
	}
	return n
}

func isDecimal(c byte) bool { return c >= '0' && c <= '9' }

// floatLen gives the length of a float with a point or an exponent, or 0.
func floatLen(s string) int {
	n := digits(s, isDecimal)
	whole := n
	if n < len(s) && s[n] == '.' {
		if f := digits(s[n+1:], isDecimal); f > 0 {
			n += 1 + f
		}
	}
	if n < len(s) && (s[n] == 'e' || s[n] == 'E') {
		m := n + 1
		if m < len(s) && (s[m] == '+' || s[m] == '-') {
			m++
		}
		if e := digits(s[m:], isDecimal); e > 0 {
			return m + e
		}
	}
	if n == whole {
		return 0
	}
	return n
}

// intLen gives the length of an integer: 0b, 0o, 0x, a row of zeros, or decimal.
func intLen(s string) int {
	if s[0] != '0' {
		return digits(s, isDecimal)
	}
	if len(s) > 2 {
		var ok func(byte) bool
		switch s[1] | 0x20 {
		case 'b':
			ok = func(c byte) bool { return c == '0' || c == '1' }
		case 'o':
			ok = func(c byte) bool { return c >= '0' && c <= '7' }
		case 'x':
			ok = func(c byte) bool { return isDecimal(c) || c|0x20 >= 'a' && c|0x20 <= 'f' }
		}
		if ok != nil {
			skip := 2
			if s[2] == '_' {
				skip = 3
			}
			if n := digits(s[skip:], ok); n > 0 {
				return skip + n
			}
		}
	}
	return digits(s, func(c byte) bool { return c == '0' })
}
