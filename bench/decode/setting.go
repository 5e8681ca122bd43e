package decode

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"nosa/bench"
	"nosa/compute"
	"nosa/compute/cuda/step"
	"nosa/dtype"
)

// Setting is one thing that is measured.
type Setting struct {
	Shape   string `json:"shape"`
	Weights string `json:"weights"` // their format
	System  string `json:"system"`
	KVType  string `json:"kv_dtype"`
	Batch   int    `json:"batch"`
	Context int    `json:"context"` // tokens of every sequence before the first step

	Memory   int64 `json:"memory"`    // of the device for all that there is; 0: what is free
	KVDevice int64 `json:"kv_device"` // of it for slots; 0: what is left
	KVHost   int64 `json:"kv_host"`   // host pool; 0: what is needed

	// New is the share of the selected blocks that the step before did not select, in
	// selections that are replayed; 0: nothing is selected, or the model does, at random.
	New   float64 `json:"new"`
	Warm  int     `json:"warm"`  // steps before the first that counts
	Steps int     `json:"steps"` // that count
}

// Design is what a system's name stands for.
type Design struct {
	Select       compute.SelectParams
	Scores       bool // importance scores are kept and have their say
	Full         bool // attention over every block
	Resident     bool // every block has a slot
	KeepSelected bool // slots for the last selection alone
	Shared       bool // the sequences are readers of one document: its blocks are those of all
	Series       bool // copies do not run beside compute
}

// The constants of the released models.
const (
	blockTokens   = 64
	kernelTokens  = 32
	segmentTokens = 16
)

var byQuery = compute.SelectParams{Init: 1, Local: 16, K: 64, ByQuery: true}
var byBoth = compute.SelectParams{Init: 1, Local: 16, Query: 16, K: 64, ByQuery: true, ByScore: true}

// Systems are the names of all designs.
var Systems = []string{"full", "infllmv2", "nosi", "nosa", "readers"}

func design(system string) (Design, error) {
	switch system {
	case "full":
		return Design{Full: true, Resident: true}, nil
	case "infllmv2":
		return Design{Select: byQuery, Resident: true}, nil
	case "nosi":
		return Design{Select: byBoth, Scores: true, KeepSelected: true, Series: true}, nil
	case "nosa":
		return Design{Select: byBoth, Scores: true}, nil
	case "readers":
		return Design{Select: byBoth, Scores: true, Shared: true}, nil
	}
	return Design{}, fmt.Errorf("%w: system %q: use %s", ErrSetting, system, strings.Join(Systems, ", "))
}

// Meaning is what the names in a setting stand for.
type Meaning struct {
	Design
	Shape    bench.Shape
	Weights  dtype.Type
	Layout   compute.Layout
	Roofline step.Roofline
}

// Meaning reads the names.
func (s Setting) Meaning() (m Meaning, err error) {
	if m.Design, err = design(s.System); err != nil {
		return m, err
	}
	if m.Shape, m.Weights, err = bench.ParseShape(s.Shape + ":" + s.Weights); err != nil {
		return m, err
	}
	kv, err := compute.ParseKVType(s.KVType)
	if err != nil {
		return m, err
	}
	m.Layout = compute.Layout{Heads: m.Shape.KVHeads, Dim: m.Shape.HeadDim, Block: blockTokens, Scores: m.Scores, Type: kv}
	m.Roofline = step.Roofline{Layers: m.Shape.Layers, Heads: m.Shape.KVHeads, Block: blockTokens, Stride: segmentTokens,
		Weights: float64(m.Shape.StepBytes(m.Weights)), BlockBytes: float64(m.Layout.BlockBytes())}
	if !m.Full {
		m.Layout.Kernel, m.Layout.Stride = kernelTokens, segmentTokens
		m.Roofline.K = m.Select.K
		m.Roofline.SegmentBytes = float64(m.Layout.SummaryBytes()) / float64(m.Layout.Segments())
	}
	return m, nil
}

// Replay records the selections of a setting, for all of its steps; nil where New is 0.
func (s Setting) Replay(m Meaning, seed uint64) (*step.Replay, error) {
	if s.New == 0 {
		return nil, nil
	}
	o := step.ReplayOptions{Layers: m.Shape.Layers, Heads: m.Shape.KVHeads, Block: blockTokens, Select: m.Select,
		Steps: max(2, s.Warm+s.Steps), New: s.New, Seed: seed}
	return step.NewReplay(o, slices.Repeat([]int{s.Context}, s.Batch))
}

// ErrSetting is returned for what cannot be meant.
var ErrSetting = errors.New("nothing to measure")

// ErrNoRoom is returned by a Runner for a setting that the memory does not hold.
var ErrNoRoom = errors.New("does not fit")

// Sweep is every combination of what its lists name.
type Sweep struct {
	Shape    string
	Systems  []string
	Weights  []string
	KVTypes  []string
	Batches  []int
	Contexts []int
	Common   Setting // the rest
	NosiNew  float64 // in place of Common.New, for nosi
}

// The most that a sweep may ask for: far above what a machine holds.
const (
	mostBatch   = 1024
	mostContext = 1 << 22
	mostSteps   = 1 << 16
)

// Settings lists them: by context and system, small batches first.
func (w Sweep) Settings() ([]Setting, error) {
	var all []Setting
	for _, context := range ascending(w.Contexts) {
		for _, system := range w.Systems {
			for _, weights := range w.Weights {
				for _, kv := range w.KVTypes {
					for _, batch := range ascending(w.Batches) {
						s := w.Common
						s.Shape, s.System, s.Weights, s.KVType, s.Batch, s.Context = w.Shape, system, weights, kv, batch, context
						switch system {
						case "full":
							s.New = 0
						case "nosi":
							s.New = w.NosiNew
						}
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
		{"batch", s.Batch, 1, mostBatch}, {"context", s.Context, 1, mostContext},
		{"steps", s.Steps, 1, mostSteps}, {"warm", s.Warm, 0, mostSteps},
	} {
		if x.n < x.least || x.n > x.most {
			return fmt.Errorf("%w: --%s %d: want %d to %d", ErrSetting, x.what, x.n, x.least, x.most)
		}
	}
	if !(s.New >= 0 && s.New <= 0.7) {
		return fmt.Errorf("%w: %g of the selected blocks new in a step: want 0 to 0.7", ErrSetting, s.New)
	}
	return nil
}

// ascending sorts a list and drops what is in it twice.
func ascending(n []int) []int {
	n = slices.Clone(n)
	slices.Sort(n)
	return slices.Compact(n)
}
