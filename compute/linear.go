package compute

import "nosa/dtype"

// Linear sets out [rows, n] = x [rows, k] · weightᵀ + bias, weight [n, k] in any
// format, bias F32 [n] or nil. Each element is one sum over k, whatever runs
// beside it.
func Linear(out, x []float32, weight Tensor, bias []float32) {
	n, k := weight.Dims[0], weight.Stride()
	rows := len(x) / k
	w := make([]float32, k)
	for i := range n {
		dtype.Decode(weight.Type, w, weight.Rows(i, i+1).Data)
		for r := range rows {
			sum := dot(x[r*k:(r+1)*k], w)
			if bias != nil {
				sum += float64(bias[i])
			}
			out[r*n+i] = float32(sum)
		}
	}
}

func dot(a, b []float32) float64 {
	var sum float64
	for i, v := range a {
		sum += float64(v) * float64(b[i])
	}
	return sum
}
