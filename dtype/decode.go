package dtype

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Decode sets dst to the values that src stands for: len(dst) elements, a whole number of blocks, from the
// t.Size(len(dst)) bytes at the start of src. Like a loop over the slices it panics when src is shorter, and it panics
// when len(dst) is not a whole number of blocks or t is Invalid: callers have checked both when they read the file.
func Decode(t Type, dst []float32, src []byte) {
	size, err := t.Size(len(dst))
	if err != nil {
		panic(fmt.Sprintf("dtype.Decode: %v", err))
	}
	src = src[:size]
	switch t {
	case F32:
		for i := range dst {
			dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:]))
		}
	case F16:
		decodeF16(dst, src)
	case BF16:
		decodeBF16(dst, src)
	case I32:
		for i := range dst {
			dst[i] = float32(int32(binary.LittleEndian.Uint32(src[4*i:])))
		}
	case I64:
		for i := range dst {
			dst[i] = float32(int64(binary.LittleEndian.Uint64(src[8*i:])))
		}
	case U8:
		for i, b := range src {
			dst[i] = float32(b)
		}
	default:
		block, bytes, one := t.Block(), t.BlockBytes(), blockDecoders[t]
		for ; len(dst) > 0; dst, src = dst[block:], src[bytes:] {
			one(dst[:block], src[:bytes])
		}
	}
}

var blockDecoders = [count]func(dst []float32, src []byte){
	Q8_0: decodeQ8_0,
	Q4_0: decodeQ4_0,
	Q4_1: decodeQ4_1,
	Q5_0: decodeQ5_0,
	Q5_1: decodeQ5_1,
	Q4_K: decodeQ4_K,
	Q5_K: decodeQ5_K,
	Q6_K: decodeQ6_K,
}

// Products that are added to something are converted to float32 explicitly in what follows: the language then forbids
// fusing them with the sum, which would give other bits on arm64 than on amd64.

func half(src []byte) float32 { return F16ToF32(binary.LittleEndian.Uint16(src)) }

// stored as: scale f16, 32 int8
func decodeQ8_0(dst []float32, src []byte) {
	d := half(src)
	for i, q := range src[2:34] {
		dst[i] = float32(int8(q)) * d
	}
}

// stored as: scale f16, 16 bytes with element i in the low and i+16 in the high half; 8 stands for zero
func decodeQ4_0(dst []float32, src []byte) {
	d := half(src)
	for i, q := range src[2:18] {
		dst[i] = float32(int(q&15)-8) * d
		dst[i+16] = float32(int(q>>4)-8) * d
	}
}

// stored as: scale f16, minimum f16, 16 bytes of halves
func decodeQ4_1(dst []float32, src []byte) {
	d, m := half(src), half(src[2:])
	for i, q := range src[4:20] {
		dst[i] = float32(float32(q&15)*d) + m
		dst[i+16] = float32(float32(q>>4)*d) + m
	}
}

// stored as: scale f16, 32 fifth bits, 16 bytes of halves; 16 stands for zero
func decodeQ5_0(dst []float32, src []byte) {
	d, high := half(src), binary.LittleEndian.Uint32(src[2:])
	for i, q := range src[6:22] {
		lo := int(q&15) | int(high>>i&1)<<4
		hi := int(q>>4) | int(high>>(i+16)&1)<<4
		dst[i] = float32(lo-16) * d
		dst[i+16] = float32(hi-16) * d
	}
}

// stored as: scale f16, minimum f16, 32 fifth bits, 16 bytes of halves
func decodeQ5_1(dst []float32, src []byte) {
	d, m, high := half(src), half(src[2:]), binary.LittleEndian.Uint32(src[4:])
	for i, q := range src[8:24] {
		lo := int(q&15) | int(high>>i&1)<<4
		hi := int(q>>4) | int(high>>(i+16)&1)<<4
		dst[i] = float32(float32(lo)*d) + m
		dst[i+16] = float32(float32(hi)*d) + m
	}
}

// scaleMin unpacks the 6-bit scale and minimum of group g of 8 from the 12 bytes that hold all of them: those of
// groups 0 to 3 in the low six bits of the first eight bytes, those of 4 to 7 in the last four bytes and the free
// upper bits of the first eight.
func scaleMin(g int, s []byte) (scale, minimum byte) {
	if g < 4 {
		return s[g] & 63, s[g+4] & 63
	}
	return s[g+4]&15 | s[g-4]>>6<<4, s[g+4]>>4 | s[g]>>6<<4
}

// stored as: scale f16, scale of minima f16, 12 bytes of scales and minima, 128 bytes in which 32 bytes hold two
// groups of 32 elements, the first in their low halves
func decodeQ4_K(dst []float32, src []byte) {
	d, dmin, scales, qs := half(src), half(src[2:]), src[4:16], src[16:144]
	for g := range 8 {
		sc, mn := scaleMin(g, scales)
		dg, mg := d*float32(sc), dmin*float32(mn)
		shift := g & 1 * 4
		for i, q := range qs[g/2*32 : g/2*32+32] {
			dst[g*32+i] = float32(dg*float32(q>>shift&15)) - mg
		}
	}
}

// stored as Q4_K, with 32 bytes between scales and halves whose bit g is the fifth bit of group g
func decodeQ5_K(dst []float32, src []byte) {
	d, dmin, scales, high, qs := half(src), half(src[2:]), src[4:16], src[16:48], src[48:176]
	for g := range 8 {
		sc, mn := scaleMin(g, scales)
		dg, mg := d*float32(sc), dmin*float32(mn)
		shift := g & 1 * 4
		for i, q := range qs[g/2*32 : g/2*32+32] {
			v := q>>shift&15 | high[i]>>g&1<<4
			dst[g*32+i] = float32(dg*float32(v)) - mg
		}
	}
}

// stored as: 128 bytes of low halves, 64 bytes of upper bit pairs, 16 int8 scales of 16 elements each, scale f16; 32
// stands for zero
func decodeQ6_K(dst []float32, src []byte) {
	low, high, scales, d := src[:128], src[128:192], src[192:208], half(src[208:])
	for n := range 2 { // 128 elements each
		for r := range 4 { // 32 elements each
			l, h, out := low[n*64+r&1*32:][:32], high[n*32:][:32], dst[n*128+r*32:][:32]
			left, right := r>>1*4, 2*r
			first, second := d*float32(int8(scales[n*8+r*2])), d*float32(int8(scales[n*8+r*2+1]))
			for i := range 16 {
				out[i] = first * float32(int(l[i]>>left&15|h[i]>>right&3<<4)-32)
			}
			for i := 16; i < 32; i++ {
				out[i] = second * float32(int(l[i]>>left&15|h[i]>>right&3<<4)-32)
			}
		}
	}
}
