package corpus

import (
	"encoding/json"
	"errors"
	"slices"
	"testing"
	"unicode/utf8"
)

// FuzzCut: wherever the rule allows a text to be cut, the parts have the ids of the whole.
func FuzzCut(f *testing.F) {
	f.Add(prose(1, 200))
	f.Add("x \n\ny.\nZ\r\nQ's\n\nit's /\nI'll\na")
	names := []string{"gpt2", "llama3", "qwen2", "smollm2"}
	for _, name := range names {
		vocabulary(f, name)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if !utf8.ValidString(text) || len(text) > 1<<12 {
			return // such a text is refused before it is cut; long ones only take time
		}
		for i := 2; i < len(text); i++ {
			if !cuttable(text, i) {
				continue
			}
			for _, name := range names {
				v := vocabulary(t, name)
				if !slices.Equal(v.text(v.text(nil, text[:i]), text[i:]), v.text(nil, text)) {
					t.Fatalf("%s: %q | %q", name, text[:i], text[i:])
				}
			}
		}
	})
}

// FuzzField: what is taken for an object with a text, encoding/json takes for the same.
func FuzzField(f *testing.F) {
	for _, line := range []string{
		`{"text": "a"}`, `{"a": {"text": 1}, "text": "\u00e9\n", "b": [1, {}]}`, `{"text": null}`, `{"text": "a", "text": "b"}`,
		`{"text": "\ud800"}`, `{"Text": "a"}`, `{"text": "a"} `, `[]`, `{`, ``,
	} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		got, err := fieldOf(line, "text")
		if err != nil {
			if !errors.Is(err, ErrText) {
				t.Fatal(err)
			}
			return
		}
		var want map[string]any
		if err := json.Unmarshal(line, &want); err != nil {
			t.Fatalf("%q is taken, and is no JSON: %v", line, err)
		}
		if s, ok := want["text"].(string); ok && s != got || !ok && (want["text"] != nil || got != "") {
			t.Fatalf("%q: %q, want %v", line, got, want["text"])
		}
	})
}
