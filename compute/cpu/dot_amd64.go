//go:build !noasm

package cpu

var linearAVX2 = linearKernels{dot3: dot3, dot1: dot1, few: streamsAVX2, many: panelAVX2, expand: expand}

var linearAVX512 = linearKernels{dot3: dot3, dot1: dot1, few: streamsAVX512, many: panelAVX512, expand: expand}

//go:noescape
func dot3AVX2(out *float32, os int, x0, x1, x2, w *float32, ws, n, k int)

//go:noescape
func dot1AVX2(out, x, w *float32, ws, n, k int)

func dot3(out []float32, os int, x0, x1, x2, w []float32, ws, n int) {
	k := len(x0)
	if n == 0 || k == 0 {
		dot3Go(out, os, x0, x1, x2, w, ws, n)
		return
	}
	// The lengths that the assembly takes for granted.
	_, _, _, _ = out[2*os+n-1], x1[k-1], x2[k-1], w[(n-1)*ws+k-1]
	dot3AVX2(&out[0], os, &x0[0], &x1[0], &x2[0], &w[0], ws, n, k)
}

func dot1(out, x, w []float32, ws, n int) {
	k := len(x)
	if n == 0 || k == 0 {
		dot1Go(out, x, w, ws, n)
		return
	}
	_, _ = out[n-1], w[(n-1)*ws+k-1]
	dot1AVX2(&out[0], &x[0], &w[0], ws, n, k)
}
