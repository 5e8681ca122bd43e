package model

// llama is the base of all: RMS norms, grouped heads, half-split rotation,
// SwiGLU. SmolLM2, Mistral without a window, and many others are llamas.
var llama = family{
	name:          "llama",
	architectures: []string{"LlamaForCausalLM", "MistralForCausalLM"},
	modelTypes:    []string{"llama", "mistral"},
	apply: func(c *Config, r *raw) {
		c.QKVBias, c.OutBias, c.MLPBias = r.AttentionBias, r.AttentionBias, r.MLPBias
	},
}
