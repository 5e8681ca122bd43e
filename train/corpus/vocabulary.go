package corpus

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"nosa/tokenizer"
)

// Vocabulary is a tokenizer, and how a document begins and ends in ids.
type Vocabulary struct {
	*tokenizer.Tokenizer
	Begin, End int32 // ids around every document, -1 for none

	digest [sha256.Size]byte
	cuts   bool // a text cut between lines gives the same ids
}

// ReadVocabulary reads a tokenizer.json, or that of a model's folder; tokenizer_config.json beside it names the ids around a
// text. Documents begin with the start token where the tokenizer itself puts one before a text, and end with its first end
// token where it has one.
func ReadVocabulary(path string) (*Vocabulary, error) {
	if info, err := os.Stat(path); err != nil {
		return nil, err
	} else if info.IsDir() {
		path = filepath.Join(path, "tokenizer.json")
	}
	model, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	config, err := os.ReadFile(filepath.Join(filepath.Dir(path), "tokenizer_config.json"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	v, err := NewVocabulary(model, config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return v, nil
}

// NewVocabulary is ReadVocabulary of the files' bytes; configJSON may be nil.
func NewVocabulary(tokenizerJSON, configJSON []byte) (*Vocabulary, error) {
	t, err := tokenizer.Parse(tokenizerJSON, configJSON)
	if err != nil {
		return nil, err
	}
	v := &Vocabulary{Tokenizer: t, Begin: -1, End: -1}
	if around := t.Encode(nil, "", tokenizer.EncodeOptions{AddSpecial: true}); len(around) > 0 {
		if bos, ok := t.BOS(); ok && around[0] == bos {
			v.Begin = bos
		}
	}
	if ends := t.EOS(); len(ends) > 0 {
		v.End = ends[0]
	}
	h := sha256.New()
	var b []byte
	b = binary.LittleEndian.AppendUint32(b, uint32(v.Begin))
	b = binary.LittleEndian.AppendUint32(b, uint32(v.End))
	h.Write(b)
	h.Write(tokenizerJSON)
	v.digest = [sha256.Size]byte(h.Sum(nil))
	const head, tail = "Call me Ishmael.\n", "Some years ago"
	v.cuts = slices.Equal(v.text(v.text(nil, head), tail), v.text(nil, head+tail))
	return v, nil
}

// Digest stands for the ids that every text has: tokenizer.json, and what is put around a document.
func (v *Vocabulary) Digest() [sha256.Size]byte { return v.digest }

// plain: what spells a special token in a text stays text, and nothing is put around it.
var plain tokenizer.EncodeOptions

// text appends the ids of a text as it is: what spells a special token in it stays text.
func (v *Vocabulary) text(dst []int32, s string) []int32 {
	return v.Encode(dst, s, plain)
}
