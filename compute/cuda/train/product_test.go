//go:build linux && amd64

package train

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// bench is a device whose tensors a test makes and reads.
type bench struct {
	testing.TB
	*Device
	rng *rand.Rand
}

func newBench(t testing.TB) *bench {
	return &bench{t, open(t), rand.New(rand.NewPCG(1, 2))}
}

func (b *bench) alloc(t dtype.Type, shape ...int) compute.Tensor {
	b.Helper()
	x, err := b.Alloc(t, shape...)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { b.Free(x) })
	return x
}

// normal is a tensor of normal numbers, and what they are there.
func (b *bench) normal(t dtype.Type, shape ...int) (compute.Tensor, []float32) {
	b.Helper()
	x := b.alloc(t, shape...)
	v := make([]float32, x.Len())
	for i := range v {
		v[i] = float32(b.rng.NormFloat64())
	}
	return x, b.upload(x, v)
}

func (b *bench) upload(x compute.Tensor, v []float32) []float32 {
	data, back := make([]byte, x.Bytes()), make([]float32, len(v))
	dtype.Encode(x.Type, data, v)
	dtype.Decode(x.Type, back, data)
	b.Upload(x, data)
	return back
}

func (b *bench) bytes(x compute.Tensor) []byte {
	b.Helper()
	data := make([]byte, x.Bytes())
	b.Download(data, x)
	if err := b.Sync(); err != nil {
		b.Fatal(err)
	}
	return data
}

// lying is a factor [size, depth] as it lies along its lines, or across.
func lying(across bool, v []float32, size, depth int) []float32 {
	if !across {
		return v
	}
	to := make([]float32, len(v))
	for i := range size {
		for k := range depth {
			to[k*size+i] = v[i*depth+k]
		}
	}
	return to
}

// factors puts a [m, k] and b [n, k] where a product of an order has them.
func (b *bench) factors(o order, m, n, k int, x, y []float32) *product {
	b.Helper()
	p := &product{order: o, a: b.alloc(dtype.BF16, m*k), b: b.alloc(dtype.BF16, n*k), m: m, n: n, k: k}
	b.upload(p.a, lying(o == orderTN, x, m, k))
	b.upload(p.b, lying(o != orderNT, y, n, k))
	return p
}

// TestProduct holds every kernel in every order against sums in float64: rows and columns that end
// within a tile, many tiles and more rows than are near in time, short and long sums, whole and in parts, odd lines.
func TestProduct(t *testing.T) {
	b := newBench(t)
	shapes := [][3]int{ // m, n, k
		{1, 8, 8}, {128, 192, 64}, {100, 64, 136}, {136, 200, 320}, {264, 392, 72}, {520, 400, 24}, {392, 584, 200}, {8, 16, 3000}, {2312, 200, 16},
		{5, 7, 11}, {130, 131, 133}, {129, 64, 37},
	}
	for _, shape := range shapes {
		m, n, k := shape[0], shape[1], shape[2]
		if testing.Short() && m*n*k > 20e6 {
			continue
		}
		_, x := b.normal(dtype.BF16, m, k)
		_, y := b.normal(dtype.BF16, n, k)
		sum, size := twin(x, y, m, n, k)
		for o := range orderNames {
			p := b.factors(order(o), m, n, k, x, y)
			for kind := range []int{kindSet, kindAdd, kindSum} {
				p.kind = kind
				b.check(p, fmt.Sprintf("%s of %v, kind %d", orderNames[o], shape, kind), sum, size)
			}
		}
	}
}

// check multiplies with all kernels that take a product.
func (b *bench) check(p *product, what string, sum, size []float64) {
	b.Helper()
	typ := map[bool]dtype.Type{false: dtype.BF16, true: dtype.F32}[p.kind == kindSum]
	out, old := b.normal(typ, p.m, p.n)
	bias, biases := b.normal(dtype.F32, p.n)
	p.out, p.bias = out, 0
	if p.kind == kindSet && p.m%2 == 0 {
		p.bias = bias.Addr
	}
	before := b.bytes(out)
	for _, kernel := range b.p.kernels {
		if kernel.needsWide && !p.wide() {
			continue
		}
		for _, parts := range []int{1, 3} {
			if parts > 1 && (p.kind != kindSum || ceil(p.k, kernel.unit) < parts) {
				continue
			}
			what := fmt.Sprintf("%s, %s, %d parts", kernel.name, what, parts)
			b.Upload(out, before)
			b.multiplyBy(kernel, p, parts)
			first := b.bytes(out)
			if p.kind == kindSum {
				b.Upload(out, before)
				b.multiplyBy(kernel, p, parts)
				if !bytes.Equal(first, b.bytes(out)) {
					b.Fatalf("%s: other bits the second time", what)
				}
			}
			got := make([]float32, len(sum))
			dtype.Decode(typ, got, first)
			for i, g := range got {
				want, of := sum[i], size[i]
				switch {
				case p.kind != kindSet:
					want, of = want+float64(old[i]), of+math.Abs(float64(old[i]))
				case p.bias != 0:
					want, of = want+float64(biases[i%p.n]), of+math.Abs(float64(biases[i%p.n]))
				}
				allowed := 4e-6 * of
				if typ == dtype.BF16 {
					allowed += math.Abs(want) / 256
				}
				if d := math.Abs(float64(g) - want); !(d <= allowed) {
					b.Fatalf("%s: element %d, %d is %v, want %v (off by %.3g, allowed %.3g)", what, i/p.n, i%p.n, g, want, d, allowed)
				}
			}
		}
	}
}

// twin is a product of a [m, k] and b [n, k], and the sums of its magnitudes.
func twin(a, b []float32, m, n, k int) (sum, size []float64) {
	sum, size = make([]float64, m*n), make([]float64, m*n)
	for i := range m {
		for j := range n {
			y := b[j*k : (j+1)*k]
			for l, x := range a[i*k : (i+1)*k] {
				v := float64(x) * float64(y[l])
				sum[i*n+j] += v
				size[i*n+j] += math.Abs(v)
			}
		}
	}
	return sum, size
}

// TestProductNotFinite: what is not a number stays in its row, though tiles end behind what there is.
func TestProductNotFinite(t *testing.T) {
	b := newBench(t)
	const m, n, k = 136, 200, 72
	_, x := b.normal(dtype.BF16, m, k)
	_, y := b.normal(dtype.BF16, n, k)
	x[131*k+70] = float32(math.NaN())
	for o := range orderNames {
		p := b.factors(order(o), m, n, k, x, y)
		p.out = b.alloc(dtype.BF16, m, n)
		for _, kernel := range b.p.kernels {
			b.multiplyBy(kernel, p, 1)
			got := make([]float32, m*n)
			dtype.Decode(dtype.BF16, got, b.bytes(p.out))
			for i, g := range got {
				if bad := i/n == 131; bad != (g != g) {
					t.Fatalf("%s_%s: row %d has %v", kernel.name, orderNames[o], i/n, g)
				}
			}
		}
	}
}

// TestSplits: parts of k fill a GPU and are no more than units.
func TestSplits(t *testing.T) {
	group := &productKernel{rows: 128, columns: 192, unit: 64}
	for _, tc := range []struct{ m, n, k, least, most int }{
		{576, 576, 16384, 6, 20}, {1536, 576, 16384, 3, 15}, {192, 576, 16384, 8, 32}, {49152, 576, 4096, 1, 1},
		{8192, 2048, 16384, 1, 3}, {576, 576, 64, 1, 1}, {8, 8, 1, 1, 1},
	} {
		got := group.splits(&product{order: orderTN, kind: kindSum, m: tc.m, n: tc.n, k: tc.k})
		t.Logf("%v: %d", tc, got)
		if got < tc.least || got > tc.most || got > ceil(tc.k, group.unit) {
			t.Errorf("%v: %d parts", tc, got)
		}
		if other := group.splits(&product{order: orderNT, kind: kindSet, m: tc.m, n: tc.n, k: tc.k}); other != 1 {
			t.Errorf("%v: %d parts of what is set", tc, other)
		}
	}
}
