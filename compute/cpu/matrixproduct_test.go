package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
)

// TestTurn: the bytes of the twin, and nothing written elsewhere.
func TestTurn(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for length := 1; length <= 140; length++ {
			ss := length + rng.IntN(3)
			src := make([]float32, 7*ss+length)
			fill(src, rng)
			got, want := slices.Repeat([]float32{77}, 8*length+1), slices.Repeat([]float32{77}, 8*length+1)
			k.matrix.turn(got, src, ss, length)
			turnGo(k.matrix.tile, 0, want, src, ss, length)
			if !slices.Equal(got, want) {
				t.Fatalf("%d elements of rows %d apart: other places than the twin's", length, ss)
			}
			columns := make([]float32, length*67)
			fill(columns, rng)
			n := 1 + rng.IntN(groupRows)
			eights := (n + 7) / 8 * 8
			got = slices.Repeat([]float32{77}, eights*length+1)
			packColumns(k.matrix.tile, got, columns, 67, length, n)
			for r := range eights {
				for e := range length {
					x := float32(0)
					if r < n {
						x = columns[e*67+r]
					}
					if at := r/k.matrix.tile*k.matrix.tile*length + e*k.matrix.tile + r%k.matrix.tile; got[at] != x {
						t.Fatalf("%d columns of %d rows: place %d is %v, want %v", n, length, at, got[at], x)
					}
				}
			}
			if got[eights*length] != 77 {
				t.Fatalf("%d elements: written beyond them", length)
			}
		}
	})
}

// matrixShapes are [m, n, depth] around tiles, strips, runs and blocks.
var matrixShapes = [][3]int{
	{1, 1, 1}, {2, 4, 3}, {7, 47, 16}, {8, 48, 128}, {9, 49, 129}, {65, 97, 130}, {63, 24, 300}, {130, 50, 1025}, {3, 2100, 70}, {1030, 5, 257},
}

// TestMatrixProduct compares with float64, and all levels in assembly to the bit: an element
// is one sum, wherever it lies.
func TestMatrixProduct(t *testing.T) {
	rng := newRand(t)
	for i, shape := range matrixShapes {
		m, n, depth := shape[0], shape[1], shape[2]
		a, b, c := make([]float32, m*depth), make([]float32, depth*n), make([]float32, m*n)
		fill(a, rng)
		fill(b, rng)
		fill(c, rng)
		turned := make([]float32, len(a))
		for r := range m {
			for e := range depth {
				turned[e*m+r] = a[r*depth+e]
			}
		}
		add := i%2 == 0
		var first []float32
		for _, k := range available() {
			for threads := 1; threads <= 3; threads += 2 {
				d := open(t, Options{Threads: threads, Level: k.name})
				for _, byDepth := range []bool{false, true} {
					got, rows := append(slices.Clone(c), 77), a
					if byDepth {
						rows = turned
					}
					d.multiply(matrixProduct{c: got[:m*n], a: rows, b: b, m: m, n: n, depth: depth, byDepth: byDepth, add: add})
					what := fmt.Sprintf("%s, %d threads, %v, by depth %v", k.name, threads, shape, byDepth)
					if got[m*n] != 77 {
						t.Fatalf("%s: written beyond the result", what)
					}
					if first == nil || (k.name == portable.name && !byDepth && threads == 1) {
						first = got
						nearProduct(t, what, got, a, b, c, n, depth, add)
					}
					if !slices.Equal(got, first) {
						t.Fatalf("%s: other bits than another way", what)
					}
				}
			}
		}
	}
}

// nearProduct holds a product, added to c or not, against float64.
func nearProduct(t *testing.T, what string, got, a, b, c []float32, n, depth int, add bool) {
	t.Helper()
	for i := range c {
		var want, size float64
		if add {
			want, size = float64(c[i]), math.Abs(float64(c[i]))
		}
		for e := range depth {
			x := float64(a[i/n*depth+e]) * float64(b[e*n+i%n])
			want, size = want+x, size+math.Abs(x)
		}
		if !(math.Abs(float64(got[i])-want) <= 2e-6*size) {
			t.Fatalf("%s: element %d is %v, want %v", what, i, got[i], want)
		}
	}
}

// BenchmarkLinearGrad has the shapes of SmolLM2-135M: the gradients of both operands beside
// the product itself, 2·rows·n·k operations each.
func BenchmarkLinearGrad(b *testing.B) {
	rng := rand.New(rand.NewPCG(5, 6))
	for _, shape := range [][3]int{{2048, 576, 576}, {2048, 1536, 576}, {2048, 576, 1536}, {256, 49152, 576}} {
		rows, n, k := shape[0], shape[1], shape[2]
		tensor := func(shape ...int) compute.Tensor {
			v := make([]float32, shape[0]*shape[1])
			fill(v, rng)
			return compute.F32s(v, shape...)
		}
		x, y, w, out := tensor(rows, k), tensor(rows, n), tensor(n, k), tensor(rows, n)
		dx, dw := tensor(rows, k), tensor(n, k)
		for _, op := range []struct {
			name string
			run  func(d *Device)
		}{
			{"product", func(d *Device) { d.Linear(out, x, w, compute.Tensor{}) }},
			{"input", func(d *Device) { d.LinearInputGrad(dx, y, w, false) }},
			{"weight", func(d *Device) { d.LinearWeightGrad(dw, compute.Tensor{}, y, x) }},
		} {
			b.Run(fmt.Sprintf("%dx%dx%d/%s", rows, n, k, op.name), func(b *testing.B) {
				benchLevels(b, func(b *testing.B, d *Device) {
					for b.Loop() {
						op.run(d)
					}
					b.ReportMetric(2*float64(rows)*float64(n)*float64(k)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
				})
			})
		}
	}
}
