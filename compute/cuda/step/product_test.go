//go:build linux && amd64

package step

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/dtype"
)

// productBench is a device with the kernels of products.
type productBench struct {
	testing.TB
	d *cuda.Device
	g *gpu
	products
}

func openProducts(t testing.TB) *productBench {
	t.Helper()
	b := &productBench{TB: t}
	b.d, b.g = open(t)
	if err := b.load(b.g); err != nil {
		t.Fatal(err)
	}
	return b
}

func (b *productBench) alloc(t dtype.Type, shape ...int) compute.Tensor {
	b.Helper()
	x, err := b.d.Alloc(t, shape...)
	if err != nil {
		b.Fatal(err)
	}
	return x
}

// upload encodes values as a tensor of the device, and returns what they are there.
func (b *productBench) upload(t dtype.Type, values []float32, shape ...int) (compute.Tensor, []float32) {
	b.Helper()
	x := b.alloc(t, shape...)
	data, back := make([]byte, x.Bytes()), make([]float32, len(values))
	dtype.Encode(t, data, values)
	dtype.Decode(t, back, data)
	b.d.Upload(x, data)
	return x, back
}

func (b *productBench) download(x compute.Tensor) []byte {
	b.Helper()
	data := make([]byte, x.Bytes())
	b.d.Download(data, x)
	if err := b.d.Sync(); err != nil {
		b.Fatal(err)
	}
	return data
}

func (b *productBench) floats(x compute.Tensor) []float32 {
	out := make([]float32, x.Len())
	dtype.Decode(x.Type, out, b.download(x))
	return out
}

// paths calls f with every way in which a product can run.
func (b *productBench) paths(w *weight, rows int, f func(name string, run func(out, x uintptr, rows int, e epilogue))) {
	for _, k := range b.kernels {
		for _, whole := range []bool{true, false} {
			if !k.takes(w, whole) || k.shared(w, whole) > b.shared {
				continue
			}
			if err := b.reserve(b.d, k.scratch(w, rows, whole)); err != nil {
				b.Fatal(err)
			}
			f(fmt.Sprintf("%s/%d/%d/%v", k.symbol("x"), k.warps, k.beside, whole), func(out, x uintptr, rows int, e epilogue) {
				b.post(b.g, k, whole, out, activations{addr: x}, w, rows, e)
			})
		}
	}
}

type productShape struct {
	parts []int // outputs
	k     int
	pair  bool
}

var productShapes = []productShape{
	{parts: []int{5}, k: 32}, {parts: []int{16}, k: 64}, {parts: []int{24, 8, 3}, k: 96}, {parts: []int{150}, k: 576},
	{parts: []int{48, 16, 17, 1}, k: 1056}, {parts: []int{9, 9}, k: 160, pair: true}, {parts: []int{72, 72}, k: 576, pair: true},
}

func normal(rng *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(rng.NormFloat64())
	}
	return v
}

// twin is the product and the sum of the magnitudes of what was added.
func twin(x, w []float32, n, k int) (sum, size []float64) {
	rows := len(x) / k
	sum, size = make([]float64, rows*n), make([]float64, rows*n)
	for r := range rows {
		for j := range n {
			for i := range k {
				v := float64(x[r*k+i]) * float64(w[j*k+i])
				sum[r*n+j] += v
				size[r*n+j] += math.Abs(v)
			}
		}
	}
	return sum, size
}

// tolerance of a sum of k products: one float32 rounding in the place of each 16, and of
// each piece, all of one sign, and the scales'.
func tolerance(size float64, k int) float64 { return size * float64(k/16+10) * 0x1p-23 }

func silu(v float64) float64 { return v / (1 + math.Exp(-v)) }

// TestProducts holds every kernel and epilogue against the sums in float64.
func TestProducts(t *testing.T) {
	b := openProducts(t)
	rng := rand.New(rand.NewPCG(3, 7))
	shapes := productShapes
	if testing.Short() {
		shapes = []productShape{{parts: []int{24, 8, 3}, k: 544}, {parts: []int{9, 9}, k: 160, pair: true}}
	}
	for _, f := range productFormats {
		for _, s := range shapes {
			t.Run(fmt.Sprintf("%v/%v/%d", f, s.parts, s.k), func(t *testing.T) {
				b.TB = t
				const rows = 70
				var parts []compute.Tensor
				var wv []float32
				n := 0
				for _, p := range s.parts {
					x, v := b.upload(f, normal(rng, p*s.k), p, s.k)
					parts, wv, n = append(parts, x), append(wv, v...), n+p
				}
				w, err := b.pack(b.g, b.d, s.pair, parts...)
				if err != nil {
					t.Fatal(err)
				}
				defer w.free(b.d)
				for _, x := range parts {
					b.d.Free(x)
				}
				x, xv := b.upload(dtype.BF16, normal(rng, rows*s.k), rows, s.k)
				bias, biasv := b.upload(dtype.F32, normal(rng, n), n)
				before := normal(rng, rows*n)
				out := b.alloc(dtype.F32, rows, n)
				defer func() { b.d.Free(x); b.d.Free(bias); b.d.Free(out) }()
				sum, size := twin(xv, wv, n, s.k)
				b.paths(&w, rows, func(name string, run func(out, x uintptr, rows int, e epilogue)) {
					if s.pair {
						half := n / 2
						b.d.Upload(out, compute.F32s(before, rows, n).Data)
						run(out.Addr, x.Addr, rows, epilogue{kind: swiglu})
						got := b.floats(compute.Tensor{Type: dtype.BF16, Dims: [4]int{rows, half, 1, 1}, Rank: 2, Addr: out.Addr})
						for i, v := range got {
							g, u := i/half*n+i%half, i/half*n+half+i%half
							want := silu(sum[g]) * sum[u]
							slack := math.Abs(want)*0x1p-8 + 1.1*tolerance(size[g], s.k)*math.Abs(sum[u]) + tolerance(size[u], s.k)*math.Abs(silu(sum[g]))
							if d := math.Abs(float64(v) - want); !(d <= slack) {
								t.Fatalf("%s: row %d output %d is %v, want %v ± %v", name, i/half, i%half, v, want, slack)
							}
						}
						return
					}
					for _, e := range []epilogue{{kind: store}, {kind: store, bias: bias.Addr}, {kind: add, scale: 0.37}, {kind: add, scale: 1, bias: bias.Addr}} {
						b.d.Upload(out, compute.F32s(before, rows, n).Data)
						run(out.Addr, x.Addr, rows, e)
						for i, v := range b.floats(out) {
							want := sum[i]
							if e.bias != 0 {
								want += float64(biasv[i%n])
							}
							if e.kind == add {
								want = float64(before[i]) + float64(e.scale)*want
							}
							slack := tolerance(size[i], s.k) + (math.Abs(want)+math.Abs(float64(before[i])))*0x1p-22
							if d := math.Abs(float64(v) - want); !(d <= slack) {
								t.Fatalf("%s, epilogue %v: row %d output %d is %v, want %v ± %v", name, e, i/n, i%n, v, want, slack)
							}
						}
					}
				})
			})
		}
	}
}

// TestProductRows: a row has the same bits alone and among any others, in every kernel and
// for every number of pieces.
func TestProductRows(t *testing.T) {
	b := openProducts(t)
	rng := rand.New(rand.NewPCG(5, 7))
	most, counts, shapes := 600, []int{600, 1, 7, 8, 9, 31, 32, 65, 129, 257}, productShapes[2:]
	if testing.Short() {
		most, counts, shapes = 140, []int{140, 1, 9}, []productShape{{parts: []int{24, 8, 3}, k: 544}, {parts: []int{9, 9}, k: 160, pair: true}}
	}
	for _, f := range productFormats {
		for _, s := range shapes {
			t.Run(fmt.Sprintf("%v/%v/%d", f, s.parts, s.k), func(t *testing.T) {
				b.TB = t
				var parts []compute.Tensor
				n := 0
				for _, p := range s.parts {
					x, _ := b.upload(f, normal(rng, p*s.k), p, s.k)
					parts, n = append(parts, x), n+p
				}
				w, err := b.pack(b.g, b.d, s.pair, parts...)
				if err != nil {
					t.Fatal(err)
				}
				x, _ := b.upload(dtype.BF16, normal(rng, most*s.k), most, s.k)
				out := b.alloc(dtype.F32, most+1, n)
				untouched := bytes.Repeat([]byte{0x5a}, out.Bytes())
				e, size := epilogue{kind: store}, 4*n
				if s.pair {
					e, size = epilogue{kind: swiglu}, n
				}
				defer func() {
					w.free(b.d)
					b.d.Free(x)
					b.d.Free(out)
					for _, p := range parts {
						b.d.Free(p)
					}
				}()
				for w.splits = 1; w.splits <= min(8, w.units); w.splits *= 2 {
					var want []byte
					b.paths(&w, most, func(name string, run func(out, x uintptr, rows int, e epilogue)) {
						for _, rows := range counts {
							b.g.ctx.Memset(b.g.stream, out.Addr, 0x5a, out.Bytes())
							run(out.Addr, x.Addr, rows, e)
							got := b.download(out)
							if want == nil {
								want = got
							}
							if i := firstOther(got[:rows*size], want); i >= 0 {
								t.Fatalf("%s with %d pieces: byte %d of row %d of %d is not as alone", name, w.splits, i%size, i/size, rows)
							}
							if i := firstOther(got[rows*size:], untouched); i >= 0 {
								t.Fatalf("%s with %d pieces: byte %d behind %d rows is written", name, w.splits, i, rows)
							}
						}
						for _, r := range []int{3, most - 1} {
							run(out.Addr, x.Addr+uintptr(2*r*s.k), 1, e)
							if i := firstOther(b.download(out)[:size], want[r*size:]); i >= 0 {
								t.Fatalf("%s with %d pieces: byte %d of row %d is another alone", name, w.splits, i, r)
							}
						}
					})
				}
			})
		}
	}
}

// firstOther is the first place where b differs from the beginning of a, or −1.
func firstOther(a, b []byte) int {
	if bytes.Equal(a, b[:len(a)]) {
		return -1
	}
	for i, c := range a {
		if c != b[i] {
			return i
		}
	}
	return -1
}

// TestProductNotNumbers: what is infinite or not a number stays in its row and output, and
// is what float32 arithmetic makes of it.
func TestProductNotNumbers(t *testing.T) {
	b := openProducts(t)
	const n, k, rows = 20, 160, 10
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, f := range productFormats {
		t.Run(f.String(), func(t *testing.T) {
			b.TB = t
			rng := rand.New(rand.NewPCG(1, 7))
			wv, xv := normal(rng, n*k), normal(rng, rows*k)
			xv[1*k+5], xv[2*k+40], xv[3*k+100], xv[4*k+7], xv[4*k+8] = inf, -inf, nan, inf, inf
			if f == dtype.BF16 {
				wv[6*k+3], wv[7*k+70] = inf, nan
			}
			part, wv := b.upload(f, wv, n, k)
			x, xv := b.upload(dtype.BF16, xv, rows, k)
			out := b.alloc(dtype.F32, rows, n)
			w, err := b.pack(b.g, b.d, false, part)
			if err != nil {
				t.Fatal(err)
			}
			sum, _ := twin(xv, wv, n, k)
			b.paths(&w, rows, func(name string, run func(out, x uintptr, rows int, e epilogue)) {
				run(out.Addr, x.Addr, rows, epilogue{kind: store})
				for i, v := range b.floats(out) {
					if want := sum[i]; math.IsNaN(want) != math.IsNaN(float64(v)) || math.IsInf(want, 0) && float64(v) != want || math.IsInf(float64(v), 0) && !math.IsInf(want, 0) {
						t.Fatalf("%s: row %d output %d is %v, want %v", name, i/n, i%n, v, want)
					}
				}
			})
		})
	}
}

// TestProductEarly: products of each other's results, which start early, captured and not, and
// which hand them on arranged, are those of a stream in which each waits.
func TestProductEarly(t *testing.T) {
	b := openProducts(t)
	const k, half, n, rows = 544, 96, 40, 35
	rng := rand.New(rand.NewPCG(9, 7))
	pack := func(pair bool, n, k int) weight {
		var parts []compute.Tensor
		for range 2 {
			x, _ := b.upload(dtype.BF16, normal(rng, n*k), n, k)
			parts = append(parts, x)
		}
		w, err := b.pack(b.g, b.d, pair, parts...)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	up, down := pack(true, half, k), pack(false, n/2, half)
	x, _ := b.upload(dtype.BF16, normal(rng, rows*k), rows, k)
	room := describeActivations(rows, half)
	mid, out := b.alloc(dtype.BF16, room.Len()), b.alloc(dtype.F32, rows, n)
	for _, rows := range []int{1, 12, rows} {
		if err := b.reserve(b.d, max(b.scratch(b.g, &up, rows), b.scratch(b.g, &down, rows))); err != nil {
			t.Fatal(err)
		}
		arranged := false
		post := func() {
			b.g.ctx.Memset(b.g.stream, out.Addr, 0, out.Bytes())
			for range 5 {
				b.g.ctx.Memset(b.g.stream, mid.Addr, 0xff, mid.Bytes())
				b.run(b.g, mid.Addr, activations{addr: x.Addr}, &up, rows, epilogue{kind: swiglu, arranged: arranged})
				b.run(b.g, out.Addr, activations{mid.Addr, arranged}, &down, rows, epilogue{kind: add, scale: 0.5})
				b.run(b.g, out.Addr, activations{mid.Addr, arranged}, &down, rows, epilogue{kind: add, scale: -0.25})
			}
		}
		b.g.late = true
		post()
		want := b.download(out)
		b.g.late = false
		arranged = b.arranged(b.g, rows)
		post()
		if i := firstOther(b.download(out), want); i >= 0 {
			t.Fatalf("%d rows: byte %d is another where kernels start early", rows, i)
		}
		if err := b.g.ctx.BeginCapture(b.g.stream); err != nil {
			t.Fatal(err)
		}
		post()
		graph, err := b.g.ctx.EndCapture(b.g.stream)
		if err != nil {
			t.Fatal(err)
		}
		exec, err := b.g.ctx.Instantiate(graph)
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			b.g.ctx.Memset(b.g.stream, out.Addr, 0xff, out.Bytes())
			b.g.ctx.LaunchGraph(exec, b.g.stream)
			if i := firstOther(b.download(out), want); i >= 0 {
				t.Fatalf("%d rows: byte %d is another in a graph", rows, i)
			}
		}
		if err := errors.Join(b.g.ctx.FreeGraphExec(exec), b.g.ctx.FreeGraph(graph)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestProductChoice: for every weight and number of rows there is a kernel, which fits.
func TestProductChoice(t *testing.T) {
	b := openProducts(t)
	for _, shared := range []int{99 << 10, 163 << 10, 227 << 10} { // of sm_89, sm_80 and sm_90
		major := 8
		if shared == 227<<10 {
			major = 9
		}
		b.g.props.Major, b.shared = major, shared
		for _, f := range productFormats {
			for _, splits := range []int{1, 2, 4, 8} {
				for _, tiles := range []int{1, 60, 256, 1792, 8016} {
					for rows := 1; rows < 4000; rows += 1 + rows/40 {
						w := weight{format: f, n: 16 * tiles, k: 4096, tiles: tiles, units: 64, splits: splits}
						k, whole := b.choose(b.g, &w, rows)
						if !k.takes(&w, whole) || k.deep.weights > 0 && major < 9 || !whole && k.deep.weights == 0 && rows > 1024 && tiles > 1000 || k.shared(&w, whole) > b.shared {
							t.Fatalf("sm_%d0, %v, %d tiles in %d pieces, %d rows: %s, %d bytes of shared memory", major, f, tiles, splits, rows, k.name, k.shared(&w, whole))
						}
					}
				}
			}
		}
	}
}

// TestProductRefused: a weight that the kernels do not read is an error.
func TestProductRefused(t *testing.T) {
	b := openProducts(t)
	for _, x := range []compute.Tensor{b.alloc(dtype.F32, 4, 32), b.alloc(dtype.F16, 4, 32), b.alloc(dtype.Q4_K, 4, 256), b.alloc(dtype.BF16, 4, 48)} {
		if _, err := b.pack(b.g, b.d, false, x); !errors.Is(err, errFormat) {
			t.Errorf("%v %v: %v", x.Type, x.Dims, err)
		}
	}
	if _, err := b.pack(b.g, b.d, false, b.alloc(dtype.BF16, 4, 32), b.alloc(dtype.Q8_0, 4, 32)); !errors.Is(err, errFormat) {
		t.Errorf("formats beside each other: %v", err)
	}
}

// The products of an 8B model.
var productSizes = []struct {
	name string
	n, k int
	pair bool
}{
	{"qkv", 4608, 4096, false}, {"o", 4096, 4096, false}, {"gate+up", 28672, 4096, true}, {"down", 4096, 14336, false}, {"head", 128256, 4096, false},
}

// productArena is memory in which weights and activations of any shape lie: random numbers,
// as bf16 small ones.
type productArena struct {
	*productBench
	weights, x, out compute.Tensor
}

func openArena(t testing.TB, rows int) *productArena {
	b := openProducts(t)
	const piece = 16 << 20
	a := &productArena{b, b.alloc(dtype.U8, 1280<<20), b.alloc(dtype.U8, rows*14336*2), b.alloc(dtype.U8, max(rows*28672, min(rows, 256)*128256)*4)}
	data := make([]byte, piece)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < piece; i += 2 {
		binary.LittleEndian.PutUint16(data[i:], dtype.F32ToBF16(float32(rng.NormFloat64())))
	}
	for _, x := range []compute.Tensor{a.weights, a.x} {
		b.d.Upload(x, data[:min(piece, x.Len())])
		for at := piece; at < x.Len(); at += piece {
			b.g.ctx.Copy(b.g.stream, x.Addr+uintptr(at), x.Addr, min(piece, x.Len()-at))
		}
	}
	if err := b.reserve(b.d, 600<<20); err != nil {
		t.Fatal(err)
	}
	return a
}

// sets are weights of one shape that take turns, so that no cache holds the next one.
func (a *productArena) sets(f dtype.Type, n, k int, pair bool) (sets []weight) {
	w := weight{format: f, n: n, k: k, tiles: ceil(n, 16), units: ceil(k, 64), pair: pair}
	w.splits = splitsOf(w.tiles, w.units)
	size := w.tiles * w.units * unitBytes(f)
	for at := 0; at+size <= a.weights.Len() && len(sets) < 16; at += size {
		w.memory = compute.Describe(dtype.U8, size)
		w.memory.Addr = a.weights.Addr + uintptr(at)
		sets = append(sets, w)
	}
	return sets
}

// time is the time in microseconds of a launch in a graph of launches.
func (a *productArena) time(launches int, run func(i int)) float64 {
	ctx, s := a.g.ctx, a.g.stream
	check := func(err error) {
		a.Helper()
		if err != nil {
			a.Fatal(err)
		}
	}
	run(0) // what is loaded at the first launch
	check(a.d.Sync())
	check(ctx.BeginCapture(s))
	for i := range launches {
		run(i)
	}
	graph, err := ctx.EndCapture(s)
	check(err)
	exec, err := ctx.Instantiate(graph)
	check(err)
	from, err1 := ctx.NewEvent(true)
	to, err2 := ctx.NewEvent(true)
	check(errors.Join(err1, err2))
	ctx.LaunchGraph(exec, s)
	best := math.Inf(1)
	for range 3 {
		ctx.Record(from, s)
		ctx.LaunchGraph(exec, s)
		ctx.Record(to, s)
		check(a.d.Sync())
		ms, err := ctx.Elapsed(from, to)
		check(err)
		best = min(best, ms*1e3/float64(launches))
	}
	check(errors.Join(ctx.FreeEvent(from), ctx.FreeEvent(to), ctx.FreeGraphExec(exec), ctx.FreeGraph(graph)))
	return best
}

// of is the epilogue that a product of the name has in a model.
func epilogueOf(name string, pair bool) epilogue {
	switch {
	case pair:
		return epilogue{kind: swiglu}
	case name == "o" || name == "down":
		return epilogue{kind: add, scale: 1}
	}
	return epilogue{kind: store}
}

// BenchmarkProducts prints a line for every product of an 8B model, format and number of rows.
func BenchmarkProducts(b *testing.B) {
	a := openArena(b, 2048)
	for _, f := range productFormats {
		layer := make(map[int]float64)
		for _, size := range productSizes {
			sets := a.sets(f, size.n, size.k, size.pair)
			for _, rows := range []int{1, 8, 16, 32, 48, 64, 96, 128, 256, 2048} {
				if rows > 256 && size.name == "head" {
					continue
				}
				k, whole := a.choose(a.g, &sets[0], rows)
				us := a.time(max(4, min(16, 4096/rows)), func(i int) {
					a.run(a.g, a.out.Addr, activations{a.x.Addr, a.arranged(a.g, rows)}, &sets[i%len(sets)], rows, epilogueOf(size.name, size.pair))
				})
				times := 32.0
				if size.name == "head" {
					times = 1
				}
				layer[rows] += times * us / 1e3
				fmt.Printf("%v %-7s rows %4d %7.1f us %5.0f GB/s %4.0f TFLOP/s  %s %d/%d/%v\n", f, size.name, rows, us,
					float64(sets[0].memory.Len())/us/1e3, 2*float64(rows*size.n*size.k)/us/1e6, k.symbol("x"), k.warps, k.beside, whole)
			}
		}
		for _, rows := range []int{1, 8, 16, 32, 48, 64, 96, 128, 256} {
			fmt.Printf("%v all products of 32 layers and head, rows %4d: %6.2f ms\n", f, rows, layer[rows])
		}
	}
}

// BenchmarkProductKernels prints, for every product of an 8B model in bf16 and number of rows, how
// long the chosen kernel takes, and the others, the fastest first.
func BenchmarkProductKernels(b *testing.B) {
	a := openArena(b, 2048)
	type result struct {
		name string
		us   float64
	}
	for _, size := range productSizes {
		sets := a.sets(dtype.BF16, size.n, size.k, size.pair)
		w := &sets[0]
		for _, rows := range []int{8, 16, 32, 48, 64, 96, 128, 192, 256} {
			time := func(k *productKernel, whole bool) float64 {
				return a.time(8, func(i int) {
					a.post(a.g, k, whole, a.out.Addr, activations{a.x.Addr, k.deep.weights > 0}, &sets[i%len(sets)], rows, epilogueOf(size.name, size.pair))
				})
			}
			var results []result
			for _, k := range a.kernels {
				for _, whole := range []bool{true, false} {
					enough := k.rows >= min(rows, 96) && k.rows <= max(2*rows, 16)
					if !k.takes(w, whole) || k.shared(w, whole) > a.shared || (k.tiles > 0 || rows > 16) && (k.deep.weights == 0 || !enough) {
						continue
					}
					results = append(results, result{fmt.Sprintf("%s/%d/%d/%v", k.symbol("bf16")[5:], k.warps, k.beside, whole), time(k, whole)})
				}
			}
			slices.SortFunc(results, func(x, y result) int { return cmp.Compare(x.us, y.us) })
			k, whole := a.choose(a.g, w, rows)
			fmt.Printf("%-7s rows %4d: chosen %s/%d/%d/%v %.1f;", size.name, rows, k.symbol("bf16")[5:], k.warps, k.beside, whole, time(k, whole))
			for _, r := range results[:min(len(results), 12)] {
				fmt.Printf(" %s %.1f", r.name, r.us)
			}
			fmt.Printf("  (%.1f at 4.27 TB/s)\n", float64(w.memory.Len())/4.27e6)
		}
	}
}

// BenchmarkProductLayers prints how long the products of 32 layers of an 8B model take, one after
// the other as in a step.
func BenchmarkProductLayers(b *testing.B) {
	a := openArena(b, 256)
	const layers = 3 // that memory holds
	var all [layers][]weight
	at := a.weights.Addr
	for i := range all {
		for _, size := range productSizes[:4] {
			w := a.sets(dtype.BF16, size.n, size.k, size.pair)[0]
			w.memory.Addr = at
			at += uintptr(w.memory.Len())
			all[i] = append(all[i], w)
		}
	}
	for _, rows := range []int{1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 80, 96, 112, 128, 192, 256} {
		us := a.time(12, func(i int) {
			for j, size := range productSizes[:4] {
				a.run(a.g, a.out.Addr, activations{a.x.Addr, a.arranged(a.g, rows)}, &all[i%layers][j], rows, epilogueOf(size.name, size.pair))
			}
		})
		fmt.Printf("bf16 products of 32 layers, rows %3d: %.3f ms, %.0f GB/s\n", rows, us*32/1e3, float64(at-a.weights.Addr)/layers/us/1e3)
	}
}
