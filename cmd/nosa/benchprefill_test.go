package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"nosa/bench/prefill"
	"nosa/compute/cuda"
)

func TestBenchPrefillUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"method":  {[]string{"--method", "nosi"}, []string{"--method", "nosi", "infllmv2"}},
		"shape":   {[]string{"--shape", "9b"}, []string{"9b", "8b"}},
		"weights": {[]string{"--weights", "q3"}, []string{"q3", "q8_0"}},
		"kv":      {[]string{"--kv-dtype", "q2"}, []string{"--kv-dtype", "q2"}},
		"context": {[]string{"--context", "32Q"}, []string{"--context", "32Q", "32K"}},
		"none":    {[]string{"--context", "0"}, []string{"--context 0"}},
		"chunk":   {[]string{"--chunk", "0"}, []string{"--chunk 0", "1 to"}},
		"same":    {[]string{"--same", "0"}, []string{"--same 0"}},
		"runs":    {[]string{"--runs", "0"}, []string{"--runs 0"}},
		"device":  {[]string{"--device", "cpu"}, []string{"--device cpu", "cuda", "nosa bench"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"bench", "prefill", "-q"}, tc.args...)...).refused(t, exitUsage, tc.says...)
		})
	}
}

// TestBenchPrefillNoGPU: where there is none, one line says so.
func TestBenchPrefillNoGPU(t *testing.T) {
	if d, err := cuda.Open(0); !errors.Is(err, cuda.ErrNoDriver) {
		if err == nil {
			err = d.Close()
		}
		t.Skipf("there is a GPU, or a driver: %v", err)
	}
	nosa(t, nil, "bench", "prefill").refused(t, exitFailed, "--device cuda", "no CUDA driver", "nosa bench prefill needs an NVIDIA GPU")
}

// evenRunner takes a second for 16K tokens, and holds 64K.
type evenRunner struct{}

func (evenRunner) Machine() *prefill.Machine {
	return &prefill.Machine{Device: "cuda:0 (Some GPU)", Memory: 80e9, Peak: 1e15}
}

func (evenRunner) Run(_ context.Context, s prefill.Setting) (m prefill.Measured, err error) {
	if s.Context > 1<<16 {
		return m, fmt.Errorf("%w: out of memory", prefill.ErrNoRoom)
	}
	seconds := float64(s.Context) / (1 << 14)
	m.Seconds = []float64{seconds, seconds + 0.1, seconds - 0.1}
	if s.Parts {
		m.Parts = []prefill.Part{{Name: "rest", Seconds: seconds / 8}, {Name: "products", Seconds: seconds / 2}, {Name: "attention", Seconds: 3 * seconds / 8}}
	}
	return m, nil
}

func (evenRunner) Close() error { return nil }

// prefilled runs the command's measuring part with that runner.
func prefilled(t *testing.T, asJSON bool) string {
	t.Helper()
	c := BenchPrefillCmd{Shape: "8b", Weights: []string{"bf16"}, Method: []string{"full"}, KVDtype: []string{"bf16"}, Context: []TokenCount{32768, 131072}, Chunk: 2048, Same: 1, Runs: 3, Parts: true}
	settings, err := c.settings()
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	g := &Globals{JSON: asJSON, Quiet: true, Stdout: NewOutput(&out), Stderr: NewOutput(&said), Getenv: func(string) string { return "" }}
	if err := c.measure(t.Context(), g, evenRunner{}, settings); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBenchPrefillTable(t *testing.T) {
	want := `cuda:0 (Some GPU); tensor cores do 1000 TFLOP/s at most
8b with random weights, median of 3 runs, 2048 tokens a pass

context  attention  weights  KV        s    min    max  tokens/s  TFLOP  TFLOP/s  at least s  reached
    32K  full       bf16     bf16  2.000  1.900  2.100     16384  725.7    362.8       0.726     36 %
8b full, KV bf16, 131072 tokens by 2048: does not fit: out of memory

8b full, KV bf16, 32768 tokens by 2048, in a run of 2.000 s:

part           s   share  TFLOP/s
rest       0.250  12.5 %        -
products   1.000  50.0 %    444.2
attention  0.750  37.5 %    375.3
`
	if got := prefilled(t, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBenchPrefillJSON holds the lines to what docs/commands.md promises of them.
func TestBenchPrefillJSON(t *testing.T) {
	var kinds []string
	for line := range strings.Lines(prefilled(t, true)) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kind := v["kind"].(string)
		kinds = append(kinds, kind)
		for _, key := range map[string][]string{
			"prefill_machine": {"device", "memory", "peak"},
			"prefill": {"shape", "weights", "attention", "kv_dtype", "context", "chunk", "same", "runs", "seconds", "seconds_min", "seconds_max", "samples",
				"tokens_per_second", "flop", "flop_per_second", "roofline_seconds", "fraction"},
		}[kind] {
			if _, ok := v[key]; !ok {
				t.Errorf("no %s in %s", key, line)
			}
		}
		long := kind == "prefill" && v["context"].(float64) > 1<<16
		if _, ok := v["error"]; ok != long {
			t.Errorf("error in %s", line)
		}
		if _, ok := v["parts"]; ok != (kind == "prefill" && !long) {
			t.Errorf("parts in %s", line)
		}
	}
	if got := strings.Join(kinds, " "); got != "prefill_machine prefill prefill" {
		t.Errorf("lines %s", got)
	}
}
