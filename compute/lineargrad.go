package compute

// LinearInputGrad sets dx [rows, k] = dy [rows, n] · weight [n, k], the gradient of Linear's
// input, or adds to it. weight is F32.
func LinearInputGrad(dx, dy []float32, weight Tensor, add bool) {
	n, k := weight.Dims[0], weight.Stride()
	w, sum := weight.F32(), make([]float64, k)
	for r := range len(dy) / n {
		clear(sum)
		for i, g := range dy[r*n : (r+1)*n] {
			addTimes(sum, w[i*k:(i+1)*k], g)
		}
		for j, v := range sum {
			if add {
				v += float64(dx[r*k+j])
			}
			dx[r*k+j] = float32(v)
		}
	}
}

// LinearWeightGrad adds dyᵀ·x to dweight [n, k] and the sum of dy's rows to dbias [n] or nil:
// the gradients of Linear's weight and bias, with dy [rows, n] and x [rows, k].
func LinearWeightGrad(dweight Tensor, dbias, dy, x []float32) {
	n, k := dweight.Dims[0], dweight.Stride()
	dw, sum := dweight.F32(), make([]float64, k)
	for i := range n {
		clear(sum)
		var bias float64
		for r := range len(dy) / n {
			g := dy[r*n+i]
			addTimes(sum, x[r*k:(r+1)*k], g)
			bias += float64(g)
		}
		addTo(dw[i*k:(i+1)*k], sum)
		if dbias != nil {
			dbias[i] = float32(float64(dbias[i]) + bias)
		}
	}
}

// addTimes adds x·scale to sum.
func addTimes(sum []float64, x []float32, scale float32) {
	for i, v := range x {
		sum[i] += float64(v) * float64(scale)
	}
}

// addTo adds a sum to what is there.
func addTo(x []float32, sum []float64) {
	for i, v := range sum {
		x[i] = float32(float64(x[i]) + v)
	}
}
