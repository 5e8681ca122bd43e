package load

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"

	"nosa/client"
)

// fake is a server without a network, so that time can stand still: in a bubble of
// synctest its answers take exactly as long as they say.
type fake struct {
	prefill, token time.Duration
	perEvent       int  // tokens of an event; 0: 1
	silent         bool // says nothing of usage
	tokens         func(prompt any) int
	fails          func(n int) bool // the n-th question is refused

	mu    sync.Mutex
	open  int
	most  int
	asked []asked
}

// asked is a question as the server saw it.
type asked struct {
	at     time.Time
	Prompt any
	Most   int  `json:"max_tokens"`
	Ignore bool `json:"ignore_eos"`
	Stream bool
	Extra  any                              `json:"top_k"`
	Chat   []struct{ Role, Content string } `json:"messages"`
}

func (f *fake) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	q := asked{at: time.Now()}
	if err := json.Unmarshal(body, &q); err != nil {
		return nil, err
	}
	if q.Chat != nil {
		q.Prompt = q.Chat[0].Content
	}
	f.mu.Lock()
	n := len(f.asked)
	f.asked = append(f.asked, q)
	f.open++
	f.most = max(f.most, f.open)
	f.mu.Unlock()
	end := func() {
		f.mu.Lock()
		f.open--
		f.mu.Unlock()
	}
	res := &http.Response{StatusCode: 200, Header: http.Header{"Content-Type": {"text/event-stream"}}, Request: r}
	if f.fails != nil && f.fails(n) {
		end()
		res.StatusCode, res.Body = 503, io.NopCloser(bytes.NewBufferString(`{"error":{"message":"busy"}}`))
		return res, nil
	}
	out, in := io.Pipe()
	res.Body = out
	stop := context.AfterFunc(r.Context(), func() { _ = in.CloseWithError(context.Cause(r.Context())) })
	go func() { // ends when all is written, or nobody reads
		defer stop()
		f.answer(r.Context(), in, &q)
		end() // before the client can know that it is
		_ = in.Close()
	}()
	return res, nil
}

// pause is a time in which the client may go away.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

func (f *fake) answer(ctx context.Context, w io.Writer, q *asked) {
	pause(ctx, f.prefill)
	each := max(f.perEvent, 1)
	for i := 0; i < q.Most; i += each {
		if i > 0 {
			pause(ctx, f.token*time.Duration(min(each, q.Most-i)))
		}
		if _, err := io.WriteString(w, `data: {"choices":[{"text":"x"}]}`+"\n\n"); err != nil {
			return
		}
	}
	_, _ = io.WriteString(w, `data: {"choices":[{"text":"","finish_reason":"length"}]}`+"\n\n")
	if !f.silent {
		prompt := 0
		switch p := q.Prompt.(type) {
		case []any:
			prompt = len(p)
		case string:
			prompt = f.tokens(p)
		}
		_, _ = fmt.Fprintf(w, `data: {"choices":[],"usage":{"prompt_tokens":%d,"completion_tokens":%d,"prompt_tokens_details":{"cached_tokens":1}}}`+"\n\n", prompt, q.Most)
	}
}

// config is a run against f.
func config(t *testing.T, f http.RoundTripper, change func(*Config)) Config {
	t.Helper()
	cl, err := client.New("http://fake", client.Options{Transport: f})
	if err != nil {
		t.Fatal(err)
	}
	c := Config{
		Client: cl, Path: client.Completions, Model: "m", Requests: 6, Concurrency: 2, LowID: 100, HighID: 1000,
		Input: mix(t, "20"), Output: mix(t, "5"), Timeout: time.Hour, Seed: 1,
	}
	if change != nil {
		change(&c)
	}
	return c
}

func mix(t *testing.T, s string) Mix {
	t.Helper()
	m, err := ParseMix(s, 1)
	if err != nil {
		t.Fatal(err)
	}
	return m
}
