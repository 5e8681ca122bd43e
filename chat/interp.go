package chat

import (
	"time"
)

// interp carries out one rendering.
type interp struct {
	budget
	globals dict // arguments and functions
	out     *capture
	loops   []*loop // that run, outermost first
	nested  int     // expressions that wait for the statements of a macro
	now     func() time.Time
}

// capture is text that is being written: the result, or what a macro or a
// block hands to a variable.
type capture struct {
	buf   []byte
	outer *capture
}

// scope holds the variables of one body.
type scope struct {
	parent *scope
	vars   map[string]value
}

// missing marks a name that its scope owns and has not stored yet.
type missing struct{}

func (in *interp) newScope(parent *scope, undef []string) *scope {
	in.charge(scopeSize + entrySize*len(undef))
	s := &scope{parent: parent}
	for _, id := range undef {
		s.set(id, missing{})
	}
	return s
}

func (s *scope) set(id string, v value) {
	if s.vars == nil {
		s.vars = make(map[string]value, 4)
	}
	s.vars[id] = v
}

// variable reads a name.
func (in *interp) variable(s *scope, id string) value {
	for ; s != nil; s = s.parent {
		in.step(1)
		if v, ok := s.vars[id]; ok {
			if _, no := v.(missing); no {
				return undef(quote(id) + " is undefined")
			}
			return v
		}
	}
	if v, ok := in.globals.getString(id); ok {
		return v
	}
	return undef(quote(id) + " is undefined")
}

// write adds text to what is being written.
func (in *interp) write(s string) {
	if len(s) > in.limits.Output-len(in.out.buf) {
		in.fail(ErrLimit, "more than %d bytes of output", in.limits.Output)
	}
	in.charge(len(s))
	in.out.buf = append(in.out.buf, s...)
}

// caught runs f and gives the text that it writes.
func (in *interp) caught(f func()) string {
	in.out = &capture{outer: in.out}
	f()
	s := string(in.out.buf)
	in.out = in.out.outer
	in.charge(len(s))
	return s
}

// flow is how a statement ends.
type flow int

const (
	flowNext flow = iota
	flowBreak
	flowContinue
)

// run carries out a list of statements in a scope.
func (in *interp) run(list []stmt, s *scope) flow {
	in.enter()
	defer in.leave()
	for _, st := range list {
		in.line = st.at()
		in.step(1)
		in.collect(s)
		if f := in.exec(st, s); f != flowNext {
			return f
		}
	}
	return flowNext
}

func (in *interp) exec(st stmt, s *scope) flow {
	switch st := st.(type) {
	case *text:
		in.write(st.s)
	case *output:
		in.writeValue(in.eval(st.x, s))
	case *assign:
		in.checkTarget(&st.to, s)
		in.store(&st.to, in.eval(st.x, s), s)
	case *assignBlock:
		inner := in.newScope(s, st.body.undef)
		var f flow
		var v value = in.caught(func() { f = in.run(st.body.list, inner) })
		if f != flowNext {
			return f
		}
		if st.filter != nil {
			v = in.filtered(st.filter.(*filter), v, inner)
		}
		in.checkTarget(&st.to, s)
		in.store(&st.to, v, s)
	case *ifStmt:
		return in.runIf(st, s)
	case *forStmt:
		return in.runFor(st, s)
	case *withStmt:
		inner := in.newScope(s, st.body.undef)
		for i, x := range st.vals {
			in.store(&st.to[i], in.eval(x, s), inner)
		}
		return in.run(st.body.list, inner)
	case *macroStmt:
		in.charge(entrySize)
		s.set(st.name, &macro{st.macroDef, s})
	case *callBlock:
		v := in.call(st.call, s, &macro{st.caller, s})
		in.writeValue(v)
	case *filterBlock:
		inner := in.newScope(s, st.body.undef)
		var f flow
		text := in.caught(func() { f = in.run(st.body.list, inner) })
		if f != flowNext {
			return f
		}
		in.writeValue(in.filtered(st.filter.(*filter), text, inner))
	case *generation:
		in.run(st.body.list, in.newScope(s, st.body.undef))
	case *breakStmt:
		return flowBreak
	case *continueStmt:
		return flowContinue
	}
	return flowNext
}

// writeValue prints v.
func (in *interp) writeValue(v value) {
	if s, ok := asText(v); ok {
		in.write(s)
		return
	}
	in.write(in.str(v))
}

func (in *interp) runIf(st *ifStmt, s *scope) flow {
	for i, x := range st.tests {
		if in.truth(in.eval(x, s)) {
			return in.run(st.bodies[i], s)
		}
	}
	if len(st.bodies) > len(st.tests) {
		return in.run(st.bodies[len(st.tests)], s)
	}
	return flowNext
}

// checkTarget refuses attributes of what is no namespace, before the value to
// store is made.
func (in *interp) checkTarget(t *target, s *scope) {
	for i := range t.items {
		in.checkTarget(&t.items[i], s)
	}
	if t.attr != "" {
		if _, ok := in.variable(s, t.id).(*namespace); !ok {
			in.fail(ErrRefused, "cannot store %s.%s: only attributes of a namespace can be changed", t.id, t.attr)
		}
	}
}

func (in *interp) store(t *target, v value, s *scope) {
	in.step(1)
	switch {
	case t.tuple:
		items := in.unpack(v, len(t.items))
		for i := range t.items {
			in.store(&t.items[i], items[i], s)
		}
	case t.attr != "":
		ns := in.variable(s, t.id).(*namespace)
		in.charge(entrySize)
		in.checkAttr(t.attr)
		ns.attrs.setString(t.attr, v)
	default:
		in.charge(entrySize)
		s.set(t.id, v)
	}
}

// unpack gives exactly n items of v.
func (in *interp) unpack(v value, n int) []value {
	next := in.iterate(v)
	items := make([]value, 0, n)
	for {
		x, ok := next()
		switch {
		case !ok && len(items) == n:
			return items
		case !ok:
			in.fail(ErrValue, "cannot unpack: %d values, want %d", len(items), n)
		case len(items) == n:
			in.fail(ErrValue, "cannot unpack: more than %d values", n)
		}
		items = append(items, x)
	}
}

// checkAttr refuses private names on a namespace.
func (in *interp) checkAttr(id string) {
	if len(id) > 0 && id[0] == '_' {
		in.fail(ErrRefused, "the attribute %q of a namespace begins with an underscore", id)
	}
}
