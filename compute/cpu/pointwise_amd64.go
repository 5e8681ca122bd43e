//go:build !noasm

package cpu

var pointwiseAVX2 = pointwiseKernels{
	swiglu: swiglu, addScaled: addScaled, rmsNorm: rmsNorm, rotate: rotateAVX2,
	swigluGrad: swigluGradVectors, normDots: normDots256, normSlopes: normSlopes256,
}

var pointwiseAVX512 = pointwiseKernels{
	swiglu: swiglu512, addScaled: addScaled512, rmsNorm: rmsNorm512, rotate: rotateAVX512,
	swigluGrad: swigluGrad512, normDots: normDots512, normSlopes: normSlopes512,
}

//go:noescape
func swigluAVX2(out, gate, up *float32, n int)

//go:noescape
func swigluGradAVX2(dgate, dup, dy, gate, up *float32, n int)

//go:noescape
func swigluGradAVX512(dgate, dup, dy, gate, up *float32, n int)

//go:noescape
func addScaledAVX2(x, y *float32, n int, scale float32)

//go:noescape
func sumSquaresAVX2(x *float32, n int) float64

//go:noescape
func normScaleAVX2(out, x, weight *float32, n int, inv float32)

func swiglu(out, gate, up []float32) {
	if n := len(gate); n > 0 {
		_, _ = out[n-1], up[n-1]
		swigluAVX2(&out[0], &gate[0], &up[0], n)
	}
}

func swigluGradVectors(dgate, dup, dy, gate, up []float32) {
	if n := len(dy); n > 0 {
		_, _, _, _ = dgate[n-1], dup[n-1], gate[n-1], up[n-1]
		swigluGradAVX2(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n)
	}
}

func swigluGrad512(dgate, dup, dy, gate, up []float32) {
	if n := len(dy); n > 0 {
		_, _, _, _ = dgate[n-1], dup[n-1], gate[n-1], up[n-1]
		swigluGradAVX512(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n)
	}
}

func addScaled(x, y []float32, scale float32) {
	if n := len(y); n > 0 {
		_ = x[n-1]
		addScaledAVX2(&x[0], &y[0], n, scale)
	}
}

func rmsNorm(out, x, weight []float32, eps float32) {
	if n := len(weight); n > 0 {
		_, _ = out[n-1], x[n-1]
		normScaleAVX2(&out[0], &x[0], &weight[0], n, inverse(sumSquaresAVX2(&x[0], n), n, eps))
	}
}

//go:noescape
func swigluAVX512(out, gate, up *float32, n int)

//go:noescape
func addScaledAVX512(x, y *float32, n int, scale float32)

//go:noescape
func normScaleAVX512(out, x, weight *float32, n int, inv float32)

func swiglu512(out, gate, up []float32) {
	if n := len(gate); n > 0 {
		_, _ = out[n-1], up[n-1]
		swigluAVX512(&out[0], &gate[0], &up[0], n)
	}
}

func addScaled512(x, y []float32, scale float32) {
	if n := len(y); n > 0 {
		_ = x[n-1]
		addScaledAVX512(&x[0], &y[0], n, scale)
	}
}

// rmsNorm512 sums as rmsNorm does.
func rmsNorm512(out, x, weight []float32, eps float32) {
	if n := len(weight); n > 0 {
		_, _ = out[n-1], x[n-1]
		normScaleAVX512(&out[0], &x[0], &weight[0], n, inverse(sumSquaresAVX2(&x[0], n), n, eps))
	}
}
