//go:build !noasm

package cpu

var sealAVX2 = sealKernels{codes: codes}

//go:noescape
func codesAVX2(dst *byte, x *float32, n int, lo, scale, top float64)

func codes(dst []byte, x []float32, lo, scale, top float32) {
	n := len(x)
	if n == 0 || n%8 != 0 || scale == 0 {
		codesGo(dst, x, lo, scale, top)
		return
	}
	_ = dst[n-1]
	codesAVX2(&dst[0], &x[0], n, float64(lo), float64(scale), float64(top))
}
