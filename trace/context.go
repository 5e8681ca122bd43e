package trace

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"log/slog"
	"strings"
	"time"
)

// Context is who a span is.
type Context struct {
	Trace   [16]byte
	Span    [8]byte
	Parent  [8]byte // zero: none
	State   string  // W3C's tracestate, passed on
	Sampled bool    // it is sent
}

// Child is the context of a span within another one.
func (c Context) Child() Context {
	c.Parent = c.Span
	_, _ = rand.Read(c.Span[:]) // never fails
	return c
}

// Span is a piece of work that has ended.
type Span struct {
	Context
	Name       string
	Server     bool // it answers somebody else's request
	Start, End time.Time
	Error      string      // empty: it went well
	Attributes []slog.Attr // strings, numbers, bools, and lists of strings
}

// mostState is the longest tracestate that is passed on, which is W3C's least.
const mostState = 512

// Begin makes the context of a request's span from the headers that came with it; empty
// or wrong ones begin a new trace.
func (e *Exporter) Begin(traceparent, tracestate string) Context {
	c, sampled, ok := parseParent(traceparent)
	if ok {
		if len(tracestate) <= mostState {
			c.State = tracestate
		}
		c.Sampled = e.set.sampler.child(c.Trace, sampled)
		return c.Child()
	}
	c = Context{}
	_, _ = rand.Read(c.Trace[:])
	c.Sampled = e.set.sampler.root(c.Trace)
	_, _ = rand.Read(c.Span[:])
	return c
}

// parseParent reads version 00 of the header, and of later ones the part that they share
// with it.
func parseParent(header string) (c Context, sampled, ok bool) {
	parts := strings.Split(header, "-")
	if len(header) > 512 || len(parts) < 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 || len(parts[3]) != 2 ||
		strings.ToLower(header) != header || parts[0] == "ff" || parts[0] == "00" && len(parts) != 4 {
		return c, false, false
	}
	var version, flags [1]byte
	for _, p := range []struct {
		to   []byte
		from string
	}{{version[:], parts[0]}, {c.Trace[:], parts[1]}, {c.Span[:], parts[2]}, {flags[:], parts[3]}} {
		if _, err := hex.Decode(p.to, []byte(p.from)); err != nil {
			return c, false, false
		}
	}
	return c, flags[0]&1 == 1, c.Trace != [16]byte{} && c.Span != [8]byte{}
}

// sampler says which traces are sent.
type sampler struct {
	follows bool    // the caller's word counts, where there is one
	part    float64 // of the traces, by their ids
}

func (s sampler) root(id [16]byte) bool {
	// The last 56 bits are random, whoever made the id.
	return float64(binary.BigEndian.Uint64(id[8:])&(1<<56-1)) < s.part*(1<<56)
}

func (s sampler) child(id [16]byte, sampled bool) bool {
	if s.follows {
		return sampled
	}
	return s.root(id)
}
