package chat

import (
	"context"
	"fmt"
	"math/big"
	"unsafe"
)

// Limits bound what one rendering may use. A zero field stands for its default.
type Limits struct {
	Steps  int // operations, and one for every 256 bytes handled; default 10,000,000 (about a second), and one for each byte of input
	Depth  int // expressions, statements and calls inside each other; default 2,000
	Output int // bytes of text, also of text caught in a variable; default 8 MiB, and twice the input
	Memory int // bytes of all values alive at once, as an estimate; default 24 MiB, and twice the input
}

const (
	defaultSteps  = 10_000_000
	defaultDepth  = 2000
	defaultOutput = 8 << 20
	defaultMemory = 24 << 20
)

// budget counts what one rendering uses.
type budget struct {
	ctx     context.Context
	limits  Limits
	steps   int
	polled  int // steps when the context was last looked at
	depth   int
	memory  int // estimate: alive at the last measurement and made since
	measure int // memory at which it pays to measure again
	line    int // of the statement or call that runs, for errors
}

// The estimated bytes of values, for the memory limit.
const (
	valueSize = 16
	entrySize = 64
	scopeSize = 128
)

// wordBytes is how many bytes of text count as one step.
const wordBytes = 256

// pollSteps is how often the context is looked at.
const pollSteps = 4096

func newBudget(ctx context.Context, l Limits, inputSize int) budget {
	pick := func(p *int, def int) {
		if *p <= 0 {
			*p = def
		}
	}
	pick(&l.Steps, defaultSteps+inputSize)
	pick(&l.Depth, defaultDepth)
	pick(&l.Output, defaultOutput+2*inputSize)
	pick(&l.Memory, defaultMemory+2*inputSize)
	return budget{ctx: ctx, limits: l, measure: l.Memory / 2}
}

// fail ends the rendering with an error of the given kind.
func (b *budget) fail(k error, format string, args ...any) {
	panic(failure{&Error{Line: b.line, Msg: fmt.Sprintf(format, args...), Kind: k}})
}

// step counts n operations.
func (b *budget) step(n int) {
	if n < 0 || n > b.limits.Steps-b.steps {
		b.fail(ErrLimit, "more than %d steps", b.limits.Steps)
	}
	b.steps += n
	if b.steps-b.polled >= pollSteps {
		b.polled = b.steps
		if b.ctx.Err() != nil {
			panic(failure{fmt.Errorf("chat template: line %d: %w", b.line, context.Cause(b.ctx))})
		}
	}
}

// bytes counts the handling of n bytes of text that are not kept.
func (b *budget) bytes(n int) { b.step(1 + n/wordBytes) }

// charge counts n bytes that are about to be allocated.
func (b *budget) charge(n int) {
	if n < 0 || n > b.limits.Memory-b.memory {
		b.fail(ErrLimit, "more than %d bytes of memory", b.limits.Memory)
	}
	b.memory += n
	b.bytes(n)
}

// chargeItems counts n elements of size bytes each, without overflow.
func (b *budget) chargeItems(n, size int) {
	if n < 0 || size > 0 && n > b.limits.Memory/size {
		b.fail(ErrLimit, "more than %d bytes of memory", b.limits.Memory)
	}
	b.charge(n * size)
	b.step(n / 8)
}

// enter counts one more level of depth; leave ends it.
func (b *budget) enter() {
	b.step(1)
	if b.depth++; b.depth > b.limits.Depth {
		b.fail(ErrLimit, "more than %d levels of calls and expressions", b.limits.Depth)
	}
}

func (b *budget) leave() { b.depth-- }

// collect is called between statements, where every living value can be found
// from the scopes and the output: when much has been allocated it counts what
// of it is still alive, so that a long conversation that builds its text bit by
// bit is not taken for one that keeps every bit.
func (in *interp) collect(s *scope) {
	if in.memory < in.measure || in.nested > 0 {
		return
	}
	m := meter{seen: map[any]bool{}}
	for o := in.out; o != nil; o = o.outer {
		m.size += cap(o.buf)
	}
	for _, l := range in.loops {
		m.queue = append(m.queue, l)
	}
	m.scope(s)
	m.drain()
	in.step(m.visits)
	in.memory = min(in.memory, m.size)
	in.measure = max(in.limits.Memory/2, in.memory+in.limits.Memory/8)
}

// meter adds up the sizes of values, each once.
type meter struct {
	seen   map[any]bool
	size   int
	visits int
	queue  []value
}

// first tells whether the thing at p has not been counted yet.
func (m *meter) first(p any) bool {
	m.visits++
	if m.seen[p] {
		return false
	}
	m.seen[p] = true
	return true
}

func (m *meter) scope(s *scope) {
	for ; s != nil && m.first(s); s = s.parent {
		m.size += scopeSize
		for _, v := range s.vars {
			m.size += entrySize
			m.queue = append(m.queue, v)
		}
	}
}

// drain counts what is queued and all that it leads to.
func (m *meter) drain() {
	for len(m.queue) > 0 {
		v := m.queue[len(m.queue)-1]
		m.queue = m.queue[:len(m.queue)-1]
		m.value(v)
	}
}

func (m *meter) items(list []value) {
	m.size += valueSize * cap(list)
	m.queue = append(m.queue, list...)
}

func (m *meter) value(v value) {
	switch v := v.(type) {
	case string:
		m.text(v)
	case markup:
		m.text(string(v))
	case *big.Int:
		m.size += v.BitLen() / 8
	case *list:
		if m.first(v) {
			m.items(v.items)
		}
	case *tuple:
		if m.first(v) {
			m.items(v.items)
		}
	case *dict:
		m.dict(v)
	case *dictView:
		m.dict(v.of)
	case *namespace:
		m.dict(&v.attrs)
	case *cycler:
		if m.first(v) {
			m.items(v.items)
		}
	case *joiner:
		m.queue = append(m.queue, v.sep)
	case *generator:
		if m.first(v) {
			m.queue = append(m.queue, v.src)
		}
	case *function:
		m.queue = append(m.queue, v.self)
	case *loop:
		if m.first(v) {
			m.queue = append(m.queue, v.source, v.before, v.current, v.after, v.changed)
			m.items(v.rest)
		}
	case *macro:
		if m.first(v) {
			m.scope(v.outer)
		}
	}
}

func (m *meter) dict(d *dict) {
	if !m.first(d) {
		return
	}
	m.size += entrySize * len(d.entries)
	for i := range d.entries {
		m.queue = append(m.queue, d.entries[i].key, d.entries[i].val)
	}
}

// text counts the bytes of a string once, however many values share them.
func (m *meter) text(s string) {
	if len(s) < 64 || m.first(unsafe.StringData(s)) {
		m.size += len(s)
	}
}
