package train

import "nosa/compute"

// forward embeds the rows and takes them through the layers. What learn needs stays in the
// memory of each layer; else the layers have one memory, and two inputs, in turn.
func (d *Decoder) forward(r Rows, docs compute.Documents, learn bool) {
	n := len(r.IDs)
	angles := d.mem.angles.Rows(0, n)
	d.dev.Angles(angles, d.pos[:n], d.rope)
	x := d.input(0, learn).Rows(0, n)
	d.dev.Embed(x, d.embed.working(), r.IDs)
	if d.cfg.EmbedScale != 1 {
		d.dev.Scale(x, d.cfg.EmbedScale)
	}
	for i := range d.layers {
		m := &d.mem.layers[i]
		if !learn {
			m = &d.mem.layers[0]
		}
		next := d.input(i+1, learn).Rows(0, n)
		d.layerForward(&d.layers[i], m.first(n), x, angles, docs)
		d.layerEnd(&d.layers[i], m.first(n), next)
		x = next
	}
}

// input is the memory of a layer's input.
func (d *Decoder) input(layer int, learn bool) compute.Tensor {
	if !learn {
		layer %= 2
	}
	return d.mem.inputs[layer]
}

// last is where forward has left the hidden state.
func (d *Decoder) last(n int, learn bool) compute.Tensor {
	return d.input(len(d.layers), learn).Rows(0, n)
}

// layerForward fills a layer's memory from its input x [rows, hidden].
func (d *Decoder) layerForward(y *layerParameters, m kept, x, angles compute.Tensor, docs compute.Documents) {
	dev, c := d.dev, d.cfg
	dev.RMSNorm(m.h, x, y.attnNorm.working(), c.Eps)
	d.project(m, y, angles)
	if d.scored() {
		dev.Importance(m.s, m.v, y.delta.weight.working(), y.delta.bias.working(), y.a.working())
	}
	if d.sparse() {
		dev.ChooseBlocks(m.sel, m.q, m.k, d.bias(m), docs, d.choice)
	}
	dev.AttendDocuments(m.out, m.lse, m.q, m.k, m.v, d.bias(m), m.sel, docs)
	branch := d.mem.dh.Rows(0, x.Dims[0])
	d.linear(branch, m.out, y.o)
	dev.Copy(m.middle, x)
	dev.AddScaled(m.middle, branch, c.ResidualScale)

	dev.RMSNorm(m.h2, m.middle, y.mlpNorm.working(), c.Eps)
	d.linear(m.gate, m.h2, y.gate)
	d.linear(m.up, m.h2, y.up)
	dev.SwiGLU(m.act, m.gate, m.up)
}

// layerEnd sets next to the layer's result, which nothing in its own backward pass needs.
func (d *Decoder) layerEnd(y *layerParameters, m kept, next compute.Tensor) {
	branch := d.mem.dh.Rows(0, next.Dims[0])
	d.linear(branch, m.act, y.down)
	d.dev.Copy(next, m.middle)
	d.dev.AddScaled(next, branch, d.cfg.ResidualScale)
}

// project sets q, k and v, q and k normed where heads have norms, and turned.
func (d *Decoder) project(m kept, y *layerParameters, angles compute.Tensor) {
	q, k := m.q, m.k
	if d.cfg.QKNorm {
		q, k = m.rawQ, m.rawK
	}
	d.linear(q, m.h, y.q)
	d.linear(k, m.h, y.k)
	d.linear(m.v, m.h, y.v)
	if d.cfg.QKNorm {
		d.dev.RMSNorm(m.q, q, y.qNorm.working(), d.cfg.Eps)
		d.dev.RMSNorm(m.k, k, y.kNorm.working(), d.cfg.Eps)
	}
	d.dev.Rotate(m.q, angles, d.rope)
	d.dev.Rotate(m.k, angles, d.rope)
}

func (d *Decoder) linear(out, x compute.Tensor, p projection) {
	d.dev.Linear(matrix(out), matrix(x), p.weight.working(), p.bias.working())
}

// matrix is a tensor of rows without its axis of heads.
func matrix(x compute.Tensor) compute.Tensor { return x.Reshape(x.Dims[0], x.Stride()) }

// bias is the importance score where attention has it.
func (d *Decoder) bias(m kept) compute.Tensor {
	if !d.scored() {
		return compute.Tensor{}
	}
	return m.s
}
