package chat

import (
	"math"
	"math/big"
	"strconv"
	"strings"
	"unicode/utf8"
)

func init() {
	filters["abs"] = func(in *interp, v value, a args) value {
		a.bind(in, "abs")
		if f, ok := v.(float64); ok {
			return math.Abs(f)
		}
		n, ok := bigInt(v)
		if !ok {
			in.failNumber(v)
		}
		return normInt(new(big.Int).Abs(n))
	}
	filters["int"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "int", "default?", "base?")
		base := int64(10)
		if given(p[1]) {
			base = in.integer("int: base", p[1])
		}
		if n, ok := in.toInt(v, base); ok {
			return n
		}
		if f, ok := in.toFloat(v); ok && !math.IsNaN(f) && !math.IsInf(f, 0) {
			n, _ := big.NewFloat(f).Int(nil)
			return in.keepInt(n)
		}
		if given(p[0]) {
			return p[0]
		}
		return int64(0)
	}
	filters["float"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "float", "default?")
		if f, ok := in.toFloat(v); ok {
			return f
		}
		if given(p[0]) {
			return p[0]
		}
		return 0.0
	}
	filters["round"] = filterRound
	fallback := func(in *interp, v value, a args) value {
		p := a.bind(in, "default", "default_value?", "boolean?")
		_, no := v.(*undefined)
		if !no && !(in.flag(p[1]) && !in.truth(v)) {
			return v
		}
		if given(p[0]) {
			return p[0]
		}
		return ""
	}
	filters["default"], filters["d"] = fallback, fallback
}

// toInt is Python's int(v) where it succeeds.
func (in *interp) toInt(v value, base int64) (value, bool) {
	if u, ok := v.(*undefined); ok {
		in.failUndefined(u)
	}
	if s, ok := asText(v); ok {
		return in.parseInt(s, base)
	}
	if f, ok := v.(float64); ok {
		if math.IsNaN(f) {
			return nil, false
		}
		if math.IsInf(f, 0) {
			in.fail(ErrValue, "an infinite float is no integer")
		}
		n, _ := big.NewFloat(f).Int(nil)
		return in.keepInt(n), true
	}
	n, ok := bigInt(v)
	if !ok {
		return nil, false
	}
	return normInt(n), true
}

// parseInt reads an integer as Python's int(s, base) does.
func (in *interp) parseInt(s string, base int64) (value, bool) {
	in.bytes(len(s))
	s = strings.TrimFunc(s, isSpace)
	t := strings.TrimLeft(s, "+-")
	if len(s)-len(t) > 1 || base != 0 && (base < 2 || base > 36) {
		return nil, false
	}
	if len(t) > maxDigits {
		return nil, false
	}
	b := base
	if len(t) > 2 && t[0] == '0' {
		for letter, value := range map[byte]int64{'b': 2, 'o': 8, 'x': 16} {
			if t[1]|0x20 == letter && (base == 0 || base == value) {
				b, t = value, strings.TrimPrefix(t[2:], "_")
			}
		}
	}
	if b == 0 {
		b = 10
		if len(t) > 1 && t[0] == '0' && strings.Trim(t, "0_") != "" {
			return nil, false
		}
	}
	for i := range len(t) {
		if t[i] == '_' && (i == 0 || i == len(t)-1 || t[i-1] == '_') {
			return nil, false
		}
	}
	t = strings.ReplaceAll(t, "_", "")
	if t == "" || t[0] == '+' || t[0] == '-' || !utf8.ValidString(t) {
		return nil, false
	}
	n, ok := new(big.Int).SetString(t, int(b))
	if !ok {
		return nil, false
	}
	if s[0] == '-' {
		n.Neg(n)
	}
	return in.keepInt(n), true
}

// toFloat is Python's float(v) where it succeeds.
func (in *interp) toFloat(v value) (float64, bool) {
	if u, ok := v.(*undefined); ok {
		in.failUndefined(u)
	}
	s, ok := asText(v)
	if !ok {
		return in.float(v)
	}
	in.step(len(s) / 4)
	s = strings.TrimFunc(s, isSpace)
	t := strings.TrimLeft(s, "+-")
	switch strings.ToLower(t) {
	case "nan", "inf", "infinity":
		if len(s)-len(t) > 1 {
			return 0, false
		}
	default:
		// Go also reads hexadecimal floats, Python does not.
		if strings.ContainsAny(t, "xXpP") {
			return 0, false
		}
		for i := range len(t) {
			if t[i] == '_' && (i == 0 || i == len(t)-1 || !isDecimal(t[i-1]) || !isDecimal(t[i+1])) {
				return 0, false
			}
		}
		s = strings.ReplaceAll(s, "_", "")
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil && !math.IsInf(f, 0) {
		return 0, false
	}
	return f, true
}

func filterRound(in *interp, v value, a args) value {
	p := a.bind(in, "round", "precision?", "method?")
	digits := int64(0)
	if given(p[0]) {
		digits = in.integer("round: precision", p[0])
	}
	method := "common"
	if given(p[1]) {
		method = in.text("round", p[1])
	}
	if _, ok := v.(float64); !ok {
		if _, ok := bigInt(v); !ok {
			in.failNumber(v)
		}
	}
	switch method {
	case "common":
		return in.round(v, digits)
	case "ceil", "floor":
		scale := in.binary("**", int64(10), digits)
		f, _ := in.float(in.binary("*", v, scale))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			in.fail(ErrValue, "round: the number is not finite")
		}
		if f = math.Floor(f); method == "ceil" {
			g, _ := in.float(in.binary("*", v, scale))
			f = math.Ceil(g)
		}
		n, _ := big.NewFloat(f).Int(nil)
		return in.binary("/", in.keepInt(n), scale)
	}
	in.fail(ErrValue, `round: the method must be "common", "ceil" or "floor"`)
	return nil
}

// round rounds to so many digits behind the point, halves to even.
func (in *interp) round(v value, digits int64) value {
	f, isFloat := v.(float64)
	if !isFloat {
		n, _ := bigInt(v)
		if digits >= 0 {
			return normInt(n)
		}
		if -digits > maxDigits {
			return int64(0)
		}
		return in.keepInt(roundInt(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(-digits), nil)))
	}
	switch {
	case math.IsNaN(f) || math.IsInf(f, 0) || f == 0 || digits > 330:
		return f
	case digits < -330:
		return math.Copysign(0, f)
	case digits >= 0:
		r, err := strconv.ParseFloat(strconv.FormatFloat(f, 'f', int(digits), 64), 64)
		if err != nil {
			in.fail(ErrValue, "round: the result is too large for a float")
		}
		return r
	}
	// Exactly: a float is a fraction with a power of two below it.
	scale := new(big.Int).Exp(big.NewInt(10), big.NewInt(-digits), nil)
	r := new(big.Rat).SetFloat64(f)
	n := roundInt(r.Num(), new(big.Int).Mul(r.Denom(), scale))
	n.Div(n, r.Denom())
	g, _ := new(big.Float).SetInt(n).Float64()
	if g == 0 {
		return math.Copysign(0, f)
	}
	return g
}

// roundInt rounds n to a multiple of unit, halves to even.
func roundInt(n, unit *big.Int) *big.Int {
	q, m := new(big.Int).DivMod(n, unit, new(big.Int))
	if c := new(big.Int).Lsh(m, 1).Cmp(unit); c > 0 || c == 0 && q.Bit(0) == 1 {
		q.Add(q, big.NewInt(1))
	}
	return q.Mul(q, unit)
}
