package compute

import "math"

// AttendDocumentsGrad sets the gradients of AttendDocuments from that of its result. With p
// the weight of a key in a query's softmax, exp(q·k/√dim + s − lse), and D = Σ dout·out,
// the gradient of a logit is g = p·(dout·v − D), and (spec nosa, section 5)
//
//	dq = Σ g·k/√dim     over the keys that the query attends to
//	dk = Σ g·q/√dim     over the rows that selected the key's block, ascending,
//	dv = Σ p·dout       and the query heads of its group
//	ds = Σ g
//
// Shapes are those of AttendDocuments; ds [rows, kvHeads] is absent where s is.
func AttendDocumentsGrad(dq, dk, dv, ds, dout, out, lse, q, k, v, s Tensor, sel Selection, d Documents) {
	heads, dim := q.Dims[1], q.Dims[2]
	scale := 1 / math.Sqrt(float64(dim))
	sumQ, sumK, sumV, sumS := make([]float64, dim), make([]float64, k.Len()), make([]float64, v.Len()), make([]float64, k.Dims[0]*k.Dims[1])
	d.eachQuery(q, k, s, sel, func(row, h, head int, keys []int, logits []float64) {
		query, do := rowOf(q, row, h), rowOf(dout, row, h)
		mean := dot(do, rowOf(out, row, h))
		clear(sumQ)
		for i, j := range keys {
			p := math.Exp(logits[i] - float64(lse.F32()[row*heads+h]))
			g := p * (dot(do, rowOf(v, j, head)) - mean)
			at := j*k.Dims[1] + head
			sumS[at] += g
			for c, x := range rowOf(k, j, head) {
				sumQ[c] += g * scale * float64(x)
				sumK[at*dim+c] += g * scale * float64(query[c])
				sumV[at*dim+c] += p * float64(do[c])
			}
		}
		narrow(rowOf(dq, row, h), sumQ)
	})
	narrow(dk.F32(), sumK)
	narrow(dv.F32(), sumV)
	if !ds.None() {
		narrow(ds.F32(), sumS)
	}
}

// narrow rounds to float32.
func narrow(dst []float32, src []float64) {
	for i, x := range src {
		dst[i] = float32(x)
	}
}
