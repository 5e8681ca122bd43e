package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"nosa/compute"
	"nosa/model"
	"nosa/weights"
)

// counting is a Source of documents that count upwards in steps of their own, so that there is something to learn.
type counting struct {
	Vocab int
	At    uint64 // documents given
	Seed  uint64
}

func (s *counting) Next(n, context int) (Rows, error) {
	r := Rows{Begins: []int32{0}}
	for len(r.IDs) < n {
		rng := rand.New(rand.NewPCG(s.Seed, s.At))
		s.At++
		id, by := rng.IntN(s.Vocab), 1+rng.IntN(3)
		for range min(context, 4+rng.IntN(24), n-len(r.IDs)) {
			r.IDs = append(r.IDs, int32(id))
			id = (id + by) % s.Vocab
			r.Targets = append(r.Targets, int32(id))
		}
		r.Targets[len(r.IDs)-1] = -1
		r.Begins = append(r.Begins, int32(len(r.IDs)))
	}
	return r, nil
}

func (s *counting) State() ([]byte, error) { return json.Marshal(s) }

func (s *counting) Restore(b []byte) error { return json.Unmarshal(b, s) }

// runConfig is a run of a tiny model, as text, so that it is read as a user's.
func runConfig(out string, more string) string {
	return fmt.Sprintf(`
out = %q
[model]
family = "nosa"
hidden = 16
layers = 2
heads = 4
kv_heads = 2
intermediate = 24
vocab = 19
init = 0.2
[sparse]
kernel_size = 4
kernel_stride = 2
block_size = 4
init_blocks = 1
window_size = 4
topk = 4
topk_q = 1
[batch]
tokens = 64
rows = 32
head_rows = 16
[optimiser]
rate = 0.01
warmup = 2
[[stage]]
steps = 6
method = "nosa"
context = 16
[[stage]]
steps = 6
method = "nosa"
context = 32
rope_theta = 50000.0
[evaluation]
every = 4
tokens = 64
[checkpoint]
every = 3
keep = 2
%s`, out, more)
}

func jobOf(t *testing.T, text string) Job {
	t.Helper()
	c, err := Parse("test.toml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	vocab := c.Model.Vocab
	return Job{
		Config: c, Text: []byte(text), Device: compute.Reference{},
		Train: &counting{Vocab: vocab, Seed: 1}, Heldout: &counting{Vocab: vocab, Seed: 2},
		Note: func(s string) { t.Log(s) },
	}
}

func mustOpen(t *testing.T, job Job) *Run {
	t.Helper()
	r, err := Open(job)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func mustDo(t *testing.T, job Job) {
	t.Helper()
	r := mustOpen(t, job)
	if err := errors.Join(r.Do(context.Background()), r.Close()); err != nil {
		t.Fatal(err)
	}
}

// files are those of a checkpoint, without what names the folder.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	if err := verify(dir); err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, name := range []string{modelFile, optimiserFile, configFile} {
		sum, err := digestOf(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		out[name] = sum
	}
	s, err := readState(dir)
	if err != nil {
		t.Fatal(err)
	}
	out["data"], out["tokens"] = string(s.Data), fmt.Sprint(s.Tokens)
	return out
}

// records are the lines of a log, without what differs from run to run.
func records(t *testing.T, out string) []Record {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(out, logFile))
	if err != nil {
		t.Fatal(err)
	}
	var list []Record
	for line := range strings.Lines(string(data)) {
		var r Record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		r.Speed, r.Memory = 0, 0
		list = append(list, r)
	}
	return list
}

// A run that ends after any step, with or without a word, goes on to the same bits as one that was never stopped, and to
// the same log.
func TestResume(t *testing.T) {
	whole := t.TempDir()
	mustDo(t, jobOf(t, runConfig(whole, "")))
	want, wantLog := files(t, filepath.Join(whole, nameOf(12))), records(t, whole)
	if steps, err := checkpoints(whole); err != nil || !slices.Equal(steps, []int{9, 12}) {
		t.Errorf("checkpoints %v, %v; want the last two", steps, err)
	}
	if n := len(wantLog); n != 12+3 || wantLog[0].Loss == 0 || wantLog[n-1].Eval == nil || len(wantLog[n-1].ByPosition) == 0 {
		t.Errorf("log of %d lines: %+v", n, wantLog)
	}
	for _, asked := range []bool{true, false} {
		out := t.TempDir()
		for stop := 1; ; stop++ {
			ctx, cancel := context.WithCancelCause(context.Background())
			job := jobOf(t, runConfig(out, ""))
			steps := 0
			ended := errors.New("stop")
			job.Report = func(r Record) {
				if r.Eval != nil {
					return
				}
				if steps++; asked && steps == stop {
					cancel(ended)
				} else if !asked && steps == 3+stop { // as if killed: not even the end of the step is seen
					panic(ended)
				}
			}
			r := mustOpen(t, job)
			err := func() (err error) {
				defer func() {
					if p := recover(); p != nil {
						err = p.(error)
					}
				}()
				return r.Do(ctx)
			}()
			cancel(nil)
			if closing := r.Close(); closing != nil {
				t.Fatal(closing)
			}
			if err == nil {
				break
			}
			if !errors.Is(err, ended) {
				t.Fatal(err)
			}
			if asked && r.saved != r.step {
				t.Fatalf("stopped after step %d, the last checkpoint is of %d", r.step, r.saved)
			}
		}
		if got := files(t, filepath.Join(out, nameOf(12))); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("asked %v: %v\nwant %v", asked, got, want)
		}
		if got := records(t, out); fmt.Sprintf("%+v", values(got)) != fmt.Sprintf("%+v", values(wantLog)) {
			t.Errorf("asked %v: log %+v\nwant %+v", asked, values(got), values(wantLog))
		}
		mustDo(t, jobOf(t, runConfig(out, ""))) // nothing is left to do
	}
}

// values spells out pointers.
func values(list []Record) (out []string) {
	for _, r := range list {
		eval := 0.0
		if r.Eval != nil {
			eval = *r.Eval
		}
		r.Eval = nil
		out = append(out, fmt.Sprintf("%+v %v", r, eval))
	}
	return out
}

// A small model learns to count.
func TestLossDecreases(t *testing.T) {
	out := t.TempDir()
	text := strings.Replace(strings.Replace(runConfig(out, ""), "steps = 6", "steps = 90", 1), "every = 3", "every = 1000", 1)
	mustDo(t, jobOf(t, text))
	list := records(t, out)
	first, last := list[0].Loss, *list[len(list)-1].Eval
	if first < 2 || last > 0.6*first {
		t.Errorf("loss %v at first, %v of held-out data at the end: want less than 0.6 of it", first, last)
	}
}

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
	mustDo(t, jobOf(t, text))
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

// spoiled makes losses that are no numbers, from some step on.
type spoiled struct {
	compute.Reference
	passes *int
}

func (d spoiled) CrossEntropy(loss, logits compute.Tensor, targets []int32, scale float32) {
	d.Reference.CrossEntropy(loss, logits, targets, scale)
	if *d.passes++; *d.passes > 4*4 { // two passes of two pieces a step
		loss.F32()[0] = float32(math.NaN())
	}
}

// A loss that is no number ends the run before it touches the weights, with one line that names the last checkpoint.
func TestDiverged(t *testing.T) {
	out := t.TempDir()
	job := jobOf(t, strings.Replace(runConfig(out, ""), "[evaluation]\nevery = 4", "[evaluation]\nevery = 0", 1))
	job.Device = spoiled{passes: new(int)}
	r := mustOpen(t, job)
	err := r.Do(context.Background())
	if !errors.Is(err, ErrDiverged) || !strings.Contains(err.Error(), "step 5") || !strings.Contains(err.Error(), nameOf(3)) {
		t.Errorf("%v", err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if err := verify(filepath.Join(out, nameOf(3))); err != nil {
		t.Error(err)
	}
}

// One folder has one run at a time, of one model.
func TestOtherRuns(t *testing.T) {
	out := t.TempDir()
	text := runConfig(out, "")
	r := mustOpen(t, jobOf(t, text))
	if _, err := Open(jobOf(t, text)); !errors.Is(err, ErrBusy) {
		t.Errorf("a second run in the folder: %v", err)
	}
	if err := errors.Join(r.Do(context.Background()), r.Close()); err != nil {
		t.Fatal(err)
	}
	for _, change := range []string{"hidden = 32", "init = 0.3"} {
		key, _, _ := strings.Cut(change, " ")
		at := strings.Index(text, "\n"+key+" ")
		end := at + 1 + strings.IndexByte(text[at+1:], '\n')
		if _, err := Open(jobOf(t, text[:at+1]+change+text[end:])); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "model."+key) {
			t.Errorf("%s: %v", change, err)
		}
	}
	var told []string
	job := jobOf(t, strings.Replace(text, "rate = 0.01", "rate = 0.02", 1))
	job.Note = func(s string) { told = append(told, s) }
	r = mustOpen(t, job)
	r.Close()
	if len(told) != 1 || !strings.Contains(told[0], "optimiser.rate") {
		t.Errorf("notes %q", told)
	}
}

// A source that fails, or gives what cannot be computed, ends the run with its reason.
func TestBadSource(t *testing.T) {
	for _, tc := range []struct {
		source Source
		want   error
	}{{brokenSource{}, io.ErrUnexpectedEOF}, {&counting{Vocab: 40, Seed: 1}, ErrRows}} {
		job := jobOf(t, runConfig(t.TempDir(), ""))
		job.Train = tc.source
		r := mustOpen(t, job)
		if err := r.Do(context.Background()); !errors.Is(err, tc.want) {
			t.Errorf("%v, want %v", err, tc.want)
		}
		r.Close()
	}
}

type brokenSource struct{ counting }

func (brokenSource) Next(int, int) (Rows, error) { return Rows{}, io.ErrUnexpectedEOF }
func (brokenSource) State() ([]byte, error)      { return nil, nil }
func (brokenSource) Restore([]byte) error        { return nil }
