package cpu

import (
	"math"
	"unsafe"
)

// softRowsMost is the rows that a softmax continues together.
const softRowsMost = 4

// softRows continues the running softmax of a few rows over the same keys, of one
// query each: with l = p·scale + bias the maximum takes in l, p becomes
// e^(l − maximum), decay is the factor by which what came before shrinks, and
// sum = sum·decay + Σp. The assembly reads the fields by their names.
type softRows struct {
	p     *float32 // [rows, ld]; rows have room for n rounded up to 64
	ld    int
	n     int      // keys, at least 1
	bias  *float32 // [n], or nil
	scale float32
	decay [softRowsMost]float32
	state [softRowsMost]*[2]float32 // maximum and sum
}

// softmaxGo is the twin of the assembly.
func softmaxGo(s *softRows, m int) {
	var bias []float32
	if s.bias != nil {
		bias = unsafe.Slice(s.bias, s.n)
	}
	for i := range m {
		p := unsafe.Slice((*float32)(unsafe.Add(unsafe.Pointer(s.p), 4*i*s.ld)), s.n)
		s.decay[i] = softmaxRowGo(p, bias, s.state[i], s.scale)
	}
}

var negInf = float32(math.Inf(-1))

func softmaxRowGo(p, bias []float32, state *[2]float32, scale float32) (decay float32) {
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
