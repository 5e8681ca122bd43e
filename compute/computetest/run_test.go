package computetest

import (
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestReference: the definitions agree with themselves, and keep what the
// contract promises to the bit.
func TestReference(t *testing.T) { Run(t, compute.Reference{}, Tolerance{}) }

// TestReferenceGradients: so do those of training, and in halves they keep within what the
// suite allows a device that rounds its activations.
func TestReferenceGradients(t *testing.T) {
	RunGradients(t, compute.Reference{}, Tolerance{})
	t.Run("BF16", func(t *testing.T) { RunGradients(t, halved{}, Float32) })
}

// halved is the definitions with activations of bfloat16: computed in float32, and rounded.
type halved struct{ compute.Reference }

func (halved) Activations() dtype.Type { return dtype.BF16 }

// through runs an op on copies in float32, and rounds them back to where they came from.
func (h halved) through(op func(x []compute.Tensor), of ...compute.Tensor) {
	wide := make([]compute.Tensor, len(of))
	for i, x := range of {
		wide[i] = compute.F32s(make([]float32, x.Len()), x.Dims[:x.Rank]...)
		h.Copy(wide[i], x)
	}
	op(wide)
	for i, x := range of {
		h.Copy(x, wide[i])
	}
}

func (h halved) LinearInputGrad(dx, dy, weight compute.Tensor, add bool) {
	h.through(func(x []compute.Tensor) { h.Reference.LinearInputGrad(x[0], x[1], x[2], add) }, dx, dy, weight)
}

func (h halved) LinearWeightGrad(dweight, dbias, dy, in compute.Tensor) {
	h.through(func(x []compute.Tensor) { h.Reference.LinearWeightGrad(dweight, dbias, x[0], x[1]) }, dy, in)
}

func (h halved) EmbedGrad(dtable, dout compute.Tensor, ids []int32) {
	h.through(func(x []compute.Tensor) { h.Reference.EmbedGrad(dtable, x[0], ids) }, dout)
}

func (h halved) RMSNormGrad(dx, dweight, dy, in, weight compute.Tensor, eps float32, add bool) {
	h.through(func(x []compute.Tensor) { h.Reference.RMSNormGrad(x[0], dweight, x[1], x[2], weight, eps, add) }, dx, dy, in)
}

func (h halved) RotateGrad(dx, angles compute.Tensor, rope *compute.Rope) {
	h.through(func(x []compute.Tensor) { h.Reference.RotateGrad(x[0], angles, rope) }, dx)
}

// SwiGLUGrad's results may be its inputs: they are copied first, and last rounded.
func (h halved) SwiGLUGrad(dgate, dup, dy, gate, up compute.Tensor) {
	h.through(func(in []compute.Tensor) {
		h.through(func(out []compute.Tensor) { h.Reference.SwiGLUGrad(out[0], out[1], in[0], in[1], in[2]) }, dgate, dup)
		h.Copy(in[1], gate)
		h.Copy(in[2], up)
	}, dy, gate, up)
}

func (h halved) ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a compute.Tensor) {
	h.through(func(x []compute.Tensor) {
		h.Reference.ImportanceGrad(x[0], ddelta, dbias, da, ds, x[1], delta, bias, a)
	}, dv, v)
}

func (h halved) CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32) {
	h.through(func(x []compute.Tensor) { h.Reference.CrossEntropy(loss, x[0], targets, scale) }, logits)
}
