package engine

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"nosa/dtype"
	"nosa/weights"
)

// randomShape is the size of a model with random weights.
type randomShape struct{ layers, hidden, heads, kvHeads, dim, mlp, vocab, topK int }

// randomModel is a model of SmolLM2's shape in small.
func randomModel(t testing.TB, layers, topK int) string {
	return randomShape{layers: layers, hidden: 192, heads: 6, kvHeads: 2, dim: 32, mlp: 256, vocab: 512, topK: topK}.write(t)
}

// write writes a NOSA model with random weights in bf16: the constants of selection are
// the real ones (blocks of 64, windows of 32 and 16), with k as given. Its logits mean
// nothing; its selections are busy.
func (r randomShape) write(t testing.TB) string {
	t.Helper()
	layers, hidden, heads, kvHeads, dim, mlp, vocab, topK := r.layers, r.hidden, r.heads, r.kvHeads, r.dim, r.mlp, r.vocab, r.topK
	config := map[string]any{
		"architectures": []string{"NosaForCausalLM"}, "model_type": "nosa", "hidden_size": hidden, "num_hidden_layers": layers,
		"num_attention_heads": heads, "num_key_value_heads": kvHeads, "head_dim": dim, "intermediate_size": mlp, "vocab_size": vocab,
		"max_position_embeddings": 1 << 17, "rope_theta": 100000, "rms_norm_eps": 1e-5, "tie_word_embeddings": false, "torch_dtype": "bfloat16",
		"sparse_config": map[string]any{"topk": topK, "topk_q": topK / 4, "window_size": 256},
	}
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	rnd := rand.New(rand.NewPCG(11, 12))
	var tensors []weights.Source
	add := func(name string, scale float64, shape ...int) {
		n := 1
		for _, d := range shape {
			n *= d
		}
		v := make([]float32, n)
		for i := range v {
			v[i] = float32(scale * rnd.NormFloat64())
			if len(shape) == 1 && scale == 1 {
				v[i] = 1 // norms
			}
		}
		raw := make([]byte, 2*n)
		dtype.Encode(dtype.BF16, raw, v)
		tensors = append(tensors, weights.Source{Name: name, Type: dtype.BF16, Shape: shape, Write: func(w io.Writer) error {
			_, err := w.Write(raw)
			return err
		}})
	}
	in := 1 / math.Sqrt(float64(hidden))
	add("model.embed_tokens.weight", 1, vocab, hidden)
	add("lm_head.weight", in, vocab, hidden)
	add("model.norm.weight", 1, hidden)
	for i := range layers {
		at := fmt.Sprintf("model.layers.%d.", i)
		add(at+"input_layernorm.weight", 1, hidden)
		add(at+"post_attention_layernorm.weight", 1, hidden)
		add(at+"self_attn.q_proj.weight", 2*in, heads*dim, hidden)
		add(at+"self_attn.k_proj.weight", 2*in, kvHeads*dim, hidden)
		add(at+"self_attn.v_proj.weight", in, kvHeads*dim, hidden)
		add(at+"self_attn.o_proj.weight", in, hidden, heads*dim)
		add(at+"self_attn.delta.weight", 0.3, kvHeads, kvHeads*dim)
		add(at+"self_attn.A", 0.5, kvHeads)
		add(at+"mlp.gate_proj.weight", in, mlp, hidden)
		add(at+"mlp.up_proj.weight", in, mlp, hidden)
		add(at+"mlp.down_proj.weight", 1/math.Sqrt(float64(mlp)), hidden, mlp)
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := weights.WriteFolder(context.Background(), dir, map[string][]byte{"config.json": data}, tensors, weights.FolderOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

// TestSameBitsLong is TestSameBits on a random model with real constants: 4,096
// tokens of prompt and 64 generated, as -samebits-random asks for.
func TestSameBitsLong(t *testing.T) {
	if !*sameRandom {
		t.Skip("takes many minutes: run with -samebits-random -timeout 60m")
	}
	*sameModel, *samePrompt, *sameGenerate, *sameLong = randomModel(t, 4, 16), 4096, 64, true
	testSameBits(t)
}
