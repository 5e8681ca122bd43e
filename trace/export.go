package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Exporter sends spans in the background. Its methods may be called from any goroutine.
type Exporter struct {
	set    settings
	log    *slog.Logger
	client *http.Client
	cancel context.CancelFunc

	mu      sync.Mutex
	queue   []Span
	closed  bool
	full    chan struct{} // has a word when a batch is there
	closing chan struct{}
	ended   chan struct{}

	sent, dropped atomic.Int64
	quiet         time.Time // until when nothing is logged; of the loop alone
}

const (
	mostQueued = 4096 // spans; what comes on top is dropped
	batch      = 512  // spans of a request
	attempts   = 4    // to send one
	mostWait   = 30 * time.Second
	silence    = time.Minute // between two words of the log on a collector that fails
)

// Open starts what the environment asks for by OTEL_…; nil: it asks for nothing.
func Open(getenv func(string) string, log *slog.Logger) (*Exporter, error) {
	set, off, err := read(getenv)
	if off || err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &Exporter{
		set: set, log: log, cancel: cancel, full: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
		// An answer that points elsewhere is a failure: what is sent goes where it was told.
		client: &http.Client{Timeout: set.timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
	go e.loop(ctx)
	return e, nil
}

// Add queues the spans of those that are sampled, and never waits: what the queue has no
// room for is dropped and counted.
func (e *Exporter) Add(spans ...Span) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, s := range spans {
		switch {
		case !s.Sampled:
		case e.closed || len(e.queue) == mostQueued:
			e.dropped.Add(1)
		default:
			e.queue = append(e.queue, s)
		}
	}
	if len(e.queue) >= batch {
		select {
		case e.full <- struct{}{}:
		default:
		}
	}
}

// Counts are the spans that a collector has taken, and those that were lost.
func (e *Exporter) Counts() (sent, dropped int64) { return e.sent.Load(), e.dropped.Load() }

// Close sends what is queued, for as long as ctx allows; the rest is dropped.
func (e *Exporter) Close(ctx context.Context) {
	e.mu.Lock()
	before := e.closed
	e.closed = true
	e.mu.Unlock()
	if before {
		return
	}
	close(e.closing)
	defer e.cancel()
	select {
	case <-e.ended:
	case <-ctx.Done():
		e.cancel()
		<-e.ended
	}
	e.client.CloseIdleConnections()
	if sent, dropped := e.Counts(); dropped > 0 {
		e.log.Warn("spans were lost", "sent", sent, "dropped", dropped)
	}
}

// loop sends a batch when one is full, or when the first of it has waited.
func (e *Exporter) loop(ctx context.Context) {
	defer close(e.ended)
	tick := time.NewTicker(e.set.every)
	defer tick.Stop()
	for {
		last := false
		select {
		case <-e.full:
		case <-tick.C:
		case <-e.closing:
			last = true
		}
		for spans := e.take(); len(spans) > 0; spans = e.take() {
			e.deliver(ctx, spans)
		}
		if last {
			return
		}
	}
}

func (e *Exporter) take() []Span {
	e.mu.Lock()
	defer e.mu.Unlock()
	n := min(batch, len(e.queue))
	spans := e.queue[:n:n]
	if e.queue = e.queue[n:]; len(e.queue) == 0 {
		e.queue = nil
	}
	return spans
}

// deliver sends spans, several times if it must.
func (e *Exporter) deliver(ctx context.Context, spans []Span) {
	body, err := encode(e.set.resource, spans)
	rejected, wait := int64(0), time.Duration(0)
	for i := 0; err == nil && i < attempts; i++ {
		var again *retryError
		if rejected, err = e.post(ctx, body); !errors.As(err, &again) || i == attempts-1 {
			break
		}
		wait = again.after
		if wait == 0 {
			wait = (500*time.Millisecond)<<i + rand.N(250*time.Millisecond)
		}
		select {
		case <-time.After(min(wait, mostWait)):
			err = nil
		case <-ctx.Done():
		}
	}
	if err != nil {
		rejected = int64(len(spans))
		if now := time.Now(); now.After(e.quiet) && ctx.Err() == nil {
			e.quiet = now.Add(silence)
			e.log.Warn("spans were not taken by the collector", "url", e.set.url, "spans", len(spans), "error", err)
		}
	}
	e.dropped.Add(rejected)
	e.sent.Add(int64(len(spans)) - rejected)
}

// retryError is a failure that may pass.
type retryError struct {
	error
	after time.Duration // as the collector says; 0: it says nothing
}

func (r *retryError) Unwrap() error { return r.error }

// post sends a body once, and tells how many of its spans were not taken.
func (e *Exporter) post(ctx context.Context, body []byte) (rejected int64, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, e.set.url, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	for key, values := range e.set.headers {
		r.Header[key] = values
	}
	r.Header.Set("Content-Type", "application/json")
	res, err := e.client.Do(r)
	if err != nil {
		return 0, &retryError{error: err}
	}
	defer func() { _ = res.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	switch res.StatusCode {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		after, _ := strconv.Atoi(res.Header.Get("Retry-After")) // a date counts as nothing said
		return 0, &retryError{fmt.Errorf("it answers %s", res.Status), time.Duration(min(max(after, 0), 3600)) * time.Second}
	}
	if res.StatusCode < 200 || res.StatusCode > 299 {
		return 0, fmt.Errorf("it answers %s: %.200q", res.Status, answer)
	}
	var part struct {
		Success struct {
			Rejected json.Number `json:"rejectedSpans"`
		} `json:"partialSuccess"`
	}
	if err == nil && json.Unmarshal(answer, &part) == nil {
		rejected, _ = part.Success.Rejected.Int64()
	}
	return max(rejected, 0), nil
}
