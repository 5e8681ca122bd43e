package chat

import (
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str gives what v prints as.
func (in *interp) str(v value) string {
	switch v := v.(type) {
	case string:
		return v
	case markup:
		return string(v)
	case nil:
		return "None"
	case int64:
		return strconv.FormatInt(v, 10)
	case *undefined:
		return ""
	}
	return in.repr(v)
}

// repr gives what v prints as inside of a list.
func (in *interp) repr(v value) string {
	b := in.appendRepr(nil, v)
	in.charge(len(b))
	return string(b)
}

// appendRepr adds v's form to b, whose growth it counts.
func (in *interp) appendRepr(b []byte, v value) []byte {
	in.enter()
	defer in.leave()
	n := len(b)
	switch v := v.(type) {
	case nil:
		b = append(b, "None"...)
	case bool:
		b = append(b, pyBool(v)...)
	case int64:
		b = strconv.AppendInt(b, v, 10)
	case *big.Int:
		b = append(b, in.bigText(v)...)
	case float64:
		b = append(b, floatText(v)...)
	case string:
		in.charge(len(v))
		b = appendQuoted(b, v)
	case markup:
		in.charge(len(v))
		b = append(appendQuoted(append(b, "Markup("...), string(v)), ')')
	case *undefined:
		b = append(b, "Undefined"...)
	case *list:
		return append(in.appendItems(append(b, '['), v.items), ']')
	case *tuple:
		b = in.appendItems(append(b, '('), v.items)
		if len(v.items) == 1 {
			b = append(b, ',')
		}
		return append(b, ')')
	case *dict:
		return in.appendDict(b, v)
	case *dictView:
		b = append(append(b, typeName(v)...), "(["...)
		for i := range v.of.entries {
			if i > 0 {
				b = append(b, ", "...)
			}
			b = in.appendRepr(b, v.at(i))
		}
		return append(b, "])"...)
	case *rangeVal:
		b = fmt.Appendf(b, "range(%d, %d", v.start, v.stop)
		if v.step != 1 {
			b = fmt.Appendf(b, ", %d", v.step)
		}
		b = append(b, ')')
	case *namespace:
		b = append(in.appendDict(append(b, "<Namespace "...), &v.attrs), '>')
	case *macro:
		b = append(b, "<Macro "+quote(v.name)+">"...)
	case *loop:
		b = fmt.Appendf(b, "<LoopContext %d/%d>", v.index0+1, v.length(in))
	default:
		b = append(b, "<"+typeName(v)+">"...)
	}
	in.charge(len(b) - n)
	return b
}

func (in *interp) appendItems(b []byte, items []value) []byte {
	for i, it := range items {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = in.appendRepr(b, it)
	}
	return b
}

func (in *interp) appendDict(b []byte, d *dict) []byte {
	b = append(b, '{')
	for i := range d.entries {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = in.appendRepr(b, d.entries[i].key)
		b = in.appendRepr(append(b, ": "...), d.entries[i].val)
	}
	return append(b, '}')
}

func pyBool(v bool) string {
	if v {
		return "True"
	}
	return "False"
}

// bigText prints a large integer, up to the digits that Python prints.
func (in *interp) bigText(v *big.Int) string {
	in.step(v.BitLen() / 8)
	s := v.String()
	if len(strings.TrimPrefix(s, "-")) > maxDigits {
		in.fail(ErrValue, "an integer of more than %d digits cannot be printed", maxDigits)
	}
	return s
}

// floatText prints a float with as few digits as tell it from its neighbours,
// and always as a float: 2.0, 1e+16, nan.
func floatText(f float64) string {
	switch {
	case math.IsNaN(f):
		return "nan"
	case math.IsInf(f, 1):
		return "inf"
	case math.IsInf(f, -1):
		return "-inf"
	}
	if a := math.Abs(f); a != 0 && (a < 1e-4 || a >= 1e16) {
		return strconv.FormatFloat(f, 'e', -1, 64)
	}
	s := strconv.FormatFloat(f, 'f', -1, 64)
	if !strings.Contains(s, ".") {
		s += ".0"
	}
	return s
}

// quote writes a string as Python's repr does.
func quote(s string) string { return string(appendQuoted(nil, s)) }

func appendQuoted(b []byte, s string) []byte {
	q := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		q = '"'
	}
	b = append(b, q)
	for _, r := range s {
		switch {
		case r == rune(q) || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\r':
			b = append(b, `\r`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r < 0x7f && r >= ' ':
			b = append(b, byte(r))
		case r >= 0x80 && unicode.IsPrint(r):
			b = utf8.AppendRune(b, r)
		default:
			b = append(b, asciiEscape(r)...)
		}
	}
	return append(b, q)
}

// escape replaces the five characters that mean something in HTML.
func (in *interp) escape(s string) string {
	in.charge(len(s))
	if !strings.ContainsAny(s, `&<>'"`) {
		return s
	}
	in.charge(5 * len(s))
	return escaper.Replace(s)
}

var escaper = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;", "'", "&#39;", `"`, "&#34;")
