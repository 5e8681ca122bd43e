package convert

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"nosa/dtype"
	"nosa/weights"
)

// Every kind of tokenizer goes there and back: the same vocabulary, merges, special tokens and pre-tokenizer.
func TestTokenizerThereAndBack(t *testing.T) {
	for _, kind := range []string{"gpt-2", "smollm", "llama-bpe", "qwen2", "sentencepiece"} {
		t.Run(kind, func(t *testing.T) {
			settings := map[string]any{"bos_token": "<b>", "eos_token": map[string]any{"content": "<c>"}, "pad_token": nil,
				"add_bos_token": kind == "sentencepiece", "chat_template": "{{ '<|x|>' & messages }}"}
			src := folderOf(t, configOf("llama", true, nil), tensorsOf("llama", true, dtype.F32),
				map[string]any{"tokenizer.json": tokenizerOf(kind), "tokenizer_config.json": settings})
			file, c := pass(t, src, ".gguf", Options{})
			m := c.Metadata()
			tokens, _ := m.Strings("tokenizer.ggml.tokens")
			types, _ := m.Ints("tokenizer.ggml.token_type")
			if len(tokens) != vocab || len(types) != vocab || tokens[3] != "<d>" || tokens[vocab-1] != "[PAD39]" {
				t.Errorf("tokens %q", tokens)
			}
			want := []int32{control, control, control, userDefined, normal}
			if kind == "sentencepiece" {
				want = []int32{unknown, control, control, userDefined, byteToken}
			}
			if !slices.Equal(types[:5], want) || types[vocab-1] != unused {
				t.Errorf("token types %v", types)
			}
			for key, want := range map[string]int{"bos": 1, "eos": 2, "eot": 3} {
				if id, ok := m.Int("tokenizer.ggml." + key + "_token_id"); !ok || id != want {
					t.Errorf("%s is %d, %v", key, id, ok)
				}
			}
			adds := kind == "llama-bpe" || kind == "sentencepiece"
			if add, ok := m.Bool("tokenizer.ggml.add_bos_token"); !ok || add != adds {
				t.Errorf("add_bos_token is %v, %v", add, ok)
			}
			if pre, _ := m.String("tokenizer.ggml.pre"); pre != kind && kind != "sentencepiece" {
				t.Errorf("pre is %s", pre)
			}
			if prefix, _ := m.Bool("tokenizer.ggml.add_space_prefix"); prefix != (kind == "sentencepiece") {
				t.Errorf("add_space_prefix is %v", prefix)
			}
			dst, _ := pass(t, file, "", Options{})
			got := readJSON(t, filepath.Join(dst, "tokenizer.json"))
			checkTokenizer(t, kind, got, readJSON(t, filepath.Join(src, "tokenizer.json")))
			back := readJSON(t, filepath.Join(dst, "tokenizer_config.json"))
			for key, want := range map[string]any{"bos_token": "<b>", "eos_token": "<c>", "chat_template": settings["chat_template"],
				"add_bos_token": adds} {
				if back[key] != want {
					t.Errorf("%s is %v, want %v", key, back[key], want)
				}
			}
			cfg := readJSON(t, filepath.Join(dst, "config.json"))
			if !reflect.DeepEqual(cfg["eos_token_id"], []any{2., 3.}) || cfg["bos_token_id"] != 1. {
				t.Errorf("eos %v, bos %v", cfg["eos_token_id"], cfg["bos_token_id"])
			}
			if gen := readJSON(t, filepath.Join(dst, "generation_config.json")); !reflect.DeepEqual(gen["eos_token_id"], []any{2., 3.}) {
				t.Errorf("generation_config %v", gen)
			}
		})
	}
}

func checkTokenizer(t *testing.T, kind string, got, want map[string]any) {
	t.Helper()
	model, wanted := got["model"].(map[string]any), want["model"].(map[string]any)
	vocabulary := model["vocab"].(map[string]any)
	for token, id := range wanted["vocab"].(map[string]any) {
		if vocabulary[token] != id {
			t.Errorf("token %q is %v, want %v", token, vocabulary[token], id)
		}
	}
	var merges [][2]string
	for _, m := range model["merges"].([]any) {
		p := m.([]any)
		merges = append(merges, [2]string{p[0].(string), p[1].(string)})
	}
	rules := [][2]string{{"h", "e"}, {"l", "l"}, {"he", "ll"}, {"hell", "o"}, {"Ġ", "he"}}
	if kind == "sentencepiece" {
		rules[4][0] = "▁"
	}
	if !slices.Equal(merges, rules) {
		t.Errorf("merges %q, want %q", merges, rules)
	}
	if model["byte_fallback"] != wanted["byte_fallback"] || model["unk_token"] != wanted["unk_token"] {
		t.Errorf("byte_fallback %v, unk_token %v", model["byte_fallback"], model["unk_token"])
	}
	for _, part := range []string{"normalizer", "pre_tokenizer"} {
		if !reflect.DeepEqual(got[part], want[part]) {
			t.Errorf("%s is %v, want %v", part, got[part], want[part])
		}
	}
	for i, a := range want["added_tokens"].([]any) {
		b := got["added_tokens"].([]any)[i].(map[string]any)
		for key, v := range a.(map[string]any) {
			if b[key] != v {
				t.Errorf("added token %d: %s is %v, want %v", i, key, b[key], v)
			}
		}
	}
}

func TestNoTokenizer(t *testing.T) {
	src := folderOf(t, configOf("llama", true, nil), tensorsOf("llama", true, dtype.F32), nil)
	file, c := pass(t, src, ".gguf", Options{})
	if kind, _ := c.Metadata().String("tokenizer.ggml.model"); kind != "no_vocab" {
		t.Errorf("tokenizer.ggml.model is %q", kind)
	}
	dst, _ := pass(t, file, "", Options{})
	if _, err := os.Stat(filepath.Join(dst, "tokenizer.json")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a tokenizer out of nothing: %v", err)
	}
}

func TestTokenizerRefused(t *testing.T) {
	change := func(kind string, f func(doc, model map[string]any)) map[string]any {
		doc := tokenizerOf(kind)
		f(doc, doc["model"].(object))
		return doc
	}
	for name, tc := range map[string]struct {
		doc  any
		err  error
		says string
	}{
		"no JSON":      {"{", weights.ErrFormat, "tokenizer.json"},
		"unigram":      {change("gpt-2", func(_, m map[string]any) { m["type"] = "Unigram" }), ErrUnsupported, "Unigram"},
		"no model":     {"{}", weights.ErrFormat, "model"},
		"vocab array":  {change("gpt-2", func(_, m map[string]any) { m["vocab"] = []int{1} }), weights.ErrFormat, "vocab"},
		"id too large": {change("gpt-2", func(_, m map[string]any) { m["vocab"] = map[string]int{"a": vocab} }), weights.ErrFormat, "40 rows"},
		"negative id":  {change("gpt-2", func(_, m map[string]any) { m["vocab"] = map[string]int{"a": -1} }), weights.ErrFormat, "id -1"},
		"same id":      {change("gpt-2", func(_, m map[string]any) { m["vocab"] = map[string]int{"a": 5, "b": 5} }), weights.ErrFormat, "same id"},
		"merge of one": {change("gpt-2", func(_, m map[string]any) { m["merges"] = []any{"he"} }), weights.ErrFormat, "merge 0"},
		"merge of 3":   {change("gpt-2", func(_, m map[string]any) { m["merges"] = []any{[]string{"a", "b", "c"}} }), weights.ErrFormat, "merge 0"},
		"merge number": {change("gpt-2", func(_, m map[string]any) { m["merges"] = []any{5} }), weights.ErrFormat, "merge 0"},
		"merge space":  {change("gpt-2", func(_, m map[string]any) { m["merges"] = []any{[]string{"a b", "c"}} }), ErrUnsupported, "space"},
		"suffix":       {change("gpt-2", func(_, m map[string]any) { m["end_of_word_suffix"] = "</w>" }), ErrUnsupported, "suffix"},
		"other pattern": {change("qwen2", func(d, _ map[string]any) {
			d["pre_tokenizer"].(object)["pretokenizers"].([]object)[0]["pattern"] = object{"Regex": `\w+`}
		}), ErrUnsupported, `\\w+`},
		"prefix space": {change("gpt-2", func(d, _ map[string]any) { d["pre_tokenizer"].(object)["add_prefix_space"] = true }), ErrUnsupported, "space in front"},
		"other steps":  {change("gpt-2", func(d, _ map[string]any) { d["pre_tokenizer"] = object{"type": "Whitespace"} }), ErrUnsupported, "ByteLevel"},
		"no steps":     {change("gpt-2", func(d, _ map[string]any) { d["pre_tokenizer"] = nil }), ErrUnsupported, "ByteLevel"},
		"lower case":   {change("sentencepiece", func(d, _ map[string]any) { d["normalizer"] = object{"type": "Lowercase"} }), ErrUnsupported, "Lowercase"},
		"no marks":     {change("sentencepiece", func(d, _ map[string]any) { d["normalizer"] = nil }), ErrUnsupported, "▁"},
	} {
		t.Run(name, func(t *testing.T) {
			src := folderOf(t, configOf("llama", true, nil), tensorsOf("llama", true, dtype.F32), map[string]any{"tokenizer.json": tc.doc})
			err := Convert(t.Context(), src, filepath.Join(t.TempDir(), "m.gguf"), Options{})
			if !errors.Is(err, tc.err) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.err, tc.says)
			}
		})
	}
	src := folderOf(t, configOf("llama", true, nil), tensorsOf("llama", true, dtype.F32), map[string]any{"tokenizer.model": "x"})
	if err := Convert(t.Context(), src, filepath.Join(t.TempDir(), "m.gguf"), Options{}); !errors.Is(err, ErrUnsupported) {
		t.Errorf("tokenizer.model alone: %v", err)
	}
}

// Lies in a GGUF's vocabulary are found when it is to become a tokenizer.json.
func TestVocabularyRefused(t *testing.T) {
	base := func(more ...weights.Pair) []weights.Pair {
		return append([]weights.Pair{{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: "gpt-2"}}, more...)
	}
	tokens := weights.Pair{Key: "tokenizer.ggml.tokens", Value: []string{"a", "b", "ab"}}
	merges := weights.Pair{Key: "tokenizer.ggml.merges", Value: []string{"a b"}}
	for name, tc := range map[string]struct {
		meta []weights.Pair
		err  error
		says string
	}{
		"right":         {base(tokens, merges), nil, ""},
		"no tokens":     {base(merges), weights.ErrFormat, "tokens is missing"},
		"no merges":     {base(tokens), weights.ErrFormat, "merges is missing"},
		"merge of one":  {base(tokens, weights.Pair{Key: "tokenizer.ggml.merges", Value: []string{"ab"}}), weights.ErrFormat, "merge 0"},
		"types":         {base(tokens, merges, weights.Pair{Key: "tokenizer.ggml.token_type", Value: []int32{1}}), weights.ErrFormat, "1 token types"},
		"twice":         {base(weights.Pair{Key: "tokenizer.ggml.tokens", Value: []string{"a", "a"}}, merges), weights.ErrFormat, `both "a"`},
		"invalid UTF-8": {base(weights.Pair{Key: "tokenizer.ggml.tokens", Value: []string{"\xff"}}, merges), weights.ErrFormat, "UTF-8"},
		"pre": {[]weights.Pair{{Key: "tokenizer.ggml.model", Value: "gpt2"}, {Key: "tokenizer.ggml.pre", Value: "tekken"}, tokens, merges},
			ErrUnsupported, "tekken"},
		"long piece": {[]weights.Pair{{Key: "tokenizer.ggml.model", Value: "llama"},
			{Key: "tokenizer.ggml.tokens", Value: []string{"<unk>", "<s>", "</s>", strings.Repeat("a", 513)}}}, ErrUnsupported, "513 bytes"},
		"model": {[]weights.Pair{{Key: "tokenizer.ggml.model", Value: "t5"}}, ErrUnsupported, "t5"},
	} {
		t.Run(name, func(t *testing.T) {
			cfg, err := parseConfig([]byte(`{"architectures":["LlamaForCausalLM"],"hidden_size":64,"num_hidden_layers":2,` +
				`"num_attention_heads":4,"num_key_value_heads":2,"intermediate_size":96,"vocab_size":40,"max_position_embeddings":512}`))
			if err != nil {
				t.Fatal(err)
			}
			meta, _, err := cfg.metadata("llama")
			if err != nil {
				t.Fatal(err)
			}
			meta = append([]weights.Pair{{Key: "general.architecture", Value: "llama"}}, meta...)
			path := filepath.Join(t.TempDir(), "m.gguf")
			var tensors []weights.Source
			for _, x := range tensorsOf("llama", true, dtype.F32) {
				s := x.Source()
				s.Name = weights.GGUFName(s.Name)
				tensors = append(tensors, s)
			}
			if err := weights.WriteGGUF(t.Context(), path, append(meta, tc.meta...), tensors, nil); err != nil {
				t.Fatal(err)
			}
			err = Convert(t.Context(), path, filepath.Join(t.TempDir(), "folder"), Options{})
			if !errors.Is(err, tc.err) || !strings.Contains(fmt.Sprint(err), tc.says) {
				t.Errorf("got %v, want %v that says %q", err, tc.err, tc.says)
			}
		})
	}
}

func TestChatTemplates(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]any
		want  string
	}{
		"none":   {map[string]any{"tokenizer_config.json": "{}"}, ""},
		"string": {map[string]any{"tokenizer_config.json": `{"chat_template":"one"}`}, "one"},
		"list":   {map[string]any{"tokenizer_config.json": `{"chat_template":[{"name":"tool_use","template":"t"},{"name":"default","template":"d"}]}`}, "d"},
		"file":   {map[string]any{"tokenizer_config.json": `{"chat_template":"one"}`, "chat_template.jinja": "file"}, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]any{"tokenizer.json": tokenizerOf("gpt-2")}
			for k, v := range tc.files {
				files[k] = v
			}
			src := folderOf(t, configOf("llama", true, nil), tensorsOf("llama", true, dtype.F32), files)
			_, c := pass(t, src, ".gguf", Options{})
			if got, _ := c.Metadata().String("tokenizer.chat_template"); got != tc.want {
				t.Errorf("template %q, want %q", got, tc.want)
			}
		})
	}
}
