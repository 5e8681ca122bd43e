package chat

import "math/big"

// tests are the tests of "is" by name. Every one gets the value before the is
// and its arguments.
var tests map[string]func(in *interp, v value, a args) bool

func init() {
	type test = func(in *interp, v value, a args) bool
	plain := func(id string, f func(in *interp, v value) bool) test {
		return func(in *interp, v value, a args) bool {
			a.bind(in, id)
			return f(in, v)
		}
	}
	with := func(id string, f func(in *interp, v, other value) bool) test {
		return func(in *interp, v value, a args) bool { return f(in, v, a.bind(in, id, "other")[0]) }
	}
	operator := func(op kind) test {
		return with(string(op), func(in *interp, v, other value) bool { return in.compared(op, v, other) })
	}
	rest := func(in *interp, v value, n int64) value { return in.binary("%", v, n) }
	tests = map[string]test{
		"defined":   plain("defined", func(_ *interp, v value) bool { _, no := v.(*undefined); return !no }),
		"undefined": plain("undefined", func(_ *interp, v value) bool { _, no := v.(*undefined); return no }),
		"none":      plain("none", func(_ *interp, v value) bool { return v == nil }),
		"boolean":   plain("boolean", func(_ *interp, v value) bool { _, ok := v.(bool); return ok }),
		"true":      plain("true", func(_ *interp, v value) bool { return v == true }),
		"false":     plain("false", func(_ *interp, v value) bool { return v == false }),
		"integer": plain("integer", func(_ *interp, v value) bool {
			_, is := v.(bool)
			_, ok := bigInt(v)
			return ok && !is
		}),
		"float": plain("float", func(_ *interp, v value) bool { _, ok := v.(float64); return ok }),
		"number": plain("number", func(_ *interp, v value) bool {
			_, ok := bigInt(v)
			_, is := v.(float64)
			return ok || is
		}),
		"string":   plain("string", func(_ *interp, v value) bool { _, ok := asText(v); return ok }),
		"mapping":  plain("mapping", func(_ *interp, v value) bool { _, ok := v.(*dict); return ok }),
		"escaped":  plain("escaped", func(_ *interp, v value) bool { _, ok := v.(markup); return ok }),
		"iterable": plain("iterable", func(in *interp, v value) bool { _, ok := in.iterator(v); return ok || isLoop(v) }),
		"sequence": plain("sequence", func(_ *interp, v value) bool {
			switch v.(type) {
			case string, markup, *list, *tuple, *dict, *rangeVal, *undefined:
				return true
			}
			return false
		}),
		"callable": plain("callable", func(_ *interp, v value) bool {
			switch v.(type) {
			case *function, *macro, *loop, *joiner, *undefined:
				return true
			}
			return false
		}),
		"lower": plain("lower", func(in *interp, v value) bool {
			s := in.str(v)
			in.step(len(s) / 4)
			return cased(s, isLower)
		}),
		"upper": plain("upper", func(in *interp, v value) bool {
			s := in.str(v)
			in.step(len(s) / 4)
			return cased(s, isUpper)
		}),
		"odd":  plain("odd", func(in *interp, v value) bool { return in.equal(rest(in, v, 2), int64(1)) }),
		"even": plain("even", func(in *interp, v value) bool { return in.equal(rest(in, v, 2), int64(0)) }),
		"divisibleby": with("divisibleby", func(in *interp, v, other value) bool {
			return in.equal(in.binary("%", v, other), int64(0))
		}),
		"sameas": with("sameas", func(in *interp, v, other value) bool { return in.identical(v, other) }),
		"in":     with("in", func(in *interp, v, other value) bool { return in.contains(other, v) }),
		"filter": plain("filter", func(_ *interp, v value) bool {
			id, _ := asText(v)
			_, ok := filters[id]
			_, jinja := unsupported[id]
			return ok || jinja
		}),
		"test": plain("test", func(_ *interp, v value) bool {
			id, _ := asText(v)
			_, ok := tests[id]
			return ok
		}),
	}
	for op, ids := range map[kind][]string{
		"==": {"==", "eq", "equalto"}, "!=": {"!=", "ne"},
		">": {">", "gt", "greaterthan"}, ">=": {">=", "ge"},
		"<": {"<", "lt", "lessthan"}, "<=": {"<=", "le"},
	} {
		for _, id := range ids {
			tests[id] = operator(op)
		}
	}
}

func isLoop(v value) bool {
	_, ok := v.(*loop)
	return ok
}

// identical tells whether two values are one: Python's is, where equal numbers
// and strings of one type count as one.
func (in *interp) identical(a, b value) bool {
	switch a.(type) {
	case nil, bool, int64, float64, string, markup, *big.Int, *undefined:
		return typeName(a) == typeName(b) && in.equal(a, b)
	}
	return a == b
}
