package train

import "nosa/compute"

// backward takes the gradient of the residual stream, dx, from the last layer to the embedding.
func (d *Decoder) backward(r Rows, docs compute.Documents) {
	n := len(r.IDs)
	angles := d.mem.angles.Rows(0, n)
	for i := len(d.layers) - 1; i >= 0; i-- {
		y, m, x := &d.layers[i], d.mem.layers[i].first(n), d.mem.inputs[i].Rows(0, n)
		switch {
		case d.recompute == recomputeLayer && i < len(d.layers)-1: // the last one's memory is still its own
			d.layerForward(y, m, x, angles, docs)
		case d.recompute == recomputeCheap:
			d.dev.RMSNorm(m.h, x, y.attnNorm.working(), d.cfg.Eps)
			d.dev.RMSNorm(m.h2, m.middle, y.mlpNorm.working(), d.cfg.Eps)
			d.dev.SwiGLU(m.act, m.gate, m.up)
		}
		d.mlpBackward(y, m)
		d.attentionBackward(y, m, x, angles, docs)
	}
	if grad := d.embed.gradient(); !grad.None() {
		dx := d.mem.dx.Rows(0, n)
		if d.cfg.EmbedScale != 1 {
			d.dev.Scale(dx, d.cfg.EmbedScale)
		}
		d.dev.EmbedGrad(grad, dx, r.IDs)
	}
}

// branchGrad is the gradient of what a branch gives: that of the residual stream, scaled.
func (d *Decoder) branchGrad(n int) compute.Tensor {
	dy := d.mem.dy.Rows(0, n)
	if d.cfg.ResidualScale != 1 {
		d.dev.Copy(dy, d.mem.dx.Rows(0, n))
		d.dev.Scale(dy, d.cfg.ResidualScale)
	}
	return dy
}

// mlpBackward adds the MLP's gradient to that of the residual stream. It writes over gate and up.
func (d *Decoder) mlpBackward(y *layerParameters, m kept) {
	n := m.h2.Dims[0]
	dx, dh, dact := d.mem.dx.Rows(0, n), d.mem.dh.Rows(0, n), d.mem.dact.Rows(0, n)
	d.linearGrad(dact, d.branchGrad(n), m.act, y.down, false)
	dgate, dup := m.gate, m.up
	d.dev.SwiGLUGrad(dgate, dup, dact, m.gate, m.up)
	d.linearGrad(dh, dgate, m.h2, y.gate, false)
	d.linearGrad(dh, dup, m.h2, y.up, true)
	d.dev.RMSNormGrad(dx, y.mlpNorm.gradient(), dh, m.middle, y.mlpNorm.working(), d.cfg.Eps, true)
}

// attentionBackward adds attention's gradient to that of the residual stream.
func (d *Decoder) attentionBackward(y *layerParameters, m kept, x, angles compute.Tensor, docs compute.Documents) {
	dev, c, n := d.dev, d.cfg, x.Dims[0]
	dx, dh := d.mem.dx.Rows(0, n), d.mem.dh.Rows(0, n)
	dq, dk, dv, dout := d.mem.dq.Rows(0, n), d.mem.dk.Rows(0, n), d.mem.dv.Rows(0, n), d.mem.dout.Rows(0, n)
	d.linearGrad(dout, d.branchGrad(n), m.out, y.o, false)
	var ds compute.Tensor
	if d.scored() {
		ds = d.mem.ds.Rows(0, n)
	}
	dev.AttendDocumentsGrad(dq, dk, dv, ds, dout, m.out, m.lse, m.q, m.k, m.v, d.bias(m), m.sel, docs)
	if d.scored() {
		d.teach(m, ds, docs)
		dev.ImportanceGrad(dv, y.delta.weight.gradient(), y.delta.bias.gradient(), y.a.gradient(), ds, m.v,
			y.delta.weight.working(), y.delta.bias.working(), y.a.working())
	}
	dev.RotateGrad(dq, angles, d.rope)
	dev.RotateGrad(dk, angles, d.rope)
	if c.QKNorm {
		dev.RMSNormGrad(dq, y.qNorm.gradient(), dq, m.rawQ, y.qNorm.working(), c.Eps, false)
		dev.RMSNormGrad(dk, y.kNorm.gradient(), dk, m.rawK, y.kNorm.working(), c.Eps, false)
	}
	d.linearGrad(dh, dq, m.h, y.q, false)
	d.linearGrad(dh, dk, m.h, y.k, true)
	d.linearGrad(dh, dv, m.h, y.v, true)
	dev.RMSNormGrad(dx, y.attnNorm.gradient(), dh, x, y.attnNorm.working(), c.Eps, true)
}

// linearGrad is the gradient of a product: dx is set, or added to; that of the weights is added
// to, where they are trained.
func (d *Decoder) linearGrad(dx, dy, x compute.Tensor, p projection, add bool) {
	if grad := p.weight.gradient(); !grad.None() {
		d.dev.LinearWeightGrad(grad, p.bias.gradient(), matrix(dy), matrix(x))
	}
	d.dev.LinearInputGrad(matrix(dx), matrix(dy), p.weight.working(), add)
}
