//go:build !noasm

package cpu

var matrixNEON = matrixKernels{
	vector: 4, tile: 8, most: 3, panel: panelNEON.panel,
	turn: func(dst, src []float32, ss, k int) {
		steps := k / 8
		if steps > 0 {
			_, _ = src[7*ss+8*steps-1], dst[8*k-1]
			pack4NEON(&dst[0], &src[0], ss, steps, 8, 64)
			pack4NEON(&dst[4], &src[4*ss], ss, steps, 8, 64)
		}
		turnGo(8, 8*steps, dst, src, ss, k)
	},
}
