package compute

import (
	"math"
	"math/rand/v2"
	"testing"
)

// TestAngles: cosines then sines of position times frequency, times the factor.
func TestAngles(t *testing.T) {
	out := make([]float32, 8)
	Angles(out, []int32{0, 3}, &Rope{Inv: []float32{1, 0.25}, Factor: 2})
	near(t, "angles", out, []float32{
		2, 2, 0, 0,
		float32(2 * math.Cos(3)), float32(2 * math.Cos(0.75)), float32(2 * math.Sin(3)), float32(2 * math.Sin(0.75)),
	}, 1e-6)

	// Far out the float32 product decides, not the exact one.
	inv := float32(0.7498942)
	Angles(out[:2], []int32{131071}, &Rope{Inv: []float32{inv}, Factor: 1})
	want := math.Cos(float64(131071 * inv))
	if exact := math.Cos(131071 * float64(inv)); math.Abs(exact-want) < 1e-4 {
		t.Fatalf("the case says nothing: %v and %v", exact, want)
	}
	near(t, "far out", out[:1], []float32{float32(want)}, 1e-7)
}

func TestRotateByHand(t *testing.T) {
	// A quarter turn of pair 0, none of pair 1; two heads; the last two channels of
	// six are not rotated.
	angles := []float32{0, 1, 1, 0}
	rope := &Rope{Inv: make([]float32, 2)}
	x := []float32{1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60}
	Rotate(x, angles, 2, 6, rope)
	near(t, "halves: (0,2) and (1,3)", x, []float32{-3, 2, 1, 4, 5, 6, -30, 20, 10, 40, 50, 60}, 0)
	rope.Interleaved = true
	x = []float32{1, 2, 3, 4, 5, 6, 10, 20, 30, 40, 50, 60}
	Rotate(x, angles, 2, 6, rope)
	near(t, "interleaved: (0,1) and (2,3)", x, []float32{-2, 1, 3, 4, 5, 6, -20, 10, 30, 40, 50, 60}, 0)
}

// TestRotateLayouts: interleaved rotation is rotation by halves with the channels
// in another order, which is how GGUF files of llama models are permuted.
func TestRotateLayouts(t *testing.T) {
	const pairs, heads, rows = 16, 3, 4
	const dim = 2 * pairs
	rng := rand.New(rand.NewPCG(1, 2))
	rope := &Rope{Inv: make([]float32, pairs), Factor: 1}
	for i := range rope.Inv {
		rope.Inv[i] = float32(math.Pow(10000, -float64(i)/pairs))
	}
	angles := make([]float32, rows*2*pairs)
	Angles(angles, []int32{0, 1, 77, 4095}, rope)
	halves, inter := make([]float32, rows*heads*dim), make([]float32, rows*heads*dim)
	place := func(i int) int { // of channel i of the halves
		return i/dim*dim + i%pairs*2 + i%dim/pairs
	}
	for i := range halves {
		halves[i] = float32(rng.NormFloat64())
		inter[place(i)] = halves[i]
	}
	before := append([]float32(nil), halves...)
	Rotate(halves, angles, heads, dim, rope)
	Rotate(inter, angles, heads, dim, &Rope{Inv: rope.Inv, Interleaved: true})
	for i := range halves {
		if inter[place(i)] != halves[i] {
			t.Fatalf("channel %d: %v by halves, %v interleaved", i, halves[i], inter[place(i)])
		}
	}
	near(t, "position 0", halves[:heads*dim], before[:heads*dim], 0)
	for i := 0; i < len(halves); i += dim { // a rotation keeps lengths
		if a, b := dot(before[i:i+dim], before[i:i+dim]), dot(halves[i:i+dim], halves[i:i+dim]); math.Abs(a-b) > 1e-4 {
			t.Errorf("squared length %v became %v", a, b)
		}
	}
}
