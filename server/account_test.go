package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"nosa/engine"
)

// journal keeps what is logged, for several goroutines.
type journal struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.all.Write(p)
}

// logLine is a request's line.
type logLine struct {
	Level, Msg, ID, Key, Method, Path, Error, Finish, Prompt, Answer string

	Status     int
	Seconds    float64
	PromptN    int     `json:"prompt_tokens"`
	Cached     int     `json:"cached_tokens"`
	Completion int     `json:"completion_tokens"`
	Queue      float64 `json:"queue_seconds"`
	Prefill    float64 `json:"prefill_seconds"`
	Decode     float64 `json:"decode_seconds"`
}

// take returns the lines since the last call, and their text. It waits for n of them:
// a line is written after its answer.
func (j *journal) take(t *testing.T, n int) (lines []logLine, text string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	for deadline := time.Now().Add(10 * time.Second); bytes.Count(j.all.Bytes(), []byte("\n")) < n && time.Now().Before(deadline); {
		j.mu.Unlock()
		time.Sleep(time.Millisecond)
		j.mu.Lock()
	}
	text = j.all.String()
	j.all.Reset()
	for line := range strings.Lines(text) {
		var l logLine
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		lines = append(lines, l)
	}
	return lines, text
}

// TestLog: every request has one line, and nothing in it is its client's text unless that
// was asked for.
func TestLog(t *testing.T) {
	var j journal
	keys := &Keys{}
	if err := keys.Load(writeKeys(t, "captain 0123456789abcdef\n")); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config, _ *engine.Options) {
		c.Keys = keys
		c.Log = slog.New(slog.NewJSONHandler(&j, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	auth := []string{"Authorization", "Bearer 0123456789abcdef"}
	const secret = "xylophone"
	for name, tc := range map[string]struct {
		path, body string
		want       logLine
	}{
		"chat": {"/v1/chat/completions", `{"model":"tiny","max_tokens":9,"ignore_eos":true,"messages":[{"role":"user","content":"Say xylophone."}]}`,
			logLine{Status: 200, Key: "captain", Completion: 9, Finish: "length"}},
		"pieces": {"/v1/completions", `{"model":"tiny","max_tokens":9,"ignore_eos":true,"stream":true,"n":2,"prompt":"A xylophone, a xylophone, a xylophone, a"}`,
			logLine{Status: 200, Key: "captain", Completion: 18, Finish: "length"}},
		"the end":   {"/v1/completions", `{"model":"tiny","prompt":"xylophone","logit_bias":{"2":100}}`, logLine{Status: 200, Key: "captain", Finish: "stop"}},
		"tokenize":  {"/tokenize", `{"prompt":"xylophone"}`, logLine{Status: 200, Key: "captain"}},
		"unknown":   {"/v1/completions", `{"model":"tiny","xylophone":1}`, logLine{Status: 400, Key: "captain", Error: "unknown_parameter"}},
		"role":      {"/v1/chat/completions", `{"model":"tiny","messages":[{"role":"xylophone"}]}`, logLine{Status: 400, Key: "captain", Error: "invalid_request_error messages"}},
		"model":     {"/v1/completions", `{"model":"xylophone"}`, logLine{Status: 404, Key: "captain", Error: "model_not_found model"}},
		"not JSON":  {"/v1/completions", `xylophone`, logLine{Status: 400, Key: "captain", Error: "invalid_request_error"}},
		"too long":  {"/v1/completions", `{"model":"tiny","prompt":"` + strings.Repeat("xylophone ", 300) + `"}`, logLine{Status: 400, Key: "captain", Error: "context_length_exceeded"}},
		"no method": {"/metrics", `{}`, logLine{Status: 405, Key: "captain", Error: "invalid_request_error"}},
	} {
		_, answer, h := w.ask("POST", tc.path, tc.body, auth...)
		lines, text := j.take(t, 1)
		if len(lines) != 1 {
			t.Errorf("%s: %d lines: %s", name, len(lines), text)
			continue
		}
		got := lines[0]
		if got.ID != h.Get("X-Request-Id") || got.Msg != "request" || got.Level != "INFO" || got.Path != tc.path || got.Method != "POST" || got.Seconds <= 0 {
			t.Errorf("%s: %s", name, text)
		}
		if got.Status != tc.want.Status || got.Key != tc.want.Key || got.Completion != tc.want.Completion || got.Finish != tc.want.Finish || got.Error != tc.want.Error {
			t.Errorf("%s: %s, want %+v", name, text, tc.want)
		}
		if ran := got.Finish != ""; ran != (got.PromptN > 0) || ran != (got.Prefill > 0) || got.Completion > 1 != (got.Decode > 0) {
			t.Errorf("%s: %s", name, text)
		}
		if strings.Contains(text, secret) {
			t.Errorf("%s: what the client wrote is in the log: %s", name, text)
		}
		var c completionResponse
		if json.Unmarshal(answer, &c) == nil && len(c.Choices) > 0 && len(c.Choices[0].Text) > 3 && strings.Contains(text, c.Choices[0].Text) {
			t.Errorf("%s: the answer is in the log: %s", name, text)
		}
	}
	w.ask("GET", "/v1/models", "", "Authorization", "Bearer xylophone")
	w.ask("GET", "/readyz", "")
	w.ready.Store(false)
	w.ask("GET", "/readyz", "")
	w.ready.Store(true)
	lines, text := j.take(t, 3)
	if len(lines) != 3 || lines[0].Status != 401 || lines[0].Level != "INFO" || lines[0].Error != "invalid_api_key" || lines[0].Key != "" ||
		lines[1].Level != "DEBUG" || lines[2].Level != "DEBUG" || lines[2].Status != 503 || strings.Contains(text, secret) {
		t.Errorf("%s", text)
	}

	w.s.LogPrompts = true
	long := strings.Repeat("One more xylophone. ", 50)
	code, answer, _ := w.ask("POST", "/v1/completions", `{"model":"tiny","max_tokens":8,"ignore_eos":true,"temperature":0,"prompt":"`+long+`"}`, auth...)
	var c completionResponse
	if err := json.Unmarshal(answer, &c); err != nil || code != 200 {
		t.Fatalf("%d: %s", code, answer)
	}
	lines, text = j.take(t, 1)
	if len(lines) != 1 || lines[0].Prompt != long || lines[0].Answer != c.Choices[0].Text {
		t.Errorf("asked for, but not there: %s", text)
	}
	var a account
	a.follows(engine.Event{Text: strings.Repeat("x", 3*mostLogged)}, true)
	if a.follows(engine.Event{Text: "y"}, true); a.text.Len() != mostLogged {
		t.Errorf("%d bytes of an answer are logged", a.text.Len())
	}
}

// TestLogFailures: what an engine's failure is about is for the log, and for it alone.
func TestLogFailures(t *testing.T) {
	var j journal
	s := &Server{Config: Config{Log: slog.New(slog.NewJSONHandler(&j, nil))}}
	for _, tc := range []struct {
		err         error
		status      int
		level, says string
	}{
		// In the middle of a stream, whose status is out.
		{errors.New("/srv/model.gguf: no such block"), 200, "WARN", "/srv/model.gguf: no such block"},
		{errors.New("/srv/model.gguf: input/output error"), 500, "WARN", "/srv/model.gguf: input/output error"},
		{engine.ErrDraining, 503, "INFO", engine.ErrDraining.Error()},
		{fmt.Errorf("%w: 1024", engine.ErrBusy), 503, "WARN", "too many requests are open: 1024"},
	} {
		h := s.accounted(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			e := s.newEvents(w)
			if tc.status == http.StatusOK {
				e.begin()
			}
			s.fail(e, r, tc.err)
		}))
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), "POST", "/v1/completions", nil))
		lines, text := j.take(t, 1)
		if w.Code != tc.status || len(lines) != 1 || lines[0].Status != tc.status || lines[0].Level != tc.level || lines[0].Error != tc.says {
			t.Errorf("%v: %d, %s", tc.err, w.Code, text)
		}
		if strings.Contains(w.Body.String(), "model.gguf") {
			t.Errorf("a client is told: %s", w.Body)
		}
	}
}

// TestLogGone: a client that leaves is said to have left.
func TestLogGone(t *testing.T) {
	var j journal
	w := start(t, func(c *Config, _ *engine.Options) { c.Log = slog.New(slog.NewJSONHandler(&j, nil)) })
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "POST", w.url+"/v1/completions", strings.NewReader(`{"model":"tiny","prompt":"x","max_tokens":400,"ignore_eos":true,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	cancel() // in the middle: the first piece is there
	_ = res.Body.Close()
	lines, text := j.take(t, 1)
	if len(lines) != 1 || lines[0].Status != 200 || lines[0].Error != errGone.Error() || lines[0].Completion == 0 || lines[0].Finish != "" {
		t.Errorf("%s", text)
	}
}

// hasty is a client that goes as soon as it has the end of its answer.
type hasty struct {
	*httptest.ResponseRecorder
	end  string
	goes func()
}

func (h *hasty) Write(p []byte) (int, error) {
	if bytes.HasSuffix(p, []byte(h.end)) {
		h.goes()
	}
	return h.ResponseRecorder.Write(p)
}

// TestLogHasty: a client that goes with the last byte has got all of its answer.
func TestLogHasty(t *testing.T) {
	var j journal
	w := start(t, func(c *Config, _ *engine.Options) { c.Log = slog.New(slog.NewJSONHandler(&j, nil)) })
	for end, stream := range map[string]bool{"}\n": false, "[DONE]\n\n": true} {
		ctx, cancel := context.WithCancel(t.Context())
		r := httptest.NewRequestWithContext(ctx, "POST", "http://localhost/v1/completions", strings.NewReader(fmt.Sprintf(`{"model":"tiny","prompt":"x","max_tokens":4,"ignore_eos":true,"stream":%v}`, stream)))
		r.Header.Set("Content-Type", "application/json")
		w.s.Handler().ServeHTTP(&hasty{httptest.NewRecorder(), end, cancel}, r)
		cancel()
		if lines, text := j.take(t, 1); len(lines) != 1 || lines[0].Status != 200 || lines[0].Error != "" || lines[0].Completion != 4 {
			t.Errorf("%s", text)
		}
	}
}

func writeKeys(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
