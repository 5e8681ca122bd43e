package chat

// Expressions, from the loosest binding to the tightest:
// a if b else c · or · and · not · comparisons · + - · ~ · * / // % · ** · sign · filters

func (p *parser) expression(withChoice bool) expr {
	p.enter()
	defer p.leave()
	if !withChoice {
		return p.or()
	}
	x := p.or()
	for i := 0; p.isName("if"); i++ {
		line := p.advance().line
		p.chain(i)
		c := &choice{pos: p.node(line), yes: x, test: p.or()}
		if p.skipName("else") {
			c.no = p.expression(true)
		}
		x = c
	}
	return x
}

// chain limits how far a chain of operators may lean to one side, which is
// nesting as well: a + b + c … and a | f | g … are trees as deep as they are long.
func (p *parser) chain(n int) {
	if n >= maxNesting {
		p.fail(p.tok.line, ErrLimit, "a chain of operators is longer than %d", maxNesting)
	}
}

func (p *parser) or() expr {
	x := p.and()
	for i := 0; p.isName("or"); i++ {
		p.chain(i)
		line := p.advance().line
		x = &binary{p.node(line), "or", x, p.and()}
	}
	return x
}

func (p *parser) and() expr {
	x := p.not()
	for i := 0; p.isName("and"); i++ {
		p.chain(i)
		line := p.advance().line
		x = &binary{p.node(line), "and", x, p.not()}
	}
	return x
}

func (p *parser) not() expr {
	if p.isName("not") {
		p.enter()
		defer p.leave()
		line := p.advance().line
		return &unary{p.node(line), "not", p.not()}
	}
	return p.compare()
}

func (p *parser) compare() expr {
	first := p.sum()
	c := &compare{first: first}
	for {
		op := p.tok.kind
		line := p.tok.line
		switch {
		case op == "==" || op == "!=" || op == "<" || op == "<=" || op == ">" || op == ">=":
			p.advance()
		case p.skipName("in"):
			op = "in"
		case p.isName("not") && p.look().kind == kName && p.look().text == "in":
			p.advance()
			p.advance()
			op = "not in"
		default:
			if len(c.ops) == 0 {
				return first
			}
			return c
		}
		c.pos = p.node(line)
		c.ops = append(c.ops, op)
		c.rest = append(c.rest, p.sum())
	}
}

func (p *parser) sum() expr {
	x := p.tilde()
	for i := 0; p.is("+") || p.is("-"); i++ {
		p.chain(i)
		t := p.advance()
		x = &binary{p.node(t.line), t.kind, x, p.tilde()}
	}
	return x
}

func (p *parser) tilde() expr {
	x := p.product()
	if !p.is("~") {
		return x
	}
	c := &concat{p.node(p.tok.line), []expr{x}}
	for p.skip("~") {
		c.items = append(c.items, p.product())
	}
	return c
}

func (p *parser) product() expr {
	x := p.power()
	for i := 0; p.is("*") || p.is("/") || p.is("//") || p.is("%"); i++ {
		p.chain(i)
		t := p.advance()
		x = &binary{p.node(t.line), t.kind, x, p.power()}
	}
	return x
}

func (p *parser) power() expr {
	x := p.signed(true)
	for i := 0; p.is("**"); i++ { // Jinja binds ** to the left
		p.chain(i)
		t := p.advance()
		x = &binary{p.node(t.line), "**", x, p.signed(true)}
	}
	return x
}

// signed parses a sign, a primary, what follows it, and with withFilter the
// filters and tests that apply to all of it.
func (p *parser) signed(withFilter bool) expr {
	var x expr
	if p.is("-") || p.is("+") {
		p.enter()
		t := p.advance()
		x = &unary{p.node(t.line), t.kind, p.signed(false)}
		p.leave()
	} else {
		x = p.primary()
	}
	x = p.postfix(x)
	if withFilter {
		x = p.filterOrTest(x)
	}
	return x
}

func (p *parser) primary() expr {
	t := p.tok
	switch t.kind {
	case kName:
		p.advance()
		switch t.text {
		case "true", "True":
			return &constant{p.node(t.line), true}
		case "false", "False":
			return &constant{p.node(t.line), false}
		case "none", "None":
			return &constant{p.node(t.line), nil}
		}
		return &name{p.node(t.line), t.text}
	case kString:
		p.advance()
		s := t.text
		if p.is(kString) { // neighbouring strings are one
			b := []byte(s)
			for p.is(kString) {
				b = append(b, p.advance().text...)
			}
			s = string(b)
		}
		return &constant{p.node(t.line), s}
	case kNumber, kFloat:
		p.advance()
		return &constant{p.node(t.line), t.num}
	case "(":
		p.advance()
		x := p.tupleIn(t.line)
		p.expect(")")
		return x
	case "[":
		p.advance()
		l := &listLit{pos: p.node(t.line)}
		for !p.is("]") {
			if len(l.items) > 0 {
				if p.expect(","); p.is("]") {
					break
				}
			}
			l.items = append(l.items, p.expression(true))
		}
		p.expect("]")
		return l
	case "{":
		return p.dict()
	}
	p.fail(t.line, ErrSyntax, "found %s, want an expression", t.describe())
	return nil
}

func (p *parser) dict() expr {
	d := &dictLit{pos: p.node(p.advance().line)}
	for !p.is("}") {
		if len(d.keys) > 0 {
			if p.expect(","); p.is("}") {
				break
			}
		}
		d.keys = append(d.keys, p.expression(true))
		p.expect(":")
		d.vals = append(d.vals, p.expression(true))
	}
	p.expect("}")
	return d
}

// tupleIn parses what stands in parentheses: an expression or a tuple, which
// may be empty.
func (p *parser) tupleIn(line int) expr {
	if p.is(")") {
		return &tupleLit{pos: p.node(line)}
	}
	return p.tuple(true, "")
}

// tuple parses an expression, or several with commas between them as a tuple.
// It stops before the name end.
func (p *parser) tuple(withChoice bool, end string) expr {
	line := p.tok.line
	var items []expr
	tuple := false
	for {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.is(kVarEnd) || p.is(kEnd) || p.is(")") || end != "" && p.isName(end) {
			break
		}
		items = append(items, p.expression(withChoice))
		if !p.is(",") {
			break
		}
		tuple = true
	}
	if tuple {
		return &tupleLit{p.node(line), items}
	}
	if len(items) == 0 {
		p.fail(line, ErrSyntax, "found %s, want an expression", p.tok.describe())
	}
	return items[0]
}

// postfix parses attributes, items and calls after x.
func (p *parser) postfix(x expr) expr {
	for i := 0; ; i++ {
		p.chain(i)
		switch {
		case p.is(".") || p.is("["):
			x = p.subscript(x)
		case p.is("("):
			line := p.tok.line
			x = &call{p.node(line), x, p.arguments()}
		default:
			return x
		}
	}
}

// filterOrTest parses filters, tests and calls of their results after x.
func (p *parser) filterOrTest(x expr) expr {
	for i := 0; ; i++ {
		p.chain(i)
		switch {
		case p.is("|"):
			x = p.filters(x, false)
		case p.isName("is"):
			x = p.test(x)
		case p.is("("):
			line := p.tok.line
			x = &call{p.node(line), x, p.arguments()}
		default:
			return x
		}
	}
}

func (p *parser) subscript(x expr) expr {
	t := p.advance()
	if t.kind == "." {
		a := p.advance()
		switch a.kind {
		case kName:
			return &attribute{p.node(t.line), x, a.text}
		case kNumber:
			return &item{p.node(t.line), x, &constant{p.node(a.line), a.num}}
		}
		p.fail(a.line, ErrSyntax, "found %s after '.', want a name or a number", a.describe())
	}
	var indexes []expr
	for !p.is("]") {
		if len(indexes) > 0 {
			p.expect(",")
		}
		indexes = append(indexes, p.index(x))
	}
	p.expect("]")
	if len(indexes) != 1 {
		for _, ix := range indexes {
			if _, ok := ix.(*slicing); ok {
				p.fail(t.line, ErrSyntax, "a slice cannot stand beside other indexes")
			}
		}
		return &item{p.node(t.line), x, &tupleLit{p.node(t.line), indexes}}
	}
	if s, ok := indexes[0].(*slicing); ok {
		return s
	}
	return &item{p.node(t.line), x, indexes[0]}
}

// index parses an index, or a slice of x.
func (p *parser) index(x expr) expr {
	line := p.tok.line
	s := &slicing{x: x}
	if !p.is(":") {
		ix := p.expression(true)
		if !p.is(":") {
			return ix
		}
		s.from = ix
	}
	p.advance()
	s.pos = p.node(line)
	if !p.is(":") && !p.is("]") && !p.is(",") {
		s.to = p.expression(true)
	}
	if p.skip(":") && !p.is("]") && !p.is(",") {
		s.step = p.expression(true)
	}
	return s
}
