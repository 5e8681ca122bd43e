//go:build linux && amd64

package train

import (
	"encoding/binary"
	"fmt"
	"math"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// Zero clears a tensor.
func (d *Device) Zero(x compute.Tensor) {
	if n := x.Bytes(); n > 0 {
		d.Context().Memset(d.Stream(), x.Addr, 0, n)
	}
}

// pointArgs is a struct of point.cu.
type pointArgs struct {
	out, second, x, y, third uintptr
	n                        int64
	scale                    float32
}

// line is the grid of ops of n elements, which do not depend on it.
func (d *Device) line(n int) driver.Dim {
	return grid(min(ceil(n, 8*256), 32*d.Properties().Processors), 1)
}

// points posts an op of n elements.
func (d *Device) points(k both, n int, a pointArgs) {
	if a.n = int64(n); n > 0 {
		launch(d, k.flat(a.out, a.second, a.x, a.y, a.third), d.line(n), 256, 0, &a)
	}
}

// Copy: see the definition.
func (d *Device) Copy(dst, src compute.Tensor) {
	n := src.Len()
	if dst.Len() != n {
		panic(fmt.Sprintf("cuda: %d elements copied to %d", n, dst.Len()))
	}
	switch {
	case n == 0:
	case dst.Type == src.Type:
		d.Context().Copy(d.Stream(), dst.Addr, src.Addr, src.Bytes())
	case dst.Type == dtype.BF16 && src.Type == dtype.F32:
		d.points(d.k.narrow, n, pointArgs{out: dst.Addr, x: src.Addr})
	case dst.Type == dtype.F32 && src.Type == dtype.BF16:
		d.points(d.k.widen, n, pointArgs{out: dst.Addr, x: src.Addr})
	default:
		panic(fmt.Sprintf("cuda: %v copied to %v", src.Type, dst.Type))
	}
}

// SwiGLU: see the definition.
func (d *Device) SwiGLU(out, gate, up compute.Tensor) {
	if gate.Type == dtype.F32 {
		d.Device.SwiGLU(out, gate, up)
		return
	}
	d.points(d.k.swiglu, gate.Len(), pointArgs{out: out.Addr, x: gate.Addr, y: up.Addr})
}

// SwiGLUGrad: see the definition.
func (d *Device) SwiGLUGrad(dgate, dup, dy, gate, up compute.Tensor) {
	d.points(d.k.swigluGrad, gate.Len(), pointArgs{out: dgate.Addr, second: dup.Addr, x: gate.Addr, y: up.Addr, third: dy.Addr})
}

// AddScaled: see the definition.
func (d *Device) AddScaled(x, y compute.Tensor, scale float32) {
	if x.Type == dtype.F32 {
		d.Device.AddScaled(x, y, scale)
		return
	}
	d.points(d.k.addScaled, y.Len(), pointArgs{out: x.Addr, x: x.Addr, y: y.Addr, scale: scale})
}

// Scale: see the definition.
func (d *Device) Scale(x compute.Tensor, scale float32) {
	if x.Type == dtype.F32 {
		d.Device.Scale(x, scale)
		return
	}
	d.points(d.k.scale, x.Len(), pointArgs{out: x.Addr, x: x.Addr, scale: scale})
}

// rotateArgs is a struct of point.cu.
type rotateArgs struct {
	x, angles                            uintptr
	rows, heads, dim, pairs, interleaved int32
	sign                                 float32
}

// Rotate: see the definition.
func (d *Device) Rotate(x, angles compute.Tensor, rope *compute.Rope) {
	if x.Type == dtype.F32 {
		d.Device.Rotate(x, angles, rope)
		return
	}
	d.rotate(x, angles, rope, 1)
}

// RotateGrad: see the definition.
func (d *Device) RotateGrad(dx, angles compute.Tensor, rope *compute.Rope) {
	d.rotate(dx, angles, rope, -1)
}

func (d *Device) rotate(x, angles compute.Tensor, rope *compute.Rope, sign float32) {
	rows, heads, dim, pairs := angles.Dims[0], x.Dims[1], x.Dims[2], len(rope.Inv)
	if angles.Len() == 0 || heads == 0 {
		return
	}
	a := rotateArgs{x.Addr, angles.Addr, int32(rows), int32(heads), int32(dim), int32(pairs), flag(rope.Interleaved), sign}
	k, each := d.k.rotate.one, 1
	if pairs%8 == 0 && !rope.Interleaved && d.k.rotate.of(dim, x.Addr, angles.Addr) == d.k.rotate.eight {
		k, each = d.k.rotate.eight, 8
	}
	launch(d, k, d.line(rows*heads*pairs*8/each), 256, 0, &a)
}

// adamwArgs is a struct of point.cu.
type adamwArgs struct {
	weight, m, v, grad                                         uintptr
	n                                                          int64
	scale, beta1, beta2, fresh1, fresh2, keep, rate, eps, part float32
}

// AdamW: see the definition.
func (d *Device) AdamW(weight, m, v, grad compute.Tensor, step compute.AdamWStep) {
	n := grad.Len()
	if n == 0 {
		return
	}
	b1, b2, t := float64(step.Beta1), float64(step.Beta2), float64(step.Step)
	a := adamwArgs{
		weight: weight.Addr, m: m.Addr, v: v.Addr, grad: grad.Addr, n: int64(n), scale: step.Grad,
		beta1: step.Beta1, beta2: step.Beta2, fresh1: float32(1 - b1), fresh2: float32(1 - b2),
		keep: float32(1 - float64(step.Rate)*float64(step.Decay)), rate: float32(float64(step.Rate) / (1 - math.Pow(b1, t))),
		eps: step.Eps, part: float32(1 / (1 - math.Pow(b2, t))),
	}
	launch(d, d.k.adamw.flat(weight.Addr, m.Addr, v.Addr, grad.Addr), d.line(n), 256, 0, &a)
}

// squaresArgs is a struct of point.cu.
type squaresArgs struct {
	x, out uintptr
	n      int64
	each   int32
}

// SquaredNorm: see the definition. It waits.
func (d *Device) SquaredNorm(x compute.Tensor) float64 {
	const each = 16 << 10 // elements of a thread block
	n := x.Len()
	blocks := ceil(n, each)
	if n == 0 {
		return 0
	}
	parts, ok := d.need(8 * blocks)
	if !ok {
		return math.NaN()
	}
	launch(d, d.k.squares, grid(blocks, 1), 256, 0, &squaresArgs{x.Addr, parts, int64(n), each})
	host := make([]byte, 8*blocks)
	d.Download(host, d.work)
	var sum float64
	for i := range blocks {
		sum += math.Float64frombits(binary.LittleEndian.Uint64(host[8*i:]))
	}
	return sum
}
