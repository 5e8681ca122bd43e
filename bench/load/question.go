package load

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"nosa/client"
)

// question is what is asked, ready to be sent.
type question struct {
	body   []byte
	input  int // tokens, as far as we know
	output int
}

// Result is a question and what came of it.
type Result struct {
	Start   time.Time     // when it was sent; zero: it was not
	Late    time.Duration // behind its time in the open loop
	First   time.Duration // from Start to the first text (TTFT)
	Whole   time.Duration // from Start to the last event of the answer (E2EL), or to the error
	Gaps    []time.Duration
	Input   int // tokens
	Output  int
	Cached  int  // of the input, as the server says
	Asked   int  // tokens of the answer
	Events  int  // with text
	Counted bool // the numbers are the server's
	Resent  bool // since a kept connection had been closed
	Finish  string
	Text    string // if Config.Keep
	Err     error
	Cut     bool // the error is that the run was interrupted
}

// PerToken is the time of a token after the first (TPOT), 0 if there is one alone.
func (r *Result) PerToken() time.Duration {
	if r.Output < 2 {
		return 0
	}
	return (r.Whole - r.First) / time.Duration(r.Output-1)
}

// errNothing is returned for an answer without a token.
var errNothing = errors.New("the answer ended without a token")

// mostText bounds the text that is kept of an answer.
const mostText = 1 << 20

// question makes the i-th of a run; the stream of random numbers says which run.
func (p *prompter) question(stream uint64) (question, error) {
	r := p.c.random(stream)
	input, output := p.c.Input.Draw(r), p.c.Output.Draw(r)
	return p.build(p.prompt(input, r), input+p.c.Shared, output)
}

func (p *prompter) build(prompt any, input, output int) (question, error) {
	body := map[string]any{
		"model": p.c.Model, "max_tokens": output, "temperature": 0,
		"stream": true, "stream_options": map[string]bool{"include_usage": true},
	}
	if p.c.IgnoreEnd {
		body["ignore_eos"] = true
	}
	if p.c.chat() {
		body["messages"] = []map[string]any{{"role": "user", "content": prompt}}
	} else {
		body["prompt"] = prompt
	}
	for name, value := range p.c.Extra {
		body[name] = value
	}
	data, err := json.Marshal(body)
	return question{data, input, output}, err
}

// ask sends a question and follows its answer.
func (c *Config) ask(run context.Context, q question) (r Result) {
	ctx, cancel := context.WithTimeoutCause(run, c.Timeout, fmt.Errorf("there was no whole answer after %s", c.Timeout))
	defer cancel()
	r.Input, r.Asked, r.Start = q.input, q.output, time.Now()
	defer func() {
		if r.Err != nil {
			r.Whole, r.Cut = time.Since(r.Start), run.Err() != nil
		}
	}()
	s, err := c.Client.Stream(ctx, c.Path, q.body)
	if err != nil {
		r.Err = err
		return r
	}
	defer s.Close()
	r.Resent = s.Resent
	var last, token time.Time // events of the answer, and those of them with text
	var usage *client.Usage
	var text strings.Builder
	for {
		p, err := s.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			r.Err = err
			break
		}
		if p.Usage != nil {
			usage = p.Usage
		}
		if !p.Choice {
			continue
		}
		last = p.At
		if p.Finish != "" {
			r.Finish = p.Finish
		}
		if p.Text == "" {
			continue
		}
		if r.Events++; r.Events == 1 {
			r.First = p.At.Sub(r.Start)
		} else {
			r.Gaps = append(r.Gaps, p.At.Sub(token))
		}
		token = p.At
		if c.Keep && text.Len()+len(p.Text) <= mostText {
			text.WriteString(p.Text)
		}
	}
	r.Text, r.Output = text.String(), r.Events
	if usage != nil && usage.Prompt >= 0 && usage.Completion >= 0 && usage.Completion <= MostTokens {
		r.Counted, r.Input, r.Output, r.Cached = true, usage.Prompt, usage.Completion, usage.Details.Cached
	}
	if last.IsZero() && r.Err == nil {
		r.Err = errNothing
	}
	if r.Err != nil {
		return r
	}
	r.Whole = last.Sub(r.Start)
	if r.Events == 0 { // tokens without a text, such as the end at once
		r.First = r.Whole
	}
	return r
}
