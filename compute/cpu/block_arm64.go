//go:build !noasm

package cpu

//go:noescape
func rows8NEON(dst *float32, codes *byte, pairs *float32, rows, n int)

//go:noescape
func rows4NEON(dst *float32, codes *byte, pairs *float32, rows, n int)

func rowCodes(bits int, dst []float32, codes []byte, pairs []float32) {
	rows := len(pairs) / 2
	if len(dst) == 0 || len(dst)/rows%(64/bits) != 0 {
		rowCodesGo(bits, dst, codes, pairs)
		return
	}
	_ = codes[len(dst)*bits/8-1]
	if bits == 8 {
		rows8NEON(&dst[0], &codes[0], &pairs[0], rows, len(dst)/rows)
	} else {
		rows4NEON(&dst[0], &codes[0], &pairs[0], rows, len(dst)/rows)
	}
}
