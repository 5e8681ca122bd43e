package cpu

import (
	"math"
	"slices"
	"testing"

	"nosa/compute"
)

// TestRotateKernels: the bits of the definition, for lengths that fill no vector,
// with and without channels beyond the rotated ones.
func TestRotateKernels(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := 1; n <= 40; n++ {
			heads, dim := 1+rng.IntN(4), 2*n+rng.IntN(2)*rng.IntN(9)
			angles := make([]float32, 2*n)
			fill(angles, rng)
			for _, interleaved := range []bool{false, true} {
				row := make([]float32, heads*dim+1)
				fill(row, rng)
				want := slices.Clone(row)
				compute.Rotate(want[:heads*dim], angles, heads, dim, &compute.Rope{Inv: make([]float32, n), Interleaved: interleaved})
				k.rotate(row[:heads*dim], angles[:n], angles[n:], heads, dim, interleaved)
				for i := range want {
					if row[i] != want[i] {
						t.Fatalf("%d angles, %d heads of %d, interleaved %v: element %d is %v, want %v", n, heads, dim, interleaved, i, row[i], want[i])
					}
				}
			}
		}
	})
}

// TestSwiGLUKernels is near the definition, gates far out included, to the end of
// every length and not beyond.
func TestSwiGLUKernels(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		inf := float32(math.Inf(1))
		special := []float32{0, 1e-30, -1e-30, 87, -87, 88.2, -88.2, 88.5, -88.5, 104, -104, 1e30, -1e30, inf, float32(math.NaN())}
		for n := 0; n <= 70; n++ {
			gate, up := make([]float32, n), make([]float32, n)
			fill(gate, rng)
			fill(up, rng)
			for i := range gate {
				gate[i] *= 20
				if rng.IntN(4) == 0 {
					gate[i] = special[rng.IntN(len(special))]
				}
			}
			out, want := slices.Repeat([]float32{77}, n+1), make([]float32, n)
			k.swiglu(out[:n], gate, up)
			compute.SwiGLU(want, gate, up)
			for i := range want {
				if math.IsNaN(float64(want[i])) != math.IsNaN(float64(out[i])) || math.Abs(float64(out[i]-want[i])) > 1e-30+2e-6*math.Abs(float64(want[i])) {
					t.Fatalf("%d elements: silu(%v)·%v is %v, want %v", n, gate[i], up[i], out[i], want[i])
				}
			}
			if out[n] != 77 {
				t.Fatalf("%d elements: written beyond them", n)
			}
		}
	})
}

// TestSwiGLUGradKernels is near the twin, gates far out included, to the end of every length
// and not beyond.
func TestSwiGLUGradKernels(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		inf := float32(math.Inf(1))
		special := []float32{0, 1e-30, -1e-30, 87, -87, 88.2, -88.2, 88.5, -88.5, 104, -104, 1e30, -1e30, inf, float32(math.NaN())}
		for n := 0; n <= 70; n++ {
			gate, up, dy := make([]float32, n), make([]float32, n), make([]float32, n)
			fill(gate, rng)
			fill(up, rng)
			fill(dy, rng)
			for i := range gate {
				gate[i] *= 20
				if rng.IntN(4) == 0 {
					gate[i] = special[rng.IntN(len(special))]
				}
			}
			got, want := slices.Repeat([]float32{77}, 2*n+2), slices.Repeat([]float32{77}, 2*n+2)
			k.swigluGrad(got[:n], got[n+1:2*n+1], dy, gate, up)
			swigluGradGo(want[:n], want[n+1:2*n+1], dy, gate, up)
			for i := range want {
				bound := 1e-30 + 2e-6*math.Abs(float64(want[i]))
				if i < n { // where the slope has its zero, its parts' sizes count
					bound += 4e-7 * math.Abs(float64(dy[i]*up[i]))
				}
				if math.IsNaN(float64(want[i])) != math.IsNaN(float64(got[i])) || math.Abs(float64(got[i]-want[i])) > bound {
					t.Fatalf("%d elements: place %d is %v, want %v", n, i, got[i], want[i])
				}
			}
		}
	})
}

// TestRowKernels: AddScaled has the bits of the definition; RMSNorm is near it, with
// the same bits on all levels in assembly; nothing is written beyond the end.
func TestRowKernels(t *testing.T) {
	rng := newRand(t)
	for n := 1; n <= 70; n++ {
		x, y, w := make([]float32, n), make([]float32, n), make([]float32, n)
		fill(x, rng)
		fill(y, rng)
		fill(w, rng)
		sum := slices.Clone(x)
		compute.AddScaled(sum, y, 0.37)
		norm := make([]float32, n)
		compute.RMSNorm(norm, x, w, 1e-5)
		var first []float32
		for _, k := range available() {
			got := append(slices.Clone(x), 77)
			k.addScaled(got[:n], y, 0.37)
			if !slices.Equal(got[:n], sum) || got[n] != 77 {
				t.Fatalf("%s: %v, want %v", k.name, got, sum)
			}
			got = slices.Repeat([]float32{77}, n+1)
			k.rmsNorm(got[:n], x, w, 1e-5)
			for i, v := range norm {
				if math.Abs(float64(got[i]-v)) > 1e-6*math.Abs(float64(v)) {
					t.Fatalf("%s: element %d of %d is %v, want %v", k.name, i, n, got[i], v)
				}
			}
			if k.name != portable.name {
				if first == nil {
					first = got
				}
				if !slices.Equal(first, got) || got[n] != 77 {
					t.Fatalf("%s: %v, another level %v", k.name, got, first)
				}
			}
		}
	}
}
