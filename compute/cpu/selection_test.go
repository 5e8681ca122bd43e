package cpu

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"testing"
)

// FuzzTake: the blocks that taking by partition finds are those of a full sort by
// score, then by lower number.
func FuzzTake(f *testing.F) {
	f.Add([]byte{}, uint8(0))
	f.Add([]byte{0, 0, 128, 63, 0, 0, 128, 63, 0, 0, 0, 128, 0, 0, 0, 0}, uint8(2))
	f.Add([]byte{0, 0, 192, 127, 0, 0, 128, 255, 1, 0, 0, 0, 0, 0, 128, 127}, uint8(3))
	f.Fuzz(func(t *testing.T, b []byte, want uint8) {
		score := make([]float32, min(len(b)/4, 300))
		in := make([]bool, len(score))
		var rest []int
		have := 0
		for i := range score {
			score[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
			if in[i] = i%5 == 3; in[i] {
				have++
			} else {
				rest = append(rest, i)
			}
		}
		slices.SortFunc(rest, func(x, y int) int {
			return cmp.Or(cmp.Compare(score[y], score[x]), cmp.Compare(x, y))
		})
		expect := slices.Clone(in)
		for _, i := range rest[:min(len(rest), max(0, int(want)-have))] {
			expect[i] = true
		}
		got := take(in, make([]uint64, 0, len(score)), score, have, int(want))
		if !slices.Equal(in, expect) {
			t.Fatalf("scores %v, want %d: took %v, a sort takes %v", score, want, in, expect)
		}
		n := 0
		for _, x := range in {
			if x {
				n++
			}
		}
		if n != got {
			t.Fatalf("says that %d are taken, %d are", got, n)
		}
	})
}
