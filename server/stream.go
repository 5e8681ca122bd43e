package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"nosa/engine"
)

// asking is the answers to the prompts of one request, while they come.
type asking struct {
	answers []*engine.Answer
	choices int // of each
	news    chan news
	came    time.Time
	ctx     context.Context // of all answers; its cause says why they end before their time
	close   func()          // ends what has not ended
}

// news is an event of an answer, its end, or its failure.
type news struct {
	engine.Event
	choice int // over all prompts
	prompt int
	err    error // io.EOF: the prompt's last
}

// ask submits the orders of a request, which end with it.
func (s *Server) ask(r *http.Request, orders []engine.Order) (*asking, error) {
	leave, err := s.streams.enter(tenant(r))
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.timed(r.Context())
	a := &asking{news: make(chan news), came: time.Now(), ctx: ctx}
	var forwarders sync.WaitGroup
	a.close = func() {
		s.board.remove(requestID(r))
		cancel()
		forwarders.Wait()
		leave()
	}
	for i := range orders {
		o := orders[i]
		o.Tenant, o.ID = tenant(r), requestID(r)
		answer, err := s.Service.Submit(ctx, o)
		if err != nil {
			a.close()
			return nil, err
		}
		a.answers, a.choices = append(a.answers, answer), o.Choices
		accountOf(r).asking, accountOf(r).orders = a, orders
		forwarders.Go(func() {
			for {
				e, err := answer.Next(ctx)
				n := news{Event: e, choice: i*o.Choices + e.Choice, prompt: i, err: err}
				select {
				case a.news <- n:
				case <-ctx.Done():
					return
				}
				if err != nil {
					return
				}
			}
		})
	}
	s.board.put(requestID(r), tenant(r), a)
	return a, nil
}

// timed bounds a request's time, if there is a bound.
func (s *Server) timed(ctx context.Context) (context.Context, context.CancelFunc) {
	most := s.Limits.Deadline
	if most <= 0 {
		return context.WithCancel(ctx)
	}
	return context.WithTimeoutCause(ctx, most, &apiError{Code: http.StatusServiceUnavailable, Kind: kindServer, Name: "deadline_exceeded",
		Message: fmt.Sprintf("the request took longer than %v, which is as long as one may", most)})
}

// follow calls f with every event until all answers have ended. It calls quiet when
// there was none for as long as the server's KeepAlive.
func (s *Server) follow(r *http.Request, a *asking, f func(news) error, quiet func() error) (err error) {
	last := make([]time.Time, len(a.answers)*a.choices) // of a choice's tokens
	defer func() { s.counts.ended(a.answers, err, r.Context().Err() != nil) }()
	tick := time.NewTicker(s.Limits.KeepAlive)
	defer tick.Stop()
	for left := len(a.answers); left > 0; {
		var err error
		select {
		case n := <-a.news:
			tick.Reset(s.Limits.KeepAlive)
			switch {
			case errors.Is(n.err, io.EOF):
				left--
			case n.err != nil:
				return n.err
			default:
				s.pace(a, &last[n.choice], len(n.Tokens))
				accountOf(r).follows(n.Event, s.LogPrompts && n.choice == 0)
				err = f(n)
			}
		case <-tick.C:
			err = quiet()
		case <-a.ctx.Done():
			err = context.Cause(a.ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// pace notes when tokens came.
func (s *Server) pace(a *asking, last *time.Time, tokens int) {
	now := time.Now()
	switch {
	case tokens == 0:
		return
	case last.IsZero():
		s.counts.firstToken.note(now.Sub(a.came))
	default:
		for range tokens { // that came together
			s.counts.nextToken.note(now.Sub(*last) / time.Duration(tokens))
		}
	}
	*last = now
}

// events writes server-sent events. Its headers go out with the first of them, so that
// what goes wrong before has a status of its own.
type events struct {
	w       http.ResponseWriter
	control *http.ResponseController
	limit   time.Duration
	begun   bool
	buf     bytes.Buffer
}

func (s *Server) newEvents(w http.ResponseWriter) *events {
	return &events{w: w, control: http.NewResponseController(w), limit: s.Limits.Write}
}

func (e *events) begin() {
	if e.begun {
		return
	}
	e.begun = true
	h := e.w.Header()
	h.Set("Content-Type", "text/event-stream; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Accel-Buffering", "no")
	e.w.WriteHeader(http.StatusOK)
}

// send writes one event of JSON.
func (e *events) send(v any) error {
	e.buf.Reset()
	e.buf.WriteString("data: ")
	enc := json.NewEncoder(&e.buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return err
	}
	e.buf.WriteByte('\n') // after the one that Encode has written
	return e.write(e.buf.Bytes())
}

// done ends the stream; the connection may serve another request.
func (e *events) done() error {
	err := e.write([]byte("data: [DONE]\n\n"))
	if err == nil {
		sent(e.w)
	}
	_ = e.control.SetWriteDeadline(time.Time{})
	return err
}

func (e *events) alive() error { return e.write([]byte(": still here\n\n")) }

func (e *events) write(p []byte) error {
	e.begin()
	_ = e.control.SetWriteDeadline(time.Now().Add(e.limit)) // not of a recorder in a test
	if _, err := e.w.Write(p); err != nil {
		return err
	}
	return e.control.Flush()
}

// endStream ends a stream after what follow has said of it, with a last event of the
// usage if that was asked for.
func (s *Server) endStream(e *events, r *http.Request, err error, o *streamOptions, usage func() any) {
	if err == nil && o != nil && o.IncludeUsage {
		err = e.send(usage())
	}
	if err == nil {
		err = e.done()
	}
	if err != nil {
		s.fail(e, r, err)
	}
}

// fail ends a stream with an error, or the request if the stream has not begun.
func (s *Server) fail(e *events, r *http.Request, err error) {
	if r.Context().Err() != nil {
		return // the client has gone
	}
	if !e.begun {
		s.refuse(e.w, r, err)
		return
	}
	accountOf(r).err = err
	if e.send(asAPI(err)) == nil {
		_ = e.done()
	}
}
