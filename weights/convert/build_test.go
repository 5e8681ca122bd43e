package convert

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nosa/dtype"
	"nosa/weights"
)

// Tiny models are made here, not read: every family, every rope type, both kinds of tokenizers.

const (
	hidden, heads, kvHeads, headDim, inner, vocab, layers = 64, 4, 2, 16, 96, 40, 2
)

// tensorsOf returns random tensors of a family, normal values with every bit pattern of a small float.
func tensorsOf(family string, tied bool, typ dtype.Type) []weights.Tensor {
	rng := rand.New(rand.NewPCG(7, 8))
	var out []weights.Tensor
	add := func(name string, shape ...int) {
		t := weights.Tensor{Name: name, Type: typ, Shape: shape}
		values := make([]float32, t.Elements())
		for i := range values {
			values[i] = float32(rng.NormFloat64())
		}
		n, err := typ.Size(len(values))
		if err != nil {
			panic(err)
		}
		t.Data = make([]byte, n)
		dtype.Encode(typ, t.Data, values)
		out = append(out, t)
	}
	add("model.embed_tokens.weight", vocab, hidden)
	for l := range layers {
		at := fmt.Sprintf("model.layers.%d.", l)
		add(at+"input_layernorm.weight", hidden)
		add(at+"post_attention_layernorm.weight", hidden)
		add(at+"self_attn.q_proj.weight", heads*headDim, hidden)
		add(at+"self_attn.k_proj.weight", kvHeads*headDim, hidden)
		add(at+"self_attn.v_proj.weight", kvHeads*headDim, hidden)
		add(at+"self_attn.o_proj.weight", hidden, heads*headDim)
		add(at+"mlp.gate_proj.weight", inner, hidden)
		add(at+"mlp.up_proj.weight", inner, hidden)
		add(at+"mlp.down_proj.weight", hidden, inner)
		switch family {
		case "qwen2", "llama":
			add(at+"self_attn.q_proj.bias", heads*headDim)
			add(at+"self_attn.k_proj.bias", kvHeads*headDim)
			add(at+"self_attn.v_proj.bias", kvHeads*headDim)
		case "qwen3":
			add(at+"self_attn.q_norm.weight", headDim)
			add(at+"self_attn.k_norm.weight", headDim)
		case "nosa":
			add(at+"self_attn.delta.weight", kvHeads, kvHeads*headDim)
			add(at+"self_attn.A", kvHeads)
		}
	}
	add("model.norm.weight", hidden)
	if !tied {
		add("lm_head.weight", vocab, hidden)
	}
	return out
}

// configOf returns a family's config.json with more keys laid over it.
func configOf(family string, tied bool, more map[string]any) map[string]any {
	architecture := map[string]string{"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "qwen3": "Qwen3ForCausalLM",
		"minicpm": "MiniCPMForCausalLM", "nosa": "NosaForCausalLM"}[family]
	c := map[string]any{
		"architectures": []string{architecture}, "model_type": family, "hidden_size": hidden, "num_hidden_layers": layers,
		"num_attention_heads": heads, "num_key_value_heads": kvHeads, "head_dim": headDim, "intermediate_size": inner,
		"vocab_size": vocab, "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 5e5,
		"tie_word_embeddings": tied, "bos_token_id": 1, "eos_token_id": []int{2, 3}, "hidden_act": "silu",
		"attention_bias": family == "llama" || family == "qwen2", "mlp_bias": false,
	}
	if family == "minicpm" {
		maps.Copy(c, map[string]any{"scale_emb": 12, "scale_depth": 1.4, "dim_model_base": 32})
	}
	maps.Copy(c, more)
	return c
}

// tokenizerOf returns tokenizer.json. All of them know the special tokens <a> to <d> at 0 to 3.
func tokenizerOf(kind string) map[string]any {
	special := []object{}
	names := []string{"<a>", "<b>", "<c>", "<d>"}
	tokens := map[string]int{}
	for id, name := range names {
		special = append(special, object{"id": id, "content": name, "special": id < 3, "normalized": false,
			"single_word": false, "lstrip": false, "rstrip": false})
		tokens[name] = id
	}
	doc := map[string]any{"version": "1.0", "added_tokens": special, "normalizer": nil, "post_processor": nil}
	model := object{"type": "BPE", "unk_token": nil, "byte_fallback": false}
	byteLevel := func(own bool) object {
		return object{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": own}
	}
	pieces := []string{"h", "e", "l", "o", "Ġ", "he", "ll", "hell", "hello", "Ġhe"}
	merges := []any{[]string{"h", "e"}, "l l", []string{"he", "ll"}, []string{"hell", "o"}, []string{"Ġ", "he"}}
	split := func(pattern string) object {
		return object{"type": "Sequence", "pretokenizers": []object{
			{"type": "Split", "pattern": object{"Regex": pattern}, "behavior": "Isolated", "invert": false}, byteLevel(false)}}
	}
	switch kind {
	case "gpt-2":
		doc["pre_tokenizer"] = byteLevel(true)
	case "smollm":
		doc["pre_tokenizer"] = object{"type": "Sequence", "pretokenizers": []object{{"type": "Digits", "individual_digits": true}, byteLevel(true)}}
	case "llama-bpe":
		doc["pre_tokenizer"] = split(llama3Pattern)
		doc["post_processor"] = object{"type": "Sequence", "processors": []object{byteLevel(true), {"type": "TemplateProcessing",
			"single":         []object{{"SpecialToken": object{"id": "<b>", "type_id": 0}}, {"Sequence": object{"id": "A", "type_id": 0}}},
			"pair":           []object{},
			"special_tokens": object{"<b>": object{"id": "<b>", "ids": []int{1}, "tokens": []string{"<b>"}}}}}}
	case "qwen2":
		doc["pre_tokenizer"] = split(qwen2Pattern)
		doc["normalizer"] = object{"type": "NFC"}
	case "sentencepiece":
		doc["normalizer"] = object{"type": "Sequence", "normalizers": []object{
			{"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}}}
		model["unk_token"], model["byte_fallback"] = "<a>", true
		pieces = append([]string{"<0x00>", "<0xFF>"}, strings.Split(strings.ReplaceAll(strings.Join(pieces, " "), "Ġ", "▁"), " ")...)
		merges[4] = []string{"▁", "he"}
	}
	for i, p := range pieces {
		tokens[p] = len(names) + i
	}
	model["vocab"], model["merges"] = tokens, merges
	doc["model"] = model
	return doc
}

// folderOf writes a folder.
func folderOf(t *testing.T, config map[string]any, tensors []weights.Tensor, more map[string]any) string {
	t.Helper()
	files := map[string][]byte{}
	more = maps.Clone(more)
	if more == nil {
		more = map[string]any{}
	}
	more["config.json"] = config
	for name, v := range more {
		data, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := v.(string); ok {
			data = []byte(s)
		}
		files[name] = data
	}
	var out []weights.Source
	for _, tensor := range tensors {
		out = append(out, tensor.Source())
	}
	dir := filepath.Join(t.TempDir(), "model")
	if err := weights.WriteFolder(t.Context(), dir, files, out, weights.FolderOptions{}); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t *testing.T, path string) *weights.Checkpoint {
	t.Helper()
	c, err := weights.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// pass converts src into a new place with the given ending and opens it.
func pass(t *testing.T, src, ending string, opts Options) (string, *weights.Checkpoint) {
	t.Helper()
	dst := filepath.Join(t.TempDir(), "out"+ending)
	if err := Convert(t.Context(), src, dst, opts); err != nil {
		t.Fatal(err)
	}
	return dst, open(t, dst)
}

func tensor(t *testing.T, c *weights.Checkpoint, name string) weights.Tensor {
	t.Helper()
	out, err := c.Tensor(name)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func floats(t *testing.T, c *weights.Checkpoint, name string) []float32 {
	t.Helper()
	x := tensor(t, c, name)
	out := make([]float32, x.Elements())
	dtype.Decode(x.Type, out, x.Data)
	return out
}

func readJSON(t *testing.T, path string) map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}
