package chat

// Calls, and the filters and tests that are called by name.

func (p *parser) arguments() argList {
	var a argList
	line := p.expect("(").line
	bad := func(is bool) {
		if is {
			p.fail(line, ErrSyntax, "the arguments of a call are in the wrong order")
		}
	}
	for n := 0; !p.is(")"); n++ {
		if n > 0 {
			if p.expect(","); p.is(")") {
				break
			}
		}
		switch {
		case p.skip("*"):
			bad(a.star != nil || a.starStar != nil)
			a.star = p.expression(true)
		case p.skip("**"):
			bad(a.starStar != nil)
			a.starStar = p.expression(true)
		case p.is(kName) && p.look().kind == "=":
			bad(a.starStar != nil)
			id := p.advance().text
			p.advance()
			for _, other := range a.kwNames {
				if other == id {
					p.fail(line, ErrSyntax, "the argument %q stands twice", id)
				}
			}
			if len(a.kwNames) >= maxNesting {
				p.fail(line, ErrLimit, "a call has more than %d named arguments", maxNesting)
			}
			a.kwNames = append(a.kwNames, id)
			a.kwVals = append(a.kwVals, p.expression(true))
		default:
			bad(a.star != nil || a.starStar != nil || len(a.kwNames) > 0)
			a.args = append(a.args, p.expression(true))
		}
	}
	p.expect(")")
	return a
}

// dotted parses the name of a filter or a test, which may have dots in it.
func (p *parser) dotted() token {
	t := p.expect(kName)
	for p.skip(".") {
		t.text += "." + p.expect(kName).text
	}
	return t
}

// filters parses | f | g after x. With inline the first f has no bar.
func (p *parser) filters(x expr, inline bool) expr {
	for i := 0; inline || p.is("|"); i++ {
		p.chain(i)
		if !inline {
			p.advance()
		}
		inline = false
		t := p.dotted()
		f := &filter{pos: p.node(t.line), x: x, id: t.text}
		if p.is("(") {
			f.argList = p.arguments()
		}
		x = f
	}
	return x
}

// test parses is [not] name [argument] after x.
func (p *parser) test(x expr) expr {
	p.advance()
	negated := p.skipName("not")
	t := p.dotted()
	c := &test{pos: p.node(t.line), x: x, id: t.text}
	switch p.tok.kind {
	case "(":
		c.argList = p.arguments()
	case kName, kString, kNumber, kFloat, "[", "{":
		if p.isName("else") || p.isName("or") || p.isName("and") {
			break
		}
		if p.isName("is") {
			p.fail(p.tok.line, ErrSyntax, "tests with 'is' cannot be chained")
		}
		c.args = []expr{p.postfix(p.primary())}
	}
	if negated {
		return &unary{p.node(t.line), "not", c}
	}
	return c
}
