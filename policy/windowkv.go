package policy

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// WindowKV: whole runs of the prompt, chosen by a few layers for all.
//
// Paper: Zuo, Wei, Zhang, Liu, Lu, Song, "WindowKV: Task-Adaptive Group-Wise KV Cache Window
// Selection for Efficient LLM Inference", arXiv 2503.17922.
//
// Cuts the prompt into short windows, scores each with the prompt's last queries and keeps
// whole ones, so that what stays still reads as text. Looking a fact up goes by a window's
// largest weights, condensing a text by their mean. Layers form groups of neighbours: the
// lowest one selects, the others take its list; low groups keep more. The last queries' own
// tokens stay, and what is generated. A window may lie anywhere in a block: the cache packs
// what is left.
//
// Holds keep tokens of the prompt in each KV head, in the mean over the layers and up to a
// window, beside the last observe tokens, and all that are generated. Costs a walk of the last
// queries over the prompt's keys in one layer of each group, once.
type windowkv struct{}

func (windowkv) Name() string  { return "windowkv" }
func (windowkv) About() string { return "whole runs of the prompt, chosen by one layer for several" }
func (windowkv) Paper() string { return "arXiv 2503.17922" }

func (windowkv) Options() []Option {
	return []Option{
		Amount("keep", "1024", "tokens of the prompt that stay, in the mean over the layers; a share keeps 64 at least"),
		Number("window", 8, 2, 4096, "tokens of a run that stays or goes"),
		Number("layers", 0, 0, 4096, "layers that share a choice; 0: the divisor of the model's that is nearest 8"),
		Number("beta", 14, 1, 1<<20, "how much more low layers keep: more is more"),
		Choice("task", "auto", "what the prompt asks for: a fact, a summary, or as its words say", "auto", "localization", "aggregation"),
		Number("observe", 0, 0, 4096, "newest tokens, which choose and always stay; 0: 32 to localize, 16 to aggregate"),
		Choice("first", "drop", "whether the first window stays whatever its score", "drop", "keep"),
	}
}

func (windowkv) New(v Values, s Shape) (Policy, error) {
	p := windowkvPolicy{v: v, layers: v.Int("layers")}
	if p.layers == 0 {
		p.layers = 1
		for d := 2; d <= s.Layers; d++ {
			if s.Layers%d == 0 && abs(d-8) <= abs(p.layers-8) {
				p.layers = d
			}
		}
	}
	if p.groups = max(1, s.Layers/p.layers); p.layers > v.Int("beta") {
		return nil, fmt.Errorf("%w: windowkv: layers=%d is more than beta=%d, and high layers would keep more than low ones", ErrPolicy, p.layers, v.Int("beta"))
	}
	return p, nil
}

func abs(n int) int { return max(n, -n) }

type windowkvPolicy struct {
	v              Values
	layers, groups int
}

func (p windowkvPolicy) Needs() Needs {
	if w := p.v.Int("observe"); w > 0 {
		return Needs{Window: w}
	}
	if p.v["task"] == "aggregation" {
		return Needs{Window: 16}
	}
	return Needs{Window: 32}
}

func (p windowkvPolicy) Begin(r Request) (State, error) {
	s := &windowkvState{
		prompt: len(r.Prompt), window: p.v.Int("window"), observe: p.v.Int("observe"), layers: p.layers,
		spikes: p.v["task"] == "localization", first: p.v["first"] == "keep",
	}
	if p.v["task"] == "auto" {
		s.spikes = localizes(r)
	}
	if s.observe == 0 {
		s.observe = 16
		if s.spikes {
			s.observe = 32
		}
	}
	keep, _ := parseAmount(p.v["keep"])
	c := keep.tokens
	if c == 0 {
		c = max(64, int(math.Round(keep.share*float64(s.prompt))))
	}
	s.budgets = pyramid(c, p.layers, p.v.Int("beta"), p.groups)
	return s, nil
}

// pyramid is the tokens that each group's layers keep: c in the mean, low groups more.
func pyramid(c, layers, beta, groups int) []int {
	list := make([]int, groups)
	if list[0] = c; groups == 1 {
		return list
	}
	last := c * layers / beta
	list[0] = 2*c - last
	step := (list[0] - last) / (groups - 1)
	for g := range list {
		list[g] = list[0] - g*step
	}
	list[groups-1] = last
	return list
}

type windowkvState struct {
	prompt, window, observe, layers int
	spikes                          bool // a window is as good as its largest weights, else as their mean
	first                           bool
	budgets                         []int // by group
	list                            []int // of the group at hand: the windows that stay
}

func (s *windowkvState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *windowkvState) Compress(ctx context.Context, l Layer) error {
	review := s.prompt - s.observe
	if review <= 0 {
		return nil
	}
	group := min(l.Index()/s.layers, len(s.budgets)-1)
	if l.Index() == group*s.layers {
		if err := s.choose(ctx, l, review, s.budgets[group]); err != nil {
			return err
		}
	}
	var keep []int
	for _, w := range s.list {
		keep = upTo(keep, w*s.window, min((w+1)*s.window, review))
	}
	keep = upTo(keep, review, s.prompt)
	for h := range l.Shape().KVHeads {
		if err := l.Keep(ctx, h, keep); err != nil {
			return err
		}
	}
	return nil
}

// choose makes the list of the windows of a review context that stay, within a budget.
func (s *windowkvState) choose(ctx context.Context, l Layer, review, budget int) error {
	n := (review + s.window - 1) / s.window
	if review <= budget {
		s.list = upTo(s.list[:0], 0, n)
		return nil
	}
	scores := make([]float64, n)
	sums := make([]float64, review)
	for h := range l.Shape().KVHeads {
		w, err := l.Weights(ctx, h, s.observe)
		if err != nil {
			return err
		}
		for g := range l.Shape().Group() {
			clear(sums)
			for r := range s.observe {
				row := w[(g*s.observe+r)*s.prompt:]
				for i := range sums {
					sums[i] += float64(row[i])
				}
			}
			for i := range scores {
				scores[i] += s.score(sums[i*s.window : min((i+1)*s.window, review)])
			}
		}
	}
	if s.first {
		scores[0] = math.Inf(1)
	}
	drop := (review - budget + s.window - 1) / s.window
	if drop*s.window >= review {
		drop = n
	}
	s.list = top(scores, n-drop)
	return nil
}

// score is that of a window by one head, whose weights it sorts.
func (s *windowkvState) score(weights []float64) float64 {
	k := len(weights)
	if s.spikes {
		slices.Sort(weights)
		slices.Reverse(weights)
		k = min(s.window/2, k)
	}
	var sum float64
	for _, x := range weights[:k] {
		sum += x
	}
	return sum / float64(k)
}
