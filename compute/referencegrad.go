package compute

import "nosa/dtype"

// Activations are float32.
func (Reference) Activations() dtype.Type { return dtype.F32 }

// Zero clears a tensor.
func (Reference) Zero(x Tensor) { clear(x.Data) }

// Copy: see the definition.
func (Reference) Copy(dst, src Tensor) { Copy(dst, src) }

// LinearInputGrad: see the definition.
func (Reference) LinearInputGrad(dx, dy, weight Tensor, add bool) {
	LinearInputGrad(dx.F32(), dy.F32(), weight, add)
}

// LinearWeightGrad: see the definition.
func (Reference) LinearWeightGrad(dweight, dbias, dy, x Tensor) {
	LinearWeightGrad(dweight, optional(dbias), dy.F32(), x.F32())
}

// EmbedGrad: see the definition.
func (Reference) EmbedGrad(dtable, dout Tensor, ids []int32) { EmbedGrad(dtable, dout.F32(), ids) }

// RMSNormGrad: see the definition.
func (Reference) RMSNormGrad(dx, dweight, dy, x, weight Tensor, eps float32, add bool) {
	RMSNormGrad(dx.F32(), dweight.F32(), dy.F32(), x.F32(), weight.F32(), eps, add)
}

// RotateGrad: see the definition.
func (Reference) RotateGrad(dx, angles Tensor, rope *Rope) {
	RotateGrad(dx.F32(), angles.F32(), dx.Dims[1], dx.Dims[2], rope)
}

// SwiGLUGrad: see the definition.
func (Reference) SwiGLUGrad(dgate, dup, dy, gate, up Tensor) {
	SwiGLUGrad(dgate.F32(), dup.F32(), dy.F32(), gate.F32(), up.F32())
}

// ImportanceGrad: see the definition.
func (Reference) ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a Tensor) {
	ImportanceGrad(dv.F32(), ddelta.F32(), optional(dbias), da.F32(), ds.F32(), v.F32(), delta.F32(), optional(bias), a.F32())
}

// CrossEntropy: see the definition.
func (Reference) CrossEntropy(loss, logits Tensor, targets []int32, scale float32) {
	CrossEntropy(loss.F32(), logits.F32(), targets, scale)
}

// SquaredNorm: see the definition.
func (Reference) SquaredNorm(x Tensor) float64 { return SquaredNorm(x.F32()) }

// AdamW: see the definition.
func (Reference) AdamW(weight, m, v, grad Tensor, step AdamWStep) {
	AdamW(weight.F32(), m.F32(), v.F32(), grad.F32(), step)
}
