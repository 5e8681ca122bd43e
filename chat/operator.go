package chat

import (
	"cmp"
	"math"
	"math/big"
	"slices"
	"strings"
)

// binary computes a op b.
func (in *interp) binary(op kind, a, b value) value {
	if s, ok := asText(a); ok && op == "%" {
		return in.percent(a, s, b)
	}
	for _, v := range []value{a, b} {
		if u, ok := v.(*undefined); ok {
			in.failUndefined(u)
		}
	}
	if v, ok := in.arithmetic(op, a, b); ok {
		return v
	}
	switch op {
	case "+":
		if v, ok := in.add(a, b); ok {
			return v
		}
	case "*":
		if v, ok := in.repeat(a, b); ok {
			return v
		}
		if v, ok := in.repeat(b, a); ok {
			return v
		}
	}
	in.fail(ErrValue, "the operator %s does not apply to %s and %s", op, typeName(a), typeName(b))
	return nil
}

// add joins two strings, lists or tuples.
func (in *interp) add(a, b value) (value, bool) {
	switch x := a.(type) {
	case string, markup:
		s, _ := asText(a)
		t, ok := asText(b)
		if !ok {
			return nil, false
		}
		_, m := a.(markup)
		_, n := b.(markup)
		switch {
		case m && !n:
			t = in.escape(t)
		case n && !m:
			s = in.escape(s)
		}
		in.charge(len(s) + len(t))
		if m || n {
			return markup(s + t), true
		}
		return s + t, true
	case *list:
		if y, ok := b.(*list); ok {
			in.chargeItems(len(x.items)+len(y.items), valueSize)
			return &list{slices.Concat(x.items, y.items)}, true
		}
	case *tuple:
		if y, ok := b.(*tuple); ok {
			in.chargeItems(len(x.items)+len(y.items), valueSize)
			return &tuple{items: slices.Concat(x.items, y.items)}, true
		}
	}
	return nil, false
}

// repeat gives a, a string or a sequence, times times.
func (in *interp) repeat(a, times value) (value, bool) {
	n, ok := in.index(times)
	if !ok {
		return nil, false
	}
	if _, isBig := times.(*big.Int); isBig {
		in.fail(ErrLimit, "a value cannot be repeated that often")
	}
	n = min(max(n, 0), math.MaxInt32)
	switch x := a.(type) {
	case string, markup:
		s, _ := asText(a)
		if s == "" {
			n = 0
		}
		in.chargeItems(int(n), len(s))
		return like(a, strings.Repeat(s, int(n))), true
	case *list:
		return &list{in.repeatItems(x.items, int(n))}, true
	case *tuple:
		return &tuple{items: in.repeatItems(x.items, int(n))}, true
	}
	return nil, false
}

func (in *interp) repeatItems(items []value, n int) []value {
	if len(items) == 0 {
		n = 0
	}
	in.chargeItems(n, valueSize*len(items))
	return slices.Repeat(items, n)
}

// compared tells whether a op b holds.
func (in *interp) compared(op kind, a, b value) bool {
	switch op {
	case "==":
		return in.equal(a, b)
	case "!=":
		return !in.equal(a, b)
	case "in":
		return in.contains(b, a)
	case "not in":
		return !in.contains(b, a)
	}
	for _, v := range []value{a, b} {
		if u, ok := v.(*undefined); ok {
			in.failUndefined(u)
		}
	}
	c, ok := in.order(a, b)
	if !ok {
		in.fail(ErrValue, "%s and %s have no order, found %s", typeName(a), typeName(b), op)
	}
	switch op {
	case "<":
		return c == less
	case "<=":
		return c == less || c == same
	case ">":
		return c == more
	}
	return c == more || c == same
}

// The results of order. A NaN is in no order to any number.
const (
	less     = -1
	same     = 0
	more     = 1
	unordred = 2
)

// order compares two values of types that have an order.
func (in *interp) order(a, b value) (c int, ok bool) {
	in.enter()
	defer in.leave()
	if s, ok := asText(a); ok {
		t, ok := asText(b)
		in.bytes(min(len(s), len(t)))
		return strings.Compare(s, t), ok
	}
	if c, ok := in.orderNumbers(a, b); ok {
		return c, true
	}
	var xs, ys []value
	switch x := a.(type) {
	case *list:
		y, ok := b.(*list)
		if !ok {
			return 0, false
		}
		xs, ys = x.items, y.items
	case *tuple:
		y, ok := b.(*tuple)
		if !ok {
			return 0, false
		}
		xs, ys = x.items, y.items
	default:
		return 0, false
	}
	for i := range min(len(xs), len(ys)) {
		if !in.equal(xs[i], ys[i]) {
			for _, v := range []value{xs[i], ys[i]} {
				if u, ok := v.(*undefined); ok {
					in.failUndefined(u)
				}
			}
			return in.order(xs[i], ys[i])
		}
	}
	return cmp.Compare(len(xs), len(ys)), true
}

func (in *interp) orderNumbers(a, b value) (c int, ok bool) {
	if x, ok := smallInt(a); ok {
		if y, ok := smallInt(b); ok {
			return cmp.Compare(x, y), true
		}
	}
	x, okX := bigInt(a)
	y, okY := bigInt(b)
	f, floatX := a.(float64)
	g, floatY := b.(float64)
	switch {
	case okX && okY:
		return x.Cmp(y), true
	case !(okX || floatX) || !(okY || floatY):
		return 0, false
	case floatX && math.IsNaN(f) || floatY && math.IsNaN(g):
		return unordred, true
	case floatX && floatY:
		return cmp.Compare(f, g), true
	case floatX:
		return big.NewFloat(f).Cmp(new(big.Float).SetInt(y)), true
	}
	return new(big.Float).SetInt(x).Cmp(big.NewFloat(g)), true
}

// equal tells whether a == b, of whatever types.
func (in *interp) equal(a, b value) bool {
	in.enter()
	defer in.leave()
	if s, ok := asText(a); ok {
		t, ok := asText(b)
		in.bytes(min(len(s), len(t)))
		return ok && s == t
	}
	if c, ok := in.orderNumbers(a, b); ok {
		return c == same
	}
	switch x := a.(type) {
	case nil:
		return b == nil
	case *undefined:
		_, ok := b.(*undefined)
		return ok
	case *list:
		y, ok := b.(*list)
		return ok && in.equalItems(x.items, y.items)
	case *tuple:
		y, ok := b.(*tuple)
		return ok && in.equalItems(x.items, y.items)
	case *dict:
		y, ok := b.(*dict)
		return ok && in.equalDicts(x, y)
	case *rangeVal:
		y, ok := b.(*rangeVal)
		return ok && x.len() == y.len() && (x.len() == 0 || x.start == y.start && (x.len() == 1 || x.step == y.step))
	case bool, int64, *big.Int, float64:
		return false // compared with what is no number
	}
	return a == b // by identity
}

func (in *interp) equalItems(xs, ys []value) bool {
	if len(xs) != len(ys) {
		return false
	}
	for i := range xs {
		if !in.equal(xs[i], ys[i]) {
			return false
		}
	}
	return true
}

func (in *interp) equalDicts(x, y *dict) bool {
	if len(x.entries) != len(y.entries) {
		return false
	}
	for i := range x.entries {
		e := &x.entries[i]
		j, ok := y.find(e.hash)
		if !ok || !in.equal(e.val, y.entries[j].val) {
			return false
		}
	}
	return true
}

// contains tells whether x in v.
func (in *interp) contains(v, x value) bool {
	switch v := v.(type) {
	case string, markup:
		s, _ := asText(v)
		t, ok := asText(x)
		if !ok {
			if u, ok := x.(*undefined); ok {
				in.fail(ErrValue, "only a string can be in a string, found an undefined value: %s", u.why)
			}
			in.fail(ErrValue, "only a string can be in a string, found %s", typeName(x))
		}
		in.bytes(len(s))
		return strings.Contains(s, t)
	case *dict:
		return in.hasKey(v, x)
	case *dictView:
		if v.what == "keys" {
			return in.hasKey(v.of, x)
		}
	case *rangeVal:
		if n, ok := smallInt(x); ok {
			return v.has(n)
		}
	}
	next, ok := in.iterator(v)
	if !ok {
		in.fail(ErrValue, "a value of type %s cannot contain another", typeName(v))
	}
	for {
		y, ok := next()
		if !ok {
			return false
		}
		if in.equal(x, y) {
			return true
		}
	}
}

func (in *interp) hasKey(d *dict, key value) bool {
	_, found, hashable := in.lookup(d, key)
	if !hashable {
		in.fail(ErrValue, "a value of type %s cannot be a key", typeName(key))
	}
	return found
}
