package cpu

import (
	"errors"
	"testing"

	"nosa/compute"
	"nosa/dtype"
)

// TestLoadPacks: Load accounts for what it packs, Free and Close give it back, a view
// of the first rows finds it, and what lies at an address now is what counts.
func TestLoadPacks(t *testing.T) {
	rng := newRand(t)
	const n, k = 40, 256
	for _, format := range quantisedFormats {
		d := open(t, Options{Threads: 2, Numerics: compute.NumericsInt16})
		data := randomBlocks(rng, format, n, k)
		w, err := d.Load(format, data, n, k)
		if err != nil {
			t.Fatal(err)
		}
		want := d.PackedBytes(format, n, k)
		if got := d.Allocated(); got != want || got < int64(len(data)) || got > int64(len(data))*5/4 {
			t.Errorf("%v: %d bytes are allocated for %d in the file, PackedBytes says %d", format, got, len(data), want)
		}
		x := spiked(rng, 3, k)
		product := func(w compute.Tensor) []float32 {
			out := make([]float32, 3*w.Dims[0])
			d.Linear(compute.F32s(out, 3, w.Dims[0]), compute.F32s(x, 3, k), w, compute.Tensor{})
			return out
		}
		of := func(w compute.Tensor) []float32 {
			out := make([]float32, 3*w.Dims[0])
			compute.LinearInt(out, x, w, nil, compute.NumericsInt16)
			return out
		}
		sameBits(t, "first rows", product(w.Rows(0, 18)), of(w.Rows(0, 18)))
		sameBits(t, "last rows", product(w.Rows(18, n)), of(w.Rows(18, n)))
		if d.packed.find(w) == nil || d.packed.find(w.Rows(0, 18)) == nil || d.packed.find(w.Rows(18, n)) != nil {
			t.Errorf("%v: the packed form is not found by the first byte alone", format)
		}
		copy(data, randomBlocks(rng, format, n, k)) // another file at the same address
		if w, err = d.Load(format, data, n, k); err != nil {
			t.Fatal(err)
		}
		if got := d.Allocated(); got != want {
			t.Errorf("%v: %d bytes are allocated after a second Load, want %d", format, got, want)
		}
		sameBits(t, "loaded again", product(w), of(w))
		d.Free(w)
		if got := d.Allocated(); got != want {
			t.Errorf("%v: %d bytes are allocated for the second Load, want %d", format, got, want)
		}
		sameBits(t, "freed once", product(w), of(w))
		d.Free(w)
		if got := d.Allocated(); got != 0 {
			t.Errorf("%v: %d bytes are left", format, got)
		}
		sameBits(t, "freed", product(w), of(w))
	}
}

// TestLoadLeaves: float32 products, plain formats and empty weights take nothing.
func TestLoadLeaves(t *testing.T) {
	d, plain := open(t, Options{Threads: 1, Numerics: compute.NumericsInt16}), open(t, Options{Threads: 1, Numerics: compute.NumericsF32})
	for name, load := range map[string]func() (*Device, error){
		"f32 mode": func() (*Device, error) {
			_, err := plain.Load(dtype.Q8_0, make([]byte, 34*16), 16, 32)
			return plain, err
		},
		"plain": func() (*Device, error) { _, err := d.Load(dtype.F32, make([]byte, 128*16), 16, 32); return d, err },
		"empty": func() (*Device, error) { _, err := d.Load(dtype.Q8_0, nil, 0, 32); return d, err },
	} {
		d, err := load()
		if err != nil || d.Allocated() != 0 {
			t.Errorf("%s: %d bytes are allocated, %v", name, d.Allocated(), err)
		}
	}
	if _, err := New(Options{Numerics: 9}); !errors.Is(err, compute.ErrNumerics) {
		t.Errorf("numerics 9: %v, want %v", err, compute.ErrNumerics)
	}
}

// TestLoadLarge: a weight of more than a huge page, from the heap, keeps its bytes.
func TestLoadLarge(t *testing.T) {
	rng := newRand(t)
	const n, k = 1500, 2048
	d := open(t, Options{Threads: 2, Numerics: compute.NumericsInt16})
	data := randomBlocks(rng, dtype.Q8_0, n, k)
	before := append([]byte(nil), data...)
	w, err := d.Load(dtype.Q8_0, data, n, k)
	if err != nil {
		t.Fatal(err)
	}
	if string(before) != string(data) {
		t.Fatal("loading changed the bytes")
	}
	x, out, want := spiked(rng, 1, k), make([]float32, n), make([]float32, n)
	compute.LinearInt(want, x, w, nil, compute.NumericsInt16)
	xs, outs := compute.F32s(x, 1, k), compute.F32s(out, 1, n)
	for range 2 {
		d.Linear(outs, xs, w, compute.Tensor{})
		sameBits(t, "large", out, want)
	}
	if n := testing.AllocsPerRun(20, func() { d.Linear(outs, xs, w, compute.Tensor{}) }); n != 0 {
		t.Errorf("%v allocations in a product", n)
	}
	d.Free(w)
	if got := d.Allocated(); got != 0 {
		t.Errorf("%d bytes are left", got)
	}
}
