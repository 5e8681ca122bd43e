package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"nosa/client"
)

// Config is a run.
type Config struct {
	Client *client.Client
	Path   string // client.Completions or client.Chat
	Model  string

	Requests    int
	Warmup      int     // questions beforehand, which do not count
	Concurrency int     // clients of the closed loop; with Rate the most that are open, 0: no bound
	Rate        float64 // questions a second, 0: closed loop
	Burstiness  float64 // see arrivals; 0: 1

	Input     Mix // tokens of a prompt
	Output    Mix // and of an answer, at most
	Shared    int // tokens that all prompts begin with, besides
	LowID     int // ids of prompts are from here
	HighID    int // to below here
	Words     bool
	Text      string // prompts are parts of it; "": made up
	IgnoreEnd bool   // answers have all their tokens
	Extra     map[string]json.RawMessage

	Timeout time.Duration // of a question
	Goals   Goals
	Seed    uint64
	Keep    bool // the texts of answers

	Progress func(done, failed int) // after each answer, one call at a time
	Note     func(string)           // what a reader of the figures should know
}

const (
	// MostRequests bounds a run.
	MostRequests = 1 << 20
	// MostClients bounds how many questions are open at once in the closed loop.
	MostClients    = 1 << 14
	mostRate       = 1e6
	mostBurstiness = 1e6
)

func (c *Config) chat() bool { return c.Path == client.Chat }

// Check refuses what can not be run.
func (c *Config) Check() error {
	switch {
	case c.Requests < 1 || c.Requests > MostRequests:
		return fmt.Errorf("%d requests: want 1 to %d", c.Requests, MostRequests)
	case c.Warmup < 0 || c.Warmup > MostRequests:
		return fmt.Errorf("%d requests to warm up: want 0 to %d", c.Warmup, MostRequests)
	case c.Concurrency < 0 || c.Concurrency > MostClients || c.Concurrency == 0 && c.Rate == 0:
		return fmt.Errorf("%d clients: want 1 to %d", c.Concurrency, MostClients)
	case !(c.Rate >= 0 && c.Rate <= mostRate): // NaN is neither
		return fmt.Errorf("a rate of %g: want more than 0, at most %g a second", c.Rate, mostRate)
	case c.Rate > 0 && !(c.Burstiness > 0 && c.Burstiness <= mostBurstiness):
		return fmt.Errorf("a burstiness of %g: want more than 0, at most %g", c.Burstiness, mostBurstiness)
	case c.Shared < 0 || c.Shared > MostTokens:
		return fmt.Errorf("%d shared tokens: want 0 to %d", c.Shared, MostTokens)
	case c.byIDs() && (c.LowID < 0 || c.HighID <= c.LowID || c.HighID > math.MaxInt32):
		return fmt.Errorf("token ids %d to %d: want LOW-HIGH, the ids of a vocabulary", c.LowID, c.HighID-1)
	case c.Timeout <= 0:
		return fmt.Errorf("a timeout of %s: want more than nothing", c.Timeout)
	}
	for _, name := range []string{"model", "prompt", "messages", "max_tokens", "stream", "stream_options"} {
		if _, ok := c.Extra[name]; ok {
			return fmt.Errorf("%q is not to be changed: it is what is measured", name)
		}
	}
	return nil
}

// Run asks all questions. An interrupted run has a report of what there is, together
// with the error; a warm-up that fails has none.
func Run(ctx context.Context, c Config) (*Report, error) {
	if c.Burstiness == 0 {
		c.Burstiness = 1
	}
	if err := c.Check(); err != nil {
		return nil, err
	}
	p := &prompter{c: &c}
	if err := p.measure(ctx); err != nil {
		return nil, err
	}
	p.begin()
	warm := make([]Result, c.Warmup)
	p.closed(ctx, warm, max(c.Concurrency, 1), streamWarmup)
	for i := range warm {
		if err := warm[i].Err; err != nil {
			return nil, fmt.Errorf("the warm-up: %w", err)
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	results := make([]Result, c.Requests)
	begin := time.Now()
	if c.Rate > 0 {
		p.open(ctx, results, begin)
	} else {
		p.closed(ctx, results, c.Concurrency, 0)
	}
	return newReport(&c, results, begin, time.Since(begin)), context.Cause(ctx)
}

// closed has clients that each ask when they have their answer.
func (p *prompter) closed(ctx context.Context, results []Result, clients int, stream uint64) {
	var next atomic.Int64
	var count counter
	var wg sync.WaitGroup
	for range min(clients, len(results)) {
		wg.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(results) {
					return
				}
				q, err := p.question(stream + uint64(i))
				if err != nil {
					results[i] = Result{Start: time.Now(), Err: err}
				} else {
					results[i] = p.c.ask(ctx, q)
				}
				if stream == 0 {
					count.note(p.c, results[i].Err)
				}
			}
		})
	}
	wg.Wait()
}

// open asks at the times of the arrivals. Where Concurrency bounds what is open, those
// that come later wait in order.
func (p *prompter) open(ctx context.Context, results []Result, begin time.Time) {
	var seats chan struct{}
	if p.c.Concurrency > 0 {
		seats = make(chan struct{}, p.c.Concurrency)
	}
	var count counter
	var wg sync.WaitGroup
	defer wg.Wait()
	for i, at := range arrivals(len(results), p.c.Rate, p.c.Burstiness, p.c.random(streamArrivals)) {
		q, err := p.question(uint64(i)) // before its time: making it takes some
		due := begin.Add(at)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return
		}
		if seats != nil {
			select {
			case seats <- struct{}{}:
			case <-ctx.Done():
				return
			}
		}
		wg.Go(func() {
			r := Result{Start: time.Now(), Err: err}
			if err == nil {
				r = p.c.ask(ctx, q)
			}
			r.Late = r.Start.Sub(due)
			results[i] = r
			if seats != nil {
				<-seats
			}
			count.note(p.c, r.Err)
		})
	}
}

// counter tells how far a run is, in order.
type counter struct {
	mu           sync.Mutex
	done, failed int
}

func (n *counter) note(c *Config, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.done++; err != nil {
		n.failed++
	}
	if c.Progress != nil {
		c.Progress(n.done, n.failed)
	}
}

// unknownBytes is what a token of text is taken to have where the server does not say.
const unknownBytes = 4

// measure learns how many bytes of text a token has, and how many tokens the server puts
// around a prompt, from two prompts that are hardly longer than those to come.
func (p *prompter) measure(ctx context.Context) error {
	if p.c.byIDs() {
		return nil
	}
	r := p.c.random(streamProbe)
	var size, tokens [2]float64
	most := min(max(unknownBytes*p.c.Input.Most(), 256), 8192)
	if err := p.enough(most); err != nil {
		return err
	}
	for i, n := range [2]int{most / 4, most} {
		text := p.drawText(n, r)
		q, err := p.build(head(r)+text, n/unknownBytes, 1)
		if err != nil {
			return err
		}
		res := p.c.ask(ctx, q)
		if res.Err != nil && !errors.Is(res.Err, errNothing) {
			return fmt.Errorf("the first question: %w", res.Err)
		}
		if !res.Counted {
			p.bytes = unknownBytes
			p.c.note(fmt.Sprintf("the server says nothing of usage: prompts are of %d bytes a token, and every event counts as a token", unknownBytes))
			return p.enough(p.longest())
		}
		size[i], tokens[i] = float64(len(text)), float64(res.Input)
	}
	if p.bytes = (size[1] - size[0]) / (tokens[1] - tokens[0]); !(p.bytes > 0.1 && p.bytes < 1000) { // Inf and NaN are neither
		return fmt.Errorf("the first questions: prompts of %.0f and %.0f bytes have %.0f and %.0f tokens, as the server says: that can not be", size[0], size[1], tokens[0], tokens[1])
	}
	p.around = max(tokens[0]-size[0]/p.bytes, 0)
	return p.enough(p.longest())
}

// longest is about how many bytes of the text one prompt takes.
func (p *prompter) longest() int { return int(float64(max(p.c.Input.Most(), p.c.Shared)) * p.bytes) }

// enough refuses a text that is shorter than what is to be cut from it.
func (p *prompter) enough(bytes int) error {
	if p.c.Text != "" && len(p.c.Text) < bytes {
		return fmt.Errorf("the text has %d bytes, the longest prompt needs about %d: give a longer one", len(p.c.Text), bytes)
	}
	return nil
}

func (c *Config) note(s string) {
	if c.Note != nil {
		c.Note(s)
	}
}
