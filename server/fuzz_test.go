package server

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// FuzzBodies reads any body as each kind of request: what comes of it is a request or
// an error of the client's, in one line, that JSON can write.
func FuzzBodies(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","messages":[{"role":"user","content":"x"}],"stop":["a"],"logit_bias":{"1":-100},"stream":true,"stream_options":{"include_usage":true}}`,
		`{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"x"}],"name":"y"}],"tools":[],"chat_template_kwargs":{"enable_thinking":false},"response_format":{"type":"text"}}`,
		`{"prompt":[[1,2],[3]],"echo":true,"logprobs":1,"best_of":1,"suffix":null}`, `{"prompt":["a","b"]}`, `{"prompt":null,"stop":null}`, `[`, `{"messages":[null]}`, `{"messages":[{}]}`,
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, body string) {
		read := func(v any) error {
			return decode(httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/", strings.NewReader(body)), v)
		}
		check := func(err error) {
			if err == nil {
				return
			}
			e := asAPI(err)
			data, err := json.Marshal(e)
			if err != nil || e.Code < 400 || e.Code >= 500 || e.Message == "" || !json.Valid(data) {
				t.Errorf("%d %q %v", e.Code, data, err)
			}
		}
		var c chatRequest
		err := read(&c)
		check(err)
		if err == nil {
			check(c.unsupported())
			for _, m := range c.Messages {
				if _, text := m.Content.(string); !text {
					t.Errorf("content %T", m.Content)
				}
			}
		}
		var p completionRequest
		if check(read(&p)); p.Prompt.texts != nil && p.Prompt.ids != nil {
			t.Error("a prompt is both text and ids")
		}
	})
}
