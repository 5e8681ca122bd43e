//go:build linux && amd64

package train

import (
	"fmt"

	"nosa/compute"
	"nosa/dtype"
)

// importanceArgs is a struct of importance.cu.
type importanceArgs struct {
	out, v, delta, bias, a uintptr
	rows, heads, width     int32
}

// Importance: see the definition.
func (d *Device) Importance(out, v, delta, bias, a compute.Tensor) {
	if v.Type == dtype.F32 {
		d.Device.Importance(out, v, delta, bias, a)
		return
	}
	heads := a.Len()
	width := delta.Len() / heads
	rows := v.Len() / width
	if rows == 0 {
		return
	}
	args := importanceArgs{out.Addr, v.Addr, delta.Addr, bias.Addr, a.Addr, int32(rows), int32(heads), int32(width)}
	launch(d, d.k.importance, grid(ceil(rows, 8), 1), 256, 0, &args)
}

// importanceGradArgs is a struct of importance.cu.
type importanceGradArgs struct {
	dv, parts, ds, v, delta, bias, a uintptr
	rows, heads, width               int32
}

// ImportanceGrad: see the definition.
func (d *Device) ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a compute.Tensor) {
	const chunk = 32 // rows of a thread block
	heads := a.Len()
	width := delta.Len() / heads
	rows := v.Len() / width
	if rows == 0 {
		return
	}
	shared := 4 * 2 * chunk * heads
	if shared > 48<<10 {
		panic(fmt.Sprintf("cuda: importance of %d KV heads, at most %d", heads, 48<<10/(8*chunk)))
	}
	chunks, stride := ceil(rows, chunk), heads*(width+2)
	parts, ok := d.need(4 * chunks * stride)
	if !ok {
		return
	}
	args := importanceGradArgs{dv.Addr, parts, ds.Addr, v.Addr, delta.Addr, bias.Addr, a.Addr, int32(rows), int32(heads), int32(width)}
	launch(d, d.k.importanceGrad, grid(chunks, 1), 256, shared, &args)
	d.fold(ddelta, parts, chunks, stride)
	if !dbias.None() {
		d.fold(dbias, parts+uintptr(4*heads*width), chunks, stride)
	}
	d.fold(da, parts+uintptr(4*heads*(width+1)), chunks, stride)
}
