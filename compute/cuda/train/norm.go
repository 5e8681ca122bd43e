//go:build linux && amd64

package train

import (
	"nosa/compute"
	"nosa/dtype"
)

// normArgs is a struct of norm.cu.
type normArgs struct {
	out, x, weight uintptr
	rows, width    int32
	eps            float32
}

// RMSNorm: see the definition.
func (d *Device) RMSNorm(out, x, weight compute.Tensor, eps float32) {
	if x.Type == dtype.F32 {
		d.Device.RMSNorm(out, x, weight, eps)
		return
	}
	width := weight.Len()
	rows := x.Len() / width
	if rows == 0 {
		return
	}
	a := normArgs{out.Addr, x.Addr, weight.Addr, int32(rows), int32(width), eps}
	launch(d, d.k.norm.of(width, out.Addr, x.Addr, weight.Addr), grid(ceil(rows, 8), 1), 256, 0, &a)
}

// normGradArgs is a struct of norm.cu.
type normGradArgs struct {
	dx, parts, dy, x, weight uintptr
	rows, width, add         int32
	eps                      float32
}

// RMSNormGrad: see the definition.
func (d *Device) RMSNormGrad(dx, dweight, dy, x, weight compute.Tensor, eps float32, add bool) {
	const chunk = 32 // rows of a thread block
	width := weight.Len()
	rows := x.Len() / width
	if rows == 0 {
		return
	}
	chunks := ceil(rows, chunk)
	parts, ok := d.need(4 * chunks * width)
	if !ok {
		return
	}
	a := normGradArgs{dx.Addr, parts, dy.Addr, x.Addr, weight.Addr, int32(rows), int32(width), flag(add), eps}
	launch(d, d.k.normGrad.of(width, dx.Addr, dy.Addr, x.Addr, weight.Addr), grid(chunks, 1), 256, 0, &a)
	d.fold(dweight, parts, chunks, width)
}
