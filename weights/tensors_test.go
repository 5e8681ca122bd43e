package weights

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"nosa/dtype"
)

// A file of tensors alone is read as it was written, and one that was cut short is refused.
func TestTensorsAlone(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	want := []Tensor{random(rng, "b.m", dtype.F32, 3, 5), random(rng, "a.v", dtype.BF16, 7), random(rng, "none", dtype.F32, 0)}
	var file bytes.Buffer
	if err := WriteTensors(context.Background(), &file, sources(want), nil); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "x.safetensors")
	if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
		t.Fatal(err)
	}
	c, err := OpenTensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	same(t, c, want)

	if err := os.WriteFile(path+".cut", file.Bytes()[:file.Len()-1], 0o666); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenTensors(path + ".cut"); !errors.Is(err, ErrTruncated) {
		t.Errorf("a file without its last byte: %v", err)
	}
	twice := sources([]Tensor{want[0], want[0]})
	if err := WriteTensors(context.Background(), &file, twice, nil); !errors.Is(err, ErrFormat) {
		t.Errorf("a name that is there twice: %v", err)
	}
}

// Tensors that are laid over others take their place or stand beside them; another shape is refused.
func TestOverlay(t *testing.T) {
	rng := rand.New(rand.NewPCG(5, 6))
	open := func(list ...Tensor) *Checkpoint {
		path := filepath.Join(t.TempDir(), "x.safetensors")
		var file bytes.Buffer
		if err := WriteTensors(context.Background(), &file, sources(list), nil); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, file.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		c, err := OpenTensors(path)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	a, b, more := random(rng, "a", dtype.F32, 2, 3), random(rng, "b", dtype.F32, 4), random(rng, "c", dtype.BF16, 5)
	other := random(rng, "b", dtype.BF16, 4)
	base := open(a, b)
	if err := base.Overlay(open(other, more), []byte(`{"model_type":"nosa"}`)); err != nil {
		t.Fatal(err)
	}
	same(t, base, []Tensor{a, other, more})
	if base.Bytes() != int64(len(a.Data)+len(other.Data)+len(more.Data)) || string(base.Config()) != `{"model_type":"nosa"}` {
		t.Errorf("%d bytes, config %s", base.Bytes(), base.Config())
	}
	if err := base.Overlay(open(random(rng, "a", dtype.F32, 3, 2)), []byte("{}")); !errors.Is(err, ErrFormat) {
		t.Errorf("another shape: %v", err)
	}
	if err := base.Overlay(open(), []byte("{")); !errors.Is(err, ErrFormat) {
		t.Errorf("no config: %v", err)
	}
	same(t, base, []Tensor{a, other, more})
}
