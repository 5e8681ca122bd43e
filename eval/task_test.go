package eval

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// prose is running text of a test's own.
func prose(words int) string {
	var b strings.Builder
	for i := range words {
		w := fmt.Sprintf("word%d", i*i%97)
		if i%11 == 0 {
			w = "Then"
		}
		b.WriteString(w)
		if i%11 == 10 {
			b.WriteByte('.')
		}
		b.WriteByte(' ')
	}
	return b.String()
}

// material counts four bytes as a token, and has files of questions.
func material(t testing.TB) *Material {
	t.Helper()
	g := readRulerFiles(t)
	dir := t.TempDir()
	m := &Material{Seed: 42, Count: Estimate{}.Count, Middle: Estimate{}.Middle, Book: prose(3000), Squad: filepath.Join(dir, "squad.json"), Hotpot: filepath.Join(dir, "hotpot.json")}
	for path, data := range map[string][]byte{m.Squad: g.Squad, m.Hotpot: g.Hotpot} {
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func readRulerFiles(t testing.TB) (g struct{ Squad, Hotpot json.RawMessage }) {
	t.Helper()
	data, err := os.ReadFile("testdata/ruler.json")
	if err == nil {
		err = json.Unmarshal(data, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

var generated = slices.Concat([]string{"niah", "passkey", "kv_retrieval"}, rulerTasks)

// A sample is the same bits for all time and on every machine: the digests stand for those of seed 42. Whoever changes them changes
// what results were made of, and must say so.
func TestSamplesStayAsTheyAre(t *testing.T) {
	digests := map[string]string{
		"niah": "9588c25753f38001", "passkey": "1c645737b8273385", "kv_retrieval": "08e46a4a4eab3599",
		"niah_single_1": "3c858f2da0f20276", "niah_single_2": "c13c92f10637ede7", "niah_single_3": "13bf96c63e1e2312",
		"niah_multikey_1": "14c85b9d38324278", "niah_multikey_2": "2207ce09bf770415", "niah_multikey_3": "cb2864b4a7dd4afb",
		"niah_multivalue": "41306c0c6dbb04c6", "niah_multiquery": "fbb9b424919b0725", "vt": "f40094f403039716",
		"cwe": "adcd4a598c23e2ad", "fwe": "1b91b75869608efb", "qa_1": "82887365362db70f",
		"qa_2": "9091967f0a65985e",
	}
	for _, name := range generated {
		task, err := newTask(name, material(t))
		if err != nil {
			t.Fatal(err)
		}
		h := sha256.New()
		for _, index := range []int{3, 0, 1, 2} { // whatever the order
			s, err := task.Sample(4096, index)
			if err != nil {
				t.Fatal(err)
			}
			again, err := task.Sample(4096, index)
			if err != nil || again.Prompt != s.Prompt {
				t.Fatalf("%s, sample %d: another one, %v", name, index, err)
			}
			h.Write([]byte(s.Prompt + "\x00" + s.Prefix + "\x00" + strings.Join(s.Answers, "\x00") + "\x00"))
		}
		if got := hex.EncodeToString(h.Sum(nil)[:8]); got != digests[name] {
			t.Errorf("\t\t%q: %q,", name, got)
		}
	}
}

// Samples are as long as is asked for, within what one more sentence or document takes, have what they ask for, and differ.
func TestSamples(t *testing.T) {
	m := material(t)
	for _, name := range generated {
		task, err := newTask(name, m)
		if err != nil {
			t.Fatal(err)
		}
		for _, length := range []int{2000, 8192} {
			prompts := map[string]bool{}
			for index := range 6 {
				s, err := task.Sample(length, index)
				if err != nil {
					t.Fatalf("%s at %d: %v", name, length, err)
				}
				tokens := m.Count(s.Prompt+s.Prefix) + s.MaxTokens
				if tokens > length || tokens < length*4/5 && !strings.HasPrefix(name, "qa_2") { // whose file is small
					t.Errorf("%s: %d tokens, want %d", name, tokens, length)
				}
				prompts[s.Prompt] = true
				for _, a := range s.Answers {
					if !strings.Contains(s.Prompt, a) && !strings.HasPrefix(name, "qa") {
						t.Errorf("%s: the prompt has no %q", name, a)
					}
				}
				if s.Depth >= 0 && (s.Depth > 1 || len(s.Answers) != 1) {
					t.Errorf("%s: depth %g, answers %q", name, s.Depth, s.Answers)
				}
				if right := task.Score(s, " "+strings.Join(s.Answers, ", ")+"."); right != 1 {
					t.Errorf("%s: the right answer scores %g", name, right)
				}
				if wrong := task.Score(s, " 0"); wrong != 0 {
					t.Errorf("%s: no answer scores %g", name, wrong)
				}
			}
			if len(prompts) < 6 {
				t.Errorf("%s at %d: %d different prompts of 6", name, length, len(prompts))
			}
		}
		if _, err := task.Sample(40, 0); !errors.Is(err, ErrTask) {
			t.Errorf("%s in 40 tokens: %v", name, err)
		}
	}
}

// The grid has a needle at every depth, in order.
func TestGridDepths(t *testing.T) {
	m := material(t)
	m.Depths = 5
	task, err := newTask("niah", m)
	if err != nil {
		t.Fatal(err)
	}
	for index := range 10 {
		s, err := task.Sample(4096, index)
		if err != nil {
			t.Fatal(err)
		}
		want := float64(index%5) / 4
		at := float64(strings.Index(s.Prompt, s.Answers[0])) / float64(len(s.Prompt))
		if s.Depth != want || at < want-0.05 || at > want+0.05 {
			t.Errorf("sample %d: depth %g, the needle lies at %g, want %g", index, s.Depth, at, want)
		}
	}
}

func TestTasksRefuse(t *testing.T) {
	for name, tc := range map[string]struct {
		asked string
		m     Material
		says  string
	}{
		"unknown":      {"nia", Material{}, "no task"},
		"no book":      {"niah_single_2", Material{}, "--book"},
		"no questions": {"qa_1", Material{}, "--squad"},
		"nor others":   {"qa_2", Material{}, "--hotpotqa"},
		"no folder":    {"hotpotqa", Material{}, "--longbench"},
		"no words":     {"dureader", Material{}, "dictionary"},
		"depths":       {"niah", Material{Depths: 1}, "depths"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := newTask(tc.asked, &tc.m); !errors.Is(err, ErrTask) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%v, want %q", err, tc.says)
			}
		})
	}
}

// Words are there once, so that no list has two that are the same.
func TestWords(t *testing.T) {
	words, pairs := ownWords()
	l := ownLexicon()
	for name, list := range map[string][]string{"words": words, "pairs": pairs, "adjectives": l.adjectives, "nouns": l.nouns} {
		seen := map[string]bool{}
		for _, w := range list {
			if seen[w] {
				t.Errorf("%s: %q is there twice", name, w)
			}
			seen[w] = true
		}
	}
	if len(words) < 1200 || len(pairs) < 100_000 {
		t.Errorf("%d words and %d pairs", len(words), len(pairs))
	}
}

func TestSentences(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "",
		"One. Two? Three! four":             "One.|Two?|Three! four",
		"He said \"No.\" Then (so.) He was": "He said \"No.\"|Then (so.)|He was",
		"A 3.5 b. ":                         "A 3.5 b.",
		"U.S. of":                           "U.S. of",
	} {
		if got := strings.Join(splitSentences(text), "|"); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// A draw of a sample depends on the seed, the task, the length and the number alone, and is fair enough.
func TestDraws(t *testing.T) {
	base := newDraws(1, "a", 2, 3).Bits()
	for _, d := range []Draws{newDraws(2, "a", 2, 3), newDraws(1, "b", 2, 3), newDraws(1, "a", 3, 3), newDraws(1, "a", 2, 4)} {
		if d.Bits() == base {
			t.Error("another sample begins with the same draw")
		}
	}
	if newDraws(1, "a", 2, 3).Bits() != base {
		t.Error("the same sample begins with another draw")
	}
	count := make([]int, 10)
	d := newDraws(9, "sample", 0, 0)
	for range 10_000 {
		s := d.Sample(10, 3)
		if s[0] == s[1] || s[1] == s[2] || s[0] == s[2] {
			t.Fatalf("drawn twice: %v", s)
		}
		for _, v := range s {
			count[v]++
		}
	}
	for v, n := range count {
		if n < 2800 || n > 3200 {
			t.Errorf("%d was drawn %d times of 30,000", v, n)
		}
	}
}
