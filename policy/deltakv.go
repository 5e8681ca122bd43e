package policy

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nosa/dtype"
)

// DeltaKV: a token is stored as its difference from earlier ones like it.
//
// Paper: Hao, Huang, Wang, Zhang, Yu, "DeltaKV: Residual-Based KV Cache Compression via
// Long-Range Similarity", arXiv 2602.08005.
//
// Keeps every stride-th token of the text and the first ones whole, as references. For each
// other token it finds the references before it whose keys and values, of all KV heads of the
// layer together and before rotation, are nearest, and stores the difference from their mean in a
// few bits a number. No token is dropped, and references are never differences themselves, so
// errors do not add up along the text. The newest tokens are whole, and so are all of some
// layers.
//
// This is the authors' codec without training, whose residuals are quantised by token and KV head;
// their trained one mixes all heads. All tokens are attended to: in the paper the whole layers
// choose some for the others. Keys of models that normalise them are taken after that.
//
// Holds 1 of stride tokens as the cache does, for the others bits a number, beside a few bytes of
// scales and references, and up to batch blocks more than recent. A codec's block of the cache
// takes no cells later, which is why blocks are encoded batch together. Costs the distances of
// all tokens from all references before them, and the decoding of all that is encoded whenever it
// is read.
type deltakv struct{}

func (deltakv) Name() string { return "deltakv" }
func (deltakv) About() string {
	return "stores tokens as differences from earlier ones that are like them"
}
func (deltakv) Paper() string { return "arXiv 2602.08005" }

func (deltakv) Options() []Option {
	return []Option{
		Number("stride", 8, 2, 4096, "one of so many tokens is a reference"),
		Number("near", 4, 1, 64, "references whose mean a token differs from"),
		Number("bits", 4, 1, 8, "of a number of the difference"),
		Choice("scales", "apart", "whether key and value of a token have scales of their own", "apart", "together"),
		Number("sinks", 64, 1, 1<<20, "first tokens, which are references"),
		Number("recent", 128, 0, mostTokens, "newest tokens, which are whole"),
		Number("batch", 16, 1, 1024, "blocks that are encoded together: fewer leave room in the cache's blocks"),
		layerList("whole", "auto", "layers that stay whole, as 0+1+2; auto: 0, 1, 2, and a quarter and half of the way up"),
	}
}

// layerList is an option that takes the numbers of layers.
func layerList(key, def, about string) Option {
	return Option{Key: key, Default: def, Accepts: "numbers of layers with + between them, none or auto", About: about, check: func(v string) bool {
		_, ok := parseLayers(v, 0)
		return ok
	}}
}

// parseLayers reads such a list for a model of n layers.
func parseLayers(v string, n int) ([]int, bool) {
	switch v {
	case "none":
		return nil, true
	case "auto":
		return []int{0, 1, 2, n / 4, n / 2}, true
	}
	var list []int
	for _, f := range strings.Split(v, "+") {
		l, err := strconv.Atoi(f)
		if err != nil || l < 0 || l > 4096 || len(list) > 4096 {
			return nil, false
		}
		list = append(list, l)
	}
	return list, true
}

func (deltakv) New(v Values, s Shape) (Policy, error) {
	numbers, err := plainType(s.Type)
	if err != nil {
		return nil, fmt.Errorf("%w: deltakv: %w", ErrPolicy, err)
	}
	whole, _ := parseLayers(v["whole"], s.Layers)
	if most := slices.Max(append(whole, 0)); most >= s.Layers && v["whole"] != "auto" {
		return nil, fmt.Errorf("%w: deltakv: whole=%s: the model has layers 0 to %d", ErrPolicy, v["whole"], s.Layers-1)
	}
	return deltakvPolicy{v, s, numbers, whole}, nil
}

type deltakvPolicy struct {
	v       Values
	s       Shape
	numbers dtype.Type
	whole   []int
}

func (p deltakvPolicy) Needs() Needs { return Needs{Packs: true} }

func (p deltakvPolicy) Begin(Request) (State, error) {
	return &deltakvState{
		p: p, stride: p.v.Int("stride"), near: p.v.Int("near"), sinks: p.v.Int("sinks"), recent: p.v.Int("recent"),
		batch: p.v.Int("batch") * p.s.Block, layers: make([]residuals, p.s.Layers), turns: turns{rope: p.s.Rope},
	}, nil
}

type deltakvState struct {
	p                                  deltakvPolicy
	stride, near, sinks, recent, batch int
	layers                             []residuals
	turns                              turns
}

// Next: whole batches are encoded, when they are not recent any more.
func (s *deltakvState) Next(tokens int) int {
	return s.recent + (max(0, tokens-s.recent)/s.batch+1)*s.batch
}

func (s *deltakvState) Bytes() int64 {
	n := 4 * int64(cap(s.turns.table))
	for i := range s.layers {
		n += s.layers[i].bytes()
	}
	return n
}

func (s *deltakvState) Compress(ctx context.Context, l Layer) error {
	if slices.Contains(s.p.whole, l.Index()) {
		return nil
	}
	r := &s.layers[l.Index()]
	if r.heads == nil {
		*r = residuals{
			stride: s.stride, sinks: s.sinks, near: s.near, bits: s.p.v.Int("bits"), together: s.p.v["scales"] == "together",
			turns: &s.turns, dim: s.p.s.Dim, numbers: s.p.numbers, heads: make([][]byte, s.p.s.KVHeads),
		}
	}
	from, to := len(r.at), l.Tokens()-s.recent
	s.turns.upTo(to)
	rows := make([][]float32, s.p.s.KVHeads) // of the tokens that are new, [tokens, 2, dim] each
	for h := range rows {
		k, err := l.Keys(ctx, h)
		if err != nil {
			return err
		}
		k = slices.Clone(k[from*r.dim : to*r.dim])
		v, err := l.Values(ctx, h)
		if err != nil {
			return err
		}
		rows[h] = pairs(k, v[from*r.dim:to*r.dim], r.dim)
	}
	r.add(rows)
	for h := range rows {
		packed, err := l.Pack(ctx, h, to, &residualCodec{r, h})
		if err != nil {
			return err
		}
		if packed != to {
			return fmt.Errorf("deltakv: %d tokens are packed, want %d", packed, to)
		}
	}
	return nil
}

// pairs puts each token's key and value beside each other.
func pairs(k, v []float32, dim int) []float32 {
	rows := make([]float32, 0, 2*len(k))
	for i := 0; i < len(k); i += dim {
		rows = append(append(rows, k[i:i+dim]...), v[i:i+dim]...)
	}
	return rows
}
