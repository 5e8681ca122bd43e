package policy

import (
	"cmp"
	"context"
	"math"
	"slices"
)

// DBudgetKV: no budget; tokens go until the attention's norm would miss them.
//
// Paper: Ni, Xu, Lyu, Wang, Yu, Liu, Meng, Zhou, Li, "DBudgetKV: Dynamic Budget in KV Cache
// Compression for Ensuring Optimal Performance" (later ReFreeKV), arXiv 2502.16886.
//
// Ranks the prompt's tokens and removes the least important ones, as many as leave the norm of
// the last query's attention weights within a small share of what it was: each prompt and each
// layer finds its own size. By position the oldest tokens behind the sinks go first, in whole
// blocks, so that nothing is copied; by attention those to which the last rows attend least.
// The first layers stay whole, and what is generated.
//
// Holds what the rule leaves of the prompt, at least the sinks and the newest tokens, and all
// that are generated; how much is not known before. Costs the weights of the last query, or
// of the last rows, over the prompt's keys in each layer, once.
type dbudgetkv struct{}

func (dbudgetkv) Name() string { return "dbudgetkv" }
func (dbudgetkv) About() string {
	return "of the prompt as much as keeps the norm of its attention, layer by layer"
}
func (dbudgetkv) Paper() string { return "arXiv 2502.16886" }

func (dbudgetkv) Options() []Option {
	return []Option{
		Fraction("loss", .01, 0, .999, "share of the norm that may go"),
		Choice("ranking", "position", "what goes first: the oldest tokens, or those attended to least", "position", "attention"),
		Choice("norm", "ranked", "whose weights are in it: of tokens that may go, or of all", "ranked", "all"),
		Choice("heads", "together", "whether the KV heads of a layer lose the same number of tokens", "together", "apart"),
		Number("sinks", 4, 0, mostTokens, "first tokens that stay, ranked by position"),
		Number("rows", 8, 1, 4096, "newest queries that rank by attention; their tokens stay"),
		Number("recent", 64, 1, mostTokens, "newest tokens that stay"),
		Number("whole", 2, 0, 4096, "first layers that lose nothing"),
	}
}

func (dbudgetkv) New(v Values, _ Shape) (Policy, error) { return dbudgetkvPolicy{v}, nil }

type dbudgetkvPolicy struct{ v Values }

func (p dbudgetkvPolicy) Needs() Needs { return Needs{Window: p.rows()} }

// rows is how many of the newest queries are asked: the last one alone tells the norm.
func (p dbudgetkvPolicy) rows() int {
	if p.v["ranking"] == "attention" {
		return p.v.Int("rows")
	}
	return 1
}

func (p dbudgetkvPolicy) Begin(r Request) (State, error) {
	s := &dbudgetkvState{
		prompt: len(r.Prompt), loss: p.v.Float("loss"), attention: p.v["ranking"] == "attention",
		all: p.v["norm"] == "all", apart: p.v["heads"] == "apart",
		sinks: p.v.Int("sinks"), rows: p.rows(), recent: p.v.Int("recent"), whole: p.v.Int("whole"),
	}
	if s.attention {
		s.recent = max(s.recent, s.rows)
	}
	return s, nil
}

type dbudgetkvState struct {
	prompt                     int
	loss                       float64
	attention, all, apart      bool
	sinks, rows, recent, whole int
}

func (s *dbudgetkvState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *dbudgetkvState) Compress(ctx context.Context, l Layer) error {
	heads := l.Shape().KVHeads
	if l.Index() < s.whole || s.prompt <= s.sinks+s.recent {
		return nil
	}
	ranked := make([]ranking, heads)
	for h := range heads {
		w, err := l.Weights(ctx, h, s.rows)
		if err != nil {
			return err
		}
		ranked[h] = s.rank(w, l.Shape().Group())
	}
	together := s.cut(ranked)
	for h, r := range ranked {
		c := together
		if s.apart {
			c = s.cut(ranked[h : h+1])
		}
		if err := l.Keep(ctx, h, s.left(r.order[:c], l.Shape().Block)); err != nil {
			return err
		}
	}
	return nil
}

// ranking is the tokens of a KV head that may go.
type ranking struct {
	order []int       // the first goes first
	last  [][]float32 // the weights of the last query by query head, [group][tokens]
}

// rank ranks the tokens of a head whose newest queries' weights are w [group, rows, tokens].
func (s *dbudgetkvState) rank(w []float32, group int) ranking {
	n := s.prompt
	var r ranking
	for g := range group {
		r.last = append(r.last, slices.Clone(w[((g+1)*s.rows-1)*n:][:n]))
	}
	if !s.attention {
		r.order = upTo(nil, s.sinks, n)
		return r
	}
	sums := make([]float64, n)
	for at, x := range w {
		sums[at%n] += float64(x)
	}
	r.order = upTo(nil, 0, n-s.recent)
	slices.SortStableFunc(r.order, func(a, b int) int { return cmp.Compare(sums[a], sums[b]) })
	return r
}

// cut is how many tokens each of the heads may lose: the most for which the mean norm over
// their query heads falls by no more than the allowed share.
func (s *dbudgetkvState) cut(heads []ranking) int {
	m := len(heads[0].order)
	norms := make([]float64, m) // after the first tokens have gone
	for _, r := range heads {
		for _, last := range r.last {
			var square float64
			if s.all {
				for _, x := range last {
					square += float64(x) * float64(x)
				}
				for _, at := range r.order {
					square -= float64(last[at]) * float64(last[at])
				}
				square = max(square, 0)
			}
			for j := m - 1; j >= 0; j-- {
				x := float64(last[r.order[j]])
				square += x * x
				norms[j] += math.Sqrt(square)
			}
		}
	}
	whole := norms[0]
	if !(whole > 0) || math.IsInf(whole, 1) {
		return 0
	}
	c := m - 1
	for c > 0 && (whole-norms[c])/whole > s.loss {
		c--
	}
	if !s.attention {
		c = min(c, m-s.recent)
	}
	return c
}

// left is the prompt without tokens that have been ranked to go: by position, with the whole
// blocks of tokens among them.
func (s *dbudgetkvState) left(gone []int, block int) []int {
	keep := make([]int, 0, s.prompt)
	if !s.attention {
		from := (s.sinks + block - 1) / block * block
		to := max(from, (s.sinks+len(gone))/block*block)
		return upTo(upTo(keep, 0, from), to, s.prompt)
	}
	gone = slices.Sorted(slices.Values(gone))
	for at := range s.prompt {
		if len(gone) > 0 && gone[0] == at {
			gone = gone[1:]
			continue
		}
		keep = append(keep, at)
	}
	return keep
}
