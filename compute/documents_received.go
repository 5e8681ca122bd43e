package compute

import "math"

// ReceivedLoss teaches importance scores what they are for: which tokens later rows look at,
// from so far that only a selection can bring them. The paper of NOSA has no such loss; there s
// learns through its bias alone (spec nosa, section 5), and hears nothing where a query has
// found its token by q·k, or has not selected its block. It is a distillation of attention into
// the scores that select, as the indexer of DeepSeek-V3.2 (arXiv 2512.02556, section 2) and the
// gates of SeerAttention (arXiv 2410.13276, section 3) have it; those know the query, s does not.
//
// far(i), of a row i in block b of its document, are the tokens of blocks p.Init to below b −
// p.Local. With a_ij what the query heads of a group together give token j of it in
// AttendDocuments, exp(q·k/√dim + s − lse), which is 0 in blocks that i did not select,
//
//	loss of i = Σ over j of far(i) of a_ij · −log( e^s_j / Σ over far(i) of e^s )
//
// a is taken as it is: no gradient goes into q, k, lse or, through a, s. ReceivedLoss adds scale
// times the gradient of the sum over rows to ds, and two sums over each document's rows, not
// scaled, to loss at its first row: what they lose, and all of their a.
//
// With m_j = Σ a_ij over the rows, W_B that of all a_ij of block B's rows and Z_B what their
// e^s are divided by, which is the same for all of them, the gradient at s_j is
//
//	Σ over blocks B that token j is far from of W_B · e^s_j / Z_B  −  m_j
//
// Shapes are those of AttendDocuments; ds is F32 [rows, kvHeads], loss F32 [rows, kvHeads, 2].
func ReceivedLoss(loss, ds, lse, q, k, s Tensor, sel Selection, d Documents, p SelectParams, scale float32) {
	heads, kvHeads := q.Dims[1], k.Dims[1]
	grads, losses := make([]float64, ds.Len()), make([]float64, loss.Len())
	doc := 0
	d.eachQuery(q, k, s, sel, func(row, h, head int, keys []int, logits []float64) {
		for row >= int(d.Begins[doc+1]) {
			doc++
		}
		begin, _ := d.Span(doc)
		from, to := d.far(begin, row, p)
		if from >= to {
			return
		}
		score := func(j int) float64 { return float64(s.F32()[j*kvHeads+head]) }
		top := math.Inf(-1)
		for j := from; j < to; j++ {
			top = max(top, score(j))
		}
		var sum float64
		for j := from; j < to; j++ {
			sum += math.Exp(score(j) - top)
		}
		all := top + math.Log(sum)
		var weight float64
		for i, j := range keys {
			if j < from || j >= to {
				continue
			}
			a := math.Exp(logits[i] - float64(lse.F32()[row*heads+h]))
			weight += a
			grads[j*kvHeads+head] -= a
			losses[2*(begin*kvHeads+head)] += a * (all - score(j))
		}
		losses[2*(begin*kvHeads+head)+1] += weight
		for j := from; j < to; j++ {
			grads[j*kvHeads+head] += weight * math.Exp(score(j)-all)
		}
	})
	for i, g := range grads {
		ds.F32()[i] += float32(float64(scale) * g)
	}
	for i, v := range losses {
		loss.F32()[i] += float32(v)
	}
}

// far are the rows of a document that only a selection can bring to a row of it.
func (d Documents) far(begin, row int, p SelectParams) (from, to int) {
	own := (row - begin) / d.Block
	return begin + p.Init*d.Block, begin + (own-p.Local)*d.Block
}
