package compute

import "math"

// SwiGLUGrad is the gradient of SwiGLU, element by element: with σ = 1/(1 + e^−gate) it sets
// dup = dy·gate·σ and dgate = dy·up·σ·(1 + gate·(1 − σ)). dgate may be gate, and dup may be up.
func SwiGLUGrad(dgate, dup, dy, gate, up []float32) {
	for i, d := range dy {
		g, u := float64(gate[i]), float64(up[i])
		s := 1 / (1 + math.Exp(-g))
		dup[i] = float32(float64(d) * g * s)
		dgate[i] = float32(float64(d) * u * s * (1 + g*(1-s)))
	}
}
