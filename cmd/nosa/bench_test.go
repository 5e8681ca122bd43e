package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/bench"
)

func TestBenchUsage(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"no number in a list": {[]string{"--depth", "0,deep"}, []string{"--depth", "deep"}},
		"negative depth":      {[]string{"--depth=-1"}, []string{"--depth -1", "0 to"}},
		"huge prompt":         {[]string{"--prompt", "512,99999999999"}, []string{"--prompt 99999999999"}},
		"batch of none":       {[]string{"--batch", "1,0"}, []string{"--batch 0", "1 to"}},
		"nothing":             {[]string{"--prompt", "0", "--gen", "0"}, []string{"--prompt or --gen"}},
		"repeat":              {[]string{"--repeat", "0"}, []string{"--repeat 0"}},
		"method":              {[]string{"--attention", "full,some"}, []string{"--attention", "some"}},
		"shape":               {[]string{"--shape", "7b"}, []string{"--shape", "7b", "1.1b"}},
		"shape's format":      {[]string{"--shape", "1.1b:q3"}, []string{"--shape", "q3", "q8_0"}},
		"shape and model":     {[]string{nosaModel, "--shape", "tiny"}, []string{"one of them"}},
		"fa without peer":     {[]string{"--compare-fa", "1"}, []string{"--compare"}},
		"fa":                  {[]string{"--compare-fa", "2"}, []string{"--compare-fa"}},
		"timeout":             {[]string{"--compare", "x", "--peer-timeout", "0s"}, []string{"--peer-timeout"}},
		"context":             {[]string{nosaModel, "--depth", "512", "--context", "300"}, []string{"--context 300", "1024 tokens"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"bench", "-q"}, tc.args...)...).refused(t, exitUsage, tc.says...)
		})
	}
}

func TestBenchRefuses(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	llama := fakeLlama(t, "")
	for name, tc := range map[string]struct {
		code int
		args []string
		says []string
	}{
		"no peer":              {exitFailed, []string{nosaModel, "--compare", "/nowhere/llama-bench"}, []string{"--compare", "/nowhere/llama-bench"}},
		"a folder and a peer":  {exitUsage, []string{nosaModel, "--compare", llama, "--prompt", "16"}, []string{"GGUF", "nosa convert"}},
		"no peer for batches":  {exitFailed, []string{nosaModel, "--compare", llama, "--batch", "2"}, []string{"llama-batched-bench"}},
		"beyond the model":     {exitFailed, []string{nosaModel, "--depth", "4096"}, []string{"4608 tokens", "1024", "--context 4608"}},
		"no method of its own": {exitFailed, []string{"--shape", "tiny", "--attention", "nosa", "--prompt", "16"}, []string{"delta"}},
		"text too short":       {exitFailed, []string{"--shape", "tiny", "--text", writeFile(t, "a word")}, []string{"--text", "512"}},
		"no text":              {exitFailed, []string{"--shape", "tiny", "--text", "/nowhere/text"}, []string{"/nowhere/text"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"bench", "-q"}, tc.args...)...).refused(t, tc.code, tc.says...)
		})
	}
}

// fakeLlama is a llama-bench of 1,000 tokens per second in a folder of its own.
func fakeLlama(t testing.TB, instead string) string {
	t.Helper()
	dir := t.TempDir()
	script := `#!/bin/sh
` + instead + `
while [ $# -gt 0 ]; do
	case "$1" in -p) p=$2 ;; -n) n=$2 ;; -d) d=$2 ;; -t) t=$2 ;; esac
	shift
done
echo '[{"build_commit": "abc", "build_number": 7, "n_threads": '$t', "n_prompt": '$p', "n_gen": '$n', "n_depth": '$d', "samples_ts": [1000]}]'
`
	if err := os.WriteFile(filepath.Join(dir, "llama-bench"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestBenchJSON holds the lines to what docs/commands.md promises of them.
func TestBenchJSON(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	r := nosa(t, nil, "bench", "--shape", "tiny:q4_0", "--json", "--prompt", "20,8", "--gen", "3", "--depth", "0,130", "--repeat", "2",
		"--attention", "full,infllmv2", "--topk", "2", "--window", "0", "--threads", "1", "--compare", fakeLlama(t, ""), "--numerics", "f32")
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	var kinds, tests []string
	for line := range strings.Lines(r.out) {
		var v struct {
			Kind      string
			Test      string
			Model     string
			Attention string
			Device    string
			KVType    string `json:"kv_dtype"`
			Numerics  string
			Threads   int      `json:"n_threads"`
			Prompt    *int     `json:"n_prompt"`
			Gen       *int     `json:"n_gen"`
			Depth     *int     `json:"n_depth"`
			Avg       float64  `json:"avg_ts"`
			Deviation *float64 `json:"stddev_ts"`
			Bytes     float64  `json:"bytes_per_token"`
			Roofline  float64  `json:"roofline_ts"`
			Fraction  float64
			Samples   []float64 `json:"samples_ts"`
			Ratio     float64
			Flash     *int `json:"flash_attn"`
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kinds = append(kinds, v.Kind)
		if v.Kind == "machine" {
			continue
		}
		if v.Model != "random-tiny-Q4_0.gguf" || v.Device != "cpu" || v.KVType != "bf16" || v.Numerics != "f32" || v.Threads != 1 || v.Prompt == nil || v.Gen == nil || v.Depth == nil {
			t.Errorf("line %s", line)
		}
		if v.Kind == "ratio" {
			if v.Ratio <= 0 || v.Flash == nil {
				t.Errorf("line %s", line)
			}
			continue
		}
		if len(v.Samples) != 2 || v.Avg <= 0 || v.Deviation == nil || v.Bytes <= 0 || v.Roofline <= 0 || v.Fraction <= 0 {
			t.Errorf("line %s", line)
		}
		tests = append(tests, v.Test+" "+v.Attention)
	}
	want := "machine" + strings.Repeat(" figure ratio", 12)
	if got := strings.Join(kinds, " "); got != want {
		t.Errorf("lines %s, want %s", got, want)
	}
	want = "pp8 full,pp8 infllmv2,pp20 full,pp20 infllmv2,tg3 full,tg3 infllmv2," +
		"pp8 @ d130 full,pp8 @ d130 infllmv2,pp20 @ d130 full,pp20 @ d130 infllmv2,tg3 @ d130 full,tg3 @ d130 infllmv2"
	if got := strings.Join(tests, ","); got != want {
		t.Errorf("tests\n%s\nwant\n%s", got, want)
	}
	if left, err := os.ReadDir(temporary); err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// TestBenchText runs over a text that the model's own tokenizer reads.
func TestBenchText(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	text := writeFile(t, strings.Repeat("the whale is not a fish, or is it? ", 20))
	r := nosa(t, nil, "bench", "-q", "--shape", "tiny", "--prompt", "0", "--gen", "2", "--depth", "100", "--repeat", "1", "--text", text)
	if r.code != exitDone || !strings.Contains(r.out, "tg2 @ d100") || r.errors != "" {
		t.Errorf("%+v", r)
	}
}

// TestBenchPeerFails: ours is printed, what the peer did is told, and the command
// has failed.
func TestBenchPeerFails(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	r := nosa(t, nil, "bench", "-q", "--shape", "tiny", "--prompt", "8", "--gen", "0", "--repeat", "1", "--compare", fakeLlama(t, `echo "cannot load" >&2; exit 1`))
	if r.code != exitFailed || !strings.Contains(r.out, "pp8") || !strings.Contains(r.errors, "cannot load") || strings.Contains(r.out, "ratio") {
		t.Errorf("%+v", r)
	}
}

func TestBenchTable(t *testing.T) {
	r := benchReport{}
	setting := bench.Setting{Test: "tg64 @ d4096", Attention: "infllmv2"}
	r.add(&bench.Figure{Setting: bench.Setting{Test: "pp512", Attention: "full"}, MedianTS: 1234.5, MinTS: 999, MaxTS: 2000, BytesPerToken: 1000,
		RooflineTS: 2469, Fraction: 0.5, Bound: "arithmetic"})
	r.add(&bench.Figure{Setting: setting, MedianTS: 34.567, MinTS: 30, MaxTS: 101.23, BytesPerToken: 1.5e9})
	r.add(&bench.Ratio{Setting: setting, Peer: "llama-bench abc (7)", OursTS: 34.567, PeerTS: 10, Ratio: 3.4567, RatioMin: 3, RatioMax: 3.5, Flash: 1, Others: 0.25})
	m := &bench.Machine{Processor: "Some CPU", Device: "cpu (amd64), avx2 kernels, 2 threads", PeakF32: 2e11, PeakInt16: 3e11, PeakInt8: 4e11,
		Reads: []bench.Reading{{Bytes: 512 << 10, Rate: 300e9}, {Bytes: 4 << 20, Rate: 60e9}, {Bytes: 100e6, Rate: 50e9}, {Bytes: 1e9, Rate: 21.25e9}}}
	var b strings.Builder
	r.write(NewOutput(&b), bench.Config{Model: "model.gguf", KVType: "bf16", Numerics: "int16", Threads: 2, Repeat: 5, Machine: m})
	want := `Some CPU; cpu (amd64), avx2 kernels, 2 threads
reads GB/s: 300.0 of 512 KiB, 60.0 of 4 MiB, 50.0 of 100 MB, 21.2 of 1 GB; computes 200 GFLOP/s in float32, 300 GOP/s in int16, 400 in int8
model.gguf, KV in bf16, 2 threads; median of 5 runs

test          attention  tokens/s    min    max  bytes/token  at most  reached  bound by
pp512         full           1234  999.0   2000       1000 B     2469     50 %  arithmetic
tg64 @ d4096  infllmv2      34.57  30.00  101.2      1.4 GiB        -        -

beside llama-bench abc (7), which used the better of its settings:

test          attention   ours  theirs  ratio    min    max  its setting
tg64 @ d4096  infllmv2   34.57   10.00  3.46x  3.00x  3.50x  -fa 1

other programs took up to 25 % of the machine's processor time (tg64 @ d4096): these figures are low
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}
	b.Reset()
	(&benchReport{}).write(NewOutput(&b), bench.Config{Machine: m})
	if b.Len() != 0 {
		t.Errorf("nothing measured prints %q", b.String())
	}
}
