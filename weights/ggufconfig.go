package weights

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"

	"nosa/dtype"
)

// architectures are GGUF's names of the families that are translated, with those of transformers.
var architectures = map[string]string{
	"llama":   "LlamaForCausalLM",
	"qwen2":   "Qwen2ForCausalLM",
	"qwen3":   "Qwen3ForCausalLM",
	"minicpm": "MiniCPMForCausalLM",
	"nosa":    "NosaForCausalLM",
}

// Tensors in which GGUF keeps what config.json has as lists of numbers.
const (
	ropeFreqs = "rope_freqs.weight"
	ropeLong  = "rope_factors_long.weight"
	ropeShort = "rope_factors_short.weight"
)

// maxRotated bounds the lists of frequency factors; heads have some hundred channels.
const maxRotated = 4096

// SparseKeys are the members of config.json's sparse_config that a GGUF of ours keeps, as nosa.NAME.
var SparseKeys = []string{
	"kernel_size", "kernel_stride", "init_blocks", "block_size", "window_size", "topk", "topk_q", "dense_len",
}

// configWriter collects the keys of config.json from metadata; a key that the metadata lacks is left out.
type configWriter struct {
	*Checkpoint
	keys map[string]any
}

// ggufConfig puts config.json back together from a GGUF's metadata and tensor table, with the keys that transformers
// uses. Two are nosa's own: rope_interleaved says what Checkpoint.Interleaved does, and rope_scaling.rope_freq_factors
// holds the numbers by which the rotation's frequencies are divided, when the file has them ready made.
func ggufConfig(c *Checkpoint) ([]byte, error) {
	w := configWriter{c, map[string]any{"model_type": c.arch, "hidden_act": "silu"}}
	if name, ok := architectures[c.arch]; ok {
		w.keys["architectures"] = []string{name}
	}
	for key, from := range map[string]string{
		"hidden_size":             "embedding_length",
		"num_hidden_layers":       "block_count",
		"num_attention_heads":     "attention.head_count",
		"num_key_value_heads":     "attention.head_count_kv",
		"intermediate_size":       "feed_forward_length",
		"max_position_embeddings": "context_length",
		"head_dim":                "attention.key_length",
		"vocab_size":              "vocab_size",
	} {
		w.integer(key, c.arch+"."+from)
	}
	w.number("rms_norm_eps", c.arch+".attention.layer_norm_rms_epsilon")
	w.number("rope_theta", c.arch+".rope.freq_base")
	w.shapes()
	w.scales()
	w.rope()
	w.tokens()
	w.sparse()
	data, err := json.MarshalIndent(w.keys, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("config from metadata: %w: %w", err, ErrFormat)
	}
	return data, nil
}

// integer takes a number over. Some files have one per layer; if all are the same, that one is meant.
func (w *configWriter) integer(key, from string) {
	if n, ok := w.meta.Int(from); ok {
		w.keys[key] = n
		return
	}
	if v, ok := w.meta.Get(from); !ok || v.Len > maxRotated {
		return
	}
	if list, ok := w.meta.Ints(from); ok && len(list) > 0 && len(slices.Compact(list)) == 1 {
		w.keys[key] = int(list[0])
	}
}

// number takes a float over with as many digits as its own precision has: 1e-05, not 9.999999747378752e-06.
func (w *configWriter) number(key, from string) {
	if n, ok := w.exact(from); ok {
		w.keys[key] = n
	}
}

func (w *configWriter) exact(from string) (json.Number, bool) {
	v, ok := w.meta.Get(from)
	f, isNumber := w.meta.Float(from)
	if !ok || !isNumber || math.IsNaN(f) || math.IsInf(f, 0) {
		return "", false
	}
	return json.Number(v.Kind.text(v.raw)), true
}

// shapes takes what the tensors say: size of the vocabulary, tied embeddings, biases.
func (w *configWriter) shapes() {
	if e, ok := w.tensors["model.embed_tokens.weight"]; ok && len(e.Shape) == 2 {
		w.keys["vocab_size"] = e.Shape[0]
	}
	w.keys["tie_word_embeddings"] = !w.Has("lm_head.weight")
	w.keys["attention_bias"] = w.Has("model.layers.0.self_attn.q_proj.bias")
	w.keys["mlp_bias"] = w.Has("model.layers.0.mlp.gate_proj.bias")
	w.keys["rope_interleaved"] = w.interleaved
	dims, ok := w.meta.Int(w.arch + ".rope.dimension_count")
	head, known := w.keys["head_dim"].(int)
	if !known {
		hidden, _ := w.keys["hidden_size"].(int)
		if heads, _ := w.keys["num_attention_heads"].(int); heads > 0 {
			head = hidden / heads
		}
	}
	if ok && dims > 0 && head > 0 && dims != head {
		w.keys["partial_rotary_factor"] = float64(dims) / float64(head)
	}
}

// scales undoes what llama.cpp's converter computes for MiniCPM: the residual scale is scale_depth/√layers, and the
// logits are divided by hidden_size/dim_model_base. Old files lack them and mean the first MiniCPM's.
func (w *configWriter) scales() {
	emb, hasEmb := w.meta.Float(w.arch + ".embedding_scale")
	res, hasRes := w.meta.Float(w.arch + ".residual_scale")
	logit, hasLogit := w.meta.Float(w.arch + ".logit_scale")
	if !hasEmb && !hasRes && !hasLogit && w.arch != "minicpm" {
		return
	}
	hidden, _ := w.keys["hidden_size"].(int)
	layers, _ := w.keys["num_hidden_layers"].(int)
	set := func(key string, value float64) {
		if !math.IsNaN(value) && !math.IsInf(value, 0) {
			w.keys[key] = json.Number(strconv.FormatFloat(value, 'g', 7, 64)) // a float32's worth of digits
		}
	}
	if w.arch == "minicpm" {
		w.keys["scale_emb"], w.keys["scale_depth"], w.keys["dim_model_base"] = 12, 1.4, 256
	}
	if hasEmb {
		set("scale_emb", emb)
	}
	if hasRes {
		set("scale_depth", res*math.Sqrt(float64(layers)))
	}
	if hasLogit && logit != 0 {
		set("dim_model_base", math.Round(float64(hidden)/logit))
	}
}

// rope rebuilds rope_scaling.
func (w *configWriter) rope() {
	at := w.arch + ".rope.scaling."
	kind, _ := w.meta.String(at + "type")
	scaling := map[string]any{}
	set := func(key, from string) {
		if n, ok := w.exact(at + from); ok {
			scaling[key] = n
		}
	}
	attention, hasAttention := w.meta.Float(at + "attn_factor")
	factor, hasFactor := w.meta.Float(at + "factor")
	switch {
	case kind == "yarn":
		scaling["rope_type"] = "yarn"
		set("factor", "factor")
		set("original_max_position_embeddings", "original_context_length")
		set("beta_fast", "yarn_beta_fast")
		set("beta_slow", "yarn_beta_slow")
		if hasAttention && factor > 1 { // on top of yarn's own
			scaling["attention_factor"] = float32(attention * (0.1*math.Log(factor) + 1))
		}
	case kind == "longrope":
		scaling["rope_type"] = "longrope"
		set("original_max_position_embeddings", "original_context_length")
		set("attention_factor", "attn_factor")
		scaling["long_factor"] = w.factors(ropeLong)
		scaling["short_factor"] = w.factors(ropeShort)
	case (kind == "linear" || kind == "") && hasFactor && factor > 0 && factor != 1:
		scaling["rope_type"] = "linear"
		set("factor", "factor")
	}
	if divisors := w.factors(ropeFreqs); divisors != nil && len(scaling) == 0 {
		scaling = llama3Scaling(w.meta, w.keys, divisors)
	}
	if len(scaling) > 0 {
		w.keys["rope_scaling"] = scaling
	}
}

// factors reads a list of numbers that GGUF keeps as a tensor; nil if it is not there or not a list of finite numbers.
func (w *configWriter) factors(name string) []float32 {
	t, ok := w.tensors[name]
	if !ok || t.Type != dtype.F32 || t.Elements() > maxRotated {
		return nil
	}
	out := make([]float32, t.Elements())
	dtype.Decode(dtype.F32, out, t.Data)
	for _, f := range out {
		if f != f || math.IsInf(float64(f), 0) {
			return nil
		}
	}
	return out
}

// tokens takes the ids that begin and end texts. A second end, of a turn, joins the first in a list.
func (w *configWriter) tokens() {
	for key, from := range map[string]string{
		"bos_token_id": "bos_token_id", "pad_token_id": "padding_token_id",
	} {
		w.integer(key, "tokenizer.ggml."+from)
	}
	var ends []int
	for _, from := range []string{"eos_token_id", "eot_token_id", "eom_token_id"} {
		if id, ok := w.meta.Int("tokenizer.ggml." + from); ok && !slices.Contains(ends, id) {
			ends = append(ends, id)
		}
	}
	switch len(ends) {
	case 0:
	case 1:
		w.keys["eos_token_id"] = ends[0]
	default:
		w.keys["eos_token_id"] = ends
	}
}

// sparse takes sparse_config from nosa's own keys.
func (w *configWriter) sparse() {
	sparse := map[string]any{}
	for _, key := range SparseKeys {
		if n, ok := w.meta.Int("nosa." + key); ok {
			sparse[key] = n
		}
	}
	if nope, ok := w.meta.Bool("nosa.use_nope"); ok {
		sparse["use_nope"] = nope
	}
	if len(sparse) > 0 {
		w.keys["sparse_config"] = sparse
	}
}
