//go:build !noasm

package cpu

import "nosa/dtype"

//go:noescape
func expandF16AVX2(dst *float32, src *byte, n int)

//go:noescape
func expandBF16AVX2(dst *float32, src *byte, n int)

//go:noescape
func expandQ8AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ40AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ41AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ50AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ51AVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ4KAVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ5KAVX2(dst *float32, src *byte, blocks int)

//go:noescape
func expandQ6KAVX2(dst *float32, src *byte, blocks int)

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
		expandF16AVX2(&dst[0], &src[0], n&^7)
		dtype.Decode(t, dst[n&^7:], src[2*(n&^7):])
	case dtype.BF16:
		expandBF16AVX2(&dst[0], &src[0], n&^7)
		dtype.Decode(t, dst[n&^7:], src[2*(n&^7):])
	case dtype.Q8_0:
		expandQ8AVX2(&dst[0], &src[0], n/32)
	case dtype.Q4_0:
		expandQ40AVX2(&dst[0], &src[0], n/32)
	case dtype.Q4_1:
		expandQ41AVX2(&dst[0], &src[0], n/32)
	case dtype.Q5_0:
		expandQ50AVX2(&dst[0], &src[0], n/32)
	case dtype.Q5_1:
		expandQ51AVX2(&dst[0], &src[0], n/32)
	case dtype.Q4_K:
		expandQ4KAVX2(&dst[0], &src[0], n/256)
	case dtype.Q5_K:
		expandQ5KAVX2(&dst[0], &src[0], n/256)
	case dtype.Q6_K:
		expandQ6KAVX2(&dst[0], &src[0], n/256)
	default:
		dtype.Decode(t, dst, src)
	}
}
