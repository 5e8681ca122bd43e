package train

import (
	"math"

	"nosa/compute"
)

// zeroGrads clears what the last step added up.
func (p *Parameters) zeroGrads() {
	for _, b := range p.banks {
		if b.grads.None() {
			continue
		}
		p.dev.Zero(b.grads)
	}
}

// norm is that of the gradients of all that is trained, together.
func (p *Parameters) norm() float64 {
	var sum float64
	for _, b := range p.banks {
		if b.trained {
			sum += p.dev.SquaredNorm(b.grads)
		}
	}
	return math.Sqrt(sum)
}

// factor multiplies the sum of gradients of n targets, whose mean has this norm: to the mean, and
// no longer than clip.
func (o *OptimiserConfig) factor(n, norm float64) float64 {
	if o.Clip > 0 && norm > o.Clip {
		return 1 / n * (o.Clip / norm)
	}
	return 1 / n
}

// update is one step of AdamW at a learning rate; by multiplies the gradients, and step counts
// from 1. Working copies follow.
func (p *Parameters) update(o *OptimiserConfig, rate, by float64, step int) {
	for _, b := range p.banks {
		if !b.trained {
			continue
		}
		p.dev.AdamW(b.values, b.means, b.squares, b.grads, compute.AdamWStep{
			Rate: float32(rate * b.rate), Beta1: float32(o.Beta1), Beta2: float32(o.Beta2), Eps: float32(o.Eps),
			Decay: float32(b.decay), Grad: float32(by), Step: step,
		})
		if b.works.Type != b.values.Type {
			p.dev.Copy(b.works, b.values)
		}
	}
}
