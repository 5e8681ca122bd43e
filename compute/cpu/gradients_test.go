package cpu

import (
	"fmt"
	"testing"

	"nosa/compute/computetest"
)

// TestGradientsAgainstDefinitions runs the shared suite on every level, with one thread, two
// and an odd number.
func TestGradientsAgainstDefinitions(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		for threads := 1; threads <= 3; threads++ {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
				computetest.RunGradients(t, open(t, Options{Threads: threads, Level: level}), computetest.Float32)
			})
		}
	})
}
