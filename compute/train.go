package compute

import "nosa/dtype"

// Trainer is a Device that also runs the ops of training: what a step of a Decoder needs
// beside the ops of Device, and their gradients. Each is named as its definition in this
// package, which says what it computes.
//
// Activations and the weights that products read are of type Activations: F32 where the
// device computes in it, BF16 where it does not. Norms' weights, importance scores, losses,
// gradients of weights and the optimiser's state are F32 on every device. Gradients of
// activations are of the activations' type, and set; those of weights are added to, so that
// several steps add up. Every sum has a fixed order: the same step gives the same bits,
// whatever the number of threads.
type Trainer interface {
	Device
	Activations() dtype.Type

	// Zero clears a tensor; Copy converts where types differ (to the nearest, ties to even).
	Zero(x Tensor)
	Copy(dst, src Tensor)

	// LinearInputGrad sets dx [rows, k], or adds to it, LinearWeightGrad adds to dweight
	// [n, k] and to dbias [n], which may be absent.
	LinearInputGrad(dx, dy, weight Tensor, add bool)
	LinearWeightGrad(dweight, dbias, dy, x Tensor)
	EmbedGrad(dtable, dout Tensor, ids []int32)
	// RMSNormGrad sets dx, or adds to it, and adds to dweight.
	RMSNormGrad(dx, dweight, dy, x, weight Tensor, eps float32, add bool)
	// RotateGrad turns back in place. SwiGLUGrad's dgate may be gate, and its dup up.
	RotateGrad(dx, angles Tensor, rope *Rope)
	SwiGLUGrad(dgate, dup, dy, gate, up Tensor)
	// ImportanceGrad adds to dv, ddelta, dbias (where there is one) and da.
	ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a Tensor)
	// CrossEntropy sets loss [rows] and turns logits into the gradient of scale·Σ loss; a row
	// whose target is −1 has neither.
	CrossEntropy(loss, logits Tensor, targets []int32, scale float32)

	// ChooseBlocks, AttendDocuments, their gradient and ReceivedLoss are attention over whole
	// documents that lie one after the other in the rows.
	ChooseBlocks(sel Selection, q, k, s Tensor, d Documents, p SelectParams)
	AttendDocuments(out, lse, q, k, v, s Tensor, sel Selection, d Documents)
	AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s Tensor, sel Selection, d Documents)
	// ReceivedLoss adds to ds, and to loss.
	ReceivedLoss(loss, ds, lse, q, k, s Tensor, sel Selection, d Documents, p SelectParams, scale float32)

	// The optimiser.
	SquaredNorm(x Tensor) float64
	AdamW(weight, m, v, grad Tensor, step AdamWStep)
}

// Documents are where documents begin in the rows of a batch, in ascending order from 0, with
// the number of rows at the end; no token sees another document's. Positions, blocks and
// windows count from the document's begin.
type Documents struct {
	Begins                []int32
	Block, Kernel, Stride int // tokens
}
