//go:build !noasm

package cpu

import "nosa/dtype"

//go:noescape
func expandF16NEON(dst *float32, src *byte, n int)

//go:noescape
func expandBF16NEON(dst *float32, src *byte, n int)

//go:noescape
func expandQ8NEON(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ40NEON(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ41NEON(dst *float32, src *byte, blocks int)

// expand decodes in assembly what it knows, and the rest as dtype does.
func expand(t dtype.Type, dst []float32, src []byte) {
	n := len(dst)
	size, err := t.Size(n)
	if err != nil || n < 8 {
		dtype.Decode(t, dst, src)
		return
	}
	src = src[:size]
	switch t {
	case dtype.F16:
		expandF16NEON(&dst[0], &src[0], n&^7)
		dtype.Decode(t, dst[n&^7:], src[2*(n&^7):])
	case dtype.BF16:
		expandBF16NEON(&dst[0], &src[0], n&^7)
		dtype.Decode(t, dst[n&^7:], src[2*(n&^7):])
	case dtype.Q8_0:
		expandQ8NEON(&dst[0], &src[0], n/32)
	case dtype.Q4_0:
		expandQ40NEON(&dst[0], &src[0], n/32)
	case dtype.Q4_1:
		expandQ41NEON(&dst[0], &src[0], n/32)
	default:
		dtype.Decode(t, dst, src)
	}
}
