package cpu

import (
	"math"
	"slices"
	"testing"
)

// TestNormGradKernels are near the twins, to the end of every length and not beyond.
func TestNormGradKernels(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := 1; n <= 70; n++ {
			x, dy, w, before := make([]float32, n), make([]float32, n), make([]float32, n), make([]float32, n)
			for _, v := range [][]float32{x, dy, w, before} {
				fill(v, rng)
			}
			squares, along := k.normDots(dy, x, w)
			s, a := normDotsGo(dy, x, w)
			if math.Abs(squares-s) > 1e-12*s || math.Abs(along-a) > 1e-12*(s+a*a+1) {
				t.Fatalf("%d elements: sums %v and %v, want %v and %v", n, squares, along, s, a)
			}
			for _, add := range []bool{false, true} {
				got, want := append(slices.Clone(before), 77), append(slices.Clone(before), 77)
				sums, wantSums := slices.Repeat([]float64{77}, n+1), slices.Repeat([]float64{77}, n+1)
				k.normSlopes(got[:n], sums[:n], dy, x, w, 0.7, -1.3, add)
				normSlopesGo(want[:n], wantSums[:n], dy, x, w, 0.7, -1.3, add)
				for i := range want {
					if math.Abs(float64(got[i]-want[i])) > 2e-6 || math.Abs(sums[i]-wantSums[i]) > 2e-6 {
						t.Fatalf("%d elements, add %v: place %d is %v and %v, want %v and %v", n, add, i, got[i], sums[i], want[i], wantSums[i])
					}
				}
				if got[n] != 77 || sums[n] != 77 {
					t.Fatalf("%d elements: written beyond them", n)
				}
			}
		}
	})
}
