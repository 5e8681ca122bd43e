package cpu

import "nosa/dtype"

// linearKernels are what Linear and Embed are made of.
type linearKernels struct {
	// dot3 sets out[r·os+i] = x_r · w[i·ws:] for three rows of equal length and i
	// below n; dot1 does so for one row, with the same bits.
	dot3 func(out []float32, os int, x0, x1, x2, w []float32, ws, n int)
	dot1 func(out, x, w []float32, ws, n int)

	few  streamKernels // rows
	many panelKernels

	// expand is dtype.Decode, bit for bit except for the payloads of NaNs.
	expand func(t dtype.Type, dst []float32, src []byte)
}

var linearGo = linearKernels{dot3: dot3Go, dot1: dot1Go, few: streamsGo, expand: dtype.Decode}

// The portable twins of dot_avx2_amd64.s. Every product is one call of dotGo, so
// that its bits cannot depend on the tile that it lies in.

func dot3Go(out []float32, os int, x0, x1, x2, w []float32, ws, n int) {
	for i := range n {
		row := w[i*ws : i*ws+len(x0)]
		out[i] = dotGo(x0, row)
		out[os+i] = dotGo(x1, row)
		out[2*os+i] = dotGo(x2, row)
	}
}

func dot1Go(out, x, w []float32, ws, n int) {
	for i := range n {
		out[i] = dotGo(x, w[i*ws:i*ws+len(x)])
	}
}

// dotGo sums in eight lanes, as the assembly does. The conversions forbid fusing
// a product with its sum, so that every processor gives the same bits.
func dotGo(a, b []float32) float32 {
	b = b[:len(a)]
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 {
		x, y := a[:8:8], b[:8:8]
		s0 += float32(x[0] * y[0])
		s1 += float32(x[1] * y[1])
		s2 += float32(x[2] * y[2])
		s3 += float32(x[3] * y[3])
		s4 += float32(x[4] * y[4])
		s5 += float32(x[5] * y[5])
		s6 += float32(x[6] * y[6])
		s7 += float32(x[7] * y[7])
		a, b = a[8:], b[8:]
	}
	var rest float32
	for i, v := range a {
		rest += float32(v * b[i])
	}
	return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7)) + rest
}
