package train

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"nosa/attention"
	"nosa/model"
	"nosa/train"
)

// Setting is one thing that is measured.
type Setting struct {
	Shape     string `json:"shape"`
	Method    string `json:"attention"`
	Context   int    `json:"context"`   // tokens of a document
	Rows      int    `json:"rows"`      // tokens of a pass, whole documents
	Passes    int    `json:"passes"`    // of a step
	HeadRows  int    `json:"head_rows"` // rows of logits that exist at once
	Recompute string `json:"recompute"`
	Same      int    `json:"same"` // neighbours that are the same token: the more, the more alike is what they select
	Warm      int    `json:"warm"` // steps before those that count
	Steps     int    `json:"steps"`
	Profile   bool   `json:"-"` // one more step, whose parts are timed
}

// String names a setting in one line.
func (s Setting) String() string {
	return fmt.Sprintf("%s %s, %d × %d tokens", s.Shape, s.Method, s.Rows/s.Context*s.Passes, s.Context)
}

// Tokens of a step.
func (s Setting) Tokens() int { return s.Rows * s.Passes }

// shape is the size of a decoder of the Llama family with tied tables, and what selection is made with.
type shape struct {
	name                                                     string
	hidden, layers, heads, kvHeads, dim, intermediate, vocab int
	base                                                     float64
	sparse                                                   model.SparseConfig
}

// shapes are those that have a name: SmolLM2-135M's and Llama-3.2-1B's, with the blocks of the
// released NOSA models. tiny is for tests, and chooses blocks from 96 tokens on.
var shapes = []shape{
	{"tiny", 64, 2, 4, 2, 16, 96, 150, 10000, model.SparseConfig{KernelSize: 8, KernelStride: 4, BlockSize: 16, InitBlocks: 1, WindowSize: 32, TopK: 5, TopKQ: 1}},
	{"135m", 576, 30, 9, 3, 64, 1536, 49152, 100000, model.DefaultSparse()},
	{"1b", 2048, 16, 32, 8, 64, 8192, 128256, 500000, model.DefaultSparse()},
}

// ErrSetting is returned for what cannot be meant.
var ErrSetting = errors.New("nothing to measure")

// ErrNoRoom is returned by a Runner for a setting that the memory does not hold.
var ErrNoRoom = errors.New("does not fit")

func shapeByName(name string) (shape, error) {
	var names []string
	for _, h := range shapes {
		if h.name == name {
			return h, nil
		}
		names = append(names, h.name)
	}
	return shape{}, fmt.Errorf("%w: --shape %.40q: use %s", ErrSetting, name, strings.Join(names, ", "))
}

// rate is small enough for any shape to stay a number.
const rate = 1e-5

// config is a setting as a run is described.
func (s Setting) config() (*train.Config, error) {
	h, err := shapeByName(s.Shape)
	if err != nil {
		return nil, err
	}
	method, err := attention.ByName(s.Method)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSetting, err)
	}
	c := train.Default()
	m := &c.Model
	m.Family = "llama"
	if method.Keeps().Scores {
		m.Family = "nosa"
	}
	m.Hidden, m.Layers, m.Heads, m.KVHeads, m.HeadDim, m.Intermediate, m.Vocab = h.hidden, h.layers, h.heads, h.kvHeads, h.dim, h.intermediate, h.vocab
	m.RopeTheta = h.base
	p := &h.sparse
	c.Sparse = train.SparseConfig{KernelSize: &p.KernelSize, KernelStride: &p.KernelStride, BlockSize: &p.BlockSize, InitBlocks: &p.InitBlocks,
		WindowSize: &p.WindowSize, TopK: &p.TopK, TopKQ: &p.TopKQ, DenseLen: &p.DenseLen}
	c.Batch = train.BatchConfig{Tokens: s.Tokens(), Rows: s.Rows, HeadRows: s.HeadRows, Recompute: s.Recompute}
	c.Optimiser.Rate, c.Optimiser.Schedule = rate, "constant"
	c.Stages = []train.StageConfig{{Steps: s.Warm + s.Steps + 1, Method: s.Method, Context: s.Context}}
	c.Out = "none" // nothing is written
	return &c, nil
}

// Sweep is every combination of what its lists name.
type Sweep struct {
	Shape    string
	Methods  []string
	Contexts []int
	Rows     int     // of a pass at least: as many documents as fit, and one where none does
	Common   Setting // the rest
}

// The most that a sweep may ask for: far above what a machine holds.
const (
	mostTokens = 1 << 22
	mostPasses = 1 << 6
	mostSteps  = 1 << 16
)

// Settings lists them: by context and method.
func (w Sweep) Settings() ([]Setting, error) {
	if w.Rows < 1 || w.Rows > mostTokens {
		return nil, fmt.Errorf("%w: --rows %d: want 1 to %d", ErrSetting, w.Rows, mostTokens)
	}
	var all []Setting
	for _, context := range w.Contexts {
		if context < 1 || context > mostTokens {
			return nil, fmt.Errorf("%w: --context %d: want 1 to %d", ErrSetting, context, mostTokens)
		}
		for _, method := range w.Methods {
			s := w.Common
			s.Shape, s.Method, s.Context, s.Rows = w.Shape, method, context, max(1, w.Rows/context)*context
			if err := s.check(); err != nil {
				return nil, err
			}
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("%w: a list is empty", ErrSetting)
	}
	return all, nil
}

func (s Setting) check() error {
	for _, x := range []struct {
		what           string
		n, least, most int
	}{
		{"passes", s.Passes, 1, mostPasses}, {"head-rows", s.HeadRows, 1, mostTokens}, {"same", s.Same, 1, mostTokens},
		{"warm", s.Warm, 1, mostSteps}, {"steps", s.Steps, 1, mostSteps},
	} {
		if x.n < x.least || x.n > x.most {
			return fmt.Errorf("%w: --%s %d: want %d to %d", ErrSetting, x.what, x.n, x.least, x.most)
		}
	}
	c, err := s.config()
	if err != nil {
		return err
	}
	if err := c.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrSetting, err)
	}
	return nil
}
