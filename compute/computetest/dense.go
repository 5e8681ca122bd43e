package computetest

import (
	"bytes"
	"math"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// formats are those in which weights come.
var formats = []dtype.Type{
	dtype.F32, dtype.F16, dtype.BF16, dtype.Q8_0, dtype.Q4_0, dtype.Q4_1,
	dtype.Q5_0, dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K,
}

// halves are the places of the float16 scales in a block of each format.
var halves = map[dtype.Type][]int{
	dtype.Q8_0: {0}, dtype.Q4_0: {0}, dtype.Q4_1: {0, 2}, dtype.Q5_0: {0}, dtype.Q5_1: {0, 2},
	dtype.Q4_K: {0, 2}, dtype.Q5_K: {0, 2}, dtype.Q6_K: {208},
}

// weights returns [n, k] random weights in a format: every code can occur, and
// scales keep the values around 1.
func (s *suite) weights(t *testing.T, format dtype.Type, n, k int) pair {
	t.Helper()
	size, err := format.Size(n * k)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	if !format.Quantised() {
		dtype.Encode(format, data, s.normal(n*k))
		return s.put(t, format, data, n, k)
	}
	for i := range data {
		data[i] = byte(s.rng.Uint32())
	}
	scale := map[bool]float64{true: 1e-3, false: 0.1}[format.Block() == 256 || format == dtype.Q8_0]
	for at := 0; at < size; at += format.BlockBytes() {
		for _, h := range halves[format] {
			v := dtype.F32ToF16(float32(scale * s.rng.NormFloat64()))
			data[at+h], data[at+h+1] = byte(v), byte(v>>8)
		}
	}
	return s.put(t, format, data, n, k)
}

func (s *suite) memory(t *testing.T) {
	for _, n := range []int{1, 7, 1000, 100_000} {
		x := s.alloc(t, s.dev, dtype.U8, n, 3)
		got := make([]byte, 3*n)
		got[0] = 1
		s.dev.Download(got, x)
		if !bytes.Equal(got, make([]byte, 3*n)) {
			t.Fatalf("%d bytes: fresh memory is not zero", 3*n)
		}
		want := make([]byte, 3*n)
		for i := range want {
			want[i] = byte(s.rng.Uint32())
		}
		s.dev.Upload(x, want)
		s.dev.Download(got, x)
		if !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: what was uploaded is not what was downloaded", 3*n)
		}
		from := s.rng.IntN(n)
		view := x.Rows(from, n)
		s.dev.Download(got[:view.Bytes()], view)
		if !bytes.Equal(got[:view.Bytes()], want[3*from:]) {
			t.Fatalf("rows %d to %d of %d: not the bytes that lie there", from, n, n)
		}
	}
	data := bytesOf(s.normal(12))
	x, err := s.dev.Load(dtype.F32, data, 3, 4)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(data))
	s.dev.Download(got, x)
	if !bytes.Equal(got, data) {
		t.Fatal("a loaded weight is not what was handed in")
	}
}

func (s *suite) embed(t *testing.T) {
	const vocab, width = 37, 512
	for _, format := range formats {
		table := s.weights(t, format, vocab, width)
		ids := []int32{0, vocab - 1, 5, 5, int32(s.rng.IntN(vocab))}
		out := s.empty(t, len(ids), width)
		s.dev.Embed(out.dev, table.dev, ids)
		s.ref.Embed(out.ref, table.ref, ids)
		same(t, format.String(), read(s.dev, out.dev), read(s.ref, out.ref))
	}
}

// linearShapes are [rows, n, k]; formats of blocks take those that they divide.
var linearShapes = [][3]int{
	{1, 1, 1}, {1, 3, 5}, {2, 9, 8}, {3, 4, 7}, {4, 33, 31}, {5, 12, 100},
	{1, 8, 32}, {2, 5, 96}, {3, 17, 64}, {7, 70, 160}, {1, 64, 1600},
	{1, 11, 256}, {3, 7, 512}, {13, 130, 768}, {65, 20, 256}, {64, 96, 2048}, {200, 9, 1056},
}

func (s *suite) linear(t *testing.T) {
	for _, format := range formats {
		for _, shape := range linearShapes {
			rows, n, k := shape[0], shape[1], shape[2]
			if k%format.Block() != 0 {
				continue
			}
			x := s.f32(t, s.normal(rows*k), rows, k)
			w := s.weights(t, format, n, k)
			var bias pair
			if s.rng.IntN(2) == 0 {
				bias = s.f32(t, s.normal(n), n)
			}
			out := s.empty(t, rows, n)
			s.dev.Linear(out.dev, x.dev, w.dev, bias.dev)
			s.ref.Linear(out.ref, x.ref, w.ref, bias.ref)
			scale := s.absLinear(t, x, w, bias)
			s.close(t, format.String(), out, func(i int, _ float64) float64 { return s.tol.quantised(format)*scale[i] + 1e-37 })
		}
	}
}

// absLinear is Linear of the absolute values: what an error is relative to.
func (s *suite) absLinear(t *testing.T, x, w, bias pair) []float64 {
	t.Helper()
	rows, n, k := x.ref.Dims[0], w.ref.Dims[0], w.ref.Dims[1]
	xv, wv := read(s.ref, x.ref), make([]float32, n*k)
	dtype.Decode(w.ref.Type, wv, w.ref.Data)
	sum := make([]float64, rows*n)
	for r := range rows {
		for i := range n {
			for j := range k {
				sum[r*n+i] += math.Abs(float64(xv[r*k+j]) * float64(wv[i*k+j]))
			}
			if !bias.ref.None() {
				sum[r*n+i] += math.Abs(float64(bias.ref.F32()[i]))
			}
		}
	}
	return sum
}

// linearRows: a row has the same bits alone and among others.
func (s *suite) linearRows(t *testing.T) {
	const rows, n, k = 70, 45, 768
	for _, format := range formats {
		x, w := s.f32(t, s.normal(rows*k), rows, k), s.weights(t, format, n, k)
		bias := s.f32(t, s.normal(n), n)
		all := s.empty(t, rows, n)
		s.dev.Linear(all.dev, x.dev, w.dev, bias.dev)
		want := read(s.dev, all.dev)
		for _, m := range []int{1, 2, 3, 5, 16, 64} {
			from := s.rng.IntN(rows - m + 1)
			out := s.empty(t, m, n)
			s.dev.Linear(out.dev, x.dev.Rows(from, from+m), w.dev, bias.dev)
			same(t, format.String()+" rows beside each other", read(s.dev, out.dev), want[from*n:(from+m)*n])
		}
	}
}

// linearNotFinite: weights and activations that are not finite neither hang nor
// crash, and show in the result.
func (s *suite) linearNotFinite(t *testing.T) {
	const rows, n, k = 5, 19, 72
	bad := []float32{float32(math.NaN()), float32(math.Inf(1)), float32(math.Inf(-1))}
	for _, format := range []dtype.Type{dtype.F32, dtype.F16, dtype.BF16} {
		xs, ws := s.normal(rows*k), s.normal(n*k)
		for i, v := range bad {
			ws[(4+i)*k+s.rng.IntN(k)] = v
		}
		xs[3*k+k-1] = bad[0]
		size, err := format.Size(n * k)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		dtype.Encode(format, data, ws)
		x, w, out := s.f32(t, xs, rows, k), s.put(t, format, data, n, k), s.empty(t, rows, n)
		s.dev.Linear(out.dev, x.dev, w.dev, compute.Tensor{})
		s.ref.Linear(out.ref, x.ref, w.ref, compute.Tensor{})
		s.close(t, format.String(), out, func(int, float64) float64 { return s.tol.Sum * 1e3 })
	}
	// Any bytes are a block of a quantised format, infinite scales among them.
	for _, format := range formats[3:] {
		size, err := format.Size(3 * 512)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(s.rng.Uint32())
		}
		w, x, out := s.put(t, format, data, 3, 512), s.f32(t, s.normal(2*512), 2, 512), s.empty(t, 2, 3)
		s.dev.Linear(out.dev, x.dev, w.dev, compute.Tensor{})
		read(s.dev, out.dev)
	}
}

func (s *suite) rmsNorm(t *testing.T) {
	for _, shape := range [][2]int{{1, 1}, {3, 3}, {5, 16}, {2, 80}, {7, 129}, {64, 576}, {1, 4096}} {
		rows, width := shape[0], shape[1]
		v := s.normal(rows * width)
		for i := range width { // a row of zeros, one of large and one of tiny values
			v[i] *= 1e15
			v[(rows-1)*width+i] *= 1e-12
			if rows > 2 {
				v[width+i] = 0
			}
		}
		x, w := s.f32(t, v, rows, width), s.f32(t, s.normal(width), width)
		out := s.empty(t, rows, width)
		for _, eps := range []float32{1e-5, 1e-6} {
			s.dev.RMSNorm(out.dev, x.dev, w.dev, eps)
			s.ref.RMSNorm(out.ref, x.ref, w.ref, eps)
			s.close(t, "apart", out, s.point)
		}
		one := s.empty(t, 1, width)
		s.dev.RMSNorm(one.dev, x.dev.Rows(rows-1, rows), w.dev, 1e-6)
		same(t, "a row alone", read(s.dev, one.dev), read(s.dev, out.dev)[(rows-1)*width:])
		s.dev.RMSNorm(x.dev, x.dev, w.dev, 1e-6)
		same(t, "in place", read(s.dev, x.dev), read(s.dev, out.dev))
	}
}

func (s *suite) rotate(t *testing.T) {
	for _, tc := range []struct{ rows, heads, dim, pairs int }{
		{1, 1, 4, 2}, {3, 2, 16, 8}, {2, 9, 64, 32}, {5, 3, 80, 40}, {4, 2, 128, 64}, {3, 2, 20, 6}, {2, 1, 6, 3}, {2, 2, 32, 5},
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
			pos[0] = 0
			angles := s.empty(t, tc.rows, 2, tc.pairs)
			s.dev.Angles(angles.dev, pos, rope)
			s.ref.Angles(angles.ref, pos, rope)
			s.close(t, "angles", angles, func(int, float64) float64 { return s.tol.Point })
			x := s.f32(t, s.normal(tc.rows*tc.heads*tc.dim), tc.rows, tc.heads, tc.dim)
			before := read(s.dev, x.dev)
			s.dev.Rotate(x.dev, angles.dev, rope)
			s.ref.Rotate(x.ref, angles.ref, rope)
			s.close(t, "rotated", x, func(int, float64) float64 { return 20 * s.tol.Point })
			after := read(s.dev, x.dev)
			for i := range after {
				if i%tc.dim >= 2*tc.pairs && after[i] != before[i] {
					t.Fatalf("channel %d of %d lies beyond the %d rotated pairs and changed", i%tc.dim, tc.dim, tc.pairs)
				}
			}
		}
	}
}

func (s *suite) swiGLU(t *testing.T) {
	edges := []float32{0, float32(math.Copysign(0, -1)), 1, -1, 20, -20, 80, -80, 88.5, -88.5, 1e4, -1e4, 3e38, -3e38, 1e-30, -1e-30}
	for _, n := range []int{1, 7, 8, 100, 1536} {
		g, u := s.normal(3*n), s.normal(3*n)
		for i := range g {
			g[i] *= 8
			if s.rng.IntN(4) == 0 {
				g[i] = edges[s.rng.IntN(len(edges))]
			}
		}
		gate, up, out := s.f32(t, g, 3, n), s.f32(t, u, 3, n), s.empty(t, 3, n)
		s.dev.SwiGLU(out.dev, gate.dev, up.dev)
		s.ref.SwiGLU(out.ref, gate.ref, up.ref)
		// Where the gate is shut the product is no number worth its digits.
		s.close(t, "apart", out, func(_ int, want float64) float64 { return s.tol.Point*math.Abs(want) + 1e-30 })
		s.dev.SwiGLU(gate.dev, gate.dev, up.dev)
		same(t, "in place", read(s.dev, gate.dev), read(s.dev, out.dev))
	}
}

func (s *suite) residual(t *testing.T) {
	for _, n := range []int{1, 9, 1000} {
		x, y := s.f32(t, s.normal(2*n), 2, n), s.f32(t, s.normal(2*n), 2, n)
		for _, scale := range []float32{1, 0.25, -1.7} {
			s.dev.AddScaled(x.dev, y.dev, scale)
			s.ref.AddScaled(x.ref, y.ref, scale)
			s.close(t, "AddScaled", x, func(int, float64) float64 { return 20 * s.tol.Point })
		}
		s.dev.Scale(x.dev, 12.5)
		s.ref.Scale(x.ref, 12.5)
		s.close(t, "Scale", x, func(int, float64) float64 { return 400 * s.tol.Point })
	}
}

func (s *suite) importance(t *testing.T) {
	for _, tc := range []struct{ rows, heads, dim int }{{1, 1, 4}, {5, 2, 16}, {3, 3, 64}, {64, 2, 128}} {
		width := tc.heads * tc.dim
		v, delta := s.f32(t, s.normal(tc.rows*width), tc.rows, tc.heads, tc.dim), s.f32(t, s.normal(tc.heads*width), tc.heads, width)
		a := s.f32(t, s.normal(tc.heads), tc.heads)
		for _, bias := range []pair{{}, s.f32(t, s.normal(tc.heads), tc.heads)} {
			out := s.empty(t, tc.rows, tc.heads)
			s.dev.Importance(out.dev, v.dev, delta.dev, bias.dev, a.dev)
			s.ref.Importance(out.ref, v.ref, delta.ref, bias.ref, a.ref)
			s.close(t, "importance", out, func(int, float64) float64 { return s.tol.Sum * 4 * float64(width) })
		}
	}
}
