package policy

import "context"

// StreamingLLM: attention sinks and a window of recent tokens.
//
// Paper: Xiao, Tian, Chen, Han, Lewis, "Efficient Streaming Language Models with Attention
// Sinks", arXiv 2309.17453.
//
// Keeps the first tokens of a text, on which models lay the weight that they need nowhere
// else, and the newest ones; all between is dropped when the prompt has been read, and then a
// token a step. The paper numbers the kept tokens anew, so that a text may be longer than the
// positions that a model knows; here they keep the positions they were rotated with, as in the
// usual comparisons.
//
// Holds (sinks + recent) tokens in each KV head. Costs nothing but the copies.
type streaming struct{}

func (streaming) Name() string { return "streamingllm" }
func (streaming) About() string {
	return "the first tokens (sinks) and the newest ones, in prompt and decode"
}
func (streaming) Paper() string { return "arXiv 2309.17453" }

func (streaming) Options() []Option {
	return []Option{
		Number("sinks", 4, 0, mostTokens, "first tokens that stay"),
		Amount("recent", "1020", "newest tokens that stay"),
	}
}

func (streaming) New(v Values, _ Shape) (Policy, error) { return streamingPolicy{v}, nil }

type streamingPolicy struct{ v Values }

func (p streamingPolicy) Needs() Needs { return Needs{} }

func (p streamingPolicy) Begin(r Request) (State, error) {
	return &streamingState{prompt: len(r.Prompt), sinks: p.v.Int("sinks"), recent: max(1, p.v.Amount("recent", len(r.Prompt)))}, nil
}

type streamingState struct {
	prompt        int
	sinks, recent int
	keep          []int
}

func (s *streamingState) Next(tokens int) int { return always(s.prompt, tokens) }

func (s *streamingState) Compress(ctx context.Context, l Layer) error {
	for h := range l.Shape().KVHeads {
		cells := l.Cells(h)
		if len(cells) <= s.sinks+s.recent {
			continue
		}
		s.keep = upTo(s.keep[:0], 0, s.sinks)
		s.keep = upTo(s.keep, len(cells)-s.recent, len(cells))
		if err := l.Keep(ctx, h, s.keep); err != nil {
			return err
		}
	}
	return nil
}
