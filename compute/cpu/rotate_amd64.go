//go:build !noasm

package cpu

//go:noescape
func rotateHalvesAVX2(v, cos, sin *float32, n, heads, dim, half int)

//go:noescape
func rotatePairsAVX2(v, cos, sin *float32, n, heads, dim, half int)

//go:noescape
func rotateHalvesAVX512(v, cos, sin *float32, n, heads, dim, half int)

//go:noescape
func rotatePairsAVX512(v, cos, sin *float32, n, heads, dim, half int)

func rotateAVX2(row, cos, sin []float32, heads, dim int, interleaved bool) {
	if interleaved {
		rotate(rotatePairsAVX2, 4, row, cos, sin, heads, dim, true)
	} else {
		rotate(rotateHalvesAVX2, 8, row, cos, sin, heads, dim, false)
	}
}

func rotateAVX512(row, cos, sin []float32, heads, dim int, interleaved bool) {
	if interleaved {
		rotate(rotatePairsAVX512, 8, row, cos, sin, heads, dim, true)
	} else {
		rotate(rotateHalvesAVX512, 16, row, cos, sin, heads, dim, false)
	}
}
