package cpu

import (
	"fmt"
	"math"
	"testing"
)

// tileLevels are the kernels of many rows of every level that has them.
func tileLevels(t testing.TB) []kernels {
	var all []kernels
	for _, k := range available() {
		if k.many.lanes > 0 {
			all = append(all, k)
		}
	}
	t.Logf("%d of %d levels have tiles", len(all), len(available()))
	return all
}

// TestPack: the bytes of the twin, which says the order in a loop, and nothing
// written elsewhere.
func TestPack(t *testing.T) {
	for _, k := range tileLevels(t) {
		rng := newRand(t)
		p := &k.many
		for length := 1; length <= 70; length++ {
			ss := length + rng.IntN(3)
			src := make([]float32, (max(p.vector, 8)-1)*ss+length)
			fill(src, rng)
			steps := (length + p.lanes - 1) / p.lanes
			check := func(what string, got, want []float32) {
				t.Helper()
				for i := range want {
					if got[i] != want[i] {
						t.Fatalf("%s: %s of %d elements: place %d has %v, want %v", k.name, what, length, i, got[i], want[i])
					}
				}
			}
			st := p.vector * (1 + rng.IntN(3))
			class := steps*st + rng.IntN(2)*p.vector
			got, want := make([]float32, p.lanes*class), make([]float32, p.lanes*class)
			p.weights(got, src, ss, length, class, st)
			packGo(p.lanes, p.vector, want, src, ss, length, class, st)
			check("weights", got, want)

			class = steps * (8 + 8*rng.IntN(2))
			got, want = make([]float32, p.lanes*class), make([]float32, p.lanes*class)
			p.rows(got, src, ss, length, class)
			for r := 0; r < 8; r += p.tile {
				packGo(p.lanes, p.tile, want[r*steps:], src[r*ss:], ss, length, class, p.tile)
			}
			check("rows", got, want)
		}
	}
}

// TestPanel compares tiles with the twin: each of its sums is a chain of fused
// products in float64, so rounding once more is all that may differ.
func TestPanel(t *testing.T) {
	for _, k := range tileLevels(t) {
		rng := newRand(t)
		p := &k.many
		for vectors := 1; vectors <= p.most; vectors++ {
			for steps := 1; steps <= 13; steps++ {
				blocks, width := 1+rng.IntN(3), vectors*p.vector
				ldc := width + rng.IntN(5)
				a, b := make([]float32, blocks*p.tile*steps), make([]float32, width*steps)
				fill(a, rng)
				fill(b, rng)
				c := make([]float32, blocks*p.tile*ldc)
				for add := range 2 {
					fill(c, rng)
					want := append([]float32(nil), c...)
					p.panel(vectors, c, ldc, a, b, steps, blocks, add)
					panelGo(p.tile, width, want, ldc, a, b, steps, blocks, add)
					for i := range want {
						if i%ldc >= width && c[i] != want[i] {
							t.Fatalf("%s: %d vectors, %d steps: place %d beyond the tile was written", k.name, vectors, steps, i)
						}
						if math.Abs(float64(c[i]-want[i])) > 1e-5 {
							t.Fatalf("%s: %d vectors, %d steps: place %d is %v, want %v", k.name, vectors, steps, i, c[i], want[i])
						}
					}
				}
			}
		}
	}
}

// BenchmarkPeak runs the tile over operands that stay in the first cache, and the
// processor's fused multiply-add alone beside it.
func BenchmarkPeak(b *testing.B) {
	for _, k := range tileLevels(b) {
		p := &k.many
		for vectors := 1; vectors <= p.most; vectors++ {
			b.Run(fmt.Sprintf("%s/tile/vectors=%d", k.name, vectors), func(b *testing.B) {
				const steps = 128
				width := vectors * p.vector
				x, w, c := make([]float32, p.tile*steps), make([]float32, width*steps), make([]float32, p.tile*width)
				for b.Loop() {
					p.panel(vectors, c, width, x, w, steps, 1, 1)
				}
				b.ReportMetric(2*float64(p.tile*width*steps)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
			})
		}
		b.Run(k.name+"/multiply-add", func(b *testing.B) {
			madds, rounds, each := probesOf(k.name).madds, 10_000, 0
			for b.Loop() {
				each = madds(rounds)
			}
			b.ReportMetric(float64(each*rounds)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
		})
	}
}
