package hub

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	modelsDir  = "models"
	refsDir    = "refs"
	partialDir = "partial"
)

// Model is one commit of a model in the store.
type Model struct {
	Name      string   `json:"name"`                // owner/model
	Revisions []string `json:"revisions,omitempty"` // branches and tags that meant this commit when last pulled
	Commit    string   `json:"commit"`
	Path      string   `json:"path"`            // what to open: the folder, or the GGUF file if there is just one
	Files     []string `json:"files,omitempty"` // in the folder, sorted
	Bytes     int64    `json:"bytes"`
}

// Lookup finds what Pull of the same name has brought: the path of the folder, or of the GGUF file.
func (c *Client) Lookup(name string) (string, error) {
	r, err := ParseRef(name)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(filepath.Join(c.cfg.Dir, modelsDir, r.Owner, r.Name))
	if errors.Is(err, fs.ErrNotExist) {
		return "", notPulled(r)
	}
	if err != nil {
		return "", fmt.Errorf("hub: %s: %w", r, err)
	}
	defer release(root)
	commit, err := readRef(root, r.Revision)
	if err != nil {
		return "", fmt.Errorf("hub: %s: %w", r, err)
	}
	rec, err := readRecord(root, commit)
	if err != nil {
		return "", fmt.Errorf("hub: %s: %w", r, err)
	}
	if rec == nil {
		return "", notPulled(r)
	}
	path, ok := rec.open(r.File)
	if !ok || !rec.intact(root) {
		return "", notPulled(r)
	}
	return filepath.Join(root.Name(), rec.Commit, filepath.FromSlash(path)), nil
}

func notPulled(r Ref) error {
	return fmt.Errorf("hub: %s: run nosa pull %s first: %w", r, r, ErrNotPulled)
}

// List gives all that has been pulled, by name. Models with a damaged record are left out of the list and named in the
// error, which comes beside what could be read.
func (c *Client) List() ([]Model, error) {
	root, err := os.OpenRoot(filepath.Join(c.cfg.Dir, modelsDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("hub: list: %w", err)
	}
	defer release(root)
	folders, err := fs.Glob(root.FS(), "*/*")
	if err != nil {
		return nil, fmt.Errorf("hub: list: %w", err)
	}
	var models []Model
	var damaged []error
	for _, name := range folders {
		owner, model, _ := strings.Cut(name, "/")
		if !validPart(owner) || !validPart(model) {
			continue
		}
		found, err := c.listModel(root, name)
		if err != nil {
			damaged = append(damaged, fmt.Errorf("hub: %s: %w", name, err))
		}
		models = append(models, found...)
	}
	return models, errors.Join(damaged...)
}

func (c *Client) listModel(root *os.Root, name string) ([]Model, error) {
	dir, err := root.OpenRoot(filepath.FromSlash(name))
	if err != nil {
		return nil, err
	}
	defer release(dir)
	revisions, err := readRefs(dir)
	if err != nil {
		return nil, err
	}
	records, err := fs.Glob(dir.FS(), "*.json")
	if err != nil {
		return nil, err
	}
	var models []Model
	for _, file := range records {
		commit := strings.TrimSuffix(file, ".json")
		if !commitPattern.MatchString(commit) {
			continue
		}
		rec, err := readRecord(dir, commit)
		if err != nil {
			return models, err
		}
		m := Model{Name: name, Revisions: revisions[commit], Commit: commit}
		for _, f := range rec.Files {
			m.Files = append(m.Files, f.Path)
			m.Bytes += f.Size
		}
		open, _ := rec.open("")
		m.Path = filepath.Join(c.cfg.Dir, modelsDir, filepath.FromSlash(name), commit, filepath.FromSlash(open))
		models = append(models, m)
	}
	return models, nil
}
