package dtype

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Encodes says whether Encode knows the format: F32, F16, BF16, Q8_0 and Q4_0.
func (t Type) Encodes() bool {
	switch t {
	case F32, F16, BF16, Q8_0, Q4_0:
		return true
	}
	return false
}

// Encode stores src, a whole number of blocks, in the first t.Size(len(src)) bytes of dst. Halves are rounded to the
// nearest, ties to even; Q8_0 and Q4_0 are quantised as ggml's reference does, to the same bytes. Values of a quantised
// format have to be finite and small enough for the scale to be a finite f16 (below 127·65504 and 8·65504): see Fits.
// Otherwise the block's values are not meaningful. It panics where Decode does, and for formats that it cannot write.
func Encode(t Type, dst []byte, src []float32) {
	size, err := t.Size(len(src))
	if err != nil {
		panic(fmt.Sprintf("dtype.Encode: %v", err))
	}
	dst = dst[:size]
	switch t {
	case F32:
		for i, v := range src {
			binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
		}
	case F16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToF16(v))
		}
	case BF16:
		for i, v := range src {
			binary.LittleEndian.PutUint16(dst[2*i:], F32ToBF16(v))
		}
	case Q8_0:
		for ; len(src) > 0; dst, src = dst[34:], src[32:] {
			encodeQ8_0(dst[:34], src[:32])
		}
	case Q4_0:
		for ; len(src) > 0; dst, src = dst[18:], src[32:] {
			encodeQ4_0(dst[:18], src[:32])
		}
	default:
		panic(fmt.Sprintf("dtype.Encode: %s cannot be written", t))
	}
}

// Fits says whether Encode keeps every value of src meaningful: no NaN or infinity that a quantised block would spread
// over its neighbours, and nothing that becomes infinite on the way. F32 holds everything; in plain formats a NaN or
// infinity stays what it is.
func Fits(t Type, src []float32) bool {
	var limit float32
	switch t {
	case F16:
		limit = 65520 // the next value rounds to infinity
	case BF16:
		limit = 0x1.ffp127
	case Q8_0:
		limit = 127 * 65504
	case Q4_0:
		limit = 8 * 65504
	default:
		return true
	}
	for _, v := range src {
		if v > -limit && v < limit {
			continue
		}
		if t.Quantised() || !math.IsNaN(float64(v)) && !math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

// encodeQ8_0 scales by the largest magnitude, so that it becomes 127, and rounds halves away from zero. The scale is
// rounded to f16 only when it is stored, as in ggml.
func encodeQ8_0(dst []byte, src []float32) {
	var peak float32
	for _, v := range src {
		if a := abs(v); a > peak {
			peak = a
		}
	}
	d := peak / 127
	var inverse float32
	if d != 0 {
		inverse = 1 / d
	}
	binary.LittleEndian.PutUint16(dst, F32ToF16(d))
	for i, v := range src {
		q := float64(v * inverse) // in float64 the half is added without rounding
		dst[2+i] = byte(int(q + math.Copysign(0.5, q)))
	}
}

// encodeQ4_0 scales by the value of largest magnitude, the first of several, so that it becomes -8.
func encodeQ4_0(dst []byte, src []float32) {
	var peak, extreme float32
	for _, v := range src {
		if abs(v) > peak {
			peak, extreme = abs(v), v
		}
	}
	d := extreme / -8
	var inverse float32
	if d != 0 {
		inverse = 1 / d
	}
	// ggml adds 8.5 to the product and cuts; its reference bytes are those of a fused multiply-add, which the float64
	// product (exact) and one rounding to float32 reproduce on every machine.
	nibble := func(v float32) byte {
		q := float32(float64(float64(v)*float64(inverse)) + 8.5)
		return byte(min(15, max(0, int(q))))
	}
	binary.LittleEndian.PutUint16(dst, F32ToF16(d))
	for i := range 16 {
		dst[2+i] = nibble(src[i]) | nibble(src[i+16])<<4
	}
}

func abs(f float32) float32 { return math.Float32frombits(math.Float32bits(f) &^ (1 << 31)) }
