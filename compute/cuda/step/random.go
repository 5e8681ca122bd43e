//go:build linux && amd64

package step

import (
	"errors"
	"math"
	"slices"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// Shape is the size of a decoder.
type Shape struct {
	Layers, Hidden, Intermediate, Vocab int
	Heads, KVHeads, Dim                 int
	RopeBase                            float64
}

// randomArgs is the struct of random.cu.
type randomArgs struct {
	out    uintptr
	n      int64
	scale  float32
	seed   uint32
	format int32
	_      int32
}

// filler writes random contents.
type filler struct {
	g    *gpu
	kern driver.Function
	seed uint32
}

func newFiller(g *gpu) (*filler, error) {
	f := &filler{g: g}
	return f, g.load("random", map[string]*driver.Function{"random_fill": &f.kern})
}

// fill sets n numbers at an address, or blocks of a quantised format.
func (f *filler) fill(t dtype.Type, addr uintptr, n int, scale float32) {
	f.seed += 0x9e3779b9
	launch(f.g, f.kern, driver.Dim{X: 16 * f.g.props.Processors, Y: 1, Z: 1}, 256, 0,
		&randomArgs{out: addr, n: int64(n), scale: scale, seed: f.seed, format: int32(t)})
}

// Random is a decoder with random weights of one format. All layers have the same ones,
// which steps copy; free gives them back.
func Random(d *cuda.Device, h Shape, t dtype.Type) (m compute.Decoder, free func(), err error) {
	m, rest, matrices, err := random(d, h, t)
	free = func() { freeAll(d, rest, matrices) }
	if err != nil {
		free()
	}
	return m, free, err
}

func freeAll(d *cuda.Device, lists ...[]compute.Tensor) {
	for _, x := range slices.Concat(lists...) {
		d.Free(x)
	}
}

// random is Random; matrices are the tensors that packed weights take the place of.
func random(d *cuda.Device, h Shape, t dtype.Type) (m compute.Decoder, rest, matrices []compute.Tensor, err error) {
	g := newGPU(d)
	f, err := newFiller(g)
	to := &rest
	alloc := func(t dtype.Type, scale float32, shape ...int) (x compute.Tensor) {
		if err == nil {
			if x, err = d.Alloc(t, shape...); err == nil {
				*to = append(*to, x)
				n := x.Len()
				if t.Quantised() {
					n /= 32
				}
				f.fill(t, x.Addr, n, scale)
			}
		}
		return x
	}
	matrix := func(out, in int) compute.Projection {
		to = &matrices
		defer func() { to = &rest }()
		return compute.Projection{Weight: alloc(t, float32(math.Sqrt(3/float64(in))), out, in)}
	}
	vector := func(n int) compute.Tensor { return alloc(dtype.F32, 1, n) }
	q, kv := h.Heads*h.Dim, h.KVHeads*h.Dim
	y := compute.DecoderLayer{
		AttnNorm: vector(h.Hidden), MLPNorm: vector(h.Hidden),
		Q: matrix(q, h.Hidden), K: matrix(kv, h.Hidden), V: matrix(kv, h.Hidden), O: matrix(h.Hidden, q),
		Gate: matrix(h.Intermediate, h.Hidden), Up: matrix(h.Intermediate, h.Hidden), Down: matrix(h.Hidden, h.Intermediate),
		Delta: compute.Projection{Weight: alloc(dtype.F32, 1/float32(kv), h.KVHeads, kv)}, A: vector(h.KVHeads),
	}
	m = compute.Decoder{
		Hidden: h.Hidden, Intermediate: h.Intermediate, Vocab: h.Vocab, Heads: h.Heads, KVHeads: h.KVHeads, Dim: h.Dim,
		Eps: 1e-5, EmbedScale: 1, ResidualScale: 1, LogitScale: 1, Rope: &compute.Rope{Factor: 1},
		Norm: vector(h.Hidden),
	}
	to = &matrices
	m.Embed = alloc(t, 1, h.Vocab, h.Hidden)
	m.Head = matrix(h.Vocab, h.Hidden).Weight
	for i := range h.Dim / 2 {
		m.Rope.Inv = append(m.Rope.Inv, float32(math.Pow(h.RopeBase, -2*float64(i)/float64(h.Dim))))
	}
	for range h.Layers {
		m.Layers = append(m.Layers, y)
	}
	return m, rest, matrices, errors.Join(err, d.Sync(), g.close())
}

// RandomWeights keeps the decoder that was asked for last.
type RandomWeights struct {
	shape   Shape
	format  dtype.Type
	packed  bool
	decoder compute.Decoder
	free    func() // nil: there is none
}

// Of is Random, unless that is what it keeps; what it kept is given back first.
func (w *RandomWeights) Of(d *cuda.Device, h Shape, t dtype.Type) (compute.Decoder, error) {
	return w.of(d, h, t, false)
}

// Packed is Of with the matrices packed and no other way, as those of a model are that was
// loaded: the device holds no more than that.
func (w *RandomWeights) Packed(d *cuda.Device, h Shape, t dtype.Type) (compute.Decoder, error) {
	return w.of(d, h, t, true)
}

func (w *RandomWeights) of(d *cuda.Device, h Shape, t dtype.Type, packed bool) (compute.Decoder, error) {
	if w.free != nil && w.shape == h && w.format == t && w.packed == packed {
		return w.decoder, nil
	}
	w.Free()
	m, rest, matrices, err := random(d, h, t)
	var x *dense
	if err == nil && packed {
		if x, err = packDense(d, m); err == nil {
			m.Packed = x
			m.Embed, err = x.PackTable(m.Embed)
		}
		err = errors.Join(err, d.Sync()) // what packs has read them
		freeAll(d, matrices)
		matrices = nil
	}
	*w = RandomWeights{shape: h, format: t, packed: packed, decoder: m, free: func() {
		if x != nil {
			d.Fail(x.Close())
		}
		freeAll(d, rest, matrices)
	}}
	if err != nil {
		w.Free()
	}
	return m, err
}

// Free gives the weights back.
func (w *RandomWeights) Free() {
	if w.free != nil {
		w.free()
		*w = RandomWeights{}
	}
}
