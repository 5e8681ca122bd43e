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
	"testing"

	"nosa/compute"
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
		Config: c, Text: []byte(text), Devices: []compute.Trainer{compute.Reference{}},
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
	for _, more := range []string{"", "[loss]\nimportance = 0.3\n"} {
		t.Run(more, func(t *testing.T) { resumes(t, more) })
	}
}

func resumes(t *testing.T, more string) {
	t.Helper()
	whole := t.TempDir()
	mustDo(t, jobOf(t, runConfig(whole, more)))
	want, wantLog := files(t, filepath.Join(whole, nameOf(12))), records(t, whole)
	if steps, err := checkpoints(whole); err != nil || !slices.Equal(steps, []int{9, 12}) {
		t.Errorf("checkpoints %v, %v; want the last two", steps, err)
	}
	if n := len(wantLog); n != 12+3 || wantLog[0].Loss == 0 || wantLog[n-1].Eval == nil || len(wantLog[n-1].ByPosition) == 0 || (wantLog[0].Importance != nil) != (more != "") {
		t.Errorf("log of %d lines: %+v", n, wantLog)
	}
	for _, asked := range []bool{true, false} {
		out := t.TempDir()
		for stop := 1; ; stop++ {
			ctx, cancel := context.WithCancelCause(context.Background())
			job := jobOf(t, runConfig(out, more))
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
		mustDo(t, jobOf(t, runConfig(out, more))) // nothing is left to do
	}
}

// values spells out pointers.
func values(list []Record) (out []string) {
	for _, r := range list {
		eval, importance, far := 0.0, 0.0, 0.0
		if r.Eval != nil {
			eval = *r.Eval
		}
		if r.Importance != nil {
			importance, far = *r.Importance, *r.Far
		}
		r.Eval, r.Importance, r.Far = nil, nil, nil
		out = append(out, fmt.Sprintf("%+v %v %v %v", r, eval, importance, far))
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
	job.Devices = []compute.Trainer{spoiled{passes: new(int)}}
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
