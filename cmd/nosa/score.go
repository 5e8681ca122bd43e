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
	Stats bool   `help:"Show what every tier of the cache did."`
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
	e, dev, err := c.open(g, src, o)
	if err != nil {
		return err
	}
	src = nil
	defer func() { err = errors.Join(err, e.Close(), dev.Close()) }()

	bar := newProgress(g, "score", int64(len(ids)), "tokens")
	out, err := e.Score(ctx, ids, func(done, _ int) { bar.Set(int64(done)) })
	bar.Finish()
	if err != nil {
		return err
	}
	if g.JSON {
		probs := make([]*float64, len(out.LogProbs)) // null where there is none
		for i := range out.LogProbs {
			if !math.IsNaN(out.LogProbs[i]) && !math.IsInf(out.LogProbs[i], 0) {
				probs[i] = &out.LogProbs[i]
			}
		}
		return writeJSON(g.Stdout, map[string]any{
			"tokens": out.Tokens, "logprobs": probs, "nll": finite(out.NLL / float64(len(ids)-1)), "perplexity": finite(out.Perplexity),
			"stats": statsJSON(out.Stats, e.Plan()),
		})
	}
	g.Stdout.Printf("tokens      %d\nnll         %.6f per token\nperplexity  %.4f\n", len(ids), out.NLL/float64(len(ids)-1), out.Perplexity)
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
