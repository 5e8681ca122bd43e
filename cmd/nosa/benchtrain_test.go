package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	benchtrain "nosa/bench/train"
)

func TestBenchTrainUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"method":    {[]string{"--method", "nosi"}, []string{"--method", "nosi", "infllmv2"}},
		"shape":     {[]string{"--shape", "9b"}, []string{"9b", "135m", "1b"}},
		"context":   {[]string{"--context", "32Q"}, []string{"--context", "32Q", "32K"}},
		"none":      {[]string{"--context", "0"}, []string{"--context 0"}},
		"rows":      {[]string{"--rows", "0"}, []string{"--rows 0"}},
		"passes":    {[]string{"--passes", "0"}, []string{"--passes 0", "1 to"}},
		"head":      {[]string{"--head-rows", "0"}, []string{"--head-rows 0"}},
		"recompute": {[]string{"--recompute", "all"}, []string{"--recompute", "all", "cheap"}},
		"steps":     {[]string{"--steps", "0"}, []string{"--steps 0"}},
		"device":    {[]string{"--device", "tpu"}, []string{"--device", "tpu", "cuda"}},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"bench", "train", "-q"}, tc.args...)...).refused(t, exitUsage, tc.says...)
		})
	}
}

// TestBenchTrainCPU runs the command itself on a tiny shape.
func TestBenchTrainCPU(t *testing.T) {
	g := &Globals{JSON: true, Quiet: true, Getenv: func(string) string { return "" }}
	var out, said bytes.Buffer
	g.Stdout, g.Stderr = NewOutput(&out), NewOutput(&said)
	c := BenchTrainCmd{Shape: "tiny", Method: []string{"full", "nosa"}, Context: []TokenCount{96}, Rows: 100, Passes: 1, HeadRows: 64,
		Recompute: "none", Same: 1, Warm: 1, Steps: 1, Profile: true, Device: "cpu", Threads: 2}
	if err := c.Run(t.Context(), g); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(out.String(), "\n"); n != 3 || !strings.Contains(out.String(), "optimiser") {
		t.Errorf("%d lines:\n%s", n, out.String())
	}
}

// evenTrainer takes a second for 64K tokens, and holds 32K.
type evenTrainer struct{}

func (evenTrainer) Machine() (*benchtrain.Machine, error) {
	return &benchtrain.Machine{Device: "cuda:0 (Some GPU)", Activations: "bf16", Memory: 80e9, Peak: 1e15}, nil
}

func (evenTrainer) Run(_ context.Context, s benchtrain.Setting) (m benchtrain.Measured, err error) {
	if s.Rows > 1<<15 {
		return m, fmt.Errorf("%w: out of memory", benchtrain.ErrNoRoom)
	}
	ms := float64(s.Rows) / (1 << 16) * 1e3
	m = benchtrain.Measured{MS: []float64{ms, ms + 1, ms - 1}, Loss: 10, Parameters: 1000, Memory: 3 << 30, Device: 4 << 30}
	if s.Profile {
		m.ProfileMS = ms + 2
		m.Parts = []benchtrain.Part{{Name: "products forward", MS: ms / 4, FLOP: 1e13}, {Name: "optimiser", MS: 3 * ms / 4}}
	}
	return m, nil
}

// trainedTable runs the command's measuring part with that runner.
func trainedTable(t *testing.T, asJSON bool) string {
	t.Helper()
	c := BenchTrainCmd{Shape: "135m", Method: []string{"full"}, Context: []TokenCount{2048, 65536}, Rows: 16384, Passes: 1, HeadRows: 4096,
		Recompute: "none", Same: 1, Warm: 3, Steps: 3, Profile: true}
	settings, err := c.settings()
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	g := &Globals{JSON: asJSON, Quiet: true, Stdout: NewOutput(&out), Stderr: NewOutput(&said), Getenv: func(string) string { return "" }}
	if err := c.measure(t.Context(), g, evenTrainer{}, settings); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestBenchTrainTable(t *testing.T) {
	want := `cuda:0 (Some GPU); computes 1000 TFLOP/s in bf16 at most
135m with random weights, activations in bf16, median of 3 steps behind 3; recompute none, 4K rows of logits at once

context  attention  tokens      ms     min     max  tokens/s  TFLOP  TFLOP/s  at least ms  reached   memory
     2K  full          16K  250.00  249.00  251.00     65536  16.70    66.80        16.70      7 %  3.0 GiB
135m full, 1 × 65536 tokens: does not fit: out of memory

135m full, 8 × 2048 tokens, in a step of 252.00 ms:

part                  ms   share  TFLOP/s
products forward   62.50  25.0 %    160.0
optimiser         187.50  75.0 %        -
`
	if got := trainedTable(t, false); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestBenchTrainJSON holds the lines to what docs/commands.md promises of them.
func TestBenchTrainJSON(t *testing.T) {
	var kinds []string
	for line := range strings.Lines(trainedTable(t, true)) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		kind := v["kind"].(string)
		kinds = append(kinds, kind)
		for _, key := range map[string][]string{
			"train_machine": {"device", "activations", "memory", "peak"},
			"train": {"system", "shape", "attention", "context", "rows", "passes", "head_rows", "recompute", "same", "warm", "steps", "ms", "ms_min", "ms_max", "samples",
				"tokens", "tokens_per_second", "flop", "flop_per_second", "roofline_ms", "fraction", "memory", "memory_device", "parameters", "loss"},
		}[kind] {
			if _, ok := v[key]; !ok {
				t.Errorf("no %s in %s", key, line)
			}
		}
		long := kind == "train" && v["context"].(float64) > 1<<15
		if _, ok := v["error"]; ok != long {
			t.Errorf("error in %s", line)
		}
		for _, key := range []string{"parts", "profile_ms"} {
			if _, ok := v[key]; ok != (kind == "train" && !long) {
				t.Errorf("%s in %s", key, line)
			}
		}
	}
	if got := strings.Join(kinds, " "); got != "train_machine train train" {
		t.Errorf("lines %s", got)
	}
}
