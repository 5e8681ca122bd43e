package hub

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

const (
	maxRecord  = 64 << 20            // bytes of a record: maxFiles entries and some
	staleAfter = 14 * 24 * time.Hour // a partial file that nobody continued for so long goes with the next whole pull
)

// record says what of a commit is here and verified. It is written after the files, so a file that it names is whole.
type record struct {
	Commit string       `json:"commit"`
	Folder bool         `json:"folder"` // the files make up a folder that can be opened, not single GGUF files alone
	Files  []recordFile `json:"files"`
}

type recordFile struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Digest string `json:"digest"`
}

// open gives the path, below the commit's folder, of what file asks for: "" is the folder, or its only GGUF file.
func (rec *record) open(file string) (string, bool) {
	if file == "" && rec.Folder {
		return ".", true
	}
	var gguf []string
	for _, f := range rec.Files {
		if f.Path == file {
			return f.Path, true
		}
		if strings.HasSuffix(f.Path, ".gguf") {
			gguf = append(gguf, f.Path)
		}
	}
	if file == "" && len(gguf) == 1 {
		return gguf[0], true
	}
	return "", false
}

// intact tells whether the files of the record are all still there, with their sizes.
func (rec *record) intact(root *os.Root) bool {
	for _, f := range rec.Files {
		st, err := root.Stat(path.Join(rec.Commit, f.Path))
		if err != nil || !st.Mode().IsRegular() || st.Size() != f.Size {
			return false
		}
	}
	return true
}

func (rec *record) find(path string) (recordFile, bool) {
	i := slices.IndexFunc(rec.Files, func(f recordFile) bool { return f.Path == path })
	if i < 0 {
		return recordFile{}, false
	}
	return rec.Files[i], true
}

// add enters a verified file, in place of what had its path.
func (rec *record) add(f recordFile) {
	rec.Files = slices.DeleteFunc(rec.Files, func(o recordFile) bool { return o.Path == f.Path })
	rec.Files = append(rec.Files, f)
	slices.SortFunc(rec.Files, func(a, b recordFile) int { return strings.Compare(a.Path, b.Path) })
}

// readRefs gives the revisions of each commit.
func readRefs(root *os.Root) (map[string][]string, error) {
	entries, err := fs.ReadDir(root.FS(), refsDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	revisions := map[string][]string{}
	for _, e := range entries {
		rev := strings.ReplaceAll(e.Name(), "%2F", "/")
		if !validRevision(rev) {
			continue
		}
		commit, err := readRef(root, rev)
		if err != nil {
			return nil, err
		}
		revisions[commit] = append(revisions[commit], rev)
	}
	return revisions, nil
}

// refPath is the file that says which commit a revision means. Its slashes are escaped: the branches a and a/b may
// both exist.
func refPath(revision string) string {
	return refsDir + "/" + strings.ReplaceAll(revision, "/", "%2F")
}

// readRef gives the commit that revision meant when it was last pulled; a commit means itself.
func readRef(root *os.Root, revision string) (string, error) {
	if commitPattern.MatchString(revision) {
		return revision, nil
	}
	b, err := readSmall(root, refPath(revision), 64)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	commit := strings.TrimSpace(string(b))
	if !commitPattern.MatchString(commit) {
		return "", fmt.Errorf("%s holds no commit: delete it and pull again: %w", filepath.Join(root.Name(), refPath(revision)), ErrStore)
	}
	return commit, nil
}

// readRecord gives the record of a commit, nil if there is none.
func readRecord(root *os.Root, commit string) (*record, error) {
	if commit == "" {
		return nil, nil
	}
	b, err := readSmall(root, commit+".json", maxRecord)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var rec record
	err = json.Unmarshal(b, &rec)
	if err == nil && rec.Commit != commit {
		err = fmt.Errorf("is of commit %q", clip(rec.Commit))
	}
	for i := 0; err == nil && i < len(rec.Files); i++ {
		if f := rec.Files[i]; !validFile(f.Path) || f.Size < 0 || f.Size > maxSize || !validDigest(f.Digest) {
			err = fmt.Errorf("file %d can not be one", i)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("record %s: %s: delete it and pull again: %w", filepath.Join(root.Name(), commit+".json"), clip(err.Error()), ErrStore)
	}
	return &rec, nil
}

// readSmall reads a file of the store that has at most most bytes.
func readSmall(root *os.Root, name string, most int64) ([]byte, error) {
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer release(f)
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s has more than %d bytes: %w", filepath.Join(root.Name(), name), most, ErrStore)
	}
	return b, err
}

// replace writes a small file so that a reader sees the old one or the new one, whole.
func replace(root *os.Root, name string, b []byte) error {
	tmp := path.Join(path.Dir(name), ".new-"+path.Base(name)) // no revision and no model's file begins with a dot
	f, err := root.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = root.Rename(tmp, name)
	}
	if err != nil {
		_ = root.Remove(tmp) // the first error says what is wrong
	}
	return err
}

func writeRecord(root *os.Root, rec *record) error {
	b, err := json.MarshalIndent(rec, "", " ")
	if err != nil {
		return err
	}
	return replace(root, rec.Commit+".json", append(b, '\n'))
}

func writeRef(root *os.Root, revision, commit string) error {
	if commitPattern.MatchString(revision) {
		return nil
	}
	if err := root.MkdirAll(refsDir, 0o755); err != nil {
		return err
	}
	return replace(root, refPath(revision), []byte(commit+"\n"))
}

// sweep removes partial files that nobody continued for a long time. Failing to is no reason to fail a pull.
func sweep(root *os.Root, now time.Time) {
	entries, err := fs.ReadDir(root.FS(), partialDir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if info, err := e.Info(); err == nil && now.Sub(info.ModTime()) > staleAfter {
			_ = root.Remove(partialDir + "/" + e.Name())
		}
	}
}

// release closes what was only read from: no data can be lost with it.
func release(c io.Closer) { _ = c.Close() }
