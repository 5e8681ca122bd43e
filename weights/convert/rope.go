package convert

import (
	"encoding/binary"
	"fmt"
	"math"

	"nosa/dtype"
	"nosa/weights"
)

// rope is config.json's rope_scaling, or rope_parameters as transformers 5 writes it.
type rope struct {
	Type      string    `json:"rope_type"`
	OldType   string    `json:"type"`
	Theta     *float64  `json:"rope_theta"`
	Partial   *float64  `json:"partial_rotary_factor"`
	Factor    *float64  `json:"factor"`
	Original  *float64  `json:"original_max_position_embeddings"`
	Low       *float64  `json:"low_freq_factor"`
	High      *float64  `json:"high_freq_factor"`
	BetaFast  *float64  `json:"beta_fast"`
	BetaSlow  *float64  `json:"beta_slow"`
	Truncate  *bool     `json:"truncate"`
	MScale    *float64  `json:"mscale"`
	MScaleAll *float64  `json:"mscale_all_dim"`
	Attention *float64  `json:"attention_factor"`
	Short     []float32 `json:"short_factor"`
	Long      []float32 `json:"long_factor"`
	Divisors  []float32 `json:"rope_freq_factors"`
}

func or(v *float64, otherwise float64) float64 {
	if v == nil {
		return otherwise
	}
	return *v
}

// rope returns the keys of rotary positions, and the tensors in which GGUF keeps lists of factors.
func (c *config) rope(arch string) ([]weights.Pair, []weights.Tensor, error) {
	r := c.Parameters
	if r == nil {
		r = c.Scaling
	}
	if r == nil {
		r = &rope{}
	}
	dim := c.headDim()
	if partial := or(r.Partial, or(c.PartialRotary, 1)); partial != 1 {
		if interleaved(arch) {
			return nil, nil, fmt.Errorf("partial_rotary_factor %v: the %s family of GGUF rotates whole heads: %w", partial, arch,
				ErrUnsupported)
		}
		dim = int(float64(dim) * partial)
	}
	theta := or(r.Theta, or(c.Theta, 10000))
	out := []weights.Pair{
		{Key: arch + ".rope.freq_base", Value: float32(theta)}, {Key: arch + ".rope.dimension_count", Value: uint32(dim)},
	}
	original := or(r.Original, or(c.Original, float64(c.MaxPositions)))
	kind := r.Type
	if kind == "" {
		kind = r.OldType
	}
	if len(r.Divisors) > 0 && kind == "default" {
		return out, []weights.Tensor{vector("rope_freqs.weight", r.Divisors)}, nil
	}
	scaling := func(name string, value any) {
		out = append(out, weights.Pair{Key: arch + ".rope.scaling." + name, Value: value})
	}
	switch kind {
	case "", "default":
		return out, nil, nil
	case "linear":
		scaling("type", "linear")
		scaling("factor", float32(or(r.Factor, 1)))
		return out, nil, nil
	case "yarn":
		return out, nil, c.yarn(r, original, scaling)
	}
	// The rest are lists of factors, which llama.cpp knows in the families that it interleaves.
	if !interleaved(arch) && arch != "nosa" {
		return nil, nil, fmt.Errorf("rope type %q in the %s family: %w", kind, arch, ErrUnsupported)
	}
	switch kind {
	case "llama3":
		p := [4]float64{or(r.Factor, 8), or(r.Low, 1), or(r.High, 4), or(r.Original, 8192)}
		factors := weights.Llama3Factors(dim, theta, p[0], p[1], p[2], p[3])
		if len(r.Divisors) == len(factors) { // of another GGUF, ready made
			factors = r.Divisors
		}
		for i, key := range weights.Llama3Keys {
			out = append(out, weights.Pair{Key: key, Value: float32(p[i])})
		}
		return out, []weights.Tensor{vector("rope_freqs.weight", factors)}, nil
	case "longrope", "su":
		if len(r.Long) != dim/2 || len(r.Short) != dim/2 {
			return nil, nil, fmt.Errorf("%d long and %d short factors, want %d of each: %w", len(r.Long), len(r.Short), dim/2,
				weights.ErrFormat)
		}
		scaling("type", "longrope")
		scaling("original_context_length", uint32(original))
		attention := 1.0
		if factor := or(r.Factor, float64(c.MaxPositions)/original); factor > 1 {
			attention = math.Sqrt(1 + math.Log(factor)/math.Log(original))
		}
		scaling("attn_factor", float32(or(r.Attention, attention)))
		return out, []weights.Tensor{
			vector("rope_factors_long.weight", r.Long), vector("rope_factors_short.weight", r.Short),
		}, nil
	}
	return nil, nil, fmt.Errorf("rope type %q has no place in GGUF: %w", kind, ErrUnsupported)
}

// yarn adds YaRN's keys. llama.cpp always applies the paper's attention factor 0.1·ln(factor)+1; another one is given as
// what has to be multiplied on top. Its own converter writes the betas too, though it reads them for few architectures;
// nosa does.
func (c *config) yarn(r *rope, original float64, scaling func(string, any)) error {
	if r.Truncate != nil && !*r.Truncate {
		return fmt.Errorf("yarn with truncate false has no place in GGUF: %w", ErrUnsupported)
	}
	factor := or(r.Factor, float64(c.MaxPositions)/original)
	scaling("type", "yarn")
	scaling("factor", float32(factor))
	scaling("original_context_length", uint32(original))
	if r.BetaFast != nil {
		scaling("yarn_beta_fast", float32(*r.BetaFast))
	}
	if r.BetaSlow != nil {
		scaling("yarn_beta_slow", float32(*r.BetaSlow))
	}
	scale := func(m float64) float64 {
		if factor <= 1 {
			return 1
		}
		return 0.1*m*math.Log(factor) + 1
	}
	attention := scale(1)
	switch {
	case r.Attention != nil:
		attention = *r.Attention
	case or(r.MScale, 0) != 0 && or(r.MScaleAll, 0) != 0:
		attention = scale(*r.MScale) / scale(*r.MScaleAll)
	}
	if attention != scale(1) {
		scaling("attn_factor", float32(attention/scale(1)))
	}
	return nil
}

// vector makes a tensor of a list.
func vector(name string, values []float32) weights.Tensor {
	t := weights.Tensor{Name: name, Type: dtype.F32, Shape: []int{len(values)}}
	for _, v := range values {
		t.Data = binary.LittleEndian.AppendUint32(t.Data, math.Float32bits(v))
	}
	return t
}
