package corpus

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// shardBytes is the file of a shard of given documents.
func shardBytes(t testing.TB, vocabulary int, docs [][]int32) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "shard")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	w := &shardWriter{file: f, to: bufio.NewWriter(f)}
	w.width, w.vocabulary = widthOf(vocabulary), vocabulary
	if _, err := w.to.Write(make([]byte, headerBytes)); err != nil {
		t.Fatal(err)
	}
	for _, ids := range docs {
		for i := range ids { // one by one: chunks end anywhere
			if err := w.add(ids[i:i+1], i == len(ids)-1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestShard(t *testing.T) {
	long := make([]int32, chunkBytes/2+7)
	for i := range long {
		long[i] = int32(i % 1000)
	}
	for _, vocabulary := range []int{1000, 1 << 16, 1<<16 + 1} {
		docs := [][]int32{{1, 2, 3}, long, {999}, {0, int32(min(vocabulary, 1<<16) - 1)}}
		s, err := parseShard("it", shardBytes(t, vocabulary, docs))
		if err != nil {
			t.Fatal(err)
		}
		if want := 1 + (vocabulary >> 16); s.width == 2 && s.count != 2 || s.width == 4 && s.count != 3 {
			t.Errorf("%d chunks of width %d (%d)", s.count, s.width, want)
		}
		for d, want := range docs {
			begin, end := s.document(uint64(d))
			got := make([]int32, end-begin)
			if err := s.read(got, begin); err != nil || !slices.Equal(got, want) {
				t.Errorf("document %d: %v", d, err)
			}
		}
	}
}

// TestShardDamaged flips each byte, and cuts at each length: nothing passes unseen.
func TestShardDamaged(t *testing.T) {
	good := shardBytes(t, 5000, [][]int32{{1, 2, 3}, {4}, {4999, 0}})
	refused := func(data []byte) bool {
		s, err := parseShard("name.tok", data)
		if err == nil {
			err = s.verify()
		}
		if err != nil && (!errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), "name.tok: ")) {
			t.Errorf("%v", err)
		}
		return err != nil
	}
	if refused(good) {
		t.Fatal("the whole one is refused")
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x10
		if !refused(bad) {
			t.Errorf("byte %d changed, and nobody saw it", i)
		}
		if !refused(good[:i]) {
			t.Errorf("%d bytes are enough", i)
		}
	}
	if !refused(append(bytes.Clone(good), 0)) {
		t.Error("a byte more is taken")
	}
	// A checksum that was made to fit does not let an id pass that the vocabulary lacks.
	bad := bytes.Clone(good)
	binary.LittleEndian.PutUint16(bad[headerBytes:], 5000)
	h, _ := parseHeader(bad)
	l := h.layout()
	binary.LittleEndian.PutUint32(bad[l.chunks:], crc32.Checksum(bad[headerBytes:headerBytes+2*h.tokens], castagnoli))
	h.chunksCRC = crc32.Checksum(bad[l.chunks:], castagnoli)
	copy(bad, h.encode())
	s, err := parseShard("name.tok", bad)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.read(make([]int32, 1), 2); err == nil || !strings.Contains(err.Error(), "id 5000 at byte 128") {
		t.Error(err)
	}
}

func TestHeader(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := header{vocabulary: rapid.IntRange(1, 1<<31-1).Draw(t, "vocabulary"), tokens: rapid.Uint64Range(1, maxTokens).Draw(t, "tokens")}
		h.width = widthOf(h.vocabulary)
		h.documents = rapid.Uint64Range(1, h.tokens).Draw(t, "documents")
		h.endsCRC, h.chunksCRC = rapid.Uint32().Draw(t, "ends"), rapid.Uint32().Draw(t, "chunks")
		copy(h.digest[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "digest"))
		if got, err := parseHeader(h.encode()); err != nil || got != h {
			t.Fatalf("%+v came back as %+v, %v", h, got, err)
		}
	})
}

func FuzzShard(f *testing.F) {
	f.Add(shardBytes(f, 5000, [][]int32{{1, 2, 3}, {4}}))
	f.Add(shardBytes(f, 100000, [][]int32{{99999}}))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) >= headerBytes { // so that the fuzzer gets past the sum
			binary.LittleEndian.PutUint32(data[124:], crc32.Checksum(data[:124], castagnoli))
		}
		s, err := parseShard("it", data)
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(s.encode(), data[:headerBytes]) {
			t.Fatal("accepts a header that nobody writes")
		}
		if s.verify() != nil {
			return
		}
		var docs [][]int32
		for d := range s.documents {
			begin, end := s.document(d)
			ids := make([]int32, end-begin)
			if err := s.read(ids, begin); err != nil {
				t.Fatal(err)
			}
			docs = append(docs, ids)
		}
		if again := shardBytes(t, s.vocabulary, docs); !bytes.Equal(again[headerBytes:], data[headerBytes:]) {
			t.Fatal("accepts sections that nobody writes")
		}
	})
}

// TestSetDamaged: a set whose manifest and shards do not belong together is refused, and a file that is cut short while it is
// mapped is an error.
func TestSetDamaged(t *testing.T) {
	s := madeSet(t, [][]int32{{1, 2}, {3, 4, 5}, make([]int32, 100000)}, 4)
	if len(s.shards) != 2 {
		t.Fatalf("%d shards", len(s.shards))
	}
	manifest, err := os.ReadFile(filepath.Join(s.Dir(), manifestName))
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{
		`"version": 1`: `"version": 2`, `"documents": 3`: `"documents": 4`, `"tokens": 5,`: `"tokens": 6,`, "shard-00001": "../shard-00001",
		`"vocabulary": `: `"vocabulary": 1`, "{": "[",
	} {
		bad := strings.Replace(string(manifest), from, to, 1)
		if bad == string(manifest) && from != `"tokens": 5,` {
			t.Fatalf("%s is not in %s", from, manifest)
		} else if bad == string(manifest) {
			continue
		}
		writeFile(t, filepath.Join(s.Dir(), manifestName), bad)
		if _, err := Open(s.Dir(), nil); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s: %v", to, err)
		}
	}
	writeFile(t, filepath.Join(s.Dir(), manifestName), string(manifest))
	if _, err := Open(s.Dir(), vocabulary(t, "llama3")); !errors.Is(err, ErrVocabulary) {
		t.Error(err)
	}
	if err := os.Truncate(filepath.Join(s.Dir(), "shard-00001.tok"), 4096); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Document(nil, 2); err == nil || !strings.Contains(err.Error(), "cut short") {
		t.Error(err)
	}
	if _, err := Open(s.Dir(), nil); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}
