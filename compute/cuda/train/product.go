//go:build linux && amd64

package train

import (
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// order is how the factors of a product a·b over k lie: see product.cuh.
type order int

const (
	orderNT order = iota // y = x·Wᵀ: [m, k] and [n, k]
	orderNN              // dx = dy·W: [m, k] and [k, n]
	orderTN              // dW = dyᵀ·x: [k, m] and [k, n]
)

var orderNames = [...]string{"nt", "nn", "tn"}

// What becomes of sums, as product.cuh has it.
const (
	kindSet  = iota // out is bf16, and set
	kindAdd         // out is bf16, and added to
	kindSum         // out is float32, and added to
	kindPart        // out has parts of k, which fold adds
)

// productKernel is one way to multiply.
type productKernel struct {
	name          string
	f             [3]driver.Function
	rows, columns int // of a tile
	unit          int // elements of k at a time
	shared        [3]int
	threads       int
	needsWide     bool
	persistent    bool // thread blocks take one tile after another
	maps          bool // factors and results travel by tensor maps: product_tensor.go
	cluster       int  // thread blocks that have a tile together; 0: one has it
}

// products are the kernels of product.cu, product_group.cu and product_tensor.cu, the best first.
type products struct {
	kernels []*productKernel
	maps    tensorMaps
}

// loadProducts loads those that the GPU has.
func (d *Device) loadProducts() error {
	const along, across = 128 * (32 + 8) * 2, 32 * (128 + 8) * 2 // of a stage, with padding
	plain := &productKernel{name: "product", rows: 128, columns: 128, unit: 32, threads: 256,
		shared: [3]int{3 * (along + along), 3 * (along + across), 3 * (across + across)}}
	const stages, stage = 5, (128 + 192) * 128
	group := &productKernel{name: "group", rows: 128, columns: 192, unit: 64, threads: 384, needsWide: true, persistent: true}
	for i := range group.shared {
		group.shared[i] = stages*stage + 1024 + (2*stages+2)*8
	}
	sources := map[*productKernel]string{plain: "product", group: "product_group"}
	all := []*productKernel{plain}
	if p := d.Properties(); p.Major == 9 && p.Minor == 0 && group.shared[0] <= p.SharedMemory {
		all = []*productKernel{group, plain}
		if d.Context().HasTensorMaps() {
			turns, pair, together := tensorKernels()
			sources[turns], sources[pair], sources[together] = "product_tensor", "product_tensor", "product_tensor"
			all = append(all, turns, pair, together) // behind the others until they have been measured: no GPU has run them yet
		}
	}
	for _, k := range all {
		names := map[string]*driver.Function{}
		for i, o := range orderNames {
			names[k.name+"_"+o] = &k.f[i]
		}
		errs := []error{d.load(sources[k], names)}
		for i, f := range k.f {
			if errs[0] == nil {
				errs = append(errs, d.Context().AllowShared(f, k.shared[i]))
			}
		}
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	d.p.kernels = all
	return nil
}

// product is one to be multiplied: c [m, n] = a·b over k.
type product struct {
	order   order
	a, b    compute.Tensor
	out     compute.Tensor
	bias    uintptr
	m, n, k int
	kind    int
}

// productArgs is the struct of product.cuh.
type productArgs struct {
	out, a, b, bias             uintptr
	m, n, k, splits, kind, wide int32
}

// wide reports whether lines of both factors and of the result are whole eights at 16 bytes.
func (p *product) wide() bool {
	lines := [3]int{p.k, p.k, p.m}[p.order] | p.n
	if p.order == orderNT {
		lines |= p.k
	}
	return lines%8 == 0 && (p.a.Addr|p.b.Addr|p.out.Addr)%16 == 0
}

// splits is in how many parts k goes, so that there is work for all multiprocessors of a large
// GPU, of any: they have to be added after all.
func (k *productKernel) splits(p *product) int {
	if p.kind != kindSum {
		return 1
	}
	// A turn of all multiprocessors: clusters have one tile, and large tiles take longer.
	cluster := max(1, k.cluster)
	processors, longer := 132/cluster, max(1, k.rows/cluster/128)
	tiles, units := ceil(p.m, k.rows)*ceil(p.n, k.columns), ceil(p.k, k.unit)
	best, least := 1, 0
	for s := 1; s <= min(32, max(1, units/4)); s++ {
		// In units: each turn of all multiprocessors has its units of k, and sums to write; parts
		// are written and read again.
		cost := ceil(tiles*s, processors) * (ceil(units, s) + 4) * longer
		if s > 1 {
			cost += 4 + s*p.m*p.n/170_000
		}
		if s == 1 || cost < least {
			best, least = s, cost
		}
	}
	return best
}

// multiply posts a product with the first kernel that takes it.
func (d *Device) multiply(p *product) {
	wide := p.wide()
	for _, k := range d.p.kernels {
		if wide || !k.needsWide {
			d.multiplyBy(k, p, k.splits(p))
			return
		}
	}
}

// multiplyBy posts a product with a kernel, in parts of k that are added afterwards.
func (d *Device) multiplyBy(k *productKernel, p *product, splits int) {
	if p.m == 0 || p.n == 0 || p.k == 0 {
		return
	}
	a := productArgs{out: p.out.Addr, a: p.a.Addr, b: p.b.Addr, bias: p.bias, m: int32(p.m), n: int32(p.n), k: int32(p.k),
		splits: int32(splits), kind: int32(p.kind), wide: flag(p.wide())}
	if splits > 1 {
		parts, ok := d.need(4 * splits * p.m * p.n)
		if !ok {
			return
		}
		a.out, a.kind = parts, kindPart
	}
	size := driver.Dim{X: ceil(p.n, k.columns), Y: ceil(p.m, k.rows), Z: splits}
	if k.maps {
		d.launchTensor(k, p, &a, size.X*size.Y*size.Z)
		if splits > 1 {
			d.foldFew(p.out, a.out, splits)
		}
		return
	}
	if k.persistent {
		size = grid(min(size.X*size.Y*size.Z, d.Properties().Processors), 1)
	}
	launch(d, k.f[p.order], size, k.threads, k.shared[p.order], &a)
	if splits > 1 {
		d.foldFew(p.out, a.out, splits)
	}
}

// Linear: see the definition.
func (d *Device) Linear(out, x, weight, bias compute.Tensor) {
	if x.Type == dtype.F32 {
		d.Device.Linear(out, x, weight, bias)
		return
	}
	halves(out, x, weight)
	n, k := weight.Dims[0], weight.Stride()
	d.multiply(&product{order: orderNT, a: x, b: weight, out: out, bias: bias.Addr, m: x.Len() / k, n: n, k: k, kind: kindSet})
}

// LinearInputGrad: see the definition.
func (d *Device) LinearInputGrad(dx, dy, weight compute.Tensor, add bool) {
	halves(dx, dy, weight)
	n, k := weight.Dims[0], weight.Stride()
	p := &product{order: orderNN, a: dy, b: weight, out: dx, m: dy.Len() / n, n: k, k: n, kind: kindSet}
	if add {
		p.kind = kindAdd
	}
	d.multiply(p)
}

// LinearWeightGrad: see the definition.
func (d *Device) LinearWeightGrad(dweight, dbias, dy, x compute.Tensor) {
	halves(dy, x)
	n, k := dweight.Dims[0], dweight.Stride()
	rows := dy.Len() / n
	if rows == 0 {
		return
	}
	d.multiply(&product{order: orderTN, a: dy, b: x, out: dweight, m: n, n: k, k: rows, kind: kindSum})
	if !dbias.None() {
		d.addColumns(dbias, dy)
	}
}

// halves panics where a factor is not bf16.
func halves(list ...compute.Tensor) {
	for _, x := range list {
		if x.Type != dtype.BF16 {
			panic(fmt.Sprintf("cuda: a product of %v in training", x.Type))
		}
	}
}
