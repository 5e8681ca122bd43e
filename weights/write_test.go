package weights

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nosa/dtype"
)

// random returns a tensor of the type with random bytes, which is a valid one in every format.
func random(rng *rand.Rand, name string, typ dtype.Type, shape ...int) Tensor {
	t := Tensor{Name: name, Type: typ, Shape: shape}
	n, err := typ.Size(t.Elements())
	if err != nil {
		panic(err)
	}
	t.Data = make([]byte, n)
	for i := range t.Data {
		t.Data[i] = byte(rng.Uint32())
	}
	return t
}

func same(t *testing.T, c *Checkpoint, want []Tensor) {
	t.Helper()
	if len(c.Names()) != len(want) {
		t.Errorf("%d tensors, want %d", len(c.Names()), len(want))
	}
	for _, w := range want {
		got, err := c.Tensor(w.Name)
		if err != nil {
			t.Error(err)
			continue
		}
		if got.Type != w.Type || !slices.Equal(got.Shape, w.Shape) || !bytes.Equal(got.Data, w.Data) {
			t.Errorf("%s: %v %v of %d bytes, want %v %v", w.Name, got.Type, got.Shape, len(got.Data), w.Type, w.Shape)
		}
	}
}

func sources(tensors []Tensor) []Source {
	var out []Source
	for _, t := range tensors {
		out = append(out, t.Source())
	}
	return out
}

// What is written is read again, every type and kind of value, and written once more to the same bytes.
func TestWriteGGUF(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var tensors []Tensor
	for typ := range ggufNumbers {
		tensors = append(tensors, random(rng, "t."+typ.String(), typ, 3, 2*typ.Block()))
	}
	tensors = append(tensors, random(rng, "scalar", dtype.F32), random(rng, "odd", dtype.F16, 7), random(rng, "four", dtype.F32, 2, 3, 1, 5))
	slices.SortFunc(tensors, func(a, b Tensor) int { return strings.Compare(a.Name, b.Name) })
	meta := []Pair{
		{"general.architecture", "llama"}, {"s", "text\x00é"}, {"b", true}, {"u", uint32(7)}, {"i", int32(-7)},
		{"u64", uint64(1 << 40)}, {"i64", int64(-1 << 40)}, {"f", float32(0.1)}, {"d", 0.1}, {"list", []string{"a", "", "b c"}},
		{"ints", []int32{1, -2}}, {"floats", []float32{0.5, -1}}, {"off", false},
	}
	path := filepath.Join(t.TempDir(), "m.gguf")
	var last int64
	err := WriteGGUF(t.Context(), path, meta, sources(tensors), func(done, total int64) {
		if done < last || done > total {
			t.Errorf("progress went from %d to %d of %d", last, done, total)
		}
		last = done
	})
	if err != nil {
		t.Fatal(err)
	}
	c := mustOpen(t, path)
	if last != c.Bytes() {
		t.Errorf("progress ended at %d of %d", last, c.Bytes())
	}
	same(t, c, tensors)
	m := c.Metadata()
	var again []Pair
	for _, p := range meta {
		v, ok := m.Get(p.Key)
		if !ok {
			t.Fatalf("key %s is lost", p.Key)
		}
		again = append(again, Pair{p.Key, v})
	}
	if f, _ := m.Float("d"); f != 0.1 {
		t.Errorf("float64 became %v", f)
	}
	if list, _ := m.Strings("list"); !slices.Equal(list, []string{"a", "", "b c"}) {
		t.Errorf("strings became %q", list)
	}
	second := filepath.Join(t.TempDir(), "again.gguf")
	if err := WriteGGUF(t.Context(), second, again, sources(tensors), nil); err != nil {
		t.Fatal(err)
	}
	a, errA := os.ReadFile(path)
	b, errB := os.ReadFile(second)
	if errA != nil || errB != nil || !bytes.Equal(a, b) {
		t.Errorf("written again, the file is another one (%v, %v)", errA, errB)
	}
}

func TestWriteFolder(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 4))
	var tensors []Tensor
	for _, typ := range []dtype.Type{dtype.F32, dtype.F16, dtype.BF16, dtype.I32, dtype.I64, dtype.U8} {
		tensors = append(tensors, random(rng, "t\"é."+typ.String(), typ, 3, 5))
	}
	tensors = append(tensors, random(rng, "scalar", dtype.F32), random(rng, "none", dtype.F32, 0, 4))
	files := map[string][]byte{"config.json": []byte(`{"model_type":"llama"}`), "tokenizer.json": []byte("{}")}
	for name, tc := range map[string]struct {
		shard int64
		files int
	}{"one file": {0, 1}, "shards": {100, 4}, "a file each": {1, 8}} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "model")
			var last, total int64
			opts := FolderOptions{Shard: tc.shard, Progress: func(d, n int64) { last, total = d, n }}
			if err := WriteFolder(t.Context(), dir+"/", files, sources(tensors), opts); err != nil {
				t.Fatal(err)
			}
			if last != total || total == 0 {
				t.Errorf("progress ended at %d of %d", last, total)
			}
			c := mustOpen(t, dir)
			same(t, c, tensors)
			if b, err := c.File("tokenizer.json"); err != nil || string(b) != "{}" {
				t.Errorf("tokenizer.json: %q, %v", b, err)
			}
			found, err := filepath.Glob(filepath.Join(dir, "*.safetensors"))
			if err != nil || len(found) != tc.files {
				t.Errorf("%d files, want %d (%v)", len(found), tc.files, err)
			}
		})
	}
	if len(files) != 2 {
		t.Error("the caller's files were changed")
	}
}

// Whatever goes wrong, nothing is left behind, and nothing that was there is touched.
func TestWriteLeavesNothing(t *testing.T) {
	broken := errors.New("source is broken")
	good := random(rand.New(rand.NewPCG(5, 6)), "a", dtype.F32, 4).Source()
	source := func(write func(w io.Writer) error) []Source {
		return []Source{good, {Name: "b", Type: dtype.F32, Shape: []int{1 << 16}, Write: write}}
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	stopped := errors.New("stopped by the user")
	for name, tc := range map[string]struct {
		tensors []Source
		err     error
		says    string
	}{
		"error in the middle": {source(func(w io.Writer) error {
			_, err := w.Write(make([]byte, 1000))
			return errors.Join(err, broken)
		}), broken, `"b"`},
		"too few bytes":  {source(func(w io.Writer) error { return nil }), ErrFormat, "0 bytes were written"},
		"too many bytes": {source(func(w io.Writer) error { _, err := w.Write(make([]byte, 1<<19)); return err }), ErrFormat, "want 262144"},
		"cancelled": {source(func(w io.Writer) error {
			cancel(stopped)
			_, err := w.Write(make([]byte, 1<<18))
			return err
		}), stopped, ""},
		"twice":      {[]Source{good, good}, ErrFormat, "twice"},
		"no name":    {[]Source{{Type: dtype.F32}}, ErrFormat, "empty"},
		"wrong type": {[]Source{{Name: "x", Type: dtype.Invalid}}, nil, ""},
		"bad shape":  {[]Source{{Name: "x", Type: dtype.F32, Shape: []int{-1}}}, ErrFormat, "negative"},
	} {
		t.Run(name, func(t *testing.T) {
			use := context.Background()
			if name == "cancelled" {
				use = ctx
			}
			dir := t.TempDir()
			for kind, err := range map[string]error{
				"gguf":   WriteGGUF(use, filepath.Join(dir, "m.gguf"), nil, tc.tensors, nil),
				"folder": WriteFolder(use, filepath.Join(dir, "m"), nil, tc.tensors, FolderOptions{}),
			} {
				if err == nil || tc.err != nil && !errors.Is(err, tc.err) || !strings.Contains(fmt.Sprint(err), tc.says) {
					t.Errorf("%s: got %v, want %v that says %q", kind, err, tc.err, tc.says)
				}
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
				t.Errorf("left behind: %v (%v)", left, err)
			}
		})
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	there := filepath.Join(dir, "there")
	if err := os.WriteFile(there, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := WriteGGUF(t.Context(), there, nil, nil, nil); !errors.Is(err, os.ErrExist) {
		t.Errorf("a file that exists: %v", err)
	}
	if err := WriteFolder(t.Context(), dir, nil, nil, FolderOptions{}); !errors.Is(err, os.ErrExist) {
		t.Errorf("a folder that exists: %v", err)
	}
	if b, err := os.ReadFile(there); err != nil || string(b) != "mine" {
		t.Errorf("the file that was there: %q, %v", b, err)
	}
	for name, err := range map[string]error{
		"no folder":   WriteGGUF(t.Context(), filepath.Join(dir, "none", "m.gguf"), nil, nil, nil),
		"key twice":   WriteGGUF(t.Context(), filepath.Join(dir, "m"), []Pair{{"a", true}, {"a", true}}, nil, nil),
		"value":       WriteGGUF(t.Context(), filepath.Join(dir, "m"), []Pair{{"a", struct{}{}}}, nil, nil),
		"five dims":   WriteGGUF(t.Context(), filepath.Join(dir, "m"), nil, []Source{{Name: "a", Type: dtype.F32, Shape: []int{1, 1, 1, 1, 1}}}, nil),
		"long name":   WriteGGUF(t.Context(), filepath.Join(dir, "m"), nil, []Source{{Name: strings.Repeat("n", 64), Type: dtype.F32}}, nil),
		"type":        WriteGGUF(t.Context(), filepath.Join(dir, "m"), nil, []Source{{Name: "a", Type: dtype.U8, Shape: []int{1}}}, nil),
		"part block":  WriteGGUF(t.Context(), filepath.Join(dir, "m"), nil, []Source{{Name: "a", Type: dtype.Q8_0, Shape: []int{2, 16}}}, nil),
		"quantised":   WriteFolder(t.Context(), filepath.Join(dir, "m"), nil, []Source{{Name: "a", Type: dtype.Q8_0, Shape: []int{32}}}, FolderOptions{}),
		"file's name": WriteFolder(t.Context(), filepath.Join(dir, "m"), map[string][]byte{"../x": nil}, nil, FolderOptions{}),
	} {
		if err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("left behind: %v (%v)", left, err)
	}
}
