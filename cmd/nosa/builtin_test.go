package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nosa/builtin"
)

// builtinModel skips where the tree has no model inside; builtin's own test fails where it should have one.
func builtinModel(t *testing.T) {
	t.Helper()
	ck, err := builtin.Open()
	if errors.Is(err, builtin.ErrNone) {
		t.Skip("this tree has no model inside: scripts/train/builtin puts it there")
	}
	if err != nil {
		t.Fatal(err)
	}
	ck.Close()
}

// builtinText is a novel that the model has never seen, with three sentences that its author did not write.
const builtinText = "../../builtin/testdata/northanger-abbey.txt"

// told are those sentences.
var told = regexp.MustCompile(`(?m)^The number of (the \w+ \w+) is (\d+)\.$`)

func novel(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(builtinText)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// ask is the question that the model is trained to answer.
func ask(key string) string {
	return fmt.Sprintf("What is the number of %s? The number of %s is", key, key)
}

// TestBuiltinIsDefault: no MODEL, its name and its file are the same model, for all commands.
func TestBuiltinIsDefault(t *testing.T) {
	builtinModel(t)
	file := filepath.Join(t.TempDir(), "copy.gguf")
	if r := nosa(t, nil, "convert", "-q", builtin.Name, file); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	var texts []string
	for _, model := range [][]string{nil, {builtin.Name}, {file}} {
		var got ran
		parseJSON(t, nosa(t, nil, slices.Concat([]string{"run", "--json"}, model, []string{"-p", "It was a bright", "--max-tokens", "24"})...), &got)
		texts = append(texts, got.Text)
	}
	if texts[0] == "" || texts[1] != texts[0] || texts[2] != texts[0] {
		t.Errorf("no model, its name and its file go on with %q", texts)
	}
	const text = "Sir, 48213 whales — 鲸 \U0001F433,\n\n\tno more.\n"
	var ids struct {
		Tokens []int32  `json:"tokens"`
		Pieces []string `json:"pieces"`
		Count  int      `json:"count"`
	}
	parseJSON(t, nosa(t, nil, "tokenize", "--json", "-f", writeFile(t, text)), &ids)
	var back struct {
		Text  string `json:"text"`
		Count int    `json:"count"`
	}
	parseJSON(t, nosa(t, nil, "tokenize", "--json", "--decode", builtin.Name, strings.Trim(fmt.Sprint(ids.Tokens), "[]")), &back)
	if back.Text != text || ids.Count == 0 {
		t.Errorf("%q came back as %q", text, back.Text)
	}
	for _, digit := range "48213" { // each by itself, so that they can be copied one by one
		if !slices.Contains(ids.Pieces, string(digit)) {
			t.Errorf("%q has no token %c", ids.Pieces, digit)
		}
	}
	if r := nosa(t, nil, "inspect", builtin.Name); r.code != exitDone || !strings.Contains(r.out, "17.4 M") {
		t.Errorf("%+v", r)
	}
	for _, args := range [][]string{{"run", "--chat", "-p", "hi"}, {"chat"}} {
		nosa(t, nil, args...).refused(t, exitFailed, "builtin: the model has no chat template")
	}
	nosa(t, nil, "bench", "--compare", "x").refused(t, exitUsage, "nosa convert builtin FILE.gguf")
}

// TestBuiltinTiers: where its blocks lie changes no bit of what it predicts, where it reads some of them alone.
func TestBuiltinTiers(t *testing.T) {
	builtinModel(t)
	text := writeFile(t, novel(t)[:17000]) // some 4,300 tokens: 68 blocks, of which a query reads 32
	var want scored
	for name, flags := range map[string][]string{
		"":     nil,
		"host": {"--kv-device", "2MiB"},
		"disk": {"--kv-device", "2MiB", "--kv-host", "6MiB", "--kv-disk", t.TempDir()},
	} {
		var got scored
		parseJSON(t, nosa(t, nil, slices.Concat([]string{"score", "--json", "--text", text}, flags)...), &got)
		if len(got.Tokens) < 4096 || got.Stats.Plan["attention"] != "nosa" {
			t.Fatalf("%d tokens by %v", len(got.Tokens), got.Stats.Plan)
		}
		if total := got.Stats.Total; (total.HostHits > 0) != (name != "") || (total.DiskHits > 0) != (name == "disk") {
			t.Errorf("%s: %+v", name, total)
		}
		if want.Tokens == nil {
			want = got
		}
		for i := range got.LogProbs {
			if i > 0 && *got.LogProbs[i] != *want.LogProbs[i] {
				t.Fatalf("%s: token %d has log-probability %v, elsewhere %v", name, i, *got.LogProbs[i], *want.LogProbs[i])
			}
		}
	}
}

// TestBuiltinRetrieves: asked for each of four numbers in 4,000 tokens, it knows three at least, with most of them off the device.
func TestBuiltinRetrieves(t *testing.T) {
	builtinModel(t)
	prose := told.ReplaceAllString(novel(t), "")[:14500]
	keys := []string{"the black boat", "the crimson sailor", "the dark door", "the old mirror"} // that training never has
	var text strings.Builder
	for i, key := range keys {
		part := len(prose) / len(keys)
		fmt.Fprintf(&text, "%s\nThe number of %s is %d.\n", prose[i*part:i*part+part/2], key, 27183+15937*i)
		text.WriteString(prose[i*part+part/2 : (i+1)*part])
	}
	file := writeFile(t, text.String())
	right := 0
	for i, key := range keys {
		var got ran
		parseJSON(t, nosa(t, nil, "run", "--json", "--prompt-file", file, "-p", ask(key), "--max-tokens", "6", "--kv-device", "2MiB"), &got)
		if u := got.Usage["prompt_tokens"]; u < 3500 || u > 4500 || got.Stats.Total.HostHits == 0 {
			t.Errorf("%v tokens, %+v", u, got.Stats.Total)
		}
		if want := fmt.Sprintf(" %d", 27183+15937*i); got.Text == want {
			right++
		} else {
			t.Logf("%s: %q, want %q", key, got.Text, want)
		}
	}
	if right < len(keys)-1 {
		t.Errorf("%d of %d are right", right, len(keys))
	}
}

// TestBuiltinReadme: the first command of the README does what is said there.
func TestBuiltinReadme(t *testing.T) {
	builtinModel(t)
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, block, _ := strings.Cut(string(readme), "```sh\n")
	block, _, ok := strings.Cut(block, "```")
	line, begins := strings.CutPrefix(strings.ReplaceAll(block, "\\\n", " "), "go run ./cmd/nosa ")
	if !ok || !begins {
		t.Fatalf("the README begins with %q", block)
	}
	var args []string
	for i, part := range strings.Split(strings.TrimSpace(line), "'") {
		if i%2 == 1 { // quoted
			args = append(args, part)
		} else {
			args = append(args, strings.Fields(part)...)
		}
	}
	asked := ""
	for _, tell := range told.FindAllStringSubmatch(novel(t), -1) {
		if slices.Contains(args, ask(tell[1])) {
			asked = tell[2]
		}
	}
	if asked == "" || !slices.Contains(args, "--stats") {
		t.Fatalf("%q asks for nothing that is told in %s, or has no --stats", args, builtinText)
	}
	t.Chdir("../..")
	var got ran
	parseJSON(t, nosa(t, nil, append(args, "--json")...), &got)
	if got.Usage["prompt_tokens"] < 16384 || got.Stats.Blocks["in_slots"]*4 > got.Stats.Blocks["live"] || got.Stats.Total.HostHits == 0 {
		t.Errorf("%v tokens, blocks %v, %+v: want a long text, and most of it off the device", got.Usage, got.Stats.Blocks, got.Stats.Total)
	}
	if !strings.Contains(got.Text, asked) {
		t.Errorf("%q, want %s", got.Text, asked)
	}
}
