package cpu

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
)

// sorted are the want best elements that skip does not list: of a full sort by
// score, then by lower number.
func sorted(x []float32, skip []int32, want int) []int32 {
	var rest []int32
	for i := range x {
		if !slices.Contains(skip, int32(i)) {
			rest = append(rest, int32(i))
		}
	}
	slices.SortFunc(rest, func(a, b int32) int {
		return cmp.Or(cmp.Compare(x[b], x[a]), cmp.Compare(a, b))
	})
	rest = rest[:want]
	slices.Sort(rest)
	return rest
}

// FuzzBest: the elements that are found through the maxima of lanes are those of a
// full sort, at every level.
func FuzzBest(f *testing.F) {
	f.Add([]byte{}, uint8(0), uint8(0), uint8(1))
	f.Add([]byte{0, 0, 128, 63, 0, 0, 128, 63, 0, 0, 0, 128, 0, 0, 0, 0}, uint8(2), uint8(1), uint8(90))
	f.Add([]byte{0, 0, 192, 127, 0, 0, 128, 255, 1, 0, 0, 0, 0, 0, 128, 127}, uint8(40), uint8(3), uint8(200))
	f.Add([]byte{0, 0, 192, 127, 0, 0, 192, 255}, uint8(40), uint8(3), uint8(255))
	f.Fuzz(func(t *testing.T, b []byte, want, skips, times uint8) {
		few := make([]float32, min(len(b)/4, 300))
		for i := range few {
			few[i] = math.Float32frombits(binary.LittleEndian.Uint32(b[4*i:]))
		}
		var x []float32 // so long that its maxima are asked for
		for range max(1, int(times)) {
			x = append(x, few...)
		}
		x = x[:min(len(x), 3000)]
		var skip []int32
		for i := int32(skips); i < int32(len(x)) && len(skip) < int(skips); i += int32(skips) + 1 {
			skip = append(skip, i)
		}
		n := min(int(want), len(x)-len(skip))
		expect := sorted(x, skip, n)
		for _, k := range available() {
			var m chosen
			if got := m.best(&k, []int32{-1}, x, skip, n); !slices.Equal(got[1:], expect) {
				t.Fatalf("%s: of %d scores without %v, the best %d are %v, a sort says %v", k.name, len(x), skip, n, got[1:], expect)
			}
		}
	})
}

// TestBest: scores of all kinds, from few to thousands of blocks.
func TestBest(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		var m chosen
		for _, n := range []int{0, 1, 2, 63, 64, 255, 256, 257, 511, 1000, 2047, 4700} {
			for _, kind := range []func() float32{
				func() float32 { return float32(rng.NormFloat64()) },
				func() float32 { return float32(rng.IntN(3)) },
				func() float32 { return 0 },
				func() float32 { return []float32{negInf, 1, float32(math.NaN())}[rng.IntN(3)] },
				func() float32 { return float32(math.NaN()) },
			} {
				x := make([]float32, n)
				for i := range x {
					x[i] = kind()
				}
				for _, want := range []int{1, 31, 48, 49, 200} {
					var skip []int32
					for range rng.IntN(40) {
						skip = append(skip, int32(rng.IntN(n+1)))
					}
					slices.Sort(skip)
					skip = slices.DeleteFunc(slices.Compact(skip), func(i int32) bool { return int(i) >= n })
					want = min(want, n-len(skip))
					if got, expect := m.best(&k, nil, x, skip, want), sorted(x, skip, want); !slices.Equal(got, expect) {
						t.Fatalf("the best %d of %d without %v are %v, a sort says %v", want, n, skip, got, expect)
					}
				}
			}
		}
	})
}

// TestTopsAbove holds the kernels to their twins at every length around the width of
// vectors and lanes, with what is not a number among the scores.
func TestTopsAbove(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := range 200 {
			all := make([]float32, n+64) // what lies beyond is greater than all
			for i := range all {
				all[i] = 1e9
			}
			x := all[:n]
			for i := range x {
				x[i] = []float32{float32(rng.NormFloat64()), 0.5, negInf, float32(math.NaN()), float32(math.Copysign(0, -1))}[rng.IntN(5)]
			}
			var top, want [lanes]float32
			k.tops(&top, x)
			topsGo(&want, x)
			if top != want {
				t.Fatalf("maxima of lanes of %v: %v, want %v", x, top, want)
			}
			for _, low := range []float32{negInf, 0, 0.5, 1e8} {
				ids, expect := make([]int32, n+16), make([]int32, n)
				got, count := ids[:k.above(ids, x, low)], aboveGo(expect, x, low)
				if !slices.Equal(got, expect[:count]) {
					t.Fatalf("of %v at least %v are %v, want %v", x, low, got, expect[:count])
				}
			}
		}
	})
}

// BenchmarkBest takes 31 blocks of as many as a context has.
func BenchmarkBest(b *testing.B) {
	for _, k := range available() {
		for _, n := range []int{100, 500, 2000, 4700} {
			b.Run(fmt.Sprintf("%s/%d", k.name, n), func(b *testing.B) {
				rng := rand.New(rand.NewPCG(1, 2))
				x := make([]float32, n)
				fill(x, rng)
				var m chosen
				to := make([]int32, 0, 64)
				for b.Loop() {
					to = m.best(&k, to[:0], x, nil, 31)
				}
			})
		}
	}
}
