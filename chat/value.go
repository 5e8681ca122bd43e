package chat

import (
	"math/big"
)

// value is what an expression has: one of
//
//	nil, bool, int64, *big.Int (outside of int64 only), float64, string,
//	markup, *list, *tuple, *dict, *undefined, *namespace, *macro, *function,
//	*loop, *rangeVal, *generator, *dictView, *cycler, *joiner
//
// Strings are valid UTF-8 and counted in characters. Lists, tuples and dicts
// do not change once the expression that makes them is done.
type value = any

// markup is a string that the filters safe or escape have marked: adding plain
// text to it escapes that text. Printing it shows no difference.
type markup string

type list struct{ items []value }

type tuple struct {
	items []value
	names []string // of the items, for groupby; otherwise nil
}

// namespace is the one kind of value that a template can change.
type namespace struct{ attrs dict }

// function is a function of ours that a template can hold and call.
type function struct {
	name string
	self value // what a method belongs to
	call func(in *interp, a args) value
}

// rangeVal is range(start, stop, step); step is not 0.
type rangeVal struct{ start, stop, step int64 }

// size is exact for any bounds: the difference of two int64 fits a uint64.
func (r *rangeVal) size() uint64 {
	switch {
	case r.step > 0 && r.start < r.stop:
		return (uint64(r.stop)-uint64(r.start)-1)/uint64(r.step) + 1
	case r.step < 0 && r.start > r.stop:
		return (uint64(r.start)-uint64(r.stop)-1)/abs(r.step) + 1
	}
	return 0
}

// len is the size, which the function range keeps small.
func (r *rangeVal) len() int { return int(r.size()) }

func (r *rangeVal) has(n int64) bool {
	if r.step > 0 {
		return n >= r.start && n < r.stop && (uint64(n)-uint64(r.start))%uint64(r.step) == 0
	}
	return n <= r.start && n > r.stop && (uint64(r.start)-uint64(n))%abs(r.step) == 0
}

func (r *rangeVal) at(i int) int64 { return r.start + int64(i)*r.step }

// generator is a sequence that can be walked once. next reports false at the end.
type generator struct {
	next func() (value, bool)
	src  value // what it reads from, for the memory estimate
}

// dictView is d.keys(), d.values() or d.items().
type dictView struct {
	of   *dict
	what string // "keys", "values", "items"
}

func (v *dictView) at(i int) value {
	e := &v.of.entries[i]
	switch v.what {
	case "keys":
		return e.key
	case "values":
		return e.val
	}
	return &tuple{items: []value{e.key, e.val}}
}

// undefined stands for what was not there. It prints as nothing, is false and
// empty, and fails in any other use with why.
type undefined struct {
	why  string
	kind error
}

func undef(why string) *undefined { return &undefined{why: why, kind: ErrUndefined} }

// cycler is cycler(a, b, …): next goes through the items for ever.
type cycler struct {
	items []value
	at    int
}

// joiner is joiner(sep): empty at the first call, sep at the others.
type joiner struct {
	sep  value
	used bool
}

// typeName is Python's name for the type of v.
func typeName(v value) string {
	switch v := v.(type) {
	case nil:
		return "NoneType"
	case bool:
		return "bool"
	case int64, *big.Int:
		return "int"
	case float64:
		return "float"
	case string:
		return "str"
	case markup:
		return "Markup"
	case *list:
		return "list"
	case *tuple:
		return "tuple"
	case *dict:
		return "dict"
	case *undefined:
		return "Undefined"
	case *namespace:
		return "Namespace"
	case *macro:
		return "Macro"
	case *function:
		return "function"
	case *loop:
		return "LoopContext"
	case *rangeVal:
		return "range"
	case *generator:
		return "generator"
	case *dictView:
		return "dict_" + v.what
	case *cycler:
		return "Cycler"
	case *joiner:
		return "Joiner"
	}
	return "object"
}

// text gives the text of a plain or marked string.
func asText(v value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case markup:
		return string(v), true
	}
	return "", false
}

// like gives s the type that the string model has.
func like(model value, s string) value {
	if _, ok := model.(markup); ok {
		return markup(s)
	}
	return s
}

// truth is what v counts as in a condition.
func (in *interp) truth(v value) bool {
	switch v := v.(type) {
	case nil, *undefined:
		return false
	case bool:
		return v
	case int64:
		return v != 0
	case float64:
		return v != 0
	case string:
		return v != ""
	case markup:
		return v != ""
	case *list, *tuple, *dict, *rangeVal, *dictView:
		return in.mustLen(v) != 0
	case *loop:
		return v.length(in) != 0
	}
	return true
}

// length gives len(v), and false when v has none.
func (in *interp) length(v value) (int, bool) {
	switch v := v.(type) {
	case string:
		return in.runes(v), true
	case markup:
		return in.runes(string(v)), true
	case *list:
		return len(v.items), true
	case *tuple:
		return len(v.items), true
	case *dict:
		return len(v.entries), true
	case *dictView:
		return len(v.of.entries), true
	case *rangeVal:
		return v.len(), true
	case *undefined:
		return 0, true
	case *loop:
		return v.length(in), true
	}
	return 0, false
}

func (in *interp) mustLen(v value) int {
	n, ok := in.length(v)
	if !ok {
		in.fail(ErrValue, "a value of type %s has no length", typeName(v))
	}
	return n
}
