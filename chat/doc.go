// Package chat turns a conversation into the prompt text of a model, by the
// model's own chat template.
//
// Templates are written in Jinja and travel inside model files, so they are
// untrusted programs. This package interprets the subset of Jinja that chat
// templates are written in, with the meaning that Jinja2 gives it under the
// settings of the transformers library: an immutable sandbox, trim_blocks and
// lstrip_blocks, break and continue, {% generation %}, a plain tojson,
// raise_exception and strftime_now.
//
//	source ──Parse──▶ lexer ▶ parser ▶ names ──▶ *Template   immutable, shared by goroutines
//	Input  ──Render─▶ values ▶ interpreter ────▶ text        one budget for each call
//
// A template reads what it is handed in Input and nothing else: there is no
// include, import, extends, file, network, environment or clock other than
// Input.Now. Each rendering has a budget of steps, depth, memory and output;
// what exceeds it ends with ErrLimit, and a cancelled context ends it too.
//
// The package is not a general Jinja: blocks, inheritance, autoescape, and the
// filters that make HTML or random output are refused by name. It knows
// nothing of tokens: turning the text into ids is the tokenizer's work.
package chat
