package engine

import (
	"strings"

	"nosa/tokenizer"
)

// pieces turns tokens into text as they come, in whole characters.
type pieces struct {
	stream *tokenizer.Stream
	emit   func(string) error
	all    strings.Builder
}

func (e *Engine) newPieces(emit func(string) error) *pieces {
	p := &pieces{emit: emit}
	if e.Tokenizer != nil {
		p.stream = e.Tokenizer.NewStream(true)
	}
	return p
}

func (p *pieces) push(id int32) error {
	if p.stream == nil {
		return nil
	}
	return p.send(p.stream.Push(id))
}

func (p *pieces) flush() error {
	if p.stream == nil {
		return nil
	}
	return p.send(p.stream.Flush())
}

func (p *pieces) send(s string) error {
	if s == "" {
		return nil
	}
	p.all.WriteString(s)
	if p.emit == nil {
		return nil
	}
	return p.emit(s)
}
