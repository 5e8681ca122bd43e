package compute

import "math"

// RMSNorm sets each row of out to x / √(mean(x²) + eps) · weight. Rows are
// len(weight) long, so that it serves the hidden state and single heads alike;
// out may be x.
func RMSNorm(out, x, weight []float32, eps float32) {
	n := len(weight)
	for at := 0; at < len(x); at += n {
		row := x[at : at+n]
		var sum float64
		for _, v := range row {
			sum += float64(v) * float64(v)
		}
		inv := float32(1 / math.Sqrt(sum/float64(n)+float64(eps)))
		for i, v := range row {
			out[at+i] = weight[i] * float32(v*inv)
		}
	}
}
