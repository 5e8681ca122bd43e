package cpu

import (
	"fmt"
	"math"
	"testing"
	"unsafe"

	"nosa/compute"
)

// TestCoded: a product of codes has the bits of its twin, whatever is computed beside
// it, and is near the float64 product with the block's values; a value that is no
// number shows in its row alone.
func TestCoded(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		if k.codeRows == nil {
			t.Skip("this level multiplies codes as float32")
		}
		rng := newRand(t)
		for round := range 300 {
			m, depth, cols := 1+rng.IntN(codedRows), 64*(1+rng.IntN(4)), 64*(1+rng.IntN(4))
			kv := []compute.KVType{compute.KVQ8, compute.KVQ4}[round/10%2]
			l := compute.Layout{Heads: 1, Block: cols, Dim: depth, Type: kv}
			key, val, data := make([]float32, depth*cols), make([]float32, depth*cols), make([]byte, l.BlockBytes())
			fill(key, rng)
			fill(val, rng)
			if round%5 == 1 {
				for j := range cols {
					key[j] *= 1e4 // a channel that outweighs the others
				}
			}
			l.EncodeBlock(data, key, val)
			l.DecodeBlock(key, val, data)
			got := newOperands(rng, m, depth, cols)
			broken := -1
			switch round % 10 {
			case 2:
				clear(got.a[0])
			case 3:
				for i := range got.a[0] {
					got.a[0][i] *= 1e-33
				}
			case 4:
				broken = rng.IntN(m)
				got.a[broken][rng.IntN(depth)] = []float32{float32(math.NaN()), float32(math.Inf(1)), negInf}[rng.IntN(3)]
			}
			twin, alone := got.clone(), got.clone()
			bits := elementBits(kv)
			pairs := data[2*depth*cols*bits/8:]
			top := float64(int(1)<<bits - 1)
			run := func(o operands, k *kernels, first, n, fresh int) {
				p := product{fresh: fresh}
				o.set(&p, first, n, depth, cols)
				p.b, p.stride = unsafe.Pointer(&data[0]), cols*bits/8
				p.ahead, p.pairs = p.b, unsafe.Pointer(&pairs[0])
				var rows [codedRows]codedRow
				k.codeRows(&p, &rows, n)
				k.coded[kv](&p, &rows, n)
			}
			fresh := rng.IntN(2)
			before := got.clone()
			run(got, &k, 0, m, fresh)
			run(twin, &portable, 0, m, fresh)
			for i := range m {
				run(alone, &k, i, 1, fresh)
			}
			what := fmt.Sprintf("%v: %d rows, %d deep, %d columns", kv, m, depth, cols)
			for i := range m {
				if i == broken {
					for j := range cols {
						if got.c[i][j] == got.c[i][j] || twin.c[i][j] == twin.c[i][j] {
							t.Fatalf("%s: row %d, column %d is %v, twin %v, want NaN", what, i, j, got.c[i][j], twin.c[i][j])
						}
					}
					continue
				}
				sameRows(t, what, got.c[i:i+1], twin.c[i:i+1])
				sameRows(t, what+", alone", alone.c[i:i+1], got.c[i:i+1])
				var most float64 // largest a·s, of which a code is 1/65,278
				for d := range depth {
					_, s := codePair(pairs, d)
					most = max(most, math.Abs(float64(got.a[i][d])*s))
				}
				for j := range cols {
					var want float64
					if fresh == 0 {
						want = float64(before.c[i][j]) * float64(got.decay[i])
					}
					size := math.Abs(want)
					for d := range depth {
						x := float64(got.a[i][d]) * float64(key[d*cols+j])
						want, size = want+x, size+math.Abs(x)
					}
					bound := 4e-6*size + float64(depth)*top*max(most/(2*codedTop), codedLeast)
					if e := math.Abs(float64(got.c[i][j]) - want); e > bound {
						t.Fatalf("%s: row %d, column %d is %v, want %v: %.2g off, at most %.2g allowed", what, i, j, got.c[i][j], want, e, bound)
					}
				}
			}
		}
	})
}

func codePair(pairs []byte, r int) (lo, scale float64) {
	p := unsafe.Slice((*float32)(unsafe.Pointer(&pairs[8*r])), 2)
	return float64(p[0]), float64(p[1])
}
