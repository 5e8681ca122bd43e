package chat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// conversation is the start of most tests.
func conversation() Input {
	return Input{
		Messages: []Message{
			{Role: "system", Content: "Be kind."},
			{Role: "user", Content: " Hello. "},
			{Role: "assistant", Content: "Hi."},
			{Role: "user", Content: "Bye."},
		},
		AddGenerationPrompt: true,
		BOS:                 "<s>",
		EOS:                 "</s>",
	}
}

func vocabulary(tokens ...string) func(string) bool {
	return func(token string) bool {
		for _, t := range tokens {
			if t == token {
				return true
			}
		}
		return false
	}
}

func TestDefault(t *testing.T) {
	for name, tc := range map[string]struct {
		has        func(string) bool
		name, text string
	}{
		"chatml": {
			vocabulary("<|im_start|>", "<|im_end|>", "<s>", "</s>", "<0x0A>"), "chatml",
			"<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\n Hello. <|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n<|im_start|>user\nBye.<|im_end|>\n<|im_start|>assistant\n",
		},
		"llama 3": {
			vocabulary("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"), "llama3",
			"<s><|start_header_id|>system<|end_header_id|>\n\nBe kind.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nHello.<|eot_id|>" +
				"<|start_header_id|>assistant<|end_header_id|>\n\nHi.<|eot_id|><|start_header_id|>user<|end_header_id|>\n\nBye.<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n",
		},
		"llama 2": {
			vocabulary("<s>", "</s>", "<0x0A>"), "llama2",
			"<s>[INST] <<SYS>>\nBe kind.\n<</SYS>>\n\nHello. [/INST] Hi. </s><s>[INST] Bye. [/INST]",
		},
		"none": {vocabulary("<|endoftext|>"), "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			got, tmpl, ok := Default(tc.has)
			if got != tc.name || ok != (tc.name != "") {
				t.Fatalf("found %q, %v, want %q", got, ok, tc.name)
			}
			if !ok {
				return
			}
			text, err := tmpl.Render(context.Background(), conversation())
			if err != nil || text != tc.text {
				t.Errorf("gave %q, %v\n want %q", text, err, tc.text)
			}
		})
	}
}

// TestErrors checks kinds and line numbers, which people read.
func TestErrors(t *testing.T) {
	for source, tc := range map[string]struct {
		kind error
		line int
		says string
	}{
		"a\n{% if %}":           {ErrSyntax, 2, "want an expression"},
		"a\n\n{{ 1 | nosuch }}": {ErrSyntax, 3, `no filter named "nosuch"`},
		"{{ 1 is nosuch }}":     {ErrSyntax, 1, `no test named "nosuch"`},
		"\n{% if true %}\n{{ 1 | nosuch }}{% endif %}": {ErrSyntax, 3, `no filter named "nosuch"`},
		"{{ 1 | random }}":                         {ErrRefused, 1, `the filter "random" is not supported`},
		"\n{% include '/etc/passwd' %}":            {ErrRefused, 2, "reads another template"},
		"{% import 'x' as y %}":                    {ErrRefused, 1, "reads another template"},
		"{% from 'x' import y %}":                  {ErrRefused, 1, "reads another template"},
		"{% extends 'x' %}":                        {ErrRefused, 1, "reads another template"},
		"{% block x %}{% endblock %}":              {ErrRefused, 1, "inheritance"},
		"{% autoescape true %}{% endautoescape %}": {ErrRefused, 1, "HTML"},
		"{% do 1 %}":                               {ErrSyntax, 1, `unknown statement "do"`},
		"{% if 1 %}\n{% for x in y %}":             {ErrSyntax, 2, "want endfor or else"},
		"{% if 1 %}\n\n{% endfor %}":               {ErrSyntax, 3, "wants elif or else or endif"},
		"{{ 'a }}":                                 {ErrSyntax, 1, "no end"},
		"{{ a ? b }}":                              {ErrSyntax, 1, "unexpected character '?'"},
		"\n\n{{ nosuch.attr }}":                    {ErrUndefined, 3, "'nosuch' is undefined"},
		"{{ messages[0].x.y }}":                    {ErrUndefined, 1, "no 'x'"},
		"{{ nosuch() }}":                           {ErrUndefined, 1, "'nosuch' is undefined"},
		"{% for m in messages %}\n{{ m.content + 1 }}{% endfor %}": {ErrValue, 2, "the operator + does not apply to str and int"},
		"\n{{ messages.append(1) }}":                               {ErrRefused, 2, "changes the value"},
		"{{ messages[0].update({}) }}":                             {ErrRefused, 1, "changes the value"},
		"{{ ''.__class__() }}":                                     {ErrRefused, 1, "private"},
		"{% set messages.x = 1 %}":                                 {ErrRefused, 1, "only attributes of a namespace"},
		"{% set ns = namespace(_x=1) %}":                           {ErrRefused, 1, "underscore"},
		"\n{{ raise_exception('roles must alternate') }}":          {ErrRaised, 2, "roles must alternate"},
		"{{ 1 // 0 }}":                                             {ErrValue, 1, "division by zero"},
		"{{ range(100001) }}":                                      {ErrLimit, 1, "range of more than 100000"},
		"{% macro m(a) %}\n{{ a.b }}{% endmacro %}\n\n{{ m() }}":   {ErrUndefined, 2, "the parameter 'a' was not given"},
	} {
		t.Run(source, func(t *testing.T) {
			_, err := renderSource(source, conversation())
			var e *Error
			if !errors.As(err, &e) {
				t.Fatalf("gave %v, want an *Error", err)
			}
			if !errors.Is(err, tc.kind) || e.Line != tc.line || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("gave %q (line %d)\n want line %d, %q, %v", err, e.Line, tc.line, tc.says, tc.kind)
			}
		})
	}
}

func TestRaisedMessageIsShort(t *testing.T) {
	_, err := renderSource(`{{ raise_exception('é' * 99999) }}`, Input{})
	if !errors.Is(err, ErrRaised) || len(err.Error()) > 5000 {
		t.Errorf("gave an error of %d bytes, want ErrRaised in at most 5000", len(err.Error()))
	}
}

func TestInput(t *testing.T) {
	var many []any
	for name, tc := range map[string]struct {
		source string
		in     Input
		want   string
	}{
		"nothing": {
			`{{ messages }}{{ tools }}{{ documents }}{{ add_generation_prompt }}{{ bos_token is defined }}{{ eos_token is defined }}`,
			Input{}, "[]NoneNoneFalseFalseFalse",
		},
		"no tools are not none": {`{{ tools }}`, Input{Tools: []any{}}, "[]"},
		"order of keys": {
			`{{ tools[0] | tojson }}`,
			Input{Tools: append(many, new(Object).Set("z", 1).Set("a", new(Object).Set("y", nil).Set("b", []string{"c"})))},
			`{"z": 1, "a": {"y": null, "b": ["c"]}}`,
		},
		"a Go map is sorted": {`{{ x | tojson }}`, Input{Extra: new(Object).Set("x", map[string]any{"b": 1, "a": 2})}, `{"a": 2, "b": 1}`},
		"numbers": {
			`{% for n in x %}{{ n }} {% endfor %}`,
			Input{Extra: new(Object).Set("x", []any{1, int64(2), int32(3), uint64(1 << 63), 1.5, float32(0.5), json.Number("1e2"), json.Number("12345678901234567890"), json.Number("-0")})},
			"1 2 3 9223372036854775808 1.5 0.5 100.0 12345678901234567890 0 ",
		},
		"null content":     {`{{ messages[0].content is none }}`, Input{Messages: []Message{{Role: "user"}}}, "True"},
		"absent content":   {`{{ messages[0].content is defined }}`, Input{Messages: []Message{{Role: "user", Content: Absent}}}, "False"},
		"fields":           {`{{ messages[0] | list }}`, Input{Messages: []Message{{Role: "user", Content: "", Fields: new(Object).Set("z", 1).Set("name", "a")}}}, "['role', 'content', 'z', 'name']"},
		"not UTF-8":        {`{{ messages[0].content | length }}{{ messages[0].content }}`, Input{Messages: []Message{{Content: "a\xff\xfeb"}}}, "3a\uFFFDb"},
		"a template's \r":  {"a\r\nb\rc\n", Input{}, "a\nb\nc"},
		"not UTF-8 at all": {"a\xffb", Input{}, "a\uFFFDb"},
		"documents":        {`{{ documents[0].title }}`, Input{Extra: new(Object).Set("documents", []any{map[string]any{"title": "T"}})}, "T"},
	} {
		t.Run(name, func(t *testing.T) {
			text, err := renderSource(tc.source, tc.in)
			if err != nil || text != tc.want {
				t.Errorf("gave %q, %v\n want %q", text, err, tc.want)
			}
		})
	}
}

func TestBadInput(t *testing.T) {
	deep := any("x")
	for range maxJSONDepth + 2 {
		deep = []any{deep}
	}
	for name, in := range map[string]Input{
		"a channel":             {Extra: new(Object).Set("x", make(chan int))},
		"a reserved name":       {Extra: new(Object).Set("messages", nil)},
		"not a name":            {Extra: new(Object).Set("a b", nil)},
		"no name":               {Extra: new(Object).Set("", nil)},
		"a field twice":         {Messages: []Message{{Fields: new(Object).Set("role", "x")}}},
		"too deep":              {Extra: new(Object).Set("x", deep)},
		"a number out of bound": {Extra: new(Object).Set("x", json.Number(strings.Repeat("9", 5000)))},
		"no number":             {Extra: new(Object).Set("x", json.Number("nine"))},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := renderSource("", in); !errors.Is(err, ErrInput) {
				t.Errorf("gave %v, want ErrInput", err)
			}
		})
	}
}

func TestMessageJSON(t *testing.T) {
	var m Message
	const data = `{"content":null,"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":{"z":1.0,"a":[true]}}}],"name":"n"}`
	if err := json.Unmarshal([]byte(data), &m); err != nil {
		t.Fatal(err)
	}
	if m.Role != "assistant" || m.Content != nil || fmt.Sprint(m.Fields.Keys()) != "[tool_calls name]" {
		t.Errorf("read %+v", m)
	}
	text, err := renderSource(`{{ messages[0] | tojson }}`, Input{Messages: []Message{m}})
	const want = `{"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f", "arguments": {"z": 1.0, "a": [true]}}}], "name": "n"}`
	if err != nil || text != want {
		t.Errorf("gave %s, %v\n want %s", text, err, want)
	}
	for _, bad := range []string{`{"content":"no role"}`, `{"role":1}`, `[]`, `{"role":"user"} x`, `{`, strings.Repeat("[", 99999)} {
		if err := new(Message).UnmarshalJSON([]byte(bad)); err == nil {
			t.Errorf("%.40s was read, want an error", bad)
		}
	}
}

func TestObjectJSON(t *testing.T) {
	const data = `{"z":1,"a":{"y":[1.50,"<&>",null],"b":true},"z":2}`
	var o Object
	if err := json.Unmarshal([]byte(data), &o); err != nil {
		t.Fatal(err)
	}
	b, err := o.MarshalJSON()
	if want := `{"z":2,"a":{"y":[1.50,"<&>",null],"b":true}}`; err != nil || string(b) != want {
		t.Errorf("wrote %s, %v, want %s", b, err, want)
	}
	if _, err := DecodeJSON([]byte(strings.Repeat("[", maxJSONDepth+2) + strings.Repeat("]", maxJSONDepth+2))); !errors.Is(err, ErrLimit) {
		t.Errorf("deep JSON gave %v, want ErrLimit", err)
	}
	var none *Object
	if _, ok := none.Get("x"); ok || none.Len() != 0 {
		t.Error("a nil object is not empty")
	}
}

// TestConcurrent renders one template in many goroutines, for the race detector.
func TestConcurrent(t *testing.T) {
	tmpl, err := Parse(`{% set ns = namespace(n=0) %}{% for m in messages %}{% set ns.n = ns.n + 1 %}{{ m.role }}{{ ns.n }}{% endfor %}`)
	if err != nil {
		t.Fatal(err)
	}
	in := conversation()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			text, err := tmpl.Render(context.Background(), in)
			if want := "system1user2assistant3user4"; err != nil || text != want {
				t.Errorf("gave %q, %v, want %q", text, err, want)
			}
		})
	}
	wg.Wait()
}

func TestNow(t *testing.T) {
	before := time.Now().Year()
	text, err := renderSource(`{{ strftime_now('%Y') }}`, Input{})
	if after := time.Now().Year(); err != nil || text != fmt.Sprint(before) && text != fmt.Sprint(after) {
		t.Errorf("gave %q, %v, want %d", text, err, after)
	}
}

func BenchmarkRender(b *testing.B) {
	for _, id := range []string{"chatml", "headers", "thinking"} {
		b.Run(id, func(b *testing.B) {
			var cs map[string]json.RawMessage
			readGolden(b, "testdata/conversations.json", &cs)
			in := goldenInput(b, cs["with a system message"])
			tmpl, err := Parse(readText(b, "testdata/templates/"+id+".jinja"))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := tmpl.Render(context.Background(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTakes: a template takes the arguments that it reads before it sets them.
func TestTakes(t *testing.T) {
	template, err := Parse(`{% set own = 1 %}{{ own }}{{ messages }}{{ raise_exception }}{% if deep is defined %}{% for m in messages %}{{ m[inner] }}{% endfor %}{% endif %}`)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"deep": true, "inner": true, "own": false, "messages": false, "m": false, "raise_exception": false, "other": false, "": false} {
		if got := template.Takes(name); got != want {
			t.Errorf("%q: %v", name, got)
		}
	}
}
