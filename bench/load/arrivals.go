package load

import (
	"math"
	"math/rand/v2"
	"time"
)

// mostWait bounds the time of an arrival, so that it is one that a Duration can hold.
const mostWait = 1e9 // seconds

// arrivals are the times of n questions after the beginning, at rate a second. Intervals
// are independent, of a gamma distribution with the shape burstiness and the mean 1/rate:
// 1 is a Poisson process, less comes in bursts, more is more even.
func arrivals(n int, rate, burstiness float64, r *rand.Rand) []time.Duration {
	at, times := 0.0, make([]time.Duration, n)
	for i := range times {
		if burstiness == 1 {
			at += r.ExpFloat64() / rate
		} else {
			at += gamma(burstiness, r) / (burstiness * rate)
		}
		times[i] = time.Duration(min(at, mostWait) * float64(time.Second))
	}
	return times
}

// gamma draws from the gamma distribution of a shape and the scale 1: Marsaglia and
// Tsang, A Simple Method for Generating Gamma Variables (2000). A shape below 1 is drawn
// from the one above by their section 6.
func gamma(shape float64, r *rand.Rand) float64 {
	if shape < 1 {
		return gamma(shape+1, r) * math.Pow(1-r.Float64(), 1/shape)
	}
	d := shape - 1.0/3
	c := 1 / math.Sqrt(9*d)
	for {
		x := r.NormFloat64()
		v := 1 + c*x
		if v <= 0 {
			continue
		}
		v = v * v * v
		if u := 1 - r.Float64(); math.Log(u) < x*x/2+d*(1-v+math.Log(v)) {
			return d * v
		}
	}
}
