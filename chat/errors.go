package chat

import (
	"errors"
	"fmt"
)

// ErrSyntax is returned by Parse for a template that is not valid Jinja.
var ErrSyntax = errors.New("template syntax error")

// ErrRefused is returned for what Jinja can do and a chat template may not:
// including files, inheritance, changing values in place, private attributes.
var ErrRefused = errors.New("not allowed in a chat template")

// ErrLimit is returned when a template is larger than Parse accepts, or asks
// Render for more steps, depth, memory or output than the limits allow.
var ErrLimit = errors.New("template exceeds a limit")

// ErrRaised is returned when the template itself called raise_exception,
// usually because it does not support the order of roles it was given.
var ErrRaised = errors.New("template refused the conversation")

// ErrUndefined is returned when the template uses a value that was not given
// to it in a way that an undefined value does not support.
var ErrUndefined = errors.New("undefined value")

// ErrValue is returned when the template applies an operation to a value that
// does not support it, as a Python exception would tell.
var ErrValue = errors.New("operation failed")

// ErrInput is returned by Render when an argument cannot be handed to a
// template: a Go type without a JSON counterpart, or a reserved name.
var ErrInput = errors.New("argument cannot be given to a template")

// Error is the error of a template: what went wrong, and in which line of it.
type Error struct {
	Line int    // line of the template, from 1; 0 where none applies
	Msg  string // what happened
	Kind error  // one of the package's Err values
}

func (e *Error) Error() string {
	if e.Line > 0 {
		return fmt.Sprintf("chat template: line %d: %s: %v", e.Line, e.Msg, e.Kind)
	}
	return fmt.Sprintf("chat template: %s: %v", e.Msg, e.Kind)
}

// Unwrap gives the kind, so that errors.Is finds it.
func (e *Error) Unwrap() error { return e.Kind }

// failure carries an error from deep inside the parser or the interpreter to
// the exported function that was called, the only place that recovers it.
// Every other panic passes through as the bug it is.
type failure struct{ err error }

// catch ends the flight of a failure. It is deferred by Parse and Render.
func catch(err *error) {
	switch r := recover().(type) {
	case nil:
	case failure:
		*err = r.err
	default:
		panic(r)
	}
}
