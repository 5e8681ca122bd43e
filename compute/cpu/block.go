package cpu

import (
	"encoding/binary"
	"math"

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
		codes := (l.Block*l.Dim*bits + 7) / 8
		pairs := src[2*codes:]
		p := room(&w.pairs, 2*(l.Dim+l.Block))
		lo, scale, tokens := p[:l.Dim], p[l.Dim:2*l.Dim], p[2*l.Dim:]
		for d := range lo {
			lo[d] = math.Float32frombits(binary.LittleEndian.Uint32(pairs[8*d:]))
			scale[d] = math.Float32frombits(binary.LittleEndian.Uint32(pairs[8*d+4:]))
		}
		k.expand(dtype.F32, tokens, pairs[8*l.Dim:])
		k.keyCodes(bits, key, src[:codes], lo, scale)
		k.valueCodes(bits, val, src[codes:2*codes], tokens)
	}
}

// keyCodesGo sets row by row dst = lo + scale·code, channel by channel.
func keyCodesGo(bits int, dst []float32, codes []byte, lo, scale []float32) {
	dim := len(lo)
	scale = scale[:dim]
	for i := 0; i < len(dst); i += dim {
		row := dst[i : i+dim]
		for d := range row {
			row[d] = lo[d] + float32(scale[d]*float32(code(bits, codes, i+d)))
		}
	}
}

// valueCodesGo sets row t of dst to pairs[2t] + pairs[2t+1]·code.
func valueCodesGo(bits int, dst []float32, codes []byte, pairs []float32) {
	dim := 2 * len(dst) / len(pairs)
	for i := 0; i < len(dst); i += dim {
		lo, scale := pairs[2*(i/dim)], pairs[2*(i/dim)+1]
		row := dst[i : i+dim]
		for d := range row {
			row[d] = lo + float32(scale*float32(code(bits, codes, i+d)))
		}
	}
}

// code is the i-th code; two of 4 bits share a byte, the low half first.
func code(bits int, codes []byte, i int) byte {
	if bits == 8 {
		return codes[i]
	}
	return codes[i/2] >> (4 * (i % 2)) & 15
}
