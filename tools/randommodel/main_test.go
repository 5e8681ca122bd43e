package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/bench"
	"nosa/weights"
)

func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "model.gguf")
	if err := write("tiny:q4_0", path, 1); err != nil {
		t.Fatal(err)
	}
	ck, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	}()
	if n := len(ck.Names()); n != 3+2*9 || !strings.Contains(string(ck.Config()), `"LlamaForCausalLM"`) {
		t.Errorf("%d tensors, config %s", n, ck.Config())
	}
	if err := write("tiny:q4_0", path, 1); !errors.Is(err, os.ErrExist) {
		t.Errorf("over a file that exists: %v", err)
	}
	for _, name := range []string{"9b:q8_0", "tiny:q2"} {
		if err := write(name, filepath.Join(t.TempDir(), "x"), 1); !errors.Is(err, bench.ErrShape) {
			t.Errorf("%s: %v, want ErrShape", name, err)
		}
	}
}
