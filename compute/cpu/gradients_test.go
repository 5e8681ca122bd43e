package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/compute/computetest"
)

// TestGradientsAgainstDefinitions runs the shared suites on every level, with one thread, two
// and an odd number.
func TestGradientsAgainstDefinitions(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		for threads := 1; threads <= 3; threads++ {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
				d := open(t, Options{Threads: threads, Level: level})
				computetest.RunActivations(t, d, computetest.Float32)
				computetest.RunGradients(t, d, computetest.Float32)
			})
		}
	})
}

// gradientOutputs are the results of every gradient on inputs that are always the same.
func gradientOutputs(d *Device) []float32 {
	const rows, n, width, heads, dim, vocab = 290, 70, 60, 3, 20, 700
	rng := rand.New(rand.NewPCG(9, 9))
	normal := func(shape ...int) compute.Tensor {
		size := 1
		for _, s := range shape {
			size *= s
		}
		v := make([]float32, size)
		fill(v, rng)
		return compute.F32s(v, shape...)
	}
	var all []float32
	keep := func(results ...compute.Tensor) {
		for _, x := range results {
			all = append(all, x.F32()...)
		}
	}
	x, y, w, b := normal(rows, width), normal(rows, n), normal(n, width), normal(n)
	dx, dw := normal(rows, width), normal(n, width)
	d.LinearInputGrad(dx, y, w, true)
	d.LinearWeightGrad(dw, b, y, x)
	keep(dx, dw, b)
	ids, targets := make([]int32, rows), make([]int32, rows)
	for i := range ids {
		ids[i], targets[i] = rng.Int32N(vocab), rng.Int32N(vocab+1)-1
	}
	table, scales := normal(vocab, width), normal(width)
	d.EmbedGrad(table, x, ids)
	d.RMSNormGrad(dx, scales, normal(rows, width), x, normal(width), 1e-5, true)
	keep(table, dx, scales)
	rope := &compute.Rope{Inv: []float32{1, 0.5, 0.25, 0.1, 0.01}, Factor: 1}
	turned := normal(rows, heads, dim)
	d.RotateGrad(turned, normal(rows, 2, len(rope.Inv)), rope)
	gate, up := normal(rows, width), normal(rows, width)
	d.SwiGLUGrad(gate, up, x, gate, up)
	keep(turned, gate, up)
	score, dv, ddelta, dbias, da := normal(rows, heads), normal(rows, width), normal(heads, width), normal(heads), normal(heads)
	delta, bias, a := normal(heads, width), normal(heads), normal(heads)
	d.Importance(score, x, delta, bias, a)
	d.ImportanceGrad(dv, ddelta, dbias, da, score, x, delta, bias, a)
	keep(score, dv, ddelta, dbias, da)
	logits, loss := normal(rows, vocab), normal(rows)
	d.CrossEntropy(loss, logits, targets, 0.5)
	m, v := normal(vocab, width), compute.F32s(make([]float32, vocab*width), vocab, width)
	d.AdamW(table, m, v, normal(vocab, width), compute.AdamWStep{Rate: 1e-2, Beta1: 0.9, Beta2: 0.95, Eps: 1e-8, Grad: 1, Step: 3})
	keep(logits, loss, table, m, v)
	return append(all, float32(d.SquaredNorm(table)))
}

// TestGradientsThreads: the bits of every gradient are the same on any number of threads.
func TestGradientsThreads(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		want := gradientOutputs(open(t, Options{Threads: 1, Level: level}))
		for _, threads := range []int{2, 3, 7} {
			got := gradientOutputs(open(t, Options{Threads: threads, Level: level}))
			for i := range want {
				if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
					t.Fatalf("%d threads: value %d of %d is %v, on one thread %v", threads, i, len(want), got[i], want[i])
				}
			}
		}
	})
}

// TestGradientsOutside: ids and targets that no table has are the caller's mistake.
func TestGradientsOutside(t *testing.T) {
	d := open(t, Options{Threads: 2})
	zeros := func(shape ...int) compute.Tensor {
		return compute.F32s(make([]float32, shape[0]*shape[1]), shape...)
	}
	for what, op := range map[string]func(){
		"an id":          func() { d.EmbedGrad(zeros(3, 2), zeros(2, 2), []int32{0, 3}) },
		"an id below 0":  func() { d.EmbedGrad(zeros(3, 2), zeros(2, 2), []int32{-1, 0}) },
		"a target":       func() { d.CrossEntropy(zeros(1, 2), zeros(2, 3), []int32{0, 3}, 1) },
		"a target at -2": func() { d.CrossEntropy(zeros(1, 2), zeros(2, 3), []int32{-2, 0}, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s outside the table: no panic", what)
				}
			}()
			op()
		}()
	}
}
