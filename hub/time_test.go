package hub

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"nosa/hub/hubtest"
)

// inside is a transport that calls handlers in the same process. Its waiting is seen by synctest, so that minutes pass
// at once, and a goroutine that stays behind fails the test.
type inside map[string]http.HandlerFunc // by host

func (in inside) RoundTrip(r *http.Request) (*http.Response, error) {
	body, out := io.Pipe()
	w := &pipeWriter{header: http.Header{}, body: out, ready: make(chan struct{})}
	r = r.Clone(r.Context())
	r.RequestURI = r.URL.RequestURI()
	go func() {
		in[r.URL.Host](w, r)
		w.WriteHeader(http.StatusOK)
		_ = out.CloseWithError(r.Context().Err()) // never fails; a handler that was cancelled ends no answer
	}()
	select {
	case <-w.ready:
	case <-r.Context().Done():
		_ = body.CloseWithError(r.Context().Err()) // never fails
		return nil, r.Context().Err()
	}
	stop := context.AfterFunc(r.Context(), func() { _ = body.CloseWithError(r.Context().Err()) })
	return &http.Response{StatusCode: w.code, Status: http.StatusText(w.code), Header: w.header, Body: closer{body, stop}, ContentLength: -1, Request: r}, nil
}

type closer struct {
	*io.PipeReader
	stop func() bool
}

func (c closer) Close() error { c.stop(); return c.PipeReader.Close() }

type pipeWriter struct {
	header http.Header
	body   *io.PipeWriter
	once   sync.Once
	code   int
	ready  chan struct{}
}

func (w *pipeWriter) Header() http.Header { return w.header }
func (w *pipeWriter) WriteHeader(code int) {
	w.once.Do(func() { w.code = code; w.header = w.header.Clone(); close(w.ready) })
}
func (w *pipeWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.body.Write(b)
}

// bubble is a hub and a client of it without a network, and with the real pauses.
func bubble(t *testing.T, dir string, change func(*Config)) (*hubtest.Hub, *Client) {
	t.Helper()
	h := hubtest.Offline("http://hub", "http://cdn")
	cfg := Config{Endpoint: "http://hub", Dir: dir, HTTP: &http.Client{Transport: inside{"hub": h.ServeHub, "cdn": h.ServeCDN}}}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	must(t, err)
	return h, c
}

func TestPauses(t *testing.T) {
	far := func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", time.Now().Add(90*time.Second).UTC().Format(http.TimeFormat))
		w.WriteHeader(503)
	}
	for name, tc := range map[string]struct {
		fault      hubtest.Fault
		least, max time.Duration
		want       error
	}{
		"Retry-After in seconds": {on(api, 1, status(429, "Retry-After", "60")), 60 * time.Second, 61 * time.Second, nil},
		"Retry-After as a date":  {on(api, 1, far), 89 * time.Second, 91 * time.Second, nil},
		"RateLimit":              {on(api, 1, status(429, "RateLimit", `"api";r=0;t=55`, "Retry-After", "1")), 56 * time.Second, 57 * time.Second, nil},
		"RateLimit not reached":  {on(api, 1, status(429, "RateLimit", `"api";r=5;t=55`, "Retry-After", "2")), 2 * time.Second, 3 * time.Second, nil},
		"too long":               {on(api, 0, status(503, "Retry-After", "301")), 0, time.Second, ErrUnavailable},
		"longest":                {on(api, 1, status(503, "Retry-After", "300")), 300 * time.Second, 301 * time.Second, nil},
		"backoff":                {on(api, 0, status(500)), 7 * time.Second, 16 * time.Second, ErrUnavailable}, // 0.5+1+2+4+8, jitter of a half
		"nonsense":               {on(api, 1, status(503, "Retry-After", "-5")), 0, time.Second, nil},
		"overflow":               {on(api, 1, status(503, "Retry-After", "99999999999999999999")), 0, time.Second, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h, c := bubble(t, dir, nil)
				h.Put("org/x", hubtest.File{Path: "x.gguf", Data: noise(1, 1000), Large: true})
				h.Inject(tc.fault)
				start := time.Now()
				_, err := c.Pull(t.Context(), "org/x", Options{}, nil)
				if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if d := time.Since(start); d < tc.least || d > tc.max {
					t.Errorf("took %v, want %v to %v", d, tc.least, tc.max)
				}
			})
		})
	}
}

// drip sends a byte now and then, for as long as anybody listens.
func drip(every time.Duration, n int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write(make([]byte, n)); err != nil {
				return
			}
			if sleep(r.Context(), every) != nil {
				return
			}
		}
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

func TestStalls(t *testing.T) {
	for name, tc := range map[string]struct {
		fault hubtest.Fault
		max   time.Duration
		want  error
	}{
		"no answer":              {on(api, 0, hang), 4 * time.Minute, ErrStalled},
		"no answer once":         {on(api, 1, hang), time.Minute, nil},
		"manifest drips":         {on(api, 0, drip(time.Second, 1)), 4 * time.Minute, ErrStalled},
		"file: no answer":        {on(cdn, 0, hang), 4 * time.Minute, ErrStalled},
		"file: a byte a second":  {on(cdn, 0, drip(time.Second, 1)), 4 * time.Minute, ErrStalled},
		"file: stops once":       {on(cdn, 1, drip(time.Hour, 1)), time.Minute, nil},
		"file: slow, but enough": {on(cdn, 1, slow(noise(1, 200_000), 2048)), 3 * time.Minute, nil},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h, c := bubble(t, dir, nil)
				files := []hubtest.File{{Path: "x.gguf", Data: noise(1, 200_000), Large: true}}
				commit := h.Put("org/x", files...)
				h.Inject(tc.fault)
				start := time.Now()
				_, err := c.Pull(t.Context(), "org/x", Options{}, nil)
				if !errors.Is(err, tc.want) || tc.want == nil && err != nil {
					t.Errorf("got %v, want %v", err, tc.want)
				}
				if d := time.Since(start); d > tc.max {
					t.Errorf("took %v, want at most %v", d, tc.max)
				}
				sound(t, c, "org/x", commit, files)
			})
		})
	}
}

func slow(data []byte, aSecond int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		for b := bytes.NewReader(data); b.Len() > 0; {
			if _, err := io.CopyN(w, b, int64(min(aSecond, b.Len()))); err != nil || sleep(r.Context(), time.Second) != nil {
				return
			}
		}
	}
}

// TestCancel: a pull that is called off ends at once, wherever it is, keeps what it has, and leaves no goroutine.
func TestCancel(t *testing.T) {
	for name, fault := range map[string]hubtest.Fault{
		"in the manifest": on(api, 0, hang),
		"in a pause":      on(api, 0, status(503, "Retry-After", "200")),
		"in a file":       on(cdn, 0, slow(noise(1, 200_000), 1000)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				h, c := bubble(t, dir, nil)
				files := []hubtest.File{{Path: "x.gguf", Data: noise(1, 200_000), Large: true}}
				commit := h.Put("org/x", files...)
				h.Inject(fault)
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second+time.Millisecond)
				defer cancel()
				start := time.Now()
				_, err := c.Pull(ctx, "org/x", Options{}, nil)
				if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 21*time.Second {
					t.Errorf("ended after %v with %v", time.Since(start), err)
				}
				sound(t, c, "org/x", commit, files)
				h.Heal()
				var first Progress
				_, err = c.Pull(t.Context(), "org/x", Options{}, func(p Progress) {
					if first.Total == 0 {
						first = p
					}
				})
				if err != nil || name == "in a file" && first.Got < 20_000 {
					t.Errorf("going on from %+v: %v", first, err)
				}
			})
		})
	}
}

// TestTogether: pulls of the same model, at once, into the same store: one works, the others wait and find it done.
func TestTogether(t *testing.T) {
	h := hubtest.New(t)
	files := tinyModel()
	commit := h.Put("org/tiny", files...)
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 8 {
		c := client(t, h, func(cfg *Config) { cfg.Dir = dir })
		wg.Go(func() {
			if _, err := c.Pull(t.Context(), "org/tiny", Options{}, nil); err != nil {
				t.Error(err)
			}
			if n := sound(t, c, "org/tiny", commit, files); n != tinyFiles {
				t.Errorf("%d files, want %d", n, tinyFiles)
			}
		})
	}
	wg.Wait()
	perFile := map[string]int{}
	for _, s := range h.Requests() {
		if s.CDN {
			perFile[s.Path]++
		}
	}
	for path, n := range perFile {
		if n != 1 {
			t.Errorf("%s came %d times", path, n)
		}
	}
}

// TestLockWaits: a pull that waits for another one can be called off.
func TestLockWaits(t *testing.T) {
	h := hubtest.New(t)
	h.Put("org/x", hubtest.File{Path: "x.gguf", Data: noise(1, 1000), Large: true})
	dir := t.TempDir()
	held := make(chan struct{})
	h.Inject(on(api, 1, func(w http.ResponseWriter, r *http.Request) { close(held); <-r.Context().Done() }))
	one := client(t, h, func(cfg *Config) { cfg.Dir = dir; cfg.Retries = -1 })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := one.Pull(ctx, "org/x", Options{}, nil)
		done <- err
	}()
	<-held
	two := client(t, h, func(cfg *Config) { cfg.Dir = dir })
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := two.Pull(short, "org/x", Options{}, nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waiting for a lock: %v", err)
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("called off: %v", err)
	}
	if _, err := two.Pull(t.Context(), "org/x", Options{}, nil); err != nil {
		t.Errorf("the lock stayed: %v", err)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for header, want := range map[string]time.Duration{
		"Retry-After: 7": 7 * time.Second,
		"Retry-After: Fri, 02 Jan 2026 03:05:05 GMT": time.Minute,
		"Retry-After: Fri, 02 Jan 2026 03:00:00 GMT": 0,
		"Retry-After: soon":                          0,
		`RateLimit: "resolvers";r=0;t=10`:            11 * time.Second,
		`RateLimit: "api"; r = 0 ; t = 1`:            2 * time.Second,
		`RateLimit: "api";r=0;t=99999999999`:         0,
		"":                                           0,
	} {
		k, v, _ := strings.Cut(header, ": ")
		h := http.Header{}
		h.Set(k, v)
		if got := retryAfter(h, now); got != want {
			t.Errorf("%s: %v, want %v", header, got, want)
		}
	}
}
