//go:build linux && amd64

package cuda

import (
	"bytes"
	"errors"
	"testing"

	"nosa/compute"
	"nosa/compute/computetest"
	"nosa/compute/cuda/driver"
	"nosa/dtype"
)

// open is the first GPU, or the end of the test.
func open(t testing.TB) *Device {
	t.Helper()
	return openIn(t, compute.NumericsAuto)
}

// openIn is the first GPU, computing in the given numbers.
func openIn(t testing.TB, n compute.Numerics) *Device {
	t.Helper()
	d, err := New(Options{Numerics: n})
	if errors.Is(err, ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// TestAgainstDefinitions runs the shared suite.
func TestAgainstDefinitions(t *testing.T) {
	d := open(t)
	t.Log(d.Info())
	computetest.Run(t, d, computetest.BFloat16)
	if n := d.Allocated(); n != 48 { // what the suite loads and does not free
		t.Logf("%d bytes of the suite are left", n)
	}
}

// TestFloat32: with f32 no factor of attention is rounded.
func TestFloat32(t *testing.T) {
	d := openIn(t, compute.NumericsF32)
	if d.Numerics() != "f32" || d.Numbers() == open(t).Numbers() {
		t.Errorf("numerics %s, numbers %s", d.Numerics(), d.Numbers())
	}
	computetest.Run(t, d, computetest.Float32)
}

// TestNumerics: a GPU multiplies by no codes of activations.
func TestNumerics(t *testing.T) {
	for _, n := range []compute.Numerics{compute.NumericsInt16, compute.NumericsInt8} {
		if _, err := New(Options{Numerics: n}); !errors.Is(err, ErrNumerics) {
			t.Errorf("%v: %v", n, err)
		}
	}
}

// TestAllocHost: large memory of the host is the GPU's as small memory is, and goes back.
func TestAllocHost(t *testing.T) {
	d := open(t)
	for _, n := range []int{1, 5000, largeHost + 4096 + 12} {
		b, err := d.AllocHost(n)
		if err != nil {
			t.Fatal(err)
		}
		x, err := d.Alloc(dtype.U8, n)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] = byte(i * 7)
		}
		d.ctx.CopyIn(d.stream, x.Addr, address(b), n)
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		clear(b)
		d.ctx.CopyOut(d.stream, address(b), x.Addr, n)
		if err := d.Sync(); err != nil {
			t.Fatal(err)
		}
		for i := range b {
			if b[i] != byte(i*7) {
				t.Fatalf("byte %d of %d is %d", i, n, b[i])
			}
		}
		d.Free(x)
		if err := d.FreeHost(b); err != nil {
			t.Error(err)
		}
	}
	if len(d.hosts.of) > 0 {
		t.Errorf("%d pieces are left", len(d.hosts.of))
	}
	if _, err := d.AllocHost(1 << 50); !errors.Is(err, driver.ErrMemory) {
		t.Errorf("%v for more than any machine has", err)
	}
}

// TestDownload: what comes to memory of AllocHost, in one piece, is what comes to any other, in
// several.
func TestDownload(t *testing.T) {
	d := open(t)
	const n = stagingChunk + 1000
	x, err := d.Alloc(dtype.U8, n)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, n)
	for i := range want {
		want[i] = byte(i * i >> 7)
	}
	d.Upload(x, want)
	host, err := d.AllocHost(n + 100)
	if err != nil {
		t.Fatal(err)
	}
	plain := make([]byte, n)
	d.Download(plain, x)
	d.Download(host[50:50+n], x)
	if !bytes.Equal(plain, want) || !bytes.Equal(host[50:50+n], want) {
		t.Error("other bytes come back")
	}
	if !d.hosts.has(host[1:]) || d.hosts.has(plain) {
		t.Error("memory of AllocHost is not known for what it is")
	}
	if err := d.FreeHost(host); err != nil {
		t.Fatal(err)
	}
	if len(d.hosts.of) != 0 {
		t.Errorf("%d pieces are left", len(d.hosts.of))
	}
	d.Free(x)
	if err := d.Sync(); err != nil {
		t.Fatal(err)
	}
}

// TestClose: what the device took it gives back.
func TestClose(t *testing.T) {
	first := open(t)
	before, _, err := first.Memory()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		d, err := Open(0)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := d.Alloc(1, 1<<20); err != nil {
				t.Fatal(err)
			}
		}
		if err := d.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if after, _, err := first.Memory(); err != nil || after < before-(4<<20) {
		t.Errorf("%d bytes free, %d before; %v", after, before, err)
	}
}
