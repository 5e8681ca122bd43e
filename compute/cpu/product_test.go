package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"unsafe"

	"nosa/compute"
	"nosa/dtype"
)

// operands are a product's memory: rows of a and c lie apart, with a canary behind
// each row of c.
type operands struct {
	a, c  [][]float32
	b     []float32
	decay []float32
}

func newOperands(rng *rand.Rand, m, depth, cols int) operands {
	o := operands{b: make([]float32, depth*cols), decay: make([]float32, m)}
	fill(o.b, rng)
	fill(o.decay, rng)
	for range m {
		a, c := make([]float32, depth+1), make([]float32, cols+1)
		fill(a, rng)
		fill(c, rng)
		c[cols] = 77
		o.a, o.c = append(o.a, a), append(o.c, c)
	}
	return o
}

// set makes rows from first on a product over float32.
func (o operands) set(p *product, first, m, depth, cols int) {
	for i := range m {
		p.a[i], p.c[i], p.decay[i] = &o.a[first+i][0], &o.c[first+i][0], o.decay[first+i]
	}
	p.depth, p.cols, p.stride, p.b = depth, cols, 4*cols, nil
	if len(o.b) > 0 {
		p.b = unsafe.Pointer(&o.b[0])
	}
}

func (o operands) clone() operands {
	c := o
	c.c = nil
	for _, row := range o.c {
		c.c = append(c.c, append([]float32(nil), row...))
	}
	return c
}

func sameRows(t *testing.T, what string, got, want [][]float32) {
	t.Helper()
	for i := range want {
		for j := range want[i] {
			if math.Float32bits(got[i][j]) != math.Float32bits(want[i][j]) {
				t.Fatalf("%s: row %d, column %d is %v, want %v", what, i, j, got[i][j], want[i][j])
			}
		}
	}
}

// TestProduct compares with float64, for every height and for widths around those
// of vectors; rows have the same bits alone and beside others.
func TestProduct(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for round := range 400 {
			m, depth, cols := 1+rng.IntN(k.productRows), rng.IntN(70), rng.IntN(140)
			if round%4 == 0 {
				depth, cols = 64, 64*(1+rng.IntN(2))
			}
			o := newOperands(rng, m, depth, cols)
			before, alone := o.clone(), o.clone()
			what := fmt.Sprintf("%d rows, %d deep, %d columns", m, depth, cols)
			var p product
			p.fresh = rng.IntN(2)
			o.set(&p, 0, m, depth, cols)
			k.product(&p, m)
			for i := range m {
				for j := range cols {
					var want, size float64
					if p.fresh == 0 {
						want = float64(before.c[i][j]) * float64(o.decay[i])
					}
					size = math.Abs(want)
					for d := range depth {
						x := float64(o.a[i][d]) * float64(o.b[d*cols+j])
						want, size = want+x, size+math.Abs(x)
					}
					if math.Abs(float64(o.c[i][j])-want) > 1e-6*size {
						t.Fatalf("%s: row %d, column %d is %v, want %v", what, i, j, o.c[i][j], want)
					}
				}
				if o.c[i][cols] != 77 {
					t.Fatalf("%s: written beyond row %d", what, i)
				}
			}
			for i := range m {
				alone.set(&p, i, 1, depth, cols)
				k.product(&p, 1)
			}
			sameRows(t, what+", one by one", alone.c, o.c)
		}
	})
}

// TestProductDirect: products over a block as the cache keeps it have the bits of
// those over the expanded block.
func TestProductDirect(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for kv := range compute.KVType(kvTypes) {
			if k.direct[kv] == nil {
				continue
			}
			for _, shape := range [][2]int{{64, 64}, {64, 128}, {128, 64}, {64, 192}, {128, 256}} {
				l := compute.Layout{Heads: 1, Block: shape[0], Dim: shape[1], Type: kv}
				key, val, data := make([]float32, l.Block*l.Dim), make([]float32, l.Block*l.Dim), make([]byte, l.BlockBytes())
				fill(key, rng)
				fill(val, rng)
				l.EncodeBlock(data, key, val)
				d := open(t, Options{Threads: 1})
				d.kernels = k
				a := attend{k: &d.kernels, dim: l.Dim, cache: &compute.Cache{Layout: l}}
				a.cache.Slots = compute.NewTensor(dtype.U8, data, 1, len(data))
				for round := range 2 * k.directRows {
					m := 1 + round/2
					for _, values := range []bool{false, true} {
						var expanded, direct attended
						w := &worker{}
						a.expanded(w, 0, 0, 0, &expanded)
						a.direct(w, 0, 0, 0, -1, &direct)
						from, packed, depth, cols := expanded.key, direct.key, l.Dim, l.Block
						if values {
							from, packed, depth, cols = expanded.val, direct.val, l.Block, l.Dim
						}
						want := newOperands(rng, m, depth, cols)
						got := want.clone()
						p := product{fresh: round % 2}
						want.set(&p, 0, m, depth, cols)
						p.b, p.stride = from.data, from.stride
						for i := range m { // the level may have shorter products over float32
							want.set(&p, i, 1, depth, cols)
							p.b, p.stride = from.data, from.stride
							from.product(&p, 1)
						}
						got.set(&p, 0, m, depth, cols)
						p.b, p.pairs, p.ahead, p.stride = packed.data, packed.pairs, packed.ahead, packed.stride
						packed.product(&p, m)
						sameRows(t, fmt.Sprintf("%v %v, %d rows, values %v", kv, shape, m, values), got.c, want.c)
					}
				}
			}
		}
	})
}

// TestSoftmaxRows: a row has the same bits alone and beside others.
func TestSoftmaxRows(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for n := 1; n <= 130; n++ {
			ld := (n + 63) &^ 63
			for m := 1; m <= softRowsMost; m++ {
				p, bias := make([]float32, m*ld), make([]float32, n)
				fill(p, rng)
				fill(bias, rng)
				one := append([]float32(nil), p...)
				states := make([][2]float32, 2*m)
				for i := range m {
					states[i] = [2]float32{rng.Float32(), 1}
					if rng.IntN(3) == 0 {
						states[i] = [2]float32{negInf, 0}
					}
					states[m+i] = states[i]
				}
				s := softRows{p: &p[0], ld: ld, n: n, scale: 0.7}
				if rng.IntN(2) == 0 {
					s.bias = &bias[0]
				}
				for i := range m {
					s.state[i] = &states[i]
				}
				k.softmax(&s, m)
				for i := range m {
					alone := s
					alone.p, alone.state[0] = &one[i*ld], &states[m+i]
					k.softmax(&alone, 1)
					if alone.decay[0] != s.decay[i] || states[i] != states[m+i] {
						t.Fatalf("%d keys, row %d of %d: state %v, decay %v; alone %v, %v", n, i, m, states[i], s.decay[i], states[m+i], alone.decay[0])
					}
					sameRows(t, fmt.Sprintf("%d keys, row %d of %d", n, i, m), [][]float32{p[i*ld:][:n]}, [][]float32{one[i*ld:][:n]})
				}
			}
		}
	})
}
