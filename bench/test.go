package bench

import (
	"errors"
	"fmt"
	"slices"
)

// Test is one thing that is measured: a prompt of Prompt tokens, or Gen tokens
// generated in each of Batch sequences, both after Depth tokens.
type Test struct {
	Prompt int
	Gen    int
	Depth  int
	Batch  int
}

// String is the row's name, as llama-bench writes it where it knows such a test:
// pp512, tg64 @ d4096, tg64 x8 @ d2048.
func (t Test) String() string {
	name := fmt.Sprintf("pp%d", t.Prompt)
	if t.Gen > 0 {
		name = fmt.Sprintf("tg%d", t.Gen)
	}
	if t.Batch > 1 {
		name += fmt.Sprintf(" x%d", t.Batch)
	}
	if t.Depth > 0 {
		name += fmt.Sprintf(" @ d%d", t.Depth)
	}
	return name
}

// tokens is what a run adds to each sequence, of which there are Batch.
func (t Test) tokens() int { return t.Prompt + t.Gen }

// ErrConfig is returned for settings that nothing can be measured with.
var ErrConfig = errors.New("nothing to measure")

// Sweep is what is measured: every prompt length, and generation in every batch
// size, at every depth.
type Sweep struct {
	Prompts []int // tokens; none: no prefill
	Gen     int   // tokens; 0: no decode
	Depths  []int // tokens
	Batches []int // sequences that are decoded together
}

// The most that a sweep may ask for: far above what a machine holds.
const (
	mostTokens = 1 << 24
	mostBatch  = 512
)

// Check refuses what cannot be meant.
func (s Sweep) Check() error {
	for _, list := range []struct {
		what  string
		n     []int
		least int
		most  int
	}{
		{"prompt", s.Prompts, 0, mostTokens}, {"gen", []int{s.Gen}, 0, mostTokens},
		{"depth", s.Depths, 0, mostTokens}, {"batch", s.Batches, 1, mostBatch},
	} {
		for _, n := range list.n {
			if n < list.least || n > list.most {
				return fmt.Errorf("%w: --%s %d: want %d to %d", ErrConfig, list.what, n, list.least, list.most)
			}
		}
	}
	if len(s.Tests()) == 0 {
		return fmt.Errorf("%w: --prompt or --gen must be above 0, at one --depth and one --batch at least", ErrConfig)
	}
	return nil
}

// Tests lists all of it, the shallow first.
func (s Sweep) Tests() []Test {
	var all []Test
	batches := ascending(s.Batches)
	for _, depth := range ascending(s.Depths) {
		for _, n := range ascending(s.Prompts) {
			if n > 0 {
				all = append(all, Test{Prompt: n, Depth: depth, Batch: 1})
			}
		}
		for _, b := range batches {
			if s.Gen > 0 {
				all = append(all, Test{Gen: s.Gen, Depth: depth, Batch: b})
			}
		}
	}
	return all
}

// ascending sorts a list and drops what is in it twice.
func ascending(n []int) []int {
	n = slices.Clone(n)
	slices.Sort(n)
	return slices.Compact(n)
}

// Tokens is the length of the longest sequence, Sequences the most that are open
// with tokens of their own.
func (s Sweep) Tokens() int {
	most := 0
	for _, t := range s.Tests() {
		most = max(most, t.Depth+t.tokens())
	}
	return most
}

// Sequences is the largest batch.
func (s Sweep) Sequences() int {
	most := 1
	for _, t := range s.Tests() {
		most = max(most, t.Batch)
	}
	return most
}

// slack is what a run's sequence has beyond the shared blocks of the one that is
// held: the open block of each, in tokens of the usual block.
const slack = 2 * 64

// Context is the context that an engine must be opened with, as many times as
// Sequences says, so that held and running sequences fit at the same time.
func (s Sweep) Context() int { return s.Tokens() + slack }
