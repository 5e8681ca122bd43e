package chat

import (
	"math/big"
	"strings"
)

// attr gives v.id: the attribute of that name, or else the item.
func (in *interp) attr(v value, id string) value {
	in.step(1)
	if u, ok := v.(*undefined); ok {
		in.failUndefined(u)
	}
	if x, ok := in.own(v, id); ok {
		return x
	}
	if d, ok := v.(*dict); ok {
		if x, ok := d.getString(id); ok {
			return x
		}
	}
	return in.nothing(v, quote(id))
}

// item gives v[key]: the item, or else for a string the attribute.
func (in *interp) item(v, key value) value {
	in.step(1)
	if u, ok := v.(*undefined); ok {
		in.failUndefined(u)
	}
	if x, ok := in.itemOnly(v, key); ok {
		return x
	}
	if id, ok := asText(key); ok {
		if x, ok := in.own(v, id); ok {
			return x
		}
	}
	in.bytes(1)
	return in.nothing(v, in.shortRepr(key))
}

// nothing is the undefined value for a part that v does not have.
func (in *interp) nothing(v value, part string) value {
	in.charge(len(part) + scopeSize)
	return undef("a value of type " + typeName(v) + " has no " + part)
}

// shortRepr shows a key in an error message.
func (in *interp) shortRepr(v value) string {
	switch v := v.(type) {
	case string:
		if len(v) > 64 {
			return "such key"
		}
		return quote(v)
	case nil, bool, int64, float64:
		return "item " + in.repr(v)
	}
	return "item of type " + typeName(v)
}

// itemOnly gives v[key] where v has items of its own.
func (in *interp) itemOnly(v, key value) (value, bool) {
	if d, ok := v.(*dict); ok {
		x, found, _ := in.lookup(d, key)
		return x, found
	}
	i, ok := smallInt(key)
	if !ok {
		return nil, false
	}
	n, ok := in.length(v)
	if !ok {
		return nil, false
	}
	if i < 0 {
		i += int64(n)
	}
	if i < 0 || i >= int64(n) {
		return nil, false
	}
	switch v := v.(type) {
	case string, markup:
		s, _ := asText(v)
		from, to := i, i+1
		return like(v, in.sliceText(s, &from, &to, nil)), true
	case *list:
		return v.items[i], true
	case *tuple:
		return v.items[i], true
	case *rangeVal:
		return v.at(int(i)), true
	}
	return nil, false
}

// listChanging and dictChanging are the methods that change a list or a dict
// in place, which the sandbox forbids.
var (
	listChanging = map[string]bool{
		"append": true, "clear": true, "pop": true, "reverse": true,
		"insert": true, "sort": true, "extend": true, "remove": true,
	}
	dictChanging = map[string]bool{"clear": true, "pop": true, "popitem": true, "setdefault": true, "update": true}
)

// forbidden stands for an attribute that exists and may not be used. Like any
// undefined value it fails when it is called.
func forbidden(v value, id string) value {
	return &undefined{"the attribute " + quote(id) + " of a value of type " + typeName(v) + " is private or changes the value", ErrRefused}
}

// own gives the attribute id that values of v's type have in Python.
func (in *interp) own(v value, id string) (value, bool) {
	if strings.HasPrefix(id, "__") && strings.HasSuffix(id, "__") && len(id) > 4 {
		return forbidden(v, id), true
	}
	switch x := v.(type) {
	case string, markup:
		if m, ok := stringMethods[id]; ok {
			s, _ := asText(v)
			return &function{name: id, self: v, call: func(in *interp, a args) value { return m(in, v, s, a) }}, true
		}
	case *dict:
		if m, ok := dictMethods[id]; ok {
			return &function{name: id, self: v, call: func(in *interp, a args) value { return m(in, x, a) }}, true
		}
		if dictChanging[id] {
			return forbidden(v, id), true
		}
	case *list:
		if listChanging[id] {
			return forbidden(v, id), true
		}
		if id == "copy" || id == "count" || id == "index" {
			return in.sequenceMethod(v, x.items, id), true
		}
	case *tuple:
		if id == "count" || id == "index" {
			return in.sequenceMethod(v, x.items, id), true
		}
		for i, name := range x.names {
			if name == id {
				return x.items[i], true
			}
		}
	case *namespace:
		return x.attrs.getString(id)
	case *loop:
		return x.attribute(in, id)
	case *macro:
		return x.attribute(id)
	case *cycler:
		return x.attribute(id)
	case *rangeVal:
		switch id {
		case "start":
			return x.start, true
		case "stop":
			return x.stop, true
		case "step":
			return x.step, true
		}
	case bool, int64, *big.Int, float64:
		return numberAttribute(x, id)
	case *function:
		if x.name == "dict" && id == "fromkeys" {
			return &function{name: id, call: fromKeys}, true
		}
	}
	return nil, false
}

// numberAttribute gives the few attributes of numbers that have a plain value.
func numberAttribute(v value, id string) (value, bool) {
	f, isFloat := v.(float64)
	b, _ := bigInt(v)
	switch id {
	case "real":
		if isFloat {
			return f, true
		}
		return normInt(b), true
	case "imag":
		if isFloat {
			return 0.0, true
		}
		return int64(0), true
	case "is_integer":
		return &function{name: id, call: func(in *interp, a args) value {
			a.bind(in, "is_integer")
			return !isFloat || f == float64(int64(f))
		}}, true
	case "bit_length":
		if !isFloat {
			return &function{name: id, call: func(in *interp, a args) value {
				a.bind(in, "bit_length")
				return int64(b.BitLen())
			}}, true
		}
	}
	return nil, false
}

func (m *macro) attribute(id string) (value, bool) {
	switch id {
	case "name":
		return m.name, true
	case "arguments":
		t := &tuple{}
		for _, p := range m.params {
			t.items = append(t.items, p)
		}
		return t, true
	case "catch_kwargs":
		return m.kwargs, true
	case "catch_varargs":
		return m.varargs, true
	case "caller":
		return m.macroDef.caller, true
	}
	return nil, false
}

func (c *cycler) attribute(id string) (value, bool) {
	switch id {
	case "current":
		return c.items[c.at], true
	case "next":
		return &function{name: id, self: c, call: func(in *interp, a args) value {
			a.bind(in, "next")
			v := c.items[c.at]
			c.at = (c.at + 1) % len(c.items)
			return v
		}}, true
	case "reset":
		return &function{name: id, self: c, call: func(in *interp, a args) value {
			a.bind(in, "reset")
			c.at = 0
			return nil
		}}, true
	}
	return nil, false
}

// sequenceMethod gives copy, count or index of a list or a tuple.
func (in *interp) sequenceMethod(v value, items []value, id string) value {
	return &function{name: id, self: v, call: func(in *interp, a args) value {
		switch id {
		case "copy":
			a.bind(in, "copy")
			return v
		case "count":
			x := a.bind(in, id, "/value")[0]
			n := int64(0)
			for _, it := range items {
				if in.equal(it, x) {
					n++
				}
			}
			return n
		}
		p := a.bind(in, id, "/value", "/start?", "/stop?")
		from, by, n := in.window(len(items), in.bound(p[1]), in.bound(p[2]), nil)
		for i := range n {
			if in.equal(items[from+i*by], p[0]) {
				return int64(from + i*by)
			}
		}
		in.fail(ErrValue, "index: the value is not in the %s", typeName(v))
		return nil
	}}
}

// bound reads an optional position.
func (in *interp) bound(v value) *int64 {
	if v == nil || !given(v) {
		return nil
	}
	n := in.integer("a position", v)
	return &n
}

// integer reads an integer argument.
func (in *interp) integer(what string, v value) int64 {
	n, ok := in.index(v)
	if !ok {
		if u, ok := v.(*undefined); ok {
			in.failUndefined(u)
		}
		in.fail(ErrValue, "%s must be an integer, found %s", what, typeName(v))
	}
	return n
}

// dictMethods are the methods of a dict.
var dictMethods map[string]func(in *interp, d *dict, a args) value

func init() {
	view := func(what string) func(in *interp, d *dict, a args) value {
		return func(in *interp, d *dict, a args) value {
			a.bind(in, what)
			return &dictView{d, what}
		}
	}
	dictMethods = map[string]func(in *interp, d *dict, a args) value{
		"keys":   view("keys"),
		"values": view("values"),
		"items":  view("items"),
		"copy": func(in *interp, d *dict, a args) value {
			a.bind(in, "copy")
			return d
		},
		"get": func(in *interp, d *dict, a args) value {
			p := a.bind(in, "get", "/key", "/default?")
			v, found, hashable := in.lookup(d, p[0])
			switch {
			case !hashable:
				in.fail(ErrValue, "a value of type %s cannot be a key", typeName(p[0]))
			case found:
				return v
			case given(p[1]):
				return p[1]
			}
			return nil
		},
		"fromkeys": func(in *interp, _ *dict, a args) value { return fromKeys(in, a) },
	}
}

// fromKeys is dict.fromkeys.
func fromKeys(in *interp, a args) value {
	p := a.bind(in, "fromkeys", "/iterable", "/value?")
	if !given(p[1]) {
		p[1] = nil
	}
	d := &dict{}
	next := in.iterate(p[0])
	for {
		k, ok := next()
		if !ok {
			return d
		}
		in.put(d, k, p[1])
	}
}
