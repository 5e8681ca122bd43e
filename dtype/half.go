package dtype

import "math"

// F16ToF32 widens an IEEE 754 binary16 value. The result is exact, the payload of a NaN is kept.
func F16ToF32(h uint16) float32 {
	const (
		top    = 0x1f << 23           // binary16's exponent after the shift
		rebias = (127 - 15) << 23     // from binary16's bias to binary32's
		tiny   = (127 - 15 + 1) << 23 // 2^-14, the smallest normal binary16
	)
	sign := uint32(h&0x8000) << 16
	b := uint32(h&0x7fff) << 13
	switch b & top {
	case top: // infinity and NaN: the exponent is all ones in both formats
		b += 2 * rebias
	case 0: // zero and subnormals: put the mantissa behind a hidden one, then take that one away
		b = math.Float32bits(math.Float32frombits(b+tiny) - math.Float32frombits(tiny))
	default:
		b += rebias
	}
	return math.Float32frombits(sign | b)
}

// F32ToF16 rounds to the nearest binary16, ties to even. Values of 65520 and more become infinity; a NaN becomes a
// quiet NaN with the upper bits of its payload.
func F32ToF16(f float32) uint16 {
	b := math.Float32bits(f)
	sign := uint16(b>>16) & 0x8000
	b &= 0x7fffffff
	switch {
	case b > 0x7f800000:
		return sign | 0x7e00 | uint16(b>>13)&0x3ff
	case b >= (127+16)<<23:
		return sign | 0x7c00
	case b < (127-14)<<23:
		// Below 2^-14 the result is subnormal, in units of 2^-24. Added to 0.5, whose last bit has the same weight,
		// the sum is rounded by the hardware in the right place.
		const half = 126 << 23
		return sign | uint16(math.Float32bits(math.Float32frombits(b)+0.5)-half)
	}
	// A carry out of the mantissa moves on into the exponent, up to infinity, as it should.
	b += 0xfff + b>>13&1
	return sign | uint16((b-(127-15)<<23)>>13)
}

// BF16ToF32 widens a bfloat16 value: it is the upper half of a float32.
func BF16ToF32(h uint16) float32 { return math.Float32frombits(uint32(h) << 16) }

// F32ToBF16 rounds to the nearest bfloat16, ties to even; a NaN becomes a quiet NaN.
func F32ToBF16(f float32) uint16 {
	b := math.Float32bits(f)
	if b&0x7fffffff > 0x7f800000 {
		return uint16(b>>16) | 0x40
	}
	return uint16((b + 0x7fff + b>>16&1) >> 16)
}

// decodeF16 expands len(dst) binary16 values.
func decodeF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for len(dst) >= 4 {
		s, d := src[:8:8], dst[:4:4]
		d[0] = F16ToF32(uint16(s[0]) | uint16(s[1])<<8)
		d[1] = F16ToF32(uint16(s[2]) | uint16(s[3])<<8)
		d[2] = F16ToF32(uint16(s[4]) | uint16(s[5])<<8)
		d[3] = F16ToF32(uint16(s[6]) | uint16(s[7])<<8)
		src, dst = src[8:], dst[4:]
	}
	for i := range dst {
		dst[i] = F16ToF32(uint16(src[2*i]) | uint16(src[2*i+1])<<8)
	}
}

// decodeBF16 expands len(dst) bfloat16 values.
func decodeBF16(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for len(dst) >= 4 {
		s, d := src[:8:8], dst[:4:4]
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56 // one load
		d[0] = math.Float32frombits(uint32(w) << 16)
		d[1] = math.Float32frombits(uint32(w) & 0xffff0000)
		d[2] = math.Float32frombits(uint32(w>>16) & 0xffff0000)
		d[3] = math.Float32frombits(uint32(w>>32) & 0xffff0000)
		src, dst = src[8:], dst[4:]
	}
	for i := range dst {
		dst[i] = BF16ToF32(uint16(src[2*i]) | uint16(src[2*i+1])<<8)
	}
}
