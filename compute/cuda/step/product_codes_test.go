//go:build linux && amd64

package step

import (
	"fmt"
	"math"
	"strings"
	"testing"
)

// BenchmarkCodes prints a line for every product of an 8B model with weights of codes and number of
// rows, with the time of each kernel that may multiply so many.
func BenchmarkCodes(b *testing.B) {
	a := openArena(b, 256)
	for _, f := range productFormats[1:] {
		for _, rows := range []int{8, 16, 32, 48, 64, 96, 128, 256} {
			total := 0.0
			for _, size := range productSizes {
				sets := a.sets(f, size.n, size.k, size.pair)
				best, line := math.Inf(1), ""
				for _, k := range a.kernels {
					few := k.tiles == 0 && rows <= 16
					if !few && (k.deep.weights == 0 || k.rows < min(rows, 96) || k.rows > max(32, 2*rows)) {
						continue
					}
					for _, whole := range []bool{true, false} {
						if !k.takes(&sets[0], whole) || k.shared(&sets[0], whole) > a.shared {
							continue
						}
						us := a.time(12, func(i int) {
							a.post(a.g, k, whole, a.out.Addr, activations{a.x.Addr, !few}, &sets[i%len(sets)], rows, epilogueOf(size.name, size.pair))
						})
						line += fmt.Sprintf("  %s/%d %.1f", strings.Replace(k.symbol(""), "step_", "", 1), k.warps, us)
						best = min(best, us)
					}
				}
				times := 32.0
				if size.name == "head" {
					times = 1
				}
				total += times * best / 1e3
				fmt.Printf("%v %-7s rows %4d %6.1f us %5.0f GB/s:%s\n", f, size.name, rows, best, float64(sets[0].memory.Len())/best/1e3, line)
			}
			fmt.Printf("%v all rows %4d: %6.2f ms\n", f, rows, total)
		}
	}
}
