//go:build !noasm

package cpu

var panelAVX2 = panelKernels{
	lanes: 8, vector: 8, tile: 4, most: 3, least: 12,
	pack: func(dst, src []float32, ss, k, class, st, half int) { pack8(8, dst, src, ss, k, class, st, half) },
	panel: func(vectors int, c []float32, ldc int, a, b []float32, steps, blocks, add int) {
		_, _, _ = c[(blocks*4-1)*ldc+8*vectors-1], a[4*blocks*steps-1], b[8*vectors*steps-1]
		switch vectors {
		case 1:
			panel1AVX2(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		case 2:
			panel2AVX2(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		case 3:
			panel3AVX2(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		}
	},
}

var panelAVX512 = panelKernels{
	lanes: 16, vector: 16, tile: 8, most: 3, least: 12,
	pack: func(dst, src []float32, ss, k, class, st, half int) { pack8(16, dst, src, ss, k, class, st, half) },
	panel: func(vectors int, c []float32, ldc int, a, b []float32, steps, blocks, add int) {
		_, _, _ = c[(blocks*8-1)*ldc+16*vectors-1], a[8*blocks*steps-1], b[16*vectors*steps-1]
		switch vectors {
		case 1:
			panel1AVX512(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		case 2:
			panel2AVX512(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		case 3:
			panel3AVX512(&c[0], ldc, &a[0], &b[0], steps, blocks, add)
		}
	},
}

//go:noescape
func panel1AVX2(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel2AVX2(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel3AVX2(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel1AVX512(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel2AVX512(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func panel3AVX512(c *float32, ldc int, a, b *float32, steps, blocks, add int)

//go:noescape
func pack8AVX2(dst, src *float32, ss, blocks, class, even, odd, half int)

// pack8 packs whole blocks of eight elements in assembly and the rest of a run,
// with its zeros, here.
func pack8(lanes int, dst, src []float32, ss, k, class, st, half int) {
	full := k &^ 7
	if full > 0 {
		_, _ = src[7*ss+k-1], dst[(lanes-1)*class+(k-1)/lanes*st+max(7, half+3)]
		even, odd := st, st
		if lanes == 16 {
			even, odd = 8*class, st-8*class
		}
		pack8AVX2(&dst[0], &src[0], ss, full/8, class, even, odd, half)
	}
	for e := full; e%lanes != 0 || e < k; e++ {
		to := dst[e%lanes*class+e/lanes*st:]
		for s := range 4 {
			if e < k {
				to[s], to[half+s] = src[s*ss+e], src[(s+4)*ss+e]
			} else {
				to[s], to[half+s] = 0, 0
			}
		}
	}
}
