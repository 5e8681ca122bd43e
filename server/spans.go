package server

import (
	"log/slog"
	"net/http"
	"time"

	"nosa/trace"
)

// tracedAnswers is the most answers of a request whose parts have spans of their own.
const tracedAnswers = 16

// spanNames are the paths that ask a model, by OpenTelemetry's names of what they do.
var spanNames = map[string]string{"/v1/chat/completions": "chat", "/v1/completions": "text_completion", "/v1/embeddings": "embeddings"}

// spans sends what has become of a request: a span of it, and those of its waiting, its
// prompt's reading and its answer's writing within. Their names and attributes are those
// of OpenTelemetry's conventions for generative AI where these have any. All of them are
// made here, when it has ended: while it runs there is nothing to pay.
func (s *Server) spans(r *http.Request, a *account, end time.Time) {
	if !a.trace.Sampled || s.Keys != nil && a.tenant == "" {
		return // strangers fill no collector
	}
	root := trace.Span{Context: a.trace, Name: r.Method, Server: true, Start: a.began, End: end}
	root.Attributes = []slog.Attr{
		slog.String("http.request.method", r.Method), slog.String("url.path", r.URL.Path[:min(len(r.URL.Path), mostPath)]),
		slog.Int("http.response.status_code", a.status), slog.String("nosa.request.id", requestID(r)),
	}
	if a.tenant != "" {
		root.Attributes = append(root.Attributes, slog.String("nosa.key", a.tenant))
	}
	if what := spanNames[r.URL.Path]; what != "" {
		root.Name = what + " " + s.Model
		root.Attributes = append(root.Attributes, slog.String("gen_ai.operation.name", what), slog.String("gen_ai.provider.name", "nosa"), slog.String("gen_ai.request.model", s.Model))
	}
	if a.err != nil {
		root.Attributes = append(root.Attributes, slog.String("error.type", a.kind()))
		if a.failed() {
			root.Error = a.reason()
		}
	}
	if a.asking == nil {
		s.Trace.Add(root)
		return
	}
	o, u := &a.orders[0], usageOf(a.asking.answers)
	root.Attributes = append(root.Attributes,
		slog.String("gen_ai.response.model", s.Model), slog.Int("gen_ai.request.max_tokens", o.MaxTokens),
		slog.Float64("gen_ai.request.temperature", float64(o.Sampling.Temperature)), slog.Float64("gen_ai.request.top_p", float64(o.Sampling.TopP)),
		slog.Int("gen_ai.request.choice.count", o.Choices), slog.Any("gen_ai.response.finish_reasons", a.finish),
		slog.Int("gen_ai.usage.input_tokens", u.Prompt), slog.Int("gen_ai.usage.output_tokens", u.Completion), slog.Int("gen_ai.usage.cache_read.input_tokens", u.Details.Cached),
		slog.Int64("nosa.blocks.selected", u.Nosa.Selected), slog.Int64("nosa.blocks.hits", u.Nosa.Hits), slog.Int64("nosa.blocks.host_hits", u.Nosa.HostHits),
		slog.Int64("nosa.blocks.disk_hits", u.Nosa.DiskHits), slog.Float64("nosa.wait_seconds", u.Nosa.Wait))
	all := []trace.Span{root}
	for i, answer := range a.asking.answers[:min(tracedAnswers, len(a.asking.answers))] {
		u, at := answer.Usage(), a.asking.came
		part := func(name string, took time.Duration, about ...slog.Attr) {
			to := at.Add(took)
			if took == 0 || to.After(end) { // it has not come to the end of this part
				to = end
			}
			all = append(all, trace.Span{Context: a.trace.Child(), Name: name, Start: at, End: to, Attributes: append(about, slog.Int("nosa.prompt", i))})
			at = to
		}
		part("queue", u.Queue)
		if u.Queue > 0 {
			part("prefill", u.Prefill, slog.Int("gen_ai.usage.input_tokens", u.Prompt), slog.Int("gen_ai.usage.cache_read.input_tokens", u.Shared))
		}
		if u.Decode > 0 {
			part("decode", u.Decode, slog.Int("gen_ai.usage.output_tokens", u.Completion))
		}
	}
	s.Trace.Add(all...)
}
