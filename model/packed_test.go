package model

import (
	"context"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/compute/cuda"
	"nosa/compute/cuda/step"
	"nosa/dtype"
	"nosa/weights"
)

// packing is the first GPU with packed weights, or the end of the test.
func packing(t *testing.T) compute.Packer {
	t.Helper()
	d, err := step.New(cuda.Options{})
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
	return d.(compute.Packer)
}

// inBF16 is a test model with its matrices in bf16.
func inBF16(t *testing.T, name string) string {
	t.Helper()
	from := filepath.Join("testdata", name)
	ck, err := weights.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	var sources []weights.Source
	for _, name := range ck.Names() {
		x, err := ck.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		v := make([]float32, x.Elements())
		dtype.Decode(x.Type, v, x.Data)
		to := dtype.F32
		if len(x.Shape) == 2 && x.Shape[1]%32 == 0 && x.Shape[0] > 2 {
			to = dtype.BF16
		}
		size, err := to.Size(len(v))
		if err != nil {
			t.Fatal(err)
		}
		raw := make([]byte, size)
		dtype.Encode(to, raw, v)
		sources = append(sources, weights.Source{Name: name, Type: to, Shape: x.Shape, Write: func(w io.Writer) error {
			_, err := w.Write(raw)
			return err
		}})
	}
	config, err := os.ReadFile(filepath.Join(from, "config.json"))
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := weights.WriteFolder(context.Background(), dir, map[string][]byte{"config.json": config}, sources, weights.FolderOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestPackedModels: on packed weights a model's logits are those of a processor, but for the
// rounding of activations, and they have the same bits however a prompt is cut.
func TestPackedModels(t *testing.T) {
	dev := packing(t)
	plain, err := cpu.New(cpu.Options{Threads: 2, Numerics: compute.NumericsF32})
	if err != nil {
		t.Fatal(err)
	}
	defer plain.Close()
	for _, tc := range []struct {
		model, method string
	}{
		{"llama", "full"},
		{"llama-tied", "full"},
		{"qwen2", "full"},
		{"minicpm", "full"},
		{"nosa", "nosa"},
		{"minicpm-infllmv2", "infllmv2"},
	} {
		t.Run(tc.model, func(t *testing.T) {
			dir := inBF16(t, tc.model)
			const n = 130
			ids := make([]int32, n)
			for i := range ids {
				ids[i] = int32(i * i % 31)
			}
			rc := rigConfig{method: tc.method, context: n, chunk: n, kind: compute.KVBF16}
			got := newRig(t, dev, dir, rc).all(t, ids, n)
			want := newRig(t, plain, dir, rc).all(t, ids, n)
			var off, size float64
			for i, v := range want {
				off, size = off+math.Abs(float64(got[i]-v)), size+math.Abs(float64(v))
			}
			if !(off < 0.01*size) {
				t.Errorf("logits are off by %.4f of their size", off/size)
			}
			for _, cuts := range [][]int{{100, 1}, {7, 33}} {
				if !slices.Equal(newRig(t, dev, dir, rc).all(t, ids, cuts...), got) {
					t.Errorf("in steps of %v logits have other bits", cuts)
				}
			}
		})
	}
}

// TestPackedOnce: the device has the matrices packed and no other way, and no embedding; and
// when the model is closed it has none.
func TestPackedOnce(t *testing.T) {
	dev := packing(t)
	allocated := dev.(interface{ Allocated() int64 }).Allocated
	for _, name := range []string{"llama", "llama-tied", "nosa"} {
		ck, err := weights.Open(inBF16(t, name))
		if err != nil {
			t.Fatal(err)
		}
		defer ck.Close()
		c, err := ParseConfig(ck.Config())
		if err != nil {
			t.Fatal(err)
		}
		before := allocated()
		m, err := Load(dev, ck, c, 64, HasScores(ck))
		if err != nil {
			t.Fatal(err)
		}
		took := allocated() - before
		want, err := dev.PackedBytes(m.Decoder(), 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range m.owned { // norms, scores
			want += int64(x.Bytes())
		}
		tables := slices.ContainsFunc(m.owned, func(x compute.Tensor) bool { return x.Rank > 1 && x.Dims[0] == c.Vocab })
		if took > want || tables || m.head.Addr != 0 || m.layers[1].Down.Weight.Addr != 0 {
			t.Errorf("%s takes %d bytes, packed it is %d", name, took, want)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		if now := allocated(); now != before {
			t.Errorf("%s: %d bytes are left", name, now-before)
		}
	}
}
