//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"strings"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// errFormat is what pack says of a weight that the kernels of products do not read.
var errFormat = errors.New("no product of a step has this format")

// productFormats are the formats that products read, of rows of a multiple of 32.
var productFormats = []dtype.Type{dtype.BF16, dtype.Q8_0, dtype.Q4_0}

// unitBytes is unit<T>::bytes of product.cu: 16 outputs, 64 elements of k.
func unitBytes(t dtype.Type) int {
	switch t {
	case dtype.BF16:
		return 2048
	case dtype.Q8_0:
		return 1024 + 64
	case dtype.Q4_0:
		return 512 + 64
	}
	panic(fmt.Sprintf("step: products with %v", t))
}

// productKernel is one shape of product.cu's kernels.
type productKernel struct {
	name        string
	tiles, rows int // of a block; with tiles 0 a warp has one: those for few rows
	warps       int
	stages      int
	wide        bool // is of sm_90a, and has two units of activations
	sums        bool // what a block adds up lies in registers
	f           map[dtype.Type]driver.Function
}

// shared is what a block of the kernel has of shared memory. whole: it has all pieces of k.
func (k *productKernel) shared(w *weight, whole bool) int {
	if k.tiles == 0 {
		return 0
	}
	n := k.stages * k.tiles * unitBytes(w.format)
	if k.wide {
		n += 2 * 128 * k.rows
	} else {
		n += k.stages * 128 * k.rows
	}
	if whole && w.splits > 1 && !k.sums {
		n += 16 * k.tiles * k.rows * 4
	}
	return n
}

// has reports whether there is such a kernel for a format.
func (k *productKernel) has(format string) bool {
	return strings.Contains(k.name, "%s") || strings.Contains(k.name, "_"+format+"_")
}

// symbol is the kernel's name.
func (k *productKernel) symbol(format string) string {
	return "step_" + strings.Replace(k.name, "%s", format, 1)
}

// products multiplies activations by packed weights. All its kernels give a row the same
// bits: which one runs is a matter of speed.
type products struct {
	kernels []*productKernel
	packs   map[dtype.Type]driver.Function
	shared  int            // what a block may have
	work    compute.Tensor // counts of blocks that are done, then sums of pieces
}

// countBytes is the room for counts at the beginning of work.
const countBytes = 1 << 16

// load loads the kernels.
func (p *products) load(g *gpu) error {
	p.kernels = []*productKernel{
		{name: "few_%s_1a", rows: 8, warps: 8}, {name: "few_%s_1a", rows: 8, warps: 4}, {name: "few_%s_1b", rows: 8, warps: 4},
		{name: "few_%s_2a", rows: 16, warps: 8}, {name: "few_%s_2a", rows: 16, warps: 4},
		{name: "tiles_%s_32b", tiles: 8, rows: 32, warps: 8, stages: 4},
		{name: "tiles_%s_64b", tiles: 8, rows: 64, warps: 8, stages: 4},
		{name: "tiles_%s_128b", tiles: 8, rows: 128, warps: 8, stages: 3},
	}
	if g.props.Major == 9 {
		p.kernels = append(p.kernels,
			&productKernel{name: "wide_%s_64b", tiles: 8, rows: 64, warps: 8, stages: 4, wide: true},
			&productKernel{name: "wide_bf16_64c", tiles: 16, rows: 64, warps: 16, stages: 4, wide: true},
			&productKernel{name: "wide_%s_96b", tiles: 8, rows: 96, warps: 8, stages: 4, wide: true},
			&productKernel{name: "wide_%s_96c", tiles: 16, rows: 96, warps: 16, stages: 3, wide: true},
			&productKernel{name: "wide_bf16_128c", tiles: 16, rows: 128, warps: 16, stages: 4, wide: true},
			&productKernel{name: "wide_%s_128d", tiles: 8, rows: 128, warps: 8, stages: 6, wide: true, sums: true},
			&productKernel{name: "wide_bf16_160a", tiles: 8, rows: 160, warps: 8, stages: 5, wide: true, sums: true})
	}
	p.packs = make(map[dtype.Type]driver.Function)
	p.shared = g.props.SharedMemory
	found := make(map[string]*driver.Function)
	want := func(name string) { found[name] = new(driver.Function) }
	names := map[dtype.Type]string{dtype.BF16: "bf16", dtype.Q8_0: "q8_0", dtype.Q4_0: "q4_0"}
	for _, name := range names {
		want("step_pack_" + name)
		for _, k := range p.kernels {
			if !k.has(name) {
				continue
			}
			want(k.symbol(name))
		}
	}
	if err := g.load("product", found); err != nil {
		return err
	}
	for t, name := range names {
		p.packs[t] = *found["step_pack_"+name]
		for _, k := range p.kernels {
			if !k.has(name) {
				continue
			}
			if k.f == nil {
				k.f = make(map[dtype.Type]driver.Function)
			}
			k.f[t] = *found[k.symbol(name)]
		}
	}
	for _, k := range p.kernels {
		if k.tiles == 0 {
			continue
		}
		for _, f := range k.f {
			if err := g.ctx.SetFunctionAttribute(f, driver.MaxDynamicShared, p.shared); err != nil {
				return err
			}
		}
	}
	return nil
}

// weight is one or several matrices [n, k], joined along n, as the kernels read them.
type weight struct {
	format       dtype.Type
	n, k         int // outputs of all parts
	tiles, units int
	splits       int  // pieces of k, whose sums are added in their order
	pair         bool // a tile has 8 outputs of both of two parts
	memory       compute.Tensor
	bias         uintptr // F32 [n] of the caller, or 0
}

// splitsOf is into how many pieces a row's sum is cut: enough for all multiprocessors to
// have something to read. It knows the weight alone.
func splitsOf(tiles, units int) int {
	splits := 8
	for splits > 1 && (tiles*splits > 4096 || units < 2*splits) {
		splits /= 2
	}
	return splits
}

// pack makes a weight of parts [n, k] of one format, which may be freed when the stream has
// come past. With pair it is gate and up of one shape, for the epilogue swiglu. The error
// wraps errFormat where the kernels do not read what they are given.
func (p *products) pack(g *gpu, d *cuda.Device, pair bool, parts ...compute.Tensor) (weight, error) {
	const most = 4
	if len(parts) == 0 || len(parts) > most || pair && (len(parts) != 2 || parts[0].Dims != parts[1].Dims) {
		panic(fmt.Sprintf("step: a weight of %d parts", len(parts)))
	}
	w := weight{format: parts[0].Type, k: parts[0].Stride(), pair: pair}
	pack, ok := p.packs[w.format]
	if !ok {
		return weight{}, fmt.Errorf("%w: %v", errFormat, w.format)
	}
	if w.k%32 != 0 {
		return weight{}, fmt.Errorf("%w: %v with rows of %d", errFormat, w.format, w.k)
	}
	a := packArgs{rowBytes: int32(parts[0].Rows(0, 1).Bytes()), k: int32(w.k)}
	for i, x := range parts {
		if x.Type != w.format {
			return weight{}, fmt.Errorf("%w: %v beside %v", errFormat, w.format, x.Type)
		}
		if x.Stride() != w.k || x.Addr%4 != 0 {
			panic(fmt.Sprintf("step: a part %v at %#x of a weight with rows of %d", x.Dims, x.Addr, w.k))
		}
		a.parts[i], a.n[i] = x.Addr, int32(x.Dims[0])
		w.n += x.Dims[0]
	}
	w.tiles, w.units = ceil(w.n, 16), ceil(w.k, 64)
	if pair {
		w.tiles, a.pair = ceil(w.n/2, 8), 1
	}
	w.splits = splitsOf(w.tiles, w.units)
	var err error
	if w.memory, err = d.Alloc(dtype.U8, w.tiles*w.units*unitBytes(w.format)); err != nil {
		return weight{}, err
	}
	a.out, a.units = w.memory.Addr, int32(w.units)
	launch(g, pack, driver.Dim{X: w.tiles, Y: ceil(w.units, 8), Z: 1}, 256, 0, &a)
	return w, nil
}

// free gives the weight's memory back.
func (w weight) free(d *cuda.Device) { d.Free(w.memory) }

// packArgs is the struct of product.cu.
type packArgs struct {
	out                      uintptr
	parts                    [4]uintptr
	n                        [4]int32
	rowBytes, k, units, pair int32
}

// epilogue is what becomes of a product.
type epilogue struct {
	kind  int32
	scale float32 // of add
	bias  uintptr // [n] f32 or none; not with swiglu
}

const (
	store  = iota // out [rows, n] f32 = product + bias
	add           // out [rows, n] f32 += scale · (product + bias)
	swiglu        // out [rows, n/2] bf16 = silu(gate) · up, of a weight that is a pair
)

// productArgs is the struct of product.cu.
type productArgs struct {
	out, x, weight, bias, parts, counts        uintptr
	scale                                      float32
	rows, n, k, tiles, units, splits, epilogue int32
}

// run multiplies x [rows, k], bf16 and at 16 bytes.
func (p *products) run(g *gpu, out, x uintptr, w *weight, rows int, e epilogue) {
	k, whole := p.choose(g, w, rows)
	p.post(g, k, whole, out, x, w, rows, e)
}

// choose is the kernel for so many rows, and whether its blocks have all of k.
func (p *products) choose(g *gpu, w *weight, rows int) (k *productKernel, whole bool) {
	warps := 8
	if w.splits < 8 {
		warps = 4
	}
	name := "few_%s_2a"
	if rows <= 8 {
		name = "few_%s_1a"
		if w.splits == 1 && w.format != dtype.Q4_0 {
			name, warps = "few_%s_1b", 4
		}
	}
	// What was the fastest on an H200, of many shapes.
	bf16, large, long := w.format == dtype.BF16, w.tiles >= 8*g.props.Processors, w.units >= 128
	if rows > 16 {
		name, warps = "tiles_%s_128b", 0
		switch wide := g.props.Major == 9; {
		case rows <= 32 || !wide && rows > 128 && p.shared < 160<<10:
			name = "tiles_%s_32b" // has room for the sums of many rows' pieces
		case !wide && rows <= 64:
			name = "tiles_%s_64b"
		case !wide:
		case rows <= 64 && large && bf16:
			name = "wide_bf16_64c"
		case rows <= 64 || rows > 96 && rows <= 128 && !(large && bf16):
			name = "wide_%s_64b"
		case rows <= 96 && large:
			name = "wide_%s_96c"
		case rows <= 96 || rows <= 256 && !(bf16 && (large || long)):
			name = "wide_%s_96b"
		case !bf16:
			name = "wide_%s_128d"
		case rows <= 256 || long:
			name = "wide_bf16_128c"
		default:
			name = "wide_bf16_160a"
		}
	}
	k = p.kernel(name, warps)
	if k.tiles == 0 || w.splits == 1 {
		return k, true
	}
	// All of k where there are blocks for most multiprocessors, as many at a time as there were
	// if their sums took no room.
	blocks, beside := ceil(w.tiles, k.tiles)*ceil(rows, k.rows), 1
	if k.warps == 8 && !k.sums {
		beside = 2
	}
	enough := 4*blocks >= 3*beside*g.props.Processors && beside*(k.shared(w, true)+1024) <= p.shared+1024
	return k, enough || blocks >= 4*g.props.Processors && k.shared(w, true) <= p.shared
}

// kernel is the one of that name, and, if not 0, of so many warps.
func (p *products) kernel(name string, warps int) *productKernel {
	for _, k := range p.kernels {
		if k.name == name && (warps == 0 || k.warps == warps) {
			return k
		}
	}
	panic("step: no kernel " + name)
}

// partBytes is what the sums of pieces take where a block has one.
func (k *productKernel) partBytes(w *weight, rows int) int {
	return ceil(w.tiles, k.tiles) * ceil(rows, k.rows) * w.splits * 16 * k.tiles * k.rows * 4
}

// scratch is how many bytes of work a product takes.
func (p *products) scratch(g *gpu, w *weight, rows int) int {
	k, whole := p.choose(g, w, rows)
	if whole {
		return 0
	}
	return countBytes + k.partBytes(w, rows)
}

// reserve makes work at least so long.
func (p *products) reserve(d *cuda.Device, n int) (err error) {
	if n <= p.work.Len() && !p.work.None() {
		return nil
	}
	d.Free(p.work)
	p.work, err = d.Alloc(dtype.U8, n)
	return err
}

// free gives work back.
func (p *products) free(d *cuda.Device) {
	if !p.work.None() {
		d.Free(p.work)
		p.work = compute.Tensor{}
	}
}

func (p *products) post(g *gpu, k *productKernel, whole bool, out, x uintptr, w *weight, rows int, e epilogue) {
	a := productArgs{out: out, x: x, weight: w.memory.Addr, bias: e.bias, scale: e.scale, rows: int32(rows), n: int32(w.n), k: int32(w.k),
		tiles: int32(w.tiles), units: int32(w.units), splits: int32(w.splits), epilogue: e.kind}
	if k.tiles == 0 {
		launchEarly(g, k.f[w.format], driver.Dim{X: ceil(w.tiles, k.warps/w.splits), Y: ceil(rows, k.rows), Z: 1}, 32*k.warps, 0, &a)
		return
	}
	blocks, pieces := ceil(w.tiles, k.tiles)*ceil(rows, k.rows), 1
	if !whole {
		pieces = w.splits
		a.counts, a.parts = p.work.Addr, p.work.Addr+countBytes
		if 4*blocks > countBytes || countBytes+k.partBytes(w, rows) > p.work.Len() {
			panic(fmt.Sprintf("step: %d bytes for a product that takes %d", p.work.Len(), countBytes+k.partBytes(w, rows)))
		}
	}
	launchEarly(g, k.f[w.format], driver.Dim{X: blocks, Y: pieces, Z: 1}, 32*k.warps, k.shared(w, whole), &a)
}
