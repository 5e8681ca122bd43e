package cpu

import "nosa/compute"

// LinearInputGrad: see compute.LinearInputGrad.
func (d *Device) LinearInputGrad(dx, dy, weight compute.Tensor, add bool) {
	n, k := weight.Dims[0], weight.Stride()
	rows := dy.Len() / n
	d.multiply(matrixProduct{c: dx.F32()[:rows*k], a: dy.F32(), b: weight.F32(), m: rows, n: k, depth: n, add: add})
}

// LinearWeightGrad: see compute.LinearWeightGrad.
func (d *Device) LinearWeightGrad(dweight, dbias, dy, x compute.Tensor) {
	n, k := dweight.Dims[0], dweight.Stride()
	rows := dy.Len() / n
	d.multiply(matrixProduct{c: dweight.F32(), a: dy.F32(), b: x.F32()[:rows*k], m: n, n: k, depth: rows, byDepth: true, add: true})
	if !dbias.None() {
		s := &d.columns
		*s = columnSums{sum: dbias.F32()[:n], x: dy.F32()}
		d.team.do(s, (n+sumColumns-1)/sumColumns)
		*s = columnSums{}
	}
}

// sumColumns are the columns of a piece of columnSums.
const sumColumns = 64

// columnSums is the task that adds the rows of x [rows, len(sum)] to sum; a piece is a run of
// columns.
type columnSums struct{ sum, x []float32 }

func (s *columnSums) run(_ *worker, piece int) {
	from, width := piece*sumColumns, len(s.sum)
	to := min(width, from+sumColumns)
	var sum [sumColumns]float64
	for at := 0; at < len(s.x); at += width {
		for i, v := range s.x[at+from : at+to] {
			sum[i] += float64(v)
		}
	}
	for i := range to - from {
		s.sum[from+i] = float32(float64(s.sum[from+i]) + sum[i])
	}
}
