package compute

// RotateGrad turns the gradient of Rotate's result, dx [rows, heads, dim], in place into that
// of its input: by its row's angles [rows, 2, pairs] the other way round. Where cosines and
// sines have a factor, so has the gradient.
func RotateGrad(dx, angles []float32, heads, dim int, rope *Rope) {
	n := len(rope.Inv)
	back := make([]float32, 2*n)
	for r := 0; r*2*n < len(angles); r++ {
		copy(back, angles[r*2*n:(r+1)*2*n])
		Scale(back[n:], -1)
		Rotate(dx[r*heads*dim:(r+1)*heads*dim], back, heads, dim, rope)
	}
}
