package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
)

// Config is the shape of a decoder, from config.json.
type Config struct {
	Family       string // llama, qwen2, qwen3, minicpm, nosa
	Hidden       int
	Layers       int
	Heads        int // query heads
	KVHeads      int
	HeadDim      int
	Intermediate int
	Vocab        int
	MaxPositions int // the context that the model was trained for
	Eps          float32
	Tied         bool // the embedding table is also the output layer

	QKVBias bool // biases on q, k and v
	OutBias bool // bias on the attention's output
	MLPBias bool
	QKNorm  bool // RMS norm of each query and key head before rotation
	Scored  bool // has delta and A: NOSA's importance score

	EmbedScale    float32 // on the embedding; 1 but for MiniCPM
	ResidualScale float32 // on what each branch adds; 1 but for MiniCPM
	LogitScale    float32 // on the last hidden state; 1 but for MiniCPM

	Rope   RopeConfig
	Sparse *SparseConfig // nil when the file has none
	EOS    []int32
	BOS    int32 // −1: none
}

// SparseConfig holds the constants of block selection, by their names in
// MiniCPM4's sparse_config; TopK counts all selected blocks.
type SparseConfig struct {
	KernelSize   int  `json:"kernel_size"`
	KernelStride int  `json:"kernel_stride"`
	InitBlocks   int  `json:"init_blocks"`
	BlockSize    int  `json:"block_size"`
	WindowSize   int  `json:"window_size"`
	TopK         int  `json:"topk"`
	TopKQ        int  `json:"topk_q"`
	DenseLen     int  `json:"dense_len"`
	UseNope      bool `json:"use_nope"`
	DenseGiven   bool `json:"-"` // whether the file has dense_len
}

// DefaultSparse are NOSA's constants (spec nosa, section 1).
func DefaultSparse() SparseConfig {
	return SparseConfig{KernelSize: 32, KernelStride: 16, InitBlocks: 1, BlockSize: 64, WindowSize: 1024, TopK: 64, TopKQ: 16}
}

// ErrConfig is returned for a config.json that does not describe a model that
// nosa can run.
var ErrConfig = errors.New("config.json is not usable")

// raw are the fields of config.json that matter here.
type raw struct {
	Architectures []string `json:"architectures"`
	ModelType     string   `json:"model_type"`
	HiddenAct     string   `json:"hidden_act"`

	Hidden       int      `json:"hidden_size"`
	Layers       int      `json:"num_hidden_layers"`
	Heads        int      `json:"num_attention_heads"`
	KVHeads      *int     `json:"num_key_value_heads"`
	HeadDim      *int     `json:"head_dim"`
	Intermediate int      `json:"intermediate_size"`
	Vocab        int      `json:"vocab_size"`
	MaxPositions int      `json:"max_position_embeddings"`
	Eps          *float64 `json:"rms_norm_eps"`
	Tied         *bool    `json:"tie_word_embeddings"`

	AttentionBias bool `json:"attention_bias"`
	MLPBias       bool `json:"mlp_bias"`

	SlidingWindow    json.RawMessage `json:"sliding_window"`
	UseSlidingWindow *bool           `json:"use_sliding_window"`
	LayerTypes       []string        `json:"layer_types"`

	RopeTheta      *float64      `json:"rope_theta"`
	RopeScaling    *ropeRaw      `json:"rope_scaling"`
	RopeParameters *ropeRaw      `json:"rope_parameters"`
	PartialRotary  *float64      `json:"partial_rotary_factor"`
	OriginalMax    *int          `json:"original_max_position_embeddings"`
	Interleaved    bool          `json:"rope_interleaved"`
	Sparse         *SparseConfig `json:"sparse_config"`

	ScaleEmb     *float64 `json:"scale_emb"`
	ScaleDepth   *float64 `json:"scale_depth"`
	DimModelBase *float64 `json:"dim_model_base"`

	EOS json.RawMessage `json:"eos_token_id"`
	BOS json.RawMessage `json:"bos_token_id"`
}

// Limits on what a file may claim; far above any published model, low enough
// that no product of them overflows.
const (
	maxDim   = 1 << 20
	maxCount = 1 << 14
	maxVocab = 1 << 24

	maxPositions = 1 << 28
)

// ParseConfig reads config.json and checks that the model is one that the
// package runs: a field that changes the arithmetic and is not known here is
// refused, not ignored.
func ParseConfig(data []byte) (*Config, error) {
	r := raw{Sparse: nil}
	if err := json.Unmarshal(data, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrConfig, err)
	}
	if len(r.Architectures) == 0 && r.ModelType == "" {
		return nil, fmt.Errorf("%w: neither architectures nor model_type says which model this is", ErrConfig)
	}
	c := &Config{
		Hidden: r.Hidden, Layers: r.Layers, Heads: r.Heads, KVHeads: r.Heads, Intermediate: r.Intermediate,
		Vocab: r.Vocab, MaxPositions: r.MaxPositions, Eps: 1e-6,
		EmbedScale: 1, ResidualScale: 1, LogitScale: 1,
	}
	for _, f := range []struct {
		name  string
		v, to int
	}{
		{"hidden_size", r.Hidden, maxDim}, {"num_hidden_layers", r.Layers, maxCount}, {"num_attention_heads", r.Heads, maxCount},
		{"intermediate_size", r.Intermediate, maxDim}, {"vocab_size", r.Vocab, maxVocab}, {"max_position_embeddings", r.MaxPositions, maxPositions},
	} {
		if f.v <= 0 || f.v > f.to {
			return nil, fmt.Errorf("%w: %s is %d, want 1 to %d", ErrConfig, f.name, f.v, f.to)
		}
	}
	if r.KVHeads != nil {
		c.KVHeads = *r.KVHeads
	}
	c.HeadDim = r.Hidden / r.Heads
	if r.HeadDim != nil {
		c.HeadDim = *r.HeadDim
	}
	if c.KVHeads <= 0 || c.Heads%c.KVHeads != 0 {
		return nil, fmt.Errorf("%w: %d attention heads do not divide into %d key/value heads", ErrConfig, c.Heads, c.KVHeads)
	}
	if c.HeadDim <= 0 || c.HeadDim > 1<<12 || c.HeadDim%2 != 0 {
		return nil, fmt.Errorf("%w: heads of %d channels, want an even number up to 4096", ErrConfig, c.HeadDim)
	}
	if r.Eps != nil {
		if !(*r.Eps >= 0 && *r.Eps < 1) {
			return nil, fmt.Errorf("%w: rms_norm_eps is %v", ErrConfig, *r.Eps)
		}
		c.Eps = float32(*r.Eps)
	}
	if r.HiddenAct != "" && r.HiddenAct != "silu" && r.HiddenAct != "swish" {
		return nil, fmt.Errorf("%w: hidden_act %q: only silu (SwiGLU) is known", ErrConfig, r.HiddenAct)
	}
	if err := refuseSliding(&r); err != nil {
		return nil, err
	}
	family, err := familyOf(&r)
	if err != nil {
		return nil, err
	}
	c.Family = family.name
	c.Tied = family.tied
	if r.Tied != nil {
		c.Tied = *r.Tied
	}
	family.apply(c, &r)
	if c.Rope, err = ropeConfig(&r, c); err != nil {
		return nil, err
	}
	if r.Sparse != nil || c.Scored {
		if c.Sparse, err = sparseConfig(data, c); err != nil {
			return nil, err
		}
	}
	c.EOS, c.BOS = TokenIDs(r.EOS), -1
	if ids := TokenIDs(r.BOS); len(ids) > 0 {
		c.BOS = ids[0]
	}
	return c, nil
}

// refuseSliding rejects models whose layers see a window of the context only.
func refuseSliding(r *raw) error {
	for _, t := range r.LayerTypes {
		if t != "full_attention" {
			return fmt.Errorf("%w: layer_types has %q: only full_attention is known", ErrConfig, t)
		}
	}
	var window *float64
	if len(r.SlidingWindow) > 0 && json.Unmarshal(r.SlidingWindow, &window) != nil {
		return fmt.Errorf("%w: sliding_window is not a number", ErrConfig)
	}
	if window == nil || len(r.LayerTypes) > 0 {
		return nil
	}
	if r.UseSlidingWindow == nil || *r.UseSlidingWindow {
		return fmt.Errorf("%w: sliding_window %v is in use, which nosa does not run", ErrConfig, *window)
	}
	return nil
}

func sparseConfig(data []byte, c *Config) (*SparseConfig, error) {
	s := DefaultSparse()
	if !c.Scored {
		s.DenseLen = 8192 // MiniCPM4's default; NOSA is sparse from the first block on
	}
	// Once more over the defaults, so that absent keys keep them.
	if err := json.Unmarshal(data, &struct {
		Sparse *SparseConfig `json:"sparse_config"`
	}{&s}); err != nil {
		return nil, fmt.Errorf("%w: sparse_config: %w", ErrConfig, err)
	}
	var given struct {
		Sparse struct {
			DenseLen *int `json:"dense_len"`
		} `json:"sparse_config"`
	}
	s.DenseGiven = json.Unmarshal(data, &given) == nil && given.Sparse.DenseLen != nil
	return &s, s.Validate()
}

// Validate checks that the constants fit each other.
func (s SparseConfig) Validate() error {
	switch {
	case s.UseNope:
		return fmt.Errorf("%w: sparse_config.use_nope is set, which no published model uses and nosa does not run", ErrConfig)
	case s.BlockSize <= 0 || s.BlockSize > 4096:
		return fmt.Errorf("%w: sparse_config.block_size is %d, want 1 to 4096", ErrConfig, s.BlockSize)
	case s.KernelStride <= 0 || s.KernelSize <= 0 || s.KernelSize%s.KernelStride != 0 || s.BlockSize%s.KernelStride != 0 || s.KernelSize > s.BlockSize:
		return fmt.Errorf("%w: sparse_config: kernel_stride %d must divide kernel_size %d and block_size %d, and a kernel fit into a block", ErrConfig, s.KernelStride, s.KernelSize, s.BlockSize)
	case s.InitBlocks < 0 || s.WindowSize < 0 || s.TopK <= 0 || s.TopKQ < 0 || s.DenseLen < 0:
		return fmt.Errorf("%w: sparse_config has a negative constant or topk 0", ErrConfig)
	case s.InitBlocks > 1<<20 || s.WindowSize > 1<<28 || s.TopK > 1<<20 || s.TopKQ > 1<<20 || s.DenseLen > 1<<30:
		return fmt.Errorf("%w: sparse_config has a constant that no context reaches", ErrConfig)
	case s.InitBlocks+s.LocalBlocks()+1 > s.TopK:
		return fmt.Errorf("%w: topk %d is fewer than the %d blocks that are always selected (%d first, %d local, the own one): raise topk or lower window_size", ErrConfig, s.TopK, s.InitBlocks+s.LocalBlocks()+1, s.InitBlocks, s.LocalBlocks())
	}
	return nil
}

// LocalBlocks is the number of blocks before a query's own that are always
// selected.
func (s SparseConfig) LocalBlocks() int { return s.WindowSize / s.BlockSize }

// TokenIDs reads an id or a list of ids, as eos_token_id has them; anything else
// is as if absent.
func TokenIDs(data json.RawMessage) []int32 {
	var one *float64 // pointers, so that null is not taken for id 0
	var many []*float64
	if json.Unmarshal(data, &one) == nil {
		many = []*float64{one}
	} else if json.Unmarshal(data, &many) != nil {
		return nil
	}
	var ids []int32
	for _, v := range many {
		if v != nil && *v >= 0 && *v < maxVocab && *v == math.Trunc(*v) {
			ids = append(ids, int32(*v))
		}
	}
	return ids
}
