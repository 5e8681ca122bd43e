//go:build linux && amd64

package train

import (
	"nosa/compute/cuda/driver"
)

// tensorArgs is tensor_args of product_tensor.cu, which is whole multiples of 64 bytes.
type tensorArgs struct {
	a, b, out driver.TensorMap
	of        productArgs
	_         [8]byte
}

// tensorKernels are the forms of product_tensor.cu: warpgroups that take turns, in clusters or not,
// and warpgroups that have a tile together.
func tensorKernels() (turns, pair, together *productKernel) {
	form := func(name string, rows, stages, cluster int) *productKernel {
		const line, columns, results = 128, 192, 2 * 192 * 128
		k := &productKernel{name: name, rows: rows * cluster, columns: columns, unit: 64, threads: 384, needsWide: true, persistent: true, maps: true, cluster: cluster}
		for i := range k.shared {
			k.shared[i] = 1024 + stages*(rows+columns)*line + results + (2*stages+2+8)*8
		}
		return k
	}
	return form("turns", 128, 4, 1), form("turns_pair", 128, 4, 2), form("together_pair", 256, 3, 2)
}

// tensorMaps are maps that have been encoded. They hold no memory of the GPU, and are those of any
// matrix of the same shape at the same place.
type tensorMaps map[driver.Matrix]driver.TensorMap

// mostMaps is some more than a step of a large model has.
const mostMaps = 1 << 14

func (d *Device) tensorMap(addr uintptr, rows, columns, boxRows int) (driver.TensorMap, bool) {
	const boxColumns = 64
	of := driver.Matrix{Addr: addr, Rows: rows, Columns: columns, BoxRows: boxRows, BoxColumns: boxColumns}
	if m, ok := d.p.maps[of]; ok {
		return m, true
	}
	m, err := d.Context().EncodeTensorMap(of)
	if err != nil {
		d.Fail(err)
		return m, false
	}
	if d.p.maps == nil || len(d.p.maps) >= mostMaps {
		d.p.maps = tensorMaps{}
	}
	d.p.maps[of] = m
	return m, true
}

// launchTensor posts a kernel of product_tensor.cu for so many tiles and parts.
func (d *Device) launchTensor(k *productKernel, p *product, of *productArgs, work int) {
	const unit, columns, groupRows, warpRows = 64, 192, 128, 16
	args := tensorArgs{of: *of}
	ok := [3]bool{true, true, true}
	if p.order == orderTN {
		args.a, ok[0] = d.tensorMap(p.a.Addr, p.k, p.m, unit)
	} else {
		args.a, ok[0] = d.tensorMap(p.a.Addr, p.m, p.k, groupRows)
	}
	if p.order == orderNT {
		args.b, ok[1] = d.tensorMap(p.b.Addr, p.n, p.k, columns/k.cluster)
	} else {
		args.b, ok[1] = d.tensorMap(p.b.Addr, p.k, p.n, unit/k.cluster)
	}
	if p.kind <= kindAdd {
		args.out, ok[2] = d.tensorMap(p.out.Addr, p.m, p.n, warpRows)
	}
	if ok != [3]bool{true, true, true} {
		return
	}
	size := driver.Dim{X: k.cluster * min(work, d.Properties().Processors/k.cluster), Y: 1, Z: 1}
	if k.cluster == 1 {
		launch(d, k.f[p.order], size, k.threads, k.shared[p.order], &args)
		return
	}
	d.Context().LaunchClusters(k.f[p.order], size, driver.Dim{X: k.cluster, Y: 1, Z: 1}, driver.Dim{X: k.threads, Y: 1, Z: 1}, false, k.shared[p.order], d.Stream(), bytesOf(&args))
}
