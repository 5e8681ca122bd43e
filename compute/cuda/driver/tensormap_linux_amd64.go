package driver

import "unsafe"

// TensorMap tells a GPU's copy engine how a matrix lies in memory and which box of it a copy
// moves. Kernels get it as part of their parameter, at a multiple of 64 bytes.
type TensorMap [128]byte

// Matrix is rows of bf16 one behind the other, from an address at 16 bytes on; a row has whole
// eights. Boxes are BoxRows (at most 256) by BoxColumns (64 or fewer, whole eights). In shared
// memory a box is lines of 128 bytes whose pieces of 16 are swapped, piece i of line r being at
// i ^ (r % 8); what lies outside of the matrix is read as zeros, and not written.
type Matrix struct {
	Addr                uintptr
	Rows, Columns       int
	BoxRows, BoxColumns int
}

// HasTensorMaps reports whether the driver can encode them. Those of GPUs that have a copy engine can.
func (c *Context) HasTensorMaps() bool { return c.d.at[cuTensorMapEncodeTiled] != 0 }

// EncodeTensorMap has the driver encode a map. It does not touch the matrix.
func (c *Context) EncodeTensorMap(m Matrix) (TensorMap, error) {
	const bf16, rank, plain, swizzle128, promote256, zeros = 9, 2, 0, 3, 3, 0
	c.d.t.calls.Lock()
	defer c.d.t.calls.Unlock()
	const place = 1024 // words that no other call uses, at a multiple of 64 bytes
	at := (*struct {
		to     TensorMap
		sizes  [rank]uint64
		stride [rank - 1]uint64
		box    [rank]uint32
		steps  [rank]uint32
	})(unsafe.Pointer(&c.d.t.out[8*place]))
	at.sizes = [rank]uint64{uint64(m.Columns), uint64(m.Rows)}
	at.stride = [rank - 1]uint64{uint64(2 * m.Columns)}
	at.box = [rank]uint32{uint32(m.BoxColumns), uint32(m.BoxRows)}
	at.steps = [rank]uint32{1, 1}
	err := c.locked(cuTensorMapEncodeTiled, uintptr(unsafe.Pointer(&at.to)), bf16, rank, m.Addr,
		uintptr(unsafe.Pointer(&at.sizes)), uintptr(unsafe.Pointer(&at.stride)), uintptr(unsafe.Pointer(&at.box)), uintptr(unsafe.Pointer(&at.steps)),
		plain, swizzle128, promote256, zeros)
	return at.to, err
}
