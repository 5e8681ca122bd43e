//go:build linux && amd64

package train

import (
	"errors"
	"testing"

	"nosa/compute/computetest"
	"nosa/compute/cuda"
	"nosa/dtype"
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

// TestOutside: ids and targets that no table has are the caller's mistake.
func TestOutside(t *testing.T) {
	d := open(t)
	x, err := d.Alloc(dtype.BF16, 6)
	if err != nil {
		t.Fatal(err)
	}
	y, err := d.Alloc(dtype.F32, 6)
	if err != nil {
		t.Fatal(err)
	}
	for what, op := range map[string]func(){
		"an id":           func() { d.EmbedGrad(y.Reshape(3, 2), x.Reshape(3, 2), []int32{0, 3, 1}) },
		"an id below 0":   func() { d.Embed(x.Reshape(3, 2), x.Reshape(3, 2), []int32{-1, 0, 0}) },
		"a target":        func() { d.CrossEntropy(y, x.Reshape(2, 3), []int32{0, 3}, 1) },
		"a target at −2":  func() { d.CrossEntropy(y, x.Reshape(2, 3), []int32{-2, 0}, 1) },
		"float32 factors": func() { d.LinearInputGrad(x.Reshape(2, 3), y.Reshape(2, 3), x.Reshape(3, 2), false) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", what)
				}
			}()
			op()
		}()
	}
}
