package chat

// eval gives the value of an expression in a scope.
func (in *interp) eval(x expr, s *scope) value {
	in.enter()
	v := in.evalNode(x, s)
	in.leave()
	return v
}

func (in *interp) evalNode(x expr, s *scope) value {
	switch x := x.(type) {
	case *constant:
		return x.val
	case *name:
		return in.variable(s, x.id)
	case *listLit:
		return &list{in.evalAll(x.items, s)}
	case *tupleLit:
		return &tuple{items: in.evalAll(x.items, s)}
	case *dictLit:
		d := &dict{}
		for i := range x.keys {
			k := in.eval(x.keys[i], s)
			in.put(d, k, in.eval(x.vals[i], s))
		}
		return d
	case *unary:
		v := in.eval(x.x, s)
		in.line = x.at()
		if x.op == "not" {
			return !in.truth(v)
		}
		return in.sign(x.op, v)
	case *binary:
		return in.evalBinary(x, s)
	case *concat:
		b := make([]byte, 0, 64)
		for _, it := range x.items {
			t := in.str(in.eval(it, s))
			in.charge(len(t))
			b = append(b, t...)
		}
		in.charge(len(b))
		return string(b)
	case *compare:
		return in.evalCompare(x, s)
	case *choice:
		if in.truth(in.eval(x.test, s)) {
			return in.eval(x.yes, s)
		}
		if x.no == nil {
			return undef("the condition was false and there is no else")
		}
		return in.eval(x.no, s)
	case *attribute:
		v := in.eval(x.x, s)
		in.line = x.at()
		return in.attr(v, x.id)
	case *item:
		v := in.eval(x.x, s)
		key := in.eval(x.index, s)
		in.line = x.at()
		return in.item(v, key)
	case *slicing:
		return in.evalSlice(x, s)
	case *call:
		return in.call(x, s, nil)
	case *filter:
		return in.filtered(x, in.eval(x.x, s), s)
	case *test:
		v := in.eval(x.x, s)
		a := in.args(&x.argList, s, nil)
		in.line = x.at()
		return in.test(x.id, v, a)
	}
	panic("chat: unknown expression")
}

func (in *interp) evalAll(xs []expr, s *scope) []value {
	in.chargeItems(len(xs), valueSize)
	items := make([]value, len(xs))
	for i, x := range xs {
		items[i] = in.eval(x, s)
	}
	return items
}

func (in *interp) evalBinary(x *binary, s *scope) value {
	a := in.eval(x.x, s)
	switch x.op {
	case "and":
		if !in.truth(a) {
			return a
		}
		return in.eval(x.y, s)
	case "or":
		if in.truth(a) {
			return a
		}
		return in.eval(x.y, s)
	}
	b := in.eval(x.y, s)
	in.line = x.at()
	return in.binary(x.op, a, b)
}

// evalCompare evaluates a chain of comparisons up to the first that is false.
func (in *interp) evalCompare(x *compare, s *scope) value {
	a := in.eval(x.first, s)
	for i, op := range x.ops {
		b := in.eval(x.rest[i], s)
		in.line = x.at()
		if !in.compared(op, a, b) {
			return false
		}
		a = b
	}
	return true
}

func (in *interp) evalSlice(x *slicing, s *scope) value {
	v := in.eval(x.x, s)
	bound := func(x expr) *int64 {
		if x == nil {
			return nil
		}
		b := in.eval(x, s)
		if b == nil {
			return nil
		}
		n, ok := in.index(b)
		if !ok {
			in.fail(ErrValue, "the bounds of a slice must be integers, found %s", typeName(b))
		}
		return &n
	}
	from, to, step := bound(x.from), bound(x.to), bound(x.step)
	in.line = x.at()
	return in.slice(v, from, to, step)
}

// filtered applies a filter and those before it in its chain to v; in a filter
// block the innermost has no expression of its own.
func (in *interp) filtered(f *filter, v value, s *scope) value {
	in.enter()
	defer in.leave()
	// The chain of a block ends in a filter without an expression: v goes in there.
	if inner, ok := f.x.(*filter); ok && blockChain(inner) {
		v = in.filtered(inner, v, s)
	}
	a := in.args(&f.argList, s, nil)
	in.line = f.at()
	fn, ok := filters[f.id]
	if !ok {
		panic(failure{unknownFilter(f.at(), f.id)})
	}
	return fn(in, v, a)
}

// blockChain tells whether a chain of filters belongs to a block.
func blockChain(f *filter) bool {
	for {
		if f.x == nil {
			return true
		}
		inner, ok := f.x.(*filter)
		if !ok {
			return false
		}
		f = inner
	}
}

// test applies a test by name.
func (in *interp) test(id string, v value, a args) bool {
	fn, ok := tests[id]
	if !ok {
		panic(failure{unknownTest(in.line, id)})
	}
	return fn(in, v, a)
}
