package model

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

const tinyLlama = `{"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_hidden_layers":2,"num_attention_heads":4,
"num_key_value_heads":2,"intermediate_size":96,"vocab_size":100,"max_position_embeddings":512%s}`

func TestParseConfig(t *testing.T) {
	c, err := ParseConfig(fmt.Appendf(nil, tinyLlama, ""))
	if err != nil {
		t.Fatal(err)
	}
	if c.Family != "llama" || c.HeadDim != 16 || c.Tied || c.Eps != 1e-6 || c.BOS != -1 || c.EOS != nil || c.Sparse != nil ||
		c.EmbedScale != 1 || c.ResidualScale != 1 || c.LogitScale != 1 || c.Rope.Type != "default" || c.Rope.Theta != 10000 {
		t.Errorf("defaults: %+v", c)
	}
	for more, check := range map[string]func(*Config) bool{
		`,"eos_token_id":[7,8],"bos_token_id":1`: func(c *Config) bool { return len(c.EOS) == 2 && c.EOS[1] == 8 && c.BOS == 1 },
		`,"eos_token_id":null`:                   func(c *Config) bool { return c.EOS == nil },
		`,"eos_token_id":[null,3,-1,1.5,1e30]`:   func(c *Config) bool { return len(c.EOS) == 1 && c.EOS[0] == 3 },
		`,"eos_token_id":"</s>"`:                 func(c *Config) bool { return c.EOS == nil },
		`,"head_dim":32`:                         func(c *Config) bool { return c.HeadDim == 32 },
		`,"head_dim":null`:                       func(c *Config) bool { return c.HeadDim == 16 },
		`,"sparse_config":{"topk":32}`: func(c *Config) bool {
			return c.Sparse.TopK == 32 && c.Sparse.BlockSize == 64 && c.Sparse.DenseLen == 8192
		},
		`,"sparse_config":{"dense_len":5,"topk_q":3}`: func(c *Config) bool {
			return c.Sparse.TopKQ == 3 && c.Sparse.DenseLen == 5 && c.Sparse.LocalBlocks() == 16
		},
		`,"rope_scaling":{"type":"linear","factor":2}`:    func(c *Config) bool { return c.Rope.Type == "linear" && c.Rope.Factor == 2 },
		`,"rope_parameters":{"rope_theta":5e5}`:           func(c *Config) bool { return c.Rope.Theta == 5e5 },
		`,"sliding_window":null`:                          func(*Config) bool { return true },
		`,"sliding_window":64,"use_sliding_window":false`: func(*Config) bool { return true },
		`,"architectures":["MiniCPMForCausalLM"]`: func(c *Config) bool {
			return c.EmbedScale == 1 && c.LogitScale == 1./64 && c.ResidualScale == float32(math.Sqrt(0.5))
		},
		`,"architectures":["MiniCPMForCausalLM"],"scale_emb":12,"scale_depth":1.4,"dim_model_base":16`: func(c *Config) bool {
			return c.EmbedScale == 12 && c.LogitScale == 0.25 && c.ResidualScale == float32(1.4/math.Sqrt(2))
		},
		`,"scale_emb":12`: func(c *Config) bool { return c.EmbedScale == 1 }, // a llama has none
	} {
		c, err := ParseConfig(fmt.Appendf(nil, tinyLlama, more))
		if err != nil {
			t.Errorf("%s: %v", more, err)
		} else if !check(c) {
			t.Errorf("%s: %+v", more, c)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	for more, say := range map[string]string{
		`,"hidden_size":0`:                                      "hidden_size is 0",
		`,"hidden_size":-4`:                                     "hidden_size is -4",
		`,"num_hidden_layers":1000000000`:                       "num_hidden_layers",
		`,"num_key_value_heads":3`:                              "do not divide",
		`,"num_key_value_heads":0`:                              "0 key/value heads",
		`,"head_dim":15`:                                        "15 channels",
		`,"head_dim":-2`:                                        "-2 channels",
		`,"rms_norm_eps":-1`:                                    "rms_norm_eps",
		`,"hidden_act":"gelu"`:                                  "gelu",
		`,"architectures":["GPT2LMHeadModel"]`:                  "GPT2LMHeadModel",
		`,"architectures":[],"model_type":"mamba"`:              "mamba",
		`,"architectures":[]`:                                   "neither architectures nor model_type",
		`,"sliding_window":4096`:                                "sliding_window",
		`,"sliding_window":"x"`:                                 "sliding_window",
		`,"layer_types":["full_attention","sliding_attention"]`: "sliding_attention",
		`,"rope_scaling":{"rope_type":"mystery","factor":2}`:    "mystery",
		`,"rope_scaling":{"rope_type":"linear"}`:                "factor 0",
		`,"rope_scaling":{"rope_type":"linear","factor":-1}`:    "factor -1",
		`,"rope_scaling":{"rope_type":"longrope","short_factor":[1],"long_factor":[1],"factor":2}`:                             "want 8 of each",
		`,"rope_scaling":{"rope_type":"llama3","factor":2,"low_freq_factor":4,"high_freq_factor":4}`:                           "low_freq_factor",
		`,"rope_scaling":{"rope_type":"longrope","short_factor":[0,1,1,1,1,1,1,1],"long_factor":[1,1,1,1,1,1,1,1],"factor":2}`: "out of range",
		`,"rope_scaling":{"rope_type":"longrope","short_factor":[1,1,1,1,1,1,1,1],"long_factor":[1,1,1,1,1,1,1,0],"factor":2}`: "out of range",
		`,"rope_scaling":{"rope_type":"linear","factor":1e-300}`:                                                               "out of range",
		`,"rope_theta":0`:                     "rope_theta",
		`,"partial_rotary_factor":0`:          "partial_rotary_factor",
		`,"partial_rotary_factor":1.5`:        "partial_rotary_factor",
		`,"sparse_config":{"block_size":0}`:   "block_size",
		`,"sparse_config":{"kernel_size":24}`: "kernel_stride",
		`,"sparse_config":{"topk":4}`:         "topk 4",
		`,"sparse_config":{"use_nope":true}`:  "use_nope",
		`,"sparse_config":{"init_blocks":-1}`: "negative",
		`,"sparse_config":7`:                  "sparse_config",
		`,"vocab_size":"many"`:                "vocab_size",
		`,`:                                   "config.json",
	} {
		_, err := ParseConfig(fmt.Appendf(nil, tinyLlama, more))
		if !errors.Is(err, ErrConfig) {
			t.Errorf("%s: error %v, want %v", more, err, ErrConfig)
		} else if !strings.Contains(err.Error(), say) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: %q does not say %q in one line", more, err, say)
		}
	}
}

func TestScaleRope(t *testing.T) {
	c, err := ParseConfig(fmt.Appendf(nil, tinyLlama, ""))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ScaleRope("linear", 4); err != nil || c.MaxPositions != 2048 {
		t.Fatalf("%v, context %d", err, c.MaxPositions)
	}
	if r := c.Rope.Build(2048); r.Inv[0] != 0.25 || r.Factor != 1 {
		t.Errorf("linear by 4: %+v", r)
	}
	// A scaling that is there is replaced, not multiplied; a refused one changes nothing.
	c, err = ParseConfig(fmt.Appendf(nil, tinyLlama, `,"rope_scaling":{"type":"yarn","factor":4,"original_max_position_embeddings":128}`))
	if err != nil {
		t.Fatal(err)
	}
	if err := c.ScaleRope("yarn", 8); err != nil || c.MaxPositions != 1024 || c.Rope.Original != 128 || c.Rope.Factor != 8 {
		t.Errorf("yarn by 8 over yarn by 4 of 128: %v, context %d, %+v", err, c.MaxPositions, c.Rope)
	}
	before := *c
	for _, bad := range []struct {
		kind string
		by   float64
	}{{"longrope", 2}, {"linear", 0}, {"yarn", math.NaN()}, {"yarn", math.Inf(1)}, {"", 2}} {
		if err := c.ScaleRope(bad.kind, bad.by); !errors.Is(err, ErrConfig) {
			t.Errorf("%s:%v: %v", bad.kind, bad.by, err)
		}
	}
	if c.MaxPositions != before.MaxPositions || c.Rope.Type != before.Rope.Type || c.Rope.Factor != before.Rope.Factor {
		t.Errorf("a refused scaling left %+v", c.Rope)
	}
}

// FuzzParseConfig: whatever is accepted can be used: the rotation has a finite
// frequency for every pair, and the sizes that plans multiply stay in range. And
// reading takes no more memory than the input accounts for.
func FuzzParseConfig(f *testing.F) {
	paths, err := filepath.Glob("testdata/*/config.json")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, p := range paths {
		data, err := os.ReadFile(p)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add(fmt.Appendf(nil, tinyLlama, `,"sparse_config":{"topk":32},"rope_scaling":{"type":"yarn","factor":1e308}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		c, err := ParseConfig(data)
		runtime.ReadMemStats(&after)
		if got, most := after.TotalAlloc-before.TotalAlloc, 4*uint64(len(data))+64<<20; got > most {
			t.Fatalf("%d bytes of input took %d bytes of memory, at most %d", len(data), got, most)
		}
		if err != nil {
			if !errors.Is(err, ErrConfig) {
				t.Fatalf("error %v is not %v", err, ErrConfig)
			}
			return
		}
		if c.WorkspaceBytes(1<<16, 64, 0) <= 0 {
			t.Fatalf("the memory of a step overflows: %+v", c)
		}
		for _, context := range []int{1, c.MaxPositions, 1 << 28} {
			r := c.Rope.Build(context)
			if len(r.Inv) != c.Rope.Dims/2 {
				t.Fatalf("%d frequencies for %d channels", len(r.Inv), c.Rope.Dims)
			}
			for i, v := range append(r.Inv, r.Factor) {
				if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
					t.Fatalf("frequency %d is %v: %+v", i, v, c.Rope)
				}
			}
		}
	})
}
