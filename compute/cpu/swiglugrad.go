package cpu

import (
	"math"

	"nosa/compute"
)

// swigluGrad is the task of SwiGLUGrad; a piece is a run of elements.
type swigluGrad struct {
	k                        *kernels
	dgate, dup, dy, gate, up []float32
	step                     int
}

// SwiGLUGrad: see compute.SwiGLUGrad.
func (d *Device) SwiGLUGrad(dgate, dup, dy, gate, up compute.Tensor) {
	t := &d.swigluGrad
	*t = swigluGrad{k: &d.kernels, dy: dy.F32()}
	n := len(t.dy)
	t.dgate, t.dup, t.gate, t.up = dgate.F32()[:n], dup.F32()[:n], gate.F32()[:n], up.F32()[:n]
	var pieces int
	t.step, pieces = d.share(n, 1)
	d.team.do(t, pieces)
	*t = swigluGrad{}
}

func (t *swigluGrad) run(_ *worker, piece int) {
	from, to := piece*t.step, min(len(t.dy), (piece+1)*t.step)
	t.k.swigluGrad(t.dgate[from:to], t.dup[from:to], t.dy[from:to], t.gate[from:to], t.up[from:to])
}

// swigluGradGo is the twin of the assembly.
func swigluGradGo(dgate, dup, dy, gate, up []float32) {
	for i, d := range dy {
		g := gate[i]
		e := float32(math.Inf(1))
		if -g <= 88.37626 || g != g {
			e = expGo(-g)
		}
		s := 1 / (1 + e)
		slope := float32(g*(1-s)) + 1
		dgate[i] = float32(float32(d*up[i])*s) * slope
		dup[i] = float32(d*g) * s
	}
}
