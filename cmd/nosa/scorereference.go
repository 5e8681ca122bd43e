package main

import (
	"context"
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/engine"
)

// reference is a model whose predictions another's are held against. It runs on the CPU
// beside the other, a few positions ahead of it.
type reference struct {
	e      *engine.Engine
	dev    interface{ Close() error }
	rows   chan []float32 // logits by position; closed at the end
	spent  chan []float32 // rows that can be written over
	cancel context.CancelFunc

	scores *engine.Scores // when rows is closed
	err    error          // likewise

	divergence engine.Divergence
}

// ahead is how many positions a reference runs ahead.
const ahead = 64

// openReference begins to score ids by a model as exactly as it is had here, with the
// positions of the other.
func (c *ScoreCmd) openReference(ctx context.Context, g *Globals, ids []int32, of engine.Options) (_ *reference, err error) {
	f := ModelFlags{Model: c.Reference, Device: "cpu", Threads: c.Threads, Numerics: "f32"}
	o := engine.NewOptions()
	o.Attention, o.KVType, o.RopeType, o.RopeBy, o.Context = "full", compute.KVF32, of.RopeType, of.RopeBy, c.Context
	src, err := f.source()
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeSource(src)) }()
	if err := f.fit(&o, src, len(ids), 0); err != nil {
		return nil, err
	}
	dev, err := f.openDevice(g)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	r := &reference{dev: dev, rows: make(chan []float32, ahead), spent: make(chan []float32, ahead), cancel: cancel}
	o.OnLogits = func(_ int, logits []float32) {
		var row []float32
		select {
		case row = <-r.spent:
		default:
		}
		select {
		case r.rows <- append(row[:0], logits...):
		case <-ctx.Done():
		}
	}
	if r.e, err = engine.Open(dev, src, o, g.Log); err != nil {
		cancel()
		return nil, errors.Join(err, dev.Close())
	}
	src = nil
	go func() {
		defer close(r.rows)
		r.scores, r.err = r.e.Score(ctx, ids, nil)
	}()
	return r, nil
}

// compare takes the logits of the next position.
func (r *reference) compare(logits []float32) error {
	row, ok := <-r.rows
	if !ok {
		return fmt.Errorf("--reference: %w", r.err)
	}
	err := r.divergence.Add(row, logits)
	select {
	case r.spent <- row:
	default:
	}
	return err
}

// close ends it.
func (r *reference) close() error {
	r.cancel()
	for range r.rows {
	}
	return errors.Join(r.e.Close(), r.dev.Close())
}

// referenceJSON is what is said of it.
type referenceJSON struct {
	Model      string `json:"model"`
	Perplexity any    `json:"perplexity"`
	engine.DivergenceSummary
}

// summary waits for the reference's end.
func (r *reference) summary(model string) (referenceJSON, error) {
	for range r.rows {
	}
	if r.err != nil {
		return referenceJSON{}, fmt.Errorf("--reference: %w", r.err)
	}
	return referenceJSON{model, finite(r.scores.Perplexity), r.divergence.Summary()}, nil
}
