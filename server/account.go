package server

import (
	"context"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"nosa/engine"
	"nosa/trace"
)

// account is what is known of a request when it ends. The log has a line of it, and
// spans are made of it. It stands before the answer's writer, to see the status.
type account struct {
	http.ResponseWriter
	status int
	began  time.Time
	tenant string
	err    error // in full
	whole  bool  // the answer was sent to its end
	trace  trace.Context

	asking *asking // nil: it did not come to that
	orders []engine.Order
	finish []string // the kinds there were
	text   strings.Builder
}

// mostLogged is how many bytes of a prompt and of an answer are logged, for those who
// ask for it.
const mostLogged = 4096

// mostPath is how many bytes of a path are told.
const mostPath = 200

// goneStatus is the status in the log of a request whose client went before the answer
// had begun. The number is nginx's.
const goneStatus = 499

var errGone = errors.New("the client has gone")

func (a *account) WriteHeader(code int) {
	if a.status == 0 {
		a.status = code
	}
	a.ResponseWriter.WriteHeader(code)
}

func (a *account) Write(p []byte) (int, error) {
	if a.status == 0 {
		a.status = http.StatusOK
	}
	return a.ResponseWriter.Write(p)
}

// Unwrap lets a http.ResponseController through.
func (a *account) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// sent notes that an answer was sent to its end: who goes after that is not gone too early.
func sent(w http.ResponseWriter) {
	if a, ok := w.(*account); ok {
		a.whole = true
	}
}

// accountOf is a request's account.
func accountOf(r *http.Request) *account {
	if a, ok := r.Context().Value(accountKey).(*account); ok {
		return a
	}
	return &account{} // of a handler that is called alone
}

// accounted keeps an account of each request, for the log.
func (s *Server) accounted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		a := &account{ResponseWriter: w, began: time.Now()}
		if s.Trace != nil && r.Method != http.MethodGet {
			a.trace = s.Trace.Begin(r.Header.Get("Traceparent"), r.Header.Get("Tracestate"))
		}
		next.ServeHTTP(a, r.WithContext(context.WithValue(r.Context(), accountKey, a)))
		if r.Context().Err() != nil && a.err == nil && !a.whole {
			a.err = errGone
		}
		if a.status == 0 {
			a.status = goneStatus
		}
		end := time.Now()
		s.logged(r, a, end)
		if s.Trace != nil {
			s.spans(r, a, end)
		}
	})
}

// follows notes an event of one of the answers.
func (a *account) follows(e engine.Event, texts bool) {
	if e.Finish != "" && !slices.Contains(a.finish, e.Finish) {
		a.finish = append(a.finish, e.Finish)
	}
	if left := mostLogged - a.text.Len(); texts && left > 0 {
		a.text.WriteString(e.Text[:min(left, len(e.Text))])
	}
}

// logged writes a request's line. What a client has written is in none but for the
// path, unless the server was told to log prompts: of a refusal, which may quote it, the
// line has the kind and the parameter.
func (s *Server) logged(r *http.Request, a *account, end time.Time) {
	level := slog.LevelInfo
	switch {
	case r.Method == http.MethodGet && a.err == nil:
		level = slog.LevelDebug // what is asked every few seconds; also that it drains is no news
	case a.failed():
		level = slog.LevelWarn
	}
	if !s.Log.Enabled(r.Context(), level) {
		return
	}
	line := []slog.Attr{
		slog.String("id", requestID(r)), slog.String("key", a.tenant), slog.String("method", r.Method),
		slog.String("path", r.URL.Path[:min(len(r.URL.Path), mostPath)]), slog.Int("status", a.status),
		slog.Float64("seconds", end.Sub(a.began).Round(time.Microsecond).Seconds()),
	}
	if a.trace.Sampled {
		line = append(line, slog.String("trace", hex.EncodeToString(a.trace.Trace[:])))
	}
	if a.asking != nil {
		u := usageOf(a.asking.answers)
		line = append(line, slog.Int("prompt_tokens", u.Prompt), slog.Int("cached_tokens", u.Details.Cached), slog.Int("completion_tokens", u.Completion),
			slog.Float64("queue_seconds", u.Nosa.Queue), slog.Float64("prefill_seconds", u.Nosa.Prefill), slog.Float64("decode_seconds", u.Nosa.Decode),
			slog.String("finish", strings.Join(a.finish, ",")))
	}
	if a.err != nil {
		line = append(line, slog.String("error", a.reason()))
	}
	if s.LogPrompts && len(a.orders) > 0 {
		// A token is a byte at least.
		prompt := s.Engine.Tokenizer.Decode(a.orders[0].IDs[:min(mostLogged, len(a.orders[0].IDs))], false)
		line = append(line, slog.String("prompt", prompt[:min(mostLogged, len(prompt))]), slog.String("answer", a.text.String()))
	}
	s.Log.LogAttrs(r.Context(), level, "request", line...)
}

// failed reports whether it was the server that failed, before the answer or in its middle.
func (a *account) failed() bool {
	switch {
	case errors.Is(a.err, engine.ErrDraining), errors.Is(a.err, errGone):
		return false
	case a.err == nil:
		return a.status >= http.StatusInternalServerError
	}
	return asAPI(a.err).Code >= http.StatusInternalServerError
}

// kind is why a request was not answered, in one of a few words.
func (a *account) kind() string {
	e := asAPI(a.err)
	switch {
	case errors.Is(a.err, errGone):
		return "client_gone"
	case e.Name == "":
		return e.Kind
	}
	return e.Name
}

// reason says more, in words that are not the client's.
func (a *account) reason() string {
	e := asAPI(a.err)
	switch {
	case e.Code >= http.StatusInternalServerError:
		return a.err.Error()
	case e.Name == unknownParameter:
		return e.Name
	}
	return strings.TrimSpace(a.kind() + " " + e.Param)
}
