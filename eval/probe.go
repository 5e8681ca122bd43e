package eval

import (
	"context"
	"errors"
	"io"

	"nosa/engine"
)

// probe is a measure that looks into an engine.
type probe struct {
	name string
	open func(ctx context.Context, c *Config, s Setting, length int) (session, error)
}

// session measures samples of one length by one setting.
type session interface {
	sample(ctx context.Context, index int, r *Record) error
	Close() error
}

// probes are all of them.
var probes = []*probe{
	{"ppl", openPerplexity},
	{"fidelity", openFidelity},
	{"locality", openLocality},
}

func probeOf(name string) *probe {
	for _, p := range probes {
		if p.name == name {
			return p
		}
	}
	return nil
}

// errNoMore is returned where the book is at its end, or where a setting has nothing that could be measured.
var errNoMore = errors.New("there is no more to measure")

// opened is an engine with the book in its tokens.
type opened struct {
	engine *engine.Engine
	device io.Closer
	book   []int32
}

// openEngine starts an engine for one sequence of so many tokens.
func openEngine(ctx context.Context, c *Config, s Setting, length int, change func(*engine.Options)) (*opened, error) {
	e, device, err := c.Start(ctx, s, func(o *engine.Options) {
		o.Context, o.Sequences = length, 1
		if change != nil {
			change(o)
		}
	})
	if err != nil {
		return nil, err
	}
	p := &opened{engine: e, device: device}
	if p.book, err = bookTokens(e, c.Book); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (p *opened) Close() error { return errors.Join(p.engine.Close(), p.device.Close()) }

// part is the index-th part of the book with so many tokens.
func (p *opened) part(index, length int) ([]int32, error) {
	if (index+1)*length > len(p.book) {
		return nil, errNoMore
	}
	return p.book[index*length:][:length], nil
}
