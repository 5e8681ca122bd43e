package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"strings"
	"time"

	"nosa/chat"
	"nosa/compute"
	"nosa/engine"
)

// RunCmd continues a prompt.
type RunCmd struct {
	ModelFlags `embed:""`

	Prompt     string  `short:"p" placeholder:"TEXT" help:"Prompt."`
	PromptFile string  `placeholder:"FILE" help:"Prompt from a file, - for standard input; with -p, the file comes first."`
	Chat       bool    `help:"Render the prompt as a user's message by the model's chat template."`
	System     string  `placeholder:"TEXT" help:"With --chat: the system's message."`
	MaxTokens  int     `default:"128" placeholder:"N" help:"Tokens to generate at most (${default})."`
	IgnoreEnd  bool    `name:"ignore-eos" help:"Go on after the end of the text."`
	Temp       float32 `name:"temperature" default:"0" placeholder:"T" help:"0 takes the most likely token; higher draws more freely."`
	TopP       float32 `name:"top-p" default:"1" placeholder:"P" help:"Draw from the most likely tokens that make up this probability."`
	TopK       int     `name:"top-k" placeholder:"K" help:"Draw from the K most likely tokens."`
	Seed       uint64  `placeholder:"S" help:"Seed of the draws; the same seed gives the same text."`
	Stats      bool    `help:"Show what every tier of the cache did."`
}

// Run implements the command.
func (c *RunCmd) Run(ctx context.Context, g *Globals) (err error) {
	o, err := c.options()
	if err != nil {
		return err
	}
	if err := c.check(); err != nil {
		return err
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSource(src)) }()
	ids, err := c.encode(ctx, g, src)
	if err != nil {
		return err
	}
	if err := c.fit(&o, src, len(ids), c.MaxTokens); err != nil {
		return err
	}
	e, dev, err := c.open(g, src, o)
	if err != nil {
		return err
	}
	src = nil
	defer func() { err = errors.Join(err, e.Close(), dev.Close()) }()

	bar := newProgress(g, "prefill", int64(len(ids)), "tokens")
	defer func() { bar.Finish() }()
	live := &liveStats{e: e}
	r := engine.Request{
		IDs: ids, MaxTokens: c.MaxTokens, IgnoreEnd: c.IgnoreEnd, Continues: !c.Chat,
		Sampling: compute.Sampling{Temperature: c.Temp, TopK: c.TopK, TopP: c.TopP, Seed: c.Seed},
	}
	r.Progress = func(done, total int) {
		bar.Note(int64(done), int64(total), live.note())
		if done == total && (g.JSON || g.Stdout.terminal() == nil) {
			bar.Finish() // the text itself shows no progress there
			bar = newProgress(g, "decode", int64(c.MaxTokens), "tokens")
		}
	}
	generated := 0
	r.OnToken = func() {
		generated++
		bar.Note(int64(generated), int64(c.MaxTokens), live.note())
	}
	open := false // a line on the terminal that a message must not be glued to
	if !g.JSON {
		r.Emit = func(piece string) error {
			if g.Stdout.terminal() != nil {
				bar.Finish()
				piece = screenText(piece)
				open = !strings.HasSuffix(piece, "\n")
			}
			_, err := io.WriteString(g.Stdout, piece)
			return err
		}
	}
	out, err := e.Generate(ctx, r)
	bar.Finish()
	if err != nil {
		if open {
			g.Stdout.Printf("\n")
		}
		return err
	}
	if g.JSON {
		tokens := out.Tokens
		if tokens == nil {
			tokens = []int32{}
		}
		return writeJSON(g.Stdout, map[string]any{
			"text": out.Text, "tokens": tokens, "finish_reason": out.Finish, "usage": usageJSON(out.Usage),
			"stats": statsJSON(out.Stats, e.Plan()),
		})
	}
	g.Stdout.Printf("\n")
	g.note("%d prompt tokens in %s (%s), %d generated in %s (%s)",
		out.Usage.Prompt, round(out.Usage.Prefill), rate(out.Usage.Prompt-out.Usage.Shared, out.Usage.Prefill),
		out.Usage.Completion, round(out.Usage.Decode), rate(max(out.Usage.Completion-1, 0), out.Usage.Decode))
	if c.Stats && !g.Quiet {
		writeStats(g.Stderr, out.Stats, e.Plan())
	}
	return nil
}

// mostTokens and mostHeat are far above what anybody means, and keep sums of them exact.
const (
	mostTokens = 1 << 28
	mostHeat   = 1000
)

// check refuses what no model can do. The comparisons are such that NaN is refused too.
func (c *RunCmd) check() error {
	within := func(v, least, most float32) bool { return v >= least && v <= most }
	switch {
	case c.Prompt == "" && c.PromptFile == "":
		return usage("no prompt: give -p TEXT or --prompt-file FILE")
	case c.System != "" && !c.Chat:
		return usage("--system belongs to --chat")
	case c.MaxTokens < 0 || c.MaxTokens > mostTokens:
		return usage("--max-tokens %d: want 0 to %d", c.MaxTokens, mostTokens)
	case !within(c.Temp, 0, mostHeat):
		return usage("--temperature %g: want 0 to %d", c.Temp, mostHeat)
	case !within(c.TopP, 0, 1):
		return usage("--top-p %g: want 0 to 1", c.TopP)
	case c.TopK < 0:
		return usage("--top-k %d: want 0, for all, or more", c.TopK)
	}
	return nil
}

// encode makes the prompt's ids from file, text and chat template.
func (c *RunCmd) encode(ctx context.Context, g *Globals, src *engine.Source) ([]int32, error) {
	text := c.Prompt
	if c.PromptFile != "" {
		file, err := readText(ctx, g, "--prompt-file", c.PromptFile)
		if err != nil {
			return nil, err
		}
		text = file
		if c.Prompt != "" {
			text = strings.TrimSuffix(text, "\n") + "\n" + c.Prompt
		}
	}
	if text == "" {
		return nil, fmt.Errorf("--prompt-file %s: is empty: there is nothing to continue", c.PromptFile)
	}
	if !c.Chat {
		return src.Encode(text, false)
	}
	messages := []chat.Message{}
	if c.System != "" {
		messages = append(messages, chat.Message{Role: "system", Content: c.System})
	}
	messages = append(messages, chat.Message{Role: "user", Content: text})
	rendered, err := src.Render(ctx, messages)
	if err != nil {
		return nil, err
	}
	return src.Encode(rendered, true)
}

// open plans and loads, and says on stderr what came of it.
func (f *ModelFlags) open(g *Globals, src *engine.Source, o engine.Options) (*engine.Engine, interface{ Close() error }, error) {
	dev, err := f.openDevice(g)
	if err != nil {
		return nil, nil, err
	}
	e, err := engine.Open(dev, src, o, g.Log)
	if err != nil {
		return nil, nil, errors.Join(err, dev.Close())
	}
	limitHeap(g, e.Plan())
	if !g.JSON {
		g.note("%s", planLine(e.Plan(), dev.Info()))
		if note := e.Note(); note != "" {
			g.note("note: %s", note)
		}
	}
	return e, dev, nil
}

// leastHeap is what the Go heap may always grow to: less makes the collector run
// all the time.
const leastHeap = 256 << 20

// limitHeap tells the Go runtime what the plan leaves to it. Weights, slots and
// the host pool lie outside of its heap, so it cannot know by itself.
func limitHeap(g *Globals, p *engine.Plan) {
	if p.Available > 0 && g.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(max(leastHeap, p.Available-p.Weights-p.SlotBytes-p.Host))
	}
}

func closeSource(src *engine.Source) error {
	if src == nil {
		return nil
	}
	return src.Close()
}

func round(d time.Duration) time.Duration { return d.Round(10 * time.Millisecond) }

func rate(n int, d time.Duration) string {
	if n <= 0 || d <= 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f tokens/s", float64(n)/d.Seconds())
}
