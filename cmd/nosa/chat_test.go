package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"nosa/chat"
)

// chatModel is textModel with a template that takes conversations of any length.
func chatModel(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile("../../tokenizer/testdata/smollm2.tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	template := `{"chat_template":"{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}"}`
	return tinyModel(t, 4096, map[string][]byte{"tokenizer.json": b, "tokenizer_config.json": []byte(template)})
}

// chatted runs `nosa chat` with an input that is no terminal.
func chatted(t testing.TB, input string, env map[string]string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), append([]string{"chat"}, args...), strings.NewReader(input), &stdout, &stderr, func(k string) string { return env[k] })
	return result{code, stdout.String(), stderr.String()}
}

// answered is a line of `nosa chat --json`, as docs/commands.md promises it.
type answered struct {
	Text   string              `json:"text"`
	Finish string              `json:"finish_reason"`
	Usage  *map[string]float64 `json:"usage"`
	Tiers  *tierCounts         `json:"tiers"`
}

func (r result) answers(t testing.TB) []answered {
	t.Helper()
	if r.code != exitDone {
		t.Fatalf("%+v", r)
	}
	var all []answered
	in := json.NewDecoder(strings.NewReader(r.out))
	in.DisallowUnknownFields()
	for in.More() {
		var a answered
		if err := in.Decode(&a); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
		all = append(all, a)
	}
	return all
}

// TestChat: a turn computes what is new alone, /reset and /system do what they say, and
// what was answered first is what `nosa run --chat` answers.
func TestChat(t *testing.T) {
	dir := chatModel(t)
	long := strings.TrimSpace(strings.Repeat("whale ", 150))
	args := []string{dir, "--context", "2048", "--max-tokens", "12"}
	input := long + "\nAnd then?\n\n/reset\n" + long + "\n/system Be brief.\n" + long + "\n"
	got := chatted(t, input, nil, append(args, "--json")...).answers(t)
	if len(got) != 4 {
		t.Fatalf("%d answers: %+v", len(got), got)
	}
	use := func(i int, name string) int { return int((*got[i].Usage)[name]) }
	for i := range got {
		if use(i, "completion_tokens") == 0 || use(i, "prompt_tokens")+use(i, "completion_tokens") != use(i, "total_tokens") || got[i].Tiers.Selected == 0 || got[i].Tiers.Hits != got[i].Tiers.Selected {
			t.Errorf("answer %d: %+v, %+v", i, *got[i].Usage, *got[i].Tiers)
		}
	}
	whole := use(0, "prompt_tokens") / 64 * 64
	if use(0, "cached_tokens") != 0 || use(1, "cached_tokens") < whole || use(1, "prompt_tokens") <= use(0, "total_tokens") {
		t.Errorf("the second turn took %d of %d tokens from the cache, want %d and more", use(1, "cached_tokens"), use(1, "prompt_tokens"), whole)
	}
	if got[2].Text != got[0].Text || use(2, "prompt_tokens") != use(0, "prompt_tokens") || use(2, "cached_tokens") < whole-64 {
		t.Errorf("after /reset: %+v, at first %+v", got[2], got[0])
	}
	if use(3, "prompt_tokens") <= use(2, "total_tokens") || use(3, "cached_tokens") != 0 {
		t.Errorf("under another system message: %v", *got[3].Usage)
	}
	var once ran
	parseJSON(t, nosa(t, nil, "run", dir, "--json", "--chat", "-p", long, "--max-tokens", "12", "--context", "2048"), &once)
	if once.Text != got[0].Text {
		t.Errorf("run --chat says %q, chat %q", once.Text, got[0].Text)
	}

	r := chatted(t, "hi\n", nil, args...)
	if r.code != exitDone || !strings.HasSuffix(r.out, "\n") || strings.Contains(r.out+r.errors, "\x1b") || strings.Contains(r.out, ">") || !strings.Contains(r.errors, "tokens/s") || !strings.Contains(r.errors, "100.0% in slots") {
		t.Errorf("%+v", r)
	}
	if r := chatted(t, "hi\n/stats\n", nil, append(args, "-q")...); r.code != exitDone || r.errors != "" || r.out == "" {
		t.Errorf("-q: %+v", r)
	}
	if r := chatted(t, "hi\n/stats\n/help\n/exit\nhi\n", nil, args...); !strings.Contains(r.errors, "of selections") || !strings.Contains(r.errors, "/system [TEXT]") || strings.Count(r.errors, "tokens/s") != 1 {
		t.Errorf("commands: %+v", r)
	}
}

// TestChatTiers: with few slots the answer is the same, and is told where its blocks were.
func TestChatTiers(t *testing.T) {
	dir := chatModel(t)
	input := strings.Repeat("whale ", 400) + "\nAnd?\n"
	args := []string{dir, "--json", "--context", "2048", "--max-tokens", "8"}
	want := chatted(t, input, nil, args...).answers(t)
	got := chatted(t, input, nil, append(args, "--kv-device", "60KiB")...).answers(t)
	for i := range want {
		n := got[i].Tiers
		if got[i].Text != want[i].Text || n.HostHits == 0 || n.Hits+n.HostHits+n.DiskHits != n.Selected {
			t.Errorf("answer %d: %+v %+v, want %+v", i, got[i], *n, want[i])
		}
	}
	if r := chatted(t, input, nil, append(args[:1:1], "--context", "2048", "--max-tokens", "8", "--kv-device", "60KiB")...); !strings.Contains(r.errors, "in the host pool") {
		t.Errorf("%+v", r)
	}
}

// TestChatText: blocks of lines, files, slashes; and what is refused.
func TestChatText(t *testing.T) {
	var got []string
	s := echo(t, func(said string) { got = append(got, said) })
	file := writeFile(t, "a whole book")
	input := "\"\"\"\none\n\n  /two\n\"\"\"\n//slash\n/file " + file + "\nwhat is it?\r\nthe last, without an end"
	r := chatted(t, input, nil, "--server", s, "--model", "m", "--system", "Sys")
	if r.code != exitDone || strings.Count(r.out, "said.\n") != 4 {
		t.Fatalf("%+v", r)
	}
	want := []string{
		"[system:Sys user:one\n\n  /two]",
		"[system:Sys user:one\n\n  /two assistant:said. user:/slash]",
		"[system:Sys user:one\n\n  /two assistant:said. user:/slash assistant:said. user:a whole book\nwhat is it?]",
		"[system:Sys user:one\n\n  /two assistant:said. user:/slash assistant:said. user:a whole book\nwhat is it? assistant:said. user:the last, without an end]",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("the server heard\n%q, want\n%q", got, want)
	}
	for name, tc := range map[string]struct{ input, says string }{
		"no command":    {"/dance\n", "/dance"},
		"stands alone":  {"/reset now\n", "/reset stands alone"},
		"no path":       {"/file\n", "PATH"},
		"no file":       {"/file /no/such/file\n", "/no/such/file"},
		"no end":        {"\"\"\"\none\n", `"""`},
		"no answer yet": {"/stats\n", "no answer"},
		"not UTF-8":     {"a\xffb\n", "UTF-8"},
		"endless line":  {strings.Repeat("x", mostLine+1), "1 MiB"},
		"escapes":       {"/\x1b[2J\n", "/?[2J"},
	} {
		r := chatted(t, tc.input+"hi\n", nil, "-q", "--server", s, "--model", "m")
		r.refused(t, exitFailed, tc.says)
		if strings.Contains(r.errors, "\x1b") {
			t.Errorf("%s: %q", name, r.errors)
		}
	}
}

// echo is a server that tells heard what was said to it, and answers "said.".
func echo(t *testing.T, heard func(string)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			Messages []struct{ Role, Content string }
		}
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		var all []string
		for _, m := range body.Messages {
			all = append(all, m.Role+":"+m.Content)
		}
		heard(fmt.Sprint(all))
		w.Header().Set("Content-Type", "text/event-stream")
		for _, piece := range []string{"sa", "id."} {
			_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", piece)
		}
		_, _ = fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestChatStopped: an answer that is stopped is known as far as it came, and the next one
// is what it would have been.
func TestChatStopped(t *testing.T) {
	g := &Globals{Stdout: NewOutput(io.Discard), Stderr: NewOutput(io.Discard), Getenv: func(string) string { return "" }, Quiet: true, Log: slog.New(slog.DiscardHandler)}
	cmd := &ChatCmd{MaxTokens: 50, TopP: 1, Temp: 900, Seed: 3}
	parser, err := newParser(&commands{}, g)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := parser.Parse([]string{"chat"}); err != nil { // for the defaults
		t.Fatal(err)
	}
	cmd.ModelFlags = parser.Model.Target.Interface().(commands).Chat.ModelFlags
	cmd.Model, cmd.Context = chatModel(t), 1024
	p, err := cmd.openModel(g)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.close(); err != nil {
			t.Error(err)
		}
	}()
	said := []chat.Message{{Role: "user", Content: strings.Repeat("whale ", 100)}}
	whole, err := p.answer(t.Context(), said, func(string) error { return nil })
	if err != nil || whole.generated < 10 {
		t.Fatalf("%+v, %v: want 10 tokens and more", whole, err)
	}
	ctx, stop := context.WithCancelCause(t.Context())
	pieces := 0
	part, err := p.answer(ctx, said, func(string) error {
		if pieces++; pieces == 3 {
			stop(errStopped)
		}
		return nil
	})
	if !errors.Is(err, errStopped) || pieces != 3 || part.text == "" || !strings.HasPrefix(whole.text, part.text) || part.generated >= whole.generated {
		t.Errorf("%+v, %v after %d pieces, of %q", part, err, pieces, whole.text)
	}
	again, err := p.answer(t.Context(), said, func(string) error { return nil })
	if err != nil || again.text != whole.text || again.cached == 0 {
		t.Errorf("%+v, %v: want %q", again, err, whole.text)
	}
}

// TestChatServer: our own server answers as the model in this process does, from its
// cache too, and says what its tiers did.
func TestChatServer(t *testing.T) {
	const key = "0123456789abcdef"
	dir := chatModel(t)
	s := serveModel(t, dir, "--api-key-file", writeFile(t, key+"\n"), "--context", "2048")
	input := strings.Repeat("whale ", 150) + "\nAnd then?\n/stats\n"
	want := chatted(t, input, nil, dir, "--json", "--context", "2048", "--max-tokens", "12").answers(t)
	r := chatted(t, input, map[string]string{"NOSA_API_KEY": key}, "--server", s.url, "--json", "--max-tokens", "12")
	got := r.answers(t)
	if len(got) != 2 || len(want) != 2 || !strings.Contains(r.errors, "device") {
		t.Fatalf("%+v, want %+v", r, want)
	}
	for i := range got {
		if got[i].Text != want[i].Text || (*got[i].Usage)["cached_tokens"] != (*want[i].Usage)["cached_tokens"] || got[i].Tiers == nil || got[i].Tiers.Selected == 0 {
			t.Errorf("answer %d: %+v %+v, want %+v %+v", i, got[i], *got[i].Usage, want[i], *want[i].Usage)
		}
	}
	chatted(t, "hi\n", nil, "-q", "--server", s.url).refused(t, exitFailed, s.url+"/v1/models", "HTTP 401")
	r = chatted(t, strings.Repeat("whale ", 4000)+"\n", nil, "-q", "--server", s.url, "--api-key-file", writeFile(t, "me "+key+"\n"))
	r.refused(t, exitFailed, "HTTP 400", "2048")
}

func TestChatRefusals(t *testing.T) {
	dir := chatModel(t)
	for name, tc := range map[string]struct {
		args []string
		code int
		says []string
	}{
		"two partners":   {[]string{dir, "--server", "x"}, exitUsage, []string{"one of them"}},
		"model's name":   {[]string{dir, "--model", "x"}, exitUsage, []string{"--server"}},
		"tokens":         {[]string{dir, "--max-tokens", "0"}, exitUsage, []string{"--max-tokens 0"}},
		"heat":           {[]string{dir, "--temperature", "NaN"}, exitUsage, []string{"--temperature"}},
		"top-p":          {[]string{dir, "--top-p", "2"}, exitUsage, []string{"--top-p"}},
		"top-k":          {[]string{dir, "--top-k", "-2"}, exitUsage, []string{"--top-k"}},
		"timeout":        {[]string{"--server", "x", "--timeout", "0s"}, exitUsage, []string{"--timeout"}},
		"address":        {[]string{"--server", "ftp://x"}, exitUsage, []string{"ftp://x"}},
		"no server":      {[]string{"--server", "127.0.0.1:1"}, exitFailed, []string{"127.0.0.1:1", "refused"}},
		"no template":    {[]string{nosaModel}, exitFailed, nil},
		"longer than it": {[]string{dir, "--context", "100"}, exitFailed, []string{"the conversation has", "100", "/reset", "--context"}},
	} {
		t.Run(name, func(t *testing.T) {
			chatted(t, strings.Repeat("whale ", 200)+"\n", nil, append([]string{"-q"}, tc.args...)...).refused(t, tc.code, tc.says...)
		})
	}
}

func TestScreenText(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ä 漢 👩‍👧\n\tx":   "plain, ä 漢 👩‍👧\n\tx",
		"\x1b[2J\x1b]0;t\a":     "?[2J?]0;t?",
		"a\r\nb\rc":             "a\nbc",
		"\u009b2J\x7f\x00\b":    "?2J???",
		"a\u202eb\u2066c\u200f": "a?b?c?",
		"a\xffb":                "a\ufffdb",
	} {
		if got := screenText(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}
