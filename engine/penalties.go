package engine

import (
	"fmt"
	"math"
)

// Penalties change the logits of tokens before one is drawn. The zero value changes
// none.
type Penalties struct {
	// Repetition divides what is above 0 of a token that was in the prompt or has been
	// generated, and multiplies what is below (Keskar et al., 2019); 0 or 1: neither.
	Repetition float32
	// Frequency is taken off for each time that a token has been generated, Presence
	// once if it has been.
	Frequency, Presence float32
	// Bias is added to the logits of single tokens, before all others. −∞ bars one.
	Bias map[int32]float32
}

// validate refuses what makes no logit of a logit. vocab is the number of tokens.
func (p Penalties) validate(vocab int) error {
	finite := func(v float32) bool { return v-v == 0 }
	switch {
	case !finite(p.Repetition) || p.Repetition < 0:
		return fmt.Errorf("%w: repetition penalty %v: want a number above 0", ErrOptions, p.Repetition)
	case !finite(p.Frequency):
		return fmt.Errorf("%w: frequency penalty %v: want a number", ErrOptions, p.Frequency)
	case !finite(p.Presence):
		return fmt.Errorf("%w: presence penalty %v: want a number", ErrOptions, p.Presence)
	}
	for id, b := range p.Bias {
		if id < 0 || int(id) >= vocab {
			return fmt.Errorf("%w: logit bias of token %d: the vocabulary has %d", ErrOptions, id, vocab)
		}
		if !finite(b) && !math.IsInf(float64(b), -1) {
			return fmt.Errorf("%w: logit bias %v of token %d: want a number", ErrOptions, b, id)
		}
	}
	return nil
}

func (p Penalties) repeats() bool { return p.Repetition != 0 && p.Repetition != 1 }

// changes reports whether any logit may change.
func (p Penalties) changes() bool { return p.counts() || len(p.Bias) > 0 }

func (p Penalties) counts() bool { return p.repeats() || p.Frequency != 0 || p.Presence != 0 }

// past is what penalties look at of a text.
type past struct {
	Penalties
	seen      map[int32]struct{} // in the prompt or generated
	generated map[int32]int
}

func newPast(p Penalties, prompt []int32) *past {
	h := &past{Penalties: p}
	if p.counts() {
		h.generated = map[int32]int{}
	}
	if p.repeats() {
		h.seen = make(map[int32]struct{}, len(prompt))
		for _, id := range prompt {
			h.seen[id] = struct{}{}
		}
	}
	return h
}

// add notes a token that was generated.
func (h *past) add(id int32) {
	if h.generated != nil {
		h.generated[id]++
	}
	if h.seen != nil {
		h.seen[id] = struct{}{}
	}
}

// apply changes logits in place. Each token's depend on that token alone, so the
// order does not matter.
func (h *past) apply(logits []float32) {
	for id, b := range h.Bias {
		logits[id] += b
	}
	for id := range h.seen {
		if logits[id] > 0 {
			logits[id] /= h.Repetition
		} else {
			logits[id] *= h.Repetition
		}
	}
	for id, n := range h.generated {
		logits[id] -= float32(n)*h.Frequency + h.Presence
	}
}
