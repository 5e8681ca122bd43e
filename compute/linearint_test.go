package compute

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/dtype"
)

func TestNumerics(t *testing.T) {
	for _, n := range []Numerics{NumericsAuto, NumericsF32, NumericsInt16, NumericsInt8} {
		if got, err := ParseNumerics(n.String()); err != nil || got != n {
			t.Errorf("%v is read as %v, %v", n, got, err)
		}
	}
	for _, s := range []string{"", "int4", "Int8", "auto "} {
		if _, err := ParseNumerics(s); !errors.Is(err, ErrNumerics) {
			t.Errorf("%q: %v, want %v", s, err, ErrNumerics)
		}
	}
}

// TestQuantiseGroup: codes are within half a step of the values and within Top; what
// is not finite, tiny or zero is as it is written.
func TestQuantiseGroup(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	var codes [dtype.GroupLen]int32
	x := make([]float32, dtype.GroupLen)
	for _, n := range []Numerics{NumericsInt16, NumericsInt8} {
		for round := range 2000 {
			size := math.Ldexp(1, round%220-94)
			for i := range x {
				x[i] = float32(rng.NormFloat64() * size)
			}
			scale := QuantiseGroup(&codes, x, n)
			most := int32(0)
			for i, c := range codes {
				most = max(most, c, -c)
				if d := math.Abs(float64(x[i]) - float64(scale)*float64(c)); d > float64(scale)*(0.5+0.01) {
					t.Fatalf("%v: %v became %d·%v", n, x[i], c, scale)
				}
			}
			if int(most) != n.Top() {
				t.Fatalf("%v: the largest code is %d, want %d", n, most, n.Top())
			}
		}
		clear(x)
		for name, tc := range map[string]struct {
			v, scale float32
			code     int32
		}{
			"zeros": {0, 0, 0}, "minus zero": {float32(math.Copysign(0, -1)), 0, 0}, "too small": {math.Nextafter32(tiniest, 0), 0, 0},
			"just not": {-tiniest, tiniest / float32(n.Top()), -int32(n.Top())}, "largest": {math.MaxFloat32, math.MaxFloat32 / float32(n.Top()), int32(n.Top())},
			"infinity": {-inf, nan, 0}, "not a number": {nan, nan, 0},
		} {
			x[7] = tc.v
			if scale := QuantiseGroup(&codes, x, n); codes[7] != tc.code || scale != tc.scale && !(scale != scale && tc.scale != tc.scale) {
				t.Errorf("%v, %s: code %d, scale %v, want %d, %v", n, name, codes[7], scale, tc.code, tc.scale)
			}
		}
	}
}

// TestLinearInt bounds the error that rounding activations adds to a product: half a
// step of its group in every term, and float32 sums. Activations are plain, or have a
// few channels that are 30 times the others, as in language models; for the plain ones
// the error is also small beside the sum of absolute products.
func TestLinearInt(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	const rows, n, k = 4, 24, 2048
	for _, format := range []dtype.Type{dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q5_0, dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K} {
		size, err := format.Size(n * k)
		if err != nil {
			t.Fatal(err)
		}
		data := make([]byte, size)
		for i := range data {
			data[i] = byte(rng.Uint32()) & 0x3f // no scale is infinite
		}
		w := NewTensor(format, data, n, k)
		values := make([]float32, n*k)
		dtype.Decode(format, values, data)
		for _, spikes := range []float64{1, 30} {
			x := make([]float32, rows*k)
			for i := range x {
				x[i] = float32(rng.NormFloat64())
				if i%k%50 == 3 {
					x[i] *= float32(spikes)
				}
			}
			want, got := make([]float32, rows*n), make([]float32, rows*n)
			Linear(want, x, w, nil)
			for _, mode := range []Numerics{NumericsInt16, NumericsInt8} {
				LinearInt(got, x, w, nil, mode)
				var codes [dtype.GroupLen]int32
				var worst, mean float64
				for i := range rows * n {
					row, xs := values[i%n*k:][:k], x[i/n*k:][:k]
					var products, step float64
					for b := 0; b < k; b += dtype.GroupLen {
						scale := float64(QuantiseGroup(&codes, xs[b:], mode))
						for j := range dtype.GroupLen {
							products += math.Abs(float64(row[b+j]) * float64(xs[b+j]))
							step += math.Abs(float64(row[b+j])) * scale / 2
						}
					}
					e := math.Abs(float64(got[i]) - float64(want[i]))
					// The parts of a sum with a minimum are larger than the sum.
					if bound := step*1.01 + 2e-5*products; e > bound {
						t.Errorf("%v, %v, spikes of %v: error %.1e, want at most %.1e", format, mode, spikes, e, bound)
					}
					worst, mean = max(worst, e/products), mean+e/products/(rows*n)
				}
				t.Logf("%v, %v, spikes of %v: error mean %.1e, worst %.1e of the absolute products", format, mode, spikes, mean, worst)
				if bound := 0.1 / float64(mode.Top()); spikes == 1 && mean > bound {
					t.Errorf("%v, %v: mean error %.1e of the absolute products, want at most %.1e", format, mode, mean, bound)
				}
			}
		}
	}
}
