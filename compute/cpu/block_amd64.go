//go:build !noasm

package cpu

//go:noescape
func keys8AVX2(dst *float32, codes *byte, lo, scale *float32, rows, dim int)

//go:noescape
func keys4AVX2(dst *float32, codes *byte, lo, scale *float32, rows, dim int)

//go:noescape
func values8AVX2(dst *float32, codes *byte, pairs *float32, rows, dim int)

//go:noescape
func values4AVX2(dst *float32, codes *byte, pairs *float32, rows, dim int)

func keyCodes(bits int, dst []float32, codes []byte, lo, scale []float32) {
	dim := len(lo)
	if len(dst) == 0 || dim%(64/bits) != 0 {
		keyCodesGo(bits, dst, codes, lo, scale)
		return
	}
	_, _ = codes[len(dst)*bits/8-1], scale[dim-1]
	if bits == 8 {
		keys8AVX2(&dst[0], &codes[0], &lo[0], &scale[0], len(dst)/dim, dim)
	} else {
		keys4AVX2(&dst[0], &codes[0], &lo[0], &scale[0], len(dst)/dim, dim)
	}
}

func valueCodes(bits int, dst []float32, codes []byte, pairs []float32) {
	rows := len(pairs) / 2
	if len(dst) == 0 || len(dst)/rows%(64/bits) != 0 {
		valueCodesGo(bits, dst, codes, pairs)
		return
	}
	_ = codes[len(dst)*bits/8-1]
	if bits == 8 {
		values8AVX2(&dst[0], &codes[0], &pairs[0], rows, len(dst)/rows)
	} else {
		values4AVX2(&dst[0], &codes[0], &pairs[0], rows, len(dst)/rows)
	}
}
