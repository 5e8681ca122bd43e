//go:build !noasm

package cpu

//go:noescape
func rotateHalvesNEON(v, cos, sin *float32, n, heads, dim, half int)

//go:noescape
func rotatePairsNEON(v, cos, sin *float32, n, heads, dim, half int)

func rotateNEON(row, cos, sin []float32, heads, dim int, interleaved bool) {
	if interleaved {
		rotate(rotatePairsNEON, 4, row, cos, sin, heads, dim, true)
	} else {
		rotate(rotateHalvesNEON, 4, row, cos, sin, heads, dim, false)
	}
}
