package prefill

import (
	"errors"
	"testing"

	"nosa/compute"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
)

// TestGPU runs tiny prompts of every method, which leave nothing on the device.
func TestGPU(t *testing.T) {
	x, err := step.New(cuda.Options{})
	if errors.Is(err, cuda.ErrNoDriver) {
		t.Skipf("needs a GPU: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	d := x.(*step.Device)
	r, err := newGPU(d)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := d.Allocated(); n != 0 {
			t.Errorf("%d bytes of the device are still taken", n)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	}()
	for _, tc := range []struct {
		weights, method string
		context         int
		parts           []string
	}{
		{"bf16", "full", 150, []string{"rest", "products", "attention"}},
		{"q8_0", "full", 1, []string{"rest", "products", "attention"}},
		{"bf16", "nosa", 150, []string{"rest", "products", "attention"}}, // too few blocks to choose from
		{"f32", "infllmv2", 70, []string{"rest", "attention"}},           // whose products are ops
	} {
		t.Run(tc.weights+" "+tc.method, func(t *testing.T) {
			s := Setting{Shape: "tiny", Weights: tc.weights, Method: tc.method, KVType: "bf16", Context: tc.context, Chunk: 64, Same: 2, Runs: 2, Parts: true}
			out, err := r.Run(t.Context(), s)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.Seconds) != 2 || !(out.Seconds[0] > 0) || len(out.Parts) != len(tc.parts) {
				t.Fatalf("%+v", out)
			}
			for i, p := range out.Parts {
				if p.Name != tc.parts[i] {
					t.Errorf("part %d is %s, want %s", i, p.Name, tc.parts[i])
				}
			}
		})
	}
	var _ compute.Packer = r.d
}
