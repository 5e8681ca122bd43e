package train

import (
	"errors"

	"nosa/compute"
)

// timed is a device that marks, when asked to, where one kind of work ends and another begins.
// What the device waits for the host goes to the part that comes to its end.
type timed struct {
	compute.Trainer
	vocab int
	pairs float64 // that queries of a pass see

	clock clock // nil: nothing is timed
	part  int
	parts []int // at each mark, what begins there
	flop  [partCount]float64
	err   error
}

// The parts of a step.
const (
	rest = iota
	forward
	inputs
	weights
	attend
	attendGrad
	choose
	score
	norms
	points
	head
	optimiser
	partCount
)

var partNames = [partCount]string{
	"embedding and the rest", "products forward", "products, inputs' gradients", "products, weights' gradients", "attention forward", "attention's gradients",
	"choice of blocks", "importance", "norms", "SwiGLU, rotation, residuals", "head and loss", "optimiser",
}

// to marks the beginning of a part, if it is another one.
func (d *timed) to(part int) {
	if d.clock != nil && part != d.part {
		d.mark(part)
	}
}

func (d *timed) mark(part int) {
	d.err = errors.Join(d.err, d.clock.mark())
	d.part = part
	d.parts = append(d.parts, part)
}

// begin begins to time parts.
func (d *timed) begin(c clock) error {
	if err := d.Sync(); err != nil {
		return err
	}
	d.clock, d.parts, d.flop, d.err = c, nil, [partCount]float64{}, nil
	d.mark(rest)
	return nil
}

// end is what the parts took; err is passed on.
func (d *timed) end(err error) ([]Part, error) {
	d.mark(rest)
	ms, e := d.clock.between()
	d.clock = nil
	if err = errors.Join(err, d.err, e); err != nil {
		return nil, err
	}
	var sums [partCount]float64
	for i, v := range ms {
		sums[d.parts[i]] += v
	}
	var parts []Part
	for i, v := range sums {
		if v > 0 {
			parts = append(parts, Part{partNames[i], v, d.flop[i]})
		}
	}
	return parts, nil
}

// product counts one of rows [rows, n] with a matrix [n, k], which is the head's where it has a row a token.
func (d *timed) product(part int, y, matrix compute.Tensor) {
	n, k := matrix.Dims[0], matrix.Dims[1]
	if n == d.vocab {
		part = head
	}
	d.to(part)
	d.flop[part] += 2 * float64(y.Dims[0]) * float64(n) * float64(k)
}

func (d *timed) Linear(out, x, weight, bias compute.Tensor) {
	d.product(forward, out, weight)
	d.Trainer.Linear(out, x, weight, bias)
}

func (d *timed) LinearInputGrad(dx, dy, weight compute.Tensor, add bool) {
	d.product(inputs, dy, weight)
	d.Trainer.LinearInputGrad(dx, dy, weight, add)
}

func (d *timed) LinearWeightGrad(dweight, dbias, dy, x compute.Tensor) {
	d.product(weights, dy, dweight)
	d.Trainer.LinearWeightGrad(dweight, dbias, dy, x)
}

func (d *timed) CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32) {
	d.to(head)
	d.Trainer.CrossEntropy(loss, logits, targets, scale)
}

// AttendDocuments: two products for each pair.
func (d *timed) AttendDocuments(out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	d.to(attend)
	d.flop[attend] += 4 * float64(q.Stride()) * d.pairs
	d.Trainer.AttendDocuments(out, lse, q, k, v, s, sel, docs)
}

// AttendDocumentsGrad: five, as weights of attention are not kept.
func (d *timed) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s compute.Tensor, sel compute.Selection, docs compute.Documents) {
	d.to(attendGrad)
	d.flop[attendGrad] += 10 * float64(q.Stride()) * d.pairs
	d.Trainer.AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, docs)
}

func (d *timed) ChooseBlocks(sel compute.Selection, q, k, s compute.Tensor, docs compute.Documents, p compute.SelectParams) {
	d.to(choose)
	d.Trainer.ChooseBlocks(sel, q, k, s, docs, p)
}

func (d *timed) Importance(out, v, delta, bias, a compute.Tensor) {
	d.to(score)
	d.Trainer.Importance(out, v, delta, bias, a)
}

func (d *timed) ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a compute.Tensor) {
	d.to(score)
	d.Trainer.ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a)
}

func (d *timed) RMSNorm(out, x, weight compute.Tensor, eps float32) {
	d.to(norms)
	d.Trainer.RMSNorm(out, x, weight, eps)
}

func (d *timed) RMSNormGrad(dx, dweight, dy, x, weight compute.Tensor, eps float32, add bool) {
	d.to(norms)
	d.Trainer.RMSNormGrad(dx, dweight, dy, x, weight, eps, add)
}

func (d *timed) Rotate(x, angles compute.Tensor, rope *compute.Rope) {
	d.to(points)
	d.Trainer.Rotate(x, angles, rope)
}

func (d *timed) RotateGrad(dx, angles compute.Tensor, rope *compute.Rope) {
	d.to(points)
	d.Trainer.RotateGrad(dx, angles, rope)
}

func (d *timed) SwiGLU(out, gate, up compute.Tensor) {
	d.to(points)
	d.Trainer.SwiGLU(out, gate, up)
}

func (d *timed) SwiGLUGrad(dgate, dup, dy, gate, up compute.Tensor) {
	d.to(points)
	d.Trainer.SwiGLUGrad(dgate, dup, dy, gate, up)
}

func (d *timed) AddScaled(x, y compute.Tensor, scale float32) {
	d.to(points)
	d.Trainer.AddScaled(x, y, scale)
}

func (d *timed) Scale(x compute.Tensor, scale float32) {
	d.to(points)
	d.Trainer.Scale(x, scale)
}

// Copy between types is that of masters to what products read.
func (d *timed) Copy(dst, src compute.Tensor) {
	if dst.Type == src.Type {
		d.to(points)
	} else {
		d.to(optimiser)
	}
	d.Trainer.Copy(dst, src)
}

func (d *timed) Embed(out, table compute.Tensor, ids []int32) {
	d.to(rest)
	d.Trainer.Embed(out, table, ids)
}

func (d *timed) EmbedGrad(dtable, dout compute.Tensor, ids []int32) {
	d.to(rest)
	d.Trainer.EmbedGrad(dtable, dout, ids)
}

func (d *timed) Angles(out compute.Tensor, pos []int32, rope *compute.Rope) {
	d.to(rest)
	d.Trainer.Angles(out, pos, rope)
}

func (d *timed) Zero(x compute.Tensor) {
	d.to(optimiser)
	d.Trainer.Zero(x)
}

func (d *timed) SquaredNorm(x compute.Tensor) float64 {
	d.to(optimiser)
	return d.Trainer.SquaredNorm(x)
}

func (d *timed) AdamW(weight, m, v, grad compute.Tensor, step compute.AdamWStep) {
	d.to(optimiser)
	d.Trainer.AdamW(weight, m, v, grad, step)
}
