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
