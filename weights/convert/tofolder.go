package convert

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"nosa/dtype"
	"nosa/weights"
)

// besides are the files that a folder hands on to another folder.
var besides = []string{
	"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja", "generation_config.json",
	"tokenizer.model", "vocab.json", "merges.txt", "added_tokens.json",
}

// writeFolder writes c, a GGUF file or another folder, as a Hugging Face folder.
func writeFolder(ctx context.Context, c *weights.Checkpoint, dst string, opts Options) error {
	m, err := inspect(c, opts.Plain)
	if err != nil {
		return err
	}
	tensors, err := m.tensors(opts.Plain)
	if err != nil {
		return err
	}
	var out []weights.Source
	main, most := dtype.F32, 0
	for _, t := range tensors {
		if weights.GGUFName(t.Name) == t.Name && c.Format() == weights.FormatGGUF {
			return fmt.Errorf("tensor %q has no name in transformers: %w", t.Name, ErrUnsupported)
		}
		to := folderType(t, opts.Type)
		out = append(out, recode(t, to, m.rows(t.Name, false)))
		if n := t.Elements(); n > most {
			main, most = to, n
		}
	}
	files, err := m.files(main, opts.Plain)
	if err != nil {
		return err
	}
	return weights.WriteFolder(ctx, dst, files, out, weights.FolderOptions{Shard: opts.Shard, Progress: opts.Progress})
}

// folderType returns the number format in which a tensor is written: see Options.Type. Integers stay what they are.
func folderType(t weights.Tensor, want dtype.Type) dtype.Type {
	switch {
	case !t.Type.Quantised() && !t.Type.Encodes():
		return t.Type
	case want != dtype.Invalid:
		return want
	case t.Type.Quantised():
		return dtype.F32
	}
	return t.Type
}

// files returns everything beside the tensors.
func (m *model) files(main dtype.Type, plain bool) (map[string][]byte, error) {
	cfg, err := m.folderConfig(main, plain)
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{"config.json": cfg}
	if m.Format() == weights.FormatGGUF {
		more, err := ggufTokenizer(m)
		if err != nil {
			return nil, err
		}
		for name, data := range more {
			files[name] = data
		}
		return files, nil
	}
	for _, name := range besides {
		data, err := m.File(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		files[name] = data
	}
	return files, nil
}

var torchNames = map[dtype.Type]string{dtype.F32: "float32", dtype.F16: "float16", dtype.BF16: "bfloat16"}

// folderConfig returns config.json, changed where the tensors have changed; all other keys are handed on.
func (m *model) folderConfig(main dtype.Type, plain bool) ([]byte, error) {
	keys := map[string]json.RawMessage{}
	if err := json.Unmarshal(m.Config(), &keys); err != nil {
		return nil, fmt.Errorf("config.json: %w: %w", err, weights.ErrFormat)
	}
	set := func(key string, value any) {
		data, err := json.Marshal(value)
		if err == nil { // strings and lists of strings always can be
			keys[key] = data
		}
	}
	if name, ok := torchNames[main]; ok {
		set("torch_dtype", name)
		if _, ok := keys["dtype"]; ok { // transformers 5's name
			set("dtype", name)
		}
	}
	if plain && (m.arch == "llama" || m.arch == "minicpm") {
		set("model_type", m.arch)
		set("architectures", []string{map[string]string{"llama": "LlamaForCausalLM", "minicpm": "MiniCPMForCausalLM"}[m.arch]})
		delete(keys, "sparse_config")
	}
	if m.Format() == weights.FormatGGUF {
		delete(keys, "rope_interleaved") // the rows have been moved back
		if below, err := m.config.architecture(true, true); err == nil && m.arch == "nosa" && below == "llama" {
			set("model_type", below) // as which transformers opens it; the architecture still says what it is
		}
		if err := withoutFactors(keys); err != nil {
			return nil, err
		}
	}
	return json.MarshalIndent(keys, "", "  ")
}

// withoutFactors removes rope_freq_factors, which transformers does not know, where parameters say the same.
func withoutFactors(keys map[string]json.RawMessage) error {
	raw, ok := keys["rope_scaling"]
	if !ok {
		return nil
	}
	scaling := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &scaling); err != nil {
		return fmt.Errorf("rope_scaling: %w: %w", err, weights.ErrFormat)
	}
	if _, ok := scaling["rope_freq_factors"]; !ok {
		return nil
	}
	if bytes.Equal(scaling["rope_type"], []byte(`"default"`)) {
		return fmt.Errorf("the frequency factors in rope_freqs.weight are not Llama 3's, and transformers has no words for others: %w",
			ErrUnsupported)
	}
	delete(scaling, "rope_freq_factors")
	data, err := json.Marshal(scaling)
	keys["rope_scaling"] = data
	return err
}

// encode writes JSON for people: indented, with < and > as they are.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// quote writes a JSON string with < and > as they are.
func quote(s string) string {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(s) != nil {
		return `""` // a string always can be encoded
	}
	return strings.TrimSuffix(b.String(), "\n")
}
