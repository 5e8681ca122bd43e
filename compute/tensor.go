package compute

import (
	"fmt"
	"unsafe"

	"nosa/dtype"
)

// Tensor is a view of device memory, row-major, up to four axes. It is a value:
// taking rows of it allocates nothing. The zero Tensor stands for "absent".
type Tensor struct {
	Type dtype.Type
	Dims [4]int // unused axes, at the end, are 1
	Rank int

	// Data is the memory where the host can reach it, and nil on a device with
	// memory of its own, where Addr is the device's address.
	Data []byte
	Addr uintptr
}

// NewTensor describes data of the given shape. It panics when data is not
// exactly as long as the shape asks.
func NewTensor(t dtype.Type, data []byte, shape ...int) Tensor {
	x := Describe(t, shape...)
	if len(data) != x.Bytes() {
		panic(fmt.Sprintf("compute: tensor %v %v takes %d bytes, have %d", t, shape, x.Bytes(), len(data)))
	}
	x.Data = data
	return x
}

// Describe is a tensor of the given shape without memory.
func Describe(t dtype.Type, shape ...int) Tensor {
	if len(shape) == 0 || len(shape) > 4 {
		panic(fmt.Sprintf("compute: %d axes, want 1 to 4", len(shape)))
	}
	x := Tensor{Type: t, Dims: [4]int{1, 1, 1, 1}, Rank: len(shape)}
	copy(x.Dims[:], shape)
	return x
}

// F32s wraps a slice of the host as a tensor.
func F32s(v []float32, shape ...int) Tensor {
	return NewTensor(dtype.F32, bytesOf(v), shape...)
}

// I32s wraps a slice of the host as a tensor.
func I32s(v []int32, shape ...int) Tensor {
	return NewTensor(dtype.I32, bytesOf(v), shape...)
}

func bytesOf[T float32 | int32](v []T) []byte {
	if len(v) == 0 {
		return []byte{}
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&v[0])), 4*len(v))
}

// None reports whether the tensor is absent (a bias that a model does not have).
func (t Tensor) None() bool { return t.Rank == 0 }

// Len is the number of elements.
func (t Tensor) Len() int { return t.Dims[0] * t.Dims[1] * t.Dims[2] * t.Dims[3] }

// Stride is the number of elements in one step of the first axis.
func (t Tensor) Stride() int { return t.Dims[1] * t.Dims[2] * t.Dims[3] }

// Bytes is the size of the tensor's memory.
func (t Tensor) Bytes() int {
	n, err := t.Type.Size(t.Len())
	if err != nil {
		panic("compute: " + err.Error())
	}
	return n
}

// Rows is the view of elements from to to−1 of the first axis.
func (t Tensor) Rows(from, to int) Tensor {
	if from < 0 || to < from || to > t.Dims[0] {
		panic(fmt.Sprintf("compute: rows %d to %d of %d", from, to, t.Dims[0]))
	}
	row, err := t.Type.Size(t.Stride())
	if err != nil {
		panic("compute: " + err.Error())
	}
	t.Dims[0] = to - from
	if t.Data != nil {
		t.Data = t.Data[from*row : to*row : to*row]
	}
	t.Addr += uintptr(from * row)
	return t
}

// Reshape is the same memory under another shape of as many elements.
func (t Tensor) Reshape(shape ...int) Tensor {
	x := Describe(t.Type, shape...)
	if x.Len() != t.Len() {
		panic(fmt.Sprintf("compute: reshape of %d elements to %v", t.Len(), x.Dims)) // shape itself would go to the heap in every call
	}
	x.Data, x.Addr = t.Data, t.Addr
	return x
}

// F32 is the host's view of a float32 tensor.
func (t Tensor) F32() []float32 {
	if t.Type != dtype.F32 {
		panic(fmt.Sprintf("compute: float32 view of %v", t.Type))
	}
	if len(t.Data) == 0 {
		return nil
	}
	return unsafe.Slice((*float32)(unsafe.Pointer(&t.Data[0])), len(t.Data)/4)
}

// I32 is the host's view of an int32 tensor.
func (t Tensor) I32() []int32 {
	if t.Type != dtype.I32 {
		panic(fmt.Sprintf("compute: int32 view of %v", t.Type))
	}
	if len(t.Data) == 0 {
		return nil
	}
	return unsafe.Slice((*int32)(unsafe.Pointer(&t.Data[0])), len(t.Data)/4)
}
