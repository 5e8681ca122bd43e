package model

// nosa is a llama whose attention layers carry delta and A, the parameters of
// the importance score (spec nosa, sections 1 and 2). A MiniCPM-type base keeps
// its scalings.
var nosa = family{
	name:          "nosa",
	architectures: []string{"NosaForCausalLM", "NOSAForCausalLM"},
	modelTypes:    []string{"nosa"},
	apply: func(c *Config, r *raw) {
		c.QKVBias, c.OutBias, c.MLPBias = r.AttentionBias, r.AttentionBias, r.MLPBias
		c.Scored = true
		scalings(c, r)
	},
}
