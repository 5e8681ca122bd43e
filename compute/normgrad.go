package compute

import "math"

// RMSNormGrad is the gradient of RMSNorm. With u = x/√(mean(x²) + eps) and g = dy·weight it
// sets each row of dx to (g − u·mean(g·u)) / √(mean(x²) + eps), or adds to it, and adds dy·u,
// summed over the rows, to dweight. Rows are len(weight) long; dx may be dy.
func RMSNormGrad(dx, dweight, dy, x, weight []float32, eps float32, add bool) {
	n := len(weight)
	sum := make([]float64, n)
	for at := 0; at < len(x); at += n {
		row, g := x[at:at+n], dy[at:at+n]
		var squares, along float64
		for i, v := range row {
			squares += float64(v) * float64(v)
			along += float64(g[i]) * float64(weight[i]) * float64(v)
		}
		inv := 1 / math.Sqrt(squares/float64(n)+float64(eps))
		along *= inv * inv / float64(n) // mean(g·u)/√…
		for i, v := range row {
			d := inv * (float64(g[i])*float64(weight[i]) - float64(v)*along)
			sum[i] += float64(g[i]) * float64(v) * inv
			if add {
				d += float64(dx[at+i])
			}
			dx[at+i] = float32(d)
		}
	}
	addTo(dweight, sum)
}
