package policy

import "context"

// H2O: heavy hitters and recent tokens.
//
// Paper: Zhang, Sheng, Zhou, Chen, Zheng, Cai, Song, Tian, Ré, Barrett, Wang, Chen, "H2O:
// Heavy-Hitter Oracle for Efficient Generative Inference of Large Language Models", arXiv
// 2306.14048.
//
// Keeps the newest tokens, and of the others those that have been given most weight by all
// queries so far, the query heads of a KV head added up. Once the prompt has been read the
// cache is cut to the budget; then each new token drives out the lightest one that is not
// recent.
//
// Holds (heavy + recent) tokens in each KV head. Costs the weights of every query over the
// whole cache, in the prompt too: attention twice over.
type h2o struct{}

func (h2o) Name() string { return "h2o" }
func (h2o) About() string {
	return "what has been attended to most, and the newest tokens, in prompt and decode"
}
func (h2o) Paper() string { return "arXiv 2306.14048" }

func (h2o) Options() []Option {
	return []Option{
		Amount("heavy", "10%", "heavy hitters that stay"),
		Amount("recent", "10%", "newest tokens that stay"),
	}
}

func (h2o) New(v Values, _ Shape) (Policy, error) { return h2oPolicy{v}, nil }

type h2oPolicy struct{ v Values }

func (p h2oPolicy) Needs() Needs { return Needs{Sums: true} }

func (p h2oPolicy) Begin(r Request) (State, error) {
	n := len(r.Prompt)
	return &h2oState{prompt: n, heavy: p.v.Amount("heavy", n), recent: max(1, p.v.Amount("recent", n))}, nil
}

type h2oState struct{ prompt, heavy, recent int }

func (s *h2oState) Next(tokens int) int { return always(s.prompt, tokens) }

func (s *h2oState) Compress(ctx context.Context, l Layer) error {
	for h := range l.Shape().KVHeads {
		cells := len(l.Cells(h))
		if cells <= s.heavy+s.recent {
			continue
		}
		past := cells - s.recent
		keep := upTo(top(l.Sums(h)[:past], s.heavy), past, cells)
		if err := l.Keep(ctx, h, keep); err != nil {
			return err
		}
	}
	return nil
}
