package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"

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
	src, err := c.source()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, closeSource(src)) }()
	ids, err := c.ids(g, src)
	if err != nil {
		return err
	}
	if c.Limit > 0 && c.Limit < len(ids) {
		ids = ids[:c.Limit]
	}
	c.fit(&o, src, len(ids))
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
	if c.Stats {
		writeStats(g.Stderr, out.Stats, e.Plan())
	}
	return nil
}

func (c *ScoreCmd) ids(g *Globals, src *engine.Source) ([]int32, error) {
	if c.Text != "" {
		text, err := readText(g, c.Text)
		if err != nil {
			return nil, err
		}
		return src.Encode(text, false)
	}
	if c.IDs != "-" {
		if info, err := os.Stat(c.IDs); err == nil && info.IsDir() {
			return nil, fmt.Errorf("--ids %s is a folder", c.IDs)
		}
	}
	data, err := readText(g, c.IDs)
	if err != nil {
		return nil, err
	}
	var ids []int32
	if err := json.Unmarshal([]byte(data), &ids); err != nil {
		return nil, fmt.Errorf("--ids %s: want a JSON array of token ids: %w", c.IDs, err)
	}
	return ids, nil
}

// finite is v, or nil where JSON has no word for it.
func finite(v float64) any {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return v
}
