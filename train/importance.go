package train

import "nosa/compute"

// lesson is what scores were taught since it was last asked for: see compute.ReceivedLoss.
type lesson struct {
	scale        float32   // of the pass
	each         []float32 // [rows, kvHeads, 2]: losses and weights of the pass
	loss, weight float64   // sums over rows, layers and query heads
	count        int       // rows, layers and query heads
}

// teaches reports whether scores are taught in this stage.
func (d *Decoder) teaches() bool { return d.importance > 0 && d.scored() }

// beginLesson says how much a row's loss counts in a pass. Gradients are of the sum of the targets' losses, and are divided by
// the targets of the step at its end. Of the loss that teaches scores every row has one, whether it has a target or
// not; so that it does not grow where few have (documents with needles that have targets for their answers alone), a
// row counts as the pass's targets by row. A step then follows the mean loss of its targets and importance times
// the mean over its rows, for each layer and KV head, of what a query head of the group loses.
func (d *Decoder) beginLesson(r Rows) {
	if !d.teaches() {
		return
	}
	targets := 0
	for _, id := range r.Targets {
		if id >= 0 {
			targets++
		}
	}
	group := d.cfg.Heads / d.cfg.KVHeads
	d.received.scale = float32(d.importance * float64(targets) / float64(len(r.IDs)*group))
	d.dev.Zero(d.mem.received)
}

// teach adds a layer's part to the gradient of its scores.
func (d *Decoder) teach(m kept, ds compute.Tensor, docs compute.Documents) {
	if d.teaches() {
		d.dev.ReceivedLoss(d.mem.received.Rows(0, docs.Rows()), ds, m.lse, m.q, m.k, m.s, m.sel, docs, d.choice, d.received.scale)
	}
}

// endLesson has the pass's losses brought to the host, countLesson counts them once they are there.
func (d *Decoder) endLesson(rows int) {
	if !d.teaches() {
		return
	}
	n := 2 * rows * d.cfg.KVHeads
	if cap(d.received.each) < n {
		d.received.each = make([]float32, n)
	}
	d.received.each = d.received.each[:n]
	d.dev.Download(compute.F32s(d.received.each, n).Data, d.mem.received.Rows(0, rows))
}

func (d *Decoder) countLesson(rows int) {
	if !d.teaches() {
		return
	}
	for i := 0; i < len(d.received.each); i += 2 {
		d.received.loss += float64(d.received.each[i])
		d.received.weight += float64(d.received.each[i+1])
	}
	d.received.count += rows * d.cfg.Layers * d.cfg.Heads
}

// lessons is what the replicas' scores were taught in a step's passes, for the log; nil where they were not: what they
// lose by weight, and the mean weight that a query head gives to far tokens.
func (r *Run) lessons() (loss, far *float64) {
	var sum lesson
	for _, one := range r.replicas {
		x := &one.decoder.received
		sum.loss, sum.weight, sum.count = sum.loss+x.loss, sum.weight+x.weight, sum.count+x.count
		x.loss, x.weight, x.count = 0, 0, 0
	}
	if sum.count == 0 {
		return nil, nil
	}
	mean, share := 0.0, sum.weight/float64(sum.count)
	if sum.weight > 0 {
		mean = sum.loss / sum.weight
	}
	return &mean, &share
}
