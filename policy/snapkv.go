package policy

import (
	"context"
	"fmt"
)

// SnapKV: the prompt's last queries choose what stays of it.
//
// Paper: Li, Huang, Yang, Venkitesh, Locatelli, Ye, Cai, Lewis, Chen, "SnapKV: LLM Knows What
// You are Looking for Before Generation", arXiv 2404.14469.
//
// Keeps the newest window tokens of the prompt, and of those before it the ones with the
// largest vote: the mean weight that the window's queries give them, pooled over the
// neighbours so that a find stays with its surroundings, and the mean over the query heads
// that share the KV head. What is generated stays.
//
// Holds keep tokens of the prompt in each KV head, and all that are generated. Costs a walk of
// the window's queries over the prompt's keys in each layer, once.
type snapkv struct{}

func (snapkv) Name() string  { return "snapkv" }
func (snapkv) About() string { return "of the prompt, what its last queries attend to, once" }
func (snapkv) Paper() string { return "arXiv 2404.14469" }

func (snapkv) Options() []Option {
	return []Option{
		Amount("keep", "1024", "tokens of the prompt that stay, the window among them"),
		Number("window", 32, 1, 4096, "newest tokens, which choose and always stay"),
		Number("kernel", 7, 1, 255, "tokens over which votes are pooled; odd"),
		Choice("pool", "max", "how they are: as the authors' code has it, or as its paper does", "max", "avg"),
	}
}

func (snapkv) New(v Values, _ Shape) (Policy, error) {
	if v.Int("kernel")%2 == 0 {
		return nil, fmt.Errorf("%w: snapkv: kernel=%d: want an odd number", ErrPolicy, v.Int("kernel"))
	}
	return snapkvPolicy{v}, nil
}

type snapkvPolicy struct{ v Values }

func (p snapkvPolicy) Needs() Needs { return Needs{Window: p.v.Int("window")} }

func (p snapkvPolicy) Begin(r Request) (State, error) {
	return &snapkvState{
		prompt: len(r.Prompt), keep: max(1, p.v.Amount("keep", len(r.Prompt))),
		window: p.v.Int("window"), kernel: p.v.Int("kernel"), mean: p.v["pool"] == "avg",
	}, nil
}

type snapkvState struct {
	prompt, keep, window, kernel int
	mean                         bool
}

func (s *snapkvState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *snapkvState) Compress(ctx context.Context, l Layer) error {
	for h := range l.Shape().KVHeads {
		cells := len(l.Cells(h))
		past := cells - s.window
		if cells <= s.keep || past <= 0 {
			continue
		}
		w, err := l.Weights(ctx, h, s.window)
		if err != nil {
			return err
		}
		votes := make([]float64, past)
		one := make([]float64, past)
		for g := range l.Shape().Group() {
			clear(one)
			for r := range s.window {
				row := w[(g*s.window+r)*cells:]
				for i := range one {
					one[i] += float64(row[i])
				}
			}
			s.pool(votes, one)
		}
		stay := min(s.window, s.keep)
		keep := upTo(top(votes, s.keep-stay), cells-stay, cells)
		if err := l.Keep(ctx, h, keep); err != nil {
			return err
		}
	}
	return nil
}

// pool adds the pooled x to votes. Beyond both ends there is nothing: 0 to a mean.
func (s *snapkvState) pool(votes, x []float64) {
	half := s.kernel / 2
	for i := range votes {
		near := x[max(0, i-half):min(len(x), i+half+1)]
		var v float64
		for _, y := range near {
			if s.mean {
				v += y
			} else {
				v = max(v, y)
			}
		}
		votes[i] += v
	}
}
