package policy

import (
	"context"
	"fmt"
	"math"
	"slices"
)

// CSP: tokens of each kind by what their own kind, and what the others, attend to.
//
// Paper: Pei, Huang, Xu, "Cross-Self KV Cache Pruning for Efficient Vision-Language Inference",
// arXiv 2412.04652.
//
// A prompt may mix kinds of tokens, which its caller tags. Each token of the prompt is scored
// twice by the newest queries, the window: by those of its own kind (self) and by those of others
// (cross), with weights whose denominator has a further term. The best of each, under budgets of
// their own, stay with the newest tokens; so does what is generated. Without tags all is self.
//
// Decode attends as ever, or with a further term in the denominator, which a cell without key and
// value holds in the place of all that has been dropped; or, where no query heads share a KV
// head, so that the weight of what stays is as if nothing had been dropped (mass), with the mean
// of the dropped values (mean).
//
// Holds (heavy + recent) tokens of the prompt in each KV head, the cell of a further term, and all
// that are generated. Costs a walk of the window's queries over the prompt's keys in each layer, once.
type csp struct{}

func (csp) Name() string { return "csp" }
func (csp) About() string {
	return "of the prompt, what the last queries of each kind attend to in their own kind and in others"
}
func (csp) Paper() string { return "arXiv 2412.04652" }

func (csp) Options() []Option {
	return []Option{
		Amount("heavy", "10%", "chosen tokens of the prompt that stay"),
		Amount("recent", "10%", "newest tokens, which choose"),
		Fraction("cross", .5, 0, 1, "share of the chosen tokens that other kinds choose"),
		Fraction("bias", 1, 0, 100, "newest tokens that stay whatever their score, in those that choose"),
		Number("rows", 512, 1, 4096, "newest tokens that choose at most"),
		Fraction("term", 1, 0, 1e6, "further term of the denominator where tokens are scored"),
		Choice("decode", "plain", "the denominator in decode: its sum, with a further term, or the weight of what is dropped", "plain", "extra", "mass", "mean"),
		Fraction("extra", 1, 1e-6, 1e6, "that further term"),
	}
}

func (csp) New(v Values, s Shape) (Policy, error) {
	if d := v["decode"]; (d == "mass" || d == "mean") && s.Group() > 1 {
		return nil, fmt.Errorf("%w: csp: decode=%s where %d query heads share a KV head: what they lose differs, and a cell has one weight: use decode=plain or extra", ErrPolicy, d, s.Group())
	}
	return cspPolicy{v}, nil
}

type cspPolicy struct{ v Values }

func (p cspPolicy) Needs() Needs { return Needs{Window: p.v.Int("rows")} }

func (p cspPolicy) Begin(r Request) (State, error) {
	n := len(r.Prompt)
	if r.Tags != nil && len(r.Tags) != n {
		return nil, fmt.Errorf("%w: csp: %d tags of %d tokens", ErrPolicy, len(r.Tags), n)
	}
	s := &cspState{prompt: n, tags: r.Tags, decode: p.v["decode"], term: p.v.Float("term"), extra: p.v.Float("extra")}
	if s.tags == nil {
		s.tags = make([]uint8, n)
	}
	window := p.v.Amount("recent", n)
	s.rows = min(window, p.v.Int("rows"))
	s.budget = p.v.Amount("heavy", n) + window
	s.recent = min(s.budget, amount{share: p.v.Float("bias")}.of(window))
	s.cross = amount{share: p.v.Float("cross")}.of(s.budget - s.recent)
	return s, nil
}

type cspState struct {
	prompt, budget, recent, cross, rows int
	tags                                []uint8
	term, extra                         float64
	decode                              string
}

func (s *cspState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *cspState) Compress(ctx context.Context, l Layer) error {
	if s.prompt <= s.budget || s.rows < 1 {
		return nil
	}
	for h := range l.Shape().KVHeads {
		k, err := l.Keys(ctx, h)
		if err != nil {
			return err
		}
		k = slices.Clone(k) // the weights are asked for next
		w, err := l.Weights(ctx, h, s.rows)
		if err != nil {
			return err
		}
		keep := s.choose(s.scores(l, h, k, w))
		if s.decode == "plain" {
			err = l.Keep(ctx, h, keep)
		} else {
			err = s.put(ctx, l, h, keep, k, s.missing(w, keep))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// scores are those of the tokens before the newest ones, by queries of their own kind and by
// others, from a head's keys and weights.
func (s *cspState) scores(l Layer, head int, k, w []float32) (self, cross []float64) {
	n, dim, past := s.prompt, l.Shape().Dim, s.prompt-s.recent
	q, rows := l.Queries()
	self, cross = make([]float64, past), make([]float64, past)
	for g := range l.Shape().Group() {
		for r := range s.rows {
			query := q[((rows-s.rows+r)*l.Shape().Heads+head*l.Shape().Group()+g)*dim:][:dim]
			row := w[(g*s.rows+r)*n:][:n]
			share := s.share(query, k, row)
			tag := s.tags[n-s.rows+r]
			for j := range past {
				if x := share * float64(row[j]); s.tags[j] == tag {
					self[j] += x
				} else {
					cross[j] += x
				}
			}
		}
	}
	return self, cross
}

// share is what is left of a row's weights when the term enters their denominator: Z/(term + Z),
// where Z, the sum of the exponentials, follows from the largest weight and its logit.
func (s *cspState) share(q, k, row []float32) float64 {
	at := 0
	for j, x := range row {
		if x > row[at] {
			at = j
		}
	}
	var logit float64
	for d, x := range q {
		logit += float64(x) * float64(k[at*len(q)+d])
	}
	logit /= math.Sqrt(float64(len(q)))
	most := max(logit, 0)
	z := math.Exp(logit-most) / float64(row[at])
	return z / (s.term*math.Exp(-most) + z)
}

// choose lists the tokens that stay by their scores.
func (s *cspState) choose(self, cross []float64) []int {
	past := len(self)
	chosen := make([]bool, past)
	free := s.budget - s.recent
	// take chooses up to n more of the tokens whose kind a query of the window has (own), or not.
	take := func(scores []float64, own bool, n int) {
		var among []int
		var theirs []float64
		for j := range past {
			if !chosen[j] && s.asked(s.tags[j], own) {
				among, theirs = append(among, j), append(theirs, scores[j])
			}
		}
		for _, i := range top(theirs, n) {
			chosen[among[i]] = true
			free--
		}
	}
	take(self, true, free-s.cross)
	take(cross, false, s.cross)
	take(cross, false, free) // where one side has had too few, the other has more
	take(self, true, free)
	for j := past - 1; j >= 0 && free > 0; j-- {
		if !chosen[j] {
			chosen[j] = true
			free--
		}
	}
	var keep []int
	for j, yes := range chosen {
		if yes {
			keep = append(keep, j)
		}
	}
	return upTo(keep, past, s.prompt)
}

// asked reports whether a query of the window is of a kind, or of another one.
func (s *cspState) asked(tag uint8, own bool) bool {
	for _, t := range s.tags[s.prompt-s.rows:] {
		if (t == tag) == own {
			return true
		}
	}
	return false
}

// missing is how much weight the window's queries give to what is dropped, for each unit that
// they give to what stays: in the mean over them, of the first query head.
func (s *cspState) missing(w []float32, keep []int) float64 {
	var mean float64
	for r := range s.rows {
		row := w[r*s.prompt:][:s.prompt]
		var all, kept float64
		for _, x := range row {
			all += float64(x)
		}
		for _, j := range keep {
			kept += float64(row[j])
		}
		mean += (all - kept) / kept / float64(s.rows)
	}
	return mean
}

// put stores what stays of a head, so that queries divide by more than its own weights.
func (s *cspState) put(ctx context.Context, l Layer, head int, keep []int, keys []float32, missing float64) error {
	values, err := l.Values(ctx, head)
	if err != nil {
		return err
	}
	dim := l.Shape().Dim
	stays := make([]bool, s.prompt)
	for _, j := range keep {
		stays[j] = true
	}
	first := slices.Index(stays, false) // that is dropped
	lost := make([]float64, dim)        // the mean of the values that are dropped, as far as it enters
	if s.decode == "mean" {
		for j, yes := range stays {
			for d := 0; d < dim && !yes; d++ {
				lost[d] += float64(values[j*dim+d]) * missing / float64(s.prompt-len(keep))
			}
		}
	}
	cell, scale := Cell{Count: 1}, 1.0
	if s.decode != "extra" { // the bias raises all, and the values are made as much smaller
		cell.Bias, scale = float32(math.Log1p(missing)), 1/(1+missing)
	}
	var cells []Cell
	var k, v []float32
	for j, yes := range stays {
		if s.decode == "extra" && j == first {
			cells = append(cells, Cell{Pos: int32(j), Count: int32(s.prompt - len(keep)), Bias: float32(math.Log(s.extra))})
			k, v = append(k, make([]float32, dim)...), append(v, make([]float32, dim)...)
		}
		if !yes {
			continue
		}
		cell.Pos = int32(j)
		cells, k = append(cells, cell), append(k, keys[j*dim:(j+1)*dim]...)
		for d := range dim {
			v = append(v, float32((float64(values[j*dim+d])+lost[d])*scale))
		}
	}
	return l.Put(ctx, head, cells, k, v)
}
