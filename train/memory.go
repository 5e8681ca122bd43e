package train

import (
	"fmt"

	"nosa/compute"
	"nosa/dtype"
)

// recompute is what the backward pass computes again instead of keeping it.
type recompute int

const (
	recomputeNone  recompute = iota
	recomputeCheap           // what norms and SwiGLU gave
	recomputeLayer           // all but the input of each layer
)

func parseRecompute(s string) (recompute, error) {
	switch s {
	case "none":
		return recomputeNone, nil
	case "cheap":
		return recomputeCheap, nil
	case "layer":
		return recomputeLayer, nil
	}
	return 0, fmt.Errorf("%w: batch.recompute is %q, want none, cheap or layer", ErrConfig, s)
}

// memory is all that a pass writes to, but the gradients of parameters. T is the type of the
// device's activations.
type memory struct {
	angles compute.Tensor // F32 [rows, 2, rotated pairs]
	loss   compute.Tensor // F32 [rows]

	inputs []compute.Tensor // T [rows, hidden]: of each layer, and at the end what the last one gives
	layers []kept           // of each layer; all the same where the layer is computed again

	// The gradients of activations.
	dx, dy, dh compute.Tensor // T [rows, hidden]: of the residual stream, of a branch's result, of its normed input
	dq, dout   compute.Tensor // T [rows, heads, dim]
	dk, dv     compute.Tensor // T [rows, kvHeads, dim]
	ds         compute.Tensor // F32 [rows, kvHeads]
	received   compute.Tensor // F32 [rows, kvHeads, 2]: the loss that teaches scores; absent without it
	dact       compute.Tensor // T [rows, intermediate]

	// The head, for some rows at a time.
	normed compute.Tensor // T [headRows, hidden]
	logits compute.Tensor // T [headRows, vocab]

	owned      []compute.Tensor
	selections []compute.Tensor // of the stage
}

// kept is what a layer's forward pass leaves for its backward pass.
type kept struct {
	h        compute.Tensor // T [rows, hidden]: the input, normed
	q, k, v  compute.Tensor // T [rows, heads | kvHeads, dim]: q and k as attention takes them
	rawQ     compute.Tensor // the same before their norms; absent where heads have none
	rawK     compute.Tensor
	s        compute.Tensor // F32 [rows, kvHeads]
	sel      compute.Selection
	out      compute.Tensor // T [rows, heads, dim]
	lse      compute.Tensor // F32 [rows, heads]
	middle   compute.Tensor // T [rows, hidden]: the residual stream after attention
	h2       compute.Tensor // T [rows, hidden]: the same, normed
	gate, up compute.Tensor // T [rows, intermediate]
	act      compute.Tensor // T [rows, intermediate]: what SwiGLU makes of them
}

// alloc allocates what does not depend on the stage.
func (d *Decoder) alloc() (err error) {
	m, c, rows, t := &d.mem, d.cfg, d.rows, d.dev.Activations()
	of := func(t dtype.Type, shape ...int) (x compute.Tensor) {
		if err != nil {
			return x
		}
		if x, err = d.dev.Alloc(t, shape...); err == nil {
			m.owned = append(m.owned, x)
		}
		return x
	}
	m.angles, m.loss = of(dtype.F32, rows, 2, c.Rope.Dims/2), of(dtype.F32, rows)
	for range c.Layers + 1 {
		m.inputs = append(m.inputs, of(t, rows, c.Hidden))
	}
	var cheap, all kept
	m.layers = make([]kept, c.Layers)
	for i := range m.layers {
		if i > 0 && d.recompute == recomputeLayer {
			m.layers[i] = all
			continue
		}
		if i == 0 || d.recompute == recomputeNone {
			cheap.h, cheap.h2 = of(t, rows, c.Hidden), of(t, rows, c.Hidden)
			cheap.act = of(t, rows, c.Intermediate)
		}
		all = cheap
		all.q, all.out = of(t, rows, c.Heads, c.HeadDim), of(t, rows, c.Heads, c.HeadDim)
		all.k, all.v = of(t, rows, c.KVHeads, c.HeadDim), of(t, rows, c.KVHeads, c.HeadDim)
		if c.QKNorm {
			all.rawQ, all.rawK = of(t, rows, c.Heads, c.HeadDim), of(t, rows, c.KVHeads, c.HeadDim)
		}
		if c.Scored {
			all.s = of(dtype.F32, rows, c.KVHeads)
		}
		all.lse, all.middle = of(dtype.F32, rows, c.Heads), of(t, rows, c.Hidden)
		all.gate, all.up = of(t, rows, c.Intermediate), of(t, rows, c.Intermediate)
		m.layers[i] = all
	}
	m.dx, m.dh = of(t, rows, c.Hidden), of(t, rows, c.Hidden)
	m.dy = m.dx
	if c.ResidualScale != 1 {
		m.dy = of(t, rows, c.Hidden)
	}
	m.dq, m.dout = of(t, rows, c.Heads, c.HeadDim), of(t, rows, c.Heads, c.HeadDim)
	m.dk, m.dv = of(t, rows, c.KVHeads, c.HeadDim), of(t, rows, c.KVHeads, c.HeadDim)
	if c.Scored {
		m.ds = of(dtype.F32, rows, c.KVHeads)
	}
	if c.Scored && d.importance > 0 {
		m.received = of(dtype.F32, rows, c.KVHeads, 2)
	}
	m.dact = of(t, rows, c.Intermediate)
	m.normed, m.logits = of(t, d.headRows, c.Hidden), of(t, d.headRows, c.Vocab)
	return err
}

// allocSelection allocates selections for the stage; none where every row sees every block.
func (d *Decoder) allocSelection() error {
	m := &d.mem
	for _, x := range m.selections {
		d.dev.Free(x)
	}
	m.selections = nil
	var sel compute.Selection
	for i := range m.layers {
		m.layers[i].sel = compute.Selection{}
		if !d.sparse() {
			continue
		}
		if i == 0 || d.recompute != recomputeLayer {
			var err error
			most := (d.context + d.blocks.Block - 1) / d.blocks.Block
			if sel.Blocks, err = d.dev.Alloc(dtype.I32, d.rows, d.cfg.KVHeads, min(d.choice.Most(), most)); err != nil {
				return err
			}
			m.selections = append(m.selections, sel.Blocks)
			if sel.Count, err = d.dev.Alloc(dtype.I32, d.rows, d.cfg.KVHeads); err != nil {
				return err
			}
			m.selections = append(m.selections, sel.Count)
		}
		m.layers[i].sel = sel
	}
	return nil
}

func (m *memory) free(dev compute.Device) {
	for _, x := range append(m.owned, m.selections...) {
		dev.Free(x)
	}
	*m = memory{}
}

// first is the same memory for the first n rows.
func (k kept) first(n int) kept {
	for _, x := range []*compute.Tensor{
		&k.h, &k.q, &k.k, &k.v, &k.rawQ, &k.rawK, &k.s, &k.out, &k.lse, &k.middle, &k.h2, &k.gate, &k.up, &k.act, &k.sel.Blocks, &k.sel.Count,
	} {
		if !x.None() {
			*x = x.Rows(0, n)
		}
	}
	return k
}
