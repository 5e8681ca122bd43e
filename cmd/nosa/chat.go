package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nosa/builtin"
	"nosa/chat"
)

// ChatCmd is a conversation in the terminal, with a model or a server.
type ChatCmd struct {
	ModelFlags  `embed:""`
	ServerFlags `embed:""`

	Server    string        `placeholder:"URL" help:"Talk to a server of the OpenAI API instead of a MODEL."`
	System    string        `placeholder:"TEXT" help:"The system's message."`
	MaxTokens int           `default:"1024" placeholder:"N" help:"Tokens of an answer at most (${default})."`
	Temp      float32       `name:"temperature" default:"0" placeholder:"T" help:"0 takes the most likely token; higher draws more freely."`
	TopP      float32       `name:"top-p" default:"1" placeholder:"P" help:"Draw from the most likely tokens that make up this probability."`
	TopK      int           `name:"top-k" placeholder:"K" help:"Draw from the K most likely tokens."`
	Seed      uint64        `placeholder:"S" help:"Seed of the draws."`
	Timeout   time.Duration `default:"10m" placeholder:"T" help:"With --server: for one answer (${default})."`
}

// Help says what can be typed.
func (c *ChatCmd) Help() string {
	return "A line is a message; one that begins with a slash is a command, and /help lists them. Ctrl-C stops an answer; Ctrl-D, or Ctrl-C twice at the prompt, ends. " +
		"Where stdin is no terminal, each of its lines is answered in turn, and the first failure ends it."
}

// partner is who answers: a model in this process or a server.
type partner interface {
	// answer continues a conversation. It hands text to emit as it comes. When ctx ends it
	// returns what there is by then, with ctx's cause.
	answer(ctx context.Context, messages []chat.Message, emit func(string) error) (turn, error)
	// stats shows what the tiers did for the last answer.
	stats(w *Output, last turn)
	close() error
}

// turn is an answer and what it took.
type turn struct {
	text      string
	finish    string
	prompt    int // tokens; -1: nobody counted
	cached    int // of the prompt
	generated int
	prefill   time.Duration // to the first token
	decode    time.Duration // from there to the last one
	tiers     *tierCounts
}

// tierCounts are blocks that were selected for an answer, by where they were.
type tierCounts struct {
	Selected int64 `json:"selected"`
	Hits     int64 `json:"hits"`
	HostHits int64 `json:"host_hits"`
	DiskHits int64 `json:"disk_hits"`
}

// Run implements the command.
func (c *ChatCmd) Run(ctx context.Context, g *Globals) (err error) {
	if err := c.check(); err != nil {
		return err
	}
	var p partner
	if c.Server != "" {
		p, err = c.openServer(ctx, g)
	} else {
		p, err = c.openModel(g)
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	in := newChatInput(g)
	defer in.close()
	t := &talk{g: g, partner: p, in: in}
	t.setSystem(c.System)
	return t.run(ctx)
}

// check refuses what no model can do. The comparisons are such that NaN is refused too.
func (c *ChatCmd) check() error {
	within := func(v, least, most float32) bool { return v >= least && v <= most }
	switch {
	case c.Server != "" && c.Model != builtin.Name:
		return usage("MODEL and --server: give one of them; --model NAME is a model of the server")
	case c.Server == "" && (c.Name != "" || c.KeyFile != ""):
		return usage("--model and --api-key-file belong to --server")
	case c.MaxTokens < 1 || c.MaxTokens > mostTokens:
		return usage("--max-tokens %d: want 1 to %d", c.MaxTokens, mostTokens)
	case !within(c.Temp, 0, mostHeat):
		return usage("--temperature %g: want 0 to %d", c.Temp, mostHeat)
	case !within(c.TopP, 0, 1):
		return usage("--top-p %g: want 0 to 1", c.TopP)
	case c.TopK < 0:
		return usage("--top-k %d: want 0, for all, or more", c.TopK)
	case c.Timeout <= 0:
		return usage("--timeout %s: want more than nothing", c.Timeout)
	}
	return nil
}

// line says in short what an answer took.
func (t *turn) line() string {
	s := fmt.Sprintf("%d tokens, %s", t.generated, rate(t.generated-1, t.decode))
	if t.prompt < 0 {
		s = fmt.Sprintf("%d events, %.1f a second; the server does not count tokens", t.generated, float64(max(t.generated-1, 0))/max(t.decode.Seconds(), 1e-9))
	} else {
		s += fmt.Sprintf("; prompt of %d, %d of them from the cache, in %s", t.prompt, t.cached, round(t.prefill))
	}
	if n := t.tiers; n != nil && n.Selected > 0 {
		part := func(v int64) float64 { return 100 * float64(v) / float64(n.Selected) }
		s += fmt.Sprintf("; blocks read: %.1f%% in slots", part(n.Hits))
		if n.HostHits > 0 || n.DiskHits > 0 {
			s += fmt.Sprintf(", %.1f%% in the host pool, %.1f%% on disk", part(n.HostHits), part(n.DiskHits))
		}
	}
	if t.finish == "length" {
		s += fmt.Sprintf("; cut off after %d tokens (--max-tokens, or the end of the context)", t.generated)
	}
	return s
}

// json is an answer as a line of --json.
func (t *turn) json() map[string]any {
	m := map[string]any{"text": t.text, "finish_reason": t.finish, "usage": nil, "tiers": t.tiers}
	if t.prompt >= 0 {
		m["usage"] = map[string]any{
			"prompt_tokens": t.prompt, "completion_tokens": t.generated, "total_tokens": t.prompt + t.generated, "cached_tokens": t.cached,
			"prefill_seconds": t.prefill.Seconds(), "decode_seconds": t.decode.Seconds(),
		}
	}
	return m
}
