package model

// qwen2 is a llama with biases on q, k and v, and on nothing else.
var qwen2 = family{
	name:          "qwen2",
	architectures: []string{"Qwen2ForCausalLM"},
	modelTypes:    []string{"qwen2"},
	apply:         func(c *Config, _ *raw) { c.QKVBias = true },
}
