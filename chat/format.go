package chat

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

// formatted is s.format(…).
func (in *interp) formatted(v value, s string, a args) value {
	_, marked := v.(markup)
	f := &formatter{in: in, args: a, marked: marked}
	return like(v, f.text(s, 2))
}

// formatter fills the fields of a str.format text.
type formatter struct {
	in     *interp
	args   args
	marked bool
	auto   int // next number for {}; -1 after a field with a number of its own
	manual bool
}

// text fills the fields of s. Fields may stand in the format of a field, up to
// the depth given.
func (f *formatter) text(s string, depth int) string {
	if depth == 0 {
		f.in.fail(ErrValue, "the fields of a format nest too deep")
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(s, "{}")
		if i < 0 {
			i = len(s)
		}
		f.in.charge(2 * i)
		b.WriteString(s[:i])
		if i == len(s) {
			return b.String()
		}
		c := s[i]
		s = s[i+1:]
		switch {
		case s != "" && s[0] == c:
			b.WriteByte(c)
			s = s[1:]
		case c == '}':
			f.in.fail(ErrValue, "a format has a single '}'")
		default:
			n := fieldLen(s)
			if n < 0 {
				f.in.fail(ErrValue, "a field of a format has no end")
			}
			t := f.field(s[:n], depth)
			f.in.charge(2 * len(t))
			b.WriteString(t)
			s = s[n+1:]
		}
	}
}

// fieldLen gives the length of the field at the start of s, before its '}'.
func fieldLen(s string) int {
	open, bracket := 1, false
	for i := range len(s) {
		switch s[i] {
		case '[':
			bracket = true
		case ']':
			bracket = false
		case '{':
			open++
		case '}':
			if bracket {
				continue
			}
			if open--; open == 0 {
				return i
			}
		}
	}
	return -1
}

// field formats one field: name, !conversion, :format.
func (f *formatter) field(s string, depth int) string {
	id, rest := s, ""
	bracket := false
	for i := range len(s) {
		if s[i] == '[' {
			bracket = true
		} else if s[i] == ']' {
			bracket = false
		} else if !bracket && (s[i] == '!' || s[i] == ':') {
			id, rest = s[:i], s[i:]
			break
		}
	}
	v := f.value(id)
	if strings.HasPrefix(rest, "!") {
		if len(rest) < 2 || len(rest) > 2 && rest[2] != ':' {
			f.in.fail(ErrValue, "a field of a format has a bad conversion")
		}
		switch rest[1] {
		case 's':
			v = f.in.str(v)
		case 'r':
			v = f.in.repr(v)
		default:
			f.in.fail(ErrValue, "a format has no conversion !%c", rest[1])
		}
		rest = rest[2:]
	}
	form := ""
	if rest != "" {
		form = f.text(rest[1:], depth-1)
	}
	if m, ok := v.(markup); ok && f.marked && form == "" {
		return string(m)
	}
	t := f.in.format(v, form)
	if f.marked {
		t = f.in.escape(t)
	}
	return t
}

// value finds what a field names: {}, {0}, {a}, {a.b}, {a[b]}.
func (f *formatter) value(id string) value {
	i := strings.IndexAny(id, ".[")
	if i < 0 {
		i = len(id)
	}
	first, rest := id[:i], id[i:]
	var v value
	n, err := strconv.Atoi(first)
	switch {
	case first == "":
		if f.manual {
			f.in.fail(ErrValue, "a format mixes numbered fields and fields without a number")
		}
		v = f.positional(f.auto)
		f.auto++
	case err == nil && isDecimal(first[0]):
		if f.auto > 0 {
			f.in.fail(ErrValue, "a format mixes numbered fields and fields without a number")
		}
		f.manual = true
		v = f.positional(n)
	default:
		f.in.step(len(f.args.names))
		found := false
		for i, name := range f.args.names {
			if name == first {
				v, found = f.args.vals[i], true
			}
		}
		if !found {
			f.in.fail(ErrValue, "the format needs the argument %s", f.in.shortRepr(first))
		}
	}
	for rest != "" {
		if rest[0] == '[' {
			end := strings.IndexByte(rest, ']')
			if end < 2 {
				f.in.fail(ErrValue, "an index in a format is empty or has no end")
			}
			var key value = rest[1:end]
			if n, err := strconv.ParseInt(rest[1:end], 10, 64); err == nil && isDecimal(rest[1]) {
				key = n
			}
			v, rest = f.in.item(v, key), rest[end+1:]
			continue
		}
		if rest[0] != '.' {
			f.in.fail(ErrValue, "only '.' or '[' may follow ']' in a format")
		}
		end := strings.IndexAny(rest[1:], ".[") + 1
		if end == 0 {
			end = len(rest)
		}
		if end == 1 {
			f.in.fail(ErrValue, "an attribute in a format is empty")
		}
		v, rest = f.in.attr(v, rest[1:end]), rest[end:]
	}
	return v
}

func (f *formatter) positional(n int) value {
	if n >= len(f.args.pos) {
		f.in.fail(ErrValue, "the format needs at least %d arguments, found %d", n+1, len(f.args.pos))
	}
	return f.args.pos[n]
}

// format formats one value as format(v, form) does.
func (in *interp) format(v value, form string) string {
	s := in.parseSpec(form)
	if t, ok := asText(v); ok {
		if s.verb != 0 && s.verb != 's' || s.sign != 0 || s.alternate || s.group != 0 || s.align == '=' && s.fill != "0" {
			in.fail(ErrValue, "the format %q does not apply to a string", form)
		}
		if s.align == 0 || s.align == '=' {
			s.align = '<'
		}
		return in.padText(s, t)
	}
	if form == "" {
		return in.str(v)
	}
	switch v := v.(type) {
	case float64:
		return in.formatFloat(s, v, form)
	case bool, int64, *big.Int:
		return in.formatInt(s, v, form)
	case *undefined:
		in.fail(ErrValue, "the format %q does not apply to an undefined value: %s", form, v.why)
	}
	in.fail(ErrValue, "the format %q does not apply to a value of type %s", form, typeName(v))
	return ""
}

func (in *interp) formatFloat(s spec, f float64, form string) string {
	var t string
	switch s.verb {
	case 'e', 'E', 'f', 'F', 'g', 'G', '%':
		t = in.floatDigits(s, f)
	case 0:
		if s.precision >= 0 || math.IsInf(f, 0) || math.IsNaN(f) {
			t = in.shortFloat(s, f)
			break
		}
		t = floatText(math.Abs(f))
		if s.group != 0 {
			n := digits(t, isDecimal)
			t = grouped(t[:n], s.group, 3) + t[n:]
		}
		t = signed(s, math.Signbit(f), t)
	default:
		in.fail(ErrValue, "the format %q does not apply to a float", form)
	}
	return in.padNumber(s, t)
}

// shortFloat is the format of a float with a precision and no letter: like g,
// but with a digit behind the point.
func (in *interp) shortFloat(s spec, f float64) string {
	s.verb = 'g'
	t := in.floatDigits(s, f)
	if strings.ContainsAny(t, ".en") {
		return t
	}
	if n := len(strings.TrimLeft(t, "+- ")); n >= max(s.precision, 1) {
		// All digits stand before the point: Python changes to an exponent.
		a := strconv.FormatFloat(math.Abs(f), 'e', max(s.precision, 1)-1, 64)
		i := strings.IndexByte(a, 'e')
		m := a[:i]
		if strings.Contains(m, ".") {
			m = strings.TrimRight(strings.TrimRight(m, "0"), ".")
		}
		return signed(s, math.Signbit(f), m+a[i:])
	}
	return t + ".0"
}

func (in *interp) formatInt(s spec, v value, form string) string {
	n, _ := bigInt(v)
	switch s.verb {
	case 0, 'd', 'n', 'b', 'o', 'x', 'X':
		if s.precision >= 0 {
			in.fail(ErrValue, "the format %q has a precision, which integers do not have", form)
		}
		if s.group == ',' && s.verb != 0 && s.verb != 'd' {
			in.fail(ErrValue, "the format %q groups digits of another base by commas", form)
		}
		return in.padNumber(s, in.intDigits(s, n))
	case 'e', 'E', 'f', 'F', 'g', 'G', '%':
		f, _ := in.float(v)
		return in.formatFloat(s, f, form)
	case 'c':
		if c, ok := smallInt(v); ok && c >= 0 && c <= utf8.MaxRune && utf8.ValidRune(rune(c)) && s.sign == 0 && s.precision < 0 {
			if s.align == 0 {
				s.align = '<'
			}
			return in.padText(s, string(rune(c)))
		}
	}
	in.fail(ErrValue, "the format %q does not apply to an integer", form)
	return ""
}

// parseSpec reads [[fill]align][sign][z][#][0][width][group][.precision][type].
func (in *interp) parseSpec(form string) spec {
	s := spec{precision: -1}
	f := form
	bad := func() { in.fail(ErrValue, "the format %s is not valid", in.shortRepr(form)) }
	isAlign := func(f string) bool { return f != "" && strings.IndexByte("<>^=", f[0]) >= 0 }
	if f != "" {
		_, n := utf8.DecodeRuneInString(f)
		if isAlign(f[n:]) {
			s.fill, s.align, f = f[:n], f[n], f[n+1:]
		} else if isAlign(f) {
			s.align, f = f[0], f[1:]
		}
	}
	if f != "" && strings.IndexByte("+- ", f[0]) >= 0 {
		s.sign, f = f[0], f[1:]
	}
	if strings.HasPrefix(f, "#") {
		s.alternate, f = true, f[1:]
	}
	if strings.HasPrefix(f, "0") && s.fill == "" {
		if s.fill = "0"; s.align == 0 {
			s.align = '='
		}
		f = f[1:]
	}
	s.width = in.digits(&f)
	if f != "" && (f[0] == ',' || f[0] == '_') {
		s.group, f = f[0], f[1:]
	}
	if strings.HasPrefix(f, ".") {
		f = f[1:]
		if f == "" || !isDecimal(f[0]) {
			bad()
		}
		s.precision = in.digits(&f)
	}
	if len(f) > 1 {
		bad()
	}
	if f != "" {
		s.verb = f[0]
	}
	return s
}
