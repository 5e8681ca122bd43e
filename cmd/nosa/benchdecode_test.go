package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"nosa/bench/decode"
	"nosa/compute/cuda"
)

func TestBenchDecodeUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"system":   {[]string{"--system", "vllm"}, []string{"--system", "vllm", "infllmv2"}},
		"shape":    {[]string{"--shape", "9b"}, []string{"9b", "8b"}},
		"weights":  {[]string{"--weights", "q3"}, []string{"q3", "q8_0"}},
		"kv":       {[]string{"--kv-dtype", "q2"}, []string{"--kv-dtype", "q2"}},
		"batch":    {[]string{"--batch", "4,0"}, []string{"--batch 0", "1 to"}},
		"context":  {[]string{"--context", "32Q"}, []string{"--context", "32Q", "32K"}},
		"none":     {[]string{"--context", "0"}, []string{"--context 0"}},
		"endless":  {[]string{"--context", "9999999999M"}, []string{"9999999999M"}},
		"replay":   {[]string{"--replay", "often"}, []string{"--replay", "often", "model"}},
		"nosi":     {[]string{"--system", "nosi", "--replay-nosi", "0.8"}, []string{"0.8", "0.7"}},
		"all new":  {[]string{"--replay", "0.9"}, []string{"0.9", "0.7"}},
		"no steps": {[]string{"--steps", "0"}, []string{"--steps 0"}},
		"memory":   {[]string{"--memory", "24G"}, []string{"--memory", "GiB"}},
		"device":   {[]string{"--device", "cpu"}, []string{"--device cpu", "cuda"}},
		"number":   {[]string{"--device", "cuda:x"}, []string{"cuda:x"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"bench", "decode", "-q"}, tc.args...)...).refused(t, exitUsage, tc.says...)
		})
	}
}

// TestBenchDecodeNoGPU: where there is none, one line says so.
func TestBenchDecodeNoGPU(t *testing.T) {
	if d, err := cuda.Open(0); !errors.Is(err, cuda.ErrNoDriver) {
		if err == nil {
			err = d.Close()
		}
		t.Skipf("there is a GPU, or a driver: %v", err)
	}
	r := nosa(t, nil, "bench", "decode")
	r.refused(t, exitFailed, "--device cuda", "no CUDA driver", "nosa bench decode needs an NVIDIA GPU")
}

func TestTokenCount(t *testing.T) {
	for text, want := range map[string]TokenCount{"0": 0, "7": 7, "32K": 32768, "1k": 1024, "1M": 1 << 20, "K": -1, "": -1, "-1": -1, "1.5K": -1, "1KK": -1, "99999999999999999999": -1, "1099511627777K": -1} {
		n := TokenCount(-1)
		if err := n.UnmarshalText([]byte(text)); n != want || (err != nil) != (want < 0) {
			t.Errorf("%q: %d, %v; want %d", text, n, err, want)
		}
	}
}

// steadyRunner takes 20 ms for a step, one more for each sequence, and holds 20.
type steadyRunner struct{}

func (steadyRunner) Machine(context.Context) (*decode.Machine, error) {
	return &decode.Machine{Device: "cuda:0 (Some GPU)", Memory: 80e9, Copy: 4e12, Bus: 50e9}, nil
}

func (steadyRunner) Run(_ context.Context, s decode.Setting) (decode.Measured, error) {
	if s.Batch > 20 {
		return decode.Measured{}, fmt.Errorf("%w: 3.0 GiB are free for blocks, 9.0 are needed", decode.ErrNoRoom)
	}
	ms := 20 + float64(s.Batch)
	m := decode.Measured{Milliseconds: []float64{ms, ms + 1, ms - 1}, Slots: int64(s.Batch) * 64 * 128}
	if s.System == "nosa" {
		m.Selected, m.Missed = []int64{1000, 1000}, []int64{10, 30}
		m.Without, m.CopyMS = []float64{ms - 1, ms - 1, ms}, 5
		m.Kernels = []decode.Kernel{{Name: "step_attend", MS: 4.5}, {Name: "step_product", MS: 9}}
	}
	return m, nil
}

func (steadyRunner) Close() error { return nil }

// decoded runs the command's measuring part with that runner.
func decoded(t *testing.T, asJSON bool) string {
	t.Helper()
	c := BenchDecodeCmd{Shape: "8b", Weights: []string{"bf16"}, System: []string{"full", "nosa"}, KVDtype: []string{"bf16"}, Batch: []int{4, 32}, Context: []TokenCount{32768},
		Replay: "0.161", Warm: 2, Steps: 3}
	settings, err := c.settings()
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	g := &Globals{JSON: asJSON, Quiet: true, Stdout: NewOutput(&out), Stderr: NewOutput(&said), Getenv: func(string) string { return "" }}
	if err := c.measure(t.Context(), g, steadyRunner{}, settings); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBenchDecodeTable(t *testing.T) {
	want := `cuda:0 (Some GPU); a copy moves 4000 GB/s, the bus 50.0
8b with random weights, median of 3 steps behind 2

context  system  weights  KV    batch     new     ms    min    max  tokens/s     hits  slots/head  GB read  GB bus  copies ms  hidden  at least ms  reached
    32K  full    bf16     bf16      4       -  24.00  23.00  25.00     166.7  100.0 %         128    18.91   0.000          -       -         4.73     20 %
    32K  nosa    bf16     bf16      4  16.1 %  24.00  23.00  25.00     166.7   98.0 %         128    15.28   0.011       5.00    80 %         3.82     16 %
8b full, KV bf16, 32 × 32768 tokens: does not fit: 3.0 GiB are free for blocks, 9.0 are needed
8b nosa, KV bf16, 32 × 32768 tokens: does not fit: 3.0 GiB are free for blocks, 9.0 are needed

8b nosa, KV bf16, 4 × 32768 tokens, of which:

kernel        ms a step    part
step_attend       4.500  18.8 %
step_product      9.000  37.5 %

the best batch of each, times as fast as the others at theirs:

context  system  weights  KV    batch  tokens/s     hits  reached  over
    32K  full    bf16     bf16      4     166.7  100.0 %     20 %  nosa bf16 1.00x
    32K  nosa    bf16     bf16      4     166.7   98.0 %     16 %  full bf16 1.00x
`
	if got := decoded(t, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBenchDecodeJSON holds the lines to what docs/commands.md promises of them.
func TestBenchDecodeJSON(t *testing.T) {
	var kinds []string
	for line := range strings.Lines(decoded(t, true)) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kind := v["kind"].(string)
		kinds = append(kinds, kind)
		for _, key := range map[string][]string{
			"decode_machine": {"device", "memory", "copy", "bus"},
			"decode": {"shape", "weights", "system", "kv_dtype", "batch", "context", "memory", "kv_device", "kv_host", "new", "warm", "steps", "ms", "ms_min", "ms_max", "ms_deviation",
				"tokens_per_second", "hit_rate", "hit_rate_worst_layer", "slots_per_head", "bytes", "roofline_ms", "fraction"},
			"decode_best": {"shape", "system", "weights", "kv_dtype", "context", "memory", "batch", "tokens_per_second", "hit_rate", "fraction", "over"},
		}[kind] {
			if _, ok := v[key]; !ok {
				t.Errorf("no %s in %s", key, line)
			}
		}
		for _, key := range []string{"ms_without", "copy_ms", "hidden"} {
			if _, ok := v[key]; ok != (v["system"] == "nosa" && v["batch"].(float64) == 4 && kind == "decode") {
				t.Errorf("%s in %s", key, line)
			}
		}
		if _, ok := v["samples_ms"]; ok {
			t.Errorf("samples that nobody asked for: %s", line)
		}
		if _, ok := v["error"]; ok != (kind == "decode" && v["batch"].(float64) == 32) {
			t.Errorf("error in %s", line)
		}
	}
	if got := strings.Join(kinds, " "); got != "decode_machine decode decode decode decode decode_best decode_best" {
		t.Errorf("lines %s", got)
	}
}
