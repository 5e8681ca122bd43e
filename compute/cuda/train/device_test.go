//go:build linux && amd64

package train

import (
	"errors"
	"testing"

	"nosa/compute/computetest"
	"nosa/compute/cuda"
)

// open is the first GPU, or the end of the test.
func open(t testing.TB) *Device {
	t.Helper()
	d, err := Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
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

// TestGradientsAgainstDefinitions runs the shared suite.
func TestGradientsAgainstDefinitions(t *testing.T) {
	computetest.RunGradients(t, open(t), computetest.Float32)
}

// TestActivationsAgainstDefinitions runs the shared suite.
func TestActivationsAgainstDefinitions(t *testing.T) {
	computetest.RunActivations(t, open(t), computetest.Float32)
}
