// Package otlpcheck reads what nosa/trace sends by the collector's own reader.
package otlpcheck

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/ptrace"

	"nosa/trace"
)

func TestCollector(t *testing.T) {
	got := make(chan ptrace.Traces, 1)
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		traces, err := (&ptrace.JSONUnmarshaler{}).UnmarshalTraces(body)
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		got <- traces
	}))
	defer collector.Close()
	e, err := trace.Open(func(name string) string {
		return map[string]string{"OTEL_EXPORTER_OTLP_ENDPOINT": collector.URL, "OTEL_SERVICE_NAME": "whaler"}[name]
	}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	root := e.Begin("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b")
	child := root.Child()
	from := time.Unix(1_700_000_000, 5)
	e.Add(
		trace.Span{Context: root, Name: "chat", Server: true, Start: from, End: from.Add(time.Second), Error: "it sank", Attributes: []slog.Attr{
			slog.Int("n", 1<<60), slog.Float64("f", 0.5), slog.Bool("b", true), slog.String("s", "é\"<"), slog.Any("l", []string{"a", "b"}),
		}},
		trace.Span{Context: child, Name: "decode", Start: from, End: from},
	)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	e.Close(ctx)
	traces := <-got
	if traces.SpanCount() != 2 {
		t.Fatalf("%d spans", traces.SpanCount())
	}
	resource := traces.ResourceSpans().At(0)
	if name, _ := resource.Resource().Attributes().Get("service.name"); name.Str() != "whaler" {
		t.Errorf("service %q", name.Str())
	}
	spans := resource.ScopeSpans().At(0).Spans()
	a, b := spans.At(0), spans.At(1)
	if a.TraceID().String() != "0af7651916cd43dd8448eb211c80319c" || a.ParentSpanID().String() != "b7ad6b7169203331" || a.TraceState().AsRaw() != "a=b" ||
		a.Kind() != ptrace.SpanKindServer || a.Status().Code() != ptrace.StatusCodeError || a.Status().Message() != "it sank" || a.StartTimestamp().AsTime() != from.UTC() ||
		a.EndTimestamp().AsTime().Sub(a.StartTimestamp().AsTime()) != time.Second || a.Name() != "chat" {
		t.Errorf("%+v", a)
	}
	if b.TraceID() != a.TraceID() || b.ParentSpanID() != a.SpanID() || b.Kind() != ptrace.SpanKindInternal || b.Status().Code() != ptrace.StatusCodeUnset {
		t.Errorf("%+v", b)
	}
	n, _ := a.Attributes().Get("n")
	f, _ := a.Attributes().Get("f")
	flag, _ := a.Attributes().Get("b")
	s, _ := a.Attributes().Get("s")
	l, _ := a.Attributes().Get("l")
	if n.Int() != 1<<60 || f.Double() != 0.5 || !flag.Bool() || s.Str() != "é\"<" || l.Slice().Len() != 2 || l.Slice().At(1).Str() != "b" {
		t.Errorf("%v", a.Attributes().AsRaw())
	}
}
