package cpu

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

var quantisedFormats = []dtype.Type{dtype.Q8_0, dtype.Q4_0, dtype.Q4_1, dtype.Q5_0, dtype.Q5_1, dtype.Q4_K, dtype.Q5_K, dtype.Q6_K}

var intModes = []compute.Numerics{compute.NumericsInt16, compute.NumericsInt8}

// randomBlocks is a weight [n, k] of random bytes, whose scales are finite and of
// either sign.
func randomBlocks(rng *rand.Rand, t dtype.Type, n, k int) []byte {
	size, err := t.Size(n * k)
	if err != nil {
		panic(err)
	}
	data := make([]byte, size)
	for i := range data {
		data[i] = byte(rng.Uint32())
	}
	places := []int{0}
	switch {
	case t == dtype.Q6_K:
		places = []int{208}
	case t.HasMinimum():
		places = []int{0, 2}
	}
	for at := 0; at < size; at += t.BlockBytes() {
		for _, p := range places {
			v := dtype.F32ToF16(float32(rng.NormFloat64() * 0.01))
			data[at+p], data[at+p+1] = byte(v), byte(v>>8)
		}
	}
	return data
}

// spiked are activations as models have them: most small, a few channels far larger.
func spiked(rng *rand.Rand, rows, k int) []float32 {
	channel := make([]float32, k)
	for i := range channel {
		channel[i] = 1
		if rng.IntN(50) == 0 {
			channel[i] = 30
		}
	}
	x := make([]float32, rows*k)
	for i := range x {
		x[i] = float32(rng.NormFloat64()) * channel[i%k]
	}
	return x
}

func sameBits(t *testing.T, what string, got, want []float32) {
	t.Helper()
	for i := range want {
		if math.Float32bits(got[i]) != math.Float32bits(want[i]) && !(got[i] != got[i] && want[i] != want[i]) {
			t.Fatalf("%s: element %d of %d is %v, want %v", what, i, len(want), got[i], want[i])
		}
	}
}

// TestPackedLinear: every format and mode has the definition's bits on every level,
// loaded or not, for any number of rows, outputs, groups and threads.
func TestPackedLinear(t *testing.T) {
	shapes := [][3]int{
		{1, 1, 32}, {1, 16, 64}, {2, 17, 96}, {3, 33, 160}, {8, 15, 288}, {5, 100, 32}, {15, 48, 512},
		{1, 47, 256}, {4, 16, 256}, {7, 31, 768}, {9, 40, 512}, {70, 35, 256}, {1, 130, 1024}, {33, 3, 1280}, {65, 37, 96}, {35, 20, 2304},
	}
	eachLevel(t, func(t *testing.T, level string) {
		rng := newRand(t)
		for _, mode := range intModes {
			for i, threads := range []int{1, 2, 3} {
				d := open(t, Options{Threads: threads, Level: level, Numerics: mode})
				for j, shape := range shapes {
					rows, n, k := shape[0], shape[1], shape[2]
					for f, format := range quantisedFormats {
						if k%format.Block() != 0 || (i+j+f)%3 != 0 { // each shape and format once, on some number of threads
							continue
						}
						data, x := randomBlocks(rng, format, n, k), spiked(rng, rows, k)
						var bias []float32
						var b compute.Tensor
						if rng.IntN(2) == 0 {
							bias = spiked(rng, 1, n)
							b = compute.F32s(bias, n)
						}
						file := compute.NewTensor(format, data, n, k)
						want, got := make([]float32, rows*n), make([]float32, rows*n+1)
						compute.LinearInt(want, x, file, bias, mode)
						what := fmt.Sprintf("%v %v %v on %d threads", mode, format, shape, threads)
						got[rows*n] = 77
						d.Linear(compute.F32s(got[:rows*n], rows, n), compute.F32s(x, rows, k), file, b)
						sameBits(t, what+", not loaded", got, want)
						w, err := d.Load(format, data, n, k)
						if err != nil {
							t.Fatal(err)
						}
						clear(got[:rows*n])
						d.Linear(compute.F32s(got[:rows*n], rows, n), compute.F32s(x, rows, k), w, b)
						sameBits(t, what, got, want)
						if got[rows*n] != 77 {
							t.Fatalf("%s: written beyond the results", what)
						}
						d.Free(w)
					}
				}
			}
		}
	})
}

// TestPackedNotFinite: an activation that is not finite makes its row's results NaN,
// and no other row's; zeros, tiny and huge ones are as the definition has them.
func TestPackedNotFinite(t *testing.T) {
	inf := float32(math.Inf(1))
	edges := []float32{0, float32(math.Copysign(0, -1)), 1e-45, 0x1p-97, 0x1p-96, -0x1p-96, 1, 3e38, -math.MaxFloat32, inf, -inf, float32(math.NaN())}
	eachLevel(t, func(t *testing.T, level string) {
		rng := newRand(t)
		const n, k = 35, 512
		for _, mode := range intModes {
			d := open(t, Options{Threads: 2, Level: level, Numerics: mode})
			for _, format := range quantisedFormats {
				data := randomBlocks(rng, format, n, k)
				w := compute.NewTensor(format, data, n, k)
				for rows := 1; rows <= 17; rows += 4 {
					x := spiked(rng, rows, k)
					bad := make([]bool, rows)
					for r := range rows {
						edge := edges[rng.IntN(len(edges))]
						if rng.IntN(3) == 0 { // a group of nothing but edges that are not large
							for i := range 32 {
								x[r*k+64+i] = edges[rng.IntN(6)]
							}
						}
						x[r*k+rng.IntN(k)] = edge
						bad[r] = edge-edge != 0
					}
					want, got := make([]float32, rows*n), make([]float32, rows*n)
					compute.LinearInt(want, x, w, nil, mode)
					d.Linear(compute.F32s(got, rows, n), compute.F32s(x, rows, k), w, compute.Tensor{})
					sameBits(t, fmt.Sprintf("%v %v %d rows", mode, format, rows), got, want)
					for i, v := range got {
						if bad[i/n] && v == v {
							t.Fatalf("%v %v: an activation of row %d is not finite, result %d is %v", mode, format, i/n, i%n, v)
						}
					}
				}
			}
		}
		// Any bytes are a block, infinite scales and NaNs among them.
		for _, format := range quantisedFormats {
			size, err := format.Size(n * k)
			if err != nil {
				t.Fatal(err)
			}
			data := make([]byte, size)
			for i := range data {
				data[i] = byte(rng.Uint32())
			}
			for _, mode := range intModes {
				d := open(t, Options{Threads: 1, Level: level, Numerics: mode})
				w, x := compute.NewTensor(format, data, n, k), spiked(rng, 9, k)
				want, got := make([]float32, 9*n), make([]float32, 9*n)
				compute.LinearInt(want, x, w, nil, mode)
				d.Linear(compute.F32s(got, 9, n), compute.F32s(x, 9, k), w, compute.Tensor{})
				sameBits(t, format.String()+" of any bytes", got, want)
			}
		}
	})
}

// TestPackedKernels holds every kernel of every level against its portable twin, with
// nothing written beyond what is its own.
func TestPackedKernels(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		rng := newRand(t)
		for _, format := range quantisedFormats {
			p := packings[format]
			for _, mode := range intModes {
				q := &quantiser{numerics: mode, format: format, form: k.form(mode, format), kind: p.kind, zero: p.zero}
				for _, groups := range []int{1, 2, 3, 5, 8, 16, 24} {
					if groups*groupLen%format.Block() != 0 {
						continue
					}
					what := fmt.Sprintf("%v %v, %d groups", format, mode, groups)
					const panels = 3
					file := randomBlocks(rng, format, panels*panelOutputs, groups*groupLen)
					src := make([]byte, panels*p.panel(groups))
					for i := range panels {
						size := len(file) / panels
						p.pack(src[i*p.panel(groups):][:p.panel(groups)], file[i*size:(i+1)*size], size/panelOutputs, panelOutputs, groups)
					}
					opened, same := make([]byte, groups*p.kind.opened()+64), make([]byte, groups*p.kind.opened()+64)
					k.open(p, opened, src[p.panel(groups):], groups)
					openGo(p, same, src[p.panel(groups):], groups)
					if !bytes.Equal(opened, same) {
						t.Fatalf("%s: an opened panel differs", what)
					}
					for _, rows := range []int{8, 4, 2, 1} {
						x := spiked(rng, rows, groups*groupLen)
						tile, twin := make([]byte, rows*q.form.row(groups)+64), make([]byte, rows*q.form.row(groups)+64)
						for _, r := range rng.Perm(rows) {
							part := x[r*groups*groupLen : (r+1)*groups*groupLen]
							k.quantise(tile[:len(tile)-64], part, q, r, rows)
							quantiseGo(twin[:len(tile)-64], part, q, r, rows)
						}
						if !bytes.Equal(tile, twin) {
							t.Fatalf("%s: codes of %d rows differ", what, rows)
						}
						os := panelOutputs + rng.IntN(9)
						got := make([]float32, rows*os)
						for i := range got {
							got[i] = 77
						}
						want := slices.Clone(got)
						k.tile(q, rows, got, os, opened, tile, groups)
						tileGo(q, rows, want, os, opened, tile, groups)
						sameBits(t, fmt.Sprintf("%s, %d rows", what, rows), got, want)
						if rows > 1 && k.unopened != nil {
							for i := range got {
								got[i] = 77
							}
							scratch := make([]byte, fewScratch+64)
							k.unopened(p, q, rows, got, os, src[p.panel(groups):], tile, scratch[:fewScratch], groups)
							sameBits(t, fmt.Sprintf("%s, %d rows, not opened", what, rows), got, want)
							if !bytes.Equal(scratch[fewScratch:], make([]byte, 64)) {
								t.Fatalf("%s, %d rows: written beyond the scratch", what, rows)
							}
						}
						if rows == 1 {
							got, want := make([]float32, panels*panelOutputs+1), make([]float32, panels*panelOutputs+1)
							k.row(p, q, got[:panels*panelOutputs], src, tile, groups)
							rowGo(p, q, want[:panels*panelOutputs], src, tile, groups)
							sameBits(t, what+", one row", got, want)
						}
					}
				}
			}
		}
	})
}

// TestForms: every form gives the codes back that were put in.
func TestForms(t *testing.T) {
	rng := newRand(t)
	for _, f := range []form{formBytes, formSplit, formPairs} {
		top := int32(compute.NumericsInt16.Top())
		if f == formBytes {
			top = int32(compute.NumericsInt8.Top())
		}
		for range 100 {
			var codes, got [groupLen]int32
			for i := range codes {
				codes[i] = rng.Int32N(2*top+1) - top
			}
			codes[0], codes[31] = top, -top
			b := make([]byte, f.bytes())
			f.put(b, &codes)
			f.get(&got, b)
			if got != codes {
				t.Fatalf("form %d: %v came back as %v", f, codes, got)
			}
		}
	}
}

// TestWideKernels holds the kernels for many rows against their portable twins, and
// these against the tiles of other levels.
func TestWideKernels(t *testing.T) {
	eachKernels(t, func(t *testing.T, k kernels) {
		wide := k.wide
		if wide == nil {
			wide = &wideGo
		}
		rng := newRand(t)
		for _, format := range quantisedFormats {
			p := packings[format]
			for _, mode := range intModes {
				q := &quantiser{numerics: mode, format: format, form: formGo(mode, format), kind: p.kind, zero: p.zero}
				for _, groups := range []int{1, 2, 3, 8, 24} {
					if groups*groupLen%format.Block() != 0 {
						continue
					}
					testWide(t, wide, p, q, rng, groups)
				}
			}
		}
	})
}

func testWide(t *testing.T, wide *wideKernels, p *packing, q *quantiser, rng *rand.Rand, groups int) {
	t.Helper()
	what := fmt.Sprintf("%v %v, %d groups", p.format, q.numerics, groups)
	const panels, os = 3, 3*panelOutputs + 5
	file := randomBlocks(rng, p.format, panels*panelOutputs, groups*groupLen)
	src := make([]byte, panels*p.panel(groups))
	size, in := groups*p.kind.wide(), p.panel(groups)
	opened, twin := make([]byte, panels*size+64), make([]byte, panels*size+64)
	for i := range panels {
		from := len(file) / panels
		p.pack(src[i*in:(i+1)*in], file[i*from:(i+1)*from], from/panelOutputs, panelOutputs, groups)
		wide.open(p, opened[i*size:], src[i*in:], groups)
		openWideGo(p, twin[i*size:], src[i*in:], groups)
	}
	if !bytes.Equal(opened, twin) {
		t.Fatalf("%s: opened panels differ", what)
	}
	x := spiked(rng, wideRows, groups*groupLen)
	x[3] = float32(math.Inf(1))
	clear(x[groups*groupLen : groups*groupLen+groupLen])
	tile, same := make([]byte, groups*q.wideStep()+64), make([]byte, groups*q.wideStep()+64)
	for _, r := range rng.Perm(wideRows) {
		wide.quantise(tile, x[r*groups*groupLen:(r+1)*groups*groupLen], q, r)
		quantiseWideGo(same, x[r*groups*groupLen:(r+1)*groups*groupLen], q, r)
	}
	sameTiles(t, what, q, tile, same)
	got := make([]float32, wideRows*os)
	for i := range got {
		got[i] = 77
	}
	want, scratch := slices.Clone(got), make([]byte, wideScratch+64)
	for _, more := range []bool{false, true} {
		wide.tile(q, got, os, opened, panels, tile, tile, groups, more, scratch[:wideScratch])
		tileWideGo(q, want, os, opened, panels, tile, nil, groups, more, nil)
		sameBits(t, what, got, want)
		if !bytes.Equal(scratch[wideScratch:], make([]byte, 64)) {
			t.Fatalf("%s: written beyond the scratch", what)
		}
		if more {
			continue
		}
		direct := make([]float32, wideRows*panels*panelOutputs)
		compute.LinearInt(direct, x, compute.NewTensor(p.format, file, panels*panelOutputs, groups*groupLen), nil, q.numerics)
		for r := range wideRows {
			sameBits(t, what+", as defined", got[r*os:r*os+panels*panelOutputs], direct[r*panels*panelOutputs:(r+1)*panels*panelOutputs])
		}
	}
}

// sameTiles compares the rows of a tile; not a number is one, whatever its bits.
func sameTiles(t *testing.T, what string, q *quantiser, got, want []byte) {
	t.Helper()
	for at := 0; at < len(want); at += 4 {
		a, b := binary.LittleEndian.Uint32(got[at:]), binary.LittleEndian.Uint32(want[at:])
		if x, y := math.Float32frombits(a), math.Float32frombits(b); a != b && (x == x || y == y) {
			t.Fatalf("%s: rows differ at byte %d of groups of %d: %x, want %x", what, at, q.wideStep(), a, b)
		}
	}
}

// TestWideSets: a weight of more panels than are opened together, and of more groups,
// has the bits of the other levels, on any number of threads.
func TestWideSets(t *testing.T) {
	const rows, n, k = 71, 431, 2304
	rng := newRand(t)
	for _, format := range []dtype.Type{dtype.Q8_0, dtype.Q4_K} {
		data, x := randomBlocks(rng, format, n, k), spiked(rng, rows, k)
		w := compute.NewTensor(format, data, n, k)
		for _, mode := range intModes {
			var want []float32
			for _, level := range Levels() {
				for _, threads := range []int{1, 3} {
					d := open(t, Options{Threads: threads, Level: level, Numerics: mode})
					got := make([]float32, rows*n)
					d.Linear(compute.F32s(got, rows, n), compute.F32s(x, rows, k), w, compute.Tensor{})
					if want == nil {
						want = got
					}
					sameBits(t, fmt.Sprintf("%v %v on %d threads, level %s", format, mode, threads, level), got, want)
				}
			}
		}
	}
}
