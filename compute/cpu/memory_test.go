package cpu

import (
	"errors"
	"os"
	"testing"
	"unsafe"

	"nosa/dtype"
)

// TestMemory: Alloc counts what it gives and Free takes back, large tensors begin
// at a page, and memory that is used again is zero again.
func TestMemory(t *testing.T) {
	d := open(t, Options{Threads: 1})
	for round := range 3 {
		for _, n := range []int{0, 1, 5, mapFrom/4 - 1, mapFrom / 4, 1 << 20} {
			x, err := d.Alloc(dtype.F32, n)
			if err != nil {
				t.Fatal(err)
			}
			if got := d.Allocated(); got != int64(4*n) {
				t.Fatalf("%d floats: %d bytes are allocated", n, got)
			}
			for i, v := range x.F32() {
				if v != 0 {
					t.Fatalf("round %d: element %d of %d is %v", round, i, n, v)
				}
				x.F32()[i] = 1
			}
			if at := uintptr(unsafe.Pointer(unsafe.SliceData(x.Data))); canMap && 4*n >= mapFrom && at%uintptr(os.Getpagesize()) != 0 {
				t.Fatalf("%d floats lie at %#x", n, at)
			}
			d.Free(x.Rows(0, 0)) // a view that is not the tensor
			d.Free(x)
			d.Free(x)
			if got := d.Allocated(); got != 0 {
				t.Fatalf("%d bytes are allocated after Free", got)
			}
		}
	}
	if _, err := d.Alloc(dtype.U8, 1<<50); canMap && !errors.Is(err, ErrMemory) {
		t.Errorf("1 PiB: %v, want %v", err, ErrMemory)
	}
}

// TestMemoryShared allocates and frees sizes around those that share a mapping, in
// random order: nobody's bytes are anybody else's, and new ones are zero.
func TestMemoryShared(t *testing.T) {
	rng := newRand(t)
	var m memory
	var held [][]byte
	for round := range 400 {
		if len(held) > 0 && rng.IntN(100) < 45 {
			i := rng.IntN(len(held))
			for _, b := range held[i] {
				if b != held[i][0] {
					t.Fatalf("round %d: a byte is %d beside %d", round, b, held[i][0])
				}
			}
			m.free(held[i])
			held[i] = held[len(held)-1]
			held = held[:len(held)-1]
			continue
		}
		n := []int{1, mapFrom - 1, mapFrom, mapFrom + 1, hugePage / 3, hugePage - 1, hugePage, hugePage + 5}[rng.IntN(8)]
		b, err := m.alloc(n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			if b[i] != 0 {
				t.Fatalf("round %d: byte %d of %d is %d", round, i, n, b[i])
			}
			b[i] = byte(1 + round%255)
		}
		held = append(held, b)
	}
	if err := m.release(); err != nil || m.bytes() != 0 {
		t.Errorf("release: %v, %d bytes left", err, m.bytes())
	}
}
