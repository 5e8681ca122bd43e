package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestServeRefusals(t *testing.T) {
	dir := textModel(t)
	keys := writeFile(t, "0123456789abcdef\n")
	for name, tc := range map[string]struct {
		args []string
		code int
		says string
	}{
		"everybody":       {[]string{"--addr", "0.0.0.0:0"}, exitUsage, "--api-key-file"},
		"every address":   {[]string{"--addr", ":0"}, exitUsage, "--insecure"},
		"no port":         {[]string{"--addr", "localhost"}, exitUsage, "HOST:PORT"},
		"nothing to keep": {[]string{"--kv-disk-keep"}, exitUsage, "--kv-disk"},
		"half of TLS":     {[]string{"--tls-cert", keys}, exitUsage, "belong together"},
		"no seats":        {[]string{"--sequences", "0"}, exitUsage, "--sequences"},
		"too many seats":  {[]string{"--sequences", "512"}, exitUsage, "--chunk"},
		"no keys":         {[]string{"--api-key-file", writeFile(t, "# none\n")}, exitFailed, "there is no key"},
		"no such file":    {[]string{"--api-key-file", "/does/not/exist"}, exitFailed, "--api-key-file"},
		"no such address": {[]string{"--addr", "192.0.2.1:0", "--api-key-file", keys}, exitFailed, "--addr 192.0.2.1:0"},
		"no memory":       {[]string{"--addr", "127.0.0.1:0", "--sequences", "500", "--context", "4096", "--kv-device", "1KiB"}, exitFailed, "--kv-device"},
	} {
		t.Run(name, func(t *testing.T) {
			nosa(t, nil, append([]string{"serve", dir}, tc.args...)...).refused(t, tc.code, tc.says)
		})
	}
}

// served is `nosa serve` as a process.
type served struct {
	*testing.T
	cmd *exec.Cmd
	url string
	log chan string // lines on stderr
}

func serve(t *testing.T, args ...string) *served {
	t.Helper()
	return serveModel(t, textModel(t), args...)
}

func serveModel(t *testing.T, model string, args ...string) *served {
	t.Helper()
	return serveIn(t, nil, model, args...)
}

// serveIn is serveModel with more in its environment.
func serveIn(t *testing.T, env []string, model string, args ...string) *served {
	t.Helper()
	s := &served{T: t, cmd: command(t, env, append([]string{"serve", model, "--addr", "127.0.0.1:0"}, args...)...), log: make(chan string, 1000)}
	stderr, err := s.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		for lines := bufio.NewScanner(stderr); lines.Scan(); {
			s.log <- lines.Text()
		}
		close(s.log)
	}()
	s.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(s.line("http://"))
	return s
}

// line waits for one on stderr that has a text in it.
func (s *served) line(with string) string {
	s.Helper()
	for wait := time.After(20 * time.Second); ; {
		select {
		case l, ok := <-s.log:
			if !ok {
				s.Fatalf("it ended before it said %q", with)
			}
			if strings.Contains(l, with) {
				return l
			}
		case <-wait:
			s.Fatalf("it did not say %q", with)
		}
	}
}

func (s *served) ask(method, path, body, key string) *http.Response {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.Context(), 30*time.Second)
	s.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, method, s.url+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = res.Body.Close() })
	return res
}

// TestServe: keys are asked for and read again at SIGHUP; at SIGTERM what runs comes to
// its end, nothing new is taken, and the process ends well.
func TestServe(t *testing.T) {
	keys := writeFile(t, "0123456789abcdef\n")
	s := serve(t, "--api-key-file", keys, "--name", "tiny", "--context", "25000")
	if res := s.ask("GET", "/v1/models", "", "wrong"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("a wrong key: %s", res.Status)
	}
	if res := s.ask("GET", "/v1/models", "", "0123456789abcdef"); res.StatusCode != http.StatusOK {
		t.Errorf("the key: %s", res.Status)
	}
	if err := os.WriteFile(keys, []byte("fedcba9876543210\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	s.line("read again")
	if res := s.ask("GET", "/v1/models", "", "0123456789abcdef"); res.StatusCode != http.StatusUnauthorized {
		t.Errorf("the old key: %s", res.Status)
	}

	res := s.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"Call me","max_tokens":24000,"ignore_eos":true,"stream":true}`, "fedcba9876543210")
	if res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.line("no more requests are taken")
	if res := s.ask("GET", "/readyz", "", ""); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("while it drains: %s", res.Status)
	}
	if res := s.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"Call me"}`, "fedcba9876543210"); res.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new request: %s", res.Status)
	}
	text, err := io.ReadAll(res.Body)
	if err != nil || !strings.HasSuffix(string(text), "data: [DONE]\n\n") || !strings.Contains(string(text), `"finish_reason":"length"`) {
		t.Errorf("the running one ended with %v, %.300q", err, text[max(0, len(text)-300):])
	}
	for range s.log {
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestServeLog: with JSON everything on stderr is the log, and at level error there is
// nothing of what went well.
func TestServeLog(t *testing.T) {
	s := serve(t, "--log-format", "json", "--name", "tiny")
	if res := s.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"Call me","max_tokens":2}`, ""); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	s.line(`"msg":"request"`)
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	drained := false
	for l := range s.log {
		drained = drained || strings.Contains(l, `"msg":"draining"`)
		if !json.Valid([]byte(l)) {
			t.Errorf("not JSON: %s", l)
		}
	}
	if err := s.cmd.Wait(); err != nil || !drained {
		t.Errorf("%v, draining was said: %v", err, drained)
	}

	s = serve(t, "--log-level", "error", "--name", "tiny")
	if res := s.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"Call me","max_tokens":2}`, ""); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for l := range s.log {
		if strings.Contains(l, "msg=") {
			t.Errorf("at level error: %s", l)
		}
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// TestServeTraces: what is sent to a collector is there when the process has ended; an
// environment that is wrong is refused at the start.
func TestServeTraces(t *testing.T) {
	got := make(chan string, 10)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		got <- r.URL.Path + " " + string(body)
	}))
	defer collector.Close()
	s := serveIn(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=" + collector.URL, "OTEL_BSP_SCHEDULE_DELAY=3600000", "OTEL_SERVICE_NAME=whaler"}, textModel(t), "--name", "tiny")
	if res := s.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"Call me","max_tokens":2}`, ""); res.StatusCode != http.StatusOK {
		t.Fatal(res.Status)
	}
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for range s.log {
	}
	if err := s.cmd.Wait(); err != nil {
		t.Error(err)
	}
	close(got)
	if sent := <-got; !strings.HasPrefix(sent, "/v1/traces {") || !strings.Contains(sent, `"whaler"`) || !strings.Contains(sent, `"text_completion tiny"`) {
		t.Errorf("%s", sent)
	}
	out, err := command(t, []string{"OTEL_EXPORTER_OTLP_ENDPOINT=nowhere"}, "serve", textModel(t), "--addr", "127.0.0.1:0").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "OTEL_EXPORTER_OTLP_ENDPOINT=nowhere: want an address") {
		t.Errorf("%v: %s", err, out)
	}
}
