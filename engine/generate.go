package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"nosa/compute"
	"nosa/kv"
)

// Request asks for a continuation.
type Request struct {
	IDs       []int32
	MaxTokens int
	Sampling  compute.Sampling
	Penalties Penalties
	Stop      []string // strings that end the answer, which does not have them
	IgnoreEnd bool     // go on after an end-of-text token
	// LogProbs asks for the log-probabilities of the generated tokens, and of the
	// TopLogProbs likeliest ones in each place.
	LogProbs    bool
	TopLogProbs int
	// Continues says that the text goes on from the prompt without a seam, so that
	// a vocabulary which marks words by their leading blank keeps the first one.
	// An answer in a chat begins anew.
	Continues bool
	// Salt keeps the request's blocks from requests with another one.
	Salt []byte

	// Progress, when set, is told of the prompt's tokens as they are done.
	Progress func(done, total int)
	// Emit, when set, is given each piece of text as soon as it is certain; an error
	// of it ends the request.
	Emit func(piece string) error
	// OnToken, when set, is called for every generated token.
	OnToken func()
}

// MaxTop is the most tokens whose log-probabilities can be asked for in one place.
const MaxTop = 20

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
	Finish string // FinishStop or FinishLength
	Usage  Usage
	Stats  kv.Stats
}

// check refuses a request that can not be.
func (e *Engine) check(r *Request) error {
	if len(r.IDs) == 0 {
		return fmt.Errorf("%w: the prompt is empty and the model has no token that begins a text: give a prompt", ErrOptions)
	}
	if r.MaxTokens < 0 {
		return fmt.Errorf("%w: --max-tokens %d", ErrOptions, r.MaxTokens)
	}
	if r.TopLogProbs < 0 || r.TopLogProbs > MaxTop || r.TopLogProbs > 0 && !r.LogProbs {
		return fmt.Errorf("%w: log-probabilities of %d tokens in each place: want %d at most, and those of the tokens themselves", ErrOptions, r.TopLogProbs, MaxTop)
	}
	if err := r.Sampling.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrOptions, err)
	}
	if err := r.Penalties.validate(e.model.Vocab); err != nil {
		return err
	}
	if err := checkStops(r.Stop); err != nil {
		return err
	}
	if err := e.checkIDs(r.IDs); err != nil {
		return err
	}
	return e.checkLength(len(r.IDs), r.MaxTokens)
}

// Generate continues a prompt, one token at a time. When ctx ends it stops within
// a layer and frees all that the request held.
func (e *Engine) Generate(ctx context.Context, r Request) (*Result, error) {
	if err := e.check(&r); err != nil {
		return nil, err
	}
	st, err := e.stream(kv.SequenceOptions{Tokens: len(r.IDs) + r.MaxTokens, Prefix: r.IDs, Salt: r.Salt}, r.IDs)
	if err != nil {
		return nil, err
	}
	defer st.Close()

	out := &Result{Usage: Usage{Prompt: len(r.IDs), Shared: st.Shared()}}
	start := time.Now()
	c := e.newChoice(&r, r.Sampling.Seed)
	var all strings.Builder
	// step takes what follows position pos.
	step := func(s said, pos int) error {
		t, text, err := c.take(s, pos)
		if err != nil {
			return err
		}
		if c.tokens > len(out.Tokens) {
			out.Tokens = append(out.Tokens, t.ID)
			if r.OnToken != nil {
				r.OnToken()
			}
		}
		all.WriteString(text)
		if text != "" && r.Emit != nil {
			return r.Emit(text)
		}
		return nil
	}
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
			if from+row == last && c.finish == "" {
				return step(said{v: logits}, last)
			}
			return nil
		})
	})
	if err != nil {
		return nil, err
	}
	out.Usage.Prefill = time.Since(start)

	start = time.Now()
	for c.finish == "" {
		next := Part{IDs: out.Tokens[len(out.Tokens)-1:], Want: 1}
		if e.set.OnLogits == nil { // which is shown every row
			next.choice = c
		}
		if err := st.step(ctx, next); err != nil {
			return nil, err
		}
		if err := e.drawLeft(); err != nil {
			return nil, err
		}
		if alone := &e.riders[0]; alone.drawn {
			err = step(said{token: alone.token, drawn: true}, st.Len()-1)
		} else {
			err = e.logits(0, 1, func(_ int, logits []float32) error {
				e.onLogits(st.Len()-1, logits)
				return step(said{v: logits}, st.Len()-1)
			})
		}
		if err != nil {
			return nil, err
		}
	}
	out.Text, out.Finish = all.String(), c.finish
	out.Usage.Completion = len(out.Tokens)
	out.Usage.Decode = time.Since(start)
	out.Stats = st.Stats()
	return out, nil
}

func (e *Engine) onLogits(pos int, logits []float32) {
	if e.set.OnLogits != nil {
		e.set.OnLogits(pos, logits)
	}
}
