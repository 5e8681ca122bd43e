package policy

import "context"

// Random eviction: what any method must do better than.
//
// Keeps the newest window tokens of the prompt and of the others as many as the budget
// allows, drawn for each layer and KV head by a hash of seed, layer, head and position: the
// same text loses the same tokens. What is generated stays.
//
// Holds keep tokens of the prompt in each KV head, and all that are generated. Costs nothing
// but the copies.
type random struct{}

func (random) Name() string  { return "random" }
func (random) About() string { return "tokens of the prompt drawn by lot: what a method must beat" }
func (random) Paper() string { return "" }

func (random) Options() []Option {
	return []Option{
		Amount("keep", "1024", "tokens of the prompt that stay, the window among them"),
		Number("window", 32, 0, mostTokens, "newest tokens, which always stay"),
		Number("seed", 0, 0, 1<<31-1, "of the lot"),
	}
}

func (random) New(v Values, _ Shape) (Policy, error) { return randomPolicy{v}, nil }

type randomPolicy struct{ v Values }

func (p randomPolicy) Needs() Needs { return Needs{} }

func (p randomPolicy) Begin(r Request) (State, error) {
	n := len(r.Prompt)
	return &randomState{prompt: n, keep: max(1, p.v.Amount("keep", n)), window: p.v.Int("window"), seed: uint64(p.v.Int("seed"))}, nil
}

type randomState struct {
	prompt, keep, window int
	seed                 uint64
}

func (s *randomState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *randomState) Compress(ctx context.Context, l Layer) error {
	for h := range l.Shape().KVHeads {
		cells := l.Cells(h)
		if len(cells) <= s.keep {
			continue
		}
		stay := min(s.window, s.keep)
		past := len(cells) - stay
		lots := make([]uint64, past)
		for i := range lots {
			lots[i] = lot(s.seed, l.Index(), h, int(cells[i].Pos))
		}
		keep := upTo(top(lots, s.keep-stay), past, len(cells))
		if err := l.Keep(ctx, h, keep); err != nil {
			return err
		}
	}
	return nil
}

// lot mixes the four numbers (SplitMix64, once for each).
func lot(seed uint64, layer, head, pos int) uint64 {
	x := seed
	for _, n := range []int{layer, head, pos} {
		x += uint64(n)*0x9e3779b97f4a7c15 + 0x9e3779b97f4a7c15
		x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
		x = (x ^ x>>27) * 0x94d049bb133111eb
		x ^= x >> 31
	}
	return x
}
