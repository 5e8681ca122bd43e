package chat

import "fmt"

// Jinja decides before a template runs which scope each name belongs to. A
// name that a scope stores in a straight line is its own from the start: until
// it is stored it is undefined, even when an argument of the same name exists
// outside. A name that is stored only under a condition falls through to the
// outer one. This file finds the former, in body.undef, and checks that the
// filters and tests exist.

// source tells what a name holds when its scope is entered.
type source byte

const (
	fromOutside source = iota // the enclosing scope or the arguments
	fromParam                 // set by the statement that opens the scope
	fromNothing               // undefined until it is stored
)

// maxCopies limits how many names the branches of all conditions together may
// copy, which grows with the square of a template's size. Published templates
// need some 100,000.
const maxCopies = 2_000_000

// names are the names that one scope knows.
type names struct {
	parent *names
	refs   map[string]source
	stores map[string]bool
	copies *int // counts up to maxCopies, one count for the whole template
}

func newNames(parent *names) *names {
	n := &names{parent: parent, refs: map[string]source{}, stores: map[string]bool{}, copies: new(int)}
	if parent != nil {
		n.copies = parent.copies
	}
	return n
}

func (n *names) known(id string) bool {
	for ; n != nil; n = n.parent {
		if _, ok := n.refs[id]; ok {
			return true
		}
	}
	return false
}

func (n *names) load(id string) {
	if !n.known(id) {
		n.refs[id] = fromOutside
	}
}

func (n *names) store(id string) {
	n.stores[id] = true
	if _, ok := n.refs[id]; ok {
		return
	}
	if n.parent.known(id) {
		n.refs[id] = fromOutside
		return
	}
	n.refs[id] = fromNothing
}

func (n *names) param(id string) {
	n.stores[id] = true
	n.refs[id] = fromParam
}

func (n *names) copy() *names {
	c := newNames(n.parent)
	c.copies = n.copies
	if *n.copies += len(n.refs); *n.copies > maxCopies {
		panic(failure{&Error{Msg: "too many names under too many conditions", Kind: ErrLimit}})
	}
	for id, src := range n.refs {
		c.refs[id] = src
	}
	for id := range n.stores {
		c.stores[id] = true
	}
	return c
}

// merge takes over what the branches of a condition know. What only they
// store falls through to the outside.
func (n *names) merge(branches ...*names) {
	var fresh []string
	for _, b := range branches {
		for id := range b.stores {
			if !n.stores[id] {
				fresh = append(fresh, id)
			}
		}
	}
	for _, b := range branches {
		for id, src := range b.refs {
			n.refs[id] = src
		}
		for id := range b.stores {
			n.stores[id] = true
		}
	}
	for _, id := range fresh {
		n.refs[id] = fromOutside
	}
}

// undefined lists the names that are undefined until they are stored.
func (n *names) undefined() []string {
	var list []string
	for id, src := range n.refs {
		if src == fromNothing {
			list = append(list, id)
		}
	}
	return list
}

// loads notes the names that x reads.
func (n *names) loads(x any) {
	if x, ok := x.(*name); ok {
		n.load(x.id)
		return
	}
	children(x, n.loads)
}

func (n *names) storeTarget(t *target, param bool) {
	switch {
	case t.tuple:
		for i := range t.items {
			n.storeTarget(&t.items[i], param)
		}
	case t.attr != "":
		n.load(t.id)
	case param:
		n.param(t.id)
	default:
		n.store(t.id)
	}
}

// visit notes what the statements of a scope load and store in it.
func (n *names) visit(list []stmt) {
	for _, s := range list {
		switch s := s.(type) {
		case *output:
			n.loads(s.x)
		case *assign:
			n.loads(s.x)
			n.storeTarget(&s.to, false)
		case *assignBlock:
			n.storeTarget(&s.to, false)
		case *ifStmt:
			n.visitIf(s)
		case *forStmt:
			n.loads(s.in)
		case *withStmt:
			for _, x := range s.vals {
				n.loads(x)
			}
		case *macroStmt:
			n.store(s.name)
		case *callBlock:
			n.loads(s.call)
		case *filterBlock:
			n.loads(s.filter)
		}
	}
}

func (n *names) visitIf(s *ifStmt) {
	n.loads(s.tests[0])
	first, elif, orElse := n.copy(), n.copy(), n.copy()
	first.visit(s.bodies[0])
	for i, x := range s.tests[1:] {
		elif.loads(x)
		then := elif.copy()
		then.visit(s.bodies[i+1])
		elif.merge(then)
	}
	if len(s.bodies) > len(s.tests) {
		orElse.visit(s.bodies[len(s.tests)])
	}
	n.merge(first, elif, orElse)
}

// resolve completes the tree: it opens the scope of b, lets open note what the
// statement that owns the scope declares, and goes on to the scopes inside.
func (b *body) resolve(parent *names, open func(*names)) {
	n := newNames(parent)
	if open != nil {
		open(n)
	}
	n.visit(b.list)
	b.undef = n.undefined()
	n.inside(b.list, false)
}

// inside resolves the scopes that the statements of one scope open. soft says
// that they stand under a condition, where an unknown filter or test is an
// error only when it is reached.
func (n *names) inside(list []stmt, soft bool) {
	for _, s := range list {
		switch s := s.(type) {
		case *output:
			checkCalls(s.x, soft)
		case *assign:
			checkCalls(s.x, soft)
		case *assignBlock:
			checkCalls(s.filter, false)
			s.body.resolve(n, nil)
		case *ifStmt:
			for _, x := range s.tests {
				checkCalls(x, true)
			}
			for _, b := range s.bodies {
				n.inside(b, true)
			}
		case *forStmt:
			n.insideFor(s, soft)
		case *withStmt:
			for _, x := range s.vals {
				checkCalls(x, soft)
			}
			s.body.resolve(n, func(inner *names) {
				for i := range s.to {
					inner.storeTarget(&s.to[i], true)
				}
			})
		case *macroStmt:
			n.insideMacro(s.macroDef)
		case *callBlock:
			checkCalls(s.call, soft)
			n.insideMacro(s.caller)
		case *filterBlock:
			checkCalls(s.filter, false)
			s.body.resolve(n, nil)
		case *generation:
			s.body.resolve(n, nil)
		}
	}
}

func (n *names) insideFor(s *forStmt, soft bool) {
	checkCalls(s.in, soft)
	checkCalls(s.test, false)
	s.loop = undeclared(s.body.list, "loop")["loop"] || s.recursive
	if line := storesLoop(s); line > 0 {
		panic(failure{&Error{Line: line, Msg: `cannot assign to "loop" inside of a loop`, Kind: ErrSyntax}})
	}
	s.body.resolve(n, func(inner *names) {
		if s.loop {
			inner.param("loop")
		}
		inner.storeTarget(&s.to, true)
	})
	s.orElse.resolve(n, nil)
}

func (n *names) insideMacro(m *macroDef) {
	uses := undeclared(m.body.list, "caller", "kwargs", "varargs")
	m.caller, m.kwargs, m.varargs = uses["caller"], uses["kwargs"], uses["varargs"]
	for i, id := range m.params {
		switch id {
		case "caller":
			if m.caller && i < len(m.params)-len(m.defaults) {
				panic(failure{&Error{Line: m.line, Msg: `the parameter "caller" must have a default or be left out`, Kind: ErrSyntax}})
			}
		case "kwargs":
			m.kwargs = false
		case "varargs":
			m.varargs = false
		}
	}
	for _, x := range m.defaults {
		checkCalls(x, false)
	}
	m.body.resolve(n, func(inner *names) {
		for _, id := range m.params {
			inner.param(id)
		}
		for _, x := range m.defaults {
			inner.loads(x)
		}
		for id, used := range map[string]bool{"caller": m.caller, "kwargs": m.kwargs, "varargs": m.varargs} {
			if used {
				inner.param(id)
			}
		}
	})
}

// checkCalls refuses filters and tests that do not exist. Under a condition
// they are left to be refused when they are reached.
func checkCalls(x any, soft bool) {
	var visit func(x any)
	visit = func(x any) {
		switch x := x.(type) {
		case nil:
			return
		case *choice:
			checkCalls(x.test, true)
			checkCalls(x.yes, true)
			checkCalls(x.no, true)
			return
		case *filter:
			if _, ok := filters[x.id]; !ok && !soft {
				panic(failure{unknownFilter(int(x.pos), x.id)})
			}
		case *test:
			if _, ok := tests[x.id]; !ok && !soft {
				panic(failure{unknownTest(int(x.pos), x.id)})
			}
		}
		children(x, visit)
	}
	visit(x)
}

// unsupported are filters of Jinja that this package leaves out on purpose.
var unsupported = map[string]string{
	"random": "its result cannot be repeated", "urlize": "it makes HTML", "xmlattr": "it makes HTML",
	"striptags": "it reads HTML", "urlencode": "it makes URLs", "pprint": "it is for debugging",
	"filesizeformat": "no chat template needs it", "wordwrap": "no chat template needs it",
}

func unknownFilter(line int, id string) error {
	if why, ok := unsupported[id]; ok {
		return &Error{Line: line, Msg: fmt.Sprintf("the filter %q is not supported, %s", id, why), Kind: ErrRefused}
	}
	return &Error{Line: line, Msg: fmt.Sprintf("there is no filter named %q", id), Kind: ErrSyntax}
}

func unknownTest(line int, id string) error {
	return &Error{Line: line, Msg: fmt.Sprintf("there is no test named %q", id), Kind: ErrSyntax}
}
