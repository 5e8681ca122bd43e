package compute

import "math"

// Rope is a rotary position embedding, reduced to what every variant comes down
// to: an inverse frequency per rotated pair and one factor on the result.
type Rope struct {
	Inv         []float32 // 1/period of pair i, in radians per token
	Factor      float32   // multiplies cos and sin (yarn and longrope; else 1)
	Interleaved bool      // pairs are neighbours (2i, 2i+1), as llama's GGUF files are laid out; else halves (i, i+n)
}

// Angles sets out [rows, 2, pairs] to the cosines and then the sines of each
// row's position. The angle is the float32 product that checkpoints are trained
// with, also where it has lost digits.
func Angles(out []float32, pos []int32, rope *Rope) {
	n := len(rope.Inv)
	for r, p := range pos {
		row := out[r*2*n : (r+1)*2*n]
		for i, inv := range rope.Inv {
			sin, cos := math.Sincos(float64(float32(p) * inv))
			row[i] = float32(cos) * rope.Factor
			row[n+i] = float32(sin) * rope.Factor
		}
	}
}

// Rotate turns each head of x [rows, heads, dim] in place by its row's angles
// [rows, 2, pairs]; channels beyond the rotated pairs stay.
func Rotate(x, angles []float32, heads, dim int, rope *Rope) {
	n := len(rope.Inv)
	for r := 0; r*2*n < len(angles); r++ {
		cos, sin := angles[r*2*n:r*2*n+n], angles[r*2*n+n:(r+1)*2*n]
		for h := range heads {
			v := x[(r*heads+h)*dim : (r*heads+h+1)*dim]
			for i := range n {
				a, b := i, i+n
				if rope.Interleaved {
					a, b = 2*i, 2*i+1
				}
				va, vb := v[a], v[b]
				v[a] = float32(va*cos[i]) - float32(vb*sin[i])
				v[b] = float32(vb*cos[i]) + float32(va*sin[i])
			}
		}
	}
}
