//go:build linux && amd64

package train

import "nosa/compute"

// foldArgs is a struct of fold.cu.
type foldArgs struct {
	out, parts       uintptr
	n, count, stride int32
}

// fold adds float32 parts, stride elements apart, to a tensor.
func (d *Device) fold(to compute.Tensor, parts uintptr, count, stride int) {
	n := to.Len()
	launch(d, d.k.fold, grid(ceil(n, 32), 1), 1024, 0, &foldArgs{to.Addr, parts, int32(n), int32(count), int32(stride)})
}

// foldFew is fold of few parts of many elements, one after the other.
func (d *Device) foldFew(to compute.Tensor, parts uintptr, count int) {
	n := to.Len()
	launch(d, d.k.foldFew.of(n, to.Addr, parts), d.line(n), 256, 0, &foldArgs{to.Addr, parts, int32(n), int32(count), int32(n)})
}

// columnsArgs is a struct of fold.cu.
type columnsArgs struct {
	parts, x uintptr
	rows, n  int32
}

// addColumns adds the sums of x's columns [rows, n] to a tensor.
func (d *Device) addColumns(to, x compute.Tensor) {
	const chunk = 64 // rows of a thread block
	n := to.Len()
	rows := x.Len() / n
	chunks := ceil(rows, chunk)
	parts, ok := d.need(4 * chunks * n)
	if !ok {
		return
	}
	launch(d, d.k.columns, grid(ceil(n, 256), chunks), 256, 0, &columnsArgs{parts, x.Addr, int32(rows), int32(n)})
	d.fold(to, parts, chunks, n)
}
