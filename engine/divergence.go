package engine

import (
	"fmt"
	"math"
	"slices"

	"nosa/compute"
)

// Divergence is how far a model's predictions are from a reference's, over the positions of
// a text.
type Divergence struct {
	kl     []float64
	agreed int
}

// Add takes the logits of one position, of the same vocabulary.
func (d *Divergence) Add(reference, logits []float32) error {
	if len(reference) != len(logits) {
		return fmt.Errorf("%w: logits of %d tokens, the reference has %d", ErrOptions, len(logits), len(reference))
	}
	p, q := compute.NewSoftmax(reference), compute.NewSoftmax(logits)
	sum := 0.0
	for i, r := range reference {
		if lp := p.LogProb(r); lp > -700 {
			sum += math.Exp(lp) * (lp - q.LogProb(logits[i]))
		}
	}
	d.kl = append(d.kl, sum)
	if likeliest(reference) == likeliest(logits) {
		d.agreed++
	}
	return nil
}

// likeliest is the first of the tokens with the largest logit.
func likeliest(logits []float32) int {
	best := 0
	for i, v := range logits {
		if v > logits[best] {
			best = i
		}
	}
	return best
}

// DivergenceSummary is what a Divergence comes to.
type DivergenceSummary struct {
	Tokens int     `json:"tokens"`
	KL     float64 `json:"kl"`     // mean of Σ p·ln(p/q), p the reference's, in nats
	KL99   float64 `json:"kl_p99"` // that one position in a hundred exceeds
	KLMax  float64 `json:"kl_max"`
	Agree  float64 `json:"top1_agreement"` // share of the positions where both have the same likeliest token
}

// Summary is that of the positions so far.
func (d *Divergence) Summary() DivergenceSummary {
	s := DivergenceSummary{Tokens: len(d.kl)}
	if s.Tokens == 0 {
		return s
	}
	sorted := slices.Sorted(slices.Values(d.kl))
	for _, v := range sorted {
		s.KL += v / float64(len(sorted))
	}
	s.KL99, s.KLMax = sorted[(len(sorted)-1)*99/100], sorted[len(sorted)-1]
	s.Agree = float64(d.agreed) / float64(len(sorted))
	return s
}
