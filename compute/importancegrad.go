package compute

import "math"

// ImportanceGrad is the gradient of Importance. With z = delta[h]·v + bias[h] of a row, s =
// A[h]·softplus(z), and so (spec nosa, sections 2 and 5)
//
//	∂s/∂A = softplus(z)    g = ds·∂s/∂z = ds·A[h]·σ(z)    σ(z) = 1/(1 + e^−z)
//
// it adds, with ds [rows, kvHeads] and v [rows, kvHeads·dim],
//
//	to dv [rows, kvHeads·dim]         Σ over heads of g·delta[h]
//	to ddelta [kvHeads, kvHeads·dim]  Σ over rows of g·v
//	to dbias [kvHeads]                Σ over rows of g; nil where there is no bias
//	to da [kvHeads]                   Σ over rows of ds·softplus(z)
func ImportanceGrad(dv, ddelta, dbias, da, ds, v, delta, bias, a []float32) {
	heads := len(a)
	width := len(delta) / heads
	deltas, biases, as := make([]float64, len(delta)), make([]float64, heads), make([]float64, heads)
	row := make([]float64, width)
	for r := 0; r*width < len(v); r++ {
		clear(row)
		x := v[r*width : (r+1)*width]
		for h := range heads {
			z := dot(delta[h*width:(h+1)*width], x)
			if bias != nil {
				z += float64(bias[h])
			}
			d := float64(ds[r*heads+h])
			g := d * float64(a[h]) / (1 + math.Exp(-z))
			for i, y := range delta[h*width : (h+1)*width] {
				row[i] += g * float64(y)
				deltas[h*width+i] += g * float64(x[i])
			}
			biases[h] += g
			as[h] += d * softplus(z)
		}
		addTo(dv[r*width:(r+1)*width], row)
	}
	addTo(ddelta, deltas)
	if dbias != nil {
		addTo(dbias, biases)
	}
	addTo(da, as)
}
