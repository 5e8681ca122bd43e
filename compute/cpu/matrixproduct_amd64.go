//go:build !noasm

package cpu

var matrixAVX2 = matrixKernels{
	vector: 8, tile: 4, most: 3, panel: panelAVX2.panel,
	turn: func(dst, src []float32, ss, k int) {
		steps := k / 8
		if steps > 0 {
			_, _ = src[7*ss+8*steps-1], dst[8*k-1]
			pack8AVX2(&dst[0], &src[0], ss, steps, 4, 32, 4*k)
		}
		turnGo(4, 8*steps, dst, src, ss, k)
	},
}

var matrixAVX512 = matrixKernels{
	vector: 16, tile: 8, most: 3, panel: panelAVX512.panel,
	turn: func(dst, src []float32, ss, k int) {
		steps := k / 16
		if steps > 0 {
			_, _ = src[7*ss+16*steps-1], dst[8*k-1]
			pack8AVX512(&dst[0], &src[0], ss, steps, 8, 128)
		}
		turnGo(8, 16*steps, dst, src, ss, k)
	},
}
