package chat

// assignable refuses the names of constants as places to store.
func (p *parser) assignable(t token) {
	switch t.text {
	case "true", "false", "none", "True", "False", "None":
		p.fail(t.line, ErrSyntax, "cannot assign to %q", t.text)
	}
}

// target parses a place to store: names, with or without parentheses around
// several, and with attr attributes of a namespace. It stops before end.
func (p *parser) target(attr bool, end string) target {
	first := p.tok.line
	var items []target
	tuple := false
	for {
		if len(items) > 0 {
			p.expect(",")
		}
		if p.is(kVarEnd) || p.is(kEnd) || p.is(")") || end != "" && p.isName(end) {
			break
		}
		items = append(items, p.targetItem(attr))
		if !p.is(",") {
			break
		}
		tuple = true
	}
	if !tuple {
		if len(items) == 0 {
			p.fail(first, ErrSyntax, "found %s, want a name to assign to", p.tok.describe())
		}
		return items[0]
	}
	return target{line: first, tuple: true, items: items}
}

func (p *parser) targetItem(attr bool) target {
	t := p.tok
	if t.kind == "(" {
		p.enter()
		defer p.leave()
		p.advance()
		var inner target
		if p.is(")") {
			inner = target{line: t.line, tuple: true}
		} else {
			inner = p.target(false, "")
		}
		p.expect(")")
		return inner
	}
	if t.kind != kName {
		p.fail(t.line, ErrSyntax, "cannot assign to %s", t.describe())
	}
	p.node(t.line)
	p.advance()
	p.assignable(t)
	if attr && p.skip(".") {
		return target{line: t.line, id: t.text, attr: p.expect(kName).text}
	}
	return target{line: t.line, id: t.text}
}
