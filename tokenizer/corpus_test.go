package tokenizer

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
)

var corpusDir = flag.String("corpus", "", "folder made by scripts/oracles/tokenizers_golden.py corpus")

type manifest struct {
	MadeWith string            `json:"made_with"`
	Files    map[string][2]any `json:"files"`
	IDs      map[string]string `json:"ids"`
}

func readManifest(t testing.TB) manifest {
	t.Helper()
	if *corpusDir == "" {
		t.Skip("needs -corpus DIR, see scripts/oracles/tokenizers_golden.py")
	}
	var m manifest
	if err := json.Unmarshal(readCorpus(t, "manifest.json"), &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func readCorpus(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(*corpusDir, name))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// loadCorpus reads a tokenizer of the corpus folder or, by the same name, of testdata.
func loadCorpus(t testing.TB, kind string) *Tokenizer {
	t.Helper()
	if slices.Contains(kinds, kind) {
		return load(t, kind)
	}
	tok, err := Parse(readCorpus(t, kind+".tokenizer.json"), nil)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// The ids of megabytes of text are the reference's, for every kind. Texts and ids are checked by their hash first.
func TestCorpus(t *testing.T) {
	m := readManifest(t)
	names := make([]string, 0, len(m.IDs))
	for name := range m.IDs {
		names = append(names, name)
	}
	sort.Strings(names)
	loaded := map[string]*Tokenizer{}
	total := map[string]int{}
	for _, name := range names {
		kind, file, _ := strings.Cut(name, ".")
		text := readCorpus(t, file+".txt")
		if got := sum(text); got != m.Files[file][1] {
			t.Fatalf("%s.txt has hash %s, the manifest says %s", file, got, m.Files[file][1])
		}
		want := readCorpus(t, name+".ids")
		if got := sum(want); got != m.IDs[name] {
			t.Fatalf("%s.ids has hash %s, the manifest says %s", name, got, m.IDs[name])
		}
		if loaded[kind] == nil {
			loaded[kind] = loadCorpus(t, kind)
		}
		ids := loaded[kind].Encode(nil, string(text), EncodeOptions{})
		if got := idBytes(ids); !bytes.Equal(got, want) {
			t.Errorf("%s: %d ids, want %d%s", name, len(ids), len(want)/4, firstDifference(loaded[kind], ids, want))
			continue
		}
		total[kind] += len(text)
	}
	for kind, n := range total {
		t.Logf("%s: ids equal on %.2f MB", kind, float64(n)/1e6)
	}
}

// firstDifference shows what stands around the first id that is not as wanted.
func firstDifference(tok *Tokenizer, got []int32, wantBytes []byte) string {
	want := make([]int32, len(wantBytes)/4)
	for i := range want {
		b := wantBytes[4*i:]
		want[i] = int32(b[0]) | int32(b[1])<<8 | int32(b[2])<<16 | int32(b[3])<<24
	}
	i := 0
	for i < len(got) && i < len(want) && got[i] == want[i] {
		i++
	}
	around := func(ids []int32) []string { return tokens(tok, ids[max(0, i-4):min(len(ids), i+8)]) }
	return fmt.Sprintf(", from id %d on:\n got %q\nwant %q", i, around(got), around(want))
}

// ggufOf reads the vocabulary of a GGUF file that the script wrote as JSON.
func ggufOf(t testing.TB, name string) GGUF {
	t.Helper()
	var f struct {
		Model, Pre     string
		Tokens, Merges []string
		Types          []int32
		BOS, EOS       int32
	}
	if err := json.Unmarshal(readCorpus(t, name+".gguf.json"), &f); err != nil {
		t.Fatal(err)
	}
	return GGUF{Model: f.Model, Pre: f.Pre, Tokens: f.Tokens, Types: f.Types, Merges: f.Merges, BOS: f.BOS, EOS: f.EOS, UNK: -1, PAD: -1}
}

// The metadata of SmolLM2's GGUF file gives the reference's ids, as the same vocabulary in tokenizer.json does.
func TestCorpusGGUF(t *testing.T) {
	m := readManifest(t)
	tok, err := FromGGUF(ggufOf(t, "smollm2-real"))
	if err != nil {
		t.Fatal(err)
	}
	for file := range m.Files {
		ids := tok.Encode(nil, string(readCorpus(t, file+".txt")), EncodeOptions{})
		if got := sum(idBytes(ids)); got != m.IDs["smollm2-real."+file] {
			t.Errorf("%s: ids differ%s", file, firstDifference(tok, ids, readCorpus(t, "smollm2-real."+file+".ids")))
		}
	}
}

// Both models give llama.cpp's ids (scripts/oracles/tokenizers_llama.py).
func TestCorpusLlama(t *testing.T) {
	readManifest(t)
	var m map[string]string
	if err := json.Unmarshal(readCorpus(t, "llama.json"), &m); err != nil {
		t.Fatal(err)
	}
	vocabularies := map[string]GGUF{"sp": asGGUF(t, "sp", "llama", ""), "smollm2-real": ggufOf(t, "smollm2-real")}
	toks := map[string]*Tokenizer{}
	for name, g := range vocabularies {
		tok, err := FromGGUF(g)
		if err != nil {
			t.Fatal(err)
		}
		toks[name] = tok
	}
	for name, hash := range m {
		model, file, _ := strings.Cut(name, ".")
		want := readCorpus(t, "llama."+name+".ids")
		if sum(want) != hash {
			t.Fatalf("llama.%s.ids is not what the manifest says", name)
		}
		ids := toks[model].Encode(nil, string(readCorpus(t, file+".txt")), EncodeOptions{})
		if !bytes.Equal(idBytes(ids), want) {
			t.Errorf("%s: %d ids, want %d%s", name, len(ids), len(want)/4, firstDifference(toks[model], ids, want))
		}
	}
}
