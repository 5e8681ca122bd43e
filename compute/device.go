package compute

import "nosa/dtype"

// MemoryDevice is a Device with memory of its own.
type MemoryDevice interface {
	Device
	// Memory is what the device has free, and in all.
	Memory() (free, total int64, err error)
}

// Device is the op set over one device's memory. Methods are named as the
// definitions of this package, which say what each computes. A Device is used by
// one goroutine; ops may return before they are done, in order; Sync waits. What some
// devices do in one piece is more than an op: see Packer and Stepper.
type Device interface {
	Name() string // as --device names it: cpu, cuda:0
	Info() string // one line for people: processor, kernels, threads
	// Numbers names all of the device that the bits of results depend on: two devices
	// with the same Numbers, in the same binary, give the same bits.
	Numbers() string

	// Alloc returns zeroed memory; Free gives it back.
	Alloc(t dtype.Type, shape ...int) (Tensor, error)
	Free(Tensor)
	// Load makes a weight readable by the device. The data stays mapped and
	// unchanged until Close; a device that reaches host memory copies nothing.
	Load(t dtype.Type, data []byte, shape ...int) (Tensor, error)
	Upload(dst Tensor, src []byte)
	Download(dst []byte, src Tensor)
	Sync() error
	Close() error

	// The dense part of a layer. Activations are F32 [rows, width].
	Embed(out, table Tensor, ids []int32)
	RMSNorm(out, x, weight Tensor, eps float32)
	Linear(out, x, weight, bias Tensor)
	Angles(out Tensor, pos []int32, rope *Rope)
	Rotate(x, angles Tensor, rope *Rope)
	SwiGLU(out, gate, up Tensor)
	AddScaled(x, y Tensor, scale float32)
	Scale(x Tensor, scale float32)
	Importance(out, v, delta, bias, a Tensor)

	// The cache. k and v are F32 [rows, kvHeads, Dim], q [rows, heads, Dim], s
	// [rows, kvHeads] or absent.
	Append(c *Cache, t Tile, k, v, s Tensor)
	Seal(c *Cache, t Tile, head int, slot int32)
	CopySlot(c *Cache, dst []byte, slot int32)
	FillSlot(c *Cache, slot int32, src []byte)
	ScoreBlocks(out, q Tensor, c *Cache, t Tile)
	ScoreImportance(out Tensor, c *Cache, t Tile)
	Select(sel Selection, byQuery, byScore Tensor, t Tile, block int, p SelectParams)
	AttendBegin(state Tensor, t Tile, heads, dim int)
	Attend(state, q Tensor, c *Cache, t Tile, sel Selection, parts []Part)
	AttendEnd(out, state Tensor, t Tile)
}
