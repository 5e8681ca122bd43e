package train

import (
	"bytes"
	"encoding/json"
	"fmt"

	"nosa/attention"
	"nosa/model"
)

// architectures are the classes of transformers by family; a nosa is its authors' own.
var architectures = map[string]string{
	"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM", "nosa": nosaArchitecture,
}

const nosaArchitecture = "NosaForCausalLM"

// Scores reports whether a stage of the run needs importance scores.
func (c *Config) Scores() bool {
	for _, s := range c.Stages {
		if m, err := attention.ByName(s.Method); err == nil && m.Keeps().Scores {
			return true
		}
	}
	return false
}

// Shape makes the config.json of the model in a stage: of the config's own shape, or of base, that
// of the model that the run began with. The first result is what is written beside the weights; it
// has the constants of selection that the model is for, the other one those of the stage.
func (c *Config) Shape(base []byte, stage int) ([]byte, *model.Config, error) {
	keys := map[string]any{}
	if base == nil {
		if err := c.Model.keys(keys); err != nil {
			return nil, nil, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		keys["max_position_embeddings"] = c.Stages[0].Context
	} else {
		d := json.NewDecoder(bytes.NewReader(base))
		d.UseNumber() // what is not changed is written as it was
		if err := d.Decode(&keys); err != nil {
			return nil, nil, fmt.Errorf("train: config.json: %w", err)
		}
	}
	was, err := parseKeys(keys)
	if err != nil {
		return nil, nil, err
	}
	if err := c.adapt(keys, was, stage); err != nil {
		return nil, nil, err
	}
	data, err := json.MarshalIndent(keys, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("train: config.json: %w", err)
	}
	now, err := model.ParseConfig(data)
	if err != nil {
		return nil, nil, fmt.Errorf("train: %w", err)
	}
	if now.Sparse != nil {
		s := c.Stages[stage].over(*now.Sparse)
		now.Sparse = &s
	}
	return append(data, '\n'), now, nil
}

func parseKeys(keys map[string]any) (*model.Config, error) {
	data, err := json.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("train: config.json: %w", err)
	}
	c, err := model.ParseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("train: [model]: %w", err)
	}
	return c, nil
}

// keys are those of a new model, as transformers names them.
func (m *ModelConfig) keys(keys map[string]any) error {
	architecture, ok := architectures[m.Family]
	if !ok {
		return fmt.Errorf("model.family is %q, want llama, qwen2, qwen3 or nosa", m.Family)
	}
	dim := m.HeadDim
	if dim == 0 && m.Heads > 0 {
		dim = m.Hidden / m.Heads
	}
	modelType := m.Family
	if m.Family == "nosa" {
		modelType = "llama" // so that transformers loads it as one, and leaves delta and A alone
	}
	for key, v := range map[string]any{
		"architectures": []string{architecture}, "model_type": modelType, "hidden_act": "silu",
		"hidden_size": m.Hidden, "num_hidden_layers": m.Layers, "num_attention_heads": m.Heads, "num_key_value_heads": m.KVHeads,
		"head_dim": dim, "intermediate_size": m.Intermediate, "vocab_size": m.Vocab, "tie_word_embeddings": m.Tied,
		"rms_norm_eps": m.Eps, "rope_theta": m.RopeTheta, "attention_bias": false, "mlp_bias": false, "initializer_range": m.Init,
	} {
		keys[key] = v
	}
	for key, id := range map[string]int{"bos_token_id": m.BOS, "eos_token_id": m.EOS} {
		if id >= m.Vocab {
			return fmt.Errorf("%s is %d, the vocabulary has %d", key, id, m.Vocab)
		}
		if id >= 0 {
			keys[key] = id
		}
	}
	return nil
}

// adapt changes what the run changes: method, constants, context and rotation.
func (c *Config) adapt(keys map[string]any, was *model.Config, stage int) error {
	scored := was.Scored || c.Scores()
	if scored && !was.Scored {
		if was.Family != "llama" {
			return fmt.Errorf("%w: a stage of nosa or dma needs importance scores, which a %s cannot have: begin with a llama", ErrConfig, was.Family)
		}
		keys["architectures"] = []string{nosaArchitecture}
	}
	keys["tie_word_embeddings"] = was.Tied // families differ in what its absence means
	keys["torch_dtype"] = "float32"
	delete(keys, "dtype") // the same, as transformers 5 writes it
	longest := was.MaxPositions
	for _, s := range c.Stages[:stage+1] {
		longest = max(longest, s.Context)
	}
	if was.Rope.Type == "default" || was.Rope.Type == "linear" { // others turn in another way where it is another number
		keys["max_position_embeddings"] = longest
	}
	if theta := c.Theta(stage); theta != 0 {
		keys["rope_theta"] = theta
		for _, name := range []string{"rope_parameters", "rope_scaling"} {
			if inner, ok := keys[name].(map[string]any); ok && inner["rope_theta"] != nil {
				inner["rope_theta"] = theta
			}
		}
	}
	sparse := was.Sparse != nil || scored
	for _, s := range c.Stages {
		sparse = sparse || s.Method == "infllmv2"
	}
	if sparse {
		s := c.Sparse.over(was.Sparse)
		if err := s.Validate(); err != nil {
			return fmt.Errorf("%w: [sparse]: %w", ErrConfig, err)
		}
		for i, stage := range c.Stages {
			if err := stage.over(s).Validate(); err != nil {
				return fmt.Errorf("%w: stage %d: %w", ErrConfig, i+1, err)
			}
		}
		keys["sparse_config"] = s
	}
	return nil
}

// over are the constants of a model with those of the config in their place.
func (s *SparseConfig) over(own *model.SparseConfig) model.SparseConfig {
	out := model.DefaultSparse()
	if own != nil {
		out = *own
	}
	put([]setting{
		{s.KernelSize, &out.KernelSize}, {s.KernelStride, &out.KernelStride}, {s.BlockSize, &out.BlockSize}, {s.InitBlocks, &out.InitBlocks},
		{s.WindowSize, &out.WindowSize}, {s.TopK, &out.TopK}, {s.TopKQ, &out.TopKQ}, {s.DenseLen, &out.DenseLen},
	})
	return out
}

// over are constants with those of the stage in their place.
func (s StageConfig) over(c model.SparseConfig) model.SparseConfig {
	put([]setting{{s.WindowSize, &c.WindowSize}, {s.TopK, &c.TopK}, {s.TopKQ, &c.TopKQ}})
	return c
}

// chooses reports whether the stage has constants of its own.
func (s StageConfig) chooses() bool { return s.WindowSize != nil || s.TopK != nil || s.TopKQ != nil }

// setting is a field that may be absent, and the place of its value.
type setting struct{ from, to *int }

func put(list []setting) {
	for _, f := range list {
		if f.from != nil {
			*f.to = *f.from
		}
	}
}

// constants are those of selection.
func constants(s *model.SparseConfig) attention.Constants {
	if s == nil {
		d := model.DefaultSparse()
		s = &d
	}
	return attention.Constants{
		Block: s.BlockSize, Kernel: s.KernelSize, Stride: s.KernelStride,
		Init: s.InitBlocks, Local: s.LocalBlocks(), K: s.TopK, Query: s.TopKQ, DenseLen: s.DenseLen,
	}
}
