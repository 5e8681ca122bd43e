//go:build !noasm

package cpu

var sealAVX2 = sealKernels{spans: spans, codes: codes}

//go:noescape
func spansAVX2(lo, hi, x *float32, rows, dim int)

//go:noescape
func codesAVX2(dst *byte, x, lo, scale *float32, n int, top float64)

func spans(lo, hi, x []float32) {
	dim := len(lo)
	if dim == 0 || dim%8 != 0 || len(x) < dim {
		spansGo(lo, hi, x)
		return
	}
	_ = hi[dim-1]
	spansAVX2(&lo[0], &hi[0], &x[0], len(x)/dim, dim)
}

func codes(dst []byte, x, lo, scale []float32, top float32) {
	n := len(x)
	if n == 0 || n%8 != 0 {
		codesGo(dst, x, lo, scale, top)
		return
	}
	_, _, _ = dst[n-1], lo[n-1], scale[n-1]
	codesAVX2(&dst[0], &x[0], &lo[0], &scale[0], n, float64(top))
}
