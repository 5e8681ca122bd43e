package compute

// ChooseBlocks: see the definition.
func (Reference) ChooseBlocks(sel Selection, q, k, s Tensor, d Documents, p SelectParams) {
	ChooseBlocks(sel, q, k, s, d, p)
}

// AttendDocuments: see the definition.
func (Reference) AttendDocuments(out, lse, q, k, v, s Tensor, sel Selection, d Documents) {
	AttendDocuments(out, lse, q, k, v, s, sel, d)
}

// AttendDocumentsGrad: see the definition.
func (Reference) AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s Tensor, sel Selection, d Documents) {
	AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s, sel, d)
}

// ReceivedLoss: see the definition.
func (Reference) ReceivedLoss(loss, ds, lse, q, k, s Tensor, sel Selection, d Documents, p SelectParams, scale float32) {
	ReceivedLoss(loss, ds, lse, q, k, s, sel, d, p, scale)
}
