package model

// qwen3 norms each query and key head before it is rotated; its heads need not
// add up to the hidden size.
var qwen3 = family{
	name:          "qwen3",
	architectures: []string{"Qwen3ForCausalLM"},
	modelTypes:    []string{"qwen3"},
	apply: func(c *Config, r *raw) {
		c.QKNorm = true
		c.QKVBias, c.OutBias = r.AttentionBias, r.AttentionBias
		if r.HeadDim == nil {
			c.HeadDim = 128
		}
	},
}
