package train

import (
	"errors"
	"testing"

	"nosa/compute/cuda"
	cudatrain "nosa/compute/cuda/train"
)

// TestGPU takes tiny steps of every method. What stays is what ops hand to each other, until Close.
func TestGPU(t *testing.T) {
	d, err := cudatrain.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	wantParts(t, partsOf(t, d))
	if m, err := On(d).Machine(); err != nil || m.Activations != "bf16" || m.Memory == 0 {
		t.Errorf("%+v, %v", m, err)
	}
}
