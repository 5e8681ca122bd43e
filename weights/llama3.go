package weights

import "math"

// llama3Scaling turns the ready-made factors of a GGUF (rope_freqs) into the parameters of Llama 3's rope scaling.
// transformers computes, for a frequency of wavelength l,
//
//	s = (original/l - low) / (high - low), cut to [0, 1]        factor = 1 / ((1-s)/f + s)
//
// so f is the largest factor, and between the ends s is a line over 1/l. A line gives two numbers for the three
// original, low and high, and only their ratios matter: low is 1 in all published models, which settles it. When the
// factors are not of this form the list alone is returned, under rope_type default. In both cases rope_freq_factors
// holds the list itself, which the model room prefers.
func llama3Scaling(config map[string]any, divisors []float32) map[string]any {
	plain := map[string]any{"rope_type": "default", "rope_freq_factors": divisors}
	number, ok := config["rope_theta"].(interface{ Float64() (float64, error) })
	if !ok {
		return plain
	}
	theta, err := number.Float64()
	if err != nil || !(theta > 1) || len(divisors) < 2 {
		return plain
	}
	var factor float64
	for _, d := range divisors {
		factor = max(factor, float64(d))
	}
	// Points strictly between the ends; the first and the last are the farthest apart.
	wave := func(i int) float64 { return 2 * math.Pi * math.Pow(theta, float64(i)/float64(len(divisors))) }
	first, last := -1, -1
	smooth := func(i int) float64 { return (1/float64(divisors[i]) - 1/factor) / (1 - 1/factor) }
	for i, d := range divisors {
		if float64(d) > 1.0001 && float64(d) < factor*0.9999 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if !(factor > 1) || first == last {
		return plain
	}
	slope := (smooth(first) - smooth(last)) / (1/wave(first) - 1/wave(last))
	low := 1.0
	high := 1 + 1/(slope/wave(first)-smooth(first))
	original := slope * (high - low)
	high, original = math.Round(high*100)/100, math.Round(original)
	for i, d := range divisors {
		s := min(1, max(0, (original/wave(i)-low)/(high-low)))
		if want := 1 / ((1-s)/factor + s); !(math.Abs(want/float64(d)-1) < 1e-3) {
			return plain
		}
	}
	return map[string]any{
		"rope_type": "llama3", "factor": factor, "low_freq_factor": low, "high_freq_factor": high,
		"original_max_position_embeddings": int(original), "rope_freq_factors": divisors,
	}
}

// Llama3Factors computes the numbers that Llama 3's rope scaling divides the frequencies by: dim/2 of them, as
// transformers does and as GGUF files keep them.
func Llama3Factors(dim int, theta, factor, low, high, original float64) []float32 {
	out := make([]float32, dim/2)
	for i := range out {
		wave := 2 * math.Pi * math.Pow(theta, float64(2*i)/float64(dim))
		s := min(1, max(0, (original/wave-low)/(high-low)))
		out[i] = float32(1 / ((1-s)/factor + s))
	}
	return out
}
