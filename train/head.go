package train

// lossAndHead sets the loss of every row, some rows at a time, so that there are never more
// logits than these rows'. To learn, their gradient goes back through the output table and the
// last norm at once, and is left as that of the residual stream.
func (d *Decoder) lossAndHead(r Rows, learn bool) {
	dev, m, n := d.dev, &d.mem, len(r.IDs)
	x := d.last(n, learn)
	for from := 0; from < n; from += d.headRows {
		to := min(from+d.headRows, n)
		h, logits := m.normed.Rows(0, to-from), m.logits.Rows(0, to-from)
		dev.RMSNorm(h, x.Rows(from, to), d.norm.working(), d.cfg.Eps)
		if d.cfg.LogitScale != 1 {
			dev.Scale(h, d.cfg.LogitScale)
		}
		out := projection{weight: d.head}
		d.linear(logits, h, out)
		dev.CrossEntropy(m.loss.Rows(from, to), logits, r.Targets[from:to], 1)
		if !learn {
			continue
		}
		dh := m.dh.Rows(from, to)
		d.linearGrad(dh, logits, h, out, false)
		if d.cfg.LogitScale != 1 {
			dev.Scale(dh, d.cfg.LogitScale)
		}
		dev.RMSNormGrad(m.dx.Rows(from, to), d.norm.gradient(), dh, x.Rows(from, to), d.norm.working(), d.cfg.Eps, false)
	}
}
