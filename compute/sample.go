package compute

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

// Sampling says how a token is drawn from its logits. The zero value takes the
// most likely one.
type Sampling struct {
	Temperature float32 // 0: the most likely token
	TopK        int     // 0: all
	TopP        float32 // 0 or 1: all
	MinP        float32 // 0: all; else those at least so likely, the most likely one being 1
	Seed        uint64
}

// ErrSampling is returned for settings that no distribution can be drawn by.
var ErrSampling = errors.New("sampling settings are out of range")

// Validate refuses what is negative, infinite or not a number.
func (s Sampling) Validate() error {
	switch {
	case !(s.Temperature >= 0) || math.IsInf(float64(s.Temperature), 0):
		return fmt.Errorf("%w: temperature %v, want 0 or a number above", ErrSampling, s.Temperature)
	case !(s.TopP >= 0 && s.TopP <= 1):
		return fmt.Errorf("%w: top-p %v, want 0 to 1", ErrSampling, s.TopP)
	case !(s.MinP >= 0 && s.MinP <= 1):
		return fmt.Errorf("%w: min-p %v, want 0 to 1", ErrSampling, s.MinP)
	case s.TopK < 0:
		return fmt.Errorf("%w: top-k %d, want 0 or more", ErrSampling, s.TopK)
	}
	return nil
}

// Sample draws one id from logits. Of all ids in the order of their logits, ties by
// the lower id, it keeps the first TopK, of these the fewest that have TopP of their
// weight, and of these the ones within MinP of the first. The draw depends on the
// seed and on the position of the token alone, so that it is the same in any batch.
// A logit that is not a number is never drawn, unless all are: then it is id 0.
//
// This is the definition, which sorts the vocabulary. Sampler does without.
func Sample(logits []float32, s Sampling, pos int) int32 {
	if !(s.Temperature > 0) {
		best := 0
		for i, v := range logits {
			if v > logits[best] || v == v && logits[best] != logits[best] {
				best = i
			}
		}
		return int32(best)
	}
	order := make([]int32, len(logits))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		if c := cmp.Compare(logits[b], logits[a]); c != 0 {
			return c
		}
		return cmp.Compare(a, b)
	})
	if s.TopK > 0 && s.TopK < len(order) {
		order = order[:s.TopK]
	}
	weight := make([]float64, len(order))
	var sum float64
	top := logits[order[0]]
	for i, id := range order {
		switch v := logits[id]; {
		case v == top || i == 0: // infinite ones too, whose difference is no number
			weight[i] = 1
		case v == v:
			weight[i] = math.Exp(float64(v-top) / float64(s.Temperature))
		}
		sum += weight[i]
	}
	if s.cuts() {
		weight, sum = s.cut(weight, sum)
	}
	at := uniform(s.Seed, uint64(pos)) * sum
	last := 0 // with a weight; rounding may leave a rest
	for i, w := range weight {
		if w > 0 {
			last = i
		}
		if at -= w; at < 0 {
			return order[i]
		}
	}
	return order[last]
}

// cuts reports whether TopP or MinP leaves anything out.
func (s Sampling) cuts() bool { return s.nucleus() || s.MinP > 0 }

func (s Sampling) nucleus() bool { return s.TopP > 0 && s.TopP < 1 }

// cut returns those of the weights, which descend, that TopP and MinP keep, and
// their sum. sum is that of all.
func (s Sampling) cut(weight []float64, sum float64) ([]float64, float64) {
	var have float64
	for i, w := range weight {
		if w < float64(s.MinP) {
			return weight[:i], have
		}
		have += w
		if s.nucleus() && have >= float64(s.TopP)*sum {
			return weight[:i+1], have
		}
	}
	return weight, have
}

// uniform is a number in [0, 1) that seed and counter determine: two rounds of
// the splitmix64 finaliser (Steele, Lea and Flood, 2014).
func uniform(seed, counter uint64) float64 {
	mix := func(z uint64) uint64 {
		z += 0x9e3779b97f4a7c15
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return z ^ z>>31
	}
	return float64(mix(mix(seed)^counter)>>11) / (1 << 53)
}
