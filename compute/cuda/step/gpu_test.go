//go:build linux && amd64

package step

import (
	"errors"
	"testing"

	"nosa/compute/cuda"
)

// open is the first GPU, or the end of the test.
func open(t testing.TB) (*cuda.Device, *gpu) {
	t.Helper()
	d, err := cuda.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	g := newGPU(d)
	t.Cleanup(func() {
		if err := errors.Join(g.close(), d.Close()); err != nil {
			t.Error(err)
		}
	})
	return d, g
}
