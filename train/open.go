package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"

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
	Device compute.Trainer
	Train  Source
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
	base    []byte // config.json of the model that it began or goes on with
	beside  map[string][]byte
	params  *Parameters
	decoder *Decoder
	journal *journal
	lock    vfs.File
	fresh   []byte // the state of held-out data at its beginning
	shape   []byte // config.json of the stage
	stage   int    // −1: none yet

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
	r.params.Refresh()
	if job.Heldout != nil {
		if r.fresh, err = job.Heldout.State(); err != nil {
			return nil, fmt.Errorf("train: held-out data: %w", err)
		}
	}
	r.journal, err = openJournal(job.Config.Out, r.step)
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

func (r *Run) declare(shape *model.Config, tied, deltaBias bool) (err error) {
	if r.params, err = newParameters(r.Device, declare(shape, tied, deltaBias), &r.Config.Optimiser); err != nil {
		return err
	}
	r.decoder, err = NewDecoder(r.Device, shape, r.params, r.Config.Batch)
	return err
}

func (r *Run) draw(list []*Parameter, layers int) error {
	for _, x := range list {
		if err := r.params.Write(x.Name, r.Config.Model.initial(x, layers, r.Config.Seed)); err != nil {
			return err
		}
		if err := r.Device.Sync(); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// resume goes on behind a checkpoint.
func (r *Run) resume(step int) (err error) {
	dir := filepath.Join(r.Config.Out, nameOf(step))
	defer func() {
		if err != nil {
			err = fmt.Errorf("checkpoint %s: %w (without this folder the run goes on from the one before)", dir, err)
		}
	}()
	if err := verify(dir); err != nil {
		return err
	}
	s, err := readState(dir)
	if err != nil {
		return err
	}
	if err := r.compare(s); err != nil {
		return err
	}
	if r.base, err = os.ReadFile(filepath.Join(dir, configFile)); err != nil {
		return err
	}
	if r.beside, err = readBeside(dir); err != nil {
		return err
	}
	_, shape, err := r.Config.Shape(r.base, r.Config.Stage(s.Step))
	if err != nil {
		return err
	}
	ck, err := weights.OpenTensors(filepath.Join(dir, modelFile))
	if err != nil {
		return err
	}
	tied, bias := model.Tied(ck, shape), ck.Has("model.layers.0.self_attn.delta.bias")
	if err := errors.Join(ck.Close(), r.declare(shape, tied, bias), loadCheckpoint(dir, r.params)); err != nil {
		return err
	}
	if err := r.Train.Restore(s.Data); err != nil {
		return fmt.Errorf("the place in the data: %w", err)
	}
	r.step, r.tokens, r.saved = s.Step, s.Tokens, s.Step
	return nil
}

// compare holds the config and the device against those of a checkpoint. What would make another
// run of it is refused, and what is another setting is told.
func (r *Run) compare(s *state) error {
	was, err := Parse(stateFile, []byte(s.Config))
	if err != nil {
		return err
	}
	var notes []string
	for _, key := range changes(reflect.ValueOf(*was), reflect.ValueOf(*r.Config), "") {
		if strings.HasPrefix(key, "model.") || key == "seed" {
			return fmt.Errorf("%w: %s is not what the run began with: name another folder as out, or put it back", ErrConfig, key)
		}
		if key != "out" {
			notes = append(notes, key)
		}
	}
	if len(notes) > 0 {
		r.note("goes on with other settings than before: " + strings.Join(notes, ", "))
	}
	if s.Device != r.Device.Numbers() {
		r.note(fmt.Sprintf("the last steps were computed by another device (%s): what follows has not the bits that it would have given", s.Device))
	}
	return nil
}

// changes are the keys whose values differ.
func changes(a, b reflect.Value, path string) []string {
	if a.Kind() != reflect.Struct {
		if reflect.DeepEqual(a.Interface(), b.Interface()) {
			return nil
		}
		return []string{path}
	}
	var out []string
	for i := range a.NumField() {
		out = append(out, changes(a.Field(i), b.Field(i), strings.TrimPrefix(path+"."+a.Type().Field(i).Tag.Get("toml"), "."))...)
	}
	return out
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
	if r.decoder != nil {
		r.decoder.Close()
	}
	if r.params != nil {
		r.params.Close()
	}
	if r.journal != nil {
		errs = append(errs, r.journal.close())
	}
	if r.lock != nil {
		errs = append(errs, r.lock.Close())
	}
	r.decoder, r.params, r.journal, r.lock = nil, nil, nil, nil
	return errors.Join(errs...)
}

// save writes a checkpoint of the steps that are done, unless there is one, and lets old ones go.
// It is written to the end also when ctx has ended.
func (r *Run) save(ctx context.Context) error {
	if r.saved == r.step {
		return nil
	}
	data, err := r.Train.State()
	if err != nil {
		return fmt.Errorf("train: the place in the data: %w", err)
	}
	_, err = writeCheckpoint(context.WithoutCancel(ctx), r.disk, r.Config.Out, content{
		state:  state{Version: stateVersion, Step: r.step, Tokens: r.tokens, Data: data, Device: r.Device.Numbers(), Config: string(r.Text)},
		config: r.shape, beside: r.beside, params: r.params,
	})
	if err != nil {
		return fmt.Errorf("%w%s", err, r.lastWhole())
	}
	r.saved = r.step
	return prune(r.disk, r.Config.Out, r.Config.Checkpoint.Keep)
}

// lastWhole says where a run would go on, for an error that ends it.
func (r *Run) lastWhole() string {
	if r.saved < 0 {
		return ": there is no checkpoint yet"
	}
	return ": the last checkpoint is " + r.LastCheckpoint()
}
