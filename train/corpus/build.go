package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"nosa/weights"
)

// Options are what Build makes a set of.
type Options struct {
	Vocabulary *Vocabulary
	Path       string // a file, or a folder of files
	Format     Format // "": by the names of the files
	Field      string // of JSONL and Parquet; "": text

	Threads     int                     // 0: one for each processor; no id depends on it
	ShardTokens uint64                  // a shard ends with the document that reaches so many; 0: 32 Mi
	Progress    func(done, total int64) // bytes of the input; called from one goroutine at a time
}

const (
	defaultShardTokens = 32 << 20
	maxShardDocuments  = 4 << 20 // their ends are kept in memory until the shard is written
	buildVersion       = 1       // of the way from a text to ids: another one makes other keys
	lockName           = "lock"
	journalName        = "building.json"
)

// place is a document of the input: the file's number in the order of names, and the document's in the file.
type place struct {
	Input    int    `json:"input"`
	Document uint64 `json:"document"`
}

// prepared fills in what is absent, and lists the files.
func (o Options) prepared() (Options, []input, error) {
	if o.Format == "" {
		f, err := DetectFormat(o.Path)
		if err != nil {
			return o, nil, err
		}
		o.Format = f
	}
	switch {
	case o.Format == Text && o.Field != "":
		return o, nil, fmt.Errorf("a text has no field %q: %w", o.Field, ErrConfig)
	case o.Format != Text && o.Field == "":
		o.Field = "text"
	}
	if o.Threads <= 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	if o.ShardTokens == 0 {
		o.ShardTokens = defaultShardTokens
	}
	inputs, err := listInputs(o.Path, o.Format)
	return o, inputs, err
}

// key stands for the input and the settings: a set with the same key need not be built again. Files count by name, size and
// time of change, so that looking takes no time whatever their size.
func (o Options) key(inputs []input) (string, error) {
	h := sha256.New()
	e := json.NewEncoder(h)
	if err := e.Encode([]any{buildVersion, hexDigest(o.Vocabulary.Digest()), o.Format, o.Field, o.ShardTokens}); err != nil {
		return "", err
	}
	for _, in := range inputs {
		if err := e.Encode([]any{in.path, in.size, in.change}); err != nil {
			return "", err
		}
	}
	return hexDigest([sha256.Size]byte(h.Sum(nil))), nil
}

// Prepare opens the set of an input in a folder of sets, and builds it if it is not there. Where the input is a set itself,
// that is opened.
func Prepare(ctx context.Context, folder string, o Options) (*Set, error) {
	if IsSet(o.Path) {
		return Open(o.Path, o.Vocabulary)
	}
	o, inputs, err := o.prepared()
	if err != nil {
		return nil, err
	}
	key, err := o.key(inputs)
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(folder, filepath.Base(filepath.Clean(o.Path))+"-"+key[:16])
	if IsSet(dir) {
		return Open(dir, o.Vocabulary)
	}
	return build(ctx, dir, o, inputs, key)
}

// Build makes a set in a folder that is not there yet. What it had finished before it was interrupted, it takes up again.
func Build(ctx context.Context, dir string, o Options) (*Set, error) {
	o, inputs, err := o.prepared()
	if err != nil {
		return nil, err
	}
	key, err := o.key(inputs)
	if err != nil {
		return nil, err
	}
	return build(ctx, dir, o, inputs, key)
}

func build(ctx context.Context, dir string, o Options, inputs []input, key string) (s *Set, err error) {
	if _, err := os.Lstat(dir); err == nil {
		return nil, fmt.Errorf("%s: %w; remove it or choose another name", dir, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	work := filepath.Join(filepath.Dir(dir), "."+filepath.Base(dir)+".building")
	if err := os.MkdirAll(work, 0o777); err != nil {
		return nil, err
	}
	release, err := lock(filepath.Join(work, lockName))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, release()) }()
	about, err := resume(work, o, key)
	if err != nil {
		return nil, err
	}
	about.Files = len(inputs)
	if err := write(ctx, work, o, inputs, about); err != nil {
		return nil, err
	}
	if len(about.Shards) == 0 {
		return nil, fmt.Errorf("%s: no document has a text: %w", o.Path, ErrText)
	}
	about.Next = nil
	if err := writeJSON(filepath.Join(work, manifestName), about); err != nil {
		return nil, err
	}
	for _, name := range []string{journalName, lockName} {
		if err := os.Remove(filepath.Join(work, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	if err := os.Rename(work, dir); err != nil {
		return nil, err
	}
	if err := weights.SyncFolder(filepath.Dir(dir)); err != nil {
		return nil, err
	}
	return Open(dir, o.Vocabulary)
}

// resume returns how far an interrupted Build of the same key came, if each of its shards is sound, or the beginning.
func resume(work string, o Options, key string) (*manifest, error) {
	fresh := &manifest{
		Version: manifestVersion, Key: key, Format: o.Format, Field: o.Field,
		Vocabulary: o.Vocabulary.Size(), Digest: hexDigest(o.Vocabulary.Digest()), Next: &place{},
	}
	about := new(manifest)
	err := readJSON(filepath.Join(work, journalName), about, maxManifest)
	switch {
	case errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt):
		return fresh, nil
	case err != nil:
		return nil, err
	case about.Version != manifestVersion || about.Key != key || about.Next == nil:
		return fresh, nil
	}
	s := &Set{dir: work, about: *about}
	err = s.load()
	if err == nil {
		err = s.Verify(context.Background())
	}
	if closing := s.Close(); closing != nil {
		return nil, closing
	}
	if err != nil { // what is damaged is made again
		return fresh, nil
	}
	return about, nil
}
