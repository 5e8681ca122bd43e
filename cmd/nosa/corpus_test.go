package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const smolVocabulary = "../../tokenizer/testdata/smollm2.tokenizer.json"

func TestCorpus(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.jsonl")
	if err := os.WriteFile(in, []byte(`{"text": "Call me Ishmael."}`+"\n"+`{"text": ""}`+"\n"+`{"text": "48213"}`+"\n"), 0o666); err != nil {
		t.Fatal(err)
	}
	set := filepath.Join(dir, "set")
	var facts corpusFacts
	parseJSON(t, nosa(t, nil, "--json", "corpus", "build", in, set, "--vocabulary", smolVocabulary), &facts)
	if facts.Documents != 2 || facts.Empty != 1 || facts.Bytes != 21 || facts.Files != 1 || facts.Shards != 1 || len(facts.Digest) != 64 {
		t.Errorf("%+v", facts)
	}
	built := facts.Digest
	parseJSON(t, nosa(t, nil, "--json", "corpus", "show", set), &facts)
	if facts.Digest != built {
		t.Errorf("%+v", facts)
	}
	if r := nosa(t, nil, "corpus", "show", set); !strings.HasPrefix(r.out, "2 documents (1 without text left out) of 1 files, 21 B of text: ") || r.errors != "" {
		t.Errorf("%+v", r)
	}
	// The ids are those of nosa tokenize, and the end of a text.
	r := nosa(t, nil, "corpus", "show", set, "--ids")
	lines := strings.Split(r.out, "\n")
	var got []int32
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil || len(lines) != 3 {
		t.Fatalf("%+v", r)
	}
	var want struct {
		Tokens []int32  `json:"tokens"`
		Pieces []string `json:"pieces"`
		Count  int      `json:"count"`
	}
	parseJSON(t, nosa(t, nil, "--json", "tokenize", textModel(t), "Call me Ishmael."), &want)
	if !slices.Equal(got[:len(got)-1], want.Tokens) || len(got) != want.Count+1 {
		t.Errorf("%v, want %v", got, want.Tokens)
	}

	var first string
	for _, filler := range [][]string{nil, {"--filler", set}} {
		args := append([]string{"corpus", "needles", "--vocabulary", smolVocabulary, "--count", "3", "--length", "400", "--keys", "3", "--questions", "2"}, filler...)
		r := nosa(t, nil, args...)
		if again := nosa(t, nil, args...); r.code != exitDone || again.out != r.out || r.out == first {
			t.Errorf("%+v", r)
		}
		first = r.out
		for line := range strings.Lines(r.out) {
			var n needleLine
			if err := json.Unmarshal([]byte(line), &n); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(n.Prompt, "The number of "+n.Key+" is "+n.Answer+".") || !strings.HasSuffix(n.Prompt, "The number of "+n.Key+" is") ||
				n.Tokens >= 400 || n.Depth < 0 || n.Depth > 1 {
				t.Errorf("%+v", n)
			}
		}
	}
}

func TestCorpusRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "a.txt")
	if err := os.WriteFile(text, []byte("one\ntw\xf6"), 0o666); err != nil {
		t.Fatal(err)
	}
	set := filepath.Join(dir, "set")
	v := []string{"--vocabulary", smolVocabulary}
	with := func(args ...string) []string { return append(append([]string{"corpus"}, args...), v...) }
	nosa(t, nil, "corpus", "build", text, set).refused(t, exitUsage, "--vocabulary")
	nosa(t, nil, with("build", text, set)...).refused(t, exitFailed, "a.txt: line 2, byte 3: byte 0xf6 is not UTF-8")
	nosa(t, nil, with("build", text, dir)...).refused(t, exitFailed, "already exists")
	nosa(t, nil, with("build", text, set, "--field", "x")...).refused(t, exitFailed, "no field")
	nosa(t, nil, with("build", text, set, "--threads", "-1")...).refused(t, exitUsage, "--threads")
	nosa(t, nil, "corpus", "show", dir).refused(t, exitFailed, "corpus.json")
	nosa(t, nil, with("needles", "--length", "20")...).refused(t, exitUsage, "no room")
	nosa(t, nil, with("needles", "--questions", "2")...).refused(t, exitFailed, "2 questions for 1 needles")
}
