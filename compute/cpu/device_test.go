package cpu

import (
	"fmt"
	"testing"

	"nosa/compute"
	"nosa/compute/computetest"
)

// tolerance is that of float32, and beside it what rounding activations costs: half a
// step of Top in the largest of 32, some three times a typical one, in each term.
func tolerance(n compute.Numerics) computetest.Tolerance {
	tol := computetest.Float32
	tol.Coded = 0.5 / codedTop
	if n != compute.NumericsF32 {
		tol.Quantised = 2 / float64(n.Top())
	}
	return tol
}

// TestAgainstDefinitions runs the shared suite on every level, with one thread,
// two and an odd number, and in every mode of products.
func TestAgainstDefinitions(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		for threads, numerics := range map[int][]compute.Numerics{
			1: {compute.NumericsF32, compute.NumericsInt16, compute.NumericsInt8}, 2: {compute.NumericsInt16}, 3: {compute.NumericsF32},
		} {
			for _, n := range numerics {
				if raced && threads == 1 {
					continue
				}
				t.Run(fmt.Sprintf("threads=%d/%v", threads, n), func(t *testing.T) {
					computetest.Run(t, open(t, Options{Threads: threads, Level: level, Numerics: n}), tolerance(n))
				})
			}
		}
	})
}
