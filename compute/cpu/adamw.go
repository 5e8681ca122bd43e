package cpu

import "nosa/compute"

// optimiser is the task of AdamW; a piece is a run of elements.
type optimiser struct {
	weight, m, v, grad []float32
	step               compute.AdamWStep
	n                  int // elements of a piece
}

// AdamW: see compute.AdamW, whose bits these are.
func (d *Device) AdamW(weight, m, v, grad compute.Tensor, step compute.AdamWStep) {
	t := &d.optimiser
	*t = optimiser{grad: grad.F32(), step: step}
	all := len(t.grad)
	t.weight, t.m, t.v = weight.F32()[:all], m.F32()[:all], v.F32()[:all]
	var pieces int
	t.n, pieces = d.share(all, 1)
	d.team.do(t, pieces)
	*t = optimiser{}
}

func (t *optimiser) run(_ *worker, piece int) {
	from, to := piece*t.n, min(len(t.grad), (piece+1)*t.n)
	compute.AdamW(t.weight[from:to], t.m[from:to], t.v[from:to], t.grad[from:to], t.step)
}

// normElems are the elements whose squares are one sum; the sums are added in their order.
const normElems = 32 << 10

// squaredNorm is the task of SquaredNorm.
type squaredNorm struct {
	x    []float32
	sums []float64
}

// SquaredNorm: see compute.SquaredNorm.
func (d *Device) SquaredNorm(x compute.Tensor) float64 {
	t := &d.norms
	t.x = x.F32()
	t.sums = room(&d.sums, (len(t.x)+normElems-1)/normElems)
	d.team.do(t, len(t.sums))
	var sum float64
	for _, s := range t.sums {
		sum += s
	}
	*t = squaredNorm{}
	return sum
}

func (t *squaredNorm) run(_ *worker, piece int) {
	t.sums[piece] = compute.SquaredNorm(t.x[piece*normElems : min(len(t.x), (piece+1)*normElems)])
}
