package weights

import "math"

// llama3 are the parameters of Llama 3's rope scaling. For a frequency of wavelength l,
//
//	s = (original/l - low) / (high - low), cut to [0, 1]        factor of l = 1 / ((1-s)/factor + s)
type llama3 struct {
	factor, low, high, original float64
}

// at returns the number that a frequency of the given wavelength is divided by.
func (p llama3) at(wavelength float64) float64 {
	s := min(1, max(0, (p.original/wavelength-p.low)/(p.high-p.low)))
	return 1 / ((1-s)/p.factor + s)
}

// Llama3Factors computes the numbers that Llama 3's rope scaling divides the frequencies by: dim/2 of them, as
// transformers does and as GGUF files keep them.
func Llama3Factors(dim int, theta, factor, low, high, original float64) []float32 {
	p, out := llama3{factor, low, high, original}, make([]float32, dim/2)
	for i := range out {
		out[i] = float32(p.at(wavelength(theta, i, len(out))))
	}
	return out
}

// wavelength returns that of frequency i of n, in tokens.
func wavelength(theta float64, i, n int) float64 {
	return 2 * math.Pi * math.Pow(theta, float64(i)/float64(n))
}

// llama3Scaling turns the ready-made factors of a GGUF (rope_freqs) back into parameters. When they are not of that
// form the list alone is returned, under rope_type default. In both cases rope_freq_factors holds the list itself,
// which is exact.
func llama3Scaling(meta *Metadata, config map[string]any, divisors []float32) map[string]any {
	plain := map[string]any{"rope_type": "default", "rope_freq_factors": divisors}
	number, ok := config["rope_theta"].(interface{ Float64() (float64, error) })
	if !ok {
		return plain
	}
	theta, err := number.Float64()
	if err != nil || !(theta > 1) {
		return plain
	}
	for _, p := range append(llama3Said(meta), llama3Guesses(theta, divisors)...) {
		if p.explains(theta, divisors) {
			return map[string]any{
				"rope_type": "llama3", "factor": p.factor, "low_freq_factor": p.low, "high_freq_factor": p.high,
				"original_max_position_embeddings": int(p.original), "rope_freq_factors": divisors,
			}
		}
	}
	return plain
}

// Llama3Keys are the keys under which a GGUF of ours keeps the parameters beside the factors, as short lists may not
// tell them: factor, low_freq_factor, high_freq_factor, original_max_position_embeddings.
var Llama3Keys = [4]string{
	"nosa.rope.factor", "nosa.rope.low_freq_factor", "nosa.rope.high_freq_factor", "nosa.rope.original_context_length",
}

// llama3Said returns the parameters that the file itself names. Like guesses they have to explain the factors.
func llama3Said(meta *Metadata) []llama3 {
	var said [4]float64
	for i, key := range Llama3Keys {
		v, ok := meta.Float(key)
		if !ok {
			return nil
		}
		said[i] = v
	}
	return []llama3{{said[0], said[1], said[2], said[3]}}
}

// llama3Guesses returns parameters that may have made the factors: those of all published models, and those that the
// list itself tells. There the factor is the largest one, and between the ends s is a line over 1/l. A line gives two
// numbers for the three original, low and high, of which only the ratios matter: low is 1 everywhere, which settles it.
func llama3Guesses(theta float64, divisors []float32) []llama3 {
	var factor float64
	for _, d := range divisors {
		factor = max(factor, float64(d))
	}
	if !(factor > 1) {
		return nil
	}
	guesses := []llama3{{factor, 1, 4, 8192}}
	first, last := -1, -1 // the points between the ends that are farthest apart
	for i, d := range divisors {
		if float64(d) > 1.0001 && float64(d) < factor*0.9999 {
			if first < 0 {
				first = i
			}
			last = i
		}
	}
	if first == last {
		return guesses
	}
	smooth := func(i int) float64 { return (1/float64(divisors[i]) - 1/factor) / (1 - 1/factor) }
	inverse := func(i int) float64 { return 1 / wavelength(theta, i, len(divisors)) }
	slope := (smooth(first) - smooth(last)) / (inverse(first) - inverse(last))
	high := math.Round(100*(1+1/(slope*inverse(first)-smooth(first)))) / 100
	return append(guesses, llama3{factor, 1, high, math.Round(slope * (high - 1))})
}

// explains says whether the parameters make the factors.
func (p llama3) explains(theta float64, divisors []float32) bool {
	if !(p.high > p.low) || !(p.original > 0 && p.original < 1<<31) {
		return false
	}
	for i, d := range divisors {
		if !(math.Abs(p.at(wavelength(theta, i, len(divisors)))/float64(d)-1) < 1e-3) {
			return false
		}
	}
	return true
}
