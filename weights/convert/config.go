package convert

import (
	"fmt"
	"math"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"nosa/weights"
)

// config is what matters of config.json.
type config struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`

	Hidden       int      `json:"hidden_size"`
	Layers       int      `json:"num_hidden_layers"`
	Heads        int      `json:"num_attention_heads"`
	KVHeads      *int     `json:"num_key_value_heads"`
	HeadDim      *int     `json:"head_dim"`
	Intermediate int      `json:"intermediate_size"`
	Vocab        int      `json:"vocab_size"`
	MaxPositions int      `json:"max_position_embeddings"`
	Eps          *float64 `json:"rms_norm_eps"`
	Tied         bool     `json:"tie_word_embeddings"`

	Activation       string         `json:"hidden_act"`
	SlidingWindow    jsontext.Value `json:"sliding_window"`
	UseSlidingWindow *bool          `json:"use_sliding_window"`
	LayerTypes       []string       `json:"layer_types"`

	Theta         *float64 `json:"rope_theta"`
	Scaling       *rope    `json:"rope_scaling"`
	Parameters    *rope    `json:"rope_parameters"`
	PartialRotary *float64 `json:"partial_rotary_factor"`
	Original      *float64 `json:"original_max_position_embeddings"`

	ScaleEmb     *float64 `json:"scale_emb"`
	ScaleDepth   *float64 `json:"scale_depth"`
	DimModelBase *float64 `json:"dim_model_base"`

	Sparse map[string]jsontext.Value `json:"sparse_config"`

	BOS jsontext.Value `json:"bos_token_id"`
	EOS jsontext.Value `json:"eos_token_id"`
	PAD jsontext.Value `json:"pad_token_id"`
}

// parseConfig reads config.json and checks what is computed with here.
func parseConfig(data []byte) (*config, error) {
	c := &config{}
	if err := json.Unmarshal(data, c); err != nil {
		return nil, fmt.Errorf("%w: %w", err, weights.ErrFormat)
	}
	for _, f := range []struct {
		name     string
		v, limit int
	}{
		{"hidden_size", c.Hidden, 1 << 24}, {"num_hidden_layers", c.Layers, 1 << 16},
		{"num_attention_heads", c.Heads, 1 << 16}, {"num_key_value_heads", c.kvHeads(), 1 << 16},
		{"intermediate_size", c.Intermediate, 1 << 24}, {"max_position_embeddings", c.MaxPositions, 1 << 31},
		{"head_dim", c.headDim(), 1 << 12}, {"vocab_size", c.Vocab, maxVocab},
	} {
		if f.v <= 0 || f.v > f.limit {
			return nil, fmt.Errorf("%s is %d, want 1 to %d: %w", f.name, f.v, f.limit, weights.ErrFormat)
		}
	}
	if err := c.refuse(); err != nil {
		return nil, err
	}
	if c.headDim()%2 != 0 {
		return nil, fmt.Errorf("heads of %d channels, want an even number: %w", c.headDim(), weights.ErrFormat)
	}
	return c, nil
}

// refuse rejects what would be lost without a word: other activations, and layers that see a window only.
func (c *config) refuse() error {
	if c.Activation != "" && c.Activation != "silu" && c.Activation != "swish" {
		return fmt.Errorf("hidden_act %q, only silu is converted: %w", c.Activation, ErrUnsupported)
	}
	for _, t := range c.LayerTypes {
		if t != "full_attention" {
			return fmt.Errorf("layer_types has %q, only full_attention is converted: %w", t, ErrUnsupported)
		}
	}
	windowed := c.SlidingWindow.Kind() == '0' && (c.UseSlidingWindow == nil || *c.UseSlidingWindow)
	if windowed && len(c.LayerTypes) == 0 {
		return fmt.Errorf("sliding_window %s is in use, only full attention is converted: %w", c.SlidingWindow, ErrUnsupported)
	}
	return nil
}

func (c *config) kvHeads() int {
	if c.KVHeads != nil {
		return *c.KVHeads
	}
	return c.Heads
}

func (c *config) headDim() int {
	if c.HeadDim != nil {
		return *c.HeadDim
	}
	if c.Heads <= 0 {
		return 0
	}
	return c.Hidden / c.Heads
}

// families are transformers' names with GGUF's. Mistral without a sliding window is a llama.
var families = []struct {
	architecture, modelType, gguf string
}{
	{"LlamaForCausalLM", "llama", "llama"},
	{"MistralForCausalLM", "mistral", "llama"},
	{"Qwen2ForCausalLM", "qwen2", "qwen2"},
	{"Qwen3ForCausalLM", "qwen3", "qwen3"},
	{"MiniCPMForCausalLM", "minicpm", "minicpm"},
	{"MiniCPMForCausalLM", "minicpm4", "minicpm"},
	{"NosaForCausalLM", "nosa", "nosa"},
	{"NOSAForCausalLM", "nosa", "nosa"},
}

// architecture returns GGUF's name for the model. One with importance scores is nosa, whatever it calls itself; without
// them it is what lies below.
func (c *config) architecture(scored, plain bool) (string, error) {
	if scored && !plain {
		return "nosa", nil
	}
	for _, f := range families {
		if !slices.Contains(c.Architectures, f.architecture) && (len(c.Architectures) > 0 || c.ModelType != f.modelType) {
			continue
		}
		if f.gguf != "nosa" {
			return f.gguf, nil
		}
		if c.ScaleEmb != nil || c.ScaleDepth != nil || c.DimModelBase != nil {
			return "minicpm", nil
		}
		return "llama", nil
	}
	return "", fmt.Errorf("architecture %q (model_type %q) is not one of llama, mistral, qwen2, qwen3, minicpm and nosa: %w",
		c.Architectures, c.ModelType, ErrUnsupported)
}

// metadata returns the keys of GGUF that say what config.json does, for the given architecture.
func (c *config) metadata(arch string) ([]weights.Pair, []weights.Tensor, error) {
	key := func(name string, value any) weights.Pair { return weights.Pair{Key: arch + "." + name, Value: value} }
	count := func(name string, n int) weights.Pair { return key(name, uint32(n)) }
	eps := 1e-6
	if c.Eps != nil {
		eps = *c.Eps
	}
	out := []weights.Pair{
		count("block_count", c.Layers), count("context_length", c.MaxPositions), count("embedding_length", c.Hidden),
		count("feed_forward_length", c.Intermediate), count("attention.head_count", c.Heads),
		count("attention.head_count_kv", c.kvHeads()), count("attention.key_length", c.headDim()),
		count("attention.value_length", c.headDim()), key("attention.layer_norm_rms_epsilon", float32(eps)),
		count("vocab_size", c.Vocab),
	}
	out = append(out, c.scales(arch)...)
	out = append(out, c.sparse()...)
	scaling, factors, err := c.rope(arch)
	return append(out, scaling...), factors, err
}

// scales returns MiniCPM's three, as llama.cpp's own converter computes them. What config.json leaves out is the
// identity there, which a GGUF of architecture minicpm has to say.
func (c *config) scales(arch string) []weights.Pair {
	none := c.ScaleEmb == nil && c.ScaleDepth == nil && c.DimModelBase == nil
	if arch != "minicpm" && (arch != "nosa" || none) {
		return nil
	}
	emb, residual, logit := 1.0, 1.0, 1.0
	if c.ScaleEmb != nil {
		emb = *c.ScaleEmb
	}
	if c.ScaleDepth != nil {
		residual = *c.ScaleDepth / math.Sqrt(float64(c.Layers))
	}
	if c.DimModelBase != nil && *c.DimModelBase != 0 {
		logit = float64(c.Hidden) / *c.DimModelBase
	}
	return []weights.Pair{
		{Key: arch + ".embedding_scale", Value: float32(emb)}, {Key: arch + ".residual_scale", Value: float32(residual)},
		{Key: arch + ".logit_scale", Value: float32(logit)},
	}
}

// sparse returns the constants of block selection under nosa's own keys; other programs do not look at them.
func (c *config) sparse() []weights.Pair {
	var out []weights.Pair
	for _, name := range weights.SparseKeys {
		var n uint32
		if v, ok := c.Sparse[name]; ok && json.Unmarshal(v, &n) == nil && v.Kind() == '0' {
			out = append(out, weights.Pair{Key: "nosa." + name, Value: n})
		}
	}
	if v, ok := c.Sparse["use_nope"]; ok && (v.Kind() == 't' || v.Kind() == 'f') {
		out = append(out, weights.Pair{Key: "nosa.use_nope", Value: v.Kind() == 't'})
	}
	return out
}

// ids reads a token id or a list of them.
func ids(v jsontext.Value) []uint32 {
	var one uint32
	if v.Kind() == '0' && json.Unmarshal(v, &one) == nil {
		return []uint32{one}
	}
	var many []uint32
	if v.Kind() == '[' && json.Unmarshal(v, &many) == nil {
		return many
	}
	return nil
}
