package weights

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

const (
	singleFile = "model.safetensors"
	indexFile  = "model.safetensors.index.json"
	configFile = "config.json"

	maxIndex  = 64 << 20
	maxShards = 4096
)

// openFolder opens a Hugging Face folder: model.safetensors if it is there, else the shards of its index, else the one
// *.safetensors that there is.
func openFolder(path string) (*Checkpoint, error) {
	root, err := os.OpenRoot(path)
	if err != nil {
		return nil, err
	}
	c := &Checkpoint{path: path, format: FormatFolder, root: root, tensors: map[string]entry{}}
	if err := c.readFolder(); err != nil {
		_ = c.Close() // the first error is the one to tell
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

func (c *Checkpoint) readFolder() (err error) {
	c.config, err = readFile(c.root, configFile, maxConfig)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("no %s in this folder: %w", configFile, ErrNoModel)
	}
	if err != nil {
		return err
	}
	if c.arch, err = modelType(c.config); err != nil {
		return fmt.Errorf("%s: %w", configFile, err)
	}
	index, err := readFile(c.root, indexFile, maxIndex)
	if _, single := c.root.Stat(singleFile); single == nil || errors.Is(err, fs.ErrNotExist) {
		name, err := onlyFile(c.root)
		if err != nil {
			return err
		}
		return c.addShard(name, nil)
	}
	if err != nil {
		return err
	}
	weightMap, err := parseIndex(index)
	if err != nil {
		return fmt.Errorf("%s: %w", indexFile, err)
	}
	return c.addShards(weightMap)
}

// onlyFile returns model.safetensors, or the single file with that ending.
func onlyFile(root *os.Root) (string, error) {
	if _, err := root.Stat(singleFile); err == nil {
		return singleFile, nil
	}
	found, err := fs.Glob(root.FS(), "*.safetensors")
	if err != nil {
		return "", err
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return "", fmt.Errorf("no *.safetensors in this folder: %w", ErrNoModel)
	}
	return "", fmt.Errorf("%d files *.safetensors, but no %s that says which belong together: %w", len(found), indexFile,
		ErrNoModel)
}

// addShards maps every file of the index and takes the tensors that the index finds there.
func (c *Checkpoint) addShards(weightMap map[string]string) error {
	files := map[string]map[string]bool{}
	for name, file := range weightMap {
		if files[file] == nil {
			if len(files) == maxShards {
				return fmt.Errorf("%s: more than %d files: %w", indexFile, maxShards, ErrTooLarge)
			}
			files[file] = map[string]bool{}
		}
		files[file][name] = true
	}
	order := make([]string, 0, len(files))
	for file := range files {
		order = append(order, file)
	}
	slices.Sort(order)
	for _, file := range order {
		if err := c.addShard(file, files[file]); err != nil {
			return err
		}
	}
	return nil
}

// addShard maps one file and takes those of its tensors that are wanted; all of them when wanted is nil.
func (c *Checkpoint) addShard(name string, wanted map[string]bool) error {
	f, err := c.root.OpenFile(name, openFlags, 0)
	if err != nil {
		return linkHint(err)
	}
	m, err := mapFile(f)
	if err != nil {
		return err
	}
	c.maps = append(c.maps, m)
	entries, err := parseSafetensors(m.data)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	taken := 0
	for _, e := range entries {
		if wanted != nil && !wanted[e.Name] {
			continue
		}
		taken++
		if err := c.add(e); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	if taken < len(wanted) {
		for tensor := range wanted {
			if _, ok := c.tensors[tensor]; !ok {
				return fmt.Errorf("%s: no tensor %q, which %s places there: %w", name, tensor, indexFile, ErrFormat)
			}
		}
	}
	return nil
}

// parseIndex reads the weight_map of an index: tensor name to file name.
func parseIndex(data []byte) (map[string]string, error) {
	d := jsonReader{jsontext.NewDecoder(bytes.NewBuffer(data))}
	var weightMap map[string]string
	err := d.object(func(key string) error {
		if key != "weight_map" {
			return d.SkipValue()
		}
		weightMap = map[string]string{}
		interned := map[string]string{}
		return d.object(func(tensor string) error {
			var file string
			if err := d.text(&file); err != nil {
				return fmt.Errorf("tensor %q: %w", tensor, err)
			}
			if !plainName(file) || !strings.HasSuffix(file, ".safetensors") {
				return fmt.Errorf("tensor %q is in %q, want the plain name of a .safetensors file: %w", tensor, file,
					ErrFormat)
			}
			if len(weightMap) >= maxTensors {
				return fmt.Errorf("more than %d tensors: %w", maxTensors, ErrTooLarge)
			}
			if known, ok := interned[file]; ok {
				file = known
			} else {
				interned[file] = file
			}
			weightMap[tensor] = file
			return nil
		})
	})
	if err == nil {
		err = d.end()
	}
	if err == nil && len(weightMap) == 0 {
		err = fmt.Errorf("weight_map is missing or empty: %w", ErrFormat)
	}
	return weightMap, err
}

// plainName says whether name is that of a file in the folder itself.
func plainName(name string) bool {
	return name != "" && name != "." && name != ".." && len(name) <= 255 && !strings.ContainsAny(name, "/\\\x00:")
}

// readFile reads a regular file of the folder, if it has at most limit bytes.
func readFile(root *os.Root, name string, limit int64) ([]byte, error) {
	if !plainName(name) {
		return nil, fmt.Errorf("%q is not the plain name of a file: %w", name, fs.ErrInvalid)
	}
	f, err := root.OpenFile(name, openFlags, 0)
	if err != nil {
		return nil, linkHint(err)
	}
	defer f.Close() //nolint:errcheck // opened for reading: nothing can be lost
	info, err := f.Stat()
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("%s is %s, want a regular file: %w", name, kindOf(info.Mode()), ErrNoModel)
	case info.Size() > limit:
		return nil, fmt.Errorf("%s has %d bytes, the limit is %d: %w", name, info.Size(), limit, ErrTooLarge)
	}
	// The size is a hint: the file may grow while it is read.
	buf := bytes.NewBuffer(make([]byte, 0, info.Size()+bytes.MinRead))
	n, err := io.Copy(buf, io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if n > limit {
		return nil, fmt.Errorf("%s has more than %d bytes, the limit: %w", name, limit, ErrTooLarge)
	}
	return buf.Bytes(), nil
}

// linkHint explains the refusal that people meet in a hub's cache, whose folders consist of links to elsewhere.
func linkHint(err error) error {
	if strings.Contains(err.Error(), "escapes from parent") {
		return fmt.Errorf("%w: it is a link that leads out of the folder; copy the files it stands for into the folder",
			err)
	}
	return err
}

// modelType reads the one key of config.json that this package needs, and with it whether it is JSON at all.
func modelType(config []byte) (string, error) {
	var c struct {
		ModelType string `json:"model_type"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", fmt.Errorf("%w: %w", err, ErrFormat)
	}
	return c.ModelType, nil
}
