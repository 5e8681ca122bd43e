package compute

import "math"

// AttendDocuments sets out to the causal attention of each row to the selected blocks of its
// own document, softmax(q·kᵀ/√dim + s)·v (spec nosa, section 2), and lse to the logarithm
// of the sum that the softmax divides by, which the gradient needs. Without a selection
// (Selection.None) every row sees every block; without s there is no bias.
//
//	out, q  [rows, heads, dim], q after rotation; heads is a multiple of the KV heads
//	k, v    [rows, kvHeads, dim], k after rotation
//	s       F32 [rows, kvHeads] or absent
//	lse     F32 [rows, heads]
func AttendDocuments(out, lse, q, k, v, s Tensor, sel Selection, d Documents) {
	heads, dim := q.Dims[1], q.Dims[2]
	acc := make([]float64, dim)
	d.eachQuery(q, k, s, sel, func(row, h, head int, keys []int, logits []float64) {
		top := math.Inf(-1)
		for _, x := range logits {
			top = max(top, x)
		}
		clear(acc)
		var sum float64
		for i, j := range keys {
			p := math.Exp(logits[i] - top)
			sum += p
			for c, x := range rowOf(v, j, head) {
				acc[c] += p * float64(x)
			}
		}
		lse.F32()[row*heads+h] = float32(top + math.Log(sum))
		o := rowOf(out, row, h)
		for c := range o {
			o[c] = float32(acc[c] / sum)
		}
	})
}

// eachQuery calls f for each row and query head h, with its KV head, the keys that it
// attends to and their logits.
func (d Documents) eachQuery(q, k, s Tensor, sel Selection, f func(row, h, head int, keys []int, logits []float64)) {
	heads, dim, kvHeads := q.Dims[1], q.Dims[2], k.Dims[1]
	group := heads / kvHeads
	var keys []int
	var logits []float64
	for i := range d.Count() {
		begin, end := d.Span(i)
		for row := begin; row < end; row++ {
			for h := range heads {
				head := h / group
				if h%group == 0 {
					keys = d.keys(keys[:0], sel, begin, row, head)
				}
				logits = logits[:0]
				for _, j := range keys {
					x := dot(rowOf(q, row, h), rowOf(k, j, head)) / math.Sqrt(float64(dim))
					if !s.None() {
						x += float64(s.F32()[j*kvHeads+head])
					}
					logits = append(logits, x)
				}
				f(row, h, head, keys, logits)
			}
		}
	}
}

// rowOf is a head's channels in a row of x [rows, heads, dim].
func rowOf(x Tensor, row, head int) []float32 {
	return x.F32()[(row*x.Dims[1]+head)*x.Dims[2]:][:x.Dims[2]]
}
