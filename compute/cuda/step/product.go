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

// formatNames are those in the kernels' names.
var formatNames = map[dtype.Type]string{dtype.BF16: "bf16", dtype.Q8_0: "q8_0", dtype.Q4_0: "q4_0"}

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
	stages      int  // of tiles
	deep        deep // is one of sm_90a, if it has weights
	beside      int  // of sm_90a: blocks that share rows
	narrow      bool // a block may have fewer tiles
	f           map[dtype.Type]driver.Function
}

// deep is what a block of the kernels for many rows of sm_90a has in shared memory.
type deep struct {
	units         int  // of a step
	weights, rows int  // steps
	sums          bool // all pieces of k may be a block's
}

// deeps are the kernels for many rows of sm_90a: those of codes, and of bf16, whose blocks may share rows.
func deeps() (kernels []*productKernel) {
	add := func(name string, warpgroups, rows int, d deep) {
		kernels = append(kernels, &productKernel{name: "deep_" + name, tiles: 4 * warpgroups, rows: rows, warps: 4 * warpgroups, deep: d, beside: 1})
	}
	for _, k := range flows {
		for _, beside := range []int{1, 4} {
			k := k
			k.narrow = k.warps == 3 && k.rows != 128 && k.rows != 192 // those take 2 % longer so
			k.name, k.tiles, k.warps, k.beside = "flow_bf16_"+k.name, 4*k.warps, 4*k.warps+4, beside
			kernels = append(kernels, &k)
		}
	}
	add("bf16_96", 4, 96, deep{units: 2, weights: 2, rows: 3})
	add("bf16_192", 2, 192, deep{units: 2, weights: 2, rows: 3, sums: true})
	return append(kernels, codeKernels()...)
}

// flows are those of bf16, warps counted in warpgroups.
var flows = []productKernel{
	{name: "16c", warps: 3, rows: 16, deep: deep{units: 2, weights: 4, rows: 8}},
	{name: "16d", warps: 4, rows: 16, deep: deep{units: 2, weights: 3, rows: 8}},
	{name: "32c", warps: 3, rows: 32, deep: deep{units: 2, weights: 4, rows: 4}},
	{name: "32d", warps: 4, rows: 32, deep: deep{units: 2, weights: 3, rows: 4}},
	{name: "64c", warps: 3, rows: 64, deep: deep{units: 2, weights: 3, rows: 4}},
	{name: "64d", warps: 4, rows: 64, deep: deep{units: 1, weights: 5, rows: 8}},
	{name: "96c", warps: 3, rows: 96, deep: deep{units: 2, weights: 3, rows: 3}},
	{name: "96d", warps: 4, rows: 96, deep: deep{units: 1, weights: 5, rows: 5}},
	{name: "128c", warps: 3, rows: 128, deep: deep{units: 1, weights: 6, rows: 5}},
	{name: "128d", warps: 4, rows: 128, deep: deep{units: 1, weights: 5, rows: 4}},
	{name: "192c", warps: 3, rows: 192, deep: deep{units: 1, weights: 4, rows: 5}},
	{name: "256c", warps: 3, rows: 256, deep: deep{units: 1, weights: 4, rows: 4}},
}

// shared is what a block of the kernel has of shared memory. whole: it has all pieces of k.
func (k *productKernel) shared(w *weight, whole bool) int {
	sums := 16 * k.tiles * k.rows * 4
	switch d := k.deep; {
	case k.tiles == 0:
		return 0
	case d.weights > 0:
		n := d.units * (d.weights*k.tiles*unitBytes(w.format) + d.rows*128*k.rows)
		if !whole {
			n = max(n, sums)
		}
		return 512 + n
	default:
		n := k.stages * (k.tiles*unitBytes(w.format) + 128*k.rows)
		if whole && w.splits > 1 {
			n += sums
		}
		return n
	}
}

// wide is how many tiles a block gets. Those of three warpgroups whose k is cut get fewer than they
// have warps for if with that all of them still run at once: a multiprocessor takes in about 62 GB/s of weights
// and activations, so that the more of them work the sooner all is there. A block of these needs a
// multiprocessor, and 124 of an H200's 132 have room for clusters of four.
func (k *productKernel) wide(g *gpu, w *weight, rows int, whole bool) int {
	if k.narrow && !whole && k.beside == 1 {
		clusters := g.props.Processors * 9 / 10 / w.splits / ceil(rows, k.rows)
		return max(min(k.tiles, ceil(w.tiles, max(clusters, 1))), k.tiles/2)
	}
	return k.tiles
}

// takes reports whether the kernel multiplies such a weight so.
func (k *productKernel) takes(w *weight, whole bool) bool {
	if _, ok := k.f[w.format]; !ok || !whole && w.splits == 1 {
		return false
	}
	if k.tiles == 0 {
		return whole && k.warps%w.splits == 0
	}
	const largest = 8 // cluster that every GPU has room for
	return k.deep.weights == 0 || !whole && w.splits*k.beside <= largest || whole && (w.splits == 1 || k.deep.sums)
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
	arrange driver.Function
	shared  int            // what a block may have
	work    compute.Tensor // counts of blocks that are done, then sums of pieces; or activations, arranged
}

// countBytes is the room for counts at the beginning of work.
const countBytes = 1 << 16

// load loads the kernels.
func (p *products) load(g *gpu) error {
	p.kernels = []*productKernel{
		{name: "few_%s_1a", rows: 8, warps: 8}, {name: "few_%s_1a", rows: 8, warps: 4},
		{name: "few_%s_1b", rows: 8, warps: 8}, {name: "few_%s_1b", rows: 8, warps: 4},
		{name: "few_%s_2a", rows: 16, warps: 8}, {name: "few_%s_2a", rows: 16, warps: 4},
		{name: "few_%s_2b", rows: 16, warps: 8}, {name: "few_%s_2b", rows: 16, warps: 4},
		{name: "tiles_%s_32b", tiles: 8, rows: 32, warps: 8, stages: 4},
		{name: "tiles_%s_64b", tiles: 8, rows: 64, warps: 8, stages: 4},
		{name: "tiles_%s_128b", tiles: 8, rows: 128, warps: 8, stages: 3},
	}
	if g.props.Major == 9 {
		p.kernels = append(p.kernels, deeps()...)
	}
	p.packs = make(map[dtype.Type]driver.Function)
	p.shared = g.props.SharedMemory
	found := make(map[string]*driver.Function)
	sources := map[string]map[string]*driver.Function{"product": {}, "product_flow": {}, "product_codes": {}}
	want := func(name string) {
		f, source := new(driver.Function), "product"
		switch {
		case strings.HasPrefix(name, "step_flow_"):
			source = "product_flow"
		case strings.HasPrefix(name, "step_codes_"):
			source = "product_codes"
		}
		found[name], sources[source][name] = f, f
	}
	want("step_arrange")
	for _, name := range formatNames {
		want("step_pack_" + name)
		for _, k := range p.kernels {
			if !k.has(name) {
				continue
			}
			want(k.symbol(name))
		}
	}
	for source, functions := range sources {
		if len(functions) == 0 {
			continue
		}
		if err := g.load(source, functions); err != nil {
			return err
		}
	}
	p.arrange = *found["step_arrange"]
	for t, name := range formatNames {
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
	for splits > 1 && (tiles*splits > 1536 || units < 2*splits) {
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

// activations are rows of bf16 at 16 bytes: [rows, k], or arranged as deep reads them.
type activations struct {
	addr     uintptr
	arranged bool
}

// describeActivations has room for rows of either kind.
func describeActivations(rows, k int) compute.Tensor {
	return compute.Describe(dtype.BF16, 8*ceil(rows, 8), 64*ceil(k, 64))
}

// groupsOf are the groups of 8 rows of what is arranged, else 0.
func groupsOf(rows int, arranged bool) int32 {
	if !arranged {
		return 0
	}
	return int32(ceil(rows, 8))
}

// epilogue is what becomes of a product.
type epilogue struct {
	kind     int32
	scale    float32 // of add
	bias     uintptr // [n] f32 or none; not with swiglu
	arranged bool    // swiglu's out is
}

const (
	store  = iota // out [rows, n] f32 = product + bias
	add           // out [rows, n] f32 += scale · (product + bias)
	swiglu        // out = silu(gate) · up, activations [rows, n/2], of a weight that is a pair
)

// productArgs is the struct of product.cu.
type productArgs struct {
	out, x, weight, bias, parts, counts        uintptr
	scale                                      float32
	rows, n, k, tiles, units, splits, epilogue int32
	groups, beside, wide                       int32
	_                                          int32
}

// arranged reports whether products of so many rows want activations arranged. Those that are
// not they arrange themselves.
func (p *products) arranged(g *gpu, rows int) bool { return rows > 8 && g.props.Major == 9 }

// run multiplies x.
func (p *products) run(g *gpu, out uintptr, x activations, w *weight, rows int, e epilogue) {
	k, whole := p.choose(g, w, rows)
	p.post(g, k, whole, out, x, w, rows, e)
}

// choose is the kernel for so many rows, and whether its blocks have all of k. Which is the
// fastest was measured on an H200, with the weights of an 8B model.
func (p *products) choose(g *gpu, w *weight, rows int) (k *productKernel, whole bool) {
	switch deep := rows > 8 && g.props.Major == 9; {
	case deep && w.format != dtype.BF16:
		name, whole := chooseCodes(w, rows)
		return p.kernel(name, 0, 0), whole
	case deep && (rows <= 256 || rows <= 512 && (w.splits == 1 || w.units >= 128)):
		name, beside, whole := chooseFlow(g, w, rows)
		return p.kernel("flow_bf16_"+name, 0, beside), whole
	case rows <= 16:
		name, warps := few(g, w, rows)
		return p.kernel(name, warps, 0), true
	case deep:
		name, whole := chooseDeep(g, w, rows)
		return p.kernel("deep_bf16"+name, 0, 0), whole
	case rows <= 32 || rows > 128 && p.shared < 160<<10:
		k = p.kernel("tiles_%s_32b", 0, 0) // has room for the sums of many rows' pieces
	case rows <= 64:
		k = p.kernel("tiles_%s_64b", 0, 0)
	default:
		k = p.kernel("tiles_%s_128b", 0, 0)
	}
	if w.splits == 1 {
		return k, true
	}
	// All of k where there are blocks for most multiprocessors, as many at a time as there were
	// if their sums took no room.
	const beside = 2
	blocks := ceil(w.tiles, k.tiles) * ceil(rows, k.rows)
	enough := 4*blocks >= 3*beside*g.props.Processors && beside*(k.shared(w, true)+1024) <= p.shared+1024
	return k, enough || blocks >= 4*g.props.Processors && k.shared(w, true) <= p.shared
}

// few is the kernel of at most 16 rows. Those called b have more on the way.
func few(g *gpu, w *weight, rows int) (name string, warps int) {
	narrow := w.splits > 1 && w.tiles <= 2*g.props.Processors
	deep := narrow
	switch {
	case w.format == dtype.BF16 && rows <= 8:
		deep = w.splits == 1 || w.units >= 128
	case w.format == dtype.Q4_0:
		deep = w.splits > 1
	}
	warps = 4
	if w.splits == 8 || w.format == dtype.Q4_0 && narrow || w.format != dtype.BF16 && !deep && rows <= 8 {
		warps = 8
	}
	kind := "a"
	if deep {
		kind = "b"
	}
	return fmt.Sprintf("few_%%s_%d%s", ceil(rows, 8), kind), warps
}

// chooseFlow is the kernel for bf16, with how many blocks beside each other: four where all of a
// weight's run at once. Those called c have 192 outputs, d 256.
func chooseFlow(g *gpu, w *weight, rows int) (name string, beside int, whole bool) {
	large, beside := w.splits == 1, 1
	if large && rows <= 128 && w.tiles <= 16*g.props.Processors {
		beside = 4
	}
	switch {
	case rows <= 16 && (beside > 1 || w.units >= 128):
		name = "16d"
	case rows <= 16:
		name = "16c"
	case rows <= 32 && (beside > 1 || w.units >= 128):
		name = "32d"
	case rows <= 32:
		name = "32c"
	case rows <= 64 && large:
		name = "64d"
	case rows <= 64:
		name = "64c"
	case (rows <= 96 || rows > 128 && rows <= 192) && large:
		name = "96d"
	case rows <= 96:
		name = "96c"
	case large:
		name = "128d"
	case rows > 128 && rows <= 192:
		name = "192c"
	case rows > 192 && rows <= 256:
		name = "256c"
	default:
		name = "128c"
	}
	return name, beside, large
}

// chooseDeep is the kernel for bf16 of more rows than those of chooseFlow take.
func chooseDeep(g *gpu, w *weight, rows int) (name string, whole bool) {
	if w.splits == 1 {
		return "_96", true
	}
	return "_192", 4*ceil(w.tiles, 8)*ceil(rows, 192) >= 2*g.props.Processors
}

// kernel is the one of that name, and, if not 0, of so many warps and blocks that share rows.
func (p *products) kernel(name string, warps, beside int) *productKernel {
	for _, k := range p.kernels {
		if k.name == name && (warps == 0 || k.warps == warps) && (beside == 0 || k.beside == beside) {
			return k
		}
	}
	panic("step: no kernel " + name)
}

// scratch is how many bytes of work a product takes.
func (p *products) scratch(g *gpu, w *weight, rows int) int {
	k, whole := p.choose(g, w, rows)
	return k.scratch(w, rows, whole)
}

func (k *productKernel) scratch(w *weight, rows int, whole bool) int {
	switch {
	case k.deep.weights > 0:
		return countBytes + w.units*ceil(rows, 8)*1024
	case k.tiles == 0 || whole:
		return 0
	}
	return countBytes + ceil(w.tiles, k.tiles)*ceil(rows, k.rows)*w.splits*16*k.tiles*k.rows*4
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

// arrangeArgs is the struct of product.cu.
type arrangeArgs struct {
	out, x         uintptr
	rows, k, units int32
}

// post multiplies with a kernel.
func (p *products) post(g *gpu, k *productKernel, whole bool, out uintptr, x activations, w *weight, rows int, e epilogue) {
	if x.arranged && k.deep.weights == 0 {
		panic("step: a product of few rows whose activations are arranged")
	}
	if n := k.scratch(w, rows, whole); n > p.work.Len() {
		panic(fmt.Sprintf("step: %d bytes for a product that takes %d", p.work.Len(), n))
	}
	wide := k.wide(g, w, rows, whole)
	a := productArgs{out: out, x: x.addr, weight: w.memory.Addr, bias: e.bias, scale: e.scale, rows: int32(rows), n: int32(w.n), k: int32(w.k),
		tiles: int32(w.tiles), units: int32(w.units), splits: int32(w.splits), epilogue: e.kind, groups: groupsOf(rows, e.arranged), beside: int32(k.beside), wide: int32(wide)}
	if k.tiles == 0 {
		launchEarly(g, k.f[w.format], driver.Dim{X: ceil(w.tiles, k.warps/w.splits), Y: ceil(rows, k.rows), Z: 1}, 32*k.warps, 0, &a)
		return
	}
	grid := driver.Dim{X: ceil(w.tiles, wide) * ceil(rows, k.rows), Y: 1, Z: 1}
	if k.beside > 1 {
		grid.X = ceil(w.tiles, wide*k.beside) * k.beside * ceil(rows, k.rows)
	}
	if !whole {
		grid.Y = w.splits
	}
	if k.deep.weights > 0 {
		if !x.arranged {
			a.x = p.work.Addr + countBytes
			launchEarly(g, p.arrange, line(ceil(w.units*ceil(rows, 8), 4)), 256, 0, &arrangeArgs{a.x, x.addr, int32(rows), int32(w.k), int32(w.units)})
		}
		launchClusters(g, k.f[w.format], grid, driver.Dim{X: k.beside, Y: grid.Y, Z: 1}, 32*k.warps, k.shared(w, whole), &a)
		return
	}
	if !whole {
		a.counts, a.parts = p.work.Addr, p.work.Addr+countBytes
		if 4*grid.X > countBytes {
			panic(fmt.Sprintf("step: counts of %d blocks", grid.X))
		}
	}
	launchEarly(g, k.f[w.format], grid, 32*k.warps, k.shared(w, whole), &a)
}
