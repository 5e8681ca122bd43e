package compute

import "math"

// LogProb is the logarithm of the softmax of logits at id. It is no number when
// one of the logits is none, or the largest is infinite.
func LogProb(logits []float32, id int32) float64 { return NewSoftmax(logits).LogProb(logits[id]) }

// Softmax is what all of a row's logits are divided by.
type Softmax struct {
	top float32
	log float64 // of Σ exp(v−top)
}

// NewSoftmax sums a row up.
func NewSoftmax(logits []float32) Softmax {
	top := logits[argmax(logits)]
	return Softmax{top, math.Log(sumExp(logits, top, 1))}
}

// LogProb is the logarithm of the probability of a token with this logit.
func (s Softmax) LogProb(logit float32) float64 { return float64(logit-s.top) - s.log }

// sumExp is Σ exp((v−top)·scale), in float64, where no v is above top. Each term is
// right to one part in 10¹¹; one below exp(−700) is 0.
func sumExp(logits []float32, top float32, scale float64) float64 {
	var s0, s1, s2, s3 float64
	i := 0
	for ; i+4 <= len(logits); i += 4 {
		v := logits[i : i+4 : i+4]
		s0 += expNeg(float64(v[0]-top) * scale)
		s1 += expNeg(float64(v[1]-top) * scale)
		s2 += expNeg(float64(v[2]-top) * scale)
		s3 += expNeg(float64(v[3]-top) * scale)
	}
	for ; i < len(logits); i++ {
		s0 += expNeg(float64(logits[i]-top) * scale)
	}
	return (s0 + s1) + (s2 + s3)
}

// sumNumbers is sumExp over those that are numbers.
func sumNumbers(logits []float32, top float32, scale float64) (sum float64) {
	for _, v := range logits {
		if v == v {
			sum += expNeg(float64(v-top) * scale)
		}
	}
	return sum
}

// powers is 2^(i/1024), as bits.
var powers = func() (p [1024]uint64) {
	for i := range p {
		p[i] = math.Float64bits(math.Exp2(float64(i) / 1024))
	}
	return p
}()

// expNeg is exp(x) for x ≤ 0, and no number for none: a power of two by table, times the first terms of the
// series for the rest, which is at most ln 2/2048. It is three times as fast as
// math.Exp and so small that it is inlined.
func expNeg(x float64) float64 {
	if x <= -700 {
		return 0
	}
	const shift = 3 << 51 // leaves the nearest integer in the lowest bits
	t := x*(1024*math.Log2E) + shift
	r := x - (t-shift)*(math.Ln2/1024)
	n := math.Float64bits(t)
	return math.Float64frombits(powers[n&1023]+n>>10<<52) * (1 + r*(1+r*0.5))
}
