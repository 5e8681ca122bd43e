//go:build linux && amd64

package cuda

import (
	"testing"

	"nosa/compute"
)

// TestRunOf: runs follow each other, none is longer than the lists that a GPU of 99 KiB has
// room for, and a block's run depends on the own block alone.
func TestRunOf(t *testing.T) {
	for _, own := range []int{0, 7, 63, 64, 65, 511, 2047, 6000, 20000} {
		number, n := 0, 0
		for b := range own + 1 {
			r := runOf(b, own)
			if r != number && r != number+1 {
				t.Fatalf("own block %d: block %d is of run %d, the one before it of run %d", own, b, r, number)
			}
			if r != number {
				number, n = r, 0
			}
			n++
			for _, kv := range []compute.KVType{compute.KVBF16, compute.KVF16, compute.KVQ8, compute.KVQ4} {
				l := compute.Layout{Heads: 1, Dim: tileMostDim, Block: tileTokens, Type: kv}
				if s := tileShared(l, n); s > 99<<10 {
					t.Fatalf("own block %d, a run of %d, %v: %d bytes of shared memory", own, n, kv, s)
				}
			}
		}
	}
}
