package prefill

import (
	"errors"
	"fmt"
	"slices"

	"nosa/attention"
	"nosa/bench"
	"nosa/compute"
	"nosa/dtype"
	"nosa/model"
)

// Setting is one thing that is measured.
type Setting struct {
	Shape   string `json:"shape"`
	Weights string `json:"weights"` // their format
	Method  string `json:"attention"`
	KVType  string `json:"kv_dtype"`
	Context int    `json:"context"` // tokens of the prompt
	Chunk   int    `json:"chunk"`   // of them in a pass
	Same    int    `json:"same"`    // neighbours that are the same token: the more, the more alike is what they select
	Runs    int    `json:"runs"`
	Parts   bool   `json:"-"` // one more run, in which parts are timed
}

// String names a setting in one line.
func (s Setting) String() string {
	return fmt.Sprintf("%s %s, KV %s, %d tokens by %d", s.Shape, s.Method, s.KVType, s.Context, s.Chunk)
}

// Meaning is what the names in a setting stand for.
type Meaning struct {
	Shape     bench.Shape
	Weights   dtype.Type
	Method    attention.Method
	Constants attention.Constants
	Layout    compute.Layout
}

// Meaning reads the names. Blocks and selections are those of the released models.
func (s Setting) Meaning() (m Meaning, err error) {
	if m.Method, err = attention.ByName(s.Method); err != nil {
		return m, err
	}
	if m.Shape, m.Weights, err = bench.ParseShape(s.Shape + ":" + s.Weights); err != nil {
		return m, err
	}
	kv, err := compute.ParseKVType(s.KVType)
	if err != nil {
		return m, err
	}
	sparse := model.DefaultSparse()
	m.Constants = attention.Constants{Block: sparse.BlockSize, Kernel: sparse.KernelSize, Stride: sparse.KernelStride, Init: sparse.InitBlocks,
		Local: sparse.LocalBlocks(), K: sparse.TopK, Query: sparse.TopKQ, DenseLen: sparse.DenseLen}
	m.Layout = attention.Layout(m.Method, m.Constants, m.Shape.KVHeads, m.Shape.HeadDim, kv)
	return m, nil
}

// Work is what a prompt of so many tokens cannot do without, in FLOP.
type Work struct {
	Products  float64 `json:"products"`
	Attention float64 `json:"attention"`
	Scores    float64 `json:"scores"` // of queries against the means of segments
}

// Sum is all of it.
func (w Work) Sum() float64 { return w.Products + w.Attention + w.Scores }

// Work of a prompt.
func (m Meaning) Work(tokens int) Work {
	h, p := m.Shape, m.Method.Params(m.Constants)
	q, kv := h.Heads*h.HeadDim, h.KVHeads*h.HeadDim
	layer := h.Hidden*(q+2*kv) + q*h.Hidden + 3*h.Hidden*h.FFN
	w := Work{Products: 2 * (float64(tokens)*float64(h.Layers)*float64(layer) + float64(h.Vocab)*float64(h.Hidden))}
	seen, segments := 0.0, 0.0
	for pos := range tokens {
		n := pos + 1
		if p.Most() > 0 && pos >= p.DenseLen {
			n = min(n, p.K*m.Constants.Block)
			if p.ByQuery && pos/m.Constants.Block+1 > p.K {
				segments += float64(pos / m.Constants.Stride)
			}
		}
		seen += float64(n)
	}
	w.Attention = 4 * float64(h.Layers*q) * seen
	w.Scores = 2 * float64(h.Layers*q) * segments
	return w
}

// ErrSetting is returned for what cannot be meant.
var ErrSetting = errors.New("nothing to measure")

// ErrNoRoom is returned by a Runner for a setting that the memory does not hold.
var ErrNoRoom = errors.New("does not fit")

// Sweep is every combination of what its lists name.
type Sweep struct {
	Shape    string
	Methods  []string
	Weights  []string
	KVTypes  []string
	Contexts []int
	Common   Setting // the rest
}

// The most that a sweep may ask for: far above what a machine holds.
const (
	mostContext = 1 << 22
	mostChunk   = 1 << 16
	mostRuns    = 1 << 10
)

// Settings lists them: by context and method.
func (w Sweep) Settings() ([]Setting, error) {
	var all []Setting
	for _, context := range w.Contexts {
		for _, method := range w.Methods {
			for _, weights := range w.Weights {
				for _, kv := range w.KVTypes {
					s := w.Common
					s.Shape, s.Method, s.Weights, s.KVType, s.Context = w.Shape, method, weights, kv, context
					s.Chunk = min(s.Chunk, max(1, context))
					if err := s.check(); err != nil {
						return nil, err
					}
					if !slices.Contains(all, s) {
						all = append(all, s)
					}
				}
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: a list is empty", ErrSetting)
	}
	return all, nil
}

func (s Setting) check() error {
	if _, err := s.Meaning(); err != nil {
		return err
	}
	for _, x := range []struct {
		what           string
		n, least, most int
	}{
		{"context", s.Context, 1, mostContext}, {"chunk", s.Chunk, 1, mostChunk}, {"same", s.Same, 1, mostContext}, {"runs", s.Runs, 1, mostRuns},
	} {
		if x.n < x.least || x.n > x.most {
			return fmt.Errorf("%w: --%s %d: want %d to %d", ErrSetting, x.what, x.n, x.least, x.most)
		}
	}
	return nil
}
