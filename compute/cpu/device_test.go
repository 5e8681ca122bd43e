package cpu

import (
	"fmt"
	"testing"

	"nosa/compute/computetest"
)

// TestAgainstDefinitions runs the shared suite on every level, with one thread,
// two and an odd number.
func TestAgainstDefinitions(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		for _, threads := range []int{1, 2, 3} {
			t.Run(fmt.Sprintf("threads=%d", threads), func(t *testing.T) {
				computetest.Run(t, open(t, Options{Threads: threads, Level: level}), computetest.Float32)
			})
		}
	})
}
