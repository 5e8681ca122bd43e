//go:build !noasm

package cpu

var panelNEON = panelKernels{
	lanes: 8, vector: 4, tile: 8, most: 3, least: 16,
	weights: packNEON,
	rows: func(dst, src []float32, ss, k, class int) {
		packNEON(dst, src, ss, k, class, 8)
		packNEON(dst[4:], src[4*ss:], ss, k, class, 8)
	},
	panel: func(vectors int, c []float32, ldc int, a, b []float32, steps, blocks, add int) {
		_, _, _ = c[(blocks*8-1)*ldc+4*vectors-1], a[8*blocks*steps-1], b[4*vectors*steps-1]
		switch vectors {
		case 1:
			panel1NEON(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		case 2:
			panel2NEON(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		case 3:
			panel3NEON(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		}
	},
}

//go:noescape
func panel1NEON(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel2NEON(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel3NEON(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func pack4NEON(dst, src *float32, ss, steps, class, st int)

// packNEON packs whole steps of four rows in assembly, and the rest of a run, with its
// zeros, by the twin.
func packNEON(dst, src []float32, ss, k, class, st int) {
	steps := k / 8
	if steps > 0 {
		_, _ = src[3*ss+k-1], dst[7*class+(steps-1)*st+3]
		pack4NEON(&dst[0], &src[0], ss, steps, class, st)
	}
	if k%8 != 0 {
		packGo(8, 4, dst[steps*st:], src[8*steps:], ss, k%8, class, st)
	}
}
