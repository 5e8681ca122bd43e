package train

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"nosa/model"
	"nosa/weights"
)

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
		state:  state{Version: stateVersion, Step: r.step, Tokens: r.tokens, Data: data, Device: r.numbers(), Config: string(r.Text)},
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
	if err := errors.Join(ck.Close(), r.declare(shape, tied, bias)); err != nil {
		return err
	}
	if err := loadCheckpoint(dir, r.params); err != nil {
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
	if s.Device != r.numbers() {
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
