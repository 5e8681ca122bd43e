//go:build linux && amd64

package cuda

import (
	"errors"
	"testing"

	"nosa/compute/computetest"
)

// open is the first GPU, or the end of the test.
func open(t testing.TB) *Device {
	t.Helper()
	d, err := Open(0)
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
	computetest.Run(t, d, computetest.Float32)
	if n := d.Allocated(); n != 48 { // what the suite loads and does not free
		t.Logf("%d bytes of the suite are left", n)
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
