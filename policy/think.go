package policy

import (
	"context"
	"fmt"

	"nosa/compute"
	"nosa/dtype"
)

// ThinK: channels of the keys that add least to the logits go.
//
// Paper: Xu, Jie, Dong, Wang, Lu, Zhou, Saha, Xiong, Sahoo, "ThinK: Thinner Key Cache by
// Query-Driven Pruning", arXiv 2407.21018.
//
// Judges each channel of a KV head by what it adds to the logits of the prompt's last queries:
// the norm of the queries' channel times that of the keys'. The prompt's keys lose the channels
// that add least, and are stored without them; values, the newest keys and those of what is
// generated stay whole. Every token stays. The channels are judged once, at the prompt's end,
// one choice for all query heads that share the KV head. Logits are scaled by all channels.
//
// Keys are pruned in whole blocks of the cache: up to a block more than recent stay whole.
//
// Holds prune/2 less than the cache, for long prompts: a number is stored as the cache stores
// it, and nothing is where a channel was. Costs one pass over the keys, once, and the
// unpacking of what is pruned whenever it is read.
type think struct{}

func (think) Name() string { return "think" }
func (think) About() string {
	return "drops the channels of the prompt's keys that its last queries need least"
}
func (think) Paper() string { return "arXiv 2407.21018" }

func (think) Options() []Option {
	return []Option{
		Fraction("prune", .4, 0, .99, "share of the keys' channels that goes"),
		Number("window", 32, 1, 4096, "newest queries, which choose"),
		Number("recent", 32, 0, mostTokens, "newest tokens of the prompt whose keys stay whole"),
	}
}

func (think) New(v Values, s Shape) (Policy, error) {
	size, err := plainType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("%w: think: %w", ErrPolicy, err)
	}
	return thinkPolicy{v, s, size}, nil
}

// plainType is the type of a cache's numbers, if it keeps one by one.
func plainType(t compute.KVType) (dtype.Type, error) {
	switch t {
	case compute.KVF32:
		return dtype.F32, nil
	case compute.KVBF16:
		return dtype.BF16, nil
	case compute.KVF16:
		return dtype.F16, nil
	}
	return 0, fmt.Errorf("channels of a cache of %v are not stored one by one: use --kv-dtype f32, bf16 or f16", t)
}

type thinkPolicy struct {
	v       Values
	s       Shape
	numbers dtype.Type
}

func (p thinkPolicy) Needs() Needs { return Needs{Window: p.v.Int("window"), Packs: true} }

func (p thinkPolicy) Begin(r Request) (State, error) {
	return &thinkState{
		prompt: len(r.Prompt), prune: int(p.v.Float("prune") * float64(p.s.Dim)), window: p.v.Int("window"),
		recent: p.v.Int("recent"), numbers: p.numbers,
	}, nil
}

type thinkState struct {
	prompt, prune, window, recent int // prune: how many channels
	numbers                       dtype.Type
}

func (s *thinkState) Next(tokens int) int { return once(s.prompt, tokens) }

func (s *thinkState) Compress(ctx context.Context, l Layer) error {
	if s.prompt <= s.recent || s.prune == 0 {
		return nil
	}
	for h := range l.Shape().KVHeads {
		kept, err := s.channels(ctx, l, h)
		if err != nil {
			return err
		}
		if _, err := l.Pack(ctx, h, s.prompt-s.recent, &channels{kept, l.Shape().Dim, s.numbers}); err != nil {
			return err
		}
	}
	return nil
}

// channels lists those of a head's keys that stay.
func (s *thinkState) channels(ctx context.Context, l Layer, head int) ([]int, error) {
	keys, err := l.Keys(ctx, head)
	if err != nil {
		return nil, err
	}
	q, rows := l.Queries()
	dim, group, width := l.Shape().Dim, l.Shape().Group(), l.Shape().Heads*l.Shape().Dim
	asked, held := make([]float64, dim), make([]float64, dim) // sums of squares
	for r := max(0, rows-s.window); r < rows; r++ {
		for i, x := range q[r*width+head*group*dim:][:group*dim] {
			asked[i%dim] += float64(x) * float64(x)
		}
	}
	for i, x := range keys {
		held[i%dim] += float64(x) * float64(x)
	}
	for d := range asked {
		asked[d] *= held[d]
	}
	return thickest(asked, dim-s.prune), nil
}

// thickest is the indices of the n largest scores, ascending. Ties go to the higher index: the
// lower channel is pruned first.
func thickest(scores []float64, n int) []int {
	last := len(scores) - 1
	turned := make([]float64, len(scores))
	for i, x := range scores {
		turned[last-i] = x
	}
	list := top(turned, n)
	for i, j := 0, len(list)-1; i <= j; i, j = i+1, j-1 {
		list[i], list[j] = last-list[j], last-list[i]
	}
	return list
}

// channels is the codec that stores some channels of the keys, and the values.
type channels struct {
	kept    []int
	dim     int
	numbers dtype.Type
}

func (c *channels) Bytes(cells int) int {
	return cells * (len(c.kept) + c.dim) * c.numbers.BlockBytes()
}

func (c *channels) Encode(dst []byte, _ int, k, v []float32) {
	cells := len(k) / c.dim
	thin := make([]float32, 0, cells*len(c.kept))
	for i := range cells {
		for _, d := range c.kept {
			thin = append(thin, k[i*c.dim+d])
		}
	}
	at := len(thin) * c.numbers.BlockBytes()
	dtype.Encode(c.numbers, dst[:at], thin)
	dtype.Encode(c.numbers, dst[at:], v)
}

func (c *channels) Decode(k, v []float32, src []byte) {
	cells := len(k) / c.dim
	thin := make([]float32, cells*len(c.kept))
	at := len(thin) * c.numbers.BlockBytes()
	dtype.Decode(c.numbers, thin, src[:at])
	dtype.Decode(c.numbers, v, src[at:])
	clear(k)
	for i := range cells {
		for j, d := range c.kept {
			k[i*c.dim+d] = thin[i*len(c.kept)+j]
		}
	}
}
