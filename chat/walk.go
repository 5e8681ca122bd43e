package chat

// children hands each node directly below x to visit, in the order in which
// Jinja walks them. Nil expressions are left out.
func children(x any, visit func(any)) {
	one := func(xs ...expr) {
		for _, x := range xs {
			if x != nil {
				visit(x)
			}
		}
	}
	list := func(b []stmt) {
		for _, s := range b {
			visit(s)
		}
	}
	switch x := x.(type) {
	case *listLit:
		one(x.items...)
	case *tupleLit:
		one(x.items...)
	case *dictLit:
		for i := range x.keys {
			one(x.keys[i], x.vals[i])
		}
	case *unary:
		one(x.x)
	case *binary:
		one(x.x, x.y)
	case *concat:
		one(x.items...)
	case *compare:
		one(x.first)
		one(x.rest...)
	case *choice:
		one(x.test, x.yes, x.no)
	case *attribute:
		one(x.x)
	case *item:
		one(x.x, x.index)
	case *slicing:
		one(x.x, x.from, x.to, x.step)
	case *call:
		one(x.fn)
		x.each(one)
	case *filter:
		one(x.x)
		x.each(one)
	case *test:
		one(x.x)
		x.each(one)
	case *target:
		for i := range x.items {
			visit(&x.items[i])
		}
	case *output:
		one(x.x)
	case *assign:
		visit(&x.to)
		one(x.x)
	case *assignBlock:
		visit(&x.to)
		one(x.filter)
		list(x.body.list)
	case *ifStmt:
		for i, b := range x.bodies {
			if i < len(x.tests) {
				one(x.tests[i])
			}
			list(b)
		}
	case *forStmt:
		visit(&x.to)
		one(x.in)
		list(x.body.list)
		list(x.orElse.list)
		one(x.test)
	case *withStmt:
		for i := range x.to {
			visit(&x.to[i])
		}
		one(x.vals...)
		list(x.body.list)
	case *macroStmt:
		visit(x.macroDef)
	case *macroDef:
		one(x.defaults...)
		list(x.body.list)
	case *callBlock:
		visit(x.call)
		visit(x.caller)
	case *filterBlock:
		list(x.body.list)
		one(x.filter)
	case *generation:
		list(x.body.list)
	}
}

// each hands the expressions of an argument list to visit.
func (a *argList) each(visit func(...expr)) {
	visit(a.args...)
	visit(a.kwVals...)
	visit(a.star, a.starStar)
}

// undeclared tells which of the wanted names the statements read before they
// store them, at any depth.
func undeclared(list []stmt, wanted ...string) map[string]bool {
	open, found := map[string]bool{}, map[string]bool{}
	for _, id := range wanted {
		open[id] = true
	}
	var visit func(any)
	visit = func(x any) {
		switch x := x.(type) {
		case *name:
			if open[x.id] {
				found[x.id] = true
			}
			return
		case *target:
			if !x.tuple && x.attr == "" {
				delete(open, x.id)
			}
		case *macroDef:
			for _, id := range x.params {
				delete(open, id)
			}
		}
		children(x, visit)
	}
	for _, s := range list {
		visit(s)
	}
	return found
}

// storesLoop gives the line in which a loop stores a variable named loop, or 0.
func storesLoop(s *forStmt) int {
	line := 0
	var visit func(any)
	visit = func(x any) {
		if t, ok := x.(*target); ok && t.id == "loop" && t.attr == "" {
			line = t.line
		}
		if w, ok := x.(*withStmt); ok { // its targets are parameters, not stores
			for _, b := range w.body.list {
				visit(b)
			}
			return
		}
		children(x, visit)
	}
	visit(s)
	return line
}
