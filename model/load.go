package model

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nosa/compute"
	"nosa/dtype"
	"nosa/weights"
)

// ErrWeights is returned when a checkpoint lacks a tensor that its config.json
// implies, or has it in another shape.
var ErrWeights = errors.New("weights do not fit config.json")

// Model is a decoder whose weights a device can read.
type Model struct {
	Config
	dev    compute.Device
	rope   *compute.Rope
	embed  compute.Tensor
	head   compute.Tensor // the embedding again when tied
	norm   compute.Tensor
	layers []compute.DecoderLayer
	dense  compute.Dense
	packed compute.Packed   // the same, where the device packs; else nil
	owned  []compute.Tensor // weights, and small tensors that were expanded to float32
}

// Decoder describes the model to a device that runs whole decode steps by itself.
func (m *Model) Decoder() compute.Decoder {
	return compute.Decoder{
		Hidden: m.Hidden, Intermediate: m.Intermediate, Vocab: m.Vocab,
		Heads: m.Heads, KVHeads: m.KVHeads, Dim: m.HeadDim,
		Eps: m.Eps, EmbedScale: m.EmbedScale, ResidualScale: m.ResidualScale, LogitScale: m.LogitScale,
		Rope: m.rope, Embed: m.embed, Head: m.head, Norm: m.norm, Layers: m.layers, Packed: m.packed,
	}
}

// Load makes the weights of a checkpoint readable by the device, for sequences
// of up to context tokens. The checkpoint stays open, and unchanged, until the
// model is closed. scored says whether the importance score is needed.
//
// A device that packs weights has them packed alone; the table that Embed reads is then in
// memory of the host, also where it is the output table.
func Load(dev compute.Device, ck *weights.Checkpoint, c *Config, context int, scored bool) (*Model, error) {
	m := &Model{Config: *c, dev: dev, rope: c.Rope.Build(context), layers: make([]compute.DecoderLayer, c.Layers)}
	l := loader{m: m, ck: ck, read: map[string]bool{}}
	l.err = m.open(func() (compute.Decoder, error) { return Describe(ck, c, context, scored) })
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	m.embed = l.matrix("model.embed_tokens.weight", c.Vocab, c.Hidden)
	m.head = m.embed
	if !Tied(ck, c) {
		m.head = l.matrix("lm_head.weight", c.Vocab, c.Hidden)
	}
	m.norm = l.vector("model.norm.weight", true, c.Hidden)
	l.pack(func() error { return m.packed.PackHead(m.head, m.norm) }, &m.head)
	for i := range m.layers {
		at := func(s string) string { return fmt.Sprintf("model.layers.%d.%s", i, s) }
		y := &m.layers[i]
		y.AttnNorm = l.vector(at("input_layernorm.weight"), true, c.Hidden)
		y.MLPNorm = l.vector(at("post_attention_layernorm.weight"), true, c.Hidden)
		y.Q = l.projection(at("self_attn.q_proj"), q, c.Hidden, c.QKVBias)
		y.K = l.projection(at("self_attn.k_proj"), kv, c.Hidden, c.QKVBias)
		y.V = l.projection(at("self_attn.v_proj"), kv, c.Hidden, c.QKVBias)
		y.O = l.projection(at("self_attn.o_proj"), c.Hidden, q, c.OutBias)
		y.QNorm = l.vector(at("self_attn.q_norm.weight"), c.QKNorm, c.HeadDim)
		y.KNorm = l.vector(at("self_attn.k_norm.weight"), c.QKNorm, c.HeadDim)
		y.Gate = l.projection(at("mlp.gate_proj"), c.Intermediate, c.Hidden, c.MLPBias)
		y.Up = l.projection(at("mlp.up_proj"), c.Intermediate, c.Hidden, c.MLPBias)
		y.Down = l.projection(at("mlp.down_proj"), c.Hidden, c.Intermediate, c.MLPBias)
		y.Delta.Weight = l.vector(at("self_attn.delta.weight"), scored, c.KVHeads, kv)
		y.Delta.Bias = l.vector(at("self_attn.delta.bias"), scored && ck.Has(at("self_attn.delta.bias")), c.KVHeads)
		y.A = l.vector(at("self_attn.A"), scored, c.KVHeads)
		l.pack(func() error { return m.packed.PackLayer(i, *y) },
			&y.Q.Weight, &y.K.Weight, &y.V.Weight, &y.O.Weight, &y.Gate.Weight, &y.Up.Weight, &y.Down.Weight)
	}
	l.packTable()
	if l.refuse(c); l.err != nil {
		return nil, errors.Join(l.err, m.Close())
	}
	return m, nil
}

// New is a model of weights that are on the device already and stay the caller's, until
// after the model is closed. Where the device packs, it has copies of the matrices.
func New(dev compute.Device, c *Config, d compute.Decoder) (*Model, error) {
	m := &Model{Config: *c, dev: dev, rope: d.Rope, embed: d.Embed, head: d.Head, norm: d.Norm, layers: slices.Clone(d.Layers)}
	err := m.open(func() (compute.Decoder, error) { return d, nil })
	if err == nil && m.packed != nil {
		err = m.packed.PackHead(m.head, m.norm)
		for i := 0; i < len(m.layers) && err == nil; i++ {
			err = m.packed.PackLayer(i, m.layers[i])
		}
	}
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// open decides who does the dense part.
func (m *Model) open(describe func() (compute.Decoder, error)) error {
	m.dense = &ops{dev: m.dev, m: m}
	p, ok := m.dev.(compute.Packer)
	if !ok {
		return nil
	}
	d, err := describe()
	if err != nil {
		return err
	}
	packed, err := p.NewPacked(d)
	switch {
	case errors.Is(err, compute.ErrPack):
		return nil
	case err != nil:
		return err
	}
	m.packed, m.dense = packed, packed
	return nil
}

// Tied reports whether the output table is the embedding. One of its own is used whatever
// the configuration says, as transformers does where the two differ.
func Tied(ck *weights.Checkpoint, c *Config) bool { return c.Tied && !ck.Has("lm_head.weight") }

// HasScores reports whether a checkpoint carries the tensors of NOSA's
// importance score.
func HasScores(ck *weights.Checkpoint) bool {
	return ck.Has("model.layers.0.self_attn.delta.weight") && ck.Has("model.layers.0.self_attn.A")
}

// Close gives back what Load and New allocated.
func (m *Model) Close() error {
	err := m.dense.Close()
	for _, t := range m.owned {
		m.dev.Free(t)
	}
	m.owned = nil
	return err
}

// loader keeps the first error, so that Load reads as a list of tensors.
type loader struct {
	m    *Model
	ck   *weights.Checkpoint
	read map[string]bool // names of what was asked for
	err  error
}

func (l *loader) tensor(name string, shape []int) (weights.Tensor, bool) {
	if l.err != nil {
		return weights.Tensor{}, false
	}
	l.read[name] = true
	t, err := l.ck.Tensor(name)
	if err != nil {
		l.err = fmt.Errorf("%w: %w", ErrWeights, err)
		return t, false
	}
	if !slices.Equal(longAxes(t.Shape), longAxes(shape)) {
		l.err = fmt.Errorf("%w: %s is %v, config.json asks for %v", ErrWeights, name, t.Shape, shape)
		return t, false
	}
	return t, true
}

// longAxes leaves out axes of length 1, which change nothing about the order of
// elements.
func longAxes(shape []int) (long []int) {
	for _, d := range shape {
		if d != 1 {
			long = append(long, d)
		}
	}
	return long
}

// refuse reports tensors of the checkpoint that would change the result and that
// the configuration has no use for: computing without them is silently wrong.
func (l *loader) refuse(c *Config) {
	for _, name := range l.ck.Names() {
		rest, ok := strings.CutPrefix(name, "model.layers.")
		if !ok || l.err != nil {
			continue
		}
		number, part, _ := strings.Cut(rest, ".")
		layer, err := strconv.Atoi(number)
		say := ""
		switch known := l.read[name]; {
		case err != nil || known:
		case layer >= c.Layers:
			say = fmt.Sprintf("num_hidden_layers is %d", c.Layers)
		case part == "self_attn.q_norm.weight" || part == "self_attn.k_norm.weight":
			say = "the family " + c.Family + " norms no queries and keys"
		case strings.HasPrefix(part, "self_attn.delta") || part == "self_attn.A":
			// of methods that are not asked for
		case strings.HasSuffix(part, ".bias"):
			say = "that has no such bias (attention_bias, mlp_bias)"
		}
		if say != "" {
			l.err = fmt.Errorf("%w: the file has %s, but in config.json %s", ErrWeights, name, say)
		}
	}
}

// matrix is a weight in its file's format, where it lies.
func (l *loader) matrix(name string, shape ...int) (x compute.Tensor) {
	t, ok := l.tensor(name, shape)
	if !ok {
		return x
	}
	if l.err = rowsFit(name, t.Type, shape); l.err != nil {
		return x
	}
	if x, l.err = l.m.dev.Load(t.Type, t.Data, shape...); l.err != nil {
		l.err = fmt.Errorf("model: %s: %w", name, l.err)
		return compute.Tensor{}
	}
	l.m.owned = append(l.m.owned, x)
	return x
}

// pack has the device pack matrices that were loaded, which have shape and format alone
// from then on, and no memory; but the embedding, which Embed reads, keeps it until packTable.
func (l *loader) pack(f func() error, matrices ...*compute.Tensor) {
	m := l.m
	if l.err != nil || m.packed == nil {
		return
	}
	if l.err = f(); l.err != nil {
		return
	}
	for _, x := range matrices {
		if x.Addr == m.embed.Addr {
			continue
		}
		m.drop(*x)
		*x = compute.Describe(x.Type, x.Dims[:x.Rank]...)
	}
}

// packTable has the device take over the embedding.
func (l *loader) packTable() {
	m, was := l.m, l.m.embed
	if l.err != nil || m.packed == nil {
		return
	}
	if m.embed, l.err = m.packed.PackTable(was); l.err != nil {
		return
	}
	if m.head.Addr == was.Addr {
		m.head = compute.Describe(was.Type, was.Dims[:was.Rank]...)
	}
	if l.err = m.dev.Sync(); l.err == nil { // the copy has been made
		m.drop(was)
	}
}

// drop gives the memory of a weight back.
func (m *Model) drop(x compute.Tensor) {
	m.dev.Free(x)
	m.owned = slices.DeleteFunc(m.owned, func(o compute.Tensor) bool { return o.Addr == x.Addr })
}

// rowsFit refuses formats that are no numbers to multiply, and rows that are not
// whole blocks of a quantised one.
func rowsFit(name string, t dtype.Type, shape []int) error {
	row := shape[len(shape)-1]
	if t == dtype.I32 || t == dtype.I64 || t == dtype.U8 || row%t.Block() != 0 {
		return fmt.Errorf("%w: %s is stored as %v in rows of %d, which cannot be multiplied", ErrWeights, name, t, row)
	}
	return nil
}

// vector is a small tensor, expanded to float32; absent unless wanted.
func (l *loader) vector(name string, wanted bool, shape ...int) (x compute.Tensor) {
	if !wanted {
		return x
	}
	t, ok := l.tensor(name, shape)
	if !ok {
		return x
	}
	x, l.err = l.m.dev.Alloc(dtype.F32, shape...)
	if l.err != nil {
		l.err = fmt.Errorf("model: %s: %w", name, l.err)
		return compute.Tensor{}
	}
	l.m.owned = append(l.m.owned, x)
	v := make([]float32, x.Len())
	dtype.Decode(t.Type, v, t.Data)
	l.m.dev.Upload(x, compute.F32s(v, len(v)).Data)
	return x
}

func (l *loader) projection(name string, out, in int, bias bool) compute.Projection {
	return compute.Projection{Weight: l.matrix(name+".weight", out, in), Bias: l.vector(name+".bias", bias, out)}
}
