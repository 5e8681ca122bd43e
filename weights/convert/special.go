package convert

import (
	"errors"
	"fmt"
	"io/fs"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"nosa/weights"
)

// special returns the ids that have a role, and whether they are added around texts. tokenizer_config.json names them;
// config.json knows the ids of some.
func (v *vocabulary) special(c *config, settings tokenizerConfig) []weights.Pair {
	var out []weights.Pair
	named := map[string]int{}
	for _, s := range []struct {
		key  string
		text jsontext.Value
		ids  []uint32
	}{
		{"bos", settings.BOS, ids(c.BOS)}, {"eos", settings.EOS, ids(c.EOS)}, {"unknown", settings.UNK, nil},
		{"padding", settings.PAD, ids(c.PAD)},
	} {
		id, ok := v.ids[tokenText(s.text)]
		if !ok && s.key == "unknown" && v.unknown != nil {
			id, ok = v.ids[*v.unknown]
		}
		if !ok && len(s.ids) > 0 && int64(s.ids[0]) < int64(v.size) {
			id, ok = int(s.ids[0]), true
		}
		if ok {
			named[s.key] = id
			out = append(out, weights.Pair{Key: "tokenizer.ggml." + s.key + "_token_id", Value: uint32(id)})
		}
	}
	// A second end, where config.json has a list: the end of a turn.
	for _, id := range ids(c.EOS) {
		if eos, ok := named["eos"]; ok && int(id) != eos && int64(id) < int64(v.size) {
			out = append(out, weights.Pair{Key: "tokenizer.ggml.eot_token_id", Value: id})
			break
		}
	}
	added := func(side int, role string, setting *bool) bool {
		if v.ends != nil {
			id, ok := v.ids[v.ends[side]]
			want, known := named[role]
			return ok && known && id == want
		}
		return setting != nil && *setting
	}
	out = append(out,
		weights.Pair{Key: "tokenizer.ggml.add_bos_token", Value: added(0, "bos", settings.AddBOS)},
		weights.Pair{Key: "tokenizer.ggml.add_eos_token", Value: added(1, "eos", settings.AddEOS)})
	return append(out, weights.Pair{Key: "tokenizer.ggml.add_space_prefix", Value: v.prefix})
}

// tokenText reads a token that is a string or an object with its content; empty for anything else.
func tokenText(v jsontext.Value) string {
	var s string
	var o struct {
		Content string `json:"content"`
	}
	switch {
	case len(v) == 0:
	case v.Kind() == '"' && json.Unmarshal(v, &s) == nil:
		return s
	case v.Kind() == '{' && json.Unmarshal(v, &o) == nil:
		return o.Content
	}
	return ""
}

// chatTemplate returns a folder's chat template: chat_template.jinja, or the one in tokenizer_config.json, of several
// the one named default. Empty if there is none.
func chatTemplate(c *weights.Checkpoint, settings tokenizerConfig) (string, error) {
	data, err := c.File("chat_template.jinja")
	if err == nil {
		if !utf8.Valid(data) {
			return "", fmt.Errorf("chat_template.jinja is not UTF-8: %w", weights.ErrFormat)
		}
		return string(data), nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	var one string
	var many []struct{ Name, Template string }
	switch v := settings.Template; {
	case len(v) == 0:
	case v.Kind() == '"' && json.Unmarshal(v, &one) == nil:
		return one, nil
	case v.Kind() == '[':
		if err := json.Unmarshal(v, &many, json.MatchCaseInsensitiveNames(true)); err != nil {
			return "", fmt.Errorf("tokenizer_config.json: chat_template: %w: %w", err, weights.ErrFormat)
		}
		for _, t := range many {
			if t.Name == "default" {
				return t.Template, nil
			}
		}
	}
	return "", nil
}
