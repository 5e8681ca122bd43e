//go:build linux && amd64

package cuda

import (
	"fmt"

	"nosa/compute"
)

// The parameters are the structs of dense.cu.

type embedArgs struct {
	out, table, ids uintptr
	width, rowBytes int32
}

// Embed: see the definition.
func (d *Device) Embed(out, table compute.Tensor, ids []int32) {
	for _, id := range ids {
		if id < 0 || int(id) >= table.Dims[0] {
			panic(fmt.Sprintf("cuda: token id %d outside the table of %d", id, table.Dims[0]))
		}
	}
	if len(ids) == 0 {
		return
	}
	a := embedArgs{out.Addr, table.Addr, list(d, ids), int32(table.Stride()), int32(table.Rows(0, 1).Bytes())}
	launch(d, d.k.embed[table.Type], grid(len(ids), 1, 1), 128, 0, &a)
}

type normArgs struct {
	out, x, weight uintptr
	width          int32
	eps            float32
}

// RMSNorm: see the definition.
func (d *Device) RMSNorm(out, x, weight compute.Tensor, eps float32) {
	if x.Len() == 0 {
		return
	}
	width := weight.Len()
	a := normArgs{out.Addr, x.Addr, weight.Addr, int32(width), eps}
	launch(d, d.k.rmsNorm, grid(x.Len()/width, 1, 1), 256, 0, &a)
}

type anglesArgs struct {
	out, pos, inv uintptr
	pairs         int32
	factor        float32
}

// Angles: see the definition.
func (d *Device) Angles(out compute.Tensor, pos []int32, rope *compute.Rope) {
	if len(pos) == 0 || len(rope.Inv) == 0 {
		return
	}
	a := anglesArgs{out.Addr, list(d, pos), list(d, rope.Inv), int32(len(rope.Inv)), rope.Factor}
	launch(d, d.k.angles, grid(len(pos), 1, 1), 128, 0, &a)
}

type rotateArgs struct {
	x, angles                      uintptr
	heads, dim, pairs, interleaved int32
}

// Rotate: see the definition.
func (d *Device) Rotate(x, angles compute.Tensor, rope *compute.Rope) {
	if angles.Len() == 0 {
		return
	}
	a := rotateArgs{x.Addr, angles.Addr, int32(x.Dims[1]), int32(x.Dims[2]), int32(len(rope.Inv)), 0}
	if rope.Interleaved {
		a.interleaved = 1
	}
	launch(d, d.k.rotate, grid(angles.Dims[0], 1, 1), 256, 0, &a)
}

type pointArgs struct {
	out, x, y uintptr
	n         int64
	scale     float32
}

// points is the grid of element-wise ops: a few elements for each thread.
func (d *Device) points(n int) int { return min(ceil(n, 256), 8*d.props.Processors) }

// SwiGLU: see the definition.
func (d *Device) SwiGLU(out, gate, up compute.Tensor) {
	if n := gate.Len(); n > 0 {
		launch(d, d.k.swiglu, grid(d.points(n), 1, 1), 256, 0, &pointArgs{out.Addr, gate.Addr, up.Addr, int64(n), 0})
	}
}

// AddScaled: see the definition.
func (d *Device) AddScaled(x, y compute.Tensor, scale float32) {
	if n := y.Len(); n > 0 {
		launch(d, d.k.addScaled, grid(d.points(n), 1, 1), 256, 0, &pointArgs{x.Addr, 0, y.Addr, int64(n), scale})
	}
}

// Scale: see the definition.
func (d *Device) Scale(x compute.Tensor, scale float32) {
	if n := x.Len(); n > 0 {
		launch(d, d.k.scale, grid(d.points(n), 1, 1), 256, 0, &pointArgs{x.Addr, 0, 0, int64(n), scale})
	}
}

type importanceArgs struct {
	out, v, delta, bias, a uintptr
	heads, width           int32
}

// Importance: see the definition.
func (d *Device) Importance(out, v, delta, bias, a compute.Tensor) {
	heads := a.Len()
	width := delta.Len() / heads
	if v.Len() == 0 {
		return
	}
	args := importanceArgs{out.Addr, v.Addr, delta.Addr, bias.Addr, a.Addr, int32(heads), int32(width)}
	launch(d, d.k.importance, grid(v.Len()/width, heads, 1), 32, 0, &args)
}
