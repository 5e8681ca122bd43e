package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nosa/compute"
	"nosa/model"
	"nosa/weights"
	"nosa/weights/convert"
)

// A checkpoint is a model that the rest of nosa opens, with what its config says of the last stage.
func TestCheckpointIsModel(t *testing.T) {
	out, tokenizer := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(tokenizer, "tokenizer.json"), []byte(`{"a":1}`), 0o666); err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(runConfig(out, ""), "[model]", fmt.Sprintf("[model]\ntokenizer = %q", tokenizer), 1)
	mustDo(t, jobOf(t, text))
	dir := filepath.Join(out, nameOf(12))
	ck, err := weights.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	c, err := model.ParseConfig(ck.Config())
	if err != nil {
		t.Fatal(err)
	}
	if c.Family != "nosa" || c.MaxPositions != 32 || c.Rope.Theta != 50000 || c.Sparse.TopK != 4 || c.Sparse.TopKQ != 1 {
		t.Errorf("%+v, %+v", c, c.Sparse)
	}
	if data, err := ck.File("tokenizer.json"); err != nil || string(data) != `{"a":1}` {
		t.Errorf("tokenizer.json: %q, %v", data, err)
	}
	m, err := model.Load(compute.Reference{}, ck, c, 32, true)
	if err != nil {
		t.Fatal(err)
	}
	m.Close()

	// And one to continue from: a llama's weights with a stage of nosa get scores.
	next := t.TempDir()
	job := jobOf(t, strings.Replace(runConfig(next, ""), "[model]", fmt.Sprintf("[model]\npath = %q", dir), 1))
	r := mustOpen(t, job)
	defer r.Close()
	got, err := r.Parameters().Read("model.layers.1.self_attn.A")
	if err != nil {
		t.Fatal(err)
	}
	if want, _ := ck.Tensor("model.layers.1.self_attn.A"); !slices.Equal(got, compute.NewTensor(want.Type, want.Data, want.Shape...).F32()) {
		t.Errorf("A is %v", got)
	}
}

// A llama becomes a nosa whose base is frozen: delta and A alone move, and all else stays to the bit.
func TestFrozenBase(t *testing.T) {
	base, out := t.TempDir(), t.TempDir()
	llama := strings.ReplaceAll(strings.Replace(runConfig(base, ""), `"nosa"`, `"llama"`, 1), `method = "nosa"`, `method = "full"`)
	mustDo(t, jobOf(t, llama))
	from := filepath.Join(base, nameOf(12))
	text := strings.Replace(runConfig(out, ""), "[model]", fmt.Sprintf("[model]\npath = %q", from), 1)
	text = strings.Replace(text, "[optimiser]", "[optimiser]\ntrain = [\"*.self_attn.delta.*\", \"*.self_attn.A\"]", 1)
	ctx, cancel := context.WithCancel(context.Background())
	job := jobOf(t, text)
	job.Report = func(rec Record) {
		if rec.Step == 5 {
			cancel()
		}
	}
	r := mustOpen(t, job)
	if err := errors.Join(r.Do(ctx), r.Close()); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	mustDo(t, jobOf(t, text)) // the checkpoint is a nosa already
	was, err := weights.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer was.Close()
	now, err := weights.Open(filepath.Join(out, nameOf(12)))
	if err != nil {
		t.Fatal(err)
	}
	defer now.Close()
	moved := 0
	for _, name := range now.Names() {
		a, err := now.Tensor(name)
		if err != nil {
			t.Fatal(err)
		}
		b, err := was.Tensor(name)
		switch {
		case err == nil:
			if !slices.Equal(a.Data, b.Data) {
				t.Errorf("%s is frozen and has moved", name)
			}
		case strings.HasSuffix(name, ".A"):
			for _, v := range compute.NewTensor(a.Type, a.Data, a.Shape...).F32() {
				if v != 0 {
					moved++
				}
			}
		}
	}
	if moved != 4 {
		t.Errorf("%d of 4 values of A have moved", moved)
	}
	merged := filepath.Join(t.TempDir(), "merged")
	if err := convert.Convert(context.Background(), from, merged, convert.Options{Adapter: filepath.Join(out, nameOf(12))}); err != nil {
		t.Fatal(err)
	}
	same, err := weights.Open(merged)
	if err != nil {
		t.Fatal(err)
	}
	defer same.Close()
	if !slices.Equal(same.Names(), now.Names()) {
		t.Errorf("the base with the adapter has %v", same.Names())
	}
	for _, name := range now.Names() {
		a, _ := now.Tensor(name)
		if b, err := same.Tensor(name); err != nil || !slices.Equal(a.Data, b.Data) {
			t.Errorf("%s of the base with the adapter is another one: %v", name, err)
		}
	}
	if c, err := model.ParseConfig(same.Config()); err != nil || !c.Scored {
		t.Errorf("the base with the adapter is %+v, %v", c, err)
	}
	ck, err := weights.OpenTensors(filepath.Join(out, nameOf(12), optimiserFile))
	if err != nil {
		t.Fatal(err)
	}
	defer ck.Close()
	if n := len(ck.Names()); n != 8 {
		t.Errorf("the optimiser keeps %d tensors, want 8", n)
	}
}

// fullDisk is a disk on which only so many bytes fit.
type fullDisk struct {
	realDisk
	left int
}

func (d *fullDisk) Create(path string) (diskFile, error) {
	f, err := d.realDisk.Create(path)
	return &fullFile{f, d}, err
}

type fullFile struct {
	diskFile
	disk *fullDisk
}

func (f *fullFile) Write(p []byte) (int, error) {
	n := min(len(p), f.disk.left)
	f.disk.left -= n
	if n < len(p) {
		written, err := f.diskFile.Write(p[:n])
		return written, errors.Join(err, &os.PathError{Op: "write", Path: "disk", Err: syscall.ENOSPC})
	}
	return f.diskFile.Write(p)
}

// A disk that is full, at any byte, is said in a line that names the checkpoint before, which stays whole; nothing half
// written is left.
func TestFullDisk(t *testing.T) {
	out := t.TempDir()
	text := runConfig(out, "")
	first := jobOf(t, text)
	ctx, cancel := context.WithCancel(context.Background())
	n := 0
	first.Report = func(Record) {
		if n++; n == 3 {
			cancel()
		}
	}
	r := mustOpen(t, first)
	if err := r.Do(ctx); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, left := range []int{0, 1, 700, 5000, 60000} {
		job := jobOf(t, text)
		job.disk = &fullDisk{left: left}
		r := mustOpen(t, job)
		err := r.Do(context.Background())
		if !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), nameOf(3)) || strings.Contains(err.Error(), "\n") {
			t.Errorf("with room for %d bytes: %v", left, err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		entries, err := os.ReadDir(out)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if !slices.Contains([]string{nameOf(3), logFile, lockFile}, e.Name()) {
				t.Errorf("with room for %d bytes %s is left", left, e.Name())
			}
		}
	}
	mustDo(t, jobOf(t, text))
}

// A checkpoint of which a byte is another one, or a file is missing, is named and not used.
func TestCorruptCheckpoint(t *testing.T) {
	out := t.TempDir()
	text := runConfig(out, "")
	mustDo(t, jobOf(t, text))
	dir := filepath.Join(out, nameOf(12))
	for _, name := range []string{modelFile, optimiserFile, stateFile, configFile, sumsFile} {
		path := filepath.Join(dir, name)
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for what, bad := range map[string][]byte{"bit": slices.Clone(good), "short": good[:len(good)-2], "empty": nil} {
			if what == "bit" {
				bad[len(bad)/2] ^= 4
			}
			if err := os.WriteFile(path, bad, 0o666); err != nil {
				t.Fatal(err)
			}
			_, err := Open(jobOf(t, text))
			if !errors.Is(err, ErrCheckpoint) || !strings.Contains(err.Error(), dir) {
				t.Errorf("%s, %s: %v", name, what, err)
			}
		}
		if err := errors.Join(os.Remove(path)); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(jobOf(t, text)); !errors.Is(err, ErrCheckpoint) {
			t.Errorf("without %s: %v", name, err)
		}
		if err := os.WriteFile(path, good, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	mustDo(t, jobOf(t, text))
}
