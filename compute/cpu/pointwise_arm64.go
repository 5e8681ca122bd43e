//go:build !noasm

package cpu

var pointwiseNEON = pointwiseKernels{
	swiglu: swiglu, addScaled: addScaled, rmsNorm: rmsNorm, rotate: rotateNEON,
	swigluGrad: swigluGradVectors, normDots: normDotsGo, normSlopes: normSlopesGo,
}

//go:noescape
func swigluNEON(out, gate, up *float32, n int)

//go:noescape
func swigluGradNEON(dgate, dup, dy, gate, up *float32, n int)

//go:noescape
func addScaledNEON(x, y *float32, n int, scale float32)

//go:noescape
func sumSquaresNEON(x *float32, n int) float64

//go:noescape
func normScaleNEON(out, x, weight *float32, n int, inv float32)

func swiglu(out, gate, up []float32) {
	if n := len(gate); n > 0 {
		_, _ = out[n-1], up[n-1]
		swigluNEON(&out[0], &gate[0], &up[0], n)
	}
}

func swigluGradVectors(dgate, dup, dy, gate, up []float32) {
	if n := len(dy); n > 0 {
		_, _, _, _ = dgate[n-1], dup[n-1], gate[n-1], up[n-1]
		swigluGradNEON(&dgate[0], &dup[0], &dy[0], &gate[0], &up[0], n)
	}
}

func addScaled(x, y []float32, scale float32) {
	if n := len(y); n > 0 {
		_ = x[n-1]
		addScaledNEON(&x[0], &y[0], n, scale)
	}
}

func rmsNorm(out, x, weight []float32, eps float32) {
	if n := len(weight); n > 0 {
		_, _ = out[n-1], x[n-1]
		normScaleNEON(&out[0], &x[0], &weight[0], n, inverse(sumSquaresNEON(&x[0], n), n, eps))
	}
}
