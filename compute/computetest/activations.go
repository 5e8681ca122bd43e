package computetest

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"nosa/compute"
)

// RunActivations is the suite for the ops of compute.Device that a trainer takes a model forward
// with, on activations of the device's own type.
func RunActivations(t *testing.T, dev GradientsDevice, tol Tolerance) {
	s := &gradients{suite: suite{dev: dev, tol: tol}, dev: dev}
	for _, part := range []struct {
		name string
		run  func(*gradients, *testing.T)
	}{
		{"Embed", (*gradients).forwardEmbed},
		{"RMSNorm", (*gradients).forwardNorm},
		{"Linear", (*gradients).forwardLinear},
		{"Rotate", (*gradients).forwardRotate},
		{"Points", (*gradients).forwardPoints},
		{"Importance", (*gradients).forwardImportance},
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

// blank is a pair of activations of a value that no op may leave in place.
func (s *gradients) blank(t *testing.T, shape ...int) pair {
	t.Helper()
	v := make([]float32, compute.Describe(s.dev.Activations(), shape...).Len())
	for i := range v {
		v[i] = -12345
	}
	return s.act(t, v, shape...)
}

func (s *gradients) forwardEmbed(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {37, 9}, {50, 576}, {7, 4096}} {
		vocab, width := shape[0], shape[1]
		table := s.act(t, s.normal(vocab*width), vocab, width)
		ids := []int32{0, int32(vocab - 1), s.rng.Int32N(int32(vocab)), 0}
		out := s.blank(t, len(ids), width)
		s.dev.Embed(out.dev, table.dev, ids)
		s.ref.Embed(out.ref, table.ref, ids)
		same(t, fmt.Sprint(shape), s.values(out.dev), out.ref.F32())
	}
}

func (s *gradients) forwardNorm(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {3, 3}, {5, 16}, {2, 80}, {7, 129}, {300, 64}, {64, 576}, {1, 4096}} {
		rows, width := shape[0], shape[1]
		v := s.normal(rows * width)
		for i := range width { // a row of large values, one of tiny ones, and one of zeros
			v[i] *= 1e15
			v[(rows-1)*width+i] *= 1e-12
			if rows > 2 {
				v[width+i] = 0
			}
		}
		x, w, out := s.act(t, v, rows, width), s.f32(t, s.normal(width), width), s.blank(t, rows, width)
		s.dev.RMSNorm(out.dev, x.dev, w.dev, 1e-5)
		s.ref.RMSNorm(out.ref, x.ref, w.ref, 1e-5)
		s.within(t, fmt.Sprint(shape), out, func(i int) float64 { return s.point(i, float64(out.ref.F32()[i])) })
		s.dev.RMSNorm(x.dev, x.dev, w.dev, 1e-5)
		same(t, "in place", s.values(x.dev), s.values(out.dev))
	}
}

func (s *gradients) forwardLinear(t *testing.T) {
	for i, shape := range slices.Concat(linearShapes, linearGradShapes) {
		rows, n, k := shape[0], shape[1], shape[2]
		if heavy(t, i, rows*n*k) {
			continue
		}
		x, w, out := s.act(t, s.normal(rows*k), rows, k), s.act(t, s.normal(n*k), n, k), s.blank(t, rows, n)
		bias := s.f32(t, s.normal(n), n)
		if rows%2 == 0 {
			bias = pair{}
		}
		s.dev.Linear(out.dev, x.dev, w.dev, bias.dev)
		s.ref.Linear(out.ref, x.ref, w.ref, bias.ref)
		scale := s.absLinear(t, x, w, bias)
		s.within(t, fmt.Sprintf("%d rows, %d×%d", rows, n, k), out, func(i int) float64 { return s.tol.Sum * scale[i] })
	}
}

func (s *gradients) forwardRotate(t *testing.T) {
	for _, tc := range []struct{ rows, heads, dim, pairs int }{{1, 1, 4, 2}, {3, 2, 16, 8}, {40, 9, 64, 32}, {3, 2, 20, 6}, {2, 2, 32, 5}} {
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
			s.dev.Rotate(x.dev, angles.dev, rope)
			s.ref.Rotate(x.ref, angles.ref, rope)
			s.within(t, fmt.Sprint(tc), x, func(int) float64 { return 20 * s.tol.Point })
		}
	}
}

// forwardPoints: SwiGLU, a residual and a factor, also where rows do not begin at 16 bytes.
func (s *gradients) forwardPoints(t *testing.T) {
	for _, n := range []int{1, 7, 8, 100, 1536, 40_001} {
		g := s.normal(2 * n)
		for i := range g {
			g[i] *= 8
		}
		gate, up, out := s.act(t, g, 2, n), s.act(t, s.normal(2*n), 2, n), s.blank(t, 2, n)
		last := func(p pair) pair { return pair{p.dev.Rows(1, 2), p.ref.Rows(1, 2)} }
		for _, of := range []func(pair) pair{func(p pair) pair { return p }, last} {
			g, u, o := of(gate), of(up), of(out)
			s.dev.SwiGLU(o.dev, g.dev, u.dev)
			s.ref.SwiGLU(o.ref, g.ref, u.ref)
			s.within(t, fmt.Sprintf("SwiGLU of %d", n), o, func(i int) float64 { return s.point(i, float64(o.ref.F32()[i])) + 1e-30 })
			s.ref.Upload(o.ref, bytesOf(s.values(o.dev)))
			size := func(i int) float64 { return 8 * math.Abs(float64(o.ref.F32()[i])) }
			s.dev.AddScaled(o.dev, u.dev, -1.7)
			s.ref.AddScaled(o.ref, u.ref, -1.7)
			s.within(t, fmt.Sprintf("AddScaled of %d", n), o, func(i int) float64 { return s.tol.Point * (1 + size(i)) * 20 })
			s.ref.Upload(o.ref, bytesOf(s.values(o.dev)))
			s.dev.Scale(o.dev, 12.5)
			s.ref.Scale(o.ref, 12.5)
			s.within(t, fmt.Sprintf("Scale of %d", n), o, func(i int) float64 { return s.point(i, float64(o.ref.F32()[i])) })
			s.ref.Upload(o.ref, bytesOf(s.values(o.dev)))
		}
	}
}

func (s *gradients) forwardImportance(t *testing.T) {
	for _, tc := range []struct{ rows, heads, dim int }{{1, 1, 4}, {5, 2, 16}, {3, 3, 5}, {64, 3, 64}} {
		width := tc.heads * tc.dim
		v, delta := s.act(t, s.normal(tc.rows*width), tc.rows, tc.heads, tc.dim), s.f32(t, s.normal(tc.heads*width), tc.heads, width)
		a := s.f32(t, s.normal(tc.heads), tc.heads)
		for _, bias := range []pair{{}, s.f32(t, s.normal(tc.heads), tc.heads)} {
			out := s.empty(t, tc.rows, tc.heads)
			s.dev.Importance(out.dev, v.dev, delta.dev, bias.dev, a.dev)
			s.ref.Importance(out.ref, v.ref, delta.ref, bias.ref, a.ref)
			s.within(t, fmt.Sprint(tc), out, func(int) float64 { return s.tol.Sum * 4 * float64(width) })
		}
	}
}
