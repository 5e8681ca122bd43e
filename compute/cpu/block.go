package cpu

import (
	"nosa/compute"
	"nosa/dtype"
)

// decodeBlock is compute.Layout.DecodeBlock, bit for bit.
func decodeBlock(w *worker, k *kernels, l *compute.Layout, key, val []float32, src []byte) {
	half := len(src) / 2
	switch l.Type {
	case compute.KVF32:
		k.expand(dtype.F32, key, src[:half])
		k.expand(dtype.F32, val, src[half:])
	case compute.KVBF16:
		k.expand(dtype.BF16, key, src[:half])
		k.expand(dtype.BF16, val, src[half:])
	case compute.KVF16:
		k.expand(dtype.F16, key, src[:half])
		k.expand(dtype.F16, val, src[half:])
	default:
		bits := 8
		if l.Type == compute.KVQ4 {
			bits = 4
		}
		// K codes, V codes, a pair for each channel of K and for each token of V.
		codes := src[:len(src)-8*(l.Dim+l.Block)]
		p := room(&w.pairs, 2*(l.Dim+l.Block))
		k.expand(dtype.F32, p, src[len(codes):])
		at := l.Dim * ((l.Block*bits + 7) / 8)
		k.rowCodes(bits, key, codes[:at], p[:2*l.Dim])
		k.rowCodes(bits, val, codes[at:], p[2*l.Dim:])
	}
}

// rowCodesGo sets row r of dst to pairs[2r] + pairs[2r+1]·code.
func rowCodesGo(bits int, dst []float32, codes []byte, pairs []float32) {
	rows := len(pairs) / 2
	n, size := len(dst)/rows, len(codes)/rows
	for r := range rows {
		lo, scale := pairs[2*r], pairs[2*r+1]
		x, c := dst[r*n:(r+1)*n], codes[r*size:(r+1)*size]
		for i := range x {
			x[i] = lo + float32(scale*float32(code(bits, c, i)))
		}
	}
}

// code is the i-th code of a row; of 4 bits, the low halves hold the first ones.
func code(bits int, row []byte, i int) byte {
	switch {
	case bits == 8:
		return row[i]
	case i < len(row):
		return row[i] & 15
	}
	return row[i-len(row)] >> 4
}
