package compute

import (
	"math"
	"math/rand/v2"
	"testing"
)

// differences holds grad against what a loss changes by when x does, at every element: by
// central differences of sixth order, whose step is long enough for results of float32.
func differences(t *testing.T, what string, x, grad []float32, loss func() float64) {
	t.Helper()
	const step = 1. / 32
	for i, at := range x {
		var slope float64
		for k, c := range []float64{0.75, -0.15, 1. / 60} {
			h := float32(k+1) * step
			x[i] = at + h
			above := loss()
			x[i] = at - h
			slope += c * (above - loss()) / step
		}
		x[i] = at
		if d := math.Abs(slope - float64(grad[i])); !(d <= 2e-5*(1+math.Abs(slope))) {
			t.Errorf("%s: the gradient at element %d is %v, differences say %.7g", what, i, grad[i], slope)
		}
	}
}

// draw returns n normal numbers with so few digits that a step from them is exact.
func draw(rng *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Round(rng.NormFloat64()*1024) / 1024)
	}
	return x
}

// TestGradientsByDifferences: each gradient is that of the definition beside it, for the loss
// Σ dy·result.
func TestGradientsByDifferences(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	t.Run("Importance", func(t *testing.T) {
		const rows, heads, width = 5, 3, 12
		v, ds := draw(rng, rows*width), draw(rng, rows*heads)
		delta, bias, a := draw(rng, heads*width), draw(rng, heads), draw(rng, heads)
		s := make([]float32, rows*heads)
		dv, ddelta, dbias, da := make([]float32, len(v)), make([]float32, len(delta)), make([]float32, heads), make([]float32, heads)
		ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a)
		loss := func() float64 { Importance(s, v, delta, bias, a); return dot(ds, s) }
		differences(t, "v", v, dv, loss)
		differences(t, "delta", delta, ddelta, loss)
		differences(t, "bias", bias, dbias, loss)
		differences(t, "A", a, da, loss)
	})
	t.Run("Linear", func(t *testing.T) {
		const rows, n, k = 4, 3, 5
		x, w, bias, dy := draw(rng, rows*k), draw(rng, n*k), draw(rng, n), draw(rng, rows*n)
		y, dx, dw, db := make([]float32, rows*n), make([]float32, len(x)), make([]float32, len(w)), make([]float32, n)
		LinearInputGrad(dx, dy, F32s(w, n, k), false)
		LinearWeightGrad(F32s(dw, n, k), db, dy, x)
		loss := func() float64 { Linear(y, x, F32s(w, n, k), bias); return dot(dy, y) }
		differences(t, "input", x, dx, loss)
		differences(t, "weight", w, dw, loss)
		differences(t, "bias", bias, db, loss)
	})
	t.Run("RMSNorm", func(t *testing.T) {
		const rows, width = 3, 7
		x, w, dy := draw(rng, rows*width), draw(rng, width), draw(rng, rows*width)
		y, dx, dw := make([]float32, len(x)), make([]float32, len(x)), make([]float32, width)
		RMSNormGrad(dx, dw, dy, x, w, 0.1, false)
		loss := func() float64 { RMSNorm(y, x, w, 0.1); return dot(dy, y) }
		differences(t, "input", x, dx, loss)
		differences(t, "weight", w, dw, loss)
	})
	t.Run("SwiGLU", func(t *testing.T) {
		gate, up, dy := draw(rng, 20), draw(rng, 20), draw(rng, 20)
		y, dgate, dup := make([]float32, 20), make([]float32, 20), make([]float32, 20)
		SwiGLUGrad(dgate, dup, dy, gate, up)
		loss := func() float64 { SwiGLU(y, gate, up); return dot(dy, y) }
		differences(t, "gate", gate, dgate, loss)
		differences(t, "up", up, dup, loss)
	})
	t.Run("Rotate", func(t *testing.T) {
		const rows, heads, dim = 3, 2, 7
		rope := &Rope{Inv: []float32{1, 0.3, 0.01}, Factor: 1.25}
		angles := make([]float32, rows*2*3)
		Angles(angles, []int32{0, 5, 900}, rope)
		for _, rope.Interleaved = range []bool{false, true} {
			x, dx := draw(rng, rows*heads*dim), draw(rng, rows*heads*dim)
			dy, y := append([]float32(nil), dx...), make([]float32, len(x))
			RotateGrad(dx, angles, heads, dim, rope)
			differences(t, "input", x, dx, func() float64 {
				copy(y, x)
				Rotate(y, angles, heads, dim, rope)
				return dot(dy, y)
			})
		}
	})
	t.Run("CrossEntropy", func(t *testing.T) {
		const rows, vocab = 4, 9
		logits, targets := draw(rng, rows*vocab), []int32{3, -1, 0, 8}
		grad, loss, spare := append([]float32(nil), logits...), make([]float32, rows), make([]float32, rows*vocab)
		CrossEntropy(loss, grad, targets, 0.5)
		differences(t, "logits", logits, grad, func() float64 {
			copy(spare, logits)
			CrossEntropy(loss, spare, targets, 0.5)
			return 0.5 * dot(loss, []float32{1, 1, 1, 1})
		})
	})
}

// TestGradientsAddUp: what is said to be added to is, and the rest is set.
func TestGradientsAddUp(t *testing.T) {
	dx, dw, db := []float32{10, 20}, F32s([]float32{1, 2}, 1, 2), []float32{5}
	LinearInputGrad(dx, []float32{2}, F32s([]float32{3, 4}, 1, 2), true)
	near(t, "dx added to", dx, []float32{16, 28}, 0)
	LinearInputGrad(dx, []float32{2}, F32s([]float32{3, 4}, 1, 2), false)
	near(t, "dx set", dx, []float32{6, 8}, 0)
	LinearWeightGrad(dw, db, []float32{2, 1}, []float32{3, 4, 10, 10})
	near(t, "dweight", dw.F32(), []float32{17, 20}, 0)
	near(t, "dbias", db, []float32{8}, 0)
	table := F32s([]float32{1, 1, 1}, 3, 1)
	EmbedGrad(table, []float32{5, 6, 7}, []int32{2, 0, 2})
	near(t, "dtable", table.F32(), []float32{7, 1, 13}, 0)

	// Rows of (3, 4): with eps the root is 5, and dy·weight is (2, 0).
	x, dy, w := []float32{3, 4}, []float32{1, 0}, []float32{2, 1}
	dx, dn := []float32{100, 100}, []float32{1, 1}
	RMSNormGrad(dx, dn, dy, x, w, 12.5, true)
	near(t, "norm's dx added to", dx, []float32{100 + 0.4*(1-9./50), 100 - 0.4*12./50}, 1e-5)
	near(t, "norm's dweight", dn, []float32{1.6, 1}, 1e-6)
}

// TestCrossEntropyFar: logits far apart overflow nothing; a target outside panics.
func TestCrossEntropyFar(t *testing.T) {
	logits, loss := []float32{3e38, 0, -3e38, -1e4, 1e4, 0}, make([]float32, 2)
	CrossEntropy(loss, logits, []int32{0, 0}, 2)
	near(t, "loss", loss, []float32{0, 2e4}, 0)
	near(t, "gradient", logits, []float32{0, 0, 0, -2, 2, 0}, 0)
	for _, target := range []int32{-2, 3} {
		mustPanic(t, "a target outside the vocabulary", func() { CrossEntropy(loss[:1], logits[:3], []int32{target}, 1) })
	}
}

// TestAdamW: the first step goes by the rate against the gradient's sign, whatever its size,
// and decay is apart from it.
func TestAdamW(t *testing.T) {
	w, m, v := []float32{1, 1, 1}, make([]float32, 3), make([]float32, 3)
	step := AdamWStep{Rate: 0.1, Beta1: 0.9, Beta2: 0.99, Eps: 1e-12, Decay: 0.5, Grad: 0.5, Step: 1}
	AdamW(w, m, v, []float32{1e-3, -1e3, 0}, step)
	near(t, "weights", w, []float32{0.85, 1.05, 0.95}, 1e-6)
	near(t, "m", m, []float32{5e-5, -50, 0}, 1e-4)
	near(t, "v", v, []float32{2.5e-9, 2500, 0}, 1e-2)
	if got := SquaredNorm([]float32{3e30, 4e30}); math.Abs(got-25e60) > 1e54 {
		t.Errorf("squared norm %v", got)
	}
}
