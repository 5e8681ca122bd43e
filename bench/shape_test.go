package bench

import (
	"bytes"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/dtype"
	"nosa/engine"
)

// tiny writes the smallest shape and returns its path.
func tiny(t testing.TB, format dtype.Type, seed uint64) string {
	t.Helper()
	shape, _, err := ParseShape("tiny")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "tiny.gguf")
	if err := shape.WriteRandom(t.Context(), path, format, seed, nil); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestParseShape(t *testing.T) {
	for name, tc := range map[string]struct {
		layers int
		format dtype.Type
	}{
		"1.1b": {22, dtype.Q8_0}, "1.1B:q4_0": {22, dtype.Q4_0}, "8b:F16": {32, dtype.F16}, "135m:bf16": {30, dtype.BF16}, "tiny:f32": {2, dtype.F32},
	} {
		if shape, format, err := ParseShape(name); err != nil || shape.Layers != tc.layers || format != tc.format {
			t.Errorf("%s: %d layers in %v, %v; want %d in %v", name, shape.Layers, format, err, tc.layers, tc.format)
		}
	}
	for _, name := range []string{"", "7b", "1.1b:", "1.1b:q4_k", "1.1b:i32", ":q8_0"} {
		if _, _, err := ParseShape(name); !errors.Is(err, ErrShape) {
			t.Errorf("%q: %v, want ErrShape", name, err)
		}
	}
}

// TestShapes: every shape has the size of its name, and rows that every format can
// hold.
func TestShapes(t *testing.T) {
	for name, billions := range map[string]float64{"135m": 0.1345, "1.1b": 1.1, "1b": 1.219, "3b": 3.09, "8b": 7.83} {
		shape, _, err := ParseShape(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(shape.Parameters()) / 1e9; got < 0.995*billions || got > 1.005*billions {
			t.Errorf("%s has %.4f billion weights, want %.4f", name, got, billions)
		}
	}
	for _, shape := range shapes {
		for _, x := range shape.tensors() {
			if x.shape[len(x.shape)-1]%32 != 0 {
				t.Errorf("%s: %s has rows of %v", shape.Name, x.name, x.shape)
			}
		}
	}
}

// TestStepBytes: a step reads all but the table of embeddings, unless that is the output
// layer too.
func TestStepBytes(t *testing.T) {
	for name, gigabytes := range map[string]float64{"8b:bf16": 14.607, "8b:q8_0": 7.761, "8b:q4_0": 4.109, "3b:bf16": 6.16} {
		shape, format, err := ParseShape(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := float64(shape.StepBytes(format)) / 1e9; math.Abs(got-gigabytes) > 0.01*gigabytes {
			t.Errorf("%s: %.3f GB, want %.3f", name, got, gigabytes)
		}
	}
}

// TestVocabulary: as many tokens as the shape says, none twice, and of the pieces
// each is the merge of two others.
func TestVocabulary(t *testing.T) {
	for _, shape := range shapes {
		v := shape.vocabulary()
		if len(v.tokens) != shape.Vocab || len(v.scores) != shape.Vocab || len(v.types) != shape.Vocab {
			t.Fatalf("%s: %d tokens, want %d", shape.Name, len(v.tokens), shape.Vocab)
		}
		at := map[string]int{}
		for i, s := range v.tokens {
			if j, twice := at[s]; twice {
				t.Fatalf("%s: %q is token %d and %d", shape.Name, s, j, i)
			}
			at[s] = i
			if v.types[i] != normalToken || len([]rune(s)) == 1 {
				continue
			}
			left, right := s[:len(s)-1], s[len(s)-1:]
			if j, ok := at[left]; !ok || v.scores[j] <= v.scores[i] {
				t.Fatalf("%s: %q comes before %q", shape.Name, s, left)
			}
			if _, ok := at[right]; !ok {
				t.Fatalf("%s: %q comes before %q", shape.Name, s, right)
			}
		}
	}
}

// TestWriteRandom: in every format the model opens, tokenizes and computes finite
// logits; a seed says all of its weights.
func TestWriteRandom(t *testing.T) {
	for _, format := range shapeTypes {
		t.Run(format.String(), func(t *testing.T) {
			path := tiny(t, format, 7)
			src, err := engine.OpenSource(path)
			if err != nil {
				t.Fatal(err)
			}
			ids, err := src.Encode("the quick brown fox, 42 of them\n", false)
			if err != nil || len(ids) < 10 || ids[0] != 1 {
				t.Fatalf("ids %v, %v", ids, err)
			}
			dev, err := cpu.New(cpu.Options{Threads: 1})
			if err != nil {
				t.Fatal(err)
			}
			o := engine.NewOptions()
			o.Context = 64
			e, err := engine.Open(dev, src, o, quiet)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := e.Generate(t.Context(), engine.Request{IDs: ids, MaxTokens: 4, IgnoreEnd: true, Sampling: compute.Sampling{}}); err != nil {
				t.Error(err) // also of logits that are no number
			}
			if err := errors.Join(e.Close(), dev.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	read := func(seed uint64) []byte {
		data, err := os.ReadFile(tiny(t, dtype.Q4_0, seed))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	if a, b := read(3), read(3); !bytes.Equal(a, b) {
		t.Error("the same seed wrote two different files")
	}
	if a, b := read(3), read(4); bytes.Equal(a, b) || len(a) != len(b) {
		t.Error("two seeds wrote the same file, or files of two sizes")
	}
}

func TestWriteRandomRefuses(t *testing.T) {
	shape := shapes[0]
	if err := shape.WriteRandom(t.Context(), filepath.Join(t.TempDir(), "x"), dtype.Q4_K, 1, nil); !errors.Is(err, ErrShape) {
		t.Errorf("Q4_K: %v, want ErrShape", err)
	}
	path := tiny(t, dtype.F16, 1)
	if err := shape.WriteRandom(t.Context(), path, dtype.F16, 1, nil); !errors.Is(err, os.ErrExist) || !strings.Contains(err.Error(), path) {
		t.Errorf("a file that exists: %v", err)
	}
}
