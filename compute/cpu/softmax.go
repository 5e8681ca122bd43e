package cpu

import "math"

// attendKernels are what Attend and ScoreBlocks are made of.
type attendKernels struct {
	// softmax continues a running softmax with the logits p·scale + bias (bias may
	// be nil): state is maximum and sum, p becomes e^(logit − maximum), and decay
	// is the factor by which what was summed before shrinks.
	softmax func(p, bias []float32, state *[2]float32, scale float32) (decay float32)

	// weigh sets acc = acc·decay + Σ p[j]·v[j·len(acc):], j ascending.
	weigh func(acc, p, v []float32, decay float32)

	// rowCodes turns rows of codes of 8 or 4 bits to float32, with a pair of minimum
	// and scale for each.
	rowCodes func(bits int, dst []float32, codes []byte, pairs []float32)
}

var attendGo = attendKernels{softmax: softmaxGo, weigh: weighGo, rowCodes: rowCodesGo}

// The portable twins of softmax_avx2_amd64.s.

var negInf = float32(math.Inf(-1))

func softmaxGo(p, bias []float32, state *[2]float32, scale float32) (decay float32) {
	before := state[0]
	top := before
	for i, x := range p {
		l := float32(x * scale)
		if bias != nil {
			l += bias[i]
		}
		p[i] = l
		top = max(top, l)
	}
	state[0] = top
	if top == negInf { // e^(−inf − 0) is 0, e^(−inf + inf) is not a number
		top = 0
	}
	var sum float32
	for i, l := range p {
		p[i] = expGo(l - top)
		sum += p[i]
	}
	decay = expGo(before - top)
	state[1] = float32(state[1]*decay) + sum
	return decay
}

func weighGo(acc, p, v []float32, decay float32) {
	for d := range acc {
		acc[d] *= decay
	}
	for _, w := range p {
		row := v[:len(acc)]
		for d, x := range row {
			acc[d] += float32(w * x)
		}
		v = v[len(acc):]
	}
}

// expGo is eˣ in float32 within 2 units in the last place (tests walk the whole
// range), for x up to 88.37, where it stays; what would not be a normal number,
// below −87.33, is 0. With n = round(x/ln 2) and r = x − n·ln 2, eˣ = 2ⁿ·eʳ, and a
// polynomial gives eʳ on |r| ≤ ln 2/2.
func expGo(x float32) float32 {
	const (
		log2e   = 1.44269502
		upper   = 0.693359375 // short enough that n·upper is exact
		lower   = -2.12194440e-4
		lowest  = -87.33655
		highest = 88.37626
	)
	if x < lowest {
		return 0
	}
	x = min(x, highest)
	if x != x {
		return x
	}
	n := float32(math.RoundToEven(float64(float32(x * log2e))))
	r := x - float32(n*upper)
	r -= float32(n * lower)
	y := float32(1.9875691500e-4)
	y = float32(y*r) + 1.3981999507e-3
	y = float32(y*r) + 8.3334519073e-3
	y = float32(y*r) + 4.1665795894e-2
	y = float32(y*r) + 1.6666665459e-1
	y = float32(y*r) + 5.0000001201e-1
	y = float32(y*float32(r*r)) + r + 1
	return float32(y * math.Float32frombits(uint32(int32(n)+127)<<23))
}
