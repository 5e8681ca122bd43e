package main

import (
	"context"
	"errors"
	"fmt"
	"math"

	"nosa/engine"
)

// ScoreCmd prints the log-probability of every token of a text.
type ScoreCmd struct {
	ModelFlags `embed:""`

	Text  string `placeholder:"FILE" help:"Text to score; - for standard input."`
	IDs   string `name:"ids" placeholder:"FILE" help:"Instead of a text: a JSON array of token ids."`
	Limit int    `placeholder:"N" help:"Score the first N tokens only."`

	Decode    *TokenCount `placeholder:"N" help:"Feed the tokens behind the first N one at a time, as generated ones are: on a GPU by its own decode steps."`
	Reference string      `placeholder:"MODEL" help:"Compare the predictions with those of this model on the CPU, in float32, with full attention and its KV cache in float32: mean KL divergence, and how often both find the same token the most likely."`

	Stats bool `help:"Show what every tier of the cache did."`
}

// Run implements the command.
func (c *ScoreCmd) Run(ctx context.Context, g *Globals) (err error) {
	o, err := c.options()
	if err != nil {
		return err
	}
	if (c.Text == "") == (c.IDs == "") {
		return usage("give either --text FILE or --ids FILE")
	}
	if c.Limit < 0 || c.Limit == 1 {
		return usage("--limit %d: want 2 tokens or more", c.Limit)
	}
	src, err := c.source()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSource(src)) }()
	ids, err := c.ids(ctx, g, src)
	if err != nil {
		return err
	}
	if c.Limit > 0 && c.Limit < len(ids) {
		ids = ids[:c.Limit]
	}
	if err := c.fit(&o, src, len(ids), 0); err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var ref *reference
	if c.Reference != "" {
		if ref, err = c.openReference(ctx, g, ids, o); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ref.close()) }()
		o.OnLogits = func(_ int, logits []float32) {
			if ctx.Err() == nil {
				if err := ref.compare(logits); err != nil {
					cancel(err)
				}
			}
		}
	}
	e, dev, err := c.open(g, src, o)
	if err != nil {
		return err
	}
	src = nil
	defer func() { err = errors.Join(err, e.Close(), dev.Close()) }()

	from := len(ids)
	if c.Decode != nil {
		from = int(*c.Decode)
	}
	bar := newProgress(g, "score", int64(len(ids)), "tokens")
	out, err := e.ScoreDecoded(ctx, ids, from, func(done, _ int) { bar.Set(int64(done)) })
	bar.Finish()
	if err = errors.Join(err, context.Cause(ctx)); err != nil {
		return err
	}
	var against *referenceJSON
	if ref != nil {
		s, err := ref.summary(c.Reference)
		if err != nil {
			return err
		}
		against = &s
	}
	if g.JSON {
		probs := make([]*float64, len(out.LogProbs)) // null where there is none
		for i := range out.LogProbs {
			if !math.IsNaN(out.LogProbs[i]) && !math.IsInf(out.LogProbs[i], 0) {
				probs[i] = &out.LogProbs[i]
			}
		}
		v := map[string]any{
			"tokens": out.Tokens, "logprobs": probs, "nll": finite(out.NLL / float64(len(ids)-1)), "perplexity": finite(out.Perplexity),
			"stats": statsJSON(out.Stats, e.Plan()),
		}
		if against != nil {
			v["reference"] = against
		}
		return writeJSON(g.Stdout, v)
	}
	g.Stdout.Printf("tokens      %d\nnll         %.6f per token\nperplexity  %.4f\n", len(ids), out.NLL/float64(len(ids)-1), out.Perplexity)
	if against != nil {
		g.Stdout.Printf("kl          %.6f per token, above %.6f in 1 of 100, at most %.6f\ntop-1       %.2f %% as the reference\n", against.KL, against.KL99, against.KLMax, 100*against.Agree)
	}
	if c.Stats && !g.Quiet {
		writeStats(g.Stderr, out.Stats, e.Plan())
	}
	return nil
}

// ids are the tokens of the text, at least the two that there must be to score one.
func (c *ScoreCmd) ids(ctx context.Context, g *Globals, src *engine.Source) (ids []int32, err error) {
	name := c.IDs
	if c.Text != "" {
		name = c.Text
		var text string
		if text, err = readText(ctx, g, "--text", c.Text); err == nil {
			ids, err = src.Encode(text, false)
		}
	} else {
		ids, err = readIDs(ctx, g, c.IDs, src.Config.Vocab)
	}
	if err == nil && len(ids) < 2 {
		err = fmt.Errorf("%s: %d tokens, and the first of a text has no probability: give at least 2", name, len(ids))
	}
	return ids, err
}

// finite is v, or nil where JSON has no word for it.
func finite(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}
