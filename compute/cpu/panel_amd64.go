//go:build !noasm

package cpu

var panelAVX2 = panelKernels{
	lanes: 8, vector: 8, tile: 4, most: 3, least: 32,
	weights: func(dst, src []float32, ss, k, class, st int) { packAVX2(dst, src, ss, k, class, st, 4) },
	rows:    func(dst, src []float32, ss, k, class int) { packAVX2(dst, src, ss, k, class, 4, 4*((k+7)/8)) },
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
	lanes: 16, vector: 16, tile: 8, most: 3, least: 13,
	weights: func(dst, src []float32, ss, k, class, st int) { packAVX512(16, dst, src, ss, k, class, st) },
	rows:    func(dst, src []float32, ss, k, class int) { packAVX512(8, dst, src, ss, k, class, 8) },
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
func pack8AVX2(dst, src *float32, ss, steps, class, st, half int)

//go:noescape
func pack8AVX512(dst, src *float32, ss, steps, class, st int)

//go:noescape
func pack16AVX512(dst, src *float32, ss, steps, class, st int)

// The assembly packs whole steps; the rest of a run, with its zeros, is packed
// here. The last four of eight rows lie half after the first of them.

func packAVX2(dst, src []float32, ss, k, class, st, half int) {
	steps := k / 8
	if steps > 0 {
		_, _ = src[7*ss+k-1], dst[7*class+(steps-1)*st+half+3]
		pack8AVX2(&dst[0], &src[0], ss, steps, class, st, half)
	}
	if k%8 != 0 {
		packGo(8, 4, dst[steps*st:], src[8*steps:], ss, k%8, class, st)
		packGo(8, 4, dst[steps*st+half:], src[4*ss+8*steps:], ss, k%8, class, st)
	}
}

func packAVX512(n int, dst, src []float32, ss, k, class, st int) {
	steps := k / 16
	if steps > 0 {
		_, _ = src[(n-1)*ss+k-1], dst[15*class+(steps-1)*st+n-1]
		if n == 8 {
			pack8AVX512(&dst[0], &src[0], ss, steps, class, st)
		} else {
			pack16AVX512(&dst[0], &src[0], ss, steps, class, st)
		}
	}
	if k%16 != 0 {
		packGo(16, n, dst[steps*st:], src[16*steps:], ss, k%16, class, st)
	}
}
