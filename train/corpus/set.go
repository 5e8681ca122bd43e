package corpus

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"

	"nosa/weights"
)

const (
	manifestName    = "corpus.json"
	manifestVersion = 1
	maxManifest     = 64 << 20
	maxShards       = 1 << 17
)

// manifest is corpus.json: what a set was made of, and its shards.
type manifest struct {
	Version    int        `json:"version"`
	Key        string     `json:"key"` // of the input and the settings: see Options.key
	Format     Format     `json:"format"`
	Field      string     `json:"field,omitempty"`
	Vocabulary int        `json:"vocabulary"`
	Digest     string     `json:"vocabulary_digest"`
	Files      int        `json:"files"`
	Bytes      int64      `json:"text_bytes"`
	Empty      int64      `json:"empty_documents"` // left out
	Documents  uint64     `json:"documents"`
	Tokens     uint64     `json:"tokens"`
	Shards     []shardRow `json:"shards"`
	Next       *place     `json:"next,omitempty"` // where an interrupted Build goes on
}

type shardRow struct {
	Name      string `json:"name"`
	Documents uint64 `json:"documents"`
	Tokens    uint64 `json:"tokens"`
}

// Set is the ids of one collection of texts, mapped. It is safe for use by several goroutines until it is closed.
type Set struct {
	dir    string
	about  manifest
	shards []*shard
	before []uint64 // documents in the shards before
	digest [sha256.Size]byte
}

// IsSet tells whether path is the folder of a set.
func IsSet(path string) bool {
	info, err := os.Stat(filepath.Join(path, manifestName))
	return err == nil && info.Mode().IsRegular()
}

// Open maps the set in a folder. v is the vocabulary that it must have been built with; nil takes any.
func Open(dir string, v *Vocabulary) (*Set, error) {
	s := &Set{dir: dir}
	path := filepath.Join(dir, manifestName)
	if err := readJSON(path, &s.about, maxManifest); err != nil {
		return nil, err
	}
	if s.about.Version != manifestVersion {
		return nil, fmt.Errorf("%s: version %d, want %d: build the corpus anew: %w", path, s.about.Version, manifestVersion, ErrCorrupt)
	}
	if v != nil && s.about.Digest != hexDigest(v.Digest()) {
		return nil, fmt.Errorf("%s: tokens of %s: %w", dir, s.about.Digest, ErrVocabulary)
	}
	if err := s.load(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func hexDigest(d [sha256.Size]byte) string { return hex.EncodeToString(d[:]) }

// load maps the shards and holds them against the manifest.
func (s *Set) load() error {
	if n := len(s.about.Shards); n == 0 || n > maxShards {
		return fmt.Errorf("%s: %d shards: %w", s.dir, n, ErrCorrupt)
	}
	h := sha256.New()
	var documents, tokens uint64
	for _, row := range s.about.Shards {
		if row.Name != filepath.Base(row.Name) {
			return fmt.Errorf("%s: shard %q is not in the folder: %w", s.dir, row.Name, ErrCorrupt)
		}
		sh, err := openShard(filepath.Join(s.dir, row.Name))
		if err != nil {
			return err
		}
		s.shards, s.before = append(s.shards, sh), append(s.before, documents)
		switch {
		case sh.documents != row.Documents || sh.tokens != row.Tokens:
			return fmt.Errorf("%s: %d documents of %d tokens, the manifest says %d of %d: %w", sh.name, sh.documents, sh.tokens,
				row.Documents, row.Tokens, ErrCorrupt)
		case hexDigest(sh.header.digest) != s.about.Digest || sh.vocabulary != s.about.Vocabulary:
			return fmt.Errorf("%s: is of another vocabulary than the manifest: %w", sh.name, ErrCorrupt)
		}
		documents, tokens = documents+sh.documents, tokens+sh.tokens
		h.Write(sh.encode())
	}
	if documents != s.about.Documents || tokens != s.about.Tokens {
		return fmt.Errorf("%s: %d documents of %d tokens, the manifest says %d of %d: %w", s.dir, documents, tokens,
			s.about.Documents, s.about.Tokens, ErrCorrupt)
	}
	s.digest = [sha256.Size]byte(h.Sum(nil))
	return nil
}

// Dir is the folder.
func (s *Set) Dir() string { return s.dir }

// Documents is how many there are.
func (s *Set) Documents() uint64 { return s.about.Documents }

// Tokens is how many there are in all documents.
func (s *Set) Tokens() uint64 { return s.about.Tokens }

// Vocabulary is one more than the largest id that there may be.
func (s *Set) Vocabulary() int { return s.about.Vocabulary }

// Facts are what a report says of a set.
type Facts struct {
	Files, Shards     int
	Documents, Tokens uint64
	Bytes, Empty      int64 // of text; documents without any, which were left out
}

// Facts tells them.
func (s *Set) Facts() Facts {
	return Facts{s.about.Files, len(s.shards), s.about.Documents, s.about.Tokens, s.about.Bytes, s.about.Empty}
}

// Digest stands for every id and every border between documents: sets with the same digest are the same data.
func (s *Set) Digest() [sha256.Size]byte { return s.digest }

// locate returns the shard that has document d, and its number there.
func (s *Set) locate(d uint64) (*shard, uint64) {
	i := sort.Search(len(s.before), func(i int) bool { return s.before[i] > d }) - 1
	return s.shards[i], d - s.before[i]
}

// length is how many tokens document d has, at least one. The caller holds weights.Guard.
func (s *Set) length(d uint64) uint64 {
	sh, d := s.locate(d)
	begin, end := sh.document(d)
	return end - begin
}

// Document appends the ids of document d to dst.
func (s *Set) Document(dst []int32, d uint64) ([]int32, error) {
	if d >= s.Documents() {
		return dst, fmt.Errorf("%s: document %d of %d: %w", s.dir, d, s.Documents(), ErrConfig)
	}
	err := weights.Guard(func() error {
		have, n := len(dst), s.length(d)
		dst = append(dst, make([]int32, n)...)
		return s.read(d, 0, dst[have:])
	})
	return dst, err
}

// read sets dst to the ids of document d from its token at on; the document has as many. The caller holds weights.Guard.
func (s *Set) read(d, at uint64, dst []int32) error {
	sh, d := s.locate(d)
	begin, _ := sh.document(d)
	return sh.read(dst, begin+at)
}

// Verify reads everything and holds it against its checksums.
func (s *Set) Verify(ctx context.Context) error {
	for _, sh := range s.shards {
		if err := context.Cause(ctx); err != nil {
			return err
		}
		if err := sh.verify(); err != nil {
			return err
		}
	}
	return nil
}

// Close unmaps the shards.
func (s *Set) Close() error {
	var errs []error
	for _, sh := range s.shards {
		errs = append(errs, sh.close())
	}
	s.shards = nil
	return errors.Join(errs...)
}
