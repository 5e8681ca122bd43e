package chat

import (
	"strconv"
	"strings"
)

func init() {
	filters["map"] = filterMap
	choose := func(id string, attr, want bool) {
		filters[id] = func(in *interp, v value, a args) value { return in.choose(id, v, a, attr, want) }
	}
	choose("select", false, true)
	choose("reject", false, false)
	choose("selectattr", true, true)
	choose("rejectattr", true, false)
	filters["attr"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "attr", "name")
		id := in.text("attr", p[0])
		if u, ok := v.(*undefined); ok {
			in.failUndefined(u)
		}
		if x, ok := in.own(v, id); ok {
			return x
		}
		return in.nothing(v, in.shortRepr(id))
	}
	extreme := func(id string, op kind) {
		filters[id] = func(in *interp, v value, a args) value {
			p := a.bind(in, id, "case_sensitive?", "attribute?")
			var post func(value) value
			if !in.flag(p[0]) {
				post = in.folded
			}
			get := in.getter(p[1], post)
			next := in.iterate(v)
			best, ok := next()
			if !ok {
				return undef("the " + id + " of an empty sequence is undefined")
			}
			key := get(best)
			for {
				x, ok := next()
				if !ok {
					return best
				}
				if k := get(x); in.compared(op, k, key) {
					best, key = x, k
				}
			}
		}
	}
	extreme("min", "<")
	extreme("max", ">")
	filters["sum"] = func(in *interp, v value, a args) value {
		p := a.bind(in, "sum", "attribute?", "start?")
		var total value = int64(0)
		if given(p[1]) {
			total = p[1]
		}
		if _, ok := asText(total); ok {
			in.fail(ErrValue, "sum does not add strings, use join")
		}
		get := in.getter(p[0], nil)
		next := in.iterate(v)
		for {
			x, ok := next()
			if !ok {
				return total
			}
			total = in.binary("+", total, get(x))
		}
	}
}

// folded gives a string in lower case and any other value as it is.
func (in *interp) folded(v value) value {
	if s, ok := asText(v); ok {
		return like(v, in.mapText(s, lower))
	}
	return v
}

// path splits the name of an attribute: "a.0.b" is a, then item 0, then b.
func (in *interp) path(attr value) []value {
	if attr == nil || !given(attr) {
		return nil
	}
	s, ok := asText(attr)
	if !ok {
		return []value{attr}
	}
	in.charge(len(s))
	in.chargeItems(strings.Count(s, ".")+1, 2*valueSize)
	var parts []value
	for part := range strings.SplitSeq(s, ".") {
		if n, err := strconv.ParseInt(part, 10, 64); err == nil && isDecimal(part[0]) {
			parts = append(parts, n)
		} else {
			parts = append(parts, part)
		}
	}
	return parts
}

// getter gives the function that reads an attribute, if one is asked for, and
// hands the result to post, if that is not nil.
func (in *interp) getter(attr value, post func(value) value) func(value) value {
	return in.getterOr(attr, post, nil)
}

// getterOr is getter with a value for attributes that are undefined.
func (in *interp) getterOr(attr value, post func(value) value, fallback value) func(value) value {
	parts := in.path(attr)
	return func(v value) value {
		for _, part := range parts {
			v = in.item(v, part)
			if _, no := v.(*undefined); no && fallback != nil {
				v = fallback
			}
		}
		if post != nil {
			v = post(v)
		}
		return v
	}
}

// getters reads one or more attributes with commas between them, as a list.
func (in *interp) getters(attr value, exact bool) func(value) value {
	post := in.folded
	if exact {
		post = nil
	}
	attrs := []value{attr}
	if s, ok := asText(attr); ok {
		attrs = attrs[:0]
		for part := range strings.SplitSeq(s, ",") {
			in.charge(valueSize)
			attrs = append(attrs, part)
		}
	}
	gets := make([]func(value) value, len(attrs))
	for i, a := range attrs {
		gets[i] = in.getter(a, post)
	}
	return func(v value) value {
		in.chargeItems(len(gets), valueSize)
		keys := &list{make([]value, len(gets))}
		for i, get := range gets {
			keys.items[i] = get(v)
		}
		return keys
	}
}

// filterMap applies a filter, or reads an attribute, of each item. Like all
// that it hands out item by item, it does its work when the items are asked for.
func filterMap(in *interp, v value, a args) value {
	var next func() (value, bool)
	var apply func(value) value
	return &generator{func() (value, bool) {
		if next == nil {
			if next = overSlice(nil); in.truth(v) {
				apply = in.mapper(a)
				next = in.iterate(v)
			}
		}
		x, ok := next()
		if !ok {
			return nil, false
		}
		return apply(x), true
	}, &tuple{items: append([]value{v}, a.pos...)}}
}

// mapper gives what map does with each item.
func (in *interp) mapper(a args) func(value) value {
	if len(a.pos) == 0 {
		if attr, ok := a.take("attribute"); ok {
			fallback, _ := a.take("default")
			a.noNames(in, "map")
			return in.getterOr(attr, nil, fallback)
		}
		in.fail(ErrValue, "map needs the name of a filter or an attribute")
	}
	id, _ := asText(a.pos[0])
	f, ok := filters[id]
	if !ok {
		panic(failure{unknownFilter(in.line, id)})
	}
	rest := args{a.pos[1:], a.names, a.vals}
	return func(x value) value {
		in.enter()
		defer in.leave()
		return f(in, x, rest)
	}
}

// choose hands out the items for which a test, or the truth of the item, is as
// wanted; with attr the test is of an attribute.
func (in *interp) choose(id string, v value, a args, attr, want bool) value {
	var next func() (value, bool)
	var holds func(value) bool
	return &generator{func() (value, bool) {
		if next == nil {
			if next = overSlice(nil); in.truth(v) {
				holds = in.condition(id, a, attr)
				next = in.iterate(v)
			}
		}
		for {
			x, ok := next()
			if !ok {
				return nil, false
			}
			if holds(x) == want {
				return x, true
			}
		}
	}, &tuple{items: append([]value{v}, a.pos...)}}
}

// condition gives the test of select and its relatives.
func (in *interp) condition(id string, a args, attr bool) func(value) bool {
	pos := a.pos
	get := func(v value) value { return v }
	if attr {
		if len(pos) == 0 {
			in.fail(ErrValue, "%s needs the name of an attribute", id)
		}
		get = in.getter(pos[0], nil)
		pos = pos[1:]
	}
	if len(pos) == 0 {
		return func(v value) bool { return in.truth(get(v)) }
	}
	name, _ := asText(pos[0])
	rest := args{pos[1:], a.names, a.vals}
	return func(v value) bool { return in.test(name, get(v), rest) }
}
