package convert

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"nosa/weights"
)

// ggufTokenizer rebuilds tokenizer.json, tokenizer_config.json and generation_config.json from a GGUF's metadata.
func ggufTokenizer(m *model) (map[string][]byte, error) {
	meta := m.Metadata()
	kind, _ := meta.String("tokenizer.ggml.model")
	files := map[string][]byte{}
	switch kind {
	case "gpt2", "llama":
		r := &rebuild{meta: meta, kind: kind}
		for name, write := range map[string]func() ([]byte, error){
			"tokenizer.json": r.tokenizer, "tokenizer_config.json": r.settings,
		} {
			if err := r.load(); err != nil {
				return nil, err
			}
			data, err := write()
			if err != nil {
				return nil, err
			}
			files[name] = data
		}
	case "", "no_vocab", "none":
	default:
		return nil, fmt.Errorf("tokenizer.ggml.model is %q, want gpt2 or llama: %w", kind, ErrUnsupported)
	}
	generation := object{}
	for key, v := range map[string][]byte{
		"bos_token_id": m.config.BOS, "eos_token_id": m.config.EOS, "pad_token_id": m.config.PAD,
	} {
		if len(v) > 0 {
			generation[key] = json.RawMessage(v)
		}
	}
	if len(generation) > 0 {
		data, err := encode(generation)
		if err != nil {
			return nil, err
		}
		files["generation_config.json"] = data
	}
	return files, nil
}

// rebuild holds a GGUF's vocabulary.
type rebuild struct {
	meta   *weights.Metadata
	kind   string // gpt2 or llama
	tokens []string
	types  []int32
	ids    map[string]int
}

func (r *rebuild) load() error {
	if r.ids != nil {
		return nil
	}
	var ok bool
	if r.tokens, ok = r.meta.Strings("tokenizer.ggml.tokens"); !ok {
		return fmt.Errorf("tokenizer.ggml.tokens is missing or no list of strings: %w", weights.ErrFormat)
	}
	if r.types, ok = r.meta.Ints("tokenizer.ggml.token_type"); !ok {
		r.types = slices.Repeat([]int32{normal}, len(r.tokens))
	}
	if len(r.types) != len(r.tokens) {
		return fmt.Errorf("%d tokens, but %d token types: %w", len(r.tokens), len(r.types), weights.ErrFormat)
	}
	r.ids = make(map[string]int, len(r.tokens))
	for id, token := range r.tokens {
		if !utf8.ValidString(token) {
			return fmt.Errorf("token %d is %q, which is not UTF-8: %w", id, token, weights.ErrFormat)
		}
		if other, twice := r.ids[token]; twice {
			if r.types[id] == unused {
				continue
			}
			return fmt.Errorf("tokens %d and %d are both %q: %w", other, id, token, weights.ErrFormat)
		}
		r.ids[token] = id
	}
	return nil
}

// tokenizer writes tokenizer.json.
func (r *rebuild) tokenizer() ([]byte, error) {
	var merges [][2]string
	var err error
	doc := object{"version": "1.0", "truncation": nil, "padding": nil, "added_tokens": r.added()}
	model := object{"type": "BPE", "dropout": nil, "unk_token": nil, "continuing_subword_prefix": nil,
		"end_of_word_suffix": nil, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false}
	if r.kind == "gpt2" {
		merges, err = r.byteLevel(doc, model)
	} else {
		merges, err = r.sentencePiece(doc, model)
	}
	if err != nil {
		return nil, err
	}
	// In the order of ids and ranks, as people expect to find them.
	var vocab strings.Builder
	vocab.WriteByte('{')
	for id, token := range r.tokens {
		if r.ids[token] != id {
			continue
		}
		if vocab.Len() > 1 {
			vocab.WriteByte(',')
		}
		vocab.WriteString(quote(token) + ":" + strconv.Itoa(id))
	}
	vocab.WriteByte('}')
	model["vocab"], model["merges"] = json.RawMessage(vocab.String()), merges
	doc["model"] = model
	return encode(doc)
}

// byteLevel fills in what belongs to byte-level BPE, and returns the merges.
func (r *rebuild) byteLevel(doc, model object) ([][2]string, error) {
	name, _ := r.meta.String("tokenizer.ggml.pre")
	pre, normalizer, err := folderPreTokenizer(name)
	if err != nil {
		return nil, err
	}
	lines, ok := r.meta.Strings("tokenizer.ggml.merges")
	if !ok {
		return nil, fmt.Errorf("tokenizer.ggml.merges is missing or no list of strings: %w", weights.ErrFormat)
	}
	merges := make([][2]string, len(lines))
	for i, line := range lines {
		left, right, ok := strings.Cut(line, " ")
		if !ok || !utf8.ValidString(line) {
			return nil, fmt.Errorf("merge %d is %q, want two tokens with a space between: %w", i, line, weights.ErrFormat)
		}
		merges[i] = [2]string{left, right}
	}
	byteLevel := object{"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true}
	model["ignore_merges"] = strings.HasPrefix(name, "llama")
	doc["normalizer"], doc["pre_tokenizer"], doc["decoder"] = normalizer, pre, byteLevel
	doc["post_processor"] = any(byteLevel)
	if template := r.template(); template != nil {
		doc["post_processor"] = object{"type": "Sequence", "processors": []any{byteLevel, template}}
	}
	return merges, nil
}

// maxPiece is the longest token that is taken apart, as each cut costs its length; SentencePiece's own limit is 16
// characters.
const maxPiece = 512

// sentencePiece fills in what belongs to SentencePiece's BPE. GGUF keeps scores instead of merges: every way to cut a
// token into two others is a merge, in the order of the scores of what they make.
func (r *rebuild) sentencePiece(doc, model object) ([][2]string, error) {
	mark := object{"type": "Replace", "pattern": object{"String": " "}, "content": "▁"}
	unmark := object{"type": "Replace", "pattern": object{"String": "▁"}, "content": " "}
	decoders := []object{unmark, {"type": "ByteFallback"}, {"type": "Fuse"}}
	normalizer := object{"type": "Sequence", "normalizers": []object{mark}}
	if prefix, ok := r.meta.Bool("tokenizer.ggml.add_space_prefix"); prefix || !ok {
		normalizer["normalizers"] = []object{{"type": "Prepend", "prepend": "▁"}, mark}
		decoders = append(decoders, object{"type": "Strip", "content": " ", "start": 1, "stop": 0})
	}
	doc["normalizer"], doc["pre_tokenizer"], doc["post_processor"] = normalizer, nil, r.template()
	doc["decoder"] = object{"type": "Sequence", "decoders": decoders}
	model["byte_fallback"], model["fuse_unk"] = true, true
	if id, ok := r.role("unknown", 0); ok {
		model["unk_token"] = r.tokens[id]
	}
	scores, _ := r.meta.Floats("tokenizer.ggml.scores")
	type merge struct {
		pair  [2]string
		score float32
		ids   [2]int
	}
	var merges []merge
	for id, token := range r.tokens {
		if r.types[id] != normal || r.ids[token] != id {
			continue
		}
		if len(token) > maxPiece {
			return nil, fmt.Errorf("token %d has %d bytes, at most %d can be taken apart: %w", id, len(token), maxPiece,
				ErrUnsupported)
		}
		for cut := range token {
			left, okLeft := r.ids[token[:cut]]
			right, okRight := r.ids[token[cut:]]
			if !okLeft || !okRight || cut == 0 || r.types[left] != normal || r.types[right] != normal {
				continue
			}
			m := merge{pair: [2]string{token[:cut], token[cut:]}, ids: [2]int{left, right}}
			if id < len(scores) {
				m.score = scores[id]
			}
			merges = append(merges, m)
		}
	}
	slices.SortStableFunc(merges, func(a, b merge) int {
		return cmp.Or(cmp.Compare(b.score, a.score), cmp.Compare(a.ids[0], b.ids[0]), cmp.Compare(a.ids[1], b.ids[1]))
	})
	out := make([][2]string, len(merges))
	for i, m := range merges {
		out[i] = m.pair
	}
	return out, nil
}

// added lists the tokens that are cut out of a text before anything else.
func (r *rebuild) added() []object {
	out := []object{}
	for id, token := range r.tokens {
		t := r.types[id]
		if t != control && t != userDefined && t != unknown || token == "" {
			continue
		}
		out = append(out, object{"id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false,
			"normalized": false, "special": t != userDefined})
	}
	return out
}

// role returns the id that a key gives; otherwise the default of the llama kind, if it is not negative.
func (r *rebuild) role(name string, llama int) (int, bool) {
	id, ok := r.meta.Int("tokenizer.ggml." + name + "_token_id")
	if !ok && r.kind == "llama" {
		id, ok = llama, true
	}
	return id, ok && id >= 0 && id < len(r.tokens)
}

// adds says whether a token is put before or after texts; llama.cpp's defaults stand in for missing keys.
func (r *rebuild) adds(name string) bool {
	add, ok := r.meta.Bool("tokenizer.ggml.add_" + name + "_token")
	if !ok && name == "bos" {
		pre, _ := r.meta.String("tokenizer.ggml.pre")
		return r.kind == "llama" || strings.HasPrefix(pre, "llama")
	}
	return add
}

// template returns the post-processor that puts tokens around texts; nil if none are put.
func (r *rebuild) template() any {
	text := func(id string, n int) object { return object{"Sequence": object{"id": id, "type_id": n}} }
	special, before, after := object{}, []string(nil), []string(nil)
	note := func(role string, llama int, list *[]string) {
		if id, ok := r.role(role, llama); ok && r.adds(role) {
			token := r.tokens[id]
			special[token] = object{"id": token, "ids": []int{id}, "tokens": []string{token}}
			*list = append(*list, token)
		}
	}
	note("bos", 1, &before)
	note("eos", 2, &after)
	if len(special) == 0 {
		return nil
	}
	around := func(id string, n int) []object {
		var out []object
		for _, t := range before {
			out = append(out, object{"SpecialToken": object{"id": t, "type_id": n}})
		}
		out = append(out, text(id, n))
		for _, t := range after {
			out = append(out, object{"SpecialToken": object{"id": t, "type_id": n}})
		}
		return out
	}
	return object{"type": "TemplateProcessing", "single": around("A", 0), "pair": append(around("A", 0), around("B", 1)...),
		"special_tokens": special}
}

// settings writes tokenizer_config.json.
func (r *rebuild) settings() ([]byte, error) {
	doc := object{"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": false,
		"add_bos_token": r.adds("bos"), "add_eos_token": r.adds("eos")}
	for key, s := range map[string]struct {
		role  string
		llama int
	}{"bos_token": {"bos", 1}, "eos_token": {"eos", 2}, "unk_token": {"unknown", 0}, "pad_token": {"padding", -1}} {
		if id, ok := r.role(s.role, s.llama); ok {
			doc[key] = r.tokens[id]
		}
	}
	if template, ok := r.meta.String("tokenizer.chat_template"); ok {
		doc["chat_template"] = template
	}
	return encode(doc)
}
