package compute

import "math"

// SwiGLU sets out = silu(gate) · up, element by element; out may be gate.
func SwiGLU(out, gate, up []float32) {
	for i, g := range gate {
		out[i] = float32(float64(g) / (1 + math.Exp(-float64(g))) * float64(up[i]))
	}
}
