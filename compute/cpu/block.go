package cpu

import (
	"nosa/compute"
	"nosa/dtype"
)

// decodeBlock is Layout.DecodeBlock, bit for bit.
func decodeBlock(k *kernels, l *compute.Layout, key, val []float32, src []byte) {
	half := len(src) / 2
	switch l.Type {
	case compute.KVBF16:
		k.expand(dtype.BF16, key, src[:half])
		k.expand(dtype.BF16, val, src[half:])
	case compute.KVF16:
		k.expand(dtype.F16, key, src[:half])
		k.expand(dtype.F16, val, src[half:])
	default:
		l.DecodeBlock(key, val, src)
	}
}
