package compute

import "math"

// Importance sets out [rows, kvHeads] to NOSA's query-independent score of each
// row's token, A[h]·softplus(delta[h]·v + bias[h]) with v the values of all KV
// heads, [rows, kvHeads·dim] (spec nosa, section 2). delta is F32 [kvHeads,
// kvHeads·dim], bias [kvHeads] or nil.
func Importance(out, v, delta, bias, a []float32) {
	heads := len(a)
	width := len(delta) / heads
	for r := 0; r*width < len(v); r++ {
		for h := range heads {
			x := dot(delta[h*width:(h+1)*width], v[r*width:(r+1)*width])
			if bias != nil {
				x += float64(bias[h])
			}
			out[r*heads+h] = float32(float64(a[h]) * softplus(x))
		}
	}
}

// softplus is log(1 + eˣ) without overflow.
func softplus(x float64) float64 {
	return max(x, 0) + math.Log1p(math.Exp(-math.Abs(x)))
}
