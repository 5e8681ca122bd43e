package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"nosa/chat"
	"nosa/compute"
	"nosa/engine"
	"nosa/kv"
)

// modelPartner is a model in this process. The engine keeps the blocks of what was said, so that a turn computes no more
// than what is new, from the last full block on.
type modelPartner struct {
	g    *Globals
	cmd  *ChatCmd
	e    *engine.Engine
	dev  interface{ Close() error }
	last kv.Stats // of the last answer
}

// openModel loads the model, after a look at its chat template.
func (c *ChatCmd) openModel(g *Globals) (_ partner, err error) {
	o, err := c.options()
	if err != nil {
		return nil, err
	}
	src, err := c.source()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeSource(src)) }()
	if src.Tokenizer != nil && src.Template == nil && src.TemplateErr == nil {
		return nil, fmt.Errorf("%s: the model has no chat template: name one that was made for conversations, or continue a text with nosa run", src.Checkpoint.Path())
	}
	if _, err := src.Render(context.Background(), []chat.Message{{Role: "user", Content: "?"}}); err != nil {
		return nil, err
	}
	if o.Context == 0 && o.RopeType == "" {
		o.Context = min(serveContext, src.Config.MaxPositions)
	}
	o.Retain = true
	e, dev, err := c.open(g, src, o)
	if err != nil {
		return nil, err
	}
	src = nil
	return &modelPartner{g: g, cmd: c, e: e, dev: dev}, nil
}

func (m *modelPartner) close() error { return errors.Join(m.e.Close(), m.dev.Close()) }

// answer implements partner.
func (m *modelPartner) answer(ctx context.Context, messages []chat.Message, emit func(string) error) (turn, error) {
	var got turn
	text, err := m.e.Render(ctx, messages)
	if err != nil {
		return got, err
	}
	ids, err := m.e.Encode(text, true)
	if err != nil {
		return got, err
	}
	room := m.e.Plan().Context - len(ids)
	if room < 1 {
		return got, fmt.Errorf("%w: the conversation has %d tokens, the context %d: /reset begins anew, --context makes room", engine.ErrContext, len(ids), m.e.Plan().Context)
	}
	var bar *progress
	defer func() { bar.Finish() }()
	live := &liveStats{e: m.e}
	var said strings.Builder
	r := engine.Request{
		IDs: ids, MaxTokens: min(m.cmd.MaxTokens, room),
		Sampling: compute.Sampling{Temperature: m.cmd.Temp, TopK: m.cmd.TopK, TopP: m.cmd.TopP, Seed: m.cmd.Seed},
		Progress: func(done, total int) {
			if bar == nil && done < total { // a short prompt is done before a bar could be read
				bar = newProgress(m.g, "prefill", int64(total), "tokens")
			}
			bar.Note(int64(done), int64(total), live.note())
			if done == total {
				bar.Finish()
			}
		},
		Emit: func(piece string) error {
			said.WriteString(piece)
			return emit(piece)
		},
		OnToken: func() { got.generated++ },
	}
	began := time.Now()
	out, err := m.e.Generate(ctx, r)
	bar.Finish()
	if err != nil {
		got.text, got.prompt, got.decode = said.String(), len(ids), time.Since(began)
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return got, err
	}
	m.last = out.Stats
	t := out.Stats.Total
	return turn{
		text: out.Text, finish: out.Finish, prompt: out.Usage.Prompt, cached: out.Usage.Shared, generated: out.Usage.Completion,
		prefill: out.Usage.Prefill, decode: out.Usage.Decode, tiers: &tierCounts{t.Selected, t.Hits, t.HostHits, t.DiskHits},
	}, nil
}

// stats implements partner.
func (m *modelPartner) stats(w *Output, _ turn) { writeStats(w, m.last, m.e.Plan()) }
