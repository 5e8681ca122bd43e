package chat

// loop is the variable loop of a for statement, and its iteration.
type loop struct {
	source  value // what is iterated over
	next    func() (value, bool)
	index0  int
	count   int // length, or -1 when not known yet
	peeked  bool
	ended   bool // the peek found no item
	after   value
	before  value
	current value
	rest    []value // items read ahead to find the length
	changed value
	asked   bool // changed was called
	depth0  int
	recurse func(v value, depth0 int) value // nil: not a recursive loop
}

// runFor carries out a for statement.
func (in *interp) runFor(st *forStmt, s *scope) flow {
	v := in.eval(st.in, s)
	if st.recursive {
		var again func(v value, depth0 int) value
		again = func(v value, depth0 int) value {
			in.nested++
			text := in.caught(func() { in.iterateFor(st, v, depth0, again, s) })
			in.nested--
			return text
		}
		in.write(again(v, 0).(string))
		return flowNext
	}
	return in.iterateFor(st, v, 0, nil, s)
}

// iterateFor runs the body for each item of v, and the else part when no item
// ran the body to its end.
func (in *interp) iterateFor(st *forStmt, v value, depth0 int, recurse func(value, int) value, s *scope) flow {
	l := &loop{source: v, next: in.iterate(v), index0: -1, count: -1, depth0: depth0, recurse: recurse}
	if st.test != nil {
		next := l.next
		l.source = &generator{src: v}
		l.next = func() (value, bool) {
			for {
				x, ok := next()
				if !ok {
					return nil, false
				}
				inner := in.newScope(s, nil)
				in.store(&st.to, x, inner)
				if in.truth(in.eval(st.test, inner)) {
					return x, true
				}
			}
		}
	}
	in.loops = append(in.loops, l)
	completed := false
	end := flowNext
	for {
		x, ok := l.step(in)
		if !ok {
			break
		}
		inner := in.newScope(s, st.body.undef)
		if st.loop {
			inner.set("loop", l)
		}
		in.store(&st.to, x, inner)
		f := in.run(st.body.list, inner)
		if f == flowBreak {
			break
		}
		completed = completed || f == flowNext
	}
	in.loops = in.loops[:len(in.loops)-1]
	// As in Jinja, a loop whose every turn ended in break or continue counts as
	// one that never ran.
	if !completed {
		end = in.run(st.orElse.list, in.newScope(s, st.orElse.undef))
	}
	return end
}

// step moves to the next item.
func (l *loop) step(in *interp) (value, bool) {
	var x value
	if l.peeked {
		if l.ended {
			return nil, false
		}
		x, l.after, l.peeked = l.after, nil, false
	} else {
		var ok bool
		if x, ok = l.next(); !ok {
			return nil, false
		}
	}
	in.step(1)
	l.index0++
	l.before, l.current = l.current, x
	return x, true
}

// peek reads one item ahead; it reports false at the end.
func (l *loop) peek() bool {
	if !l.peeked || l.ended {
		x, ok := l.next()
		l.after, l.peeked, l.ended = x, true, !ok
	}
	return !l.ended
}

// length is the number of items; to find it, a sequence without a length is
// read to its end.
func (l *loop) length(in *interp) int {
	if l.count >= 0 {
		return l.count
	}
	if n, ok := in.length(l.source); ok {
		l.count = n
		return n
	}
	var rest []value
	for {
		x, ok := l.next()
		if !ok {
			break
		}
		in.charge(valueSize)
		rest = append(rest, x)
	}
	l.rest = rest
	l.next = overSlice(rest)
	l.count = len(rest) + l.index0 + 1
	if l.peeked && !l.ended {
		l.count++
	}
	return l.count
}

// attribute gives loop.id.
func (l *loop) attribute(in *interp, id string) (value, bool) {
	switch id {
	case "index":
		return int64(l.index0 + 1), true
	case "index0":
		return int64(l.index0), true
	case "first":
		return l.index0 == 0, true
	case "last":
		return !l.peek(), true
	case "length":
		return int64(l.length(in)), true
	case "revindex":
		return int64(l.length(in) - l.index0), true
	case "revindex0":
		return int64(l.length(in) - l.index0 - 1), true
	case "depth":
		return int64(l.depth0 + 1), true
	case "depth0":
		return int64(l.depth0), true
	case "previtem":
		if l.index0 == 0 {
			return undef("there is no previous item"), true
		}
		return l.before, true
	case "nextitem":
		if !l.peek() {
			return undef("there is no next item"), true
		}
		return l.after, true
	case "cycle":
		return &function{name: "cycle", self: l, call: func(in *interp, a args) value {
			a.noNames(in, "loop.cycle")
			if len(a.pos) == 0 {
				in.fail(ErrValue, "loop.cycle needs items")
			}
			return a.pos[l.index0%len(a.pos)]
		}}, true
	case "changed":
		return &function{name: "changed", self: l, call: func(in *interp, a args) value {
			a.noNames(in, "loop.changed")
			now := &tuple{items: a.pos}
			if l.asked && in.equal(l.changed, now) {
				return false
			}
			l.asked, l.changed = true, now
			return true
		}}, true
	}
	return nil, false
}
