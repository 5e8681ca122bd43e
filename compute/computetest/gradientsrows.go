package computetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
)

func (s *gradients) normGrad(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {3, 3}, {5, 16}, {2, 80}, {7, 129}, {300, 64}, {129, 576}, {1, 4096}} {
		rows, width := shape[0], shape[1]
		v := s.normal(rows * width)
		for i := range width { // a row of large values, one of tiny ones, and one of zeros
			v[i] *= 1e4
			v[(rows-1)*width+i] *= 1e-6
			if rows > 2 {
				v[width+i] = 0
			}
		}
		x, dy, w := s.act(t, v, rows, width), s.act(t, s.normal(rows*width), rows, width), s.f32(t, s.normal(width), width)
		dx, dw := s.act(t, s.normal(rows*width), rows, width), s.f32(t, s.normal(width), width)
		for _, add := range []bool{false, true} {
			const eps = 1e-5
			was := slices.Clone(dx.ref.F32())
			run := func() { s.dev.RMSNormGrad(dx.dev, dw.dev, dy.dev, x.dev, w.dev, eps, add) }
			run()
			s.ref.RMSNormGrad(dx.ref, dw.ref, dy.ref, x.ref, w.ref, eps, add)
			sizes, sums := normGradSizes(x.ref.F32(), dy.ref.F32(), w.ref.F32(), eps)
			what := fmt.Sprintf("%v, add %v", shape, add)
			s.within(t, what, dx, func(i int) float64 {
				bound := s.tol.Sum * sizes[i]
				if add {
					bound += s.tol.Sum*(sizes[i]+math.Abs(float64(was[i]))) + s.rounded()*(math.Abs(float64(was[i]))+sizes[i])
				}
				return bound
			})
			s.within(t, what+", weight", dw, func(i int) float64 { return s.tol.Sum * 2 * (sums[i] + 5) })
			s.again(t, what, run, dx.dev, dw.dev)
			s.ref.Upload(dx.ref, bytesOf(s.values(dx.dev)))
			s.ref.Upload(dw.ref, bytesOf(s.values(dw.dev)))
		}
	}
}

// normGradSizes are the sums of absolute values that the gradients of a norm consist of.
func normGradSizes(x, dy, w []float32, eps float64) (dx, dw []float64) {
	width := len(w)
	dx, dw = make([]float64, len(x)), make([]float64, width)
	for at := 0; at < len(x); at += width {
		var squares, along float64
		for i, v := range x[at : at+width] {
			squares += float64(v) * float64(v)
			along += math.Abs(float64(dy[at+i]) * float64(w[i]) * float64(v))
		}
		inv := 1 / math.Sqrt(squares/float64(width)+eps)
		for i, v := range x[at : at+width] {
			g, size := math.Abs(float64(dy[at+i])), math.Abs(float64(v))
			dx[at+i] = inv * (g*math.Abs(float64(w[i])) + size*inv*inv*along/float64(width))
			dw[i] += g * size * inv
		}
	}
	return dx, dw
}

// rotateGrad: near the definition, and back where Rotate came from.
func (s *gradients) rotateGrad(t *testing.T) {
	for _, tc := range []struct{ rows, heads, dim, pairs int }{
		{1, 1, 4, 2}, {3, 2, 16, 8}, {200, 9, 64, 32}, {5, 3, 80, 40}, {3, 2, 20, 6}, {2, 1, 6, 3}, {2, 2, 32, 5},
	} {
		for _, interleaved := range []bool{false, true} {
			rope := &compute.Rope{Inv: make([]float32, tc.pairs), Factor: 1 + s.rng.Float32(), Interleaved: interleaved}
			for i := range rope.Inv {
				rope.Inv[i] = float32(math.Pow(10000, -float64(i)/float64(tc.pairs)))
			}
			pos := make([]int32, tc.rows)
			for i := range pos {
				pos[i] = s.rng.Int32N(200_000)
			}
			angles := s.f32(t, make([]float32, tc.rows*2*tc.pairs), tc.rows, 2, tc.pairs)
			s.ref.Angles(angles.ref, pos, rope)
			s.dev.Upload(angles.dev, angles.ref.Data)
			x := s.act(t, s.normal(tc.rows*tc.heads*tc.dim), tc.rows, tc.heads, tc.dim)
			s.dev.RotateGrad(x.dev, angles.dev, rope)
			s.ref.RotateGrad(x.ref, angles.ref, rope)
			s.within(t, fmt.Sprint(tc), x, func(int) float64 { return 20 * s.tol.Point })
		}
	}
}

func (s *gradients) swiGLUGrad(t *testing.T) {
	edges := []float32{0, 1, -1, 20, -20, 80, -80, 88.5, -88.5, 1e4, -1e4, 1e30, -1e30, 1e-30, -1e-30}
	for _, n := range []int{1, 7, 8, 100, 1536, 40_001} {
		g := s.normal(n)
		for i := range g {
			g[i] *= 8
			if s.rng.IntN(4) == 0 {
				g[i] = edges[s.rng.IntN(len(edges))]
			}
		}
		gate, up, dy := s.act(t, g, 1, n), s.act(t, s.normal(n), 1, n), s.act(t, s.normal(n), 1, n)
		dgate, dup := s.act(t, make([]float32, n), 1, n), s.act(t, make([]float32, n), 1, n)
		s.dev.SwiGLUGrad(dgate.dev, dup.dev, dy.dev, gate.dev, up.dev)
		s.ref.SwiGLUGrad(dgate.ref, dup.ref, dy.ref, gate.ref, up.ref)
		// σ·(1 + gate·(1 − σ)) has a zero, near which its parts' sizes count.
		size := func(i int) float64 {
			x := float64(gate.ref.F32()[i])
			sigma := 1 / (1 + math.Exp(-x))
			return math.Abs(float64(dy.ref.F32()[i])) * sigma * (1 + math.Abs(x))
		}
		s.within(t, fmt.Sprintf("%d, gate", n), dgate, func(i int) float64 {
			return 2*s.tol.Point*size(i)*math.Abs(float64(up.ref.F32()[i])) + 1e-30
		})
		s.within(t, fmt.Sprintf("%d, up", n), dup, func(i int) float64 { return 2*s.tol.Point*size(i) + 1e-30 })
		s.dev.SwiGLUGrad(gate.dev, up.dev, dy.dev, gate.dev, up.dev)
		same(t, "gate in place", s.values(gate.dev), s.values(dgate.dev))
		same(t, "up in place", s.values(up.dev), s.values(dup.dev))
	}
}

func (s *gradients) importanceGrad(t *testing.T) {
	for i, tc := range []struct{ rows, heads, dim int }{{1, 1, 1}, {1, 2, 64}, {33, 3, 5}, {300, 3, 64}, {129, 2, 128}} {
		width := tc.heads * tc.dim
		v, ds := s.act(t, s.normal(tc.rows*width), tc.rows, width), s.f32(t, s.normal(tc.rows*tc.heads), tc.rows, tc.heads)
		delta, a := s.f32(t, s.normal(tc.heads*width), tc.heads, width), s.f32(t, s.normal(tc.heads), tc.heads)
		dv, ddelta, da := s.act(t, s.normal(tc.rows*width), tc.rows, width), s.f32(t, s.normal(tc.heads*width), tc.heads, width), s.f32(t, s.normal(tc.heads), tc.heads)
		var bias, dbias pair
		if i%2 == 0 {
			bias, dbias = s.f32(t, s.normal(tc.heads), tc.heads), s.f32(t, s.normal(tc.heads), tc.heads)
		}
		run := func() {
			s.dev.ImportanceGrad(dv.dev, ddelta.dev, dbias.dev, da.dev, ds.dev, v.dev, delta.dev, bias.dev, a.dev)
		}
		run()
		s.ref.ImportanceGrad(dv.ref, ddelta.ref, dbias.ref, da.ref, ds.ref, v.ref, delta.ref, bias.ref, a.ref)
		// A factor of g is a function of delta·v, a sum of width terms of size 1; g is below 10.
		term := 10 * s.tol.Sum * (1 + float64(width)*0.1)
		rows := math.Sqrt(float64(tc.rows)) + 1
		what := fmt.Sprint(tc)
		s.within(t, what+", v", dv, func(int) float64 { return term*float64(tc.heads) + s.rounded()*20*float64(tc.heads) })
		s.within(t, what+", delta", ddelta, func(int) float64 { return term * rows * 4 })
		if i%2 == 0 {
			s.within(t, what+", bias", dbias, func(int) float64 { return term * rows * 4 })
		}
		s.within(t, what+", A", da, func(int) float64 { return term * rows * math.Sqrt(float64(width)) * 4 })
		s.again(t, what, run, dv.dev, ddelta.dev, da.dev)
	}
}

func (s *gradients) crossEntropy(t *testing.T) {
	for _, tc := range []struct {
		rows, vocab int
		spread      float32
	}{{1, 1, 1}, {3, 7, 2}, {5, 64, 1}, {4, 513, 10}, {9, 1000, 3}, {70, 1536, 20}, {2, 49_152, 4}} {
		v := s.normal(tc.rows * tc.vocab)
		for i := range v {
			v[i] *= tc.spread
		}
		targets := make([]int32, tc.rows)
		for i := range targets {
			targets[i] = s.rng.Int32N(int32(tc.vocab)+1) - 1
		}
		targets[0] = int32(tc.vocab - 1)
		logits, loss := s.act(t, v, tc.rows, tc.vocab), s.empty(t, tc.rows)
		before, tops := slices.Clone(logits.ref.F32()), make([]float32, tc.rows)
		for r := range tops {
			tops[r] = slices.Max(before[r*tc.vocab : (r+1)*tc.vocab])
		}
		const scale = 0.125
		s.dev.CrossEntropy(loss.dev, logits.dev, targets, scale)
		s.ref.CrossEntropy(loss.ref, logits.ref, targets, scale)
		what := fmt.Sprint(tc)
		s.within(t, what+", loss", loss, func(i int) float64 { return 2 * s.tol.Sum * (1 + math.Abs(float64(loss.ref.F32()[i]))) })
		s.within(t, what+", gradient", logits, func(i int) float64 {
			if targets[i/tc.vocab] < 0 {
				return 0
			}
			p := math.Abs(float64(logits.ref.F32()[i]))
			if i%tc.vocab == int(targets[i/tc.vocab]) {
				p = scale
			}
			// An exponent far below 0 has lost digits before it became one.
			return p*(2*s.tol.Sum+2e-7*float64(tops[i/tc.vocab]-before[i])) + 1e-37
		})
	}
}

// crossEntropyFar: maxima that come late or early, masked logits, and what is not a number.
func (s *gradients) crossEntropyFar(t *testing.T) {
	const rows, vocab = 5, 1100
	inf := float32(math.Inf(-1))
	v := make([]float32, rows*vocab)
	for i := range v {
		v[i] = float32(i % vocab)
		switch i / vocab {
		case 1:
			v[i] = -v[i]
		case 2:
			v[i] = inf
		case 3:
			v[i] *= 1e30
		}
	}
	v[2*vocab+700], v[2*vocab+3] = 5, 4
	v[4*vocab+600] = float32(math.NaN())
	logits, loss := s.act(t, v, rows, vocab), s.empty(t, rows)
	targets := []int32{vocab - 1, 0, 700, vocab - 2, 0}
	s.dev.CrossEntropy(loss.dev, logits.dev, targets, 1)
	s.ref.CrossEntropy(loss.ref, logits.ref, targets, 1)
	s.within(t, "loss", loss, func(i int) float64 { return s.tol.Sum * (1 + math.Abs(float64(loss.ref.F32()[i]))) })
	got := s.values(logits.dev)
	for i, want := range logits.ref.F32()[:4*vocab] {
		if !(math.Abs(float64(got[i]-want)) <= 1e-5+s.rounded()) {
			t.Fatalf("row %d: the gradient at %d is %v, the definition says %v", i/vocab, i%vocab, got[i], want)
		}
	}
}

func (s *gradients) squaredNorm(t *testing.T) {
	for _, n := range []int{1, 1000, 32 << 10, 100_001} {
		x := s.f32(t, s.normal(n), n)
		got, want := s.dev.SquaredNorm(x.dev), s.ref.SquaredNorm(x.ref)
		if !(math.Abs(got-want) <= s.tol.Sum*want) {
			t.Fatalf("%d elements: %v, the definition says %v", n, got, want)
		}
		if again := s.dev.SquaredNorm(x.dev); again != got {
			t.Fatalf("%d elements: %v, the second time %v", n, got, again)
		}
	}
}

func (s *gradients) adamW(t *testing.T) {
	for _, n := range []int{1, 9, 5000, 40_003} {
		w, m, v := s.f32(t, s.normal(n), n), s.f32(t, make([]float32, n), n), s.f32(t, make([]float32, n), n)
		step := compute.AdamWStep{Rate: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Decay: 0.1, Grad: 0.25}
		for step.Step = 1; step.Step <= 5; step.Step++ {
			g := s.normal(n)
			g[0] = 0
			grad := s.f32(t, g, n)
			s.dev.AdamW(w.dev, m.dev, v.dev, grad.dev, step)
			s.ref.AdamW(w.ref, m.ref, v.ref, grad.ref, step)
			what := fmt.Sprintf("%d elements, step %d", n, step.Step)
			s.within(t, what+", m", m, func(int) float64 { return s.tol.Point })
			s.within(t, what+", v", v, func(int) float64 { return s.tol.Point })
			s.within(t, what+", weight", w, func(i int) float64 {
				return s.tol.Point*math.Abs(float64(w.ref.F32()[i])) + 40*s.tol.Point*float64(step.Rate)
			})
		}
	}
}
