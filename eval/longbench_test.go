package eval

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// longFolder has LongBench's files with samples of a test's own.
func longFolder(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	all := map[string]string{
		"config/dataset2prompt.json": `{"hotpotqa":"Read.\n{context}\nQ: {input}\nA:","samsum":"{context}\n{input}","trec":"{context} {input}","multifieldqa_zh":"{context}"}`,
		"config/dataset2maxlen.json": `{"hotpotqa":32,"samsum":16,"trec":8,"multifieldqa_zh":8}`,
		"prompts/0shot.txt":          "Text: $DOC$\n$Q$ (A) $C_A$ (B) $C_B$ (C) $C_C$ (D) $C_D$",
		"data/hotpotqa.jsonl":        `{"input":"who?","context":"{input} ran","length":900,"answers":["a dog","The Cat"],"all_classes":null,"_id":"x"}` + "\n",
		"data/hotpotqa_e.jsonl":      `{"input":"","context":"x","length":8100,"answers":["y"]}` + "\n" + `{"input":"","context":"x","length":7999,"answers":["y"]}`,
		"data/samsum.jsonl":          `{"input":"","context":"x","length":1,"answers":["the end."]}`,
		"data/trec.jsonl":            `{"input":"","context":"x","length":1,"answers":["City"],"all_classes":["City","Code"]}`,
		"data.json":                  `[{"_id":"1","difficulty":"hard","length":"short","question":" q ","choice_A":"w","choice_B":"x","choice_C":"y","choice_D":"z","answer":"C","context":" doc "}]`,
	}
	for name, text := range files {
		all[name] = text
	}
	for name, text := range all {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestLongBench(t *testing.T) {
	m := &Material{Count: Estimate{}.Count, Middle: Estimate{}.Middle, LongBench: longFolder(t, nil)}
	names, err := m.names([]string{"longbench", "longbench_e", "longbench_v2", "trec"})
	if err != nil || strings.Join(names, " ") != "hotpotqa samsum trec hotpotqa_e longbench_v2" {
		t.Fatalf("%q, %v", names, err)
	}
	for name, want := range map[string]struct {
		prompt, group, answer string
		most, tokens          int
		score                 float64
	}{
		"hotpotqa":     {"Read.\n{input} ran\nQ: who?\nA:", "", "cat and dog", 1, 32, 2.0 / 4}, // cat of 3 words; what a context says of braces stays
		"hotpotqa_e":   {"Read.\nx\nQ: \nA:", "8k+", "Y!", 2, 32, 1},
		"samsum":       {"x\n", "", "\n\nthe end.\nthe beginning", 1, 16, 1 - 1e-8/2},
		"trec":         {"x ", "", "Code, City\nCity", 1, 8, 0.5},
		"longbench_v2": {"Text: doc\nq (A) w (B) x (C) y (D) z", "hard short", "The correct answer is (C)", 1, 128, 1},
	} {
		task, err := newTask(name, m)
		if err != nil {
			t.Fatal(err)
		}
		s, err := task.Sample(1000, 0)
		if err != nil {
			t.Fatal(err)
		}
		if s.Prompt != want.prompt || strings.Join(s.Group, " ") != want.group || task.Most() != want.most || s.MaxTokens != want.tokens || s.plain != (name == "samsum" || name == "trec") {
			t.Errorf("%s: %+v, %d in all", name, s, task.Most())
		}
		if got := task.Score(s, want.answer); got < want.score-1e-9 || got > want.score+1e-9 {
			t.Errorf("%s: score %g, want %g", name, got, want.score)
		}
		if _, err := task.Sample(1000, 2); !errors.Is(err, ErrTask) {
			t.Errorf("%s: a sample behind the last: %v", name, err)
		}
	}
	long := &Material{Count: Estimate{}.Count, Middle: Estimate{}.Middle, LongBench: longFolder(t, map[string]string{
		"data/hotpotqa.jsonl": `{"input":"who?","context":"` + strings.Repeat("y", 9000) + `","length":900,"answers":["a dog"]}`,
	})}
	task, err := newTask("hotpotqa", long)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := task.Sample(1000, 0); err != nil || long.Count(s.Prompt)+s.MaxTokens > 1000 || long.Count(s.Prompt) < 900 || !strings.HasPrefix(s.Prompt, "Read.") || !strings.HasSuffix(s.Prompt, "A:") {
		t.Errorf("a long one: %+v, %v", s, err)
	}
	for name, files := range map[string]map[string]string{
		"no object":  {"data/hotpotqa.jsonl": "[1]"},
		"cut":        {"data/hotpotqa.jsonl": `{"input":"who?"`},
		"no answer":  {"data/hotpotqa.jsonl": `{"input":"who?","answers":[]}`},
		"empty":      {"data/hotpotqa.jsonl": "\n"},
		"prompt":     {"config/dataset2prompt.json": `{"hotpotqa":"x"}`},
		"max tokens": {"config/dataset2maxlen.json": `{"hotpotqa":-1}`},
		"no JSON":    {"config/dataset2maxlen.json": `x`},
	} {
		if _, err := newTask("hotpotqa", &Material{LongBench: longFolder(t, files)}); !errors.Is(err, ErrFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
