package corpus

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

var vocabularies sync.Map // by name: they are read once

// vocabulary is one of the tokenizers that package tokenizer is tested with.
func vocabulary(t testing.TB, name string) *Vocabulary {
	t.Helper()
	if v, ok := vocabularies.Load(name); ok {
		return v.(*Vocabulary)
	}
	v, err := ReadVocabulary("../../tokenizer/testdata/" + name + ".tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	vocabularies.Store(name, v)
	return v
}

// prose is a text of about n bytes that a seed fixes: lines, blank lines, indentation, marks, numbers and other scripts.
func prose(seed uint64, n int) string {
	r := random(seed)
	words := []string{"whale", "sea", "Ishmael", "the", "a", "don't", "é", "鲸鱼", "42", "x=1;", "--", "…", "\U0001F433", "SHIP", "i", "of"}
	ends := []string{" ", " ", " ", " ", " ", "\n", ".\n", ".\n\n", "\n  ", ",\n\t", " \n", "\r\n", "\n\n\n", "/\n"}
	var b strings.Builder
	for b.Len() < n {
		b.WriteString(words[r.below(len(words))])
		b.WriteString(ends[r.below(len(ends))])
	}
	return b.String()
}

func writeFile(t testing.TB, path, text string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
	return path
}

// texts writes a folder of text files.
func texts(t testing.TB, list ...string) string {
	t.Helper()
	dir := t.TempDir()
	for i, text := range list {
		writeFile(t, filepath.Join(dir, fmt.Sprintf("%03d.txt", i)), text)
	}
	return dir
}

// built makes a set, which the test's end closes.
func built(t testing.TB, o Options) *Set {
	t.Helper()
	if o.Vocabulary == nil {
		o.Vocabulary = vocabulary(t, "gpt2")
	}
	s, err := Build(t.Context(), filepath.Join(t.TempDir(), "set"), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// documents reads a set whole.
func documents(t testing.TB, s *Set) [][]int32 {
	t.Helper()
	docs := make([][]int32, s.Documents())
	for d := range docs {
		var err error
		if docs[d], err = s.Document(nil, uint64(d)); err != nil {
			t.Fatal(err)
		}
	}
	return docs
}

// folderBytes are all bytes of a set's files, by name.
func folderBytes(t testing.TB, dir string) []byte {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&b, "%s %d\n", filepath.Base(name), len(data))
		b.Write(data)
	}
	return b.Bytes()
}

// madeSet is a set of given documents, with a vocabulary of their ids.
func madeSet(t testing.TB, docs [][]int32, shardTokens uint64) *Set {
	t.Helper()
	dir := t.TempDir()
	v := vocabulary(t, "gpt2")
	w := &setWriter{work: dir, options: Options{Vocabulary: v, ShardTokens: shardTokens}, about: &manifest{
		Version: manifestVersion, Vocabulary: v.Size(), Digest: hexDigest(v.Digest()),
	}}
	plain := *v
	plain.Begin, plain.End = -1, -1
	w.options.Vocabulary = &plain
	for i, ids := range docs {
		if err := w.piece(i, piece{last: true}, ids); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.endShard(); err != nil {
		t.Fatal(err)
	}
	if err := writeJSON(filepath.Join(dir, manifestName), w.about); err != nil {
		t.Fatal(err)
	}
	s, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}
