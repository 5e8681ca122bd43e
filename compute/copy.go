package compute

import "nosa/dtype"

// Copy sets dst to the values of src, to the nearest where its type has fewer, ties to even;
// either is F32 or BF16.
func Copy(dst, src Tensor) {
	if dst.Type == src.Type {
		copy(dst.Data, src.Data)
		return
	}
	if dst.Type == dtype.F32 {
		dtype.Decode(src.Type, dst.F32(), src.Data)
		return
	}
	dtype.Encode(dst.Type, dst.Data, src.F32())
}
