package cpu

import (
	"math"

	"nosa/compute"
)

// importanceGrad is the task of Importance and of its gradient; a piece is sumRows rows.
type importanceGrad struct {
	out, dv, ds, v, delta, bias, a []float32
	heads, width                   int
	sums                           []float64 // [pieces, heads, width + 2]: of delta, bias and A
}

// Importance: see compute.Importance, whose bits these are.
func (d *Device) Importance(out, v, delta, bias, a compute.Tensor) {
	d.ofImportance(importanceGrad{out: out.F32(), v: v.F32(), delta: delta.F32(), a: a.F32()}, bias)
	d.importanceGrad = importanceGrad{}
}

// ImportanceGrad: see compute.ImportanceGrad.
func (d *Device) ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a compute.Tensor) {
	t := d.ofImportance(importanceGrad{dv: dv.F32(), ds: ds.F32(), v: v.F32(), delta: delta.F32(), a: a.F32()}, bias)
	stride := t.heads * (t.width + 2)
	for h := range t.heads {
		at := h * (t.width + 2)
		addSums(ddelta.F32()[h*t.width:(h+1)*t.width], t.sums, at, stride)
		if !dbias.None() {
			addSums(dbias.F32()[h:h+1], t.sums, at+t.width, stride)
		}
		addSums(da.F32()[h:h+1], t.sums, at+t.width+1, stride)
	}
	*t = importanceGrad{}
}

// ofImportance runs the task.
func (d *Device) ofImportance(p importanceGrad, bias compute.Tensor) *importanceGrad {
	t := &d.importanceGrad
	*t = p
	t.heads = len(t.a)
	t.width = len(t.delta) / t.heads
	if !bias.None() {
		t.bias = bias.F32()
	}
	rows := len(t.v) / t.width
	pieces := (rows + sumRows - 1) / sumRows
	if t.dv != nil {
		t.sums, pieces = d.partialSums(rows, t.heads*(t.width+2))
	}
	d.team.do(t, pieces)
	return t
}

func (t *importanceGrad) run(w *worker, piece int) {
	from, to := piece*sumRows, min(len(t.v)/t.width, (piece+1)*sumRows)
	if t.dv == nil {
		compute.Importance(t.out[from*t.heads:to*t.heads], t.v[from*t.width:to*t.width], t.delta, t.bias, t.a)
		return
	}
	row := room(&w.row, t.width)
	for r := from; r < to; r++ {
		clear(row)
		v := t.v[r*t.width : (r+1)*t.width]
		for h := range t.heads {
			stride := t.width + 2
			t.head(row, v, h, float64(t.ds[r*t.heads+h]), t.sums[(piece*t.heads+h)*stride:][:stride])
		}
		for i, g := range row {
			t.dv[r*t.width+i] = float32(float64(t.dv[r*t.width+i]) + g)
		}
	}
}

// head adds one head's part of a row to the gradient of the row's values and to the sums.
func (t *importanceGrad) head(row []float64, v []float32, h int, ds float64, sums []float64) {
	delta := t.delta[h*t.width : (h+1)*t.width]
	var z float64
	for i, y := range delta {
		z += float64(y) * float64(v[i])
	}
	if t.bias != nil {
		z += float64(t.bias[h])
	}
	g := ds * float64(t.a[h]) / (1 + math.Exp(-z))
	for i, y := range delta {
		row[i] += g * float64(y)
		sums[i] += g * float64(v[i])
	}
	sums[t.width] += g
	sums[t.width+1] += ds * (max(z, 0) + math.Log1p(math.Exp(-math.Abs(z)))) // softplus
}
