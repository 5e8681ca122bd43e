package client

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// server answers every question by f.
func server(t *testing.T, f http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	c, err := New(s.URL, Options{Key: "secret"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// stream sends a body as events.
func stream(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
		_, _ = io.WriteString(w, body) // to a client that may have gone
	}
}

// read reads an answer to its end: its text, why it ended, the last usage.
func read(s *Stream) (text, finish string, u *Usage, err error) {
	for {
		p, err := s.Next()
		switch {
		case errors.Is(err, io.EOF):
			return text, finish, u, nil
		case err != nil:
			return text, finish, u, err
		}
		text += p.Text
		if p.Finish != "" {
			finish = p.Finish
		}
		if p.Usage != nil {
			u = p.Usage
		}
	}
}

func TestStream(t *testing.T) {
	const a, b, end, done = `data: {"choices":[{"text":"a"}]}` + "\n\n", `data: {"choices":[{"delta":{"content":"b"}}],"usage":null}` + "\n\n", `data: {"choices":[{"text":"","finish_reason":"stop"}]}` + "\n\n", "data: [DONE]\n\n"
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		text   string
		is     error
		says   string
	}{
		"whole":              {stream(a + b + end + done), "ab", nil, ""},
		"thoughts":           {stream(`data: {"choices":[{"delta":{"content":null,"reasoning_content":"x","reasoning":"x"}}]}` + "\n\n" + end + done), "x", nil, ""},
		"without DONE":       {stream(a + end), "a", nil, ""},
		"cut in DONE":        {stream(a + end + "data: [DO"), "a", nil, ""},
		"without the end":    {stream(a + done), "a", nil, ""},
		"cut":                {stream(a), "a", ErrCut, ""},
		"cut in an event":    {stream(a + `data: {"choices":[{"te`), "a", ErrCut, ""},
		"nothing":            {stream(""), "", ErrCut, ""},
		"error":              {stream(a + `data: {"error":{"message":"out of memory","code":500}}` + "\n\n"), "a", nil, "broke off: out of memory"},
		"llama.cpp's":        {stream(`error: {"code":400,"message":"too long"}` + "\n\n"), "", nil, "too long"},
		"error of no object": {stream("error: sorry\n\n"), "", nil, "sorry"},
		"older vLLM's":       {stream(`data: {"object":"error","message":"too long"}` + "\n\n"), "", nil, "too long"},
		"no JSON":            {stream("data: {\n\n"), "", nil, "an event of the stream"},
		"deep JSON":          {stream("data: " + strings.Repeat("[", 1<<20) + "\n\n"), "", nil, "an event of the stream"},
		"another kind":       {stream("data: 3\n\n"), "", nil, "an event of the stream"},
		"endless line":       {stream("data: " + strings.Repeat("x", mostEvent+1)), "", ErrTooLong, ""},
		"not a stream":       {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{}") }, "", ErrNoStream, "text/plain"},
		"500":                {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, `{"error":{"message":"no"}}`, 500) }, "", nil, "HTTP 500 Internal Server Error: no"},
		"422": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, `{"detail":[{"msg":"no"}]}`, http.StatusUnprocessableEntity)
		}, "", nil, `HTTP 422 Unprocessable Entity: [{"msg":"no"}]`},
		"404 of a page": {func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "<html>\n no "+strings.Repeat("ä", 1<<20), 404)
		}, "", nil, "<html> no ää"},
		"points elsewhere":    {http.RedirectHandler("http://example.com/", http.StatusTemporaryRedirect).ServeHTTP, "", nil, "it points to http://example.com/"},
		"no answer":           {func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "", io.EOF, ""},
		"status of no number": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(599) }, "", nil, "HTTP 599"},
	} {
		t.Run(name, func(t *testing.T) {
			c := server(t, tc.answer)
			s, err := c.Stream(t.Context(), Completions, []byte("{}"))
			var text string
			if err == nil {
				text, _, _, err = read(s)
				s.Close()
			}
			if text != tc.text || !errors.Is(err, tc.is) && tc.is != nil || (err == nil) != (tc.is == nil && tc.says == "") {
				t.Fatalf("%q, %v: want %q, %v %s", text, err, tc.text, tc.is, tc.says)
			}
			if err != nil && (!strings.Contains(err.Error(), tc.says) || len(err.Error()) > 500) {
				t.Errorf("%.600v: want %q", err, tc.says)
			}
		})
	}
}

// TestStreamUsage: what is asked, what is sent along, and what of usage is read.
func TestStreamUsage(t *testing.T) {
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if got := fmt.Sprint(r.Method, r.URL, r.Header["Authorization"], string(body), err); got != "POST/v1/chat/completions [Bearer secret]{1}<nil>" {
			t.Errorf("asked %s", got)
		}
		stream(`data: {"choices":[{"delta":{"role":"assistant"},"finish_reason":null}]}`+"\n\n"+
			`data: {"choices":[{"delta":{},"finish_reason":"length"}]}`+"\n\n"+
			`data: {"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2},"nosa":{"selected_blocks":4,"hits":3}}}`+"\n\ndata: [DONE]\n\n")(w, r)
	})
	s, err := c.Stream(t.Context(), Chat, []byte("{1}"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	before := time.Now()
	p, err := s.Next()
	if err != nil || !p.Choice || p.Text != "" || p.At.Before(before) {
		t.Errorf("%+v, %v", p, err)
	}
	text, finish, u, err := read(s)
	if err != nil || text != "" || finish != "length" || u == nil || u.Prompt != 7 || u.Completion != 3 || u.Details.Cached != 2 || u.Tiers == nil || u.Tiers.Hits != 3 {
		t.Errorf("%q, %q, %+v, %v", text, finish, u, err)
	}
	if _, err := s.Next(); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v", err)
	}
}

// TestStreamCancelled: a context that ends wakes whoever waits, with its cause, and the
// server sees that its client has gone.
func TestStreamCancelled(t *testing.T) {
	gone := make(chan struct{})
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		stream("data: {\"choices\":[{\"text\":\"a\"}]}\n\n")(w, r)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(gone)
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	s, err := c.Stream(ctx, Completions, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	if p, err := s.Next(); err != nil || p.Text != "a" {
		t.Fatal(p, err)
	}
	enough := errors.New("enough")
	cancel(enough)
	if _, err := s.Next(); !errors.Is(err, enough) {
		t.Errorf("%v: want %v", err, enough)
	}
	s.Close()
	<-gone
	if _, err := c.Stream(ctx, Completions, []byte("{}")); !errors.Is(err, enough) {
		t.Errorf("another one: %v", err)
	}
}

// TestConnections: whole answers leave their connection for the next one, also where the
// end of the body comes after that of the answer.
func TestConnections(t *testing.T) {
	from := map[string]bool{}
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		from[r.RemoteAddr] = true // one at a time
		stream("data: [DONE]\n\n")(w, r)
		_ = http.NewResponseController(w).Flush()
	})
	for range 5 {
		s, err := c.Stream(t.Context(), Completions, []byte("{}"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, _, err := read(s); err != nil {
			t.Fatal(err)
		}
		s.Close()
	}
	if len(from) != 1 {
		t.Errorf("5 answers took %d connections", len(from))
	}
}

// TestClosedConnection: a server that closes a connection which it said it would keep
// fails no question, since none was read from it.
func TestClosedConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() { // ends with the listener
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			r, err := http.ReadRequest(bufio.NewReader(conn))
			if err == nil {
				_, err = io.Copy(io.Discard, r.Body)
			}
			if err == nil && r.Header["Idempotency-Key"] == nil {
				_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: 14\r\n\r\ndata: [DONE]\n\n")
			}
			_ = conn.Close()
		}
	}()
	c, err := New(listener.Addr().String(), Options{})
	if err != nil {
		t.Fatal(err)
	}
	resent := 0
	for i := range 50 {
		s, err := c.Stream(t.Context(), Completions, []byte("{}"))
		if err != nil {
			t.Fatalf("question %d: %v", i, err)
		}
		if _, _, _, err := read(s); err != nil {
			t.Errorf("question %d: %v", i, err)
		}
		if s.Close(); s.Resent {
			resent++
		}
	}
	t.Logf("%d of 50 were sent again", resent)
}

// TestAborted: a question that is not answered over a new connection either has failed,
// after two attempts.
func TestAborted(t *testing.T) {
	var asked atomic.Int64
	c := server(t, func(w http.ResponseWriter, r *http.Request) {
		if n := asked.Add(1); n == 2 || n > 3 {
			panic(http.ErrAbortHandler)
		}
		stream("data: [DONE]\n\n")(w, r)
	})
	for i, want := range []string{"<nil> false", "<nil> true", "EOF", "EOF"} {
		s, err := c.Stream(t.Context(), Completions, []byte("{}"))
		got := fmt.Sprint(err)
		if err == nil {
			_, _, _, err = read(s)
			s.Close()
			got = fmt.Sprint(err, s.Resent)
		}
		if got != want {
			t.Errorf("question %d: %s, want %s", i, got, want)
		}
	}
	if n := asked.Load(); n != 6 {
		t.Errorf("the server was asked %d times, want 6", n)
	}
}

func TestNew(t *testing.T) {
	for address, want := range map[string]string{
		"http://127.0.0.1:8080": "http://127.0.0.1:8080/v1", "127.0.0.1:8080": "http://127.0.0.1:8080/v1", "localhost:80/": "http://localhost:80/v1",
		"https://example.com/v1/": "https://example.com/v1", "https://example.com/api": "https://example.com/api", "[::1]:8080": "http://[::1]:8080/v1",
		"ftp://example.com": "", "http://": "", "": "", "http://u:p@example.com": "", "http://example.com/?a=b": "", "http://example.com:port": "", "http://\x1b": "",
	} {
		c, err := New(address, Options{})
		if got := ""; err == nil {
			if got = c.Address(); got != want {
				t.Errorf("%q: %q, want %q", address, got, want)
			}
		} else if want != "" {
			t.Errorf("%q: %v", address, err)
		}
	}
	if _, err := New("localhost:1", Options{Key: "a\nb"}); err == nil || strings.Contains(err.Error(), "a\nb") {
		t.Errorf("a key of two lines: %v", err)
	}
}

func TestModels(t *testing.T) {
	for body, want := range map[string]string{
		`{"data":[{"id":"a"},{"id":""},{"id":"b"}]}`: "[a b] <nil>",
		`{"data":[]}`:                     "[] <nil>",
		`[]`:                              "want a list of models",
		strings.Repeat(" ", mostModels+1): "longer",
	} {
		c := server(t, func(w http.ResponseWriter, r *http.Request) {
			if r.Method != http.MethodGet || r.URL.Path != "/v1/models" || r.Header.Get("Authorization") != "Bearer secret" {
				t.Errorf("asked %s %s", r.Method, r.URL)
			}
			_, _ = io.WriteString(w, body)
		})
		names, err := c.Models(t.Context())
		if got := fmt.Sprint(names, err); !strings.Contains(got, want) {
			t.Errorf("%.40q: %s, want %s", body, got, want)
		}
	}
	c := server(t, func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":{"message":"who are you?"}}`, http.StatusUnauthorized)
	})
	var status *StatusError
	if _, err := c.Models(t.Context()); !errors.As(err, &status) || status.Code != 401 || status.Message != "who are you?" {
		t.Errorf("%v", err)
	}
}

// BenchmarkStream is what an event costs who measures, apart from the network: it runs on
// the machine of the server as often as not.
func BenchmarkStream(b *testing.B) {
	const events = 1000
	one := `data: {"id":"cmpl-0123456789","object":"text_completion","created":1760000000,"model":"m","choices":[{"index":0,"text":" whale","logprobs":null,"finish_reason":null}]}` + "\n\n"
	body := strings.Repeat(one, events) + "data: [DONE]\n\n"
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		s := &Stream{ctx: b.Context(), body: io.NopCloser(strings.NewReader("")), cancel: func() {}, in: newSSEReader(strings.NewReader(body), mostEvent)}
		s.finished = true
		n := 0
		for {
			p, err := s.Next()
			if err != nil {
				break
			}
			n += len(p.Text)
		}
		if s.Close(); n != events*len(" whale") {
			b.Fatalf("%d bytes of text", n)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*events), "ns/event")
}
