package train

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"nosa/compute"
	"nosa/kv/vfs"
	"nosa/model"
	"nosa/train/corpus"
	"nosa/weights"
)

// Job is what a run needs.
type Job struct {
	Config *Config
	Text   []byte // the config as it was read, kept in checkpoints
	Train  Source
	// Devices compute passes side by side; at least one.
	Devices []compute.Trainer
	// Vocabulary is what a new model's config leaves open: its size, and the ids around a text. nil: nothing.
	Vocabulary *corpus.Vocabulary
	// Heldout is begun anew for every evaluation; nil where there is none.
	Heldout Source
	// Report is told of every step and evaluation; nil: nobody.
	Report func(Record)
	// Note is told in one line what people should know before the run begins; nil: nobody.
	Note func(string)

	disk disk // nil: the machine's
}

// Run is a run under way. It belongs to one goroutine.
type Run struct {
	Job
	base     []byte // config.json of the model that it began or goes on with
	beside   map[string][]byte
	replicas []*replica
	params   *Parameters // of the first
	journal  *journal
	events   *events // nil: not wanted
	lock     vfs.File
	fresh    []byte // the state of held-out data at its beginning
	shape    []byte // config.json of the stage
	stage    int    // −1: none yet

	step   int // steps done
	tokens int64
	saved  int // the step of the last checkpoint; −1: none
}

const lockFile = "lock"

// besideNames are the files that belong to a model's tokenizer.
var besideNames = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json",
	"tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
}

// ErrBusy is returned for a folder that another process trains in.
var ErrBusy = errors.New("another process trains in this folder")

// Open begins a run, or goes on with the one whose checkpoints are in its folder.
func Open(job Job) (_ *Run, err error) {
	if job.disk == nil {
		job.disk = realDisk{}
	}
	r := &Run{Job: job, stage: -1, saved: -1}
	defer func() {
		if err != nil {
			err = errors.Join(err, r.Close())
		}
	}()
	if err := os.MkdirAll(job.Config.Out, 0o777); err != nil {
		return nil, fmt.Errorf("train: out: %w", err)
	}
	if err := r.occupy(); err != nil {
		return nil, err
	}
	if err := tidy(r.disk, job.Config.Out); err != nil {
		return nil, err
	}
	steps, err := checkpoints(job.Config.Out)
	if err != nil {
		return nil, err
	}
	if len(steps) == 0 {
		err = r.begin()
	} else {
		err = r.resume(steps[len(steps)-1])
	}
	if err != nil {
		return nil, err
	}
	if err := r.spread(); err != nil {
		return nil, err
	}
	for _, one := range r.replicas {
		one.params.Refresh()
	}
	if job.Heldout != nil {
		if r.fresh, err = job.Heldout.State(); err != nil {
			return nil, fmt.Errorf("train: held-out data: %w", err)
		}
	}
	if r.journal, err = openJournal(job.Config.Out, r.step); err != nil {
		return nil, err
	}
	if job.Config.TensorBoard {
		r.events, err = openEvents(job.Config.Out, r.step, time.Now())
	}
	return r, err
}

// occupy keeps other processes from the folder, where the system can.
func (r *Run) occupy() error {
	f, err := vfs.OS{}.Open(r.Config.Out, lockFile, false)
	switch {
	case errors.Is(err, vfs.ErrInUse):
		return fmt.Errorf("train: %s: %w", r.Config.Out, ErrBusy)
	case errors.Is(err, errors.ErrUnsupported):
		return nil
	case err != nil:
		return fmt.Errorf("train: %w", err)
	}
	r.lock = f
	return nil
}

// begin makes the model of the first step: drawn, or taken from a folder.
func (r *Run) begin() (err error) {
	c := r.Config
	if tokenizer := cmp.Or(c.Model.Tokenizer, c.Model.Path); tokenizer != "" {
		if r.beside, err = readBeside(tokenizer); err != nil {
			return err
		}
	}
	if c.Model.Path == "" {
		var shape *model.Config
		if r.base, shape, err = r.complete().Shape(nil, 0); err != nil {
			return err
		}
		if err := r.declare(shape, shape.Tied, false); err != nil {
			return err
		}
		return r.draw(r.params.list, shape.Layers)
	}
	ck, err := weights.Open(c.Model.Path)
	if err != nil {
		return fmt.Errorf("train: model.path: %w", err)
	}
	defer func() { err = errors.Join(err, ck.Close()) }()
	return r.continueFrom(ck)
}

// complete is the config with what a new model has from its vocabulary.
func (r *Run) complete() *Config {
	c := *r.Config
	if v := r.Vocabulary; v != nil {
		if c.Model.Vocab == 0 {
			c.Model.Vocab = v.Size()
		}
		if bos, ok := v.BOS(); ok && c.Model.BOS < 0 {
			c.Model.BOS = int(bos)
		}
		if eos := v.EOS(); len(eos) > 0 && c.Model.EOS < 0 {
			c.Model.EOS = int(eos[0])
		}
	}
	return &c
}

// continueFrom takes the weights of a model; importance scores that it lacks are drawn.
func (r *Run) continueFrom(ck *weights.Checkpoint) error {
	if ck.Format() != weights.FormatFolder {
		return fmt.Errorf("%w: model.path: %s is no Hugging Face folder: make one of it with nosa convert", ErrConfig, ck.Path())
	}
	r.base = ck.Config()
	_, shape, err := r.Config.Shape(r.base, 0)
	if err != nil {
		return err
	}
	// The model itself, before anything is added, must be what its config.json says.
	if _, err := model.Describe(ck, shape, r.Config.Context(), model.HasScores(ck)); err != nil {
		return fmt.Errorf("train: model.path: %w", err)
	}
	bias := ck.Has("model.layers.0.self_attn.delta.bias") || shape.QKVBias && !model.HasScores(ck)
	if err := r.declare(shape, model.Tied(ck, shape), bias); err != nil {
		return err
	}
	missing, err := r.params.load(ck)
	if err != nil {
		return err
	}
	for _, x := range missing {
		if !strings.Contains(x.Name, ".self_attn.delta.") && !strings.HasSuffix(x.Name, ".self_attn.A") {
			return fmt.Errorf("train: %s lacks %s", ck.Path(), x.Name)
		}
	}
	return r.draw(missing, shape.Layers)
}

// declare makes the replicas of a model.
func (r *Run) declare(shape *model.Config, tied, deltaBias bool) error {
	for _, dev := range r.Devices {
		one, err := newReplica(dev, shape, tied, deltaBias, r.Config)
		r.replicas = append(r.replicas, one)
		if err != nil {
			return err
		}
	}
	r.params = r.replicas[0].params
	return nil
}

// numbers names all that the bits of a run depend on, beside its config.
func (r *Run) numbers() string {
	s := r.Devices[0].Numbers()
	if n := len(r.Devices); n > 1 {
		s += fmt.Sprintf(", %d of them", n)
	}
	return s
}

func (r *Run) draw(list []*Parameter, layers int) error {
	for _, x := range list {
		if err := r.params.Write(x.Name, r.Config.Model.initial(x, layers, r.Config.Seed)); err != nil {
			return err
		}
		if err := r.params.dev.Sync(); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

func (r *Run) note(s string) {
	if r.Note != nil {
		r.Note(s)
	}
}

// readBeside reads the tokenizer files of a folder, those that are there.
func readBeside(dir string) (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range besideNames {
		data, err := os.ReadFile(filepath.Join(dir, name))
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, fmt.Errorf("train: tokenizer: %w", err)
		default:
			files[name] = data
		}
	}
	return files, nil
}

// Steps is the number of steps that are done.
func (r *Run) Steps() int { return r.step }

// Tokens is the number of rows that they have had.
func (r *Run) Tokens() int64 { return r.tokens }

// LastCheckpoint is the folder of the last checkpoint; empty: none.
func (r *Run) LastCheckpoint() string {
	if r.saved < 0 {
		return ""
	}
	return filepath.Join(r.Config.Out, nameOf(r.saved))
}

// Parameters are those of the model, as the last step left them.
func (r *Run) Parameters() *Parameters { return r.params }

// Close gives everything back. Steps since the last checkpoint are lost.
func (r *Run) Close() error {
	var errs []error
	for _, one := range r.replicas {
		one.close()
	}
	if r.journal != nil {
		errs = append(errs, r.journal.close())
	}
	if r.events != nil {
		errs = append(errs, r.events.close())
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	r.replicas, r.journal, r.events, r.lock = nil, nil, nil, nil
	return errors.Join(errs...)
}
