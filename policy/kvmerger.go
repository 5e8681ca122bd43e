package policy

import (
	"context"
	"math"
	"slices"
)

// KVMerger: neighbours whose keys point the same way become one.
//
// Paper: Wang, Jin, Yu, Zhang, "Model Tells You Where to Merge: Adaptive KV Cache Merging for
// LLMs on Long-Context Tasks", arXiv 2407.08454.
//
// Protects the newest tokens of the prompt and of the others those that have been attended to
// most. Of the rest, every run of neighbours whose keys are each more alike than a threshold
// is merged into the token of the run that has been attended to most, its pivot: keys and
// values are averaged with weights that fall with the distance of a key from the pivot's
// (a Gaussian). A merged token has the pivot's position. What is generated stays.
//
// The paper defines its sigma through itself; here it is a number, or the root of the mean
// square distance to the pivot. Attention weighs a merged token once, as in the paper, so that a
// run loses weight; bias=count gives it back and is not the paper's.
//
// Holds what the runs leave, of which keep asks for less by moving the threshold, no further than
// to 0; and all that is generated. Costs the weights of all queries of the prompt, or of the newest few, and one
// pass over keys and values.
type kvmerger struct{}

func (kvmerger) Name() string { return "kvmerger" }
func (kvmerger) About() string {
	return "merges runs of neighbours in the prompt whose keys are alike"
}
func (kvmerger) Paper() string { return "arXiv 2407.08454" }

func (kvmerger) Options() []Option {
	return []Option{
		Fraction("alike", .75, -1, 1, "cosine above which neighbours are merged"),
		Amount("keep", "100%", "of the prompt: below 100% the largest cosine from 0 on is sought that leaves no more"),
		Amount("recent", "17%", "newest tokens, which are not merged"),
		Amount("top", "12%", "tokens attended to most, which are not merged"),
		Fraction("sigma", 5, 0, 1e6, "width of the Gaussian; 0: the root of the mean square distance in each run"),
		Choice("values", "mean", "what a run's values become: their mean, or that times their number", "mean", "count"),
		Choice("bias", "none", "what is added to a merged token's logit: nothing, or the logarithm of its number", "none", "count"),
		Choice("runs", "shared", "whether the KV heads of a layer have the same runs", "shared", "apart"),
		Number("rows", 0, 0, 4096, "newest queries that tell what is attended to; 0: all of them"),
		Number("first", 2, 0, 4096, "first layers that are not merged"),
		Number("last", 1, 0, 4096, "last layers that are not merged"),
	}
}

func (kvmerger) New(v Values, s Shape) (Policy, error) { return kvmergerPolicy{v, s}, nil }

type kvmergerPolicy struct {
	v Values
	s Shape
}

func (p kvmergerPolicy) Needs() Needs {
	if rows := p.v.Int("rows"); rows > 0 {
		return Needs{Window: rows}
	}
	return Needs{Sums: true}
}

func (p kvmergerPolicy) Begin(r Request) (State, error) {
	n := len(r.Prompt)
	return &kvmergerState{
		prompt: n, alike: p.v.Float("alike"), keep: p.v.Amount("keep", n),
		recent: min(n, p.v.Amount("recent", n)), top: p.v.Amount("top", n), sigma: p.v.Float("sigma"),
		count: p.v["values"] == "count", bias: p.v["bias"] == "count", apart: p.v["runs"] == "apart",
		rows: p.v.Int("rows"), from: p.v.Int("first"), to: p.s.Layers - p.v.Int("last"),
	}, nil
}

type kvmergerState struct {
	prompt             int
	alike              float64
	keep, recent, top  int
	sigma              float64
	count, bias, apart bool
	rows, from, to     int // to: the first layer of those behind
}

func (s *kvmergerState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *kvmergerState) Compress(ctx context.Context, l Layer) error {
	if l.Index() < s.from || l.Index() >= s.to {
		return nil
	}
	heads := l.Shape().KVHeads
	keys, sums := make([][]float32, heads), make([][]float64, heads)
	for h := range heads {
		var err error
		if keys[h], err = l.Keys(ctx, h); err != nil {
			return err
		}
		keys[h] = slices.Clone(keys[h])
		if sums[h], err = s.attended(ctx, l, h); err != nil {
			return err
		}
	}
	shared := s.runs(keys, sums, l.Shape().Dim)
	for h := range heads {
		runs := shared
		if s.apart {
			runs = s.runs(keys[h:h+1], sums[h:h+1], l.Shape().Dim)
		}
		if err := s.merge(ctx, l, h, keys[h], runs); err != nil {
			return err
		}
	}
	return nil
}

// attended is how much each token of a head has been attended to.
func (s *kvmergerState) attended(ctx context.Context, l Layer, head int) ([]float64, error) {
	if s.rows == 0 {
		return slices.Clone(l.Sums(head)), nil
	}
	w, err := l.Weights(ctx, head, min(s.rows, s.prompt))
	sums := make([]float64, s.prompt)
	for i, x := range w {
		sums[i%s.prompt] += float64(x)
	}
	return sums, err
}

// mergeRun is the tokens from from to to−1, which become one.
type mergeRun struct{ from, to, pivot int }

// runs cuts the prompt into runs by the keys of some heads and what is attended to there.
func (s *kvmergerState) runs(keys [][]float32, sums [][]float64, dim int) []mergeRun {
	n := s.prompt
	attended, alike := make([]float64, n), make([]float64, n) // alike[i] of tokens i and i+1
	for h, k := range keys {
		for i := range n {
			attended[i] += sums[h][i]
			if i+1 < n {
				alike[i] += cosine(k[i*dim:(i+1)*dim], k[(i+1)*dim:(i+2)*dim]) / float64(len(keys))
			}
		}
	}
	own := make([]bool, n) // not merged
	for i := n - s.recent; i < n; i++ {
		own[i] = true
	}
	for _, i := range top(attended[:n-s.recent], s.top) {
		own[i] = true
	}
	cut := func(above float64) []mergeRun {
		var list []mergeRun
		for i := range n {
			if i > 0 && !own[i] && !own[i-1] && alike[i-1] > above {
				r := &list[len(list)-1]
				if r.to = i + 1; attended[i] > attended[r.pivot] {
					r.pivot = i
				}
				continue
			}
			list = append(list, mergeRun{i, i + 1, i})
		}
		return list
	}
	if s.keep >= n {
		return cut(s.alike)
	}
	low, high := 0.0, 1.0
	for range 20 {
		if mid := (low + high) / 2; len(cut(mid)) <= s.keep {
			low = mid
		} else {
			high = mid
		}
	}
	return cut(low)
}

// cosine is that of the angle between two keys, 0 if one of them is nothing.
func cosine(a, b []float32) float64 {
	var ab, aa, bb float64
	for i, x := range a {
		ab += float64(x) * float64(b[i])
		aa += float64(x) * float64(x)
		bb += float64(b[i]) * float64(b[i])
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

// merge puts the runs in the place of a head's tokens.
func (s *kvmergerState) merge(ctx context.Context, l Layer, head int, keys []float32, runs []mergeRun) error {
	if len(runs) == s.prompt {
		return nil
	}
	values, err := l.Values(ctx, head)
	if err != nil {
		return err
	}
	dim := l.Shape().Dim
	cells := make([]Cell, len(runs))
	k, v := make([]float32, len(runs)*dim), make([]float32, len(runs)*dim)
	for i, r := range runs {
		n := r.to - r.from
		cells[i] = Cell{Pos: int32(r.pivot), Count: int32(n)}
		weights := s.weights(keys, r, dim)
		average(k[i*dim:(i+1)*dim], keys[r.from*dim:r.to*dim], weights)
		if s.bias {
			cells[i].Bias = float32(math.Log(float64(n)))
		}
		if s.count {
			for j := range weights {
				weights[j] *= float64(n)
			}
		}
		average(v[i*dim:(i+1)*dim], values[r.from*dim:r.to*dim], weights)
	}
	return l.Put(ctx, head, cells, k, v)
}

// weights are those of a run's tokens: they fall with the distance from the pivot's key, and add
// up to 1.
func (s *kvmergerState) weights(keys []float32, r mergeRun, dim int) []float64 {
	w := make([]float64, r.to-r.from) // at first the squares of the distances
	var all float64
	for i := range w {
		for d := range dim {
			x := float64(keys[r.pivot*dim+d]) - float64(keys[(r.from+i)*dim+d])
			w[i] += x * x
		}
		all += w[i]
	}
	square := s.sigma * s.sigma
	if square == 0 {
		square = all / float64(len(w))
	}
	var sum float64
	for i, x := range w {
		if w[i] = 1; x > 0 {
			w[i] = math.Exp(-x / (2 * square))
		}
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return w
}

// average sets dst to the weighted sum of rows.
func average(dst, rows []float32, weights []float64) {
	for d := range dst {
		var sum float64
		for i, w := range weights {
			sum += w * float64(rows[i*len(dst)+d])
		}
		dst[d] = float32(sum)
	}
}
