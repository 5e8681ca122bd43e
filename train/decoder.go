package train

import (
	"errors"
	"fmt"

	"nosa/attention"
	"nosa/compute"
	"nosa/model"
)

// Rows is what is computed in one pass: documents, one after the other.
type Rows struct {
	IDs     []int32
	Targets []int32 // the token that each row is to foretell; −1: none
	Begins  []int32 // where documents begin, ascending from 0, with the number of rows at the end
}

// ErrRows is returned for rows that cannot be computed: what a Source gave is wrong.
var ErrRows = errors.New("rows of the data are wrong")

// Decoder is a model's forward and backward pass over a device.
type Decoder struct {
	dev    compute.Trainer
	cfg    *model.Config
	params *Parameters
	layers []layerParameters
	embed  *Parameter
	head   *Parameter // the embedding again where it is tied
	norm   *Parameter

	// Of a stage: see SetStage.
	rope    *compute.Rope
	method  attention.Method
	choice  compute.SelectParams
	blocks  compute.Documents // without Begins
	context int

	rows      int
	headRows  int
	recompute recompute
	mem       memory
	pos       []int32
	losses    []float32

	importance float64 // weight of the loss that teaches scores; 0: none
	received   lesson
}

// layerParameters are those of one layer; what a model lacks is nil.
type layerParameters struct {
	attnNorm, mlpNorm *Parameter
	q, k, v, o        projection
	qNorm, kNorm      *Parameter
	delta             projection
	a                 *Parameter
	gate, up, down    projection
}

type projection struct{ weight, bias *Parameter }

// working is what ops read of a parameter; absent where the parameter is.
func (x *Parameter) working() compute.Tensor {
	if x == nil {
		return compute.Tensor{}
	}
	return x.work
}

// gradient is what they add to; absent where the parameter is, or is frozen and large.
func (x *Parameter) gradient() compute.Tensor {
	if x == nil {
		return compute.Tensor{}
	}
	return x.grad
}

// NewDecoder prepares passes of up to batch.Rows rows. SetStage must follow.
func NewDecoder(dev compute.Trainer, cfg *model.Config, params *Parameters, batch BatchConfig, loss LossConfig) (*Decoder, error) {
	keep, err := parseRecompute(batch.Recompute)
	if err != nil {
		return nil, err
	}
	d := &Decoder{
		dev: dev, cfg: cfg, params: params, rows: batch.Rows, headRows: min(batch.HeadRows, batch.Rows), recompute: keep,
		embed: params.named["model.embed_tokens.weight"], norm: params.named["model.norm.weight"],
		head: params.named["lm_head.weight"], pos: make([]int32, batch.Rows), losses: make([]float32, batch.Rows),
		importance: loss.Importance,
	}
	if d.head == nil {
		d.head = d.embed
	}
	for i := range cfg.Layers {
		at := func(name string) *Parameter { return params.named[fmt.Sprintf("model.layers.%d.%s", i, name)] }
		linear := func(name string) projection { return projection{at(name + ".weight"), at(name + ".bias")} }
		d.layers = append(d.layers, layerParameters{
			attnNorm: at("input_layernorm.weight"), mlpNorm: at("post_attention_layernorm.weight"),
			q: linear("self_attn.q_proj"), k: linear("self_attn.k_proj"), v: linear("self_attn.v_proj"), o: linear("self_attn.o_proj"),
			qNorm: at("self_attn.q_norm.weight"), kNorm: at("self_attn.k_norm.weight"),
			delta: linear("self_attn.delta"), a: at("self_attn.A"),
			gate: linear("mlp.gate_proj"), up: linear("mlp.up_proj"), down: linear("mlp.down_proj"),
		})
	}
	if err := d.alloc(); err != nil {
		d.Close()
		return nil, fmt.Errorf("train: memory of passes of %d tokens: %w: lower batch.rows, or set batch.recompute", batch.Rows, err)
	}
	return d, nil
}

// SetStage says which attention the next passes have, over documents of up to context tokens;
// cfg is the model's shape in the stage, of which the rotation and the constants of selection
// are taken.
func (d *Decoder) SetStage(method string, cfg *model.Config, context int) error {
	m, err := attention.ByName(method)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	if m.Keeps().Scores && d.layers[0].a == nil {
		return fmt.Errorf("%w: %s needs a model with delta and A", ErrConfig, method)
	}
	c := constants(cfg.Sparse)
	d.method, d.context, d.rope = m, context, cfg.Rope.Build(context)
	d.choice = m.Params(c)
	d.blocks = compute.Documents{Block: c.Block, Kernel: c.Kernel, Stride: c.Stride}
	if err := d.allocSelection(); err != nil {
		return fmt.Errorf("train: memory of selections: %w", err)
	}
	return nil
}

// Close gives the memory of passes back; the parameters stay.
func (d *Decoder) Close() { d.mem.free(d.dev) }

// Pass computes rows forward and backward, adds the gradients of the sum of their losses to the
// parameters', and returns the losses of the rows, which hold until the next pass.
func (d *Decoder) Pass(r Rows) ([]float32, error) { return d.run(r, true) }

// Losses computes rows forward alone.
func (d *Decoder) Losses(r Rows) ([]float32, error) { return d.run(r, false) }

func (d *Decoder) run(r Rows, learn bool) ([]float32, error) {
	if err := d.check(r); err != nil {
		return nil, err
	}
	docs := d.blocks
	docs.Begins = r.Begins
	d.forward(r, docs, learn)
	d.lossAndHead(r, learn)
	if learn {
		d.beginLesson(r)
		d.backward(r, docs)
		d.endLesson(len(r.IDs))
	}
	out := d.losses[:len(r.IDs)]
	d.dev.Download(compute.F32s(out, len(out)).Data, d.mem.loss.Rows(0, len(out)))
	if err := d.dev.Sync(); err != nil {
		return nil, fmt.Errorf("train: a pass over %d tokens: %w", len(out), err)
	}
	if learn {
		d.countLesson(len(out))
	}
	return out, nil
}

// check refuses rows that the ops, which take shapes for granted, would not survive.
func (d *Decoder) check(r Rows) error {
	n := len(r.IDs)
	if n < 1 || n > d.rows || len(r.Targets) != n {
		return fmt.Errorf("%w: %d tokens with %d targets, want 1 to %d of each", ErrRows, n, len(r.Targets), d.rows)
	}
	if len(r.Begins) < 2 || r.Begins[0] != 0 || int(r.Begins[len(r.Begins)-1]) != n {
		return fmt.Errorf("%w: documents do not fill the rows from 0 to %d", ErrRows, n)
	}
	for i, end := range r.Begins[1:] {
		begin := r.Begins[i]
		if end <= begin || int(end-begin) > d.context || int(end) > n {
			return fmt.Errorf("%w: document %d is rows %d to %d of %d, the context has %d", ErrRows, i, begin, end, n, d.context)
		}
		for row := begin; row < end; row++ {
			d.pos[row] = row - begin
		}
	}
	for i, id := range r.IDs {
		if id < 0 || int(id) >= d.cfg.Vocab || r.Targets[i] < -1 || int(r.Targets[i]) >= d.cfg.Vocab {
			return fmt.Errorf("%w: row %d is token %d with target %d, the vocabulary has %d: is this the model's tokenizer?", ErrRows, i, id, r.Targets[i], d.cfg.Vocab)
		}
	}
	return nil
}

// scored reports whether importance scores are computed in this stage.
func (d *Decoder) scored() bool { return d.method.Keeps().Scores }

// sparse reports whether rows may see fewer blocks than there are.
func (d *Decoder) sparse() bool {
	p := d.choice
	blocks := (d.context + d.blocks.Block - 1) / d.blocks.Block
	return (p.ByQuery || p.ByScore) && blocks > p.K && d.context > p.DenseLen
}
