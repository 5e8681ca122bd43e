package chat

import "slices"

// args are the arguments of a call.
type args struct {
	pos   []value
	names []string // of the named ones
	vals  []value
}

// macro is a macro and the scope that it was made in.
type macro struct {
	*macroDef
	outer *scope
}

// args evaluates an argument list. caller, if any, is added by its name.
func (in *interp) args(l *argList, s *scope, caller *macro) args {
	var a args
	if len(l.args) > 0 {
		a.pos = in.evalAll(l.args, s)
	}
	for i, x := range l.kwVals {
		a.names = append(a.names, l.kwNames[i])
		a.vals = append(a.vals, in.eval(x, s))
	}
	if l.star != nil {
		next := in.iterate(in.eval(l.star, s))
		for {
			v, ok := next()
			if !ok {
				break
			}
			in.charge(valueSize)
			a.pos = append(a.pos, v)
		}
	}
	if l.starStar != nil {
		v := in.eval(l.starStar, s)
		d, ok := v.(*dict)
		if !ok {
			in.fail(ErrValue, "what follows ** must be a mapping, found %s", typeName(v))
		}
		for i := range d.entries {
			id, ok := asText(d.entries[i].key)
			if !ok {
				in.fail(ErrValue, "the names of arguments must be strings")
			}
			a.name(in, id, d.entries[i].val)
		}
	}
	if caller != nil {
		a.name(in, "caller", caller)
	}
	return a
}

// name adds a named argument.
func (a *args) name(in *interp, id string, v value) {
	in.step(len(a.names))
	if slices.Contains(a.names, id) {
		in.fail(ErrValue, "the argument %q is given twice", id)
	}
	in.charge(2 * valueSize)
	a.names = append(a.names, id)
	a.vals = append(a.vals, v)
}

// take removes a named argument.
func (a *args) take(id string) (value, bool) {
	i := slices.Index(a.names, id)
	if i < 0 {
		return nil, false
	}
	v := a.vals[i]
	a.names = slices.Delete(slices.Clone(a.names), i, i+1)
	a.vals = slices.Delete(slices.Clone(a.vals), i, i+1)
	return v, true
}

// noNames refuses named arguments.
func (a *args) noNames(in *interp, fn string) {
	if len(a.names) > 0 {
		in.fail(ErrValue, "%s takes no argument named %q", fn, a.names[0])
	}
}

// absent stands for an optional argument that was not given.
type absent struct{}

func given(v value) bool { _, no := v.(absent); return !no }

// bind puts arguments in the order of params. A name that begins with '/' is
// positional only, one that ends in '?' is optional.
func (a args) bind(in *interp, fn string, params ...string) []value {
	if len(a.pos) > len(params) {
		in.fail(ErrValue, "%s takes at most %d arguments, found %d", fn, len(params), len(a.pos))
	}
	vals := make([]value, len(params))
	copy(vals, a.pos)
	used := 0
	for i, p := range params {
		id, optional := p, false
		if id[len(id)-1] == '?' {
			id, optional = id[:len(id)-1], true
		}
		j := -1
		if id[0] != '/' {
			j = slices.Index(a.names, id)
		}
		switch {
		case j >= 0 && i < len(a.pos):
			in.fail(ErrValue, "%s: the argument %q is given twice", fn, id)
		case j >= 0:
			vals[i] = a.vals[j]
			used++
		case i < len(a.pos):
		case optional:
			vals[i] = absent{}
		default:
			in.fail(ErrValue, "%s needs the argument %q", fn, id)
		}
	}
	if used < len(a.names) {
		for _, id := range a.names {
			if !slices.Contains(params, id) && !slices.Contains(params, id+"?") {
				in.fail(ErrValue, "%s takes no argument named %q", fn, id)
			}
		}
	}
	return vals
}

// call evaluates a call; caller is the body of a call block, or nil.
func (in *interp) call(c *call, s *scope, caller *macro) value {
	fn := in.eval(c.fn, s)
	a := in.args(&c.argList, s, caller)
	in.line = c.at()
	return in.apply(fn, a)
}

// apply calls fn.
func (in *interp) apply(fn value, a args) value {
	in.enter()
	defer in.leave()
	switch fn := fn.(type) {
	case *function:
		return fn.call(in, a)
	case *macro:
		return in.applyMacro(fn, a)
	case *loop:
		v := a.bind(in, "loop", "iterable")
		if fn.recurse == nil {
			in.fail(ErrValue, "only a loop that is marked recursive can be called")
		}
		return fn.recurse(v[0], fn.depth0+1)
	case *joiner:
		a.bind(in, "joiner")
		if fn.used {
			return fn.sep
		}
		fn.used = true
		return ""
	case *undefined:
		in.failUndefined(fn)
	}
	in.fail(ErrValue, "a value of type %s cannot be called", typeName(fn))
	return nil
}

func (in *interp) failUndefined(u *undefined) {
	in.fail(u.kind, "%s", u.why)
}

// applyMacro runs a macro in a scope of its own and gives the text it wrote.
func (in *interp) applyMacro(m *macro, a args) value {
	s := in.newScope(m.outer, m.body.undef)
	in.charge(entrySize * (len(m.params) + 3))
	n := min(len(a.pos), len(m.params))
	foundCaller := n == len(m.params) && slices.Contains(m.params, "caller")
	for i, id := range m.params {
		if i < n {
			s.set(id, a.pos[i])
			continue
		}
		if id == "caller" {
			foundCaller = true
		}
		if v, ok := a.take(id); ok {
			s.set(id, v)
		} else {
			s.set(id, missing{})
		}
	}
	if m.caller && !foundCaller {
		v, ok := a.take("caller")
		if !ok || v == nil {
			v = undef("the macro was called without a body")
		}
		s.set("caller", v)
	}
	in.macroRest(m, &a, s)

	line := in.line
	in.nested++
	text := in.caught(func() {
		for i, id := range m.params {
			if _, no := s.vars[id].(missing); !no {
				continue
			}
			if d := i - (len(m.params) - len(m.defaults)); d >= 0 {
				s.set(id, in.eval(m.defaults[d], s))
			} else {
				s.set(id, undef("the parameter "+quote(id)+" was not given"))
			}
		}
		in.run(m.body.list, s)
	})
	in.nested--
	in.line = line
	return text
}

// macroRest hands the arguments without a parameter to kwargs and varargs, or
// refuses them.
func (in *interp) macroRest(m *macro, a *args, s *scope) {
	if m.kwargs {
		d := &dict{}
		for i, id := range a.names {
			in.put(d, id, a.vals[i])
		}
		s.set("kwargs", d)
	} else if len(a.names) > 0 {
		in.fail(ErrValue, "the macro %q takes no argument named %q", m.name, a.names[0])
	}
	if m.varargs {
		t := &tuple{}
		if len(a.pos) > len(m.params) {
			t.items = a.pos[len(m.params):]
		}
		s.set("varargs", t)
	} else if len(a.pos) > len(m.params) {
		in.fail(ErrValue, "the macro %q takes at most %d arguments, found %d", m.name, len(m.params), len(a.pos))
	}
}
