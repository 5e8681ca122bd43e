package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"nosa/dtype"
	"nosa/weights"
)

// Shape is the size of a decoder of the Llama family: what decides its speed.
type Shape struct {
	Name      string
	Layers    int
	Hidden    int
	Heads     int // query heads
	KVHeads   int
	HeadDim   int
	FFN       int // width of the feed-forward part
	Vocab     int
	Context   int
	RopeBase  float32
	TiedTable bool // the embedding table is also the output layer
}

// shapes are those that have a name: sizes of known models, 1b, 3b and 8b with the two KV
// heads of 128 that the NOSA models have in place of their eight. tiny is for tests.
var shapes = []Shape{
	{Name: "tiny", Layers: 2, Hidden: 128, Heads: 4, KVHeads: 2, HeadDim: 32, FFN: 256, Vocab: 512, Context: 8192, RopeBase: 10000},
	{Name: "135m", Layers: 30, Hidden: 576, Heads: 9, KVHeads: 3, HeadDim: 64, FFN: 1536, Vocab: 49152, Context: 131072, RopeBase: 100000, TiedTable: true},
	{Name: "1.1b", Layers: 22, Hidden: 2048, Heads: 32, KVHeads: 4, HeadDim: 64, FFN: 5632, Vocab: 32000, Context: 131072, RopeBase: 10000},
	{Name: "1b", Layers: 16, Hidden: 2048, Heads: 16, KVHeads: 2, HeadDim: 128, FFN: 8192, Vocab: 128256, Context: 131072, RopeBase: 500000, TiedTable: true},
	{Name: "3b", Layers: 28, Hidden: 3072, Heads: 24, KVHeads: 2, HeadDim: 128, FFN: 8192, Vocab: 128256, Context: 131072, RopeBase: 500000, TiedTable: true},
	{Name: "8b", Layers: 32, Hidden: 4096, Heads: 32, KVHeads: 2, HeadDim: 128, FFN: 14336, Vocab: 128256, Context: 131072, RopeBase: 500000},
}

// ErrShape is returned for a shape or a format of weights that has no name here.
var ErrShape = errors.New("unknown shape")

// ParseShape reads NAME[:DTYPE], such as 1.1b:q4_0; without a format it is Q8_0.
func ParseShape(s string) (Shape, dtype.Type, error) {
	name, format, given := strings.Cut(s, ":")
	i := slices.IndexFunc(shapes, func(h Shape) bool { return strings.EqualFold(h.Name, name) })
	if i < 0 {
		var names []string
		for _, h := range shapes {
			names = append(names, h.Name)
		}
		return Shape{}, dtype.Invalid, fmt.Errorf("%w %q: use %s", ErrShape, name, strings.Join(names, ", "))
	}
	if !given {
		return shapes[i], dtype.Q8_0, nil
	}
	t, err := dtype.Parse(format)
	if err != nil || !slices.Contains(shapeTypes, t) {
		return Shape{}, dtype.Invalid, fmt.Errorf("%w: weights in %q: use q8_0, q4_0, f16, bf16 or f32", ErrShape, format)
	}
	return shapes[i], t, nil
}

// shapeTypes are the formats in which random weights can be written.
var shapeTypes = []dtype.Type{dtype.F32, dtype.F16, dtype.BF16, dtype.Q8_0, dtype.Q4_0}

// fileTypes are GGUF's numbers for what most of a file's tensors are.
var fileTypes = map[dtype.Type]uint32{dtype.F32: 0, dtype.F16: 1, dtype.BF16: 32, dtype.Q8_0: 7, dtype.Q4_0: 2}

// Parameters is the number of weights.
func (h Shape) Parameters() int64 {
	var n int64
	for _, t := range h.tensors() {
		n += int64(t.elements())
	}
	return n
}

// StepBytes is what a decode step reads of the weights in a format, norms in float32: all
// but the embedding table, where the output layer is another one.
func (h Shape) StepBytes(t dtype.Type) int64 {
	var n int64
	for _, x := range h.tensors() {
		if x.name == "token_embd.weight" && !h.TiedTable {
			continue
		}
		stored := t
		if len(x.shape) == 1 {
			stored = dtype.F32
		}
		size, err := stored.Size(x.elements())
		if err != nil {
			panic("bench: shape " + h.Name + ": " + err.Error())
		}
		n += int64(size)
	}
	return n
}

// WriteRandom writes a GGUF file of the shape with random weights, which are the
// same for the same seed. They are scaled as those of a model before training, so
// that activations stay near 1 however deep it is and logits are finite. A row at
// a time is held in memory. The file opens in nosa and in llama.cpp.
func (h Shape) WriteRandom(ctx context.Context, path string, t dtype.Type, seed uint64, progress weights.Progress) error {
	if !slices.Contains(shapeTypes, t) {
		return fmt.Errorf("%w: weights in %s", ErrShape, t)
	}
	var sources []weights.Source
	for i, x := range h.tensors() {
		rng := rand.NewPCG(seed, uint64(i)) // of its own, so that one tensor does not depend on the format of another
		source := weights.Source{Name: x.name, Type: t, Shape: x.shape, Write: func(w io.Writer) error { return x.random(w, t, rng) }}
		if len(x.shape) == 1 {
			source.Type, source.Write = dtype.F32, x.ones
		}
		sources = append(sources, source)
	}
	return weights.WriteGGUF(ctx, path, h.metadata(t), sources, progress)
}

// metadata is what both programs want to know of the model.
func (h Shape) metadata(t dtype.Type) []weights.Pair {
	v := h.vocabulary()
	u := func(n int) uint32 { return uint32(n) }
	return []weights.Pair{
		{Key: "general.architecture", Value: "llama"},
		{Key: "general.type", Value: "model"},
		{Key: "general.name", Value: fmt.Sprintf("random %s", h.Name)},
		{Key: "general.file_type", Value: fileTypes[t]},
		{Key: "general.quantization_version", Value: uint32(2)},
		{Key: "llama.context_length", Value: u(h.Context)},
		{Key: "llama.embedding_length", Value: u(h.Hidden)},
		{Key: "llama.block_count", Value: u(h.Layers)},
		{Key: "llama.feed_forward_length", Value: u(h.FFN)},
		{Key: "llama.attention.head_count", Value: u(h.Heads)},
		{Key: "llama.attention.head_count_kv", Value: u(h.KVHeads)},
		{Key: "llama.attention.key_length", Value: u(h.HeadDim)},
		{Key: "llama.attention.value_length", Value: u(h.HeadDim)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(1e-5)},
		{Key: "llama.rope.dimension_count", Value: u(h.HeadDim)},
		{Key: "llama.rope.freq_base", Value: h.RopeBase},
		{Key: "llama.vocab_size", Value: u(h.Vocab)},
		{Key: "tokenizer.ggml.model", Value: "llama"},
		{Key: "tokenizer.ggml.pre", Value: "default"},
		{Key: "tokenizer.ggml.tokens", Value: v.tokens},
		{Key: "tokenizer.ggml.scores", Value: v.scores},
		{Key: "tokenizer.ggml.token_type", Value: v.types},
		{Key: "tokenizer.ggml.bos_token_id", Value: uint32(1)},
		{Key: "tokenizer.ggml.eos_token_id", Value: uint32(2)},
		{Key: "tokenizer.ggml.unknown_token_id", Value: uint32(0)},
		{Key: "tokenizer.ggml.add_bos_token", Value: true},
		{Key: "tokenizer.ggml.add_eos_token", Value: false},
	}
}

// tensor is one of a shape's, with the standard deviation of its weights.
type tensor struct {
	name  string
	shape []int
	sigma float64
}

func (x tensor) elements() int {
	n := 1
	for _, d := range x.shape {
		n *= d
	}
	return n
}

// tensors lists all of them under GGUF's names. A projection keeps the size of what
// it is given; those that add to the residual stream are smaller the more of them
// there are.
func (h Shape) tensors() []tensor {
	var all []tensor
	add := func(name string, sigma float64, shape ...int) {
		all = append(all, tensor{name + ".weight", shape, sigma})
	}
	in, heads, mlp := h.Hidden, h.Heads*h.HeadDim, h.FFN
	keep := func(width int) float64 { return 1 / math.Sqrt(float64(width)) }
	branch := 1 / math.Sqrt(2*float64(h.Layers))
	add("token_embd", keep(in), h.Vocab, in)
	if !h.TiedTable {
		add("output", keep(in), h.Vocab, in)
	}
	add("output_norm", 0, in)
	for i := range h.Layers {
		at := fmt.Sprintf("blk.%d.", i)
		add(at+"attn_norm", 0, in)
		add(at+"attn_q", keep(in), heads, in)
		add(at+"attn_k", keep(in), h.KVHeads*h.HeadDim, in)
		add(at+"attn_v", keep(in), h.KVHeads*h.HeadDim, in)
		add(at+"attn_output", branch*keep(heads), in, heads)
		add(at+"ffn_norm", 0, in)
		add(at+"ffn_gate", keep(in), mlp, in)
		add(at+"ffn_up", keep(in), mlp, in)
		add(at+"ffn_down", branch*keep(mlp), in, mlp)
	}
	return all
}

// ones writes a norm's weights.
func (x tensor) ones(w io.Writer) error {
	values := make([]float32, x.elements())
	for i := range values {
		values[i] = 1
	}
	raw := make([]byte, 4*len(values))
	dtype.Encode(dtype.F32, raw, values)
	_, err := w.Write(raw)
	return err
}

// random writes rows that are even between −√3 and √3 standard deviations: the
// same spread as a normal distribution's, in a fraction of the time.
func (x tensor) random(w io.Writer, t dtype.Type, rng *rand.PCG) error {
	width := x.shape[len(x.shape)-1]
	size, err := t.Size(width)
	if err != nil {
		return fmt.Errorf("rows of %d: %w", width, err)
	}
	values, raw := make([]float32, width), make([]byte, size)
	step := float32(2 * math.Sqrt(3) * x.sigma / (1 << 32))
	for range x.elements() / width {
		for i := 0; i < width; i += 2 {
			bits := rng.Uint64()
			values[i] = step * float32(int32(bits))
			if i+1 < width {
				values[i+1] = step * float32(int32(bits>>32))
			}
		}
		dtype.Encode(t, raw, values)
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}
