package load

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"nosa/client"
)

// TestHostile: what a server does wrong fails that request, with a reason, and no other.
func TestHostile(t *testing.T) {
	const piece, end = "data: {\"choices\":[{\"text\":\"a\"}]}\n\n", "data: {\"choices\":[{\"text\":\"\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n"
	for name, tc := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"endless line":   {events(piece + "data: " + strings.Repeat("x", 8<<20)), "longer than any answer"},
		"500":            {func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "\x1b[2Joh no", 500) }, "HTTP 500"},
		"cut":            {events(piece), "ended before the answer did"},
		"nothing":        {events("data: [DONE]\n\n"), "without a token"},
		"comments alone": {events(strings.Repeat(": still here\n\n", 1000)), "ended before"},
		"no stream":      {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"choices":[]}`) }, "in pieces"},
		"error":          {events(piece + "data: {\"error\":{\"message\":\"out of memory\"}}\n\n"), "out of memory"},
		"absurd usage":   {events(piece + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":-1}}\n\n" + end), ""},
		"huge usage":     {events(piece + "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":1000000000000000000}}\n\n" + end), ""},
	} {
		t.Run(name, func(t *testing.T) {
			var n atomic.Int64
			s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%2 == 1 {
					events(piece+end)(w, r)
				} else {
					tc.answer(w, r)
				}
			}))
			defer s.Close()
			cl, err := client.New(s.URL, client.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer cl.Close()
			c := config(t, nil, func(c *Config) { c.Client, c.Concurrency, c.Timeout = cl, 1, time.Minute })
			r, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if tc.says == "" {
				if r.Completed != 6 || r.Output != 6 || r.Uncounted != 6 {
					t.Errorf("%d completed, %d tokens, %d uncounted", r.Completed, r.Output, r.Uncounted)
				}
				return
			}
			if r.Completed != c.Requests/2 || r.Failed != c.Requests/2 || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Reason, tc.says) {
				t.Errorf("%d completed, %d failed, %+v: want %q", r.Completed, r.Failed, r.Failures, tc.says)
			}
		})
	}
}

// TestResent: a server that closes connections which it keeps fails nothing, but that is
// told; one that closes a new one too has failed.
func TestResent(t *testing.T) {
	for _, every := range []int64{2, 1} {
		var n atomic.Int64
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if i := n.Add(1); i > 1 && i%every == 0 {
				panic(http.ErrAbortHandler)
			}
			events("data: {\"choices\":[{\"text\":\"a\",\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")(w, r)
		}))
		cl, err := client.New(s.URL, client.Options{})
		if err != nil {
			t.Fatal(err)
		}
		r, err := Run(t.Context(), config(t, nil, func(c *Config) { c.Client, c.Concurrency = cl, 1 }))
		cl.Close()
		s.Close()
		if err != nil || every == 2 && (r.Completed != 6 || r.Resent != 5) || every == 1 && (r.Completed != 1 || r.Failed != 5) {
			t.Errorf("every %d: %d completed, %d failed, %d sent again, %v", every, r.Completed, r.Failed, r.Resent, err)
		}
	}
}

// events answers with a stream.
func events(body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, body) // to a client that may have gone
		_ = http.NewResponseController(w).Flush()
	}
}
