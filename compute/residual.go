package compute

// AddScaled adds scale·y to x: a residual branch joining the stream.
func AddScaled(x, y []float32, scale float32) {
	for i, v := range y {
		x[i] += float32(v * scale)
	}
}

// Scale multiplies x in place.
func Scale(x []float32, scale float32) {
	for i := range x {
		x[i] *= scale
	}
}
