package server

import (
	"encoding/json"
	"strings"
	"testing"

	"nosa/chat"
	"nosa/engine"
)

// TestTemplateArgs: arguments that are allowed and that the template reads change the
// prompt; all others are refused by name.
func TestTemplateArgs(t *testing.T) {
	w := start(t, func(c *Config, _ *engine.Options) {
		c.TemplateArgs = []string{"enable_thinking", "unread", "messages", "range"}
	})
	template, err := chat.Parse(`{% for m in messages %}{{ m.content }}{% endfor %}{{ range(1) }}{% if enable_thinking is defined %}[{{ enable_thinking }}]{% endif %}{{ secret }}`)
	if err != nil {
		t.Fatal(err)
	}
	w.e.Template = template
	rendered := func(args string) string {
		t.Helper()
		var ids struct{ Tokens []int32 }
		w.good("POST", "/tokenize", `{`+hello+`,"chat_template_kwargs":`+args+`}`, &ids)
		list, _ := json.Marshal(ids.Tokens)
		var text struct{ Prompt string }
		w.good("POST", "/detokenize", `{"tokens":`+string(list)+`}`, &text)
		return text.Prompt
	}
	plain := rendered(`{}`)
	if null := rendered(`null`); null != plain || strings.Contains(plain, "]]") {
		t.Errorf("%q, %q", plain, null)
	}
	for args, want := range map[string]string{
		`{"enable_thinking":false}`: "[False]", `{"enable_thinking":"high"}`: "[high]", `{"enable_thinking":-3}`: "[-3]", `{"enable_thinking":2.5}`: "[2.5]", `{"enable_thinking":null}`: "[None]",
	} {
		if got := rendered(args); got != plain+want {
			t.Errorf("%s: %q, want %q and %s", args, got, plain, want)
		}
	}
	for name, args := range map[string]string{
		"not allowed":   `{"secret":true}`,
		"not read":      `{"unread":true}`,
		"of the input":  `{"messages":"x"}`,
		"a function":    `{"range":"x"}`,
		"no scalar":     `{"enable_thinking":[true]}`,
		"no scalar too": `{"enable_thinking":{}}`,
		"long":          `{"enable_thinking":"` + strings.Repeat("x", maxArgText+1) + `"}`,
		"long number":   `{"enable_thinking":` + strings.Repeat("1", maxArgText+1) + `}`,
		"twice":         `{"enable_thinking":true,"enable_thinking":false}`,
		"no object":     `[]`,
		"many":          `{"a":1,"b":1,"c":1,"d":1,"e":1,"f":1,"g":1,"h":1,"i":1,"j":1,"k":1,"l":1,"m":1,"n":1,"o":1,"p":1,"q":1}`,
	} {
		for _, path := range []string{"/tokenize", "/v1/chat/completions"} {
			model := ""
			if path != "/tokenize" {
				model = `"model":"tiny","max_tokens":1,`
			}
			code, data, _ := w.ask("POST", path, `{`+model+hello+`,"chat_template_kwargs":`+args+`}`)
			var e errorBody
			if json.Unmarshal(data, &e) != nil || code != 400 || e.Error.Param == nil || *e.Error.Param != "chat_template_kwargs" {
				t.Errorf("%s: %s: %d %s", path, name, code, data)
			}
		}
	}
	properties := at(w.document(), "components", "schemas", "ChatRequest", "properties", "chat_template_kwargs", "properties")
	if len(properties) != 1 || properties["enable_thinking"] == nil {
		t.Errorf("the document allows %v", properties)
	}
	if code, _, _ := w.ask("POST", "/tokenize", `{"prompt":"x","chat_template_kwargs":{"enable_thinking":true}}`); code != 400 {
		t.Errorf("arguments without messages: %d", code)
	}
}
