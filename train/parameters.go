package train

import (
	"fmt"
	"path"
	"slices"

	"nosa/compute"
	"nosa/dtype"
	"nosa/model"
)

// Parameters are the tensors of a model in training. Those that are treated alike lie side by
// side in one piece of memory, so that the optimiser takes few steps over much.
//
//	values   F32, the masters: what the optimiser changes and checkpoints hold
//	works    what products read, in the type of the device's activations; the masters where that is F32
//	grads    F32, added to by every pass
//	means, squares   F32, the optimiser's, of what is trained
type Parameters struct {
	dev   compute.Trainer
	list  []*Parameter // in the model's order
	named map[string]*Parameter
	banks []*bank
}

// Parameter is one tensor of a model. A nil one is a tensor that the model lacks.
type Parameter struct {
	Name  string
	Shape []int

	role    role
	treated treatment
	at      int // where it begins in its bank, in elements

	value, work, grad compute.Tensor
	mean, square      compute.Tensor
}

// role says what a tensor is for, which decides how it is trained and kept.
type role int

const (
	roleMatrix role = iota
	roleTable       // of tokens: the embedding, the output table
	roleNorm
	roleBias
	roleDelta
	roleA
)

// multiplied reports whether products read the tensor, in the type of activations.
func (r role) multiplied() bool { return r == roleMatrix || r == roleTable }

// treatment is how the optimiser treats a tensor.
type treatment struct {
	trained bool
	grads   bool // has gradients: what is trained, and small tensors, whose ops want a place for them
	works   bool // has a working copy
	rate    float64
	decay   float64
}

// bank is the memory of tensors that are treated alike.
type bank struct {
	treatment
	size           int // elements
	values, works  compute.Tensor
	grads          compute.Tensor
	means, squares compute.Tensor
}

// aligned is the number of elements that every tensor's begin is a multiple of.
const aligned = 64

// declare lists the tensors of a model by their Hugging Face names.
func declare(c *model.Config, tied, deltaBias bool) []*Parameter {
	var list []*Parameter
	add := func(wanted bool, r role, name string, shape ...int) {
		if wanted {
			list = append(list, &Parameter{Name: name, Shape: shape, role: r})
		}
	}
	q, kv := c.Heads*c.HeadDim, c.KVHeads*c.HeadDim
	add(true, roleTable, "model.embed_tokens.weight", c.Vocab, c.Hidden)
	for i := range c.Layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		linear := func(name string, out, in int, bias bool) {
			add(true, roleMatrix, at+name+".weight", out, in)
			add(bias, roleBias, at+name+".bias", out)
		}
		add(true, roleNorm, at+"input_layernorm.weight", c.Hidden)
		linear("self_attn.q_proj", q, c.Hidden, c.QKVBias)
		linear("self_attn.k_proj", kv, c.Hidden, c.QKVBias)
		linear("self_attn.v_proj", kv, c.Hidden, c.QKVBias)
		add(c.QKNorm, roleNorm, at+"self_attn.q_norm.weight", c.HeadDim)
		add(c.QKNorm, roleNorm, at+"self_attn.k_norm.weight", c.HeadDim)
		add(c.Scored, roleDelta, at+"self_attn.delta.weight", c.KVHeads, kv)
		add(c.Scored && deltaBias, roleBias, at+"self_attn.delta.bias", c.KVHeads)
		add(c.Scored, roleA, at+"self_attn.A", c.KVHeads)
		linear("self_attn.o_proj", c.Hidden, q, c.OutBias)
		add(true, roleNorm, at+"post_attention_layernorm.weight", c.Hidden)
		linear("mlp.gate_proj", c.Intermediate, c.Hidden, c.MLPBias)
		linear("mlp.up_proj", c.Intermediate, c.Hidden, c.MLPBias)
		linear("mlp.down_proj", c.Hidden, c.Intermediate, c.MLPBias)
	}
	add(true, roleNorm, "model.norm.weight", c.Hidden)
	add(!tied, roleTable, "lm_head.weight", c.Vocab, c.Hidden)
	return list
}

// treat says how the optimiser treats a tensor.
func (o *OptimiserConfig) treat(p *Parameter) treatment {
	t := treatment{trained: len(o.Train) == 0 || matches(o.Train, p.Name), works: p.role.multiplied(), rate: 1}
	t.trained = t.trained && !matches(o.Freeze, p.Name)
	if p.role == roleMatrix || p.role == roleDelta || p.role == roleTable && o.DecayEmbeddings {
		t.decay = o.WeightDecay
	}
	for _, g := range o.Groups {
		if !matches([]string{g.Match}, p.Name) {
			continue
		}
		if g.Rate != 0 {
			t.rate = g.Rate
		}
		if g.WeightDecay != nil {
			t.decay = *g.WeightDecay
		}
		break
	}
	t.grads = t.trained || !p.role.multiplied()
	if !t.trained {
		t.rate, t.decay = 0, 0
	}
	return t
}

// checkMatches refuses a pattern of which no tensor has the name: it was meant for one.
func (o *OptimiserConfig) checkMatches(list []*Parameter) error {
	patterns := slices.Concat(o.Train, o.Freeze)
	for _, g := range o.Groups {
		patterns = append(patterns, g.Match)
	}
	for _, p := range patterns {
		if !slices.ContainsFunc(list, func(x *Parameter) bool { return matches([]string{p}, x.Name) }) {
			return fmt.Errorf("%w: optimiser: no tensor has a name like %q; the first is %s", ErrConfig, p, list[0].Name)
		}
	}
	return nil
}

func matches(patterns []string, name string) bool {
	for _, p := range patterns {
		if ok, err := path.Match(p, name); err == nil && ok {
			return true
		}
	}
	return false
}

// newParameters allocates the tensors of a model, all zero.
func newParameters(dev compute.Trainer, list []*Parameter, o *OptimiserConfig) (*Parameters, error) {
	if err := o.checkMatches(list); err != nil {
		return nil, err
	}
	p := &Parameters{dev: dev, list: list, named: map[string]*Parameter{}}
	trained := 0
	for _, x := range list {
		x.treated = o.treat(x)
		p.named[x.Name] = x
		if x.treated.trained {
			trained++
		}
	}
	if trained == 0 {
		return nil, fmt.Errorf("%w: optimiser.train and freeze leave nothing to train", ErrConfig)
	}
	for _, x := range list { // where a bias is trained and its matrix is not, they have their gradients together
		if w := p.named[x.Name[:len(x.Name)-len(path.Ext(x.Name))]+".weight"]; x.role == roleBias && x.treated.trained {
			w.treated.grads = true
		}
	}
	of := map[treatment]*bank{}
	for _, x := range list {
		b := of[x.treated]
		if b == nil {
			b = &bank{treatment: x.treated}
			of[x.treated] = b
			p.banks = append(p.banks, b)
		}
		x.at = b.size
		b.size += (compute.Describe(dtype.F32, x.Shape...).Len() + aligned - 1) / aligned * aligned
	}
	for _, b := range p.banks {
		if err := b.alloc(dev); err != nil {
			p.Close()
			return nil, fmt.Errorf("train: memory of the parameters: %w", err)
		}
	}
	for _, x := range list {
		b := of[x.treated]
		x.value, x.work, x.grad = x.in(b.values), x.in(b.works), x.in(b.grads)
		x.mean, x.square = x.in(b.means), x.in(b.squares)
	}
	return p, nil
}

func (b *bank) alloc(dev compute.Trainer) (err error) {
	alloc := func(t dtype.Type) (x compute.Tensor) {
		if err == nil {
			x, err = dev.Alloc(t, b.size)
		}
		return x
	}
	b.values = alloc(dtype.F32)
	b.works = b.values
	if t := dev.Activations(); b.treatment.works && t != dtype.F32 {
		b.works = alloc(t)
	}
	if b.treatment.grads {
		b.grads = alloc(dtype.F32)
	}
	if b.trained {
		b.means, b.squares = alloc(dtype.F32), alloc(dtype.F32)
	}
	return err
}

// in is the parameter's part of a bank's memory.
func (x *Parameter) in(t compute.Tensor) compute.Tensor {
	if t.None() {
		return t
	}
	n := compute.Describe(dtype.F32, x.Shape...).Len()
	return t.Rows(x.at, x.at+n).Reshape(x.Shape...)
}

// Close gives the memory back.
func (p *Parameters) Close() {
	for _, b := range p.banks {
		if b.works.Addr == b.values.Addr && b.works.Type == b.values.Type {
			b.works = compute.Tensor{}
		}
		for _, t := range []compute.Tensor{b.values, b.works, b.grads, b.means, b.squares} {
			if !t.None() {
				p.dev.Free(t)
			}
		}
	}
	p.banks = nil
}

// Count is the number of elements, in all and of what is trained.
func (p *Parameters) Count() (all, trained int) {
	for _, x := range p.list {
		n := x.value.Len()
		all += n
		if x.treated.trained {
			trained += n
		}
	}
	return all, trained
}

// Read copies a parameter's values to the host.
func (p *Parameters) Read(name string) ([]float32, error) { return p.read(name, (*Parameter).values) }

// ReadGrad copies the sum of a parameter's gradients since the last step to the host.
func (p *Parameters) ReadGrad(name string) ([]float32, error) {
	return p.read(name, func(x *Parameter) compute.Tensor { return x.grad })
}

func (x *Parameter) values() compute.Tensor { return x.value }

func (p *Parameters) read(name string, of func(*Parameter) compute.Tensor) ([]float32, error) {
	x := p.named[name]
	if x == nil || of(x).None() {
		return nil, fmt.Errorf("train: no such tensor: %s", name)
	}
	return p.download(of(x))
}

func (p *Parameters) download(t compute.Tensor) ([]float32, error) {
	out := make([]float32, t.Len())
	p.dev.Download(compute.F32s(out, len(out)).Data, t)
	return out, p.dev.Sync()
}

// Write sets a parameter's values; Refresh must follow.
func (p *Parameters) Write(name string, v []float32) error {
	x := p.named[name]
	if x == nil || x.value.Len() != len(v) {
		return fmt.Errorf("train: no tensor %s of %d elements", name, len(v))
	}
	p.dev.Upload(x.value, compute.F32s(v, len(v)).Data)
	return nil
}

// Refresh brings the working copies up to the masters.
func (p *Parameters) Refresh() {
	for _, b := range p.banks {
		if b.works.Type != b.values.Type {
			p.dev.Copy(b.works, b.values)
		}
	}
}
