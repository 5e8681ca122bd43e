//go:build !noasm

package cpu

var sealNEON = sealKernels{codes: codes}

//go:noescape
func codesNEON(dst *byte, x *float32, n int, lo, scale, top float32)

func codes(dst []byte, x []float32, lo, scale, top float32) {
	n := len(x)
	if n == 0 || n%8 != 0 || scale == 0 {
		codesGo(dst, x, lo, scale, top)
		return
	}
	_ = dst[n-1]
	codesNEON(&dst[0], &x[0], n, lo, scale, top)
}
