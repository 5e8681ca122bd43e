//go:build linux && amd64

package step

import (
	"errors"
	"fmt"
	"slices"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// dense is the dense part of a decoder on packed weights: a compute.Packed for the rows of a
// prompt, and the weights of whole steps. Activations are bf16 wherever a product reads them;
// the hidden states are float32.
type dense struct {
	d     *cuda.Device
	g     *gpu
	model compute.Decoder

	products              products
	norm, normRows, round driver.Function
	heads, heads128       driver.Function

	layers []layer
	head   weight
	biases []compute.Tensor
	table  []byte // the embedding, pinned

	rows int
	h    compute.Tensor // BF16 [rows, hidden or heads·dim]: what a product reads, arranged or not
	qkv  compute.Tensor // F32 [rows, (heads + 2·kvHeads)·dim]
	mid  compute.Tensor // BF16 [rows, intermediate], likewise
}

var _ compute.Packed = (*dense)(nil)

// layer is the weights of one layer as the products read them.
type layer struct {
	compute.DecoderLayer
	qkv, o, gateUp, down weight
}

// joined are a layer's weights, each of the projections that are one product.
func joined(y *compute.DecoderLayer) [4][]compute.Projection {
	return [4][]compute.Projection{{y.Q, y.K, y.V}, {y.O}, {y.Gate, y.Up}, {y.Down}}
}

// checkPack refuses weights that the products do not read.
func checkPack(m compute.Decoder) error {
	weights := []compute.Projection{{Weight: m.Head}}
	for i := range m.Layers {
		y := &m.Layers[i]
		if !y.Gate.Bias.None() || !y.Up.Bias.None() {
			return fmt.Errorf("%w: gate and up have biases", compute.ErrPack)
		}
		for _, parts := range joined(y) {
			for _, p := range parts {
				if p.Weight.Type != parts[0].Weight.Type {
					return fmt.Errorf("%w: %v beside %v", compute.ErrPack, p.Weight.Type, parts[0].Weight.Type)
				}
			}
			weights = append(weights, parts...)
		}
	}
	for _, p := range weights {
		if w := p.Weight; !slices.Contains(productFormats, w.Type) || w.Stride()%32 != 0 {
			return fmt.Errorf("%w: %v with rows of %d", compute.ErrPack, w.Type, w.Stride())
		}
	}
	return nil
}

// NewPacked: see compute.Packer.
func (d *Device) NewPacked(m compute.Decoder) (compute.Packed, error) {
	x, err := newDense(d.Device, m)
	if err != nil {
		return nil, err
	}
	return x, nil
}

func newDense(d *cuda.Device, m compute.Decoder) (*dense, error) {
	if err := checkPack(m); err != nil {
		return nil, err
	}
	x := &dense{d: d, g: newGPU(d), model: m, layers: make([]layer, len(m.Layers))}
	if err := errors.Join(x.products.load(x.g), x.g.load("append", map[string]*driver.Function{"step_heads": &x.heads, "step_heads_128": &x.heads128}),
		x.g.load("dense", map[string]*driver.Function{"step_norm": &x.norm, "step_norm_rows": &x.normRows, "step_round": &x.round})); err != nil {
		return nil, errors.Join(fmt.Errorf("cuda: kernels of products: %w", err), x.Close())
	}
	return x, nil
}

// packDense is newDense with the weights of a decoder that has them.
func packDense(d *cuda.Device, m compute.Decoder) (*dense, error) {
	x, err := newDense(d, m)
	if err != nil {
		return nil, err
	}
	err = x.PackHead(m.Head, m.Norm)
	for i := 0; i < len(m.Layers) && err == nil; i++ {
		err = x.PackLayer(i, m.Layers[i])
	}
	if err != nil {
		return nil, errors.Join(err, x.Close())
	}
	return x, nil
}

// PackedBytes: see compute.Packer.
func (d *Device) PackedBytes(m compute.Decoder, rows int) (int64, error) {
	if err := checkPack(m); err != nil {
		return 0, err
	}
	bytes := packedBytes(compute.Projection{Weight: m.Head})
	for i := range m.Layers {
		for _, parts := range joined(&m.Layers[i]) {
			bytes += packedBytes(parts...)
		}
	}
	x := &dense{model: m}
	for _, b := range x.buffers(rows) {
		bytes += int64(b.shape.Bytes())
	}
	if rows > 0 { // products have as much beside them as the longest rows of activations take
		bytes += countBytes + int64(describeActivations(rows, max(m.Intermediate, m.Hidden, m.Heads*m.Dim)).Bytes())
	}
	return bytes, nil
}

// packedBytes is the size of a weight and its bias, at most.
func packedBytes(parts ...compute.Projection) int64 {
	n := 0
	for _, p := range parts {
		n += p.Weight.Dims[0]
	}
	w, bias := parts[0].Weight, 0
	if slices.ContainsFunc(parts, func(p compute.Projection) bool { return !p.Bias.None() }) {
		bias = 4 * n
	}
	return int64(ceil(n, 16)+1)*int64(ceil(w.Stride(), 64))*int64(unitBytes(w.Type)) + int64(bias)
}

// PackLayer: see compute.Packed.
func (x *dense) PackLayer(i int, y compute.DecoderLayer) error {
	to := &x.layers[i]
	to.DecoderLayer = y
	parts := joined(&y)
	for j, w := range []*weight{&to.qkv, &to.o, &to.gateUp, &to.down} {
		var err error
		if *w, err = x.join(w == &to.gateUp, parts[j]...); err != nil {
			return fmt.Errorf("cuda: weights of layer %d: %w", i, err)
		}
	}
	return nil
}

// PackHead: see compute.Packed.
func (x *dense) PackHead(head, norm compute.Tensor) (err error) {
	x.model.Norm = norm
	if x.head, err = x.join(false, compute.Projection{Weight: head}); err != nil {
		return fmt.Errorf("cuda: output table: %w", err)
	}
	return nil
}

// PackTable: see compute.Packed.
func (x *dense) PackTable(embed compute.Tensor) (compute.Tensor, error) {
	host, err := x.d.AllocHost(embed.Bytes())
	if err != nil {
		return compute.Tensor{}, fmt.Errorf("cuda: embedding: %w", err)
	}
	x.table = host
	x.g.ctx.CopyOut(x.g.stream, addressOf(host), embed.Addr, len(host))
	embed.Addr = addressOf(host)
	return embed, nil
}

// join packs projections of one input as one weight.
func (x *dense) join(pair bool, parts ...compute.Projection) (w weight, err error) {
	weights, biased, n := make([]compute.Tensor, len(parts)), false, 0
	for i, p := range parts {
		weights[i], biased, n = p.Weight, biased || !p.Bias.None(), n+p.Weight.Dims[0]
	}
	if w, err = x.products.pack(x.g, x.d, pair, weights...); err != nil || !biased {
		return w, err
	}
	bias, err := x.d.Alloc(dtype.F32, n) // zeros where a part has none
	if err != nil {
		w.free(x.d)
		return weight{}, err
	}
	x.biases = append(x.biases, bias)
	n = 0
	for _, p := range parts {
		if !p.Bias.None() {
			x.g.ctx.Copy(x.g.stream, bias.Rows(n, n+1).Addr, p.Bias.Addr, p.Bias.Bytes())
		}
		n += p.Weight.Dims[0]
	}
	w.bias = bias.Addr
	return w, nil
}

// buffers are the activations of so many rows.
func (x *dense) buffers(rows int) []buffer {
	m := x.model
	return []buffer{
		{&x.h, describeActivations(rows, max(m.Hidden, m.Heads*m.Dim))},
		{&x.qkv, compute.Describe(dtype.F32, rows, (m.Heads+2*m.KVHeads)*m.Dim)},
		{&x.mid, describeActivations(rows, m.Intermediate)},
	}
}

// Reserve: see compute.Dense.
func (x *dense) Reserve(rows int) error {
	if rows <= x.rows {
		return nil
	}
	x.release()
	for _, b := range x.buffers(rows) {
		t, err := x.d.Alloc(b.shape.Type, b.shape.Dims[:b.shape.Rank]...)
		if err != nil {
			return fmt.Errorf("cuda: memory of %d rows: %w", rows, err)
		}
		*b.to = t
	}
	if err := x.products.reserve(x.d, x.productBytes(rows)); err != nil {
		return fmt.Errorf("cuda: memory of products of %d rows: %w", rows, err)
	}
	x.rows = rows
	return nil
}

// release gives the activations back.
func (x *dense) release() {
	for _, t := range []*compute.Tensor{&x.h, &x.qkv, &x.mid} {
		if !t.None() {
			x.d.Free(*t)
			*t = compute.Tensor{}
		}
	}
	x.rows = 0
}

// productBytes is what products of up to so many rows want to have beside them.
func (x *dense) productBytes(rows int) (n int) {
	type shape struct {
		format dtype.Type
		n, k   int
		pair   bool
	}
	seen := map[shape]bool{}
	for _, w := range x.weights() {
		s := shape{w.format, w.n, w.k, w.pair}
		if seen[s] {
			continue
		}
		seen[s] = true
		for r := 1; r <= rows; r++ {
			n = max(n, x.products.scratch(x.g, w, r))
		}
	}
	return max(n, 16)
}

// weights are all that are packed.
func (x *dense) weights() []*weight {
	all := []*weight{&x.head}
	for i := range x.layers {
		y := &x.layers[i]
		all = append(all, &y.qkv, &y.o, &y.gateUp, &y.down)
	}
	return all
}

// Close: see compute.Dense. What was posted is waited for.
func (x *dense) Close() error {
	err := x.g.ctx.Synchronize(x.g.stream)
	x.release()
	for _, w := range x.weights() {
		w.free(x.d)
		*w = weight{}
	}
	for _, b := range x.biases {
		x.d.Free(b)
	}
	x.biases = nil
	if x.table != nil {
		err = errors.Join(err, x.d.FreeHost(x.table))
		x.table = nil
	}
	x.products.free(x.d)
	return errors.Join(err, x.g.close())
}

// headsArgs is the struct of append.cu.
type headsArgs struct {
	qkv, q, k, v, angles, qNorm, kNorm      uintptr
	heads, kvHeads, dim, pairs, interleaved int32
	skip                                    int32
	eps                                     float32
	_                                       int32
}

// Project: see compute.Dense.
func (x *dense) Project(layer int, q, k, v, hidden, angles compute.Tensor) {
	y, n := &x.layers[layer], hidden.Dims[0]
	if n == 0 {
		return
	}
	x.postNorm(hidden, y.AttnNorm, 1)
	x.products.run(x.g, x.qkv.Addr, x.read(x.h, n), &y.qkv, n, epilogue{kind: store, bias: y.qkv.bias})
	x.postHeads(layer, q, k, v, angles, n)
}

// postHeads posts what becomes of the product of queries, keys and values.
func (x *dense) postHeads(layer int, q, k, v, angles compute.Tensor, rows int) {
	m, y := &x.model, &x.layers[layer]
	a := headsArgs{qkv: x.qkv.Addr, q: q.Addr, k: k.Addr, v: v.Addr, angles: angles.Addr, qNorm: y.QNorm.Addr, kNorm: y.KNorm.Addr,
		heads: int32(m.Heads), kvHeads: int32(m.KVHeads), dim: int32(m.Dim), pairs: int32(len(m.Rope.Inv)), skip: int32(rows - q.Dims[0]), eps: m.Eps}
	if m.Rope.Interleaved {
		a.interleaved = 1
	}
	if m.Dim == 128 && a.pairs == 64 && !m.Rope.Interleaved && y.QNorm.None() && y.KNorm.None() {
		launch(x.g, x.heads128, line(rows), 384, 0, &a)
		return
	}
	launch(x.g, x.heads, line(rows), 256, 0, &a)
}

// read is rows of activations as the norm, the rounding and SwiGLU have written them.
func (x *dense) read(t compute.Tensor, rows int) activations {
	return activations{t.Addr, x.products.arranged(x.g, rows)}
}

// roundArgs is the struct of dense.cu.
type roundArgs struct {
	out, x           uintptr
	n, width, groups int32
	_                int32
}

// Join: see compute.Dense.
func (x *dense) Join(layer int, hidden, attended compute.Tensor) {
	y, n := &x.layers[layer], hidden.Dims[0]
	if n == 0 {
		return
	}
	x.postRound(attended)
	x.products.run(x.g, hidden.Addr, x.read(x.h, n), &y.o, n, epilogue{kind: add, scale: x.model.ResidualScale, bias: y.o.bias})
}

// postRound posts attention's outputs to h, in bf16.
func (x *dense) postRound(attended compute.Tensor) {
	n, width := attended.Dims[0], attended.Stride()
	launch(x.g, x.round, line(ceil(ceil(n, 8)*ceil(width, 64), 4)), 256, 0,
		&roundArgs{out: x.h.Addr, x: attended.Addr, n: int32(n), width: int32(width), groups: groupsOf(n, x.products.arranged(x.g, n))})
}

// MLP: see compute.Dense.
func (x *dense) MLP(layer int, hidden compute.Tensor) {
	y, n := &x.layers[layer], hidden.Dims[0]
	if n == 0 {
		return
	}
	x.postNorm(hidden, y.MLPNorm, 1)
	x.products.run(x.g, x.mid.Addr, x.read(x.h, n), &y.gateUp, n, epilogue{kind: swiglu, arranged: x.products.arranged(x.g, n)})
	x.products.run(x.g, hidden.Addr, x.read(x.mid, n), &y.down, n, epilogue{kind: add, scale: x.model.ResidualScale, bias: y.down.bias})
}

// Logits: see compute.Dense.
func (x *dense) Logits(out, hidden compute.Tensor) {
	if n := hidden.Dims[0]; n > 0 {
		x.postNorm(hidden, x.model.Norm, x.model.LogitScale)
		x.products.run(x.g, out.Addr, x.read(x.h, n), &x.head, n, epilogue{kind: store})
	}
}

// manyRows is from how many on the norm has blocks of 8 rows: there are enough blocks then.
const manyRows = 1024

// postNorm posts the norm of hidden states to h, as a step's.
func (x *dense) postNorm(hidden, w compute.Tensor, scale float32) {
	n := hidden.Dims[0]
	a := normArgs{x.h.Addr, hidden.Addr, w.Addr, int32(x.model.Hidden), x.model.Eps, scale, groupsOf(n, x.products.arranged(x.g, n)), int32(n)}
	if n >= manyRows {
		launch(x.g, x.normRows, line(ceil(n, 8)), 512, 0, &a)
		return
	}
	launch(x.g, x.norm, line(n), 512, 0, &a)
}
