package tokenizer

import "errors"

var (
	// ErrFormat is returned when a tokenizer's file or metadata is malformed or contradicts itself.
	ErrFormat = errors.New("malformed tokenizer")
	// ErrUnsupported is returned when a tokenizer is well formed but needs something that this package does not have.
	ErrUnsupported = errors.New("unsupported tokenizer")
	// ErrPattern is returned by TryEncode when a pattern of the tokenizer needed too much time or memory for a text.
	ErrPattern = errors.New("pattern needs too much time or memory")
)
