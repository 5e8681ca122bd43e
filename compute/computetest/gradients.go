package computetest

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// GradientsDevice is what a compute.Trainer does beside attention.
type GradientsDevice interface {
	compute.Device
	Activations() dtype.Type
	Zero(x compute.Tensor)
	Copy(dst, src compute.Tensor)
	LinearInputGrad(dx, dy, weight compute.Tensor, add bool)
	LinearWeightGrad(dweight, dbias, dy, x compute.Tensor)
	EmbedGrad(dtable, dout compute.Tensor, ids []int32)
	RMSNormGrad(dx, dweight, dy, x, weight compute.Tensor, eps float32, add bool)
	RotateGrad(dx, angles compute.Tensor, rope *compute.Rope)
	SwiGLUGrad(dgate, dup, dy, gate, up compute.Tensor)
	ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a compute.Tensor)
	CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32)
	SquaredNorm(x compute.Tensor) float64
	AdamW(weight, m, v, grad compute.Tensor, step compute.AdamWStep)
}

// RunGradients is the suite for the gradients of the dense part, and for the optimiser. What
// is of the device's activations is drawn in their type, so that the definitions, in float32,
// get the same numbers.
func RunGradients(t *testing.T, dev GradientsDevice, tol Tolerance) {
	s := &gradients{suite: suite{dev: dev, tol: tol}, dev: dev}
	for _, part := range []struct {
		name string
		run  func(*gradients, *testing.T)
	}{
		{"Copy", (*gradients).copies},
		{"LinearGrad", (*gradients).linearGrad},
		{"LinearGradNotFinite", (*gradients).linearGradNotFinite},
		{"EmbedGrad", (*gradients).embedGrad},
		{"RMSNormGrad", (*gradients).normGrad},
		{"RotateGrad", (*gradients).rotateGrad},
		{"SwiGLUGrad", (*gradients).swiGLUGrad},
		{"ImportanceGrad", (*gradients).importanceGrad},
		{"CrossEntropy", (*gradients).crossEntropy},
		{"CrossEntropyFar", (*gradients).crossEntropyFar},
		{"SquaredNorm", (*gradients).squaredNorm},
		{"AdamW", (*gradients).adamW},
	} {
		t.Run(part.name, func(t *testing.T) {
			s.rng = newRand(t)
			part.run(s, t)
			if err := dev.Sync(); err != nil {
				t.Fatalf("Sync: %v", err)
			}
		})
	}
}

// gradients is a trainer under test.
type gradients struct {
	suite
	dev GradientsDevice
}

// act copies values to both sides, in the device's type of activations and in float32.
func (s *gradients) act(t *testing.T, v []float32, shape ...int) pair {
	t.Helper()
	typ := s.dev.Activations()
	if typ == dtype.F32 {
		return s.f32(t, v, shape...)
	}
	data := make([]byte, len(v)*typ.BlockBytes())
	dtype.Encode(typ, data, v)
	p := pair{s.alloc(t, s.dev, typ, shape...), s.alloc(t, s.ref, dtype.F32, shape...)}
	s.dev.Upload(p.dev, data)
	dtype.Decode(typ, p.ref.F32(), data)
	return p
}

// values returns the device's values of a tensor.
func (s *gradients) values(x compute.Tensor) []float32 {
	data, v := make([]byte, x.Bytes()), make([]float32, x.Len())
	s.dev.Download(data, x)
	dtype.Decode(x.Type, v, data)
	return v
}

// within holds a result against the definition's: by a bound on the sum, and by what rounding
// to the type of the result may be off.
func (s *gradients) within(t *testing.T, what string, p pair, bound func(i int) float64) {
	t.Helper()
	rounding := 0.0
	if p.dev.Type == dtype.BF16 {
		rounding = 1. / 256
	}
	for i, got := range s.values(p.dev) {
		want := p.ref.F32()[i]
		if got == want || (got != got && want != want) {
			continue
		}
		allowed := bound(i) + rounding*math.Abs(float64(want)) + 1e-37
		if d := math.Abs(float64(got) - float64(want)); !(d <= allowed) {
			t.Fatalf("%s: element %d of %v is %v, the definition says %v (off by %.3g, allowed %.3g)",
				what, i, p.ref.Dims[:p.ref.Rank], got, want, d, allowed)
		}
	}
}

// again runs an op that adds to tensors a second time from the same values: the same bits.
func (s *gradients) again(t *testing.T, what string, op func(), to ...compute.Tensor) {
	t.Helper()
	var before, after [][]byte
	for _, x := range to {
		data := make([]byte, x.Bytes())
		s.dev.Download(data, x)
		before = append(before, data)
	}
	op()
	for i, x := range to {
		data := make([]byte, x.Bytes())
		s.dev.Download(data, x)
		after = append(after, data)
		s.dev.Upload(x, before[i])
	}
	op()
	for i, x := range to {
		s.dev.Download(before[i], x)
		if !bytes.Equal(before[i], after[i]) {
			t.Fatalf("%s: other bits the second time, in result %d", what, i)
		}
	}
}

func (s *gradients) copies(t *testing.T) {
	for _, n := range []int{1, 7, 1000, 70_001} {
		v := s.normal(n)
		for i, bits := range []uint32{0x3f808000, 0x3f818000, 0x3f808001, 0x7f800000, 0xff800000, 0x80000000, 1, 0x7f7fffff} { // ties, infinities, ends
			if n > 8 {
				v[i] = math.Float32frombits(bits)
			}
		}
		x, half, back := s.f32(t, v, n), s.put(t, dtype.BF16, make([]byte, 2*n), n), s.empty(t, n)
		for _, step := range []struct{ dst, src pair }{{half, x}, {back, half}, {half, half}, {back, x}} {
			s.dev.Copy(step.dst.dev, step.src.dev)
			s.ref.Copy(step.dst.ref, step.src.ref)
			got := make([]byte, step.dst.dev.Bytes())
			s.dev.Download(got, step.dst.dev)
			if !bytes.Equal(got, step.dst.ref.Data) {
				t.Fatalf("%d of %v to %v: other bytes than the definition's", n, step.src.dev.Type, step.dst.dev.Type)
			}
		}
		s.dev.Zero(x.dev.Rows(n/2, n))
		clear(v[n/2:])
		same(t, "half cleared", read(s.dev, x.dev), v)
	}
}

// linearGradShapes are [rows, n, k], beside linearShapes: sums of more than one run, and more
// than a block of rows, of outputs, of both.
var linearGradShapes = [][3]int{{300, 49, 97}, {1100, 17, 40}, {70, 1100, 30}, {40, 3, 2100}, {257, 130, 129}}

func (s *gradients) linearGrad(t *testing.T) {
	for i, shape := range slices.Concat(linearShapes, linearGradShapes) {
		rows, n, k := shape[0], shape[1], shape[2]
		if heavy(t, i, rows*n*k) {
			continue
		}
		what := fmt.Sprintf("%d rows, %d×%d", rows, n, k)
		x, w, dy := s.act(t, s.normal(rows*k), rows, k), s.act(t, s.normal(n*k), n, k), s.act(t, s.normal(rows*n), rows, n)
		dx, sizes := s.act(t, s.normal(rows*k), rows, k), make([]float64, rows*k)
		for _, add := range []bool{false, true} {
			was := slices.Clone(dx.ref.F32())
			s.dev.LinearInputGrad(dx.dev, dy.dev, w.dev, add)
			s.ref.LinearInputGrad(dx.ref, dy.ref, w.ref, add)
			clear(sizes)
			for r := range rows {
				for o, g := range dy.ref.F32()[r*n : (r+1)*n] {
					addSizes(sizes[r*k:(r+1)*k], w.ref.F32()[o*k:(o+1)*k], g)
				}
			}
			s.within(t, what+", input", dx, func(i int) float64 {
				bound := s.tol.Sum * sizes[i]
				if add { // to what the device had rounded in its own way
					bound += s.tol.Sum*(sizes[i]+math.Abs(float64(was[i]))) + s.rounded()*math.Abs(float64(was[i]))
				}
				return bound
			})
		}

		dw, db := s.f32(t, s.normal(n*k), n, k), s.f32(t, s.normal(n), n)
		if rows%2 == 0 {
			db = pair{}
		}
		weights, biases := make([]float64, n*k), make([]float64, n)
		for i, v := range dw.ref.F32() {
			weights[i] = math.Abs(float64(v))
		}
		for r := range rows {
			for o, g := range dy.ref.F32()[r*n : (r+1)*n] {
				addSizes(weights[o*k:(o+1)*k], x.ref.F32()[r*k:(r+1)*k], g)
				biases[o] += math.Abs(float64(g))
			}
		}
		s.dev.LinearWeightGrad(dw.dev, db.dev, dy.dev, x.dev)
		s.ref.LinearWeightGrad(dw.ref, db.ref, dy.ref, x.ref)
		s.within(t, what+", weight", dw, func(i int) float64 { return s.tol.Sum * weights[i] })
		to := []compute.Tensor{dw.dev}
		if !db.ref.None() {
			s.within(t, what+", bias", db, func(i int) float64 { return s.tol.Sum * (biases[i] + 5) })
			to = append(to, db.dev)
		}
		s.again(t, what, func() { s.dev.LinearWeightGrad(dw.dev, db.dev, dy.dev, x.dev) }, to...)
	}
}

// rounded is the largest relative error of one number of the activations' type.
func (s *gradients) rounded() float64 {
	if s.dev.Activations() == dtype.BF16 {
		return 1. / 256
	}
	return 0
}

// addSizes adds |x·scale| to sum.
func addSizes(sum []float64, x []float32, scale float32) {
	for i, v := range x {
		sum[i] += math.Abs(float64(v) * float64(scale))
	}
}

// linearGradNotFinite: what is not finite shows where it belongs, and nowhere else.
func (s *gradients) linearGradNotFinite(t *testing.T) {
	const rows, n, k = 13, 19, 27
	v := s.normal(rows * n)
	v[3*n+4], v[12*n+18] = float32(math.NaN()), float32(math.Inf(1))
	x, w, dy := s.act(t, s.normal(rows*k), rows, k), s.act(t, s.normal(n*k), n, k), s.act(t, v, rows, n)
	dx, dw := s.act(t, make([]float32, rows*k), rows, k), s.f32(t, make([]float32, n*k), n, k)
	s.dev.LinearInputGrad(dx.dev, dy.dev, w.dev, false)
	s.dev.LinearWeightGrad(dw.dev, compute.Tensor{}, dy.dev, x.dev)
	for i, g := range s.values(dx.dev) {
		if bad := i/k == 3 || i/k == 12; bad != (g-g != 0) {
			t.Fatalf("input's gradient of row %d is %v", i/k, g)
		}
	}
	for i, g := range s.values(dw.dev) {
		if bad := i/k == 4 || i/k == 18; bad != (g-g != 0) {
			t.Fatalf("weight's gradient of output %d is %v", i/k, g)
		}
	}
}

func (s *gradients) embedGrad(t *testing.T) {
	for _, shape := range [][3]int{{1, 1, 1}, {40, 7, 33}, {300, 50, 576}, {5000, 3, 20}} {
		rows, vocab, width := shape[0], shape[1], shape[2]
		ids := make([]int32, rows)
		for i := range ids {
			ids[i] = s.rng.Int32N(int32(vocab))
		}
		ids[rows/2] = int32(vocab - 1)
		table, dout := s.f32(t, s.normal(vocab*width), vocab, width), s.act(t, s.normal(rows*width), rows, width)
		s.dev.EmbedGrad(table.dev, dout.dev, ids)
		s.ref.EmbedGrad(table.ref, dout.ref, ids)
		s.within(t, fmt.Sprint(shape), table, func(int) float64 { return s.tol.Sum * float64(8+rows/vocab) })
		s.again(t, fmt.Sprint(shape), func() { s.dev.EmbedGrad(table.dev, dout.dev, ids) }, table.dev)
	}
}
