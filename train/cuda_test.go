//go:build linux && amd64

package train

import (
	"errors"
	"math"
	"testing"

	"nosa/compute/cuda"
	cudatrain "nosa/compute/cuda/train"
)

// A GPU trains as float32 does, but for the rounding of activations.
func TestCUDA(t *testing.T) {
	d, err := cudatrain.Open(0)
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Run("gradients", func(t *testing.T) { nearFloat32(t, d) })
	// Where blocks are chosen, one that falls the other way moves the gradients after it, in half precision
	// on the host as much as here.
	for method, bound := range map[string]float64{"full": 0.05, "nosa": 0.25} {
		t.Run("steps/"+method, func(t *testing.T) { nearHalves(t, d, method, bound) })
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
}

// nearHalves takes some steps on a GPU and in half precision on the host: losses stay within 2 percent, the gradients'
// norms within bound.
func nearHalves(t *testing.T, d *cudatrain.Device, method string, bound float64) {
	t.Helper()
	c := tiny("nosa", method)
	host, want := newTiny(t, halves{}, c, nil)
	gpu, got := newTiny(t, d, c, nil)
	r := someRows(host.cfg.Vocab)
	for step := 1; step <= 5; step++ {
		a, err := host.Pass(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := gpu.Pass(r)
		if err != nil {
			t.Fatal(err)
		}
		if x, y := total(a), total(b); !(math.Abs(x-y) < 0.02*x) {
			t.Fatalf("step %d: loss %v, on the GPU %v", step, x, y)
		}
		if x, y := want.norm(), got.norm(); !(math.Abs(x-y) < bound*x) {
			t.Fatalf("step %d: the gradients' norm is %v, on the GPU %v", step, x, y)
		}
		for _, p := range []*Parameters{want, got} {
			p.update(&c.Optimiser, c.Optimiser.Rate, 1, step)
			p.zeroGrads()
		}
	}
}
