package cpu

import (
	"math"

	"nosa/compute"
)

// pointwiseKernels are the ops of the same names, on a run of elements or on one
// row.
type pointwiseKernels struct {
	swiglu    func(out, gate, up []float32)
	addScaled func(x, y []float32, scale float32)
	rmsNorm   func(out, x, weight []float32, eps float32)

	swigluGrad func(dgate, dup, dy, gate, up []float32)
	normDots   func(dy, x, weight []float32) (squares, along float64)
	normSlopes func(dx []float32, sum []float64, dy, x, weight []float32, inv, along float32, add bool)

	// rotate turns the heads of one row, of dim channels each (compute.Rotate).
	rotate func(row, cos, sin []float32, heads, dim int, interleaved bool)
}

var pointwiseGo = pointwiseKernels{
	swiglu: swigluGo, addScaled: addScaledGo, rmsNorm: rmsNormGo, rotate: rotateGo,
	swigluGrad: swigluGradGo, normDots: normDotsGo, normSlopes: normSlopesGo,
}

// The portable twins of pointwise_avx2_amd64.s.

func swigluGo(out, gate, up []float32) {
	for i, g := range gate {
		e := float32(math.Inf(1))
		if -g <= 88.37626 || g != g {
			e = expGo(-g)
		}
		out[i] = float32(g/(1+e)) * up[i]
	}
}

func addScaledGo(x, y []float32, scale float32) { compute.AddScaled(x, y, scale) }

func rmsNormGo(out, x, weight []float32, eps float32) {
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s0 += float64(x[i]) * float64(x[i])
		s1 += float64(x[i+1]) * float64(x[i+1])
		s2 += float64(x[i+2]) * float64(x[i+2])
		s3 += float64(x[i+3]) * float64(x[i+3])
	}
	for ; i < len(x); i++ {
		s0 += float64(x[i]) * float64(x[i])
	}
	inv := inverse((s0+s1)+(s2+s3), len(x), eps)
	for i, w := range weight {
		out[i] = w * float32(x[i]*inv)
	}
}

// inverse is the factor of a row whose squares have this sum.
func inverse(sum float64, n int, eps float32) float32 {
	return float32(1 / math.Sqrt(sum/float64(n)+float64(eps)))
}

// pieceElems is how many elements of a light op are worth a helper's waking: some
// ten microseconds of work.
const pieceElems = 16 << 10

// share cuts n units of so many elements into runs, and returns the length of a
// run and how many there are. No element's value depends on it.
func (d *Device) share(n, elems int) (step, pieces int) {
	step = max(1, (n+d.threads-1)/d.threads, pieceElems/max(1, elems))
	return step, (n + step - 1) / step
}

// pointwise is the task of the element-wise ops; a piece is a run of elements.
type pointwise struct {
	k       *kernels
	op      byte // 'g' SwiGLU, '+' AddScaled, '*' Scale
	out     []float32
	x, y    []float32
	scale   float32
	n, step int
}

func (p *pointwise) run(_ *worker, piece int) {
	from := piece * p.step
	to := min(p.n, from+p.step)
	switch p.op {
	case 'g':
		p.k.swiglu(p.out[from:to], p.x[from:to], p.y[from:to])
	case '+':
		p.k.addScaled(p.out[from:to], p.x[from:to], p.scale)
	case '*':
		compute.Scale(p.out[from:to], p.scale)
	}
}

func (d *Device) elements(p pointwise) {
	p.k = &d.kernels
	var pieces int
	p.step, pieces = d.share(p.n, 1)
	d.pointwise = p
	d.team.do(&d.pointwise, pieces)
	d.pointwise = pointwise{}
}

// SwiGLU: see compute.SwiGLU.
func (d *Device) SwiGLU(out, gate, up compute.Tensor) {
	x := gate.F32()
	d.elements(pointwise{op: 'g', out: out.F32()[:len(x)], x: x, y: up.F32()[:len(x)], n: len(x)})
}

// AddScaled: see compute.AddScaled.
func (d *Device) AddScaled(x, y compute.Tensor, scale float32) {
	add := y.F32()
	d.elements(pointwise{op: '+', out: x.F32()[:len(add)], x: add, scale: scale, n: len(add)})
}

// Scale: see compute.Scale.
func (d *Device) Scale(x compute.Tensor, scale float32) {
	d.elements(pointwise{op: '*', out: x.F32(), scale: scale, n: x.Len()})
}
