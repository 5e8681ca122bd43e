package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// floatFormats are the formats of weights that Linear multiplies in float32.
var floatFormats = []dtype.Type{
	dtype.F32, dtype.F16, dtype.BF16, dtype.Q8_0, dtype.Q4_0, dtype.Q4_1,
	dtype.Q5_0, dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K,
}

// randomWeights returns n·k weights of any format, near 1 in size.
func randomWeights(t testing.TB, format dtype.Type, n, k int, rng *rand.Rand) []byte {
	t.Helper()
	size, err := format.Size(n * k)
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, size)
	if !format.Quantised() {
		values := make([]float32, n*k)
		fill(values, rng)
		dtype.Encode(format, data, values)
		return data
	}
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	places := map[dtype.Type][]int{dtype.Q4_1: {0, 2}, dtype.Q5_1: {0, 2}, dtype.Q4_K: {0, 2}, dtype.Q5_K: {0, 2}, dtype.Q6_K: {208}}[format]
	if places == nil {
		places = []int{0}
	}
	for at := 0; at < size; at += format.BlockBytes() {
		for _, p := range places {
			v := dtype.F32ToF16(float32(0.01 * rng.NormFloat64()))
			data[at+p], data[at+p+1] = byte(v), byte(v>>8)
		}
	}
	return data
}

// TestStream: each kernel of few rows gives its rows the bits that the kernel of
// one row gives them, output by output, near the sum in float64; weights begin
// anywhere, and nothing beyond the results is written.
func TestStream(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for format, kernel := range k.few.formats {
			lengths := []int{runLen, runLen + 64, 2*runLen + 256}
			for length := 1; length <= 70; length++ {
				lengths = append(lengths, length)
			}
			for _, length := range lengths {
				if length%format.Block() != 0 || !k.few.streams(format, length) {
					continue
				}
				most := 13
				if length > 100 {
					most = 5
				}
				n := 1 + rng.IntN(most)
				data := randomWeights(t, format, n, length, rng)
				ws := len(data) / n
				shift := rng.IntN(3)
				if format == dtype.F32 {
					shift *= 4
				}
				w := append(make([]byte, shift), data...)[shift:]
				values := make([]float32, n*length)
				dtype.Decode(format, values, data)
				rows, xs, os := k.few.rows[0], length+rng.IntN(4), n+rng.IntN(3)
				x := make([]float32, rows*xs)
				fill(x, rng)
				one := make([]float32, rows*n)
				for r := range rows {
					for i := range n {
						kernel[len(kernel)-1](one[r*n+i:r*n+i+1], 1, x[r*xs:r*xs+length], xs, w[i*ws:(i+1)*ws], ws, 1, length)
						var want, size float64
						for j := range length {
							p := float64(x[r*xs+j]) * float64(values[i*length+j])
							want += p
							size += math.Abs(p)
						}
						if got := one[r*n+i]; !(math.Abs(float64(got)-want) <= 4e-6*size) {
							t.Fatalf("%v, %d elements: %v, want %v", format, length, got, want)
						}
					}
				}
				for at, m := range k.few.rows {
					out := slices.Repeat([]float32{77}, m*os+1)
					kernel[at](out, os, x, xs, w, ws, n, length)
					for at, got := range out {
						r, i := at/os, at%os
						if r == m || i >= n {
							if got != 77 {
								t.Fatalf("%v, %d rows, %d elements: place %d beyond %d outputs was written", format, m, length, at, n)
							}
						} else if math.Float32bits(got) != math.Float32bits(one[r*n+i]) {
							t.Fatalf("%v, %d rows, %d outputs, %d elements: row %d output %d is %v, alone %v", format, m, n, length, r, i, got, one[r*n+i])
						}
					}
				}
			}
		}
	})
}

// TestStreamTwin compares the assembly with the portable kernels, which sum in
// another order.
func TestStreamTwin(t *testing.T) {
	rng := newRand(t)
	for range 40 {
		n, length := 1+rng.IntN(20), 1+rng.IntN(300)
		x, w := make([]float32, 4*length), make([]float32, n*length)
		fill(x, rng)
		fill(w, rng)
		want := make([]float32, 4*n)
		streamsGo.stream(dtype.F32, 4, want, n, x, length, bytesOf(w), 4*length, n, length)
		eachKernels(t, func(t *testing.T, k kernels) {
			got := make([]float32, 4*n)
			k.few.stream(dtype.F32, 4, got, n, x, length, bytesOf(w), 4*length, n, length)
			for i := range got {
				if math.Abs(float64(got[i]-want[i])) > 1e-4 {
					t.Fatalf("%d outputs of %d elements: element %d is %v, want %v", n, length, i, got[i], want[i])
				}
			}
		})
	}
}

// TestLinearBits: a row's bits are those that it has alone, in every format, on
// every level, for numbers of rows on both sides of every kernel's, and with
// outputs and lengths that fill no vector.
func TestLinearBits(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		rng := newRand(t)
		one := open(t, Options{Threads: 1, Level: level, Numerics: compute.NumericsF32})
		three := open(t, Options{Threads: 3, Level: level, Numerics: compute.NumericsF32})
		for _, format := range floatFormats {
			for _, shape := range [][3]int{{9, 1, 5}, {13, 7, 3}, {15, 65, 45}, {77, 50, 96}, {81, 131, 256}, {35, 27, runLen + 512}, {passRows + 9, 20, 40}} {
				rows, n, k := shape[0], shape[1], shape[2]
				if k%format.Block() != 0 {
					k = (k + format.Block() - 1) / format.Block() * format.Block()
				}
				w := compute.NewTensor(format, randomWeights(t, format, n, k, rng), n, k)
				x, b := make([]float32, rows*k), make([]float32, n)
				fill(x, rng)
				fill(b, rng)
				bias := compute.F32s(b, n)
				want := make([]float32, rows*n)
				for r := range rows {
					one.Linear(compute.F32s(want[r*n:(r+1)*n], 1, n), compute.F32s(x[r*k:(r+1)*k], 1, k), w, bias)
				}
				for _, m := range []int{2, 3, 4, 5, 6, 7, 8, 9, 11, 12, 13, 31, 32, rows} {
					if m > rows {
						continue
					}
					for _, d := range []*Device{one, three} {
						got := make([]float32, m*n)
						d.Linear(compute.F32s(got, m, n), compute.F32s(x[:m*k], m, k), w, bias)
						for i := range got {
							if math.Float32bits(got[i]) != math.Float32bits(want[i]) {
								t.Fatalf("%v, %d of %v, %d threads: element %d is %v, alone %v", format, m, shape, d.threads, i, got[i], want[i])
							}
						}
					}
				}
			}
		}
	})
}

// BenchmarkLinearFloat has the shapes of a layer of a model of 1.1 billion
// parameters and those of SmolLM2-135M, on every level. Bytes are those of the
// weights.
func BenchmarkLinearFloat(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	for _, level := range Levels() {
		for _, shape := range [][2]int{{192, 576}, {576, 576}, {1536, 576}, {576, 1536}, {49152, 576}, {256, 2048}, {2048, 2048}, {5632, 2048}, {2048, 5632}} {
			n, k := shape[0], shape[1]
			for _, format := range []dtype.Type{dtype.F32, dtype.F16, dtype.BF16, dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q4_K} {
				if k%format.Block() != 0 {
					continue
				}
				w := compute.NewTensor(format, randomWeights(b, format, n, k, rng), n, k)
				for _, rows := range []int{1, 2, 4, 8, 16, 64, 512} {
					if rows*n*k > 1<<33 {
						continue
					}
					x, out := compute.F32s(make([]float32, rows*k), rows, k), compute.F32s(make([]float32, rows*n), rows, n)
					fill(x.F32(), rng)
					for _, threads := range []int{1, 2} {
						b.Run(fmt.Sprintf("%s/%dx%d/%v/rows=%d/threads=%d", level, n, k, format, rows, threads), func(b *testing.B) {
							d, err := New(Options{Threads: threads, Level: level, Numerics: compute.NumericsF32})
							if err != nil {
								b.Fatal(err)
							}
							defer func() { _ = d.Close() }()
							b.SetBytes(int64(len(w.Data)))
							for b.Loop() {
								d.Linear(out, x, w, compute.Tensor{})
							}
							b.ReportMetric(2*float64(n)*float64(k)*float64(rows)*float64(b.N)/float64(b.Elapsed().Nanoseconds()), "GFLOP/s")
						})
					}
				}
			}
		}
	}
}

// TestLinearShapes: shapes and places at random, a row's bits as it has them alone
// and near the definition.
func TestLinearShapes(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		rng := newRand(t)
		one := open(t, Options{Threads: 1, Level: level, Numerics: compute.NumericsF32})
		two := open(t, Options{Threads: 2, Level: level, Numerics: compute.NumericsF32})
		for range 60 {
			format := []dtype.Type{dtype.F32, dtype.F16, dtype.BF16}[rng.IntN(3)]
			rows, n, k := 1+rng.IntN(9), 1+rng.IntN(200), 1+rng.IntN(400)
			if rng.IntN(2) == 0 {
				rows += rng.IntN(150)
			}
			shift := map[dtype.Type]int{dtype.F32: 4, dtype.F16: 1, dtype.BF16: 1}[format] * rng.IntN(4)
			data := append(make([]byte, shift), randomWeights(t, format, n, k, rng)...)[shift:]
			w := compute.NewTensor(format, data, n, k)
			x, out := make([]float32, rows*k+3)[3:], make([]float32, rows*n+1)[1:]
			fill(x, rng)
			two.Linear(compute.F32s(out, rows, n), compute.F32s(x, rows, k), w, compute.Tensor{})
			want, alone := make([]float32, rows*n), make([]float32, n)
			compute.Linear(want, x, w, nil)
			for r := range rows {
				one.Linear(compute.F32s(alone, 1, n), compute.F32s(x[r*k:(r+1)*k], 1, k), w, compute.Tensor{})
				for i, v := range alone {
					if got := out[r*n+i]; math.Float32bits(got) != math.Float32bits(v) || math.Abs(float64(got-want[r*n+i])) > 1e-4 {
						t.Fatalf("%v, %d rows, %d outputs of %d elements: row %d output %d is %v, alone %v, by definition %v", format, rows, n, k, r, i, got, v, want[r*n+i])
					}
				}
			}
		}
	})
}

// TestLinearAllocatesNothing after the first call of a shape, whatever its way.
func TestLinearAllocatesNothing(t *testing.T) {
	eachLevel(t, func(t *testing.T, level string) {
		rng := newRand(t)
		d := open(t, Options{Threads: 2, Level: level, Numerics: compute.NumericsF32})
		const n, k = 100, runLen + 256
		for _, format := range []dtype.Type{dtype.F32, dtype.BF16, dtype.Q8_0, dtype.Q6_K} {
			w := compute.NewTensor(format, randomWeights(t, format, n, k, rng), n, k)
			for _, rows := range []int{1, 8, 70} {
				x, out := compute.F32s(make([]float32, rows*k), rows, k), compute.F32s(make([]float32, rows*n), rows, n)
				if got := testing.AllocsPerRun(5, func() { d.Linear(out, x, w, compute.Tensor{}) }); got != 0 {
					t.Errorf("%v, %d rows: %v allocations a call", format, rows, got)
				}
			}
		}
	})
}
