package chat

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Template is a parsed chat template. It does not change, and any number of
// goroutines may render it at once.
type Template struct{ body body }

// Parse reads a template. It fails with ErrSyntax where Jinja would not
// compile it, with ErrRefused for what a chat template must not do, and with
// ErrLimit for more than 1 MiB, 100,000 parts or 200 levels.
func Parse(source string) (t *Template, err error) {
	if len(source) > maxSource {
		return nil, &Error{Msg: fmt.Sprintf("the template has %d bytes, at most %d are read", len(source), maxSource), Kind: ErrLimit}
	}
	defer catch(&err)
	p := &parser{lex: newLexer(validText(source))}
	p.advance()
	t = &Template{body{list: p.statements(token{})}}
	t.body.resolve(nil, nil)
	return t, nil
}

// Takes tells whether the template reads an argument of that name, which it is free to
// be given in Input.Extra: none of Input's other fields, and no function.
func (t *Template) Takes(name string) bool {
	if slices.Contains(reserved, name) || slices.ContainsFunc(functions, func(f *function) bool { return f.name == name }) {
		return false
	}
	return undeclared(t.body.list, name)[name]
}

// Render applies the template to a conversation and gives the text of the
// prompt. It fails with ErrRaised when the template refuses the conversation,
// with ErrLimit when it uses more than in.Limits, with the context's error when
// ctx ends, and otherwise as a Python program would, with ErrUndefined or
// ErrValue. An error says in which line of the template it happened.
func (t *Template) Render(ctx context.Context, in Input) (text string, err error) {
	if err := context.Cause(ctx); err != nil {
		return "", fmt.Errorf("chat template: %w", err)
	}
	defer catch(&err)
	var c converter
	r := &interp{globals: c.globals(in), out: &capture{}, now: in.Now}
	if r.now == nil {
		r.now = time.Now
	}
	r.budget = newBudget(ctx, in.Limits, c.size)
	r.run(t.body.list, r.newScope(nil, t.body.undef))
	return string(r.out.buf), nil
}
