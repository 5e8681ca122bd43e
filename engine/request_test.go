package engine

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/compute"
	"nosa/compute/cpu"
	"nosa/weights"
)

// tinyEngine opens a model of the tests with the given options.
func tinyEngine(t *testing.T, change func(*Options)) *Engine {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	src, err := OpenSource(*sameModel)
	if err != nil {
		t.Fatal(err)
	}
	o := NewOptions()
	change(&o)
	e, err := Open(testDevice(dev), src, o, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if n := dev.Allocated(); n != 0 {
			t.Errorf("%d bytes of device memory not given back", n)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

func someIDs(n, vocab int) []int32 {
	ids := make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i + 7*i) % vocab)
	}
	return ids
}

// TestRequestEdges asks for the shortest and the longest that a context of three
// whole blocks holds.
func TestRequestEdges(t *testing.T) {
	const length = 3 * 16
	e := tinyEngine(t, func(o *Options) { o.Context = length })
	if e.set.constants.Block != 16 {
		t.Fatalf("the test's model has blocks of %d", e.set.constants.Block)
	}
	vocab := e.model.Vocab
	for _, tc := range []struct{ prompt, generate int }{{1, 0}, {1, 1}, {1, 47}, {16, 32}, {47, 1}, {48, 0}, {17, 31}} {
		out, err := e.Generate(context.Background(), Request{IDs: someIDs(tc.prompt, vocab), MaxTokens: tc.generate, IgnoreEnd: true})
		if err != nil {
			t.Errorf("%d + %d: %v", tc.prompt, tc.generate, err)
			continue
		}
		if len(out.Tokens) != tc.generate || out.Finish != "length" || out.Usage.Prompt != tc.prompt || out.Usage.Completion != tc.generate {
			t.Errorf("%d + %d: %d tokens, %s, %+v", tc.prompt, tc.generate, len(out.Tokens), out.Finish, out.Usage)
		}
	}
	if s := e.store.Stats(); s.Live != 0 || s.Sequences != 0 {
		t.Errorf("%d blocks of %d sequences are left", s.Live, s.Sequences)
	}
}

func TestRequestRefusals(t *testing.T) {
	e := tinyEngine(t, func(o *Options) { o.Context = 40 })
	ids, nan := someIDs(10, e.model.Vocab), float32(math.NaN())
	with := func(id int32) []int32 { return append(someIDs(3, e.model.Vocab), id) }
	for name, tc := range map[string]struct {
		r    Request
		want error
		say  string
	}{
		"no prompt":              {Request{MaxTokens: 1}, ErrOptions, "empty"},
		"negative id":            {Request{IDs: with(-1)}, ErrOptions, "token 3 is id -1"},
		"id of the next model":   {Request{IDs: with(int32(e.model.Vocab))}, ErrOptions, "the vocabulary has"},
		"negative length":        {Request{IDs: ids, MaxTokens: -1}, ErrOptions, "--max-tokens -1"},
		"one too many":           {Request{IDs: ids, MaxTokens: 31}, ErrContext, "try --context 41"},
		"the longest of numbers": {Request{IDs: ids, MaxTokens: math.MaxInt}, ErrContext, "try --max-tokens 30"},
		"prompt alone":           {Request{IDs: someIDs(41, e.model.Vocab)}, ErrContext, "try --context 41"},
		"no temperature":         {Request{IDs: ids, MaxTokens: 1, Sampling: compute.Sampling{Temperature: nan}}, compute.ErrSampling, "temperature"},
		"no nucleus":             {Request{IDs: ids, MaxTokens: 1, Sampling: compute.Sampling{TopP: 2}}, compute.ErrSampling, "top-p"},
	} {
		_, err := e.Generate(context.Background(), tc.r)
		if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %v, want %v that says %q", name, err, tc.want, tc.say)
		}
	}
	for name, ids := range map[string][]int32{"none": nil, "one": {1}, "negative": with(-7), "too high": with(1 << 30)} {
		if _, err := e.Score(context.Background(), ids, nil); !errors.Is(err, ErrOptions) {
			t.Errorf("score %s: %v", name, err)
		}
	}
	if s := e.store.Stats(); s.Sequences != 0 {
		t.Errorf("%d sequences are left", s.Sequences)
	}
}

// TestNoNumbers: a model that computes no numbers is refused at its first token,
// not sampled from.
func TestNoNumbers(t *testing.T) {
	nan := []float32{float32(math.NaN()), float32(math.NaN())}
	if _, err := draw(&compute.Sampler{}, nan, compute.Sampling{}, 4); !errors.Is(err, ErrLogits) {
		t.Error(err)
	}
	if id, err := draw(&compute.Sampler{}, []float32{nan[0], -1}, compute.Sampling{Temperature: 1}, 4); err != nil || id != 1 {
		t.Errorf("id %d, %v", id, err)
	}
}

// TestEnds reads the ids that end a text from both files, null and nonsense
// among them.
func TestEnds(t *testing.T) {
	for config, want := range map[string][]int32{
		`{"eos_token_id":[2,5]}`:     {2, 5},
		`{"eos_token_id":7}`:         {7},
		`{"eos_token_id":null}`:      nil,
		`{"eos_token_id":[null,-3]}`: nil,
		`{"eos_token_id":"</s>"}`:    nil,
		`{}`:                         nil,
		`[`:                          nil,
	} {
		dir := t.TempDir()
		for _, name := range []string{"config.json", "model.safetensors"} {
			data, err := os.ReadFile(filepath.Join(*sameModel, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "generation_config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
		ck, err := weights.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := generationEOS(ck)
		if len(got) != len(want) {
			t.Errorf("%s: %v, want %v", config, got, want)
		}
		for i := range min(len(got), len(want)) {
			if got[i] != want[i] {
				t.Errorf("%s: %v, want %v", config, got, want)
			}
		}
		if err := ck.Close(); err != nil {
			t.Error(err)
		}
	}
}
