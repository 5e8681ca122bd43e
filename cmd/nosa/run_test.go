package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
)

// textModel is a tiny model with the tokenizer that the tokenizer package is tested with, which writes chats as ChatML.
func textModel(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../../tokenizer/testdata/smollm2.tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	chat := `{"chat_template":"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if messages|length > 2 %}{{ raise_exception('too long') }}{% endif %}"}`
	return tinyModel(t, 4096, map[string][]byte{"tokenizer.json": b, "tokenizer_config.json": []byte(chat)})
}

// ran is what docs/commands.md promises of `nosa run --json`.
type ran struct {
	Text   string             `json:"text"`
	Tokens []int32            `json:"tokens"`
	Finish string             `json:"finish_reason"`
	Usage  map[string]float64 `json:"usage"`
	Stats  stats              `json:"stats"`
}

func TestRun(t *testing.T) {
	dir := textModel(t)
	prompt := writeFile(t, strings.Repeat("whale ", 20))
	args := []string{"run", dir, "--prompt-file", prompt, "-p", "Call me", "--max-tokens", "6", "--ignore-eos"}
	var first ran
	for _, flags := range [][]string{nil, {"--chunk", "5"}, {"--kv-device", "40KiB"}} {
		r := nosa(t, nil, append(append([]string{"--json"}, args...), flags...)...)
		var got ran
		parseJSON(t, r, &got)
		got.Stats.check(t, 1)
		if r.errors != "" || len(got.Tokens) != 6 || got.Finish != "length" || got.Text == "" {
			t.Errorf("%v: %+v", flags, r)
		}
		for _, name := range []string{"prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "prefill_seconds", "decode_seconds"} {
			if _, ok := got.Usage[name]; !ok {
				t.Errorf("usage lacks %q: %v", name, got.Usage)
			}
		}
		if u := got.Usage; u["prompt_tokens"]+u["completion_tokens"] != u["total_tokens"] || u["completion_tokens"] != 6 {
			t.Errorf("usage %v", u)
		}
		if flags == nil {
			first = got
		}
		if got.Text != first.Text {
			t.Errorf("%v: %q, want %q", flags, got.Text, first.Text)
		}
	}
	r := nosa(t, nil, args...)
	if r.code != exitDone || r.out != first.Text+"\n" || !strings.Contains(r.errors, "attention full") || !strings.Contains(r.errors, "6 generated") {
		t.Errorf("text: %+v, want %q", r, first.Text)
	}
	if r = nosa(t, nil, append(args, "--quiet", "--stats")...); r.out != first.Text+"\n" || r.errors != "" {
		t.Errorf("--quiet: %+v", r)
	}
	if r = nosa(t, nil, append(args, "--stats")...); !strings.Contains(r.errors, "of selections") {
		t.Errorf("--stats: %+v", r)
	}
}

// TestRunJoins: the text begins on a line of its own behind a file, however that ends.
func TestRunJoins(t *testing.T) {
	dir := textModel(t)
	var texts []string
	for _, file := range []string{"whale", "whale\n"} {
		var got ran
		parseJSON(t, nosa(t, nil, "run", dir, "--json", "--prompt-file", writeFile(t, file), "-p", "ship", "--max-tokens", "8", "--ignore-eos"), &got)
		texts = append(texts, fmt.Sprint(got.Usage["prompt_tokens"], got.Text))
	}
	var got ran
	parseJSON(t, nosa(t, nil, "run", dir, "--json", "-p", "whale\nship", "--max-tokens", "8", "--ignore-eos"), &got)
	if want := fmt.Sprint(got.Usage["prompt_tokens"], got.Text); texts[0] != want || texts[1] != want {
		t.Errorf("%q, want %q twice", texts, want)
	}
}

// TestRunDraws: the same seed draws the same text.
func TestRunDraws(t *testing.T) {
	dir := textModel(t)
	draw := func(seed string) string {
		r := nosa(t, nil, "run", dir, "-q", "-p", "whale", "--max-tokens", "12", "--ignore-eos", "--temperature", "900", "--seed", seed)
		if r.code != exitDone {
			t.Fatalf("%+v", r)
		}
		return r.out
	}
	if a, b, c := draw("1"), draw("1"), draw("2"); a != b || a == c {
		t.Errorf("seed 1 drew %q and %q, seed 2 %q", a, b, c)
	}
}

func TestRunChat(t *testing.T) {
	dir := textModel(t)
	var plain, chat ran
	parseJSON(t, nosa(t, nil, "run", dir, "--json", "-p", "<user>hi", "--max-tokens", "0"), &plain)
	parseJSON(t, nosa(t, nil, "run", dir, "--json", "--chat", "-p", "hi", "--max-tokens", "0"), &chat)
	if plain.Usage["prompt_tokens"] != chat.Usage["prompt_tokens"] || chat.Tokens == nil {
		t.Errorf("the template makes %v tokens, the text it stands for %v", chat.Usage, plain.Usage)
	}
	nosa(t, nil, "run", tinyModel(t, 4096, map[string][]byte{"tokenizer.json": []byte("{}")}), "--chat", "-p", "hi").refused(t, exitFailed, "no tokenizer")
}

func TestRunRefuses(t *testing.T) {
	dir := textModel(t)
	long := writeFile(t, strings.Repeat("whale ", 400))
	for name, tc := range map[string]struct {
		code int
		args []string
		says []string
	}{
		"no prompt":           {exitUsage, nil, []string{"-p TEXT"}},
		"system without chat": {exitUsage, []string{"-p", "x", "--system", "y"}, []string{"--chat"}},
		"temperature":         {exitUsage, []string{"-p", "x", "--temperature", "NaN"}, []string{"--temperature NaN"}},
		"endless temperature": {exitUsage, []string{"-p", "x", "--temperature", "Inf"}, []string{"--temperature"}},
		"top-p":               {exitUsage, []string{"-p", "x", "--top-p", "NaN"}, []string{"--top-p NaN"}},
		"top-k":               {exitUsage, []string{"-p", "x", "--top-k=-1"}, []string{"--top-k -1"}},
		"tokens":              {exitUsage, []string{"-p", "x", "--max-tokens=-1"}, []string{"--max-tokens -1"}},
		"more than a sum":     {exitUsage, []string{"-p", "x", "--max-tokens", "9223372036854775807"}, []string{"--max-tokens"}},
		"prompt too long":     {exitFailed, []string{"--prompt-file", long}, []string{"longer than the context", "128", "shorter"}},
		"answer too long":     {exitFailed, []string{"-p", "x", "--max-tokens", "128"}, []string{"--max-tokens 127", "--context 129"}},
		"not UTF-8":           {exitUsage, []string{"-p", "x\xff"}, []string{"argument 4: byte 1 is 0xff"}},
		"unknown policy":      {exitUsage, []string{"-p", "x", "--policy", "y"}, []string{"--policy"}},
		"no scores":           {exitFailed, []string{"-p", "x", "--max-tokens", "4", "--attention", "nosa"}, []string{"delta"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"run", dir}, tc.args...)...).refused(t, tc.code, tc.says...)
		})
	}
	nosa(t, nil, "run", nosaModel, "-p", "x").refused(t, exitFailed, "no tokenizer")
}

// TestRunFullOutput: text that cannot be written ends the run.
func TestRunFullOutput(t *testing.T) {
	for _, flag := range []string{"--quiet", "--json"} {
		var stderr bytes.Buffer
		code := run(t.Context(), []string{"run", textModel(t), "-p", "whale", "--max-tokens", "4", "-q", flag}, strings.NewReader(""), full{}, &stderr, func(string) string { return "" })
		result{code, "", stderr.String()}.refused(t, exitFailed, syscall.ENOSPC.Error())
	}
}
