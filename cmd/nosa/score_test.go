package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/engine"
)

// nosaModel is the NOSA model that the model package is tested with: a vocabulary of 32, a context of 1,024, blocks of 16
// tokens, and no tokenizer.
const nosaModel = "../../model/testdata/nosa"

// writeFile puts text into a file of the test's own.
func writeFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "input")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// idsFile holds n ids below 32, all of which occur.
func idsFile(t testing.TB, n int) (path string, ids []int32) {
	t.Helper()
	ids = make([]int32, n)
	for i := range ids {
		ids[i] = int32((i*i + 7*i/3) % 32)
	}
	b, err := json.Marshal(ids)
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, string(b)), ids
}

// scored is what docs/commands.md promises of `nosa score --json`.
type scored struct {
	Tokens     []int32    `json:"tokens"`
	LogProbs   []*float64 `json:"logprobs"`
	NLL        float64    `json:"nll"`
	Perplexity float64    `json:"perplexity"`
	Stats      stats      `json:"stats"`
}

type stats struct {
	Total  layerJSON        `json:"total"`
	Layers []layerJSON      `json:"layers"`
	Blocks map[string]int64 `json:"blocks"`
	Plan   map[string]any   `json:"plan"`
}

// check holds the statistics to what the documentation says of them.
func (s stats) check(t testing.TB, layers int) {
	t.Helper()
	block, ok := s.Plan["block_bytes"].(float64)
	if !ok || len(s.Layers) != layers {
		t.Fatalf("%d layers, plan %v", len(s.Layers), s.Plan)
	}
	for _, name := range []string{"live", "in_slots", "in_host", "on_disk"} {
		if _, ok := s.Blocks[name]; !ok {
			t.Errorf("blocks lack %q: %v", name, s.Blocks)
		}
	}
	var sum int64
	for i, l := range append([]layerJSON{s.Total}, s.Layers...) {
		if l.Selected != l.Hits+l.HostHits+l.DiskHits || l.BytesUp != (l.HostHits+l.DiskHits)*int64(block) {
			t.Errorf("row %d does not add up: %+v", i, l)
		}
		if i > 0 {
			sum += l.Selected
		}
	}
	if sum != s.Total.Selected || sum == 0 {
		t.Errorf("layers selected %d, the total says %d", sum, s.Total.Selected)
	}
}

// parseJSON reads exactly one object from a command that went well.
func parseJSON(t testing.TB, r result, v any) {
	t.Helper()
	in := json.NewDecoder(strings.NewReader(r.out))
	in.DisallowUnknownFields()
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	if err := in.Decode(v); err != nil || in.More() {
		t.Fatalf("one object expected (%v): %+v", err, r)
	}
}

func TestScore(t *testing.T) {
	const n = 320
	path, ids := idsFile(t, n)
	var first scored
	for _, flags := range [][]string{
		nil,
		{"--kv-device", "24KiB"},
		{"--kv-device", "24KiB", "--kv-keep", "selected", "--chunk", "7"},
		{"--kv-device", "24KiB", "--kv-host", "64KiB", "--kv-disk", t.TempDir(), "--threads", "1"},
	} {
		r := nosa(t, nil, append([]string{"score", nosaModel, "--ids", path, "--json"}, flags...)...)
		var s scored
		parseJSON(t, r, &s)
		if r.errors != "" {
			t.Errorf("%v: on stderr: %q", flags, r.errors)
		}
		s.Stats.check(t, 2)
		if len(s.Tokens) != n || len(s.LogProbs) != n || s.LogProbs[0] != nil {
			t.Fatalf("%v: %d tokens, %d log-probabilities", flags, len(s.Tokens), len(s.LogProbs))
		}
		sum := 0.0
		for i, id := range ids {
			if s.Tokens[i] != id {
				t.Fatalf("token %d is %d, want %d", i, s.Tokens[i], id)
			}
			if i > 0 {
				sum -= *s.LogProbs[i]
			}
		}
		if want := sum / (n - 1); math.Abs(s.NLL-want) > 1e-12*want || math.Abs(s.Perplexity-math.Exp(want)) > 1e-9*s.Perplexity {
			t.Errorf("%v: nll %v and perplexity %v, the log-probabilities make it %v and %v", flags, s.NLL, s.Perplexity, want, math.Exp(want))
		}
		if s.Stats.Plan["attention"] != "nosa" {
			t.Errorf("%v: attention is %v", flags, s.Stats.Plan["attention"])
		}
		if flags == nil {
			first = s
			continue
		}
		if s.Stats.Total.HostHits+s.Stats.Total.DiskHits == 0 {
			t.Errorf("%v: nothing came from below: %+v", flags, s.Stats.Total)
		}
		for i := range s.LogProbs[1:] {
			if *s.LogProbs[i+1] != *first.LogProbs[i+1] {
				t.Fatalf("%v: token %d has log-probability %v, with all on the device %v", flags, i+1, *s.LogProbs[i+1], *first.LogProbs[i+1])
			}
		}
	}
	if first.Stats.Total.HitRate != 1 {
		t.Errorf("all on the device, and the hit rate is %v", first.Stats.Total.HitRate)
	}
}

// TestScoreText: the lines for people, the limit, and the table on stderr.
func TestScoreText(t *testing.T) {
	path, _ := idsFile(t, 100)
	r := nosa(t, nil, "score", nosaModel, "--ids", path, "--limit", "50", "--stats")
	if r.code != exitDone || !strings.HasPrefix(r.out, "tokens      50\nnll         ") || strings.Count(r.out, "\n") != 3 {
		t.Errorf("%+v", r)
	}
	for _, s := range []string{"attention nosa", "tier", "device", "100.00%"} {
		if !strings.Contains(r.errors, s) {
			t.Errorf("%q is not in %q", s, r.errors)
		}
	}
	if r = nosa(t, nil, "score", nosaModel, "--ids", path, "--stats", "--quiet"); r.code != exitDone || r.errors != "" {
		t.Errorf("--quiet: %+v", r)
	}
}

// TestScoreReference: against itself with the same numbers a model diverges by nothing, with
// coarser blocks by something; and fed token by token it says the same on the CPU.
func TestScoreReference(t *testing.T) {
	path, _ := idsFile(t, 200)
	type compared struct {
		scored
		Reference struct {
			Model      string  `json:"model"`
			Perplexity float64 `json:"perplexity"`
			engine.DivergenceSummary
		} `json:"reference"`
	}
	run := func(flags ...string) (s compared) {
		t.Helper()
		parseJSON(t, nosa(t, nil, append([]string{"score", nosaModel, "--ids", path, "--json", "--reference", nosaModel}, flags...)...), &s)
		return s
	}
	same := run("--attention", "full", "--numerics", "f32", "--kv-dtype", "f32", "--decode", "150")
	if r := same.Reference; r.Model != nosaModel || r.Tokens != 200 || math.Abs(r.KLMax) > 1e-9 || r.Agree != 1 || r.Perplexity != same.Perplexity {
		t.Errorf("%+v, perplexity %v", r, same.Perplexity)
	}
	coarse := run("--attention", "full", "--numerics", "f32", "--kv-dtype", "q4")
	if r := coarse.Reference; !(r.KL > 1e-9) || r.KL99 > r.KLMax || r.KL > r.KLMax || r.Perplexity != same.Perplexity || coarse.Perplexity == same.Perplexity {
		t.Errorf("%+v, perplexity %v", r, coarse.Perplexity)
	}
	r := nosa(t, nil, "score", nosaModel, "--ids", path, "--limit", "50", "--reference", nosaModel)
	if r.code != exitDone || !strings.Contains(r.out, "\nkl          0.4") || !strings.Contains(r.out, "\ntop-1       ") {
		t.Errorf("%+v", r)
	}
}

func TestScoreRefuses(t *testing.T) {
	path, _ := idsFile(t, 64)
	long, _ := idsFile(t, 1025)
	for name, tc := range map[string]struct {
		code int
		args []string
		says []string
	}{
		"neither":             {exitUsage, nil, []string{"--text", "--ids"}},
		"both":                {exitUsage, []string{"--text", path, "--ids", path}, []string{"--text", "--ids"}},
		"limit of one":        {exitUsage, []string{"--ids", path, "--limit", "1"}, []string{"--limit 1"}},
		"no tokenizer":        {exitFailed, []string{"--text", path}, []string{"no tokenizer"}},
		"longer than context": {exitFailed, []string{"--ids", long}, []string{"1025 tokens", "1024", "--context 1025"}},
		"longer than asked":   {exitFailed, []string{"--ids", path, "--context", "32"}, []string{"64 tokens", "--context 64"}},
		"device budget":       {exitFailed, []string{"--ids", path, "--kv-device", "5"}, []string{"--kv-device"}},
		"disk without device": {exitFailed, []string{"--ids", path, "--kv-disk", t.TempDir()}, []string{"--kv-device"}},
		"disk is gone":        {exitFailed, []string{"--ids", path, "--kv-disk", filepath.Join(t.TempDir(), "gone"), "--kv-device", "1MiB"}, []string{"--kv-disk", "gone", "no such file"}},
		"disk is a file":      {exitFailed, []string{"--ids", path, "--kv-disk", path}, []string{"--kv-disk", "is no folder"}},
		"window":              {exitUsage, []string{"--ids", path, "--window=-2"}, []string{"--window"}},
		"query blocks":        {exitUsage, []string{"--ids", path, "--topk-q=-2"}, []string{"--topk-q"}},
		"chunk":               {exitUsage, []string{"--ids", path, "--chunk", "0"}, []string{"--chunk"}},
		"device":              {exitUsage, []string{"--ids", path, "--device", "tpu"}, []string{"--device", "cpu"}},
		"no reference":        {exitFailed, []string{"--ids", path, "--reference", "gone.gguf"}, []string{"gone.gguf", "no such file"}},
		"decode":              {exitUsage, []string{"--ids", path, "--decode", "many"}, []string{"--decode", "many"}},
		"no CUDA":             {exitFailed, []string{"--ids", path, "--device", "cuda:1"}, []string{"--device cpu"}},
		"threads":             {exitUsage, []string{"--ids", path, "--threads", "5000"}, []string{"--threads 5000"}},
		"scaling's form":      {exitUsage, []string{"--ids", path, "--rope-scaling", "yarn"}, []string{"TYPE:FACTOR"}},
		"scaling's factor":    {exitUsage, []string{"--ids", path, "--rope-scaling", "yarn:NaN"}, []string{"factor from 1"}},
		"scaling beyond":      {exitUsage, []string{"--ids", path, "--rope-scaling", "yarn:1e300"}, []string{"factor from 1"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"score", nosaModel}, tc.args...)...).refused(t, tc.code, tc.says...)
		})
	}
}
