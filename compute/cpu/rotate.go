package cpu

// rotateGo is the twin of the kernels in rotate_amd64.s.
func rotateGo(row, cos, sin []float32, heads, dim int, interleaved bool) {
	for h := range heads {
		v := row[h*dim:][:dim]
		if interleaved {
			rotatePairsGo(v, cos, sin)
		} else {
			rotateHalvesGo(v, v[len(cos):], cos, sin)
		}
	}
}

// rotateHalvesGo turns the elements of a with those of b.
func rotateHalvesGo(a, b, cos, sin []float32) {
	a, b, sin = a[:len(cos)], b[:len(cos)], sin[:len(cos)]
	for i, c := range cos {
		x, y, s := a[i], b[i], sin[i]
		a[i] = float32(x*c) - float32(y*s)
		b[i] = float32(y*c) + float32(x*s)
	}
}

// rotatePairsGo turns the elements of v with their neighbours.
func rotatePairsGo(v, cos, sin []float32) {
	v, sin = v[:2*len(cos)], sin[:len(cos)]
	for i, c := range cos {
		x, y, s := v[2*i], v[2*i+1], sin[i]
		v[2*i] = float32(x*c) - float32(y*s)
		v[2*i+1] = float32(y*c) + float32(x*s)
	}
}
