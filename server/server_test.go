package server

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nosa/compute/cpu"
	"nosa/engine"
)

// world is a server over a small model, as clients see it.
type world struct {
	*testing.T
	s     *Server
	e     *engine.Engine
	url   string
	ready atomic.Bool
}

func start(t *testing.T, change func(*Config, *engine.Options)) *world {
	t.Helper()
	dev, err := cpu.New(cpu.Options{Threads: 2})
	if err != nil {
		t.Fatal(err)
	}
	src, err := engine.OpenSource(testModel(t))
	if err != nil {
		t.Fatal(err)
	}
	o := engine.NewOptions()
	o.Context, o.Sequences, o.Retain, o.Chunk = 512, 4, true, 64
	cfg := Config{Model: "tiny", Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg, &o)
	}
	e, err := engine.Open(dev, src, o, cfg.Log)
	if err != nil {
		t.Fatal(err)
	}
	service := engine.NewService(e, engine.ServiceOptions{}, cfg.Log)
	cfg.Engine, cfg.Service = e, service
	w := &world{T: t, e: e}
	w.ready.Store(true)
	w.s = New(cfg, w.ready.Load)
	h := httptest.NewServer(w.s.Handler())
	w.url = h.URL
	t.Cleanup(func() {
		h.Close()
		service.Close()
		if st := e.Store().Stats(); st.Sequences != 0 || st.Live != st.Cached {
			t.Errorf("%d sequences and %d blocks are left, %d of them cached", st.Sequences, st.Live, st.Cached)
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		if err := dev.Close(); err != nil {
			t.Error(err)
		}
	})
	return w
}

// testModel is a real model, so that text is text.
func testModel(t *testing.T) string {
	t.Helper()
	path := filepath.Join("..", "models", "SmolLM2-135M-Instruct.gguf")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not there: run scripts/fetch-models", path)
	}
	return path
}

// ask sends a request and returns its status and body.
func (w *world) ask(method, path, body string, header ...string) (int, []byte, http.Header) {
	w.Helper()
	r, err := http.NewRequestWithContext(w.Context(), method, w.url+path, strings.NewReader(body))
	if err != nil {
		w.Fatal(err)
	}
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		}
		r.Header.Set(header[i], header[i+1])
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		w.Fatal(err)
	}
	defer res.Body.Close()
	data, err := io.ReadAll(res.Body)
	if err != nil {
		w.Fatal(err)
	}
	w.documented(r, res.StatusCode)
	return res.StatusCode, data, res.Header
}

// good sends a request that is answered, into v.
func (w *world) good(method, path, body string, v any) {
	w.Helper()
	code, data, _ := w.ask(method, path, body)
	if code != http.StatusOK {
		w.Fatalf("%s: %d %s", path, code, data)
	}
	if err := json.Unmarshal(data, v); err != nil {
		w.Fatalf("%s: %v: %s", path, err, data)
	}
}

type errorBody struct {
	Error struct {
		Message string
		Type    string
		Param   *string
		Code    *string
	}
}

// stream sends a request and returns the events' data, [DONE] included.
func (w *world) stream(path, body string) []string {
	w.Helper()
	code, data, h := w.ask(http.MethodPost, path, body)
	if code != http.StatusOK || !strings.HasPrefix(h.Get("Content-Type"), "text/event-stream") {
		w.Fatalf("%d %s %s", code, h.Get("Content-Type"), data)
	}
	var events []string
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		if d, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
			events = append(events, d)
		} else if lines.Text() != "" && !strings.HasPrefix(lines.Text(), ":") {
			w.Errorf("line %q", lines.Text())
		}
	}
	return events
}

const hello = `"messages":[{"role":"user","content":"What is a whale?"}]`

// TestChat: an answer whole and in pieces is the same, and what Generate says.
func TestChat(t *testing.T) {
	w := start(t, nil)
	var whole chatResponse
	w.good("POST", "/v1/chat/completions", `{"model":"tiny","max_tokens":20,"temperature":0,"logprobs":true,"top_logprobs":2,`+hello+`}`, &whole)
	if len(whole.Choices) != 1 || whole.Object != "chat.completion" || whole.Usage.Completion != 20 || *whole.Choices[0].Finish != "length" {
		t.Fatalf("%+v", whole)
	}
	text := *whole.Choices[0].Message.Content
	var fromTokens []byte
	for _, tok := range whole.Choices[0].LogProbs.Content {
		for _, b := range tok.Bytes {
			fromTokens = append(fromTokens, byte(b))
		}
		if len(tok.Top) != 2 || tok.Top[0].LogProb != tok.LogProb || tok.Top[0].Token != tok.Token || tok.LogProb > 0 || tok.Top[1].LogProb > tok.LogProb {
			t.Errorf("%+v", tok)
		}
	}
	if string(fromTokens) != text {
		t.Errorf("tokens make %q, text is %q", fromTokens, text)
	}
	events := w.stream("/v1/chat/completions", `{"model":"tiny","max_completion_tokens":20,"temperature":0,"stream":true,"stream_options":{"include_usage":true},`+hello+`}`)
	var pieces strings.Builder
	var last chatResponse
	for i, e := range events[:len(events)-1] {
		last = chatResponse{}
		if err := json.Unmarshal([]byte(e), &last); err != nil {
			t.Fatal(err)
		}
		if (last.Usage != nil) != (i == len(events)-2) {
			t.Errorf("event %d of %d: usage %+v", i, len(events), last.Usage)
		}
		for _, c := range last.Choices {
			if (i == 0) != (c.Delta.Role == "assistant") {
				t.Errorf("event %d: role %q", i, c.Delta.Role)
			}
			if c.Delta.Content != nil {
				pieces.WriteString(*c.Delta.Content)
			}
		}
	}
	if events[len(events)-1] != "[DONE]" || pieces.String() != text || len(events) < 10 {
		t.Errorf("%d pieces %q, want %q", len(events), pieces.String(), text)
	}
	if u := last.Usage; u == nil || u.Completion != 20 || u.Prompt != whole.Usage.Prompt || u.Nosa.Selected == 0 || u.Nosa.Prefill == 0 {
		t.Errorf("usage %+v", u)
	}
	// Counted with every piece: of both prompts, each token once, and the end is the whole.
	sent := 0
	for _, e := range w.stream("/v1/completions", `{"model":"tiny","prompt":["One, two,","The sea"],"max_tokens":6,"ignore_eos":true,"stream":true,"stream_options":{"continuous_usage_stats":true}}`) {
		var c completionResponse
		if e == "[DONE]" {
			break
		}
		if err := json.Unmarshal([]byte(e), &c); err != nil {
			t.Fatal(err)
		}
		if u := c.Usage; u == nil || u.Completion <= sent || u.Prompt == 0 || u.Total != u.Prompt+u.Completion {
			t.Errorf("after %d tokens: %+v", sent, u)
		} else {
			sent = u.Completion
		}
	}
	if sent != 12 {
		t.Errorf("the last piece counts %d tokens", sent)
	}
	// Parts of content and a developer are other words for the same.
	var again chatResponse
	w.good("POST", "/v1/chat/completions", `{"model":"tiny","max_tokens":20,"temperature":0,"user":"me","response_format":{"type":"text"},"tools":[],
		"messages":[{"role":"user","content":[{"type":"text","text":"What is "},{"type":"text","text":"a whale?"}]}]}`, &again)
	if *again.Choices[0].Message.Content != text {
		t.Errorf("%q, want %q", *again.Choices[0].Message.Content, text)
	}
}

// TestChatChoices: several choices, drawn by a seed, in one answer and in pieces.
func TestChatChoices(t *testing.T) {
	w := start(t, nil)
	body := `{"model":"tiny","max_tokens":12,"temperature":1.5,"seed":-3,"n":3,"ignore_eos":true,` + hello
	var whole chatResponse
	w.good("POST", "/v1/chat/completions", body+`}`, &whole)
	texts := make([]string, 3)
	for _, e := range w.stream("/v1/chat/completions", body+`,"stream":true}`) {
		var c chatResponse
		if e != "[DONE]" {
			if err := json.Unmarshal([]byte(e), &c); err != nil {
				t.Fatal(err)
			}
			if d := c.Choices[0]; d.Delta.Content != nil {
				texts[d.Index] += *d.Delta.Content
			}
		}
	}
	for i, c := range whole.Choices {
		if c.Index != i || *c.Message.Content != texts[i] || texts[i] == texts[(i+1)%3] {
			t.Errorf("choice %d: %q, in pieces %q", i, *c.Message.Content, texts[i])
		}
	}
	if whole.Usage.Completion != 36 {
		t.Errorf("%+v", whole.Usage)
	}
}

// TestCompletions: prompts in all forms, echo, and log-probabilities as Score has them.
func TestCompletions(t *testing.T) {
	w := start(t, nil)
	const text = "Call me Ishmael. Some years ago"
	ids, err := w.e.Encode(text, false)
	if err != nil {
		t.Fatal(err)
	}
	idsJSON, _ := json.Marshal(ids)
	var c completionResponse
	ask := func(body string) completionResponse {
		t.Helper()
		c = completionResponse{}
		w.good("POST", "/v1/completions", `{"model":"tiny","temperature":0,`+body+`}`, &c)
		return c
	}
	one := ask(`"prompt":"` + text + `"`)
	if one.Usage.Completion != 16 || one.Usage.Prompt != len(ids) || one.Choices[0].LogProbs != nil {
		t.Errorf("%+v", one)
	}
	want := one.Choices[0].Text
	for _, prompt := range []string{`["` + text + `"]`, string(idsJSON), "[" + string(idsJSON) + "]"} {
		if got := ask(`"prompt":` + prompt).Choices[0].Text; got != want {
			t.Errorf("%s: %q, want %q", prompt, got, want)
		}
	}
	two := ask(`"prompt":["` + text + `","The sea"],"n":2,"max_tokens":4`)
	if len(two.Choices) != 4 || two.Choices[0].Text != two.Choices[1].Text || two.Choices[2].Text == two.Choices[0].Text || two.Choices[3].Index != 3 {
		t.Errorf("%+v", two.Choices)
	}
	if got := ask(`"prompt":"` + text + `","echo":true`).Choices[0].Text; got != text+want {
		t.Errorf("echo %q", got)
	}
	// As lm-eval asks for the likelihood of a text.
	l := ask(`"prompt":` + string(idsJSON) + `,"echo":true,"logprobs":1,"max_tokens":1`).Choices[0].LogProbs
	if len(l.Tokens) != len(ids)+1 || l.Values[0] != nil || l.Top[0] != nil || strings.Join(l.Tokens[:len(ids)], "") != text || l.Offsets[1] != 4 {
		t.Fatalf("%+v", l)
	}
	// The token that ends the text is in the lists, or the client would drop one of the prompt's.
	ended := ask(`"prompt":` + string(idsJSON) + `,"echo":true,"logprobs":1,"max_tokens":1,"logit_bias":{"2":100}`)
	if e := ended.Choices[0].LogProbs; ended.Choices[0].Text != text || *ended.Choices[0].Finish != "stop" || ended.Usage.Completion != 0 ||
		len(e.Tokens) != len(ids)+1 || e.Tokens[len(ids)] != "<|im_end|>" || *e.Values[len(ids)] >= *l.Values[len(ids)] {
		t.Errorf("%+v, %+v", ended, e)
	}
	events := w.stream("/v1/completions", `{"model":"tiny","prompt":`+string(idsJSON)+`,"logprobs":0,"stream":true,"logit_bias":{"2":100}}`)
	if !strings.Contains(events[0], `"tokens":["<|im_end|>"]`) || !strings.Contains(events[0], `"text":""`) {
		t.Errorf("an end in pieces: %s", events)
	}
	var sum float64
	for _, v := range l.Values[1:len(ids)] {
		sum += *v
	}
	w.s.Service.Close()
	scores, err := w.e.Score(context.Background(), ids, nil)
	if err != nil {
		t.Fatal(err)
	}
	if math.Abs(sum+scores.NLL) > 1e-9 {
		t.Errorf("log-likelihood %v, Score says %v", sum, -scores.NLL)
	}
}

// TestStop: a stop string is not in the answer, whole or in pieces.
func TestStop(t *testing.T) {
	w := start(t, nil)
	var c completionResponse
	w.good("POST", "/v1/completions", `{"model":"tiny","temperature":0,"prompt":"One, two, three, four,","max_tokens":30}`, &c)
	full := c.Choices[0].Text
	stop := full[len(full)/2 : len(full)/2+3]
	want := full[:strings.Index(full, stop)]
	body := fmt.Sprintf(`{"model":"tiny","temperature":0,"prompt":"One, two, three, four,","max_tokens":30,"stop":[%q,"never"]`, stop)
	w.good("POST", "/v1/completions", body+`}`, &c)
	if c.Choices[0].Text != want || *c.Choices[0].Finish != "stop" {
		t.Errorf("%q %s, want %q", c.Choices[0].Text, *c.Choices[0].Finish, want)
	}
	var pieces string
	for _, e := range w.stream("/v1/completions", body+`,"stream":true}`) {
		if e != "[DONE]" {
			if err := json.Unmarshal([]byte(e), &c); err != nil {
				t.Fatal(err)
			}
			pieces += c.Choices[0].Text
		}
	}
	if pieces != want {
		t.Errorf("in pieces %q, want %q", pieces, want)
	}
}

// TestRefusals: what is wrong, or not done here, is said in OpenAI's words, with the
// parameter's name.
func TestRefusals(t *testing.T) {
	w := start(t, func(c *Config, _ *engine.Options) { c.Limits.Body = 1 << 16 })
	chat, text := "/v1/chat/completions", "/v1/completions"
	for name, tc := range map[string]struct {
		path, body string
		code       int
		param      string
	}{
		"not json":        {chat, `{"model"`, 400, ""},
		"more json":       {chat, `{"model":"tiny"} {}`, 400, ""},
		"no object":       {chat, `[1]`, 400, ""},
		"deep":            {chat, `{"model":"tiny","metadata":` + strings.Repeat("[", 20000) + strings.Repeat("]", 20000) + `}`, 400, ""},
		"long":            {chat, `{"model":"` + strings.Repeat("x", 1<<17) + `"}`, 413, ""},
		"unknown":         {chat, `{"model":"tiny",` + hello + `,"colour":"red"}`, 400, "colour"},
		"other model":     {chat, `{"model":"gpt-7",` + hello + `}`, 404, "model"},
		"no model":        {chat, `{` + hello + `}`, 404, "model"},
		"no messages":     {chat, `{"model":"tiny"}`, 400, "messages"},
		"strange role":    {chat, `{"model":"tiny","messages":[{"role":"captain","content":"x"}]}`, 400, "messages"},
		"tool message":    {chat, `{"model":"tiny","messages":[{"role":"tool","content":"x"}]}`, 400, "messages"},
		"image":           {chat, `{"model":"tiny","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":"x"}}]}]}`, 400, "messages"},
		"null content":    {chat, `{"model":"tiny","messages":[{"role":"user","content":null}]}`, 400, "messages"},
		"tools":           {chat, `{"model":"tiny",` + hello + `,"tools":[{"type":"function"}]}`, 400, "tools"},
		"format":          {chat, `{"model":"tiny",` + hello + `,"response_format":{"type":"json_object"}}`, 400, "response_format"},
		"wrong kind":      {chat, `{"model":"tiny",` + hello + `,"max_tokens":"many"}`, 400, "max_tokens"},
		"hot":             {chat, `{"model":"tiny",` + hello + `,"temperature":101}`, 400, "temperature"},
		"top-p":           {chat, `{"model":"tiny",` + hello + `,"top_p":1.5}`, 400, "top_p"},
		"penalty":         {chat, `{"model":"tiny",` + hello + `,"presence_penalty":3}`, 400, "presence_penalty"},
		"bias":            {chat, `{"model":"tiny",` + hello + `,"logit_bias":{"x":1}}`, 400, "logit_bias"},
		"bias of no one":  {chat, `{"model":"tiny",` + hello + `,"logit_bias":{"99999999":1}}`, 400, "logit_bias"},
		"both lengths":    {chat, `{"model":"tiny",` + hello + `,"max_tokens":513,"max_completion_tokens":1}`, 400, "max_tokens"},
		"choices":         {chat, `{"model":"tiny",` + hello + `,"n":17}`, 400, "n"},
		"top without":     {chat, `{"model":"tiny",` + hello + `,"top_logprobs":2}`, 400, "top_logprobs"},
		"too many top":    {chat, `{"model":"tiny",` + hello + `,"logprobs":true,"top_logprobs":21}`, 400, "top_logprobs"},
		"stop of numbers": {chat, `{"model":"tiny",` + hello + `,"stop":[1]}`, 400, "stop"},
		"empty stop":      {chat, `{"model":"tiny",` + hello + `,"stop":""}`, 400, "stop"},
		"context":         {chat, `{"model":"tiny",` + hello + `,"max_tokens":600}`, 400, ""},
		"long prompt":     {text, `{"model":"tiny","prompt":"` + strings.Repeat("whale ", 600) + `"}`, 400, ""},
		"no prompt":       {text, `{"model":"tiny"}`, 400, "prompt"},
		"empty prompt":    {text, `{"model":"tiny","prompt":[]}`, 400, "prompt"},
		"wrong ids":       {text, `{"model":"tiny","prompt":[-1]}`, 400, "prompt"},
		"suffix":          {text, `{"model":"tiny","prompt":"x","suffix":"y"}`, 400, "suffix"},
		"best of":         {text, `{"model":"tiny","prompt":"x","best_of":4}`, 400, "best_of"},
		"logprobs":        {text, `{"model":"tiny","prompt":"x","logprobs":21}`, 400, "logprobs"},
		"detokenize":      {"/detokenize", `{"tokens":[-1]}`, 400, "tokens"},
		"tokenize":        {"/tokenize", `{}`, 400, "prompt"},
		"short vector":    {"/v1/embeddings", `{"model":"tiny","input":"x","dimensions":10}`, 400, "dimensions"},
		"no input":        {"/v1/embeddings", `{"model":"tiny"}`, 400, "input"},
		"no format":       {"/v1/embeddings", `{"model":"tiny","input":"x","encoding_format":"text"}`, 400, "encoding_format"},
		"long input":      {"/v1/embeddings", `{"model":"tiny","input":"` + strings.Repeat("whale ", 600) + `"}`, 400, ""},
		"no path":         {"/v1/nothing", `{}`, 404, ""},
	} {
		code, data, _ := w.ask("POST", tc.path, tc.body)
		if what := "This model's maximum context length is 512 tokens"; (name == "context" || name == "long prompt") && !strings.Contains(string(data), what) {
			t.Errorf("%s: %s does not say what clients look for: %s", name, data, what)
		}
		var e errorBody
		if err := json.Unmarshal(data, &e); err != nil || e.Error.Message == "" || e.Error.Type == "" || strings.Contains(e.Error.Message, "\n") {
			t.Errorf("%s: %s", name, data)
			continue
		}
		param := ""
		if e.Error.Param != nil {
			param = *e.Error.Param
		}
		if code != tc.code || param != tc.param {
			t.Errorf("%s: %d, param %q, want %d, %q: %s", name, code, param, tc.code, tc.param, data)
		}
	}
	if code, _, h := w.ask("GET", chat, ""); code != 405 || h.Get("Allow") != "POST" {
		t.Errorf("GET: %d, allowed %q", code, h.Get("Allow"))
	}
	if code, _, _ := w.ask("POST", chat, `{}`, "Content-Type", "text/plain"); code != 415 {
		t.Errorf("a body of plain text: %d", code)
	}
}

// TestGuard: nobody but health is answered without a key, and no name but ours.
func TestGuard(t *testing.T) {
	file := filepath.Join(t.TempDir(), "keys")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	keys := &Keys{}
	for _, bad := range []string{"", "# none\n", "short\n", "a b c0123456789abcdef\n", "a b0123456789abcdef boss\n"} {
		write(bad)
		if err := keys.Load(file); err == nil {
			t.Errorf("%q was taken", bad)
		}
	}
	write("# keys\nalice 0123456789abcdef\n\nfedcba9876543210\n")
	if err := keys.Load(file); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config, _ *engine.Options) { c.Keys, c.Hosts = keys, []string{"nosa.example"} })
	for _, path := range []string{"/v1/models", "/nosa/state", "/nosa/cache", "/page/a/b", "/v1/chat/completions", "/metrics", "/nothing"} {
		for _, auth := range []string{"", "Bearer", "Bearer wrong", "Basic 0123456789abcdef", "0123456789abcdef"} {
			code, data, h := w.ask("GET", path, "", "Authorization", auth)
			var e errorBody
			if code != 401 || json.Unmarshal(data, &e) != nil || *e.Error.Code != "invalid_api_key" || h.Get("WWW-Authenticate") == "" {
				t.Errorf("%s with %q: %d %s", path, auth, code, data)
			}
		}
	}
	for _, key := range []string{"Bearer 0123456789abcdef", "bearer fedcba9876543210"} {
		if code, _, h := w.ask("GET", "/v1/models", "", "Authorization", key); code != 200 || h.Get("X-Request-Id") == "" {
			t.Errorf("%s: %d", key, code)
		}
	}
	write("bob aaaaaaaaaaaaaaaa\n")
	if err := keys.Load(file); err != nil {
		t.Fatal(err)
	}
	if code, _, _ := w.ask("GET", "/v1/models", "", "Authorization", "Bearer 0123456789abcdef"); code != 401 {
		t.Errorf("a key that was taken away: %d", code)
	}
	for _, path := range []string{"/healthz", "/readyz", "/health"} {
		if code, _, _ := w.ask("GET", path, ""); code != 200 {
			t.Errorf("%s: %d", path, code)
		}
	}
	w.ready.Store(false)
	if code, _, _ := w.ask("GET", "/readyz", ""); code != 503 {
		t.Errorf("not ready: %d", code)
	}
	for host, want := range map[string]int{
		"evil.example": 421, "localhost": 200, "localhost:99": 200, "127.0.0.1": 200, "[::1]:80": 200, "NOSA.example:1": 200, "nosa.example.evil": 421, "10.0.0.1": 421,
	} {
		if code, _, _ := w.ask("GET", "/healthz", "", "Host", host); code != want {
			t.Errorf("host %s: %d, want %d", host, code, want)
		}
	}
}

// TestLimits: one open request too many of a key is refused, and the place is free again.
func TestLimits(t *testing.T) {
	w := start(t, func(c *Config, _ *engine.Options) { c.Limits.Streams = 1 })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", w.url+"/v1/completions", strings.NewReader(`{"model":"tiny","prompt":"x","max_tokens":500,"ignore_eos":true,"stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	code, data, h := w.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"x","max_tokens":1}`)
	if code != 429 || h.Get("Retry-After") == "" {
		t.Errorf("%d %s", code, data)
	}
	cancel()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if code, data, _ = w.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"x","max_tokens":1}`); code == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d %s", code, data)
		}
	}
}

var manyDrops = flag.Int("drops", 200, "connections of TestDropped")

// TestDropped: clients that go away in the middle leave nothing behind.
// TestDeadline: a request that takes too long ends, in the queue, while it is answered
// whole and while it is streamed; what it held is free.
func TestDeadline(t *testing.T) {
	for name, tc := range map[string]struct {
		most   time.Duration
		stream bool
	}{"queue": {1, false}, "whole": {30 * time.Millisecond, false}, "stream": {30 * time.Millisecond, true}} {
		t.Run(name, func(t *testing.T) {
			w := start(t, func(c *Config, _ *engine.Options) { c.Limits.Deadline = tc.most })
			code, body, _ := w.ask("POST", "/v1/completions", fmt.Sprintf(`{"model":"tiny","prompt":[5,6,7],"max_tokens":500,"ignore_eos":true,"stream":%v}`, tc.stream))
			if code != http.StatusServiceUnavailable && !tc.stream || !strings.Contains(string(body), `"deadline_exceeded"`) {
				t.Errorf("%d: %.300s", code, body)
			}
			if err := w.s.Service.Drain(t.Context()); err != nil {
				t.Error(err)
			}
			if st := w.e.Store().Stats(); st.Sequences != 0 {
				t.Errorf("%d sequences are left", st.Sequences)
			}
		})
	}
}

func TestDropped(t *testing.T) {
	w := start(t, nil)
	address := strings.TrimPrefix(w.url, "http://")
	drops := *manyDrops
	if testing.Short() {
		drops = min(drops, 20)
	}
	for i := range drops {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		body := fmt.Sprintf(`{"model":"tiny","prompt":"Number %d","max_tokens":400,"ignore_eos":true,"stream":%v}`, i, i%2 == 0)
		fmt.Fprintf(c, "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body[:len(body)-i%3])
		if i%6 == 0 { // else no answer comes: a part of the body is missing, or it is too early
			_, _ = c.Read(make([]byte, 100))
		}
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := w.s.Service.Drain(ctx); err != nil {
		t.Error(err)
	}
	w.s.streams.mu.Lock()
	defer w.s.streams.mu.Unlock()
	for deadline := time.Now().Add(5 * time.Second); len(w.s.streams.open) > 0 && time.Now().Before(deadline); {
		w.s.streams.mu.Unlock()
		time.Sleep(5 * time.Millisecond)
		w.s.streams.mu.Lock()
	}
	if len(w.s.streams.open) != 0 {
		t.Errorf("%v are open", w.s.streams.open)
	}
}

// TestMetrics: the page is in Prometheus's format, and its numbers are those of what
// was asked.
func TestMetrics(t *testing.T) {
	w := start(t, nil)
	for range 2 {
		var c completionResponse
		w.good("POST", "/v1/completions", `{"model":"tiny","prompt":"`+strings.Repeat("the whale ", 80)+`","max_tokens":7,"ignore_eos":true}`, &c)
	}
	code, page, h := w.ask("GET", "/metrics", "")
	if code != 200 || !strings.HasPrefix(h.Get("Content-Type"), "text/plain; version=0.0.4") {
		t.Fatalf("%d %s", code, h.Get("Content-Type"))
	}
	values, kinds := map[string]float64{}, map[string]string{}
	for _, line := range strings.Split(strings.TrimSuffix(string(page), "\n"), "\n") {
		fields := strings.Fields(line)
		if strings.HasPrefix(line, "# TYPE ") {
			kinds[fields[2]] = fields[3]
		}
		if strings.HasPrefix(line, "#") {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		var v float64
		if _, err := fmt.Sscan(line[at+1:], &v); err != nil {
			t.Errorf("line %q: %v", line, err)
		}
		name, _, _ := strings.Cut(line[:at], "{")
		base := name
		for _, end := range []string{"_bucket", "_sum", "_count"} {
			if b := strings.TrimSuffix(name, end); kinds[b] == "histogram" {
				base = b
			}
		}
		if _, twice := values[line[:at]]; twice || kinds[base] == "" {
			t.Errorf("line %q is there twice, or has no type", line)
		}
		values[line[:at]] = v
	}
	for name, want := range map[string]float64{
		`nosa_requests_total{end="answered"}`: 2, `nosa_tokens_total{kind="generated"}`: 14, `nosa_requests_running`: 0,
		`nosa_time_to_first_token_seconds_count`: 2, `nosa_inter_token_seconds_bucket{le="+Inf"}`: 12, `nosa_queue_seconds_count`: 2,
		`vllm:cache_config_info{model_name="tiny",block_size="64",num_gpu_blocks="32"}`: 1, // 4 sequences of 512 tokens
		`vllm:num_requests_waiting{model_name="tiny"}`:                                  0, `vllm:kv_cache_usage_perc{model_name="tiny"}`: 0,
	} {
		if got, ok := values[name]; !ok || got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	if values[`nosa_tokens_total{kind="cached"}`] < 64 || values[`nosa_blocks{where="cached"}`] == 0 || values[`nosa_hits_total{layer="29"}`] == 0 {
		t.Errorf("%s", page)
	}
}

func TestTokens(t *testing.T) {
	w := start(t, nil)
	var ids struct {
		Count  int
		Tokens []int32
	}
	w.good("POST", "/tokenize", `{"prompt":"Call me Ishmael."}`, &ids)
	list, _ := json.Marshal(ids.Tokens)
	var text struct{ Prompt string }
	w.good("POST", "/detokenize", `{"tokens":`+string(list)+`}`, &text)
	if text.Prompt != "Call me Ishmael." || ids.Count != len(ids.Tokens) {
		t.Errorf("%q, %+v", text.Prompt, ids)
	}
	before := ids.Count
	w.good("POST", "/tokenize", `{"model":"tiny",`+hello+`}`, &ids)
	if ids.Count <= before {
		t.Errorf("%d tokens of a conversation", ids.Count)
	}
	var info struct {
		EOS      string `json:"eos_token"`
		Template string `json:"chat_template"`
		Most     int    `json:"model_max_length"`
	}
	w.good("GET", "/tokenizer_info", "", &info)
	if info.EOS != "<|im_end|>" || !strings.Contains(info.Template, "messages") || info.Most != 512 {
		t.Errorf("%+v", info)
	}
	// Its name alone asks for a special token, and only where nothing else is put around it.
	for body, want := range map[string]int{
		`{"prompt":"<|im_end|>","add_special_tokens":false}`: 1, `{"prompt":"<|im_end|> ","add_special_tokens":false}`: 0, `{"prompt":"<|im_end|>"}`: 0,
	} {
		w.good("POST", "/tokenize", body, &ids)
		if got := strings.Count(fmt.Sprint(ids.Tokens), "[2]"); got != want {
			t.Errorf("%s: %v", body, ids.Tokens)
		}
	}
	var models struct{ Data []modelObject }
	w.good("GET", "/v1/models", "", &models)
	if len(models.Data) != 1 || models.Data[0].ID != "tiny" || models.Data[0].Context != 512 {
		t.Errorf("%+v", models)
	}
	if code, _, _ := w.ask("GET", "/v1/models/other", ""); code != 404 {
		t.Errorf("another model: %d", code)
	}
}
