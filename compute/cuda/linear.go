//go:build linux && amd64

package cuda

import (
	"fmt"

	"nosa/compute"
)

// linearArgs is the struct of linear.cu.
type linearArgs struct {
	out, x, weight, bias uintptr
	rows, n, k, rowBytes int32
	wide                 int32
}

// Linear: see the definition. Groups of rows share what a warp reads of the weight.
func (d *Device) Linear(out, x, weight, bias compute.Tensor) {
	n, k := weight.Dims[0], weight.Stride()
	rows := x.Len() / k
	if rows == 0 || n == 0 {
		return
	}
	row := weight.Rows(0, 1).Bytes()
	aligned := x.Addr%16 == 0 && k%4 == 0
	if weight.Type.Quantised() && !aligned {
		panic(fmt.Sprintf("cuda: activations of a product with %v at %#x", weight.Type, x.Addr))
	}
	a := linearArgs{out: out.Addr, x: x.Addr, weight: weight.Addr, bias: bias.Addr,
		rows: int32(rows), n: int32(n), k: int32(k), rowBytes: int32(row)}
	if aligned && k%8 == 0 && row%16 == 0 && weight.Addr%16 == 0 {
		a.wide = 1
	}
	const warps = 8
	if p, ok := d.k.product[weight.Type]; ok && k%32 == 0 && x.Addr%16 == 0 && (weight.Type.Quantised() || a.wide == 1) {
		// On tensor cores: which they are depends on the weight alone, not on the rows.
		f, outputs, group := p[3], 32, 64
		switch {
		case rows <= 8:
			f, outputs, group = p[0], 16, 8
		case rows <= 16:
			f, outputs, group = p[1], 16, 16
		case rows <= 32:
			f, outputs, group = p[2], 16, 32
		}
		launch(d, f, grid(ceil(n, outputs), ceil(rows, group), 1), 32*warps, 0, &a)
		return
	}
	kernels := d.k.linear[weight.Type]
	switch {
	case rows == 1:
		launch(d, kernels.one, grid(ceil(n, warps), 1, 1), 32*warps, 0, &a)
	case rows <= 4:
		launch(d, kernels.four, grid(ceil(n, warps), 1, 1), 32*warps, 0, &a)
	default:
		launch(d, kernels.eight, grid(ceil(n, 4*warps), ceil(rows, 8), 1), 32*warps, 0, &a)
	}
}
