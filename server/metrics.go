package server

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"nosa/engine"
)

// metrics is what the server counts. Names and units are Prometheus's; those that begin
// with vllm are the ones that inference gateways read.
type metrics struct {
	answered, failed, cancelled atomic.Int64 // requests
	prompt, cached, generated   atomic.Int64 // tokens
	firstToken, nextToken       histogram
	queue                       histogram
}

// bounds of the histograms, in seconds.
var bounds = [...]float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300}

// histogram counts durations by their length.
type histogram struct {
	counts [len(bounds) + 1]atomic.Int64
	sum    atomic.Int64 // nanoseconds
}

func (h *histogram) note(d time.Duration) {
	i := 0
	for i < len(bounds) && d.Seconds() > bounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

// labelValue writes a label's value in Prometheus's text format.
var labelValue = strings.NewReplacer("\\", "\\\\", "\"", "\\\"", "\n", "\\n")

// book writes metrics in Prometheus's text format.
type book struct{ bytes.Buffer }

func (b *book) head(name, kind, help string) {
	fmt.Fprintf(b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

func (b *book) one(name, kind, help string, v any) {
	b.head(name, kind, help)
	fmt.Fprintf(b, "%s %v\n", name, v)
}

func (b *book) histogram(name, help string, h *histogram) {
	b.head(name, "histogram", help)
	var n int64
	for i, bound := range bounds {
		n += h.counts[i].Load()
		fmt.Fprintf(b, "%s_bucket{le=\"%g\"} %d\n", name, bound, n)
	}
	n += h.counts[len(bounds)].Load()
	fmt.Fprintf(b, "%s_bucket{le=\"+Inf\"} %d\n%s_sum %g\n%s_count %d\n", name, n, name, time.Duration(h.sum.Load()).Seconds(), name, n)
}

// metrics answers GET /metrics.
func (s *Server) metricsPage(w http.ResponseWriter, r *http.Request) {
	st, err := s.Service.Look(r.Context())
	if err != nil {
		s.refuse(w, r, err)
		return
	}
	var b book
	m := &s.counts
	b.head("nosa_requests_total", "counter", "Requests that have ended, by how.")
	for _, v := range []struct {
		how string
		n   int64
	}{{"answered", m.answered.Load()}, {"failed", m.failed.Load()}, {"cancelled", m.cancelled.Load()}} {
		fmt.Fprintf(&b, "nosa_requests_total{end=%q} %d\n", v.how, v.n)
	}
	b.head("nosa_tokens_total", "counter", "Tokens of requests that have ended; those of prompts that came from the cache are in prompt, too.")
	for _, v := range []struct {
		kind string
		n    int64
	}{{"prompt", m.prompt.Load()}, {"cached", m.cached.Load()}, {"generated", m.generated.Load()}} {
		fmt.Fprintf(&b, "nosa_tokens_total{kind=%q} %d\n", v.kind, v.n)
	}
	b.one("nosa_requests_running", "gauge", "Choices of requests that are worked on.", st.Running)
	b.one("nosa_requests_waiting", "gauge", "Choices that wait for a seat or for room.", st.Waiting)
	b.one("nosa_requests_paused", "gauge", "Choices that have lost their seat to a higher priority.", st.Paused)
	if s.Conns != nil {
		b.one("nosa_connections", "gauge", "Connections that are open.", s.Conns.Open())
		b.one("nosa_connections_shed_total", "counter", "Connections that were closed to make room for others.", s.Conns.Shed())
	}
	b.one("nosa_steps_total", "counter", "Forward passes.", st.Steps)
	b.one("nosa_step_tokens_total", "counter", "Tokens of all forward passes.", st.Rows)
	b.histogram("nosa_time_to_first_token_seconds", "From a request's coming to its first token.", &m.firstToken)
	b.histogram("nosa_inter_token_seconds", "Between the tokens of a choice.", &m.nextToken)
	b.histogram("nosa_queue_seconds", "From a request's coming to its seat.", &m.queue)

	if s.Trace != nil {
		sent, dropped := s.Trace.Counts()
		b.head("nosa_spans_total", "counter", "Spans of traces, by whether a collector has taken them.")
		fmt.Fprintf(&b, "nosa_spans_total{end=\"sent\"} %d\nnosa_spans_total{end=\"dropped\"} %d\n", sent, dropped)
	}
	b.head("nosa_blocks", "gauge", "KV blocks; one counts in every tier that holds it.")
	for _, v := range []struct {
		where string
		n     int
	}{{"live", st.Store.Live}, {"cached", st.Store.Cached}, {"slots", st.Store.InSlot}, {"host", st.Store.InHost}, {"disk", st.Store.OnDisk}} {
		fmt.Fprintf(&b, "nosa_blocks{where=%q} %d\n", v.where, v.n)
	}
	layers := []struct {
		name, help string
		of         func(l int) any
	}{
		{"nosa_selected_blocks_total", "Blocks that attention wanted.", func(l int) any { return st.Store.Layers[l].Selected }},
		{"nosa_hits_total", "Of them, those in a slot.", func(l int) any { return st.Store.Layers[l].Hits }},
		{"nosa_host_hits_total", "Of them, those in the host pool alone.", func(l int) any { return st.Store.Layers[l].HostHits }},
		{"nosa_disk_hits_total", "Of them, those on disk alone.", func(l int) any { return st.Store.Layers[l].DiskHits }},
		{"nosa_bytes_up_total", "Bytes from the host pool to slots, or read there in place.", func(l int) any { return st.Store.Layers[l].BytesUp }},
		{"nosa_bytes_down_total", "Bytes from slots to the host pool.", func(l int) any { return st.Store.Layers[l].BytesDown }},
		{"nosa_bytes_to_disk_total", "Bytes to disk.", func(l int) any { return st.Store.Layers[l].BytesToDisk }},
		{"nosa_bytes_from_disk_total", "Bytes from disk.", func(l int) any { return st.Store.Layers[l].BytesFromDisk }},
		{"nosa_wait_seconds_total", "Time in which the engine stood still for transfers.", func(l int) any { return st.Store.Layers[l].Wait.Seconds() }},
	}
	for _, v := range layers {
		b.head(v.name, "counter", v.help)
		for l := range st.Store.Layers {
			fmt.Fprintf(&b, "%s{layer=\"%d\"} %v\n", v.name, l, v.of(l))
		}
	}

	model := fmt.Sprintf("model_name=\"%s\"", labelValue.Replace(strings.ToValidUTF8(s.Model, "\uFFFD")))
	for _, v := range []struct {
		name, help string
		v          any
	}{
		{"vllm:num_requests_running", "As nosa_requests_running.", st.Running},
		{"vllm:num_requests_waiting", "nosa_requests_waiting and nosa_requests_paused.", st.Waiting + st.Paused},
		{"vllm:kv_cache_usage_perc", "Part of the block ids that are held by requests, 1 for all.", float64(st.Store.Live-st.Store.Cached) / float64(max(1, st.Store.Live+st.Store.FreeIDs))},
	} {
		b.head(v.name, "gauge", v.help)
		fmt.Fprintf(&b, "%s{%s} %v\n", v.name, model, v.v)
	}
	tokens, blocks := s.Engine.Blocks()
	b.head("vllm:cache_config_info", "gauge", "Always 1; the labels say how many tokens a block has, and how many blocks of all layers there can be.")
	fmt.Fprintf(&b, "vllm:cache_config_info{%s,block_size=\"%d\",num_gpu_blocks=\"%d\"} 1\n", model, tokens, blocks)
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(b.Bytes()) // the client has gone
}

// ended counts a request by its end.
func (m *metrics) ended(answers []*engine.Answer, err error, gone bool) {
	switch {
	case gone, errors.Is(err, engine.ErrCancelled):
		m.cancelled.Add(1)
	case err != nil:
		m.failed.Add(1)
	default:
		m.answered.Add(1)
	}
	for _, a := range answers {
		u := a.Usage()
		m.prompt.Add(int64(u.Prompt))
		m.cached.Add(int64(u.Shared))
		m.generated.Add(int64(u.Completion))
		m.queue.note(u.Queue)
	}
}
