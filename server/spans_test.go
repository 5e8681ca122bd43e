package server

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"nosa/engine"
	"nosa/trace"
)

// sentSpan is a span as a collector reads it.
type sentSpan struct {
	TraceID, SpanID, ParentSpanID, Name string
	Kind                                int
	Start                               string `json:"startTimeUnixNano"`
	End                                 string `json:"endTimeUnixNano"`
	Status                              struct{ Code int }
	Attributes                          []struct {
		Key   string
		Value map[string]any
	}
}

func (s *sentSpan) length(t *testing.T) (from, to int64) {
	t.Helper()
	from, err := strconv.ParseInt(s.Start, 10, 64)
	if err == nil {
		to, err = strconv.ParseInt(s.End, 10, 64)
	}
	if err != nil || to < from {
		t.Errorf("%v: %+v", err, s)
	}
	return from, to
}

// of is an attribute of a span in JSON; empty: it has none.
func (s *sentSpan) of(key string) string {
	for _, a := range s.Attributes {
		if a.Key == key {
			v, _ := json.Marshal(a.Value)
			return string(v)
		}
	}
	return ""
}

// TestSpans: a request has a span below its caller's, and within it those of its parts.
func TestSpans(t *testing.T) {
	var mu sync.Mutex
	var spans []sentSpan
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body struct {
			ResourceSpans []struct {
				ScopeSpans []struct{ Spans []sentSpan }
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		for _, resource := range body.ResourceSpans {
			for _, scope := range resource.ScopeSpans {
				spans = append(spans, scope.Spans...)
			}
		}
	}))
	defer collector.Close()
	var j journal
	log := slog.New(slog.NewJSONHandler(&j, nil))
	keys := &Keys{}
	if err := keys.Load(writeKeys(t, "0123456789abcdef\n")); err != nil {
		t.Fatal(err)
	}
	w := start(t, func(c *Config, _ *engine.Options) {
		c.Keys = keys
		e, err := trace.Open(func(name string) string { return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL}[name] }, log)
		if err != nil {
			t.Fatal(err)
		}
		c.Trace, c.Log = e, log
	})
	const caller, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
	key := []string{"Authorization", "Bearer 0123456789abcdef"}
	header := append(key, "Traceparent", "00-"+caller+"-"+parent+"-01")
	w.ask("POST", "/v1/chat/completions", `{"model":"tiny","max_tokens":6,"ignore_eos":true,"temperature":0.5,`+hello+`}`, header...)
	w.ask("POST", "/v1/completions", `{"model":"tiny","prompt":["a","b"],"max_tokens":0}`, key...)
	w.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"x","temperature":-1}`, key...)
	w.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"x"}`, append(key, "Traceparent", "00-"+caller+"-"+parent+"-00")...) // not sampled
	w.ask("POST", "/v1/completions", `{"model":"tiny","prompt":"x"}`)                                                               // a stranger
	w.ask("GET", "/v1/models", "", header...)
	lines, text := j.take(t, 5)
	if len(lines) != 5 {
		t.Fatalf("%s", text)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	w.s.Trace.Close(ctx)

	mu.Lock()
	defer mu.Unlock()
	names := ""
	for _, s := range spans {
		names += s.Name + ";"
	}
	if names != "chat tiny;queue;prefill;decode;text_completion tiny;queue;prefill;queue;prefill;text_completion tiny;" {
		t.Fatalf("spans %s", names)
	}
	root := spans[0]
	if root.TraceID != caller || root.ParentSpanID != parent || root.Kind != 2 || root.Status.Code != 0 {
		t.Errorf("%+v", root)
	}
	for key, want := range map[string]string{
		"gen_ai.operation.name": `{"stringValue":"chat"}`, "gen_ai.request.model": `{"stringValue":"tiny"}`, "gen_ai.request.max_tokens": `{"intValue":"6"}`,
		"gen_ai.request.temperature": `{"doubleValue":0.5}`, "gen_ai.usage.output_tokens": `{"intValue":"6"}`, "http.response.status_code": `{"intValue":"200"}`,
		"gen_ai.response.finish_reasons": `{"arrayValue":{"values":[{"stringValue":"length"}]}}`, "url.path": `{"stringValue":"/v1/chat/completions"}`,
	} {
		if got := root.of(key); got != want {
			t.Errorf("%s is %s, want %s", key, got, want)
		}
	}
	from, to := root.length(t)
	for _, s := range spans[1:4] { // one after the other, within the request
		if s.TraceID != caller || s.ParentSpanID != root.SpanID || s.Kind != 1 {
			t.Errorf("%+v", s)
		}
		begins, ends := s.length(t)
		if begins < from || ends > to {
			t.Errorf("%s is from %d to %d, what is before it ended at %d, the request at %d", s.Name, begins, ends, from, to)
		}
		from = ends
	}
	if spans[3].of("gen_ai.usage.output_tokens") != `{"intValue":"6"}` || spans[2].of("gen_ai.usage.input_tokens") != root.of("gen_ai.usage.input_tokens") {
		t.Errorf("%+v", spans[1:4])
	}
	if refused := spans[9]; refused.of("error.type") != `{"stringValue":"invalid_request_error"}` || refused.of("http.response.status_code") != `{"intValue":"400"}` || refused.Status.Code != 0 || refused.TraceID == caller {
		t.Errorf("%+v", refused)
	}
	_, page, _ := w.ask("GET", "/metrics", "", "Authorization", "Bearer 0123456789abcdef")
	if want := fmt.Sprintf("nosa_spans_total{end=\"sent\"} %d\nnosa_spans_total{end=\"dropped\"} 0\n", len(spans)); !strings.Contains(string(page), want) {
		t.Errorf("the metrics do not have %q", want)
	}
	if sent, dropped := w.s.Trace.Counts(); sent != int64(len(spans)) || dropped != 0 {
		t.Errorf("sent %d, dropped %d", sent, dropped)
	}
}
