package chat

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// The files in testdata were rendered by Jinja2: scripts/oracles/chat_golden.py.

// goldenNow is the time that the script gave to strftime_now.
func goldenNow() time.Time { return time.Date(2026, 3, 7, 4, 5, 6, 78_901_000, time.UTC) }

var folder = flag.String("folder", "testdata", "where templates, conversations and their renderings are")

// readGolden reads a file of renderings, keeping the order of keys.
func readGolden(t testing.TB, path string, into any) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// goldenInput turns the arguments that the script used into an Input.
func goldenInput(t testing.TB, raw json.RawMessage) Input {
	t.Helper()
	var args Object
	if err := json.Unmarshal(raw, &args); err != nil {
		t.Fatal(err)
	}
	in := Input{Extra: &Object{}, Now: goldenNow}
	for _, k := range args.Keys() {
		v, _ := args.Get(k)
		switch k {
		case "messages":
			for _, m := range v.([]any) {
				b, err := json.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				var msg Message
				if err := json.Unmarshal(b, &msg); err != nil {
					t.Fatal(err)
				}
				in.Messages = append(in.Messages, msg)
			}
		case "tools":
			in.Tools, _ = v.([]any)
		case "add_generation_prompt":
			in.AddGenerationPrompt = v.(bool)
		case "bos_token":
			in.BOS = v.(string)
		case "eos_token":
			in.EOS = v.(string)
		default:
			in.Extra.Set(k, v)
		}
	}
	return in
}

// golden is what Jinja2 gave: a text, or an error.
type golden struct {
	Text  *string
	Error string
}

// check compares; id is what to call the source in an error.
func (g golden) check(t *testing.T, id, source string, in Input) {
	t.Helper()
	text, err := renderSource(source, in)
	switch {
	case g.Text == nil && err == nil:
		t.Errorf("%s\n gave %q\n want the error %s", id, text, g.Error)
	case g.Text != nil && err != nil:
		t.Errorf("%s\n failed: %v\n want %q", id, err, *g.Text)
	case g.Text != nil && text != *g.Text:
		t.Errorf("%s\n gave %q\n want %q", id, text, *g.Text)
	}
}

func renderSource(source string, in Input) (string, error) {
	tmpl, err := Parse(source)
	if err != nil {
		return "", err
	}
	return tmpl.Render(context.Background(), in)
}

func TestSnippets(t *testing.T) {
	var file struct {
		Arguments json.RawMessage
		Cases     []struct {
			Source string
			golden
		}
	}
	readGolden(t, "testdata/snippets.json", &file)
	in := goldenInput(t, file.Arguments)
	if len(file.Cases) < 1000 {
		t.Fatalf("found %d snippets, want at least 1000", len(file.Cases))
	}
	for _, c := range file.Cases {
		c.check(t, c.Source, c.Source, in)
	}
}

func TestTemplates(t *testing.T) {
	var conversations map[string]json.RawMessage
	readGolden(t, filepath.Join(*folder, "conversations.json"), &conversations)
	var cases []struct {
		Template, Conversation string
		golden
	}
	readGolden(t, filepath.Join(*folder, "templates.json"), &cases)
	if len(cases) == 0 {
		t.Fatal("the folder has no renderings")
	}
	for _, c := range cases {
		t.Run(fmt.Sprintf("%s/%s", c.Template, c.Conversation), func(t *testing.T) {
			source, err := os.ReadFile(filepath.Join(*folder, "templates", c.Template))
			if err != nil {
				t.Fatal(err)
			}
			c.check(t, c.Template, string(source), goldenInput(t, conversations[c.Conversation]))
		})
	}
}

func readText(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
