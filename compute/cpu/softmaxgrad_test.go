package cpu

import (
	"math"
	"testing"
)

// TestSoftmaxGrad: the bits of the twin, for every length, and nothing written behind.
func TestSoftmaxGrad(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := range 140 {
			g, p := make([]float32, n+1), make([]float32, n)
			fill(g, rng)
			fill(p, rng)
			want := append([]float32(nil), g...)
			softmaxGradGo(want, p, 0.37)
			k.softmaxGrad(g, p, 0.37)
			for i := range want {
				if math.Float32bits(g[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%d elements: %d is %v, want %v", n, i, g[i], want[i])
				}
			}
		}
	})
}
