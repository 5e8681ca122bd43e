package model

import "math"

// minicpm (MiniCPM, MiniCPM4) is a llama with three scalings, after the maximal
// update parametrisation that it is trained with: the embedding, what each branch
// adds to the residual stream, and the hidden state before the output layer.
var minicpm = family{
	name:          "minicpm",
	architectures: []string{"MiniCPMForCausalLM"},
	modelTypes:    []string{"minicpm", "minicpm4"},
	apply: func(c *Config, r *raw) {
		c.QKVBias, c.OutBias = r.AttentionBias, r.AttentionBias
		// Absent ones are 1, which is not the same as no scaling.
		c.ResidualScale = float32(1 / math.Sqrt(float64(c.Layers)))
		c.LogitScale = float32(1 / float64(c.Hidden))
		scalings(c, r)
	},
}

func scalings(c *Config, r *raw) {
	if r.ScaleEmb != nil {
		c.EmbedScale = float32(*r.ScaleEmb)
	}
	if r.ScaleDepth != nil {
		c.ResidualScale = float32(*r.ScaleDepth / math.Sqrt(float64(c.Layers)))
	}
	if r.DimModelBase != nil && *r.DimModelBase != 0 {
		c.LogitScale = float32(*r.DimModelBase / float64(c.Hidden))
	}
}
