package compute

import (
	"math"
	"testing"

	"nosa/dtype"
)

func near(t *testing.T, what string, got, want []float32, tol float64) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s: %d values, want %d", what, len(got), len(want))
	}
	for i := range got {
		if d := math.Abs(float64(got[i]) - float64(want[i])); !(d <= tol) {
			t.Fatalf("%s: value %d of %v, want %v", what, i, got, want)
		}
	}
}

func TestEmbed(t *testing.T) {
	table := F32s([]float32{1, 2, 3, 4, 5, 6}, 3, 2)
	out := make([]float32, 6)
	Embed(out, table, []int32{2, 0, 2})
	near(t, "rows", out, []float32{5, 6, 1, 2, 5, 6}, 0)
	for _, id := range []int32{-1, 3} {
		mustPanic(t, "an id outside the table", func() { Embed(out, table, []int32{id}) })
	}
}

func mustPanic(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s: no panic", what)
		}
	}()
	f()
}

func TestRMSNorm(t *testing.T) {
	// Squares of 3 and 4 have the mean 12.5.
	x, out := []float32{3, 4, 0, 0}, make([]float32, 4)
	RMSNorm(out, x, []float32{1, 2}, 0)
	root := float32(math.Sqrt(12.5))
	if out[0] != float32(3*(1/root)) && math.Abs(float64(out[0]-3/root)) > 1e-7 {
		t.Errorf("3/√12.5 is %v", out[0])
	}
	if !math.IsNaN(float64(out[2])) { // 0·∞: what eps is there for
		t.Errorf("a row of zeros without eps gave %v", out[2:])
	}
	RMSNorm(x, x, []float32{1, 2}, 12.5)
	near(t, "in place, with eps", x, []float32{3.0 / 5, 8.0 / 5, 0, 0}, 1e-7)
}

func TestLinear(t *testing.T) {
	x := []float32{1, 2, 3, 0, -1, 1}
	w := F32s([]float32{1, 0, 0, 1, 1, 1}, 2, 3)
	out := make([]float32, 4)
	Linear(out, x, w, nil)
	near(t, "two rows", out, []float32{1, 6, 0, 0}, 0)
	Linear(out, x, w, []float32{10, -1})
	near(t, "with bias", out, []float32{11, 5, 10, -1}, 0)

	// A sum that float32 would lose.
	big := []float32{1e8, 1, -1e8}
	Linear(out[:1], big, F32s([]float32{1, 1, 1}, 1, 3), nil)
	if out[0] != 1 {
		t.Errorf("1e8 + 1 − 1e8 = %v", out[0])
	}

	half := make([]byte, 4)
	dtype.Encode(dtype.F16, half, []float32{0.5, -2})
	Linear(out[:1], []float32{4, 3}, NewTensor(dtype.F16, half, 1, 2), nil)
	if out[0] != -4 {
		t.Errorf("with float16 weights: %v, want -4", out[0])
	}
}

func TestSwiGLU(t *testing.T) {
	gate, up := []float32{0, 1, -1, 100, -100, -1e4, 3e38}, []float32{5, 2, 2, 3, 3, 3, 1}
	out := make([]float32, len(gate))
	SwiGLU(out, gate, up)
	near(t, "silu(gate)·up", out[:6], []float32{0, 2 * 0.7310586, -2 * 0.26894143, 300, 0, 0}, 1e-6)
	if out[6] != 3e38 {
		t.Errorf("a gate of 3e38 gave %v", out[6])
	}
	SwiGLU(gate, gate, up)
	near(t, "in place", gate[:6], out[:6], 0)
}

func TestResidual(t *testing.T) {
	x := []float32{1, 2}
	AddScaled(x, []float32{10, 20}, 0.5)
	near(t, "AddScaled", x, []float32{6, 12}, 0)
	Scale(x, -2)
	near(t, "Scale", x, []float32{-12, -24}, 0)
}

func TestImportance(t *testing.T) {
	// One row, two KV heads of two channels; delta picks a channel for each head.
	v := []float32{0, 3, -200, 200}
	delta := []float32{0, 1, 0, 0, 0, 0, 0, 1}
	out := make([]float32, 2)
	Importance(out, v, delta, nil, []float32{2, -1})
	near(t, "A·softplus", out, []float32{float32(2 * math.Log1p(math.Exp(3))), -200}, 1e-6)
	Importance(out, v, delta, []float32{-3, -600}, []float32{2, 1})
	near(t, "with bias", out, []float32{float32(2 * math.Log(2)), 0}, 1e-6)
}

func TestTensor(t *testing.T) {
	x := F32s([]float32{1, 2, 3, 4, 5, 6}, 3, 2)
	near(t, "rows", x.Rows(1, 3).F32(), []float32{3, 4, 5, 6}, 0)
	near(t, "rows of rows, in another shape", x.Rows(1, 3).Reshape(4).Rows(3, 4).F32(), []float32{6}, 0)
	if n := len(x.Rows(3, 3).F32()); n != 0 {
		t.Errorf("no rows have %d values", n)
	}
	q := NewTensor(dtype.Q8_0, make([]byte, 4*34), 2, 64)
	if r := q.Rows(1, 2); len(r.Data) != 2*34 || r.Bytes() != 2*34 {
		t.Errorf("a row of 64 in Q8_0 has %d bytes, by its shape %d", len(r.Data), r.Bytes())
	}
	if !(Tensor{}).None() || x.None() || x.Stride() != 2 || x.Len() != 6 {
		t.Errorf("None, Stride, Len of %v: %v %d %d", x.Dims, x.None(), x.Stride(), x.Len())
	}
	addr := Describe(dtype.F16, 4, 8)
	addr.Addr = 1000
	if got := addr.Rows(2, 4).Addr; got != 1000+2*8*2 {
		t.Errorf("row 2 lies at %d", got)
	}
	for what, f := range map[string]func(){
		"data of another length":    func() { NewTensor(dtype.F32, make([]byte, 7), 2) },
		"rows beyond the end":       func() { x.Rows(2, 4) },
		"rows backwards":            func() { x.Rows(2, 1) },
		"reshape to other sizes":    func() { x.Reshape(4) },
		"float32 view of int32":     func() { I32s([]int32{1}, 1).F32() },
		"int32 view of float32":     func() { x.I32() },
		"no axes":                   func() { Describe(dtype.F32) },
		"five axes":                 func() { Describe(dtype.F32, 1, 1, 1, 1, 1) },
		"half a block of a format":  func() { Describe(dtype.Q4_0, 16).Bytes() },
		"a format that is not one":  func() { Describe(dtype.Invalid, 1).Bytes() },
		"rows within a block's row": func() { Describe(dtype.Q4_0, 2, 16).Rows(1, 2) },
	} {
		mustPanic(t, what, f)
	}
}
