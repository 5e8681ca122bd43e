package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"nosa/dtype"
)

// scoreOperands are queries as tiles read them, summaries in both formats, and a
// table that names blocks in no order, some twice.
type scoreOperands struct {
	height, steps int
	q, means      []float32
	half          []byte
	table         []int32
}

func newScoreOperands(rng *rand.Rand, height, steps, blocks int) scoreOperands {
	const ids = 40
	o := scoreOperands{height: height, steps: steps, q: make([]float32, height*steps*4), means: make([]float32, ids*16*steps)}
	fill(o.q, rng)
	fill(o.means, rng)
	o.half = make([]byte, 2*len(o.means))
	dtype.Encode(dtype.F16, o.half, o.means)
	dtype.Decode(dtype.F16, o.means, o.half)   // so that both formats hold the same
	more := make([]int32, blocks+rng.IntN(60)) // those that follow are asked for ahead
	for i := range more {
		more[i] = int32(rng.IntN(ids))
	}
	o.table = more[:blocks]
	return o
}

// TestMeans: every product is near its float64 value and has the same bits in a tile
// and alone, from float16 and from float32, and nothing is written beyond what is
// allowed.
func TestMeans(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for range 300 {
			o := newScoreOperands(rng, 1+rng.IntN(k.tall), 1+rng.IntN(33), 1+rng.IntN(21))
			n := 4 * len(o.table)
			os := n + 12 + rng.IntN(3)
			tile, wide, alone := make([]float32, o.height*os+1), make([]float32, o.height*os), make([]float32, n+12)
			tile[o.height*os] = 77
			k.means16(tile, os, o.q, o.height, o.steps, o.half, o.table)
			k.means32(wide, os, o.q, o.height, o.steps, o.means, o.table)
			if tile[o.height*os] != 77 {
				t.Fatalf("%d queries, %d blocks: written beyond the results", o.height, len(o.table))
			}
			for j := range o.height {
				var one []float32
				for d := range o.steps {
					one = append(one, o.q[(d*o.height+j)*4:][:4]...)
				}
				k.means16(alone, len(alone), one, 1, o.steps, o.half, o.table)
				for i := range n {
					var want, size float64
					for c := range 4 * o.steps {
						p := float64(one[c]) * float64(o.means[int(o.table[i/4])*16*o.steps+(c/4*4+i%4)*4+c%4])
						want += p
						size += math.Abs(p)
					}
					got := tile[j*os+i]
					if math.Abs(float64(got)-want) > 1e-6*size {
						t.Fatalf("query %d, segment %d of %d blocks, %d steps: %v, want %v", j, i, len(o.table), o.steps, got, want)
					}
					if math.Float32bits(got) != math.Float32bits(wide[j*os+i]) || math.Float32bits(got) != math.Float32bits(alone[i]) {
						t.Fatalf("query %d of %d, segment %d: %v, from float32 %v, alone %v", j, o.height, i, got, wide[j*os+i], alone[i])
					}
				}
			}
		}
	})
}

// TestWiden: summaries are copied one after the other, value for value.
func TestWiden(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for steps := 1; steps <= 33; steps++ {
			o := newScoreOperands(rng, 1, steps, rng.IntN(20))
			got, want := make([]float32, len(o.table)*16*steps+1), make([]float32, len(o.table)*16*steps)
			got[len(want)] = 77
			k.widen(got, o.half, 32*steps, o.table)
			widenGo(want, o.half, 32*steps, o.table)
			for i, x := range append(want, 77) {
				if got[i] != x {
					t.Fatalf("%d steps, %d blocks: element %d is %v, want %v", steps, len(o.table), i, got[i], x)
				}
			}
		}
	})
}

// TestWindows: sums over neighbours, their maximum and exponentials, at lengths
// around the width of a vector.
func TestWindows(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := range 70 {
			for span := 1; span <= 4; span++ {
				part, win, want := make([]float32, n+span+16), make([]float32, n+1), make([]float32, n)
				fill(part, rng)
				for i := range part {
					part[i] *= 30
				}
				win[n] = 77
				scale := rng.Float32()
				top, sum := k.windows(win[:n], part, span, scale)
				wantTop, wantSum := windowsGo(want, part, span, scale)
				if top != wantTop || math.Abs(float64(sum-wantSum)) > 1e-6*float64(wantSum) || win[n] != 77 {
					t.Fatalf("%d windows of %d: maximum %v and sum %v, want %v and %v", n, span, top, sum, wantTop, wantSum)
				}
				for i, x := range want {
					if math.Abs(float64(win[i]-x)) > 3e-7*float64(x)+1e-37 {
						t.Fatalf("%d windows of %d: window %d is %v, want %v", n, span, i, win[i], x)
					}
				}
			}
		}
		win := make([]float32, 20)
		part := make([]float32, 21)
		part[3] = float32(math.NaN())
		if _, sum := k.windows(win, part, 2, 1); sum == sum {
			t.Errorf("windows that are not numbers sum to %v", sum)
		}
	})
}

// TestBlendPool: the sum of a group's exponentials, and the maxima over blocks.
func TestBlendPool(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := range 70 {
			group := 1 + rng.IntN(8)
			es, fs := n+rng.IntN(3), 1+rng.IntN(3)
			e, factor := make([]float32, group*es+1), make([]float32, group*fs)
			fill(e, rng)
			fill(factor, rng)
			sum, want := make([]float32, n+1), make([]float32, n)
			sum[n] = 77
			k.blend(sum[:n], e, es, factor, fs, group)
			blendGo(want, e, es, factor, fs, group)
			for i, x := range append(want, 77) {
				if math.Abs(float64(sum[i]-x)) > 2e-6 {
					t.Fatalf("%d windows of a group of %d: %d is %v, want %v", n, group, i, sum[i], x)
				}
			}
			win, out, best := make([]float32, 4*n+1), make([]float32, n+1), make([]float32, n)
			fill(win, rng)
			for i := range win {
				if rng.IntN(4) == 0 {
					win[i] = negInf
				}
			}
			out[n] = 77
			k.pool(out[:n], win)
			poolGo(best, win)
			for b, x := range append(best, 77) {
				if out[b] != x {
					t.Fatalf("%d blocks: %d is %v, want %v", n, b, out[b], x)
				}
			}
		}
	})
}
