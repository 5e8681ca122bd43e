package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"nosa/client"
)

const fakeStep = 10 * time.Millisecond

// TestTimes: every figure is exactly what the server took.
func TestTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{prefill: 100 * time.Millisecond, token: fakeStep}
		c := config(t, f, func(c *Config) {
			c.Warmup, c.Shared, c.IgnoreEnd = 3, 10, true
			c.Goals = Goals{"ttft": 100 * time.Millisecond}
			c.Extra = map[string]json.RawMessage{"top_k": json.RawMessage("4")}
		})
		done := 0
		c.Progress = func(n, failed int) {
			if done++; n != done || failed != 0 {
				t.Errorf("progress says %d done and %d failed, want %d and none", n, failed, done)
			}
		}
		r, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		if len(f.asked) != 9 || f.most != 2 || done != 6 {
			t.Errorf("%d questions, %d of them at once, %d done: want 9, 2, 6", len(f.asked), f.most, done)
		}
		for _, q := range f.asked {
			if !q.Stream || !q.Ignore || q.Most != 5 || q.Extra != 4.0 || len(q.Prompt.([]any)) != 30 {
				t.Errorf("asked %+v", q)
			}
		}
		m := fields(t, r, true)
		for name, want := range map[string]float64{
			"mean_ttft_ms": 100, "median_ttft_ms": 100, "std_ttft_ms": 0, "p99_ttft_ms": 100, "mean_tpot_ms": 10, "p50_tpot_ms": 10,
			"mean_itl_ms": 10, "p90_itl_ms": 10, "mean_e2el_ms": 140, "p95_e2el_ms": 140, "duration": 0.42, "completed": 6, "failed": 0, "cancelled": 0,
			"total_input_tokens": 180, "total_output_tokens": 30, "total_cached_tokens": 6, "request_throughput": 6 / 0.42, "request_goodput": 6 / 0.42,
			"output_throughput": 30 / 0.42, "total_token_throughput": 210 / 0.42, "max_output_tokens_per_s": 30, "max_concurrent_requests": 2,
			"num_prompts": 6, "max_concurrency": 2, "burstiness": 1, "answers_without_usage": 0, "short_answers": 0, "text_events": 30, "seed": 1,
		} {
			if got, ok := m[name].(float64); !ok || math.Abs(got-want) > 1e-9 {
				t.Errorf("%s is %v, want %v", name, m[name], want)
			}
		}
		if m["request_rate"] != "inf" || m["backend"] != "openai" || m["endpoint_type"] != "openai" || m["model_id"] != "m" || m["send_delay_ms"] != nil {
			t.Errorf("%v", m)
		}
		for _, name := range []string{"input_lens", "output_lens", "ttfts", "itls", "start_times", "generated_texts", "errors"} {
			if list, ok := m[name].([]any); !ok || len(list) != 6 {
				t.Errorf("%s is %v", name, m[name])
			}
		}
	})
}

// fields is a report as it reads as JSON.
func fields(t *testing.T, r *Report, detail bool) map[string]any {
	t.Helper()
	data, err := json.Marshal(r.JSON(detail))
	if err != nil {
		t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(data, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// TestSeveralTokens: where a server sends several tokens in an event, the time of a token
// goes by what it says of usage, and gaps are those between events.
func TestSeveralTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{prefill: 100 * time.Millisecond, token: fakeStep, perEvent: 4}
		r, err := Run(t.Context(), config(t, f, func(c *Config) { c.Output = mix(t, "9") }))
		if err != nil {
			t.Fatal(err)
		}
		// Tokens come at 100 (4 of them), 140 (4) and 150 ms (1).
		if r.Output != 54 || r.Events != 18 || r.TPOT.Mean != 50.0/8 || r.ITL.Percentile(100) != 40 || r.ITL.Percentile(0) != 10 || r.PeakOutput != 54 {
			t.Errorf("%d tokens in %d events, TPOT %v, ITL %v, peak %v", r.Output, r.Events, r.TPOT, r.ITL, r.PeakOutput)
		}
	})
}

// TestNoUsage: a server that says nothing of tokens has its events counted, and the
// report says so.
func TestNoUsage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{silent: true}
		r, err := Run(t.Context(), config(t, f, nil))
		if err != nil || r.Uncounted != 6 || r.Output != 30 || r.Input != 120 || r.Completed != 6 {
			t.Errorf("%+v, %v", r, err)
		}
		notes := 0
		c := config(t, f, func(c *Config) { c.Words, c.Note = true, func(string) { notes++ } })
		if r, err = Run(t.Context(), c); err != nil || r.Uncounted != 6 || notes != 1 {
			t.Errorf("words: %+v, %v, %d notes", r, err, notes)
		}
	})
}

// TestClosed: there are never more questions open than clients, and never fewer while
// there are any left.
func TestClosed(t *testing.T) {
	for _, clients := range []int{1, 3, 16, 100} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{prefill: fakeStep, token: fakeStep}
			r, err := Run(t.Context(), config(t, f, func(c *Config) {
				c.Concurrency, c.Requests, c.Output = clients, 64, mix(t, "1-30")
			}))
			if err != nil {
				t.Fatal(err)
			}
			if want := min(clients, 64); f.most != want || r.PeakOpen != want || r.Completed != 64 {
				t.Errorf("%d at once, the report says %d, %d completed: want %d, %d, 64", f.most, r.PeakOpen, r.Completed, want, want)
			}
			for i := range r.Results { // a question follows an answer at once
				if i < clients {
					if r.Results[i].Start != r.Begin {
						t.Errorf("client %d began after %v", i, r.Results[i].Start.Sub(r.Begin))
					}
					continue
				}
				found := false
				for j := range r.Results {
					found = found || r.Results[j].Start.Add(r.Results[j].Whole).Equal(r.Results[i].Start)
				}
				if !found {
					t.Errorf("question %d followed none", i)
				}
			}
		})
	}
}

// TestOpen: questions are asked at the times of the arrivals, whatever the server does,
// unless there is a bound; then they wait, which is told.
func TestOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{prefill: time.Second}
		c := config(t, f, func(c *Config) { c.Rate, c.Concurrency, c.Requests, c.Burstiness = 100, 0, 200, 0.5 })
		r, err := Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		times := arrivals(200, 100, 0.5, c.random(streamArrivals))
		for i := range r.Results {
			if at := r.Results[i].Start.Sub(r.Begin); at != times[i] || r.Results[i].Late != 0 {
				t.Errorf("question %d came at %v, want %v; %v late", i, at, times[i], r.Results[i].Late)
			}
		}
		if r.PeakOpen < 50 || f.most != r.PeakOpen || fields(t, r, false)["p99_send_delay_ms"] != 0.0 {
			t.Errorf("%d at once, the report says %d", f.most, r.PeakOpen)
		}
		f.most, c.Concurrency = 0, 10
		if r, err = Run(t.Context(), c); err != nil || f.most != 10 || r.PeakOpen != 10 || r.Late.Percentile(100) < 1000 {
			t.Errorf("with a bound: %d at once, the report says %d, %.0f ms late, %v", f.most, r.PeakOpen, r.Late.Percentile(100), err)
		}
		if fields(t, r, false)["request_rate"] != 100.0 {
			t.Error("the report lacks the rate")
		}
	})
}

// TestInterrupted: what there is by then is reported, and what was cut short is neither
// done nor failed.
func TestInterrupted(t *testing.T) {
	enough := errors.New("enough")
	for name, change := range map[string]func(*Config){
		"closed": nil,
		"open":   func(c *Config) { c.Rate, c.Concurrency = 50, 0 },
		"bound":  func(c *Config) { c.Rate, c.Concurrency = 1e6, 2 },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{prefill: time.Second, token: fakeStep}
			c := config(t, f, change)
			c.Requests = 100
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(1500*time.Millisecond, func() { cancel(enough) })
			r, err := Run(ctx, c)
			if !errors.Is(err, enough) {
				t.Fatalf("%s: %v", name, err)
			}
			if r.Completed == 0 || r.Failed != 0 || r.Completed+r.Cut != len(r.Results) || name != "open" && r.Cut != 2 {
				t.Errorf("%s: %d completed, %d failed, %d cut", name, r.Completed, r.Failed, r.Cut)
			}
			if got := fields(t, r, true); got["cancelled"].(float64) != float64(r.Cut) {
				t.Errorf("%s: %v", name, got["cancelled"])
			}
		})
	}
	synctest.Test(t, func(t *testing.T) { // before the first question
		c := config(t, &fake{prefill: time.Second}, func(c *Config) { c.Warmup = 1 })
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Millisecond, func() { cancel(enough) })
		if r, err := Run(ctx, c); r != nil || !errors.Is(err, enough) {
			t.Errorf("%+v, %v", r, err)
		}
	})
}

// TestFailures: they are counted by their reason, and the others go on.
func TestFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{prefill: 2 * time.Second, fails: func(n int) bool { return n%3 == 0 }}
		c := config(t, f, func(c *Config) { c.Requests = 9 })
		r, err := Run(t.Context(), c)
		if err != nil || r.Completed != 6 || r.Failed != 3 || fmt.Sprint(r.Failures) != "[{HTTP 503 Service Unavailable: busy 3}]" {
			t.Errorf("%+v, %v", r, err)
		}
		c.Warmup = 1
		f.fails = func(int) bool { return true }
		if _, err := Run(t.Context(), c); err == nil || err.Error() != "the warm-up: HTTP 503 Service Unavailable: busy" {
			t.Errorf("a warm-up: %v", err)
		}
		c.Warmup, c.Timeout, f.fails = 0, time.Second, nil
		r, err = Run(t.Context(), c)
		if err != nil || r.Failed != 9 || len(r.Failures) != 1 || !strings.Contains(r.Failures[0].Reason, "after 1s") || r.PeakOpen != 2 {
			t.Errorf("too slow: %+v, %v", r, err)
		}
	})
}

// TestText: prompts of text have about as many tokens as were asked for, whatever a
// token is to the server and whatever it adds, and no two begin alike.
func TestText(t *testing.T) {
	book := strings.Repeat("The whale is ä big animal. ", 4000)
	for name, change := range map[string]func(*Config){
		"book":          func(c *Config) { c.Text = book },
		"book in chats": func(c *Config) { c.Text, c.Path = book, client.Chat },
		"words":         func(c *Config) { c.Words = true },
		"chats":         func(c *Config) { c.Path = client.Chat },
		"shared":        func(c *Config) { c.Text, c.Shared = book, 500 },
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{tokens: func(p any) int { return len(p.(string))/3 + 17 }}
			c := config(t, f, change)
			c.Requests, c.Input = 50, mix(t, "100-2000")
			r, err := Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			seen := map[string]bool{}
			for _, q := range f.asked[2:] {
				text := q.Prompt.(string)
				head := text[c.Shared*3/2:][:40]
				if !strings.HasPrefix(text, f.asked[2].Prompt.(string)[:c.Shared*2]) && c.Shared > 0 {
					t.Errorf("%s: the prefix is not shared", name)
				}
				if c.Shared > 0 {
					head = text[c.Shared*3-10:][:40]
				}
				if seen[head] {
					t.Errorf("%s: two begin with %q", name, head)
				}
				seen[head] = true
			}
			var want int
			p := prompter{c: &c}
			for i := range 50 {
				q, err := p.question(uint64(i))
				if err != nil {
					t.Fatal(err)
				}
				want += q.input
			}
			if off := math.Abs(float64(r.Input-want)) / 50; off > 2 {
				t.Errorf("%s: prompts are %.1f tokens off, of %d on average", name, off, want/50)
			}
		})
	}
	c := config(t, &fake{tokens: func(p any) int { return len(p.(string)) / 3 }}, func(c *Config) { c.Text, c.Input = "short", mix(t, "100") })
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "the text has 5 bytes") {
		t.Errorf("a short text: %v", err)
	}
	c = config(t, &fake{tokens: func(any) int { return 7 }}, func(c *Config) { c.Words = true })
	if _, err := Run(t.Context(), c); err == nil || !strings.Contains(err.Error(), "can not be") {
		t.Errorf("a server that can not count: %v", err)
	}
}

// TestPrompts: the same seed makes the same prompts, in the given ids; no two share more
// than they should.
func TestPrompts(t *testing.T) {
	c := config(t, &fake{}, func(c *Config) { c.Shared, c.Input = 32, mix(t, "64") })
	p := prompter{c: &c}
	p.begin()
	first := map[string]bool{}
	for i := range 500 {
		r := c.random(uint64(i))
		ids := p.prompt(64, r).([]int32)
		if len(ids) != 96 || fmt.Sprint(ids[:32]) != fmt.Sprint(p.ids) {
			t.Fatalf("prompt %d: %v", i, ids)
		}
		for _, id := range ids {
			if id < 100 || id >= 1000 {
				t.Fatalf("prompt %d has id %d", i, id)
			}
		}
		if head := fmt.Sprint(ids[32:36]); first[head] {
			t.Errorf("two prompts go on with %s", head)
		} else {
			first[head] = true
		}
	}
	a, _ := p.question(7)
	b, _ := p.question(7)
	c.Seed = 2
	d, _ := p.question(7)
	if string(a.body) != string(b.body) || string(a.body) == string(d.body) {
		t.Errorf("%.80s, %.80s, %.80s", a.body, b.body, d.body)
	}
}

func TestCheck(t *testing.T) {
	for says, change := range map[string]func(*Config){
		"0 requests":         func(c *Config) { c.Requests = 0 },
		"-1 requests to":     func(c *Config) { c.Warmup = -1 },
		"0 clients":          func(c *Config) { c.Concurrency = 0 },
		"99999 clients":      func(c *Config) { c.Concurrency = 99999 },
		"a rate of -1":       func(c *Config) { c.Rate = -1 },
		"a rate of NaN":      func(c *Config) { c.Rate = math.NaN() },
		"a rate of +Inf":     func(c *Config) { c.Rate = math.Inf(1) },
		"a burstiness of -1": func(c *Config) { c.Rate, c.Burstiness = 1, -1 },
		"-1 shared":          func(c *Config) { c.Shared = -1 },
		"token ids 5 to 4":   func(c *Config) { c.LowID, c.HighID = 5, 5 },
		"a timeout of 0s":    func(c *Config) { c.Timeout = 0 },
		`"stream" is not`:    func(c *Config) { c.Extra = map[string]json.RawMessage{"stream": nil} },
	} {
		if r, err := Run(t.Context(), config(t, &fake{}, change)); r != nil || err == nil || !strings.HasPrefix(err.Error(), says) {
			t.Errorf("%v: want %q", err, says)
		}
	}
}
