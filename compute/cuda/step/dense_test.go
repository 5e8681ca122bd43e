//go:build linux && amd64

package step

import (
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// unlike is a decoder of one layer that has all that models differ in: biases, norms of
// heads, a rotation of some channels, scales; outputs of a weight that are no whole tile.
func (w *world) unlike(format dtype.Type, interleaved bool) compute.Decoder {
	const hidden, intermediate, vocab, heads, kvHeads, dim, pairs = 96, 160, 50, 3, 1, 32, 8
	rng := rand.New(rand.NewPCG(3, uint64(format)))
	tensor := func(t dtype.Type, centre, scale float64, shape ...int) compute.Tensor {
		x, err := w.d.Alloc(t, shape...)
		if err != nil {
			w.t.Fatal(err)
		}
		w.t.Cleanup(func() { w.d.Free(x) })
		v := make([]float32, x.Len())
		for i := range v {
			v[i] = float32(centre + scale*(2*rng.Float64()-1))
		}
		raw := make([]byte, x.Bytes())
		dtype.Encode(t, raw, v)
		w.d.Upload(x, raw)
		return x
	}
	matrix := func(out, in int, biased bool) (p compute.Projection) {
		p.Weight = tensor(format, 0, math.Sqrt(3/float64(in)), out, in)
		if biased {
			p.Bias = tensor(dtype.F32, 0, 1, out)
		}
		return p
	}
	norm := func(n int) compute.Tensor { return tensor(dtype.F32, 1, 0.5, n) }
	m := compute.Decoder{
		Hidden: hidden, Intermediate: intermediate, Vocab: vocab, Heads: heads, KVHeads: kvHeads, Dim: dim,
		Eps: 1e-5, EmbedScale: 1, ResidualScale: 0.7, LogitScale: 0.3, Rope: &compute.Rope{Factor: 1.1, Interleaved: interleaved},
		Norm: norm(hidden), Head: matrix(vocab, hidden, false).Weight,
		Layers: []compute.DecoderLayer{{
			AttnNorm: norm(hidden), MLPNorm: norm(hidden), QNorm: norm(dim), KNorm: norm(dim),
			Q: matrix(heads*dim, hidden, true), K: matrix(kvHeads*dim, hidden, false), V: matrix(kvHeads*dim, hidden, true),
			O: matrix(hidden, heads*dim, true), Gate: matrix(intermediate, hidden, false), Up: matrix(intermediate, hidden, false),
			Down: matrix(hidden, intermediate, true),
		}},
	}
	for i := range pairs {
		m.Rope.Inv = append(m.Rope.Inv, float32(math.Pow(1e4, -float64(i)/pairs)))
	}
	return m
}

// through is what a Dense makes of hidden states: q, k, v, the states after both branches,
// and logits. skip rows have no query.
type through struct{ q, k, v, x, logits []float32 }

// dense runs rows of hidden states and attention's outputs in pieces.
func (w *world) dense(p compute.Dense, m compute.Decoder, x, attended []float32, skip int, pieces ...int) (out through) {
	w.t.Helper()
	rows := len(x) / m.Hidden
	up := func(v []float32, shape ...int) compute.Tensor {
		t, err := w.d.Alloc(dtype.F32, shape...)
		if err != nil {
			w.t.Fatal(err)
		}
		if len(v) > 0 {
			w.d.Upload(t, compute.F32s(v, len(v)).Data)
		}
		return t
	}
	down := func(to *[]float32, t compute.Tensor) {
		if t.Len() > 0 {
			*to = append(*to, w.fetch(t).F32()...)
		}
		w.d.Free(t)
	}
	for at, i := 0, 0; at < rows; i++ {
		n := min(pieces[min(i, len(pieces)-1)], rows-at)
		pos := make([]int32, n)
		for r := range pos {
			pos[r] = int32(at + r)
		}
		angles := up(nil, n, 2, len(m.Rope.Inv))
		w.d.Angles(angles, pos, m.Rope)
		hidden, o := up(x[at*m.Hidden:][:n*m.Hidden], n, m.Hidden), up(attended[at*m.Heads*m.Dim:][:n*m.Heads*m.Dim], n, m.Heads, m.Dim)
		q, k, v := up(nil, n, m.Heads, m.Dim), up(nil, n, m.KVHeads, m.Dim), up(nil, n, m.KVHeads, m.Dim)
		logits := up(nil, n, m.Vocab)
		none := min(max(skip-at, 0), n)
		p.Project(0, q.Rows(0, n-none), k, v, hidden, angles)
		p.Join(0, hidden, o)
		p.MLP(0, hidden)
		p.Logits(logits, hidden)
		if n > none {
			out.q = append(out.q, w.fetch(q.Rows(0, n-none)).F32()...)
		}
		w.d.Free(q)
		down(&out.k, k)
		down(&out.v, v)
		down(&out.x, hidden)
		down(&out.logits, logits)
		w.d.Free(o)
		w.d.Free(angles)
		at += n
	}
	return out
}

// want is the same by the definitions.
func (w *world) want(m compute.Decoder, x, attended []float32, skip int) (out through) {
	rows, y := len(x)/m.Hidden, m.Layers[0]
	f := func(t compute.Tensor) []float32 {
		if t.None() {
			return nil
		}
		return w.fetch(t).F32()
	}
	linear := func(x []float32, p compute.Projection) []float32 {
		out := make([]float32, len(x)/p.Weight.Stride()*p.Weight.Dims[0])
		compute.Linear(out, x, w.fetch(p.Weight), f(p.Bias))
		return out
	}
	norm := func(x []float32, weight compute.Tensor) []float32 {
		out := make([]float32, len(x))
		compute.RMSNorm(out, x, f(weight), m.Eps)
		return out
	}
	pos := make([]int32, rows)
	for r := range pos {
		pos[r] = int32(r)
	}
	angles := make([]float32, 2*len(m.Rope.Inv)*rows)
	compute.Angles(angles, pos, m.Rope)
	h := norm(x, y.AttnNorm)
	out.q, out.k, out.v = norm(linear(h, y.Q), y.QNorm), norm(linear(h, y.K), y.KNorm), linear(h, y.V)
	compute.Rotate(out.q, angles, m.Heads, m.Dim, m.Rope)
	compute.Rotate(out.k, angles, m.KVHeads, m.Dim, m.Rope)
	out.q = out.q[skip*m.Heads*m.Dim:]
	out.x = slices.Clone(x)
	compute.AddScaled(out.x, linear(attended, y.O), m.ResidualScale)
	h = norm(out.x, y.MLPNorm)
	gate := linear(h, y.Gate)
	compute.SwiGLU(gate, gate, linear(h, y.Up))
	compute.AddScaled(out.x, linear(gate, y.Down), m.ResidualScale)
	h = norm(out.x, m.Norm)
	compute.Scale(h, m.LogitScale)
	out.logits = linear(h, compute.Projection{Weight: m.Head})
	return out
}

func (t through) parts() [][]float32 { return [][]float32{t.q, t.k, t.v, t.x, t.logits} }

// TestDense holds the dense part on packed weights against the definitions, for the rounding
// of activations to 8 bits, and a row's bits in pieces of any size to those among all rows.
func TestDense(t *testing.T) {
	w := newWorld(t, small, dtype.BF16, cacheOf(false, compute.KVBF16))
	for _, format := range productFormats {
		for _, interleaved := range []bool{false, true} {
			name := format.String()
			if interleaved {
				name += " interleaved"
			}
			t.Run(name, func(t *testing.T) {
				w := &world{t: t, d: w.d}
				m := w.unlike(format, interleaved)
				rows := 200
				if testing.Short() {
					rows = 70
				}
				rng := rand.New(rand.NewPCG(7, 8))
				x, attended := make([]float32, rows*m.Hidden), make([]float32, rows*m.Heads*m.Dim)
				for _, v := range [][]float32{x, attended} {
					for i := range v {
						v[i] = float32(rng.NormFloat64())
					}
				}
				p, err := packDense(w.d.Device, m)
				if err != nil {
					t.Fatal(err)
				}
				if err := errors.Join(p.Reserve(3), p.Reserve(rows)); err != nil {
					t.Fatal(err)
				}
				defer func() {
					if err := p.Close(); err != nil {
						t.Error(err)
					}
				}()
				const skip = 5
				got, want := w.dense(p, m, x, attended, skip, rows), w.want(m, x, attended, skip)
				for i, what := range []string{"q", "k", "v", "x", "logits"} {
					g, f := got.parts()[i], want.parts()[i]
					if len(g) != len(f) {
						t.Fatalf("%s: %d numbers, want %d", what, len(g), len(f))
					}
					var off, size float64
					for j, v := range f {
						off, size = off+math.Abs(float64(g[j]-v)), size+math.Abs(float64(v))
					}
					if !(off < 0.006*size) {
						t.Errorf("%s is off by %.4f of its size", what, off/size)
					}
				}
				for _, pieces := range [][]int{{1, 7, 16, 33}, {40, 1}, {rows - 1}} {
					if testing.Short() && pieces[0] == 40 {
						continue
					}
					cut := w.dense(p, m, x, attended, skip, pieces...)
					for i, g := range cut.parts() {
						if !slices.Equal(g, got.parts()[i]) {
							t.Errorf("in pieces of %v tensor %d has other bits", pieces, i)
						}
					}
				}
			})
		}
	}
}

// TestPackOnce: packed weights are what PackedBytes says, and a step over them takes no
// others. Close gives all back.
func TestPackOnce(t *testing.T) {
	w := newWorld(t, small, dtype.Q8_0, cacheOf(false, compute.KVBF16))
	begin := w.d.Allocated()
	const rows = 40
	bytes, err := w.d.PackedBytes(w.model, rows)
	if err != nil {
		t.Fatal(err)
	}
	p, err := packDense(w.d.Device, w.model)
	if err != nil {
		t.Fatal(err)
	}
	weights := w.d.Allocated() - begin
	if err := p.Reserve(rows); err != nil {
		t.Fatal(err)
	}
	took := w.d.Allocated() - begin
	// It may be less: how tiles are filled up is not known beforehand.
	if spare := int64(4*len(w.model.Layers)+1) * int64(unitBytes(dtype.Q8_0)) * 2; took > bytes || took < bytes-spare {
		t.Errorf("%d bytes were taken, %d were said", took, bytes)
	}
	layout := w.layout
	o := compute.StepOptions{Rows: 2, Seats: 2, Context: 64, Columns: 8, Resident: true}
	c := compute.Cache{Layout: layout}
	if c.Slots, err = w.d.Alloc(dtype.U8, 8*len(w.model.Layers)*layout.Heads, layout.BlockBytes()); err != nil {
		t.Fatal(err)
	}
	c.Segments, err = w.d.Alloc(layout.SummaryType(), 8*len(w.model.Layers)*layout.Heads, layout.SummarySteps(), layout.Segments(), 4)
	if err != nil {
		t.Fatal(err)
	}
	sizes := func(packed compute.Packed) int64 {
		m := w.model
		m.Packed = packed
		before := w.d.Allocated()
		s, err := w.d.NewStep(m, &c, o)
		if err != nil {
			t.Fatal(err)
		}
		n := w.d.Allocated() - before
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if now := w.d.Allocated(); now != before {
			t.Errorf("%d bytes are left of a step", now-before)
		}
		return n
	}
	if shared, own := sizes(p), sizes(nil); own-shared != weights {
		t.Errorf("a step takes %d bytes on packed weights of %d, and %d with its own", shared, weights, own)
	}
	w.d.Free(c.Slots)
	w.d.Free(c.Segments)
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if now := w.d.Allocated(); now != begin {
		t.Errorf("%d bytes are left", now-begin)
	}
}

// TestPackRefuses: what products do not read is ErrPack, before anything is taken.
func TestPackRefuses(t *testing.T) {
	w := newWorld(t, small, dtype.BF16, cacheOf(false, compute.KVBF16))
	begin := w.d.Allocated()
	for name, change := range map[string]func(m *compute.Decoder, y *compute.DecoderLayer){
		"float32":              func(m *compute.Decoder, y *compute.DecoderLayer) { m.Head = compute.Describe(dtype.F32, 80, 64) },
		"rows of 48":           func(m *compute.Decoder, y *compute.DecoderLayer) { y.O.Weight = compute.Describe(dtype.BF16, 64, 48) },
		"formats side by side": func(m *compute.Decoder, y *compute.DecoderLayer) { y.K.Weight = compute.Describe(dtype.Q8_0, 32, 64) },
		"gate with a bias":     func(m *compute.Decoder, y *compute.DecoderLayer) { y.Gate.Bias = compute.Describe(dtype.F32, 96) },
	} {
		m := w.model
		m.Layers = slices.Clone(m.Layers)
		change(&m, &m.Layers[1])
		if _, err := w.d.PackedBytes(m, 1); !errors.Is(err, compute.ErrPack) {
			t.Errorf("%s: the size is told, %v", name, err)
		}
		if _, err := w.d.NewPacked(m); !errors.Is(err, compute.ErrPack) {
			t.Errorf("%s: %v, want %v", name, err, compute.ErrPack)
		}
	}
	if now := w.d.Allocated(); now != begin {
		t.Errorf("%d bytes are left", now-begin)
	}
}

// TestNorm: rows of any width that is a multiple of four, also of more than a block keeps.
func TestNorm(t *testing.T) {
	d, g := open(t)
	x := &dense{d: d, g: g}
	if err := g.load("dense", map[string]*driver.Function{"step_norm": &x.norm}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(5, 6))
	for _, width := range []int{32, 96, 2048, 4128, 8192, 10240} {
		const rows = 3
		values, weight := make([]float32, rows*width), make([]float32, width)
		for _, v := range [][]float32{values, weight} {
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
		}
		alloc := func(t0 dtype.Type, shape ...int) compute.Tensor {
			a, err := d.Alloc(t0, shape...)
			if err != nil {
				t.Fatal(err)
			}
			return a
		}
		hidden, w := alloc(dtype.F32, rows, width), alloc(dtype.F32, width)
		x.model.Hidden, x.model.Eps, x.h = width, 1e-5, alloc(dtype.BF16, rows, width)
		d.Upload(hidden, compute.F32s(values, len(values)).Data)
		d.Upload(w, compute.F32s(weight, width).Data)
		x.postNorm(hidden, w, 0.5)
		raw := make([]byte, x.h.Bytes())
		d.Download(raw, x.h)
		got, want := make([]float32, rows*width), make([]float32, rows*width)
		dtype.Decode(dtype.BF16, got, raw)
		compute.RMSNorm(want, values, weight, 1e-5)
		for i, v := range want {
			if v *= 0.5; !(math.Abs(float64(got[i]-v)) <= math.Abs(float64(v))/250) { // bf16, and its sum in another order
				t.Fatalf("width %d, number %d: %g, want %g", width, i, got[i], v)
			}
		}
		for _, a := range []compute.Tensor{hidden, w, x.h} {
			d.Free(a)
		}
	}
}

// TestHeads: the kernel of heads of 128 channels has the bits of the one for all.
func TestHeads(t *testing.T) {
	d, g := open(t)
	for _, heads := range []int{1, 5, 32} {
		const rows, kvHeads, dim, pairs, skip = 9, 2, 128, 64, 4
		x := &dense{d: d, g: g, layers: make([]layer, 1), model: compute.Decoder{Heads: heads, KVHeads: kvHeads, Dim: dim, Rope: &compute.Rope{Factor: 1, Inv: make([]float32, pairs)}}}
		if err := g.load("append", map[string]*driver.Function{"step_heads": &x.heads, "step_heads_128": &x.heads128}); err != nil {
			t.Fatal(err)
		}
		rng := rand.New(rand.NewPCG(9, uint64(heads)))
		random := func(shape ...int) compute.Tensor {
			a, err := d.Alloc(dtype.F32, shape...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Free(a) })
			v := make([]float32, a.Len())
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			d.Upload(a, compute.F32s(v, len(v)).Data)
			return a
		}
		x.qkv = random(rows, (heads+2*kvHeads)*dim)
		angles := random(rows, 2, pairs)
		run := func() (all []float32) {
			q, k, v := random(rows-skip, heads, dim), random(rows, kvHeads, dim), random(rows, kvHeads, dim)
			x.postHeads(0, q, k, v, angles, rows)
			for _, a := range []compute.Tensor{q, k, v} {
				part := make([]float32, a.Len())
				d.Download(compute.F32s(part, len(part)).Data, a)
				all = append(all, part...)
			}
			return all
		}
		got := run()
		x.heads128 = x.heads
		if want := run(); !slices.Equal(got, want) {
			t.Errorf("%d heads have other bits", heads)
		}
	}
}

// TestActivations: the norm by eight rows has the bits of the one by rows, and both write what
// the rounding of their numbers does, in rows and arranged.
func TestActivations(t *testing.T) {
	d, g := open(t)
	var norm, normRows, round driver.Function
	if err := g.load("dense", map[string]*driver.Function{"step_norm": &norm, "step_norm_rows": &normRows, "step_round": &round}); err != nil {
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(15, 16))
	for _, shape := range []struct{ rows, width int }{{1, 32}, {8, 64}, {19, 96}, {13, 2080}, {9, 4096}} {
		alloc := func(kind dtype.Type, shape ...int) compute.Tensor {
			a, err := d.Alloc(kind, shape...)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { d.Free(a) })
			return a
		}
		random := func(shape ...int) (compute.Tensor, []float32) {
			a := alloc(dtype.F32, shape...)
			v := make([]float32, a.Len())
			for i := range v {
				v[i] = float32(rng.NormFloat64())
			}
			d.Upload(a, compute.F32s(v, len(v)).Data)
			return a, v
		}
		rows, width := shape.rows, shape.width
		x, values := random(rows, width)
		weight, _ := random(width)
		for _, groups := range []int32{0, int32(ceil(rows, 8))} {
			bits := func(post func(out uintptr)) []uint16 {
				out := describeActivations(rows, width)
				raw := make([]byte, out.Bytes())
				out = alloc(out.Type, out.Dims[:2]...)
				for i := range raw {
					raw[i] = 0xff
				}
				d.Upload(out, raw)
				post(out.Addr)
				d.Download(raw, out)
				all := make([]uint16, len(raw)/2)
				for i := range all {
					all[i] = uint16(raw[2*i]) | uint16(raw[2*i+1])<<8
				}
				return all
			}
			// place is where an element is to be, by the definition of what a product reads.
			place := func(r, i int) int {
				if groups == 0 {
					return r*width + i
				}
				lane, word := r%8*4+i%32/8, i%64/32*4+i%8/2
				return (i/64*int(groups)+r/8)*512 + word*64 + lane*2 + i%2
			}
			a := normArgs{0, x.Addr, weight.Addr, int32(width), 1e-5, 0.25, groups, int32(rows)}
			run := func(f driver.Function, blocks int) []uint16 {
				return bits(func(out uintptr) {
					a.out = out
					launch(g, f, line(blocks), 512, 0, &a)
				})
			}
			byRow, byEight := run(norm, rows), run(normRows, ceil(rows, 8))
			rounded := bits(func(out uintptr) {
				launch(g, round, line(ceil(ceil(rows, 8)*ceil(width, 64), 4)), 256, 0, &roundArgs{out: out, x: x.Addr, n: int32(rows), width: int32(width), groups: groups})
			})
			for r := range rows {
				for i := range width {
					at := place(r, i)
					if byRow[at] != byEight[at] {
						t.Fatalf("%v, %d groups: row %d, element %d: %04x and %04x", shape, groups, r, i, byRow[at], byEight[at])
					}
					raw := make([]byte, 2)
					dtype.Encode(dtype.BF16, raw, values[r*width+i:][:1])
					if want := uint16(raw[0]) | uint16(raw[1])<<8; rounded[at] != want {
						t.Fatalf("%v, %d groups: row %d, element %d is rounded to %04x, want %04x", shape, groups, r, i, rounded[at], want)
					}
				}
				for i := width; groups > 0 && i < (width+63)/64*64; i++ { // a unit's other half
					if at := place(r, i); byRow[at] != 0 || byEight[at] != 0 || rounded[at] != 0 {
						t.Fatalf("%v: row %d has %04x behind its end", shape, r, byRow[at])
					}
				}
			}
		}
	}
}
