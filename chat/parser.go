package chat

import (
	"fmt"
	"strings"
)

// The sizes that Parse accepts. Published templates have up to some 20 KiB,
// 5,000 nodes and a nesting of 15.
const (
	maxSource  = 1 << 20 // bytes
	maxNesting = 200     // brackets, statements and operators inside each other
	maxNodes   = 100_000
	maxDigits  = 4300 // of an integer, as in Python
)

// parser builds the tree by recursive descent with one token of look-ahead.
type parser struct {
	lex   *lexer
	tok   token  // current
	ahead *token // the one after it, when it has been looked at
	depth int
	nodes int
	loops int // loops around the current statement in the same function
}

func (p *parser) fail(line int, k error, format string, args ...any) {
	panic(failure{&Error{Line: line, Msg: fmt.Sprintf(format, args...), Kind: k}})
}

// advance gives the current token and moves to the next.
func (p *parser) advance() token {
	t := p.tok
	if p.ahead != nil {
		p.tok, p.ahead = *p.ahead, nil
	} else {
		p.tok = p.lex.next()
	}
	return t
}

// look gives the token after the current one.
func (p *parser) look() token {
	if p.ahead == nil {
		t := p.lex.next()
		p.ahead = &t
	}
	return *p.ahead
}

func (p *parser) is(k kind) bool         { return p.tok.kind == k }
func (p *parser) isName(id string) bool  { return p.tok.kind == kName && p.tok.text == id }
func (p *parser) skip(k kind) bool       { return p.skipIf(p.is(k)) }
func (p *parser) skipName(s string) bool { return p.skipIf(p.isName(s)) }

func (p *parser) skipIf(ok bool) bool {
	if ok {
		p.advance()
	}
	return ok
}

func (p *parser) expect(k kind) token {
	if !p.is(k) {
		p.fail(p.tok.line, ErrSyntax, "found %s, want '%s'", p.tok.describe(), k)
	}
	return p.advance()
}

func (p *parser) expectName(id string) {
	if !p.skipName(id) {
		p.fail(p.tok.line, ErrSyntax, "found %s, want %q", p.tok.describe(), id)
	}
}

// enter counts one level of nesting; the caller defers or calls leave.
func (p *parser) enter() {
	if p.depth++; p.depth > maxNesting {
		p.fail(p.tok.line, ErrLimit, "statements and expressions nest deeper than %d", maxNesting)
	}
}

func (p *parser) leave() { p.depth-- }

// node counts one node of the tree and gives its position.
func (p *parser) node(line int) pos {
	if p.nodes++; p.nodes > maxNodes {
		p.fail(line, ErrLimit, "the template has more than %d parts", maxNodes)
	}
	return pos(line)
}

// statements parses up to a tag whose name is one of ends, and stops at that
// name. Without ends it parses up to the end of the template.
func (p *parser) statements(open token, ends ...string) []stmt {
	p.enter()
	defer p.leave()
	var list []stmt
	for {
		t := p.tok
		switch t.kind {
		case kEOF:
			if len(ends) > 0 {
				p.fail(t.line, ErrSyntax, "the template ends inside of {%% %s %%} (line %d), want %s", open.text, open.line, strings.Join(ends, " or "))
			}
			return list
		case kData:
			p.advance()
			list = append(list, &text{p.node(t.line), t.text})
		case kVarBegin:
			p.advance()
			x := p.tuple(true, "")
			p.expect(kVarEnd)
			list = append(list, &output{p.node(t.line), x})
		default: // kBegin
			p.advance()
			for _, end := range ends {
				if p.isName(end) {
					return list
				}
			}
			list = append(list, p.statement(open, ends)...)
			p.expect(kEnd)
		}
	}
}

// block parses the body of a statement and, with drop, the name that ends it.
func (p *parser) block(open token, drop bool, ends ...string) []stmt {
	p.skip(":")
	p.expect(kEnd)
	list := p.statements(open, ends...)
	if drop {
		p.advance()
	}
	return list
}

// refused are the statements of Jinja that no chat template may have.
var refused = map[string]string{
	"include": "reads another template", "import": "reads another template",
	"from": "reads another template", "extends": "reads another template",
	"block": "belongs to template inheritance", "autoescape": "is for HTML",
}

// statement parses one tag, whose name is the current token, up to its end.
func (p *parser) statement(open token, ends []string) []stmt {
	t := p.tok
	if t.kind != kName {
		p.fail(t.line, ErrSyntax, "found %s, want the name of a statement", t.describe())
	}
	switch t.text {
	case "print":
		return p.printStmt()
	case "set":
		return []stmt{p.setStmt()}
	case "if":
		return []stmt{p.ifStmt()}
	case "for":
		return []stmt{p.forStmt()}
	case "with":
		return []stmt{p.withStmt()}
	case "macro":
		return []stmt{p.macroStmt()}
	case "call":
		return []stmt{p.callBlock()}
	case "filter":
		return []stmt{p.filterBlock()}
	case "generation":
		p.advance()
		loops := p.function()
		list := p.block(t, true, "endgeneration")
		p.loops = loops
		return []stmt{&generation{p.node(t.line), body{list: list}}}
	case "break", "continue":
		p.advance()
		if p.loops == 0 {
			p.fail(t.line, ErrSyntax, "%q stands outside of a loop", t.text)
		}
		if t.text == "break" {
			return []stmt{&breakStmt{p.node(t.line)}}
		}
		return []stmt{&continueStmt{p.node(t.line)}}
	}
	if why, ok := refused[t.text]; ok {
		p.fail(t.line, ErrRefused, "the statement %q %s", t.text, why)
	}
	if len(ends) > 0 {
		p.fail(t.line, ErrSyntax, "unknown statement %q; {%% %s %%} (line %d) wants %s", t.text, open.text, open.line, strings.Join(ends, " or "))
	}
	p.fail(t.line, ErrSyntax, "unknown statement %q", t.text)
	return nil
}

// function says that what follows is the body of a function, which break and
// continue do not leave. It gives the count of loops to restore after it.
func (p *parser) function() int {
	loops := p.loops
	p.loops = 0
	return loops
}

func (p *parser) printStmt() []stmt {
	line := p.advance().line
	var list []stmt
	for !p.is(kEnd) {
		if len(list) > 0 {
			p.expect(",")
		}
		list = append(list, &output{p.node(line), p.expression(true)})
	}
	return list
}

func (p *parser) setStmt() stmt {
	t := p.advance()
	to := p.target(true, "")
	if p.skip("=") {
		return &assign{p.node(t.line), to, p.tuple(true, "")}
	}
	var f expr
	if p.is("|") {
		f = p.filters(nil, false)
	}
	return &assignBlock{p.node(t.line), to, f, body{list: p.block(t, true, "endset")}}
}

func (p *parser) ifStmt() stmt {
	t := p.advance()
	s := &ifStmt{pos: p.node(t.line)}
	for {
		s.tests = append(s.tests, p.tuple(false, ""))
		s.bodies = append(s.bodies, p.block(t, false, "elif", "else", "endif"))
		switch p.advance().text {
		case "elif":
			p.node(t.line)
			continue
		case "else":
			s.bodies = append(s.bodies, p.block(t, true, "endif"))
		}
		return s
	}
}

func (p *parser) forStmt() stmt {
	t := p.advance()
	s := &forStmt{pos: p.node(t.line)}
	s.to = p.target(false, "in")
	p.expectName("in")
	s.in = p.tuple(false, "recursive")
	if p.skipName("if") {
		s.test = p.expression(true)
	}
	outer := p.loops
	if s.recursive = p.skipName("recursive"); s.recursive {
		p.function() // a recursive loop is a function, which its else belongs to
	}
	inner := p.loops
	p.loops++
	s.body.list = p.block(t, false, "endfor", "else")
	p.loops = inner
	if p.advance().text == "else" {
		s.orElse.list = p.block(t, true, "endfor")
	}
	p.loops = outer
	return s
}

func (p *parser) withStmt() stmt {
	t := p.advance()
	s := &withStmt{pos: p.node(t.line)}
	for !p.is(kEnd) {
		if len(s.to) > 0 {
			p.expect(",")
		}
		s.to = append(s.to, p.target(false, ""))
		p.expect("=")
		s.vals = append(s.vals, p.expression(true))
	}
	s.body.list = p.block(t, true, "endwith")
	return s
}

// signature parses the parameters of a macro.
func (p *parser) signature(m *macroDef) {
	p.expect("(")
	for !p.is(")") {
		if len(m.params) > 0 {
			p.expect(",")
		}
		t := p.expect(kName)
		p.assignable(t)
		for _, other := range m.params {
			if other == t.text {
				p.fail(t.line, ErrSyntax, "the parameter %q stands twice", t.text)
			}
		}
		if len(m.params) >= maxNesting {
			p.fail(t.line, ErrLimit, "a macro has more than %d parameters", maxNesting)
		}
		if p.skip("=") {
			m.defaults = append(m.defaults, p.expression(true))
		} else if len(m.defaults) > 0 {
			p.fail(t.line, ErrSyntax, "the parameter %q without a default follows one with a default", t.text)
		}
		m.params = append(m.params, t.text)
	}
	p.expect(")")
}

func (p *parser) macroStmt() stmt {
	t := p.advance()
	m := &macroDef{line: t.line}
	id := p.expect(kName)
	p.assignable(id)
	m.name = id.text
	p.signature(m)
	loops := p.function()
	m.body.list = p.block(t, true, "endmacro")
	p.loops = loops
	return &macroStmt{p.node(t.line), m}
}

func (p *parser) callBlock() stmt {
	t := p.advance()
	m := &macroDef{name: "caller", line: t.line}
	if p.is("(") {
		p.signature(m)
	}
	c, ok := p.expression(true).(*call)
	if !ok {
		p.fail(t.line, ErrSyntax, "{%% call %%} wants a call of a macro")
	}
	loops := p.function()
	m.body.list = p.block(t, true, "endcall")
	p.loops = loops
	return &callBlock{p.node(t.line), c, m}
}

func (p *parser) filterBlock() stmt {
	t := p.advance()
	f := p.filters(nil, true)
	return &filterBlock{p.node(t.line), f, body{list: p.block(t, true, "endfilter")}}
}
