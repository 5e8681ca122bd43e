package train

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"nosa/weights"
	"nosa/weights/convert"
)

// A checkpoint is a Hugging Face folder with what a run needs to go on:
//
//	step-00001000/  config.json, model.safetensors (F32), tokenizer files
//	                optimiser.safetensors   mean and square of every tensor that is trained
//	                adapter.safetensors     what is trained alone, where there are frozen tensors
//	                state.json              step, place in the data, the config of the run
//	                SHA256SUMS              of all of them, as sha256sum -c reads it; written last
//
// It is written under another name and renamed when the disk has all of it, so that a folder with
// the name of a checkpoint is whole whenever the process ends.
const (
	modelFile     = "model.safetensors"
	configFile    = "config.json"
	optimiserFile = "optimiser.safetensors"
	stateFile     = "state.json"
	sumsFile      = "SHA256SUMS"

	stateVersion = 1
	maxState     = 64 << 20
)

var checkpointName = regexp.MustCompile(`^step-(\d{8,})$`)

// unfinished is the name of what is being written, or taken away.
var unfinished = regexp.MustCompile(`^\.step-\d{8,}\.(writing|leaving)$`)

// ErrCheckpoint is returned for a checkpoint that is not what was written.
var ErrCheckpoint = errors.New("checkpoint is not whole")

// state is state.json.
type state struct {
	Version int    `json:"version"`
	Step    int    `json:"step"`   // steps done
	Tokens  int64  `json:"tokens"` // rows that the steps have had
	Data    []byte `json:"data"`   // the Source's
	Device  string `json:"device"` // what the bits depend on
	Config  string `json:"config"` // of the run, as it was read
}

// content is what a checkpoint is written from.
type content struct {
	state  state
	config []byte            // config.json
	beside map[string][]byte // tokenizer files
	params *Parameters
}

func nameOf(step int) string { return fmt.Sprintf("step-%08d", step) }

// writeCheckpoint writes the checkpoint of a step into the folder of a run, and returns its path.
// When it fails nothing is left of it.
func writeCheckpoint(ctx context.Context, d disk, out string, c content) (path string, err error) {
	name := nameOf(c.state.Step)
	path = filepath.Join(out, name)
	defer func() {
		if err != nil {
			err = fmt.Errorf("train: checkpoint %s: %w", path, err)
		}
	}()
	if !absent(path) {
		return path, fs.ErrExist
	}
	temp := filepath.Join(out, "."+name+".writing")
	if err := errors.Join(d.RemoveAll(temp), d.Mkdir(temp)); err != nil {
		return path, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, d.RemoveAll(temp))
		}
	}()
	if err := fill(ctx, d, temp, c); err != nil {
		return path, err
	}
	if err := d.Rename(temp, path); err != nil {
		return path, err
	}
	return path, d.SyncFolder(out)
}

// fill writes the files of a checkpoint, with their digests at the end.
func fill(ctx context.Context, d disk, dir string, c content) error {
	about, err := json.MarshalIndent(c.state, "", "  ")
	if err != nil {
		return err
	}
	tensors := func(list []weights.Source) func(io.Writer) error {
		return func(w io.Writer) error { return weights.WriteTensors(ctx, w, list, nil) }
	}
	whole := func(data []byte) func(io.Writer) error {
		return func(w io.Writer) error { _, err := w.Write(data); return err }
	}
	files := map[string]func(io.Writer) error{
		configFile: whole(c.config), stateFile: whole(append(about, '\n')),
		modelFile: tensors(c.params.sources()), optimiserFile: tensors(c.params.moments()),
	}
	if part := c.params.trained(); len(part) < len(c.params.list) {
		files[convert.AdapterFile] = tensors(part)
	}
	for name, data := range c.beside {
		files[name] = whole(data)
	}
	var sums bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(files)) {
		digest := sha256.New()
		err := writeFile(d, filepath.Join(dir, name), func(w io.Writer) error {
			return files[name](io.MultiWriter(w, digest))
		})
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintf(&sums, "%x  %s\n", digest.Sum(nil), name)
	}
	if err := writeFile(d, filepath.Join(dir, sumsFile), whole(sums.Bytes())); err != nil {
		return fmt.Errorf("%s: %w", sumsFile, err)
	}
	return d.SyncFolder(dir)
}

// checkpoints lists the steps of a run's checkpoints, ascending. A run without a folder has none.
func checkpoints(out string) ([]int, error) {
	entries, err := os.ReadDir(out)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("train: %w", err)
	}
	var steps []int
	for _, e := range entries {
		if m := checkpointName.FindStringSubmatch(e.Name()); m != nil && e.IsDir() {
			step, err := strconv.Atoi(m[1])
			if err != nil {
				return nil, fmt.Errorf("train: %s: %w", filepath.Join(out, e.Name()), err)
			}
			steps = append(steps, step)
		}
	}
	slices.Sort(steps)
	return steps, nil
}

// tidy removes what a process that was killed has left half written, or half removed.
func tidy(d disk, out string) error {
	entries, err := os.ReadDir(out)
	if err != nil {
		return fmt.Errorf("train: %w", err)
	}
	for _, e := range entries {
		if unfinished.MatchString(e.Name()) {
			if err := d.RemoveAll(filepath.Join(out, e.Name())); err != nil {
				return fmt.Errorf("train: %w", err)
			}
		}
	}
	return nil
}

// prune keeps the last checkpoints of a run. One that goes loses its name first.
func prune(d disk, out string, keep int) error {
	steps, err := checkpoints(out)
	if err != nil || keep == 0 || len(steps) <= keep {
		return err
	}
	for _, step := range steps[:len(steps)-keep] {
		leaving := filepath.Join(out, "."+nameOf(step)+".leaving")
		if err := d.Rename(filepath.Join(out, nameOf(step)), leaving); err != nil {
			return fmt.Errorf("train: %w", err)
		}
		if err := d.RemoveAll(leaving); err != nil {
			return fmt.Errorf("train: %w", err)
		}
	}
	return nil
}

// verify holds every file of a checkpoint against its digest.
func verify(dir string) error {
	listed, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCheckpoint, err)
	}
	seen := map[string]bool{}
	for _, line := range strings.Split(strings.TrimSuffix(string(listed), "\n"), "\n") {
		want, name, ok := strings.Cut(line, "  ")
		if !ok || name != filepath.Base(name) {
			return fmt.Errorf("%w: %s is damaged", ErrCheckpoint, sumsFile)
		}
		got, err := digestOf(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("%w: %w", ErrCheckpoint, err)
		}
		if got != want {
			return fmt.Errorf("%w: the bytes of %s are not those that were written (sha256 %.12s…, want %.12s…)", ErrCheckpoint, name, got, want)
		}
		seen[name] = true
	}
	for _, name := range []string{modelFile, configFile, optimiserFile, stateFile} {
		if !seen[name] {
			return fmt.Errorf("%w: %s does not list %s", ErrCheckpoint, sumsFile, name)
		}
	}
	return nil
}

func digestOf(path string) (_ string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// readState reads state.json of a checkpoint that was verified.
func readState(dir string) (*state, error) {
	path := filepath.Join(dir, stateFile)
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxState {
		return nil, fmt.Errorf("%w: %s has %d bytes, the limit is %d", ErrCheckpoint, stateFile, info.Size(), maxState)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := new(state)
	if err := json.Unmarshal(data, s); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", ErrCheckpoint, stateFile, err)
	}
	if s.Version != stateVersion {
		return nil, fmt.Errorf("%w: %s is of version %d, this nosa reads %d", ErrCheckpoint, stateFile, s.Version, stateVersion)
	}
	return s, nil
}

// loadCheckpoint takes over the parameters, the optimiser's state and the state of a checkpoint.
func loadCheckpoint(dir string, p *Parameters) (err error) {
	for _, f := range []struct {
		name string
		load func(*weights.Checkpoint) error
	}{
		{modelFile, func(ck *weights.Checkpoint) error {
			missing, err := p.load(ck)
			if err == nil && len(missing) > 0 {
				err = fmt.Errorf("train: %s lacks %s", ck.Path(), missing[0].Name)
			}
			return err
		}},
		{optimiserFile, p.loadMoments},
	} {
		ck, err := weights.OpenTensors(filepath.Join(dir, f.name))
		if err != nil {
			return err
		}
		if err := errors.Join(f.load(ck), ck.Close()); err != nil {
			return err
		}
	}
	return nil
}
