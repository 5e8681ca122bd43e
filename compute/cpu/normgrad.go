package cpu

import (
	"math"

	"nosa/compute"
)

// sumRows are the rows whose sums are added up by one piece; the sums of pieces are then
// added in their order, so that the number of threads does not show.
const sumRows = 128

// partialSums makes room for the sums of width columns of each piece of so many rows.
func (d *Device) partialSums(rows, width int) (sums []float64, pieces int) {
	pieces = (rows + sumRows - 1) / sumRows
	sums = room(&d.sums, pieces*width)
	clear(sums)
	return sums, pieces
}

// addSums adds columns from to from+len(x)−1 of the pieces' sums, width each, to x.
func addSums(x []float32, sums []float64, from, width int) {
	for i := range x {
		sum := float64(x[i])
		for at := from + i; at < len(sums); at += width {
			sum += sums[at]
		}
		x[i] = float32(sum)
	}
}

// normGrad is the task of RMSNormGrad; a piece is sumRows rows.
type normGrad struct {
	k                 *kernels
	dx, dy, x, weight []float32
	eps               float32
	add               bool
	sums              []float64 // [pieces, width]
}

// RMSNormGrad: see compute.RMSNormGrad.
func (d *Device) RMSNormGrad(dx, dweight, dy, x, weight compute.Tensor, eps float32, add bool) {
	t := &d.normGrad
	*t = normGrad{k: &d.kernels, dy: dy.F32(), x: x.F32(), weight: weight.F32(), eps: eps, add: add}
	t.dx = dx.F32()[:len(t.x)]
	width := len(t.weight)
	var pieces int
	t.sums, pieces = d.partialSums(len(t.x)/width, width)
	d.team.do(t, pieces)
	addSums(dweight.F32()[:width], t.sums, 0, width)
	*t = normGrad{}
}

func (t *normGrad) run(_ *worker, piece int) {
	width := len(t.weight)
	sum := t.sums[piece*width:][:width]
	for at := piece * sumRows * width; at < min(len(t.x), (piece+1)*sumRows*width); at += width {
		dx, dy, x := t.dx[at:][:width], t.dy[at:][:width], t.x[at:][:width]
		squares, along := t.k.normDots(dy, x, t.weight)
		inv := 1 / math.Sqrt(squares/float64(width)+float64(t.eps))
		along *= inv * inv / float64(width)
		t.k.normSlopes(dx, sum, dy, x, t.weight, float32(inv), float32(along), t.add)
	}
}

// normDotsGo sums x² and dy·weight·x.
func normDotsGo(dy, x, weight []float32) (squares, along float64) {
	dy, weight = dy[:len(x)], weight[:len(x)]
	for i, v := range x {
		squares += float64(v) * float64(v)
		along += float64(dy[i]) * float64(weight[i]) * float64(v)
	}
	return squares, along
}

// normSlopesGo sets dx to inv·(dy·weight − x·along), or adds that to it, and adds dy·(x·inv)
// to sum.
func normSlopesGo(dx []float32, sum []float64, dy, x, weight []float32, inv, along float32, add bool) {
	dx, sum, dy, weight = dx[:len(x)], sum[:len(x)], dy[:len(x)], weight[:len(x)]
	for i, v := range x {
		g := dy[i]
		d := inv * float32(float32(g*weight[i])-float32(v*along))
		sum[i] += float64(float32(g * float32(v*inv)))
		if add {
			d += dx[i]
		}
		dx[i] = d
	}
}
