package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nosa/compute"
	"nosa/kv"
)

// Request asks for a continuation.
type Request struct {
	IDs       []int32
	MaxTokens int
	Sampling  compute.Sampling
	IgnoreEnd bool // go on after an end-of-text token
	// Continues says that the text goes on from the prompt without a seam, so that
	// a vocabulary which marks words by their leading blank keeps the first one.
	// An answer in a chat begins anew.
	Continues bool
	// Progress, when set, is told of the prompt's tokens as they are done.
	Progress func(done, total int)
	// Emit, when set, is given each piece of text as soon as it is whole; an error
	// of it ends the request.
	Emit func(piece string) error
	// OnToken, when set, is called for every generated token.
	OnToken func()
}

// Usage counts the tokens and time of a request.
type Usage struct {
	Prompt     int           `json:"prompt_tokens"`
	Shared     int           `json:"cached_tokens"` // of the prompt, taken over from another sequence
	Completion int           `json:"completion_tokens"`
	Prefill    time.Duration `json:"-"`
	Decode     time.Duration `json:"-"`
}

// Result is the outcome of a request.
type Result struct {
	Text   string
	Tokens []int32
	Finish string // stop: an end-of-text token; length: MaxTokens
	Usage  Usage
	Stats  kv.Stats
}

// Generate continues a prompt, one token at a time. When ctx ends it stops within
// a layer and frees all that the request held.
func (e *Engine) Generate(ctx context.Context, r Request) (*Result, error) {
	if len(r.IDs) == 0 {
		return nil, fmt.Errorf("%w: the prompt is empty and the model has no token that begins a text: give a prompt", ErrOptions)
	}
	if r.MaxTokens < 0 {
		return nil, fmt.Errorf("%w: --max-tokens %d", ErrOptions, r.MaxTokens)
	}
	if err := r.Sampling.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if err := e.checkIDs(r.IDs); err != nil {
		return nil, err
	}
	if err := e.checkLength(len(r.IDs), r.MaxTokens); err != nil {
		return nil, err
	}
	st, err := e.stream(kv.SequenceOptions{Tokens: len(r.IDs) + r.MaxTokens, Prefix: r.IDs})
	if err != nil {
		return nil, err
	}
	defer st.Close()

	out := &Result{Finish: "length", Usage: Usage{Prompt: len(r.IDs), Shared: st.Shared()}}
	start := time.Now()
	var next int32
	last := len(r.IDs) - 1
	want := last
	if e.set.OnLogits != nil {
		want = 0 // every position
	}
	err = st.feed(ctx, r.IDs[st.Len():], want, func(from, to int) error {
		if r.Progress != nil {
			r.Progress(to, len(r.IDs))
		}
		return e.logits(max(want-from, 0), to-from, func(row int, logits []float32) error {
			e.onLogits(from+row, logits)
			if from+row == last && r.MaxTokens > 0 {
				var err error
				next, err = draw(&e.sampler, logits, r.Sampling, last)
				return err
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	out.Usage.Prefill = time.Since(start)

	start = time.Now()
	text := e.newPieces(r.Emit)
	if r.Continues && text.stream != nil {
		text.stream.Prime(r.IDs)
	}
	for range r.MaxTokens {
		if !r.IgnoreEnd && e.Ends(next) {
			out.Finish = "stop"
			break
		}
		out.Tokens = append(out.Tokens, next)
		if r.OnToken != nil {
			r.OnToken()
		}
		if err := text.push(next); err != nil {
			return nil, err
		}
		if len(out.Tokens) == r.MaxTokens {
			break
		}
		if err := st.step(ctx, out.Tokens[len(out.Tokens)-1:], 0); err != nil {
			return nil, err
		}
		err := e.logits(0, 1, func(_ int, logits []float32) (err error) {
			e.onLogits(st.Len()-1, logits)
			next, err = draw(&e.sampler, logits, r.Sampling, st.Len()-1)
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	if err := text.flush(); err != nil {
		return nil, err
	}
	out.Text = text.all.String()
	out.Usage.Completion = len(out.Tokens)
	out.Usage.Decode = time.Since(start)
	out.Stats = st.Stats()
	return out, nil
}

// ErrLogits is returned when a model computes nothing that a token could be
// drawn from: its weights are damaged, or of another model.
var ErrLogits = errors.New("the model's output is not a number")

func draw(d *compute.Sampler, logits []float32, s compute.Sampling, pos int) (int32, error) {
	id := d.Sample(logits, s, pos)
	if v := logits[id]; v != v {
		return 0, fmt.Errorf("%w: after token %d: the weights are damaged, or do not belong to this config.json", ErrLogits, pos)
	}
	return id, nil
}

func (e *Engine) onLogits(pos int, logits []float32) {
	if e.set.OnLogits != nil {
		e.set.OnLogits(pos, logits)
	}
}
