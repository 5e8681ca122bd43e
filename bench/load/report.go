package load

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"nosa/client"
)

// Report is what came of a run.
type Report struct {
	Results  []Result // that were sent, in their order
	Begin    time.Time
	Duration time.Duration

	Completed int
	Failed    int
	Cut       int // by an interrupt
	Uncounted int // answers of which the server gave no usage: their events were counted
	Short     int // answers with fewer tokens than were asked for
	Resent    int // requests that were sent again, since the server had closed a connection that it kept
	Input     int // tokens of completed requests
	Output    int
	Cached    int
	Events    int // with text, of completed requests

	TTFT, TPOT, ITL, E2EL Figures // milliseconds
	Late                  Figures // of questions in the open loop, behind their time
	Good                  int     // answers that meet the goals
	PeakOutput            float64 // most output tokens in a second since the beginning
	PeakOpen              int     // most requests that were open at once
	Failures              []Failure

	config *Config
}

// Failure is a reason and how often it came.
type Failure struct {
	Reason string `json:"reason"`
	Count  int    `json:"count"`
}

func newReport(c *Config, all []Result, begin time.Time, took time.Duration) *Report {
	r := &Report{Begin: begin, Duration: took, config: c}
	var ttft, tpot, itl, e2el, late []float64
	reasons := map[string]int{}
	for i := range all {
		one := &all[i]
		switch {
		case one.Start.IsZero():
			continue
		case one.Cut:
			r.Cut++
		case one.Err != nil:
			r.Failed++
			reasons[one.Err.Error()]++
		default:
			r.Completed++
		}
		r.Results = append(r.Results, *one)
		if one.Resent {
			r.Resent++
		}
		if one.Err != nil {
			continue
		}
		r.Input, r.Output, r.Cached, r.Events = r.Input+one.Input, r.Output+one.Output, r.Cached+one.Cached, r.Events+one.Events
		if !one.Counted {
			r.Uncounted++
		}
		if one.Output < one.Asked {
			r.Short++
		}
		if c.Goals.met(one) {
			r.Good++
		}
		ttft, e2el = append(ttft, ms(one.First)), append(e2el, ms(one.Whole))
		if one.Output > 1 {
			tpot = append(tpot, ms(one.PerToken()))
		}
		for _, g := range one.Gaps {
			itl = append(itl, ms(g))
		}
		late = append(late, ms(one.Late))
	}
	r.TTFT, r.TPOT, r.ITL, r.E2EL, r.Late = figuresOf(ttft), figuresOf(tpot), figuresOf(itl), figuresOf(e2el), figuresOf(late)
	for reason, n := range reasons {
		r.Failures = append(r.Failures, Failure{reason, n})
	}
	slices.SortFunc(r.Failures, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Reason, b.Reason))
	})
	r.peaks()
	return r
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// peaks finds the busiest second and the most that was open.
func (r *Report) peaks() {
	seconds := map[int64]float64{}
	type edge struct {
		at time.Duration
		by int
	}
	var edges []edge
	for i := range r.Results {
		one := &r.Results[i]
		start := one.Start.Sub(r.Begin)
		edges = append(edges, edge{start, 1}, edge{start + one.Whole, -1})
		if one.Err != nil || one.Events == 0 {
			continue
		}
		each := float64(one.Output) / float64(one.Events) // where several tokens came together
		at := start + one.First
		seconds[int64(at/time.Second)] += each
		for _, g := range one.Gaps {
			at += g
			seconds[int64(at/time.Second)] += each
		}
	}
	for _, n := range seconds {
		r.PeakOutput = max(r.PeakOutput, n)
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.by, b.by)) })
	open := 0
	for _, e := range edges {
		open += e.by
		r.PeakOpen = max(r.PeakOpen, open)
	}
}

// PerSecond is a rate over the whole run.
func (r *Report) PerSecond(n int) float64 {
	if r.Duration <= 0 {
		return 0
	}
	return float64(n) / r.Duration.Seconds()
}

// Percentiles are those that a report has.
var Percentiles = []float64{50, 90, 95, 99}

// mostReasons bounds the list of failures in JSON.
const mostReasons = 20

// JSON is the report in the names that `vllm bench serve --save-result` gives, and with
// detail those of --save-detailed. Fields that it has not are described in the commands'
// documentation.
func (r *Report) JSON(detail bool) map[string]any {
	c := r.config
	orNil := func(ok bool, v any) any {
		if ok {
			return v
		}
		return nil
	}
	backend := "openai"
	if c.Path == client.Chat {
		backend = "openai-chat"
	}
	rate := any("inf")
	if c.Rate > 0 {
		rate = c.Rate
	}
	failures := r.Failures
	if failures == nil {
		failures = []Failure{}
	}
	m := map[string]any{
		"date": r.Begin.Format("20060102-150405"), "backend": backend, "endpoint_type": backend, "label": nil,
		"model_id": c.Model, "tokenizer_id": nil, "num_prompts": c.Requests,
		"request_rate": rate, "burstiness": c.Burstiness, "max_concurrency": orNil(c.Concurrency > 0, c.Concurrency),
		"duration": r.Duration.Seconds(), "completed": r.Completed, "failed": r.Failed,
		"total_input_tokens": r.Input, "total_output_tokens": r.Output,
		"request_throughput": r.PerSecond(r.Completed), "request_goodput": orNil(len(c.Goals) > 0, r.PerSecond(r.Good)),
		"output_throughput": r.PerSecond(r.Output), "total_token_throughput": r.PerSecond(r.Input + r.Output),
		"max_output_tokens_per_s": r.PeakOutput, "max_concurrent_requests": r.PeakOpen,
		// Ours.
		"seed": c.Seed, "cancelled": r.Cut, "total_cached_tokens": r.Cached, "shared_prefix_tokens": c.Shared,
		"answers_without_usage": r.Uncounted, "short_answers": r.Short, "resent_requests": r.Resent, "text_events": r.Events, "failures": failures[:min(len(failures), mostReasons)],
	}
	figures := func(name string, f Figures) {
		m["mean_"+name], m["median_"+name], m["std_"+name] = f.Mean, f.Median(), f.Deviation
		for _, p := range Percentiles {
			m["p"+strconv.Itoa(int(p))+"_"+name] = f.Percentile(p)
		}
	}
	figures("ttft_ms", r.TTFT)
	figures("tpot_ms", r.TPOT)
	figures("itl_ms", r.ITL)
	figures("e2el_ms", r.E2EL)
	if c.Rate > 0 {
		figures("send_delay_ms", r.Late)
	}
	if detail {
		r.detail(m)
	}
	return m
}

// detail adds a list of every request's values, in seconds as vLLM has them.
func (r *Report) detail(m map[string]any) {
	n := len(r.Results)
	inputs, outputs, ttfts, starts := make([]int, n), make([]int, n), make([]float64, n), make([]float64, n)
	itls, texts, errs := make([][]float64, n), make([]string, n), make([]string, n)
	for i := range r.Results {
		one := &r.Results[i]
		inputs[i], texts[i] = one.Input, one.Text
		ttfts[i], starts[i] = one.First.Seconds(), one.Start.Sub(r.Begin).Seconds()
		itls[i] = make([]float64, len(one.Gaps))
		for j, g := range one.Gaps {
			itls[i][j] = g.Seconds()
		}
		if outputs[i] = one.Output; one.Err != nil {
			outputs[i], errs[i] = 0, one.Err.Error()
		}
	}
	m["input_lens"], m["output_lens"], m["ttfts"], m["itls"] = inputs, outputs, ttfts, itls
	m["start_times"], m["generated_texts"], m["errors"] = starts, texts, errs
}
