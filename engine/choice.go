package engine

import (
	"errors"
	"fmt"

	"nosa/compute"
	"nosa/tokenizer"
)

// Token is one that was generated, or one of a prompt.
type Token struct {
	ID int32
	// LogProb is the natural logarithm of its probability after what is before it,
	// before penalties, temperature and what else leads the draw; 0 if it was not asked
	// for, NaN for a prompt's first token.
	LogProb float64
	Top     []TokenProb // the likeliest ones there
}

// TokenProb is a token that might have been.
type TokenProb struct {
	ID      int32
	LogProb float64
}

// Why a continuation has ended.
const (
	FinishStop   = "stop"   // an end-of-text token, or a stop string
	FinishLength = "length" // as many tokens as were asked for
)

// ErrLogits is returned when a model computes nothing that a token could be
// drawn from: its weights are damaged, or of another model.
var ErrLogits = errors.New("the model's output is not a number")

// choice is one continuation of a prompt, as far as it has come.
type choice struct {
	e    *Engine
	r    *Request
	past *past
	stop *stops
	text *tokenizer.Stream // nil: the model has no tokenizer

	sampling compute.Sampling // with its own seed

	tokens int    // generated so far
	finish string // why there will be no more; empty: there will
}

// newChoice is a continuation that draws with a seed of its own.
func (e *Engine) newChoice(r *Request, seed uint64) *choice {
	c := &choice{e: e, r: r, past: newPast(r.Penalties, r.IDs), stop: newStops(r.Stop), sampling: r.Sampling}
	c.sampling.Seed = seed
	if e.Tokenizer != nil {
		c.text = e.Tokenizer.NewStream(true)
		if r.Continues {
			c.text.Prime(r.IDs)
		}
	}
	if r.MaxTokens == 0 {
		c.finish = FinishLength
	}
	return c
}

// asks reports whether draws are all that logits are wanted for, as they are.
func (c *choice) asks() bool {
	return !c.r.LogProbs && !c.r.Penalties.changes()
}

// take takes the token that follows position pos, and draws it if that has not been done. It
// is returned with the text that is certain with it. A token that ends the text is not
// counted: then finish is set.
func (c *choice) take(s said, pos int) (t Token, text string, err error) {
	if t = s.token; !s.drawn {
		t, err = c.draw(c.e.drawer(0), s.v, pos)
	}
	if err != nil {
		return Token{}, "", err
	}
	text = c.add(t.ID)
	return t, text, nil
}

// draw draws the token that follows position pos from its logits, which it may change.
func (c *choice) draw(d *drawer, logits []float32, pos int) (t Token, err error) {
	r := c.r
	var softmax compute.Softmax
	if r.LogProbs {
		softmax = compute.NewSoftmax(logits)
		t.Top = topLogProbs(&d.sampler, softmax, logits, r.TopLogProbs)
	}
	raw := logits
	if r.LogProbs && r.Penalties.changes() {
		raw = append(d.raw[:0], logits...)
		d.raw = raw
	}
	c.past.apply(logits)
	if t.ID, err = draw(&d.sampler, logits, c.sampling, pos); err != nil {
		return Token{}, err
	}
	if r.LogProbs {
		t.LogProb = softmax.LogProb(raw[t.ID])
	}
	return t, nil
}

// add appends a token, or ends the text with it, and returns the text that is certain then.
func (c *choice) add(id int32) (text string) {
	if !c.r.IgnoreEnd && c.e.Ends(id) {
		c.finish = FinishStop
		return c.end()
	}
	c.tokens++
	c.past.add(id)
	if c.text != nil {
		var found string
		if text, found = c.stop.push(c.text.Push(id)); found != "" {
			c.finish = FinishStop
			return text
		}
	}
	if c.tokens == c.r.MaxTokens {
		c.finish = FinishLength
		text += c.end()
	}
	return text
}

// end returns the text that was held back.
func (c *choice) end() string {
	if c.text == nil {
		return ""
	}
	text, found := c.stop.push(c.text.Flush())
	if found == "" {
		text += c.stop.flush()
	}
	return text
}

// topLogProbs is the n likeliest tokens.
func topLogProbs(d *compute.Sampler, s compute.Softmax, logits []float32, n int) []TokenProb {
	if n == 0 {
		return nil
	}
	var buf [32]int32
	top := make([]TokenProb, 0, n)
	for _, id := range d.Best(buf[:0], logits, n) {
		top = append(top, TokenProb{id, s.LogProb(logits[id])})
	}
	return top
}

func draw(d *compute.Sampler, logits []float32, s compute.Sampling, pos int) (int32, error) {
	id := d.Sample(logits, s, pos)
	if v := logits[id]; v != v {
		return 0, fmt.Errorf("%w: after token %d: the weights are damaged, or do not belong to this config.json", ErrLogits, pos)
	}
	return id, nil
}
