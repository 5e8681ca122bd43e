package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
)

func TestBenchServeUsage(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		says []string
	}{
		"address":      {[]string{"ftp://x"}, []string{"ftp://x", "http://HOST:PORT"}},
		"two of them":  {[]string{"http://a", "http://b"}, []string{"http://b", "nosa bench serve --help"}},
		"bench's flag": {[]string{"--prompt", "5"}, []string{"--prompt", "nosa bench serve --help"}},
		"requests":     {[]string{"--requests", "0"}, []string{"0 requests"}},
		"rate":         {[]string{"--rate", "-1"}, []string{"--rate"}},
		"rate of NaN":  {[]string{"--rate", "NaN"}, []string{"rate of NaN"}},
		"lengths":      {[]string{"--input-tokens", "9-3"}, []string{"--input-tokens", "9-3"}},
		"answers":      {[]string{"--output-tokens", "0"}, []string{"--output-tokens", "out of bounds"}},
		"goal":         {[]string{"--goodput", "ttft:500,itl:3"}, []string{"--goodput", "itl:3"}},
		"ids":          {[]string{"--token-ids", "5"}, []string{`--token-ids "5"`, "LOW-HIGH"}},
		"no ids":       {[]string{"--token-ids", "9-3"}, []string{"token ids 9 to 3"}},
		"body":         {[]string{"--extra-body", "[1]"}, []string{"--extra-body", "JSON object"}},
		"body's field": {[]string{"--extra-body", `{"stream":false}`}, []string{"stream"}},
		"words, text":  {[]string{"--words", "--text", "x"}, []string{"one of them"}},
		"key":          {[]string{"--api-key-file", writeFile(t, "two words more\n")}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			code := exitUsage
			if name == "key" {
				code, tc.says = exitFailed, []string{"--api-key-file", "3 words"}
			}
			nosa(t, nil, append([]string{"bench", "serve", "-q"}, tc.args...)...).refused(t, code, tc.says...)
		})
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	nosa(t, nil, "bench", "serve", gone.URL).refused(t, exitFailed, gone.URL+"/v1/models", "refused", "--model")
	r := nosa(t, nil, "bench", "serve", gone.URL, "-q", "--model", "x")
	r.refused(t, exitFailed, gone.URL, "the warm-up")
	// What `nosa bench MODEL` was, it is.
	r = nosa(t, nil, "bench", "--help")
	if r.code != exitDone || !strings.HasPrefix(r.out, "Usage: nosa bench [<model>] [flags]") || !strings.Contains(r.out, "--compare-fa") || !strings.Contains(r.out, "nosa bench serve") {
		t.Errorf("%+v", r)
	}
	nosa(t, nil, "bench", "--dance").refused(t, exitUsage, "nosa bench --help")
	nosa(t, nil, "bench", "--prompt", "5", "serve").refused(t, exitUsage, "--prompt")
}

// TestBenchServe measures a server of ours: what was asked for comes back, nothing from
// the cache but what the prompts share, in the fields that docs/commands.md promises.
func TestBenchServe(t *testing.T) {
	const key = "0123456789abcdef"
	s := serve(t, "--api-key-file", writeFile(t, "bench "+key+"\n"), "--context", "1024", "--sequences", "4")
	env := map[string]string{"NOSA_API_KEY": key}
	measure := func(args ...string) map[string]any {
		t.Helper()
		r := nosa(t, env, append([]string{"bench", "serve", s.url, "--json", "--ignore-eos", "--requests", "12", "--concurrency", "4", "--output-tokens", "8", "--token-ids", "1000-4000"}, args...)...)
		var m map[string]any
		parseJSON(t, r, &m)
		if m["completed"] != 12.0 || m["failed"] != 0.0 || m["total_output_tokens"] != 96.0 || m["answers_without_usage"] != 0.0 || m["short_answers"] != 0.0 {
			t.Errorf("%v: %v", args, m)
		}
		return m
	}
	m := measure("--input-tokens", "70-200", "--seed", "5", "--detail", "--goodput", "ttft:1e6,e2el:1e6")
	if m["total_cached_tokens"] != 0.0 || m["seed"] != 5.0 || m["request_goodput"] != m["request_throughput"] || m["model_id"] != "tiny" || len(m["errors"].([]any)) != 12 {
		t.Errorf("%v", m)
	}
	sum := 0.0
	for _, n := range m["input_lens"].([]any) {
		if sum += n.(float64); n.(float64) < 70 || n.(float64) > 200 {
			t.Errorf("a prompt of %v tokens", n)
		}
	}
	if sum != m["total_input_tokens"] {
		t.Errorf("prompts have %v tokens, in all %v", sum, m["total_input_tokens"])
	}
	for _, name := range []string{"ttft", "tpot", "itl", "e2el"} {
		low, high := m["p50_"+name+"_ms"].(float64), m["p99_"+name+"_ms"].(float64)
		if mean := m["mean_"+name+"_ms"].(float64); mean <= 0 || low > high {
			t.Errorf("%s: mean %v, p50 %v, p99 %v", name, mean, low, high)
		}
	}
	if m := measure("--input-tokens", "70", "--shared-prefix", "128", "--concurrency", "1"); m["total_cached_tokens"] != 12*128.0 || m["total_input_tokens"] != 12*198.0 {
		t.Errorf("with a shared prefix: %v of %v tokens from the cache", m["total_cached_tokens"], m["total_input_tokens"])
	}
	if m := measure("--endpoint", "chat", "--input-tokens", "100", "--rate", "200", "--burstiness", "0.5"); m["backend"] != "openai-chat" || m["request_rate"] != 200.0 || m["p99_send_delay_ms"] == nil {
		t.Errorf("chat: %v", m)
	}
	text := writeFile(t, strings.Repeat("Call me Ishmael. Some years ago, never mind how long precisely, ", 200))
	if m := measure("--text", text, "--input-tokens", "200"); m["total_input_tokens"].(float64) < 12*150 || m["total_input_tokens"].(float64) > 12*250 {
		t.Errorf("text: %v", m["total_input_tokens"])
	}

	r := nosa(t, env, "bench", "serve", s.url, "--requests", "2", "--input-tokens", "20", "--output-tokens", "4", "--token-ids", "1000-4000", "--ignore-eos", "--goodput", "ttft:0")
	for _, want := range []string{"2 requests completed, 0 failed", "closed loop of 1", "goodput 0.00", "0 of 2", "TTFT", "E2EL", "p99"} {
		if !strings.Contains(r.out, want) {
			t.Errorf("%+v lacks %q", r, want)
		}
	}
	// Ids beyond the vocabulary are refused by the server, each request for itself.
	r = nosa(t, env, "bench", "serve", s.url, "-q", "--requests", "3", "--warmup", "0", "--input-tokens", "20", "--token-ids", "5000-6000")
	if r.code != exitFailed || !strings.Contains(r.out, "0 requests completed, 3 failed") || !strings.Contains(r.errors, "3 of 3 requests failed") || !strings.Contains(r.errors, "HTTP 400") {
		t.Errorf("%+v", r)
	}
	nosa(t, nil, "bench", "serve", s.url, "-q").refused(t, exitFailed, "HTTP 401")
}

// TestBenchServeInterrupt: what there is by then is printed.
func TestBenchServeInterrupt(t *testing.T) {
	asked := make(chan struct{}, 100)
	var n atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		if n.Add(1) > 3 { // one client, one after the other
			w.WriteHeader(http.StatusOK)
			_ = http.NewResponseController(w).Flush()
			asked <- struct{}{}
			<-r.Context().Done()
			return
		}
		_, _ = io.WriteString(w, "data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	defer s.Close()
	for _, args := range [][]string{{}, {"--json"}} {
		n.Store(0)
		var stdout, stderr bytes.Buffer
		cmd := command(t, nil, append([]string{"bench", "serve", s.URL, "-q", "--model", "m", "--warmup", "0"}, args...)...)
		cmd.Stdout, cmd.Stderr = &stdout, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		<-asked
		if err := cmd.Process.Signal(os.Interrupt); err != nil {
			t.Fatal(err)
		}
		err := cmd.Wait()
		if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) || exit.ExitCode() != exitFailed || stderr.String() != "nosa: interrupted\n" {
			t.Errorf("%v, %q", err, stderr.String())
		}
		if len(args) == 0 {
			if !strings.Contains(stdout.String(), "3 requests completed, 0 failed, 1 cut short") {
				t.Errorf("printed %q", stdout.String())
			}
			continue
		}
		var m map[string]any
		if err := json.Unmarshal(stdout.Bytes(), &m); err != nil || m["completed"] != 3.0 || m["cancelled"] != 1.0 {
			t.Errorf("%v: %s", err, stdout.String())
		}
	}
}
