package compute

import "math"

// AdamWStep is one step of the optimiser.
type AdamWStep struct {
	Rate, Beta1, Beta2, Eps, Decay float32
	Grad                           float32 // multiplies the gradient: of clipping, and of accumulation
	Step                           int     // from 1
}

// AdamW moves weights against their gradient, with decay apart from it (Loshchilov and
// Hutter, Decoupled weight decay regularization, algorithm 2, as PyTorch has it). With g =
// Grad·grad, and t the step:
//
//	m ← β₁·m + (1 − β₁)·g
//	v ← β₂·v + (1 − β₂)·g²
//	w ← w·(1 − rate·decay) − rate · m/(1 − β₁ᵗ) / (√(v/(1 − β₂ᵗ)) + eps)
func AdamW(weight, m, v, grad []float32, step AdamWStep) {
	b1, b2 := float64(step.Beta1), float64(step.Beta2)
	keep := 1 - float64(step.Rate)*float64(step.Decay)
	first, second := step.corrections()
	for i, d := range grad {
		g := float64(d) * float64(step.Grad)
		m1 := b1*float64(m[i]) + (1-b1)*g
		v1 := b2*float64(v[i]) + (1-b2)*g*g
		weight[i] = float32(float64(weight[i])*keep - float64(step.Rate)*(m1/first)/(math.Sqrt(v1/second)+float64(step.Eps)))
		m[i], v[i] = float32(m1), float32(v1)
	}
}

// corrections are 1 − β₁ᵗ and 1 − β₂ᵗ: what m and v, which begin at 0, still lack.
func (s AdamWStep) corrections() (first, second float64) {
	t := float64(s.Step)
	return 1 - math.Pow(float64(s.Beta1), t), 1 - math.Pow(float64(s.Beta2), t)
}

// SquaredNorm is Σx².
func SquaredNorm(x []float32) float64 { return dot(x, x) }
