package hub

import (
	"bytes"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

const (
	indexFile  = "model.safetensors.index.json"
	singleFile = "model.safetensors"
	maxIndex   = 64 << 20 // bytes of a safetensors index, which names every tensor
)

// always are the files beside the weights that nosa reads, where a model has them. A model without config.json can not
// be opened; the others have substitutes.
var always = []string{
	"config.json", "generation_config.json",
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja",
}

// never are endings that can run code when the usual tools open them. nosa reads none of them, so no pattern fetches one.
var never = []string{".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".npy", ".py", ".sh", ".so", ".dll", ".dylib", ".exe", ".h5", ".msgpack"}

// choose gives the files to fetch for r. When that depends on an index, index is called to read it. A nil include
// takes what the model needs; otherwise include's patterns (path.Match, over the whole path) choose alone.
func (m *Manifest) choose(r Ref, include []string, index func(File) ([]string, error)) ([]File, error) {
	var names []string
	var err error
	switch {
	case r.File != "":
		if _, ok := m.find(r.File); !ok {
			return nil, fmt.Errorf("%s has no %s%s: %w", r.Model(), r.File, m.ggufHint(r), ErrNotFound)
		}
		names = []string{r.File}
	case len(include) > 0:
		names, err = m.matching(include)
	default:
		names, err = m.folder(r, index)
	}
	if err != nil {
		return nil, err
	}
	return m.take(names)
}

// folder names what a model in Hugging Face's form needs: always, the weights, and their index.
func (m *Manifest) folder(r Ref, index func(File) ([]string, error)) ([]string, error) {
	if _, ok := m.find("config.json"); !ok {
		return m.onlyGGUF(r)
	}
	var names []string
	for _, n := range always {
		if _, ok := m.find(n); ok {
			names = append(names, n)
		}
	}
	if f, ok := m.find(indexFile); ok {
		shards, err := index(f)
		if err != nil {
			return nil, err
		}
		return append(append(names, indexFile), shards...), nil
	}
	if _, ok := m.find(singleFile); ok {
		return append(names, singleFile), nil
	}
	weights := m.ending(".safetensors")
	if len(weights) == 0 {
		if len(m.ending(".gguf")) > 0 {
			return m.onlyGGUF(r)
		}
		return nil, fmt.Errorf("%s has neither safetensors nor GGUF files, and nosa reads no other weights: %w", r.Model(), ErrNotFound)
	}
	return append(names, weights...), nil
}

// onlyGGUF names the one GGUF file of a model that has nothing else, and asks for a choice if there are several.
func (m *Manifest) onlyGGUF(r Ref) ([]string, error) {
	files := m.ending(".gguf")
	switch len(files) {
	case 0:
		return nil, fmt.Errorf("%s has no config.json, so it is no model that nosa can read: %w", r.Model(), ErrNotFound)
	case 1:
		return files, nil
	}
	return nil, fmt.Errorf("%s is no folder of safetensors%s: %w", r.Model(), m.ggufHint(r), ErrName)
}

// ggufHint lists the GGUF files that can be asked for.
func (m *Manifest) ggufHint(r Ref) string {
	files := m.ending(".gguf")
	if len(files) == 0 {
		return ""
	}
	const some = 8
	more := ""
	if len(files) > some {
		files, more = files[:some], fmt.Sprintf(" and %d more", len(files)-some)
	}
	r.File = files[0]
	return fmt.Sprintf("; it has %s%s: name one, as %s", strings.Join(files, ", "), more, r)
}

// ending lists the files of the model's root with this ending; GGUF files may lie deeper, in folders by type.
func (m *Manifest) ending(suffix string) []string {
	var names []string
	for _, f := range m.Files {
		if strings.HasSuffix(f.Path, suffix) && validFile(f.Path) && (suffix == ".gguf" || !strings.Contains(f.Path, "/")) {
			names = append(names, f.Path)
		}
	}
	slices.Sort(names)
	return names
}

// matching lists the files that any of the patterns matches.
func (m *Manifest) matching(patterns []string) ([]string, error) {
	var names []string
	for _, p := range patterns {
		found := false
		for _, f := range m.Files {
			ok, err := path.Match(p, f.Path)
			if err != nil {
				return nil, fmt.Errorf("pattern %q: %w: %w", clip(p), err, ErrName)
			}
			if ok && !runsCode(f.Path) {
				names = append(names, f.Path)
				found = true
			}
		}
		if !found {
			return nil, fmt.Errorf("pattern %q matches no file that nosa would fetch: %w", clip(p), ErrNotFound)
		}
	}
	return names, nil
}

// take looks the names up and refuses those that can not be files of the store.
func (m *Manifest) take(names []string) ([]File, error) {
	listed := make(map[string]File, len(m.Files))
	for _, f := range m.Files {
		listed[f.Path] = f
	}
	var files []File
	folded := make(map[string]string, len(names))
	for _, n := range names {
		f, ok := listed[n]
		if !ok {
			return nil, fmt.Errorf("%s names %s, which the model does not have: %w", indexFile, clip(n), ErrProtocol)
		}
		if !validFile(n) || runsCode(n) {
			return nil, fmt.Errorf("file name %q: nosa stores letters, digits and ._+=,@- only, and no code: %w", clip(n), ErrName)
		}
		// Some file systems hold Model.gguf and model.gguf to be one file: the second would replace the first.
		low := strings.ToLower(n)
		if other, ok := folded[low]; ok && other != n {
			return nil, fmt.Errorf("files %s and %s differ in case alone: %w", other, n, ErrName)
		} else if ok {
			continue
		}
		folded[low] = n
		files = append(files, f)
	}
	return files, nil
}

func runsCode(name string) bool {
	low := strings.ToLower(name)
	return slices.ContainsFunc(never, func(s string) bool { return strings.HasSuffix(low, s) })
}

// parseIndex gives the files that an index of safetensors names, each once, in the order of their names.
func parseIndex(b []byte) ([]string, error) {
	if len(b) > maxIndex {
		return nil, fmt.Errorf("%s: more than %d MiB: %w", indexFile, maxIndex>>20, ErrProtocol)
	}
	dec := jsontext.NewDecoder(bytes.NewBuffer(b))
	files := map[string]struct{}{}
	err := eachField(dec, func(name string) error {
		if name != "weight_map" {
			return dec.SkipValue()
		}
		return eachField(dec, func(string) error {
			var file string
			if err := stringValue(dec, &file); err != nil {
				return err
			}
			if !validFile(file) || !strings.HasSuffix(file, ".safetensors") {
				return fmt.Errorf("%q is no safetensors file of the model", file)
			}
			if files[file] = struct{}{}; len(files) > maxFiles {
				return fmt.Errorf("more than %d files", maxFiles)
			}
			return nil
		})
	})
	if err == nil && len(files) == 0 {
		err = fmt.Errorf("no weight_map")
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %s: %w", indexFile, clip(err.Error()), ErrProtocol)
	}
	names := make([]string, 0, len(files))
	for f := range files {
		names = append(names, f)
	}
	slices.Sort(names)
	return names, nil
}
