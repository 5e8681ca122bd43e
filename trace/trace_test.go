package trace

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// collector takes spans as one does, and refuses fields that OTLP does not have.
type collector struct {
	*httptest.Server
	mu      sync.Mutex
	spans   []jsonSpan
	about   []attribute
	headers http.Header
	paths   []string
	bodies  [][]byte
	answer  func(w http.ResponseWriter, n int) // n: requests before
}

func collect(t *testing.T, answer func(w http.ResponseWriter, n int)) *collector {
	t.Helper()
	c := &collector{answer: answer}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var got request
		dec := json.NewDecoder(strings.NewReader(string(body)))
		dec.DisallowUnknownFields()
		if err != nil || dec.Decode(&got) != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%v: %s %s", err, r.Method, body)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		n := len(c.paths)
		c.paths, c.headers, c.bodies = append(c.paths, r.URL.Path), r.Header, append(c.bodies, body)
		for _, s := range got.Resources {
			c.about = s.Resource.Attributes
			for _, scope := range s.Scopes {
				c.spans = append(c.spans, scope.Spans...)
			}
		}
		if c.answer != nil {
			c.answer(w, n)
		}
	}))
	t.Cleanup(c.Close)
	return c
}

func open(t *testing.T, env map[string]string) *Exporter {
	t.Helper()
	e, err := Open(func(name string) string { return env[name] }, slog.New(slog.DiscardHandler))
	if err != nil || e == nil {
		t.Fatalf("%v, %v", e, err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		e.Close(ctx)
	})
	return e
}

// TestExport: a request's spans come to the collector as they were, with the headers and
// the resource that the environment names.
func TestExport(t *testing.T) {
	c := collect(t, nil)
	e := open(t, map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL + "/base", "OTEL_EXPORTER_OTLP_HEADERS": "x-team=sea%20farers, authorization=Bearer%20abc",
		"OTEL_RESOURCE_ATTRIBUTES": "service.name=other,host.name=pequod", "OTEL_SERVICE_NAME": "whaler",
	})
	root := e.Begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "congo=t61rcWkgMzE")
	child := root.Child()
	from := time.Unix(1_700_000_000, 5)
	e.Add(
		Span{Context: root, Name: "chat", Server: true, Start: from, End: from.Add(time.Second), Error: "it sank",
			Attributes: []slog.Attr{slog.Int("n", 1<<60), slog.Float64("f", 0.5), slog.Bool("b", true), slog.String("s", "é\"<"), slog.Any("l", []string{"a", "b"})}},
		Span{Context: child, Name: "decode", Start: from, End: from},
	)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e.Close(ctx)
	e.Close(ctx)
	if sent, dropped := e.Counts(); sent != 2 || dropped != 0 || len(c.spans) != 2 {
		t.Fatalf("sent %d, dropped %d, there are %d", sent, dropped, len(c.spans))
	}
	if c.paths[0] != "/base/v1/traces" || c.headers.Get("X-Team") != "sea farers" || c.headers.Get("Authorization") != "Bearer abc" {
		t.Errorf("%v, %v", c.paths, c.headers)
	}
	const attributes = `[{"key":"n","value":{"intValue":"1152921504606846976"}},{"key":"f","value":{"doubleValue":0.5}},{"key":"b","value":{"boolValue":true}},` +
		`{"key":"s","value":{"stringValue":"é\"\u003c"}},{"key":"l","value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}}]`
	got := c.spans[0]
	if have, _ := json.Marshal(got.Attributes); string(have) != attributes {
		t.Errorf("attributes %s, want %s", have, attributes)
	}
	if got.Trace != "0af7651916cd43dd8448eb211c80319c" || got.Parent != "b7ad6b7169203331" || got.State != "congo=t61rcWkgMzE" || got.Kind != kindServer ||
		got.Start != "1700000000000000005" || got.End != "1700000001000000005" || got.Status.Code != statusError || got.Status.Message != "it sank" {
		t.Errorf("%+v", got)
	}
	if next := c.spans[1]; next.Trace != got.Trace || next.Parent != got.ID || next.ID == got.ID || next.Kind != kindInternal || next.Status != nil || next.State != got.State {
		t.Errorf("%+v", next)
	}
	if have, _ := json.Marshal(c.about); string(have) != `[{"key":"host.name","value":{"stringValue":"pequod"}},{"key":"service.name","value":{"stringValue":"whaler"}}]` {
		t.Errorf("resource %s", have)
	}
	e.Add(Span{Context: root})
	if _, dropped := e.Counts(); dropped != 1 {
		t.Errorf("after its end %d are dropped", dropped)
	}
}

// TestBatches: a full batch goes out at once, and the queue is bounded while the collector
// does not answer.
func TestBatches(t *testing.T) {
	held, at := make(chan struct{}), make(chan struct{}, 100)
	c := collect(t, func(http.ResponseWriter, int) { at <- struct{}{}; <-held })
	e := open(t, map[string]string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": c.URL + "/here", "OTEL_BSP_SCHEDULE_DELAY": "3600000"})
	one := e.Begin("", "")
	for range batch {
		e.Add(Span{Context: one})
	}
	<-at // the first batch is under way
	for range mostQueued + 7 {
		e.Add(Span{Context: one.Child()})
	}
	if _, dropped := e.Counts(); dropped != 7 {
		t.Errorf("%d dropped, want 7", dropped)
	}
	close(held)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e.Close(ctx)
	if sent, dropped := e.Counts(); sent != batch+mostQueued || dropped != 7 || len(c.paths) != 1+mostQueued/batch || c.paths[0] != "/here" {
		t.Errorf("sent %d, dropped %d in %d requests to %s", sent, dropped, len(c.paths), c.paths[0])
	}
}

// TestFailures: what may pass is tried again, what may not is dropped, and what a collector
// says that it has not taken counts as lost.
func TestFailures(t *testing.T) {
	for name, tc := range map[string]struct {
		answer        func(w http.ResponseWriter, n int)
		asked         int
		sent, dropped int64
	}{
		"once busy": {func(w http.ResponseWriter, n int) {
			if n == 0 {
				w.WriteHeader(http.StatusServiceUnavailable)
			}
		}, 2, 2, 0},
		"no": {func(w http.ResponseWriter, _ int) { w.WriteHeader(http.StatusBadRequest) }, 1, 0, 2},
		"elsewhere": {func(w http.ResponseWriter, _ int) {
			w.Header().Set("Location", "/other")
			w.WriteHeader(http.StatusFound)
		}, 1, 0, 2},
		"in part": {func(w http.ResponseWriter, _ int) {
			_, _ = io.WriteString(w, `{"partialSuccess":{"rejectedSpans":"1"}}`)
		}, 1, 1, 1},
		"nonsense": {func(w http.ResponseWriter, _ int) { _, _ = io.WriteString(w, `{"partialSuccess":{"rejectedSpans":-5`) }, 1, 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := collect(t, tc.answer)
			e := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": c.URL})
			one := e.Begin("", "")
			e.Add(Span{Context: one}, Span{Context: one.Child()})
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			e.Close(ctx)
			if sent, dropped := e.Counts(); sent != tc.sent || dropped != tc.dropped || len(c.paths) != tc.asked {
				t.Errorf("sent %d, dropped %d, asked %d times: want %d, %d, %d", sent, dropped, len(c.paths), tc.sent, tc.dropped, tc.asked)
			}
		})
	}
	t.Run("nobody", func(t *testing.T) { // the end does not wait for a collector that is not there
		e := open(t, map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"})
		e.Add(Span{Context: e.Begin("", "")})
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		e.Close(ctx)
		if sent, dropped := e.Counts(); sent != 0 || dropped != 1 {
			t.Errorf("sent %d, dropped %d", sent, dropped)
		}
	})
}

func TestParent(t *testing.T) {
	const trace, span = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	for header, want := range map[string]struct{ ok, sampled bool }{
		"00-" + trace + "-" + span + "-01":                              {true, true},
		"00-" + trace + "-" + span + "-00":                              {true, false},
		"00-" + trace + "-" + span + "-ff":                              {true, true},
		"cc-" + trace + "-" + span + "-01-extra":                        {true, true},
		"00-" + trace + "-" + span + "-01-extra":                        {},
		"ff-" + trace + "-" + span + "-01":                              {},
		"00-" + trace + "-" + span:                                      {},
		"00-" + strings.ToUpper(trace) + "-" + span + "-01":             {},
		"00-" + strings.Repeat("0", 32) + "-" + span + "-01":            {},
		"00-" + trace + "-" + strings.Repeat("0", 16) + "-01":           {},
		"00-" + trace[:31] + "x-" + span + "-01":                        {},
		"00-" + trace + "-" + span + "-0":                               {},
		"cc-" + trace + "-" + span + "-01-" + strings.Repeat("x", 1000): {},
		"": {}, "-": {}, "---": {},
	} {
		if _, sampled, ok := parseParent(header); ok != want.ok || ok && sampled != want.sampled {
			t.Errorf("%q: %v, sampled %v", header, ok, sampled)
		}
	}
}

func TestSamplers(t *testing.T) {
	for name, tc := range map[string]struct {
		sampler, arg        string
		root, kept, ignored bool // alone; below one that is sampled, or is not
	}{
		"default": {"", "", true, true, false}, "on": {"always_on", "", true, true, true}, "off": {"always_off", "", false, false, false},
		"parent on": {"parentbased_always_on", "", true, true, false}, "parent off": {"parentbased_always_off", "", false, true, false},
		"none": {"traceidratio", "0", false, false, false}, "all": {"traceidratio", "1", true, true, true},
	} {
		s, err := readSampler(tc.sampler, tc.arg)
		if err != nil {
			t.Fatal(err)
		}
		e := &Exporter{set: settings{sampler: s}}
		root, kept, ignored := e.Begin("", ""), e.Begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", ""), e.Begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00", "")
		if root.Sampled != tc.root || kept.Sampled != tc.kept || ignored.Sampled != tc.ignored || root.Parent != [8]byte{} || root.Trace == [16]byte{} {
			t.Errorf("%s: %+v, %+v, %+v", name, root, kept, ignored)
		}
	}
	s, err := readSampler("traceidratio", "0.25")
	if err != nil {
		t.Fatal(err)
	}
	e, n := &Exporter{set: settings{sampler: s}}, 0
	for range 10000 {
		if e.Begin("", "").Sampled {
			n++
		}
	}
	if n < 2200 || n > 2800 { // six times the deviation of 43
		t.Errorf("%d of 10000 are sampled, want 2500", n)
	}
}

func TestSettings(t *testing.T) {
	for name, tc := range map[string]struct {
		env  map[string]string
		says string // empty: it is off
	}{
		"nothing":    {nil, ""},
		"disabled":   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "true"}, ""},
		"none":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"}, ""},
		"no address": {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4318"}, "OTEL_EXPORTER_OTLP_ENDPOINT=collector:4318: want an address"},
		"gRPC":       {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc"},
		"timeout":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT": "0"}, "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT=0: want milliseconds"},
		"delay":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_BSP_SCHEDULE_DELAY": "soon"}, "OTEL_BSP_SCHEDULE_DELAY=soon"},
		"headers":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "OTEL_EXPORTER_OTLP_HEADERS: a part"},
		"resource":   {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_RESOURCE_ATTRIBUTES": "a=%zz"}, "OTEL_RESOURCE_ATTRIBUTES: a part"},
		"sampler":    {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_SAMPLER": "jaeger"}, "OTEL_TRACES_SAMPLER=jaeger"},
		"ratio":      {map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "NaN"}, "OTEL_TRACES_SAMPLER_ARG=NaN"},
	} {
		e, err := Open(func(name string) string { return tc.env[name] }, nil)
		if e != nil || (err == nil) != (tc.says == "") || err != nil && (!strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: %v, %v", name, e, err)
		}
	}
}

func FuzzParent(f *testing.F) {
	f.Add("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	f.Fuzz(func(t *testing.T, header string) {
		c, _, ok := parseParent(header)
		if ok && (c.Trace == [16]byte{} || c.Span == [8]byte{}) {
			t.Errorf("%q is taken, and names nobody", header)
		}
	})
}
