package attention

import (
	"errors"
	"fmt"
	"strings"

	"nosa/compute"
)

// Method is one way to choose blocks.
type Method interface {
	// Name is the value of --attention.
	Name() string
	// Keeps says what the cache holds for the method besides keys and values.
	Keeps() Keeps
	// Foresees reports whether a selection is known before its query is, so that
	// the next layer's blocks can be fetched ahead.
	Foresees() bool
	// Params are the method's switches over the constants of selection.
	Params(c Constants) compute.SelectParams
}

// Keeps lists what a method needs beside K and V.
type Keeps struct {
	Means  bool // the mean key of each segment: what the query is scored against
	Scores bool // the importance score of each token; it also enters as a bias
}

// Constants are the shape of blocks and selection (spec nosa, section 1).
type Constants struct {
	Block, Kernel, Stride int // tokens
	Init, Local           int // blocks
	K, Query              int // topk: all selected blocks; topk_q: those that the query adds
	DenseLen              int // positions below it see every block
}

// methods is the registry: one line a method.
var methods = []Method{full{}, infllmv2{}, dma{}, nosa{}}

// ErrMethod is returned for an unknown method, or one that a model cannot run.
var ErrMethod = errors.New("attention method is not available")

// ByName finds a method.
func ByName(name string) (Method, error) {
	for _, m := range methods {
		if m.Name() == name {
			return m, nil
		}
	}
	return nil, fmt.Errorf("%w: %q: use auto, %s", ErrMethod, name, strings.Join(Names(), ", "))
}

// Names lists the methods.
func Names() []string {
	names := make([]string, len(methods))
	for i, m := range methods {
		names[i] = m.Name()
	}
	return names
}

// Layout is the block layout of a method over KV heads of dim channels.
func Layout(m Method, c Constants, heads, dim int, t compute.KVType) compute.Layout {
	l := compute.Layout{Heads: heads, Dim: dim, Block: c.Block, Type: t, Scores: m.Keeps().Scores}
	if m.Keeps().Means || l.Scores {
		l.Kernel, l.Stride = c.Kernel, c.Stride
	}
	return l
}
