package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/weights"
)

// byteTokenizer is a tokenizer.json of which each letter is a token.
func byteTokenizer(t testing.TB) []byte {
	t.Helper()
	vocab := map[string]int{}
	for c := byte('!'); c <= '~'; c++ {
		vocab[string(rune(c))] = len(vocab)
	}
	vocab["Ġ"], vocab["Ċ"] = len(vocab), len(vocab)+1
	end := len(vocab)
	data, err := json.Marshal(map[string]any{
		"version":       "1.0",
		"added_tokens":  []any{map[string]any{"id": end, "content": "<|endoftext|>", "special": true, "normalized": false, "single_word": false, "lstrip": false, "rstrip": false}},
		"normalizer":    nil,
		"pre_tokenizer": map[string]any{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
		"decoder":       map[string]any{"type": "ByteLevel"},
		"model":         map[string]any{"type": "BPE", "unk_token": nil, "vocab": vocab, "merges": []string{}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// trainFiles writes a tokenizer, a text and a config, and returns the config's path and the folder of its run.
func trainFiles(t testing.TB) (config, out string) {
	t.Helper()
	dir := t.TempDir()
	out = filepath.Join(dir, "run")
	config = filepath.Join(dir, "run.toml")
	text := fmt.Sprintf(`out = %q
[model]
tokenizer = %q
hidden = 16
layers = 1
heads = 2
kv_heads = 1
intermediate = 32
[[corpus.train]]
path = %q
[[corpus.heldout]]
path = %q
[batch]
tokens = 64
rows = 32
[optimiser]
rate = 0.01
[[stage]]
steps = 3
method = "nosa"
context = 32
[evaluation]
tokens = 64
[checkpoint]
every = 2
`, out, filepath.Join(dir, "tokenizer"), filepath.Join(dir, "text.txt"), filepath.Join(dir, "heldout.txt"))
	for name, data := range map[string][]byte{
		"run.toml": []byte(text), "text.txt": bytes.Repeat([]byte("Call me Ishmael. Some years ago,\n"), 20), "heldout.txt": []byte("never mind how long precisely, having little or no money in my purse"),
		"tokenizer/tokenizer.json": byteTokenizer(t), "tokenizer/tokenizer_config.json": []byte(`{"eos_token": "<|endoftext|>"}`),
	} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	return config, out
}

// From texts to a model that runs: and a second call finds that all is done.
func TestTrain(t *testing.T) {
	config, out := trainFiles(t)
	r := nosa(t, nil, "train", config, "--threads", "1", "--device", "cpu,cpu")
	last := filepath.Join(out, "step-00000003")
	if r.code != exitDone || r.out != last+"\n" || !strings.Contains(r.errors, "from step 0 of 3") {
		t.Fatalf("%+v", r)
	}
	cp, err := weights.Open(last)
	if err != nil {
		t.Fatal(err)
	}
	defer cp.Close()
	if x, err := cp.Tensor("model.embed_tokens.weight"); err != nil || x.Shape[0] != 97 || !strings.Contains(string(cp.Config()), `"eos_token_id": 96`) {
		t.Errorf("%v, %v, %s", x.Shape, err, cp.Config())
	}
	again := nosa(t, nil, "train", config, "--json")
	var done trained
	if err := json.Unmarshal([]byte(again.out), &done); err != nil || done.Path != last || done.Steps != 3 || done.Tokens != 192 {
		t.Errorf("%+v, %v", again, err)
	}
	if r := nosa(t, nil, "run", last, "-p", "Call me", "--max-tokens", "3", "--attention", "nosa"); r.code != exitDone {
		t.Errorf("%+v", r)
	}
}

func TestTrainRefused(t *testing.T) {
	config, out := trainFiles(t)
	good, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	nosa(t, nil, "train").refused(t, exitUsage, "--help-config")
	nosa(t, nil, "train", config, "--device", "cpu,tpu").refused(t, exitUsage, "tpu")
	nosa(t, nil, "train", config, "--device", "cuda:x").refused(t, exitUsage, "cuda:n")
	nosa(t, nil, "train", config, "--device", "cuda:255").refused(t, exitFailed, "--device cuda:255", "use --device cpu")
	nosa(t, nil, "train", config+".none").refused(t, exitFailed, config+".none")
	nosa(t, nil, "train", filepath.Dir(config)).refused(t, exitFailed, "no file")
	for _, tc := range [][3]string{
		{"hidden = 16", "hiden = 16", "run.toml:4: there is no field model.hiden"},
		{"steps = 3", "steps = 0", "stage 1: steps is 0"},
		{"text.txt", "none.txt", "none.txt"},
		{"tokenizer\"", "tokeniser\"", "tokeniser"},
		{"hidden = 16", "hidden = 16\nvocab = 50", "vocabulary has 50"},
	} {
		if err := os.WriteFile(config, bytes.Replace(good, []byte(tc[0]), []byte(tc[1]), 1), 0o666); err != nil {
			t.Fatal(err)
		}
		if r := nosa(t, nil, "train", config, "--quiet"); r.code != exitFailed || !strings.Contains(r.errors, tc[2]) || strings.Count(r.errors, "\n") != 1 {
			t.Errorf("%s: %+v", tc[1], r)
		}
		if err := os.RemoveAll(out); err != nil {
			t.Fatal(err)
		}
	}
	if r := nosa(t, nil, "train", "--help-config"); r.code != exitDone || !strings.Contains(r.out, "#rate = ") {
		t.Errorf("%+v", r)
	}
}

// A damaged shard is named in one line, with the checkpoint from which the run goes on when it is whole again.
func TestTrainCorruptShard(t *testing.T) {
	config, out := trainFiles(t)
	if r := nosa(t, nil, "train", config); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	shards, err := filepath.Glob(filepath.Join(out, "shards", "text*", "*.tok"))
	if err != nil || len(shards) != 1 {
		t.Fatalf("%v, %v", shards, err)
	}
	good, err := os.ReadFile(shards[0])
	if err != nil {
		t.Fatal(err)
	}
	longer, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(config, bytes.Replace(longer, []byte("steps = 3"), []byte("steps = 5"), 1), 0o666); err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(good)
	bad[200] ^= 1
	if err := os.WriteFile(shards[0], bad, 0o666); err != nil {
		t.Fatal(err)
	}
	nosa(t, nil, "train", config, "--quiet").refused(t, exitFailed, shards[0], "corrupt", "step-00000003")
	if err := os.WriteFile(shards[0], good, 0o666); err != nil {
		t.Fatal(err)
	}
	if r := nosa(t, nil, "train", config); r.code != exitDone || !strings.Contains(r.out, "step-00000005") || !strings.Contains(r.errors, "stage") {
		t.Errorf("%+v", r)
	}
}

// An interrupt ends the run behind the step, with a checkpoint. The next call goes on from there, in the data too, to the
// bits of a run that was not interrupted, wherever that was: also where the context changes.
func TestTrainInterrupted(t *testing.T) {
	more := "context = 32\n[[stage]]\nsteps = 3\nmethod = \"nosa\"\ncontext = 16"
	prepare := func() (config, out string) {
		config, out = trainFiles(t)
		text, err := os.ReadFile(config)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(config, bytes.Replace(text, []byte("context = 32"), []byte(more), 1), 0o666); err != nil {
			t.Fatal(err)
		}
		return config, out
	}
	model := func(out string) []byte {
		data, err := os.ReadFile(filepath.Join(out, "step-00000006", "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	config, out := prepare()
	if r := nosa(t, nil, "train", config); r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	want := model(out)
	config, out = prepare()
	for _, stop := range []int{1, 3, 4} {
		ctx, cancel := context.WithCancelCause(t.Context())
		stdout := &untilLine{line: fmt.Sprintf(`{"step":%d,`, stop), then: func() { cancel(errInterrupted) }}
		var stderr bytes.Buffer
		code := run(ctx, []string{"train", config, "--json"}, strings.NewReader(""), stdout, &stderr, func(string) string { return "" })
		if code != exitFailed || !strings.HasSuffix(stderr.String(), "nosa: interrupted\n") {
			t.Errorf("code %d, %q", code, stderr.String())
		}
		if _, err := weights.Open(filepath.Join(out, fmt.Sprintf("step-%08d", stop))); err != nil {
			t.Error(err)
		}
	}
	if r := nosa(t, nil, "train", config, "--threads", "2"); r.code != exitDone || !bytes.Equal(model(out), want) {
		t.Errorf("%+v, or other weights than without interrupts", r)
	}
}

// untilLine calls then when a line is written.
type untilLine struct {
	bytes.Buffer
	line string
	then func()
}

func (u *untilLine) Write(p []byte) (int, error) {
	if bytes.Contains(p, []byte(u.line)) {
		u.then()
	}
	return u.Buffer.Write(p)
}
