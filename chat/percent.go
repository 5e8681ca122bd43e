package chat

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// spec is one conversion of a % format, or the part after the colon of a
// str.format field.
type spec struct {
	fill      string // one character; empty: a space
	align     byte   // '<', '>', '^', '=', or 0 for the type's own
	sign      byte   // '+', '-', ' ' or 0
	alternate bool   // '#'
	group     byte   // ',' or '_' between groups of digits, or 0
	width     int
	precision int  // -1: none
	verb      byte // type letter, or 0
}

// percent computes format % arg.
func (in *interp) percent(model value, format string, arg value) value {
	_, marked := model.(markup)
	var items []value
	mayStay := false // what has items itself need not be used
	switch t := arg.(type) {
	case *tuple:
		items = t.items
	case *list, *dict, *rangeVal, *undefined:
		items, mayStay = []value{arg}, true
	default:
		items = []value{arg}
	}
	mapping, _ := arg.(*dict)
	used := 0
	next := func() value {
		if used >= len(items) {
			in.fail(ErrValue, "not enough arguments for the format")
		}
		used++
		return items[used-1]
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(format, '%')
		if i < 0 {
			i = len(format)
		}
		in.charge(2 * i)
		b.WriteString(format[:i])
		if i == len(format) {
			break
		}
		format = in.conversion(&b, format[i+1:], marked, mapping, next)
	}
	if used < len(items) && !mayStay {
		in.fail(ErrValue, "not all arguments were used by the format")
	}
	return like(model, b.String())
}

// conversion writes one conversion, which begins after its percent sign, and
// gives the rest of the format.
func (in *interp) conversion(b *strings.Builder, f string, marked bool, mapping *dict, next func() value) string {
	var arg value
	named := false
	if strings.HasPrefix(f, "(") {
		depth, end := 0, -1
		for i := range len(f) {
			if f[i] == '(' {
				depth++
			} else if f[i] == ')' {
				if depth--; depth == 0 {
					end = i
					break
				}
			}
		}
		if end < 0 {
			in.fail(ErrValue, "the name in a format has no end")
		}
		if mapping == nil {
			in.fail(ErrValue, "a format with names needs a mapping")
		}
		v, found, _ := in.lookup(mapping, f[1:end])
		if !found {
			in.fail(ErrValue, "the format needs the key %s", in.shortRepr(f[1:end]))
		}
		arg, named, f = v, true, f[end+1:]
	}
	s := spec{precision: -1, align: '>'}
	f = in.flags(&s, f, next)
	if f == "" {
		in.fail(ErrValue, "the format ends in the middle of a conversion")
	}
	s.verb = f[0]
	if s.verb == '%' {
		b.WriteByte('%')
		return f[1:]
	}
	if !named {
		arg = next()
	}
	t := in.convert(s, arg, marked)
	in.charge(2 * len(t))
	b.WriteString(t)
	return f[1:]
}

// flags reads the flags, the width and the precision.
func (in *interp) flags(s *spec, f string, next func() value) string {
	zero := false
	for f != "" && strings.IndexByte("-+ #0", f[0]) >= 0 {
		switch f[0] {
		case '-':
			s.align = '<'
		case '#':
			s.alternate = true
		case '0':
			zero = true
		case ' ':
			if s.sign == 0 {
				s.sign = ' '
			}
		default:
			s.sign = '+'
		}
		f = f[1:]
	}
	number := func() int {
		if strings.HasPrefix(f, "*") {
			f = f[1:]
			n, ok := next().(int64)
			if !ok {
				in.fail(ErrValue, "* in a format needs an integer")
			}
			if n < 0 {
				s.align = '<'
				n = -max(n, -math.MaxInt64)
			}
			return in.width(n)
		}
		return in.digits(&f)
	}
	s.width = number()
	if strings.HasPrefix(f, ".") {
		f = f[1:]
		s.precision = number()
	}
	for f != "" && strings.IndexByte("hlL", f[0]) >= 0 {
		f = f[1:]
	}
	if zero && s.align != '<' {
		s.fill, s.align = "0", '='
	}
	return f
}

// digits reads a decimal number from the start of f.
func (in *interp) digits(f *string) int {
	n := digits(*f, isDecimal)
	if n == 0 {
		return 0
	}
	if strings.Contains((*f)[:n], "_") {
		n = strings.IndexByte(*f, '_')
	}
	v, err := strconv.ParseInt((*f)[:n], 10, 64)
	if err != nil {
		v = math.MaxInt64
	}
	*f = (*f)[n:]
	return in.width(v)
}

// convert formats one argument of a % format.
func (in *interp) convert(s spec, arg value, marked bool) string {
	switch s.verb {
	case 's', 'r', 'a':
		var t string
		switch {
		case s.verb == 'a':
			in.fail(ErrRefused, "the conversion %%a is not supported")
		case s.verb == 'r':
			t = in.repr(arg)
		default:
			t = in.str(arg)
		}
		if _, safe := arg.(markup); marked && (s.verb == 'r' || !safe) {
			t = in.escape(t)
		}
		if s.align == '=' {
			s.align, s.fill = '>', ""
		}
		return in.padText(s, t)
	case 'd', 'i', 'u':
		if f, ok := arg.(float64); ok {
			if math.IsNaN(f) || math.IsInf(f, 0) {
				in.fail(ErrValue, "a float that is not finite is no integer")
			}
			n, _ := big.NewFloat(f).Int(nil)
			arg = in.keepInt(n)
		}
		s.verb = 'd'
	case 'x', 'X', 'o':
	case 'e', 'E', 'f', 'F', 'g', 'G':
		f, ok := in.float(arg)
		if !ok {
			in.failNumber(arg)
		}
		return in.padNumber(s, in.floatDigits(s, f))
	case 'c':
		if t, ok := asText(arg); ok && utf8.RuneCountInString(t) == 1 {
			return in.padText(s, t)
		}
		if n, ok := smallInt(arg); ok && n >= 0 && n <= utf8.MaxRune && utf8.ValidRune(rune(n)) {
			return in.padText(s, string(rune(n)))
		}
		in.fail(ErrValue, "%%c needs a character")
	default:
		in.fail(ErrValue, "a format has no conversion %q", s.verb)
	}
	n, ok := bigInt(arg)
	if !ok {
		in.failNumber(arg)
	}
	t := in.intDigits(s, n)
	if p := len(strings.TrimLeft(t, "+- ")); s.precision > p {
		in.charge(s.precision)
		t = t[:len(t)-p] + strings.Repeat("0", s.precision-p) + t[len(t)-p:]
	}
	return in.padNumber(s, t)
}

func (in *interp) failNumber(v value) {
	if u, ok := v.(*undefined); ok {
		in.failUndefined(u)
	}
	in.fail(ErrValue, "the format needs a number, found %s", typeName(v))
}

// intDigits writes an integer with its sign, in the base of the verb.
func (in *interp) intDigits(s spec, n *big.Int) string {
	base, prefix := 10, ""
	switch s.verb {
	case 'x', 'X':
		base, prefix = 16, "0x"
	case 'o':
		base, prefix = 8, "0o"
	case 'b':
		base, prefix = 2, "0b"
	}
	var t string
	if base == 10 {
		t = strings.TrimPrefix(in.bigText(n), "-")
	} else {
		in.step(n.BitLen())
		t = new(big.Int).Abs(n).Text(base)
	}
	if s.group != 0 {
		size := 3
		if base != 10 {
			size = 4
		}
		t = grouped(t, s.group, size)
	}
	if s.alternate {
		t = prefix + t
	}
	if s.verb == 'X' {
		t = strings.ToUpper(t)
	}
	return signed(s, n.Sign() < 0, t)
}

func signed(s spec, negative bool, t string) string {
	switch {
	case negative:
		return "-" + t
	case s.sign == '+' || s.sign == ' ':
		return string(s.sign) + t
	}
	return t
}

// grouped puts a separator between groups of digits.
func grouped(t string, sep byte, size int) string {
	var b []byte
	for i := range len(t) {
		if i > 0 && (len(t)-i)%size == 0 {
			b = append(b, sep)
		}
		b = append(b, t[i])
	}
	return string(b)
}

// floatDigits writes a float with its sign as the verb asks.
func (in *interp) floatDigits(s spec, f float64) string {
	negative := math.Signbit(f) && !math.IsNaN(f)
	a := math.Abs(f)
	prec := s.precision
	if prec < 0 {
		prec = 6
	}
	in.charge(prec + 400)
	var t string
	switch {
	case math.IsNaN(f):
		t = "nan"
	case math.IsInf(f, 0):
		t = "inf"
	case s.verb == 'g' || s.verb == 'G':
		t = general(a, max(prec, 1), s.alternate)
	case s.verb == '%':
		t = strconv.FormatFloat(a*100, 'f', prec, 64) + "%"
	case s.verb == 'e' || s.verb == 'E':
		t = strconv.FormatFloat(a, 'e', prec, 64)
	default:
		t = strconv.FormatFloat(a, 'f', prec, 64)
	}
	if s.verb == 'E' || s.verb == 'G' || s.verb == 'F' {
		t = strings.ToUpper(t)
	}
	if s.group != 0 && !math.IsInf(f, 0) && !math.IsNaN(f) {
		n := digits(t, isDecimal)
		t = grouped(t[:n], s.group, 3) + t[n:]
	}
	return signed(s, negative, t)
}

// general writes a float with prec significant digits, with an exponent when
// it is very small or has more digits than that.
func general(a float64, prec int, keepZeros bool) string {
	e := strconv.FormatFloat(a, 'e', prec-1, 64)
	i := strings.IndexByte(e, 'e')
	exp, _ := strconv.Atoi(e[i+1:])
	mantissa, suffix := e[:i], e[i:]
	if exp >= -4 && exp < prec {
		mantissa, suffix = strconv.FormatFloat(a, 'f', prec-1-exp, 64), ""
	}
	if !keepZeros && strings.Contains(mantissa, ".") {
		mantissa = strings.TrimRight(strings.TrimRight(mantissa, "0"), ".")
	}
	return mantissa + suffix
}

// padText cuts a text to the precision and fills it to the width.
func (in *interp) padText(s spec, t string) string {
	n := in.runes(t)
	if s.precision >= 0 && s.precision < n {
		t, n = t[:byteOffset(t, s.precision)], s.precision
	}
	return in.pad(s, t, s.width-n, 0)
}

// padNumber fills a number to the width.
func (in *interp) padNumber(s spec, t string) string {
	lead := 0
	if t != "" && strings.IndexByte("+- ", t[0]) >= 0 {
		lead = 1
	}
	if s.alternate && len(t) >= lead+2 && t[lead] == '0' && strings.IndexByte("xXob", t[lead+1]) >= 0 {
		lead += 2
	}
	return in.pad(s, t, s.width-len(t), lead)
}

// pad adds n fill characters; with '=' they go behind the first lead bytes.
func (in *interp) pad(s spec, t string, n, lead int) string {
	if n <= 0 {
		return t
	}
	fill := s.fill
	if fill == "" {
		fill = " "
	}
	in.chargeItems(n, len(fill))
	in.charge(len(t))
	switch s.align {
	case '<':
		return t + strings.Repeat(fill, n)
	case '^':
		return strings.Repeat(fill, n/2) + t + strings.Repeat(fill, n-n/2)
	case '=':
		return t[:lead] + strings.Repeat(fill, n) + t[lead:]
	}
	return strings.Repeat(fill, n) + t
}
