package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// pseudoTerminal opens a pair: what is written to tty can be read from screen.
func pseudoTerminal(t testing.TB) (screen, tty *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminals here: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	if err := unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(int(screen.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}); err != nil {
		t.Fatal(err)
	}
	tty, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return screen, tty
}

// TestCutFile: a file that gets shorter while it is mapped is one line, not a crash.
func TestCutFile(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	if err := f.Truncate(1 << 20); err != nil {
		t.Fatal(err)
	}
	mapped, err := unix.Mmap(int(f.Fd()), 0, 1<<20, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Munmap(mapped) }()
	if err := f.Truncate(0); err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"pull", "a/b"}, strings.NewReader(""), &stdout, &stderr, func(k string) string {
		if k == "NOSA_DEBUG" {
			return ""
		}
		return string(mapped[1<<19 : 1<<19+1]) // the environment stands for a model
	})
	result{code, stdout.String(), stderr.String()}.refused(t, exitFailed, "cut short")
}

// TestAnswerOnTerminal: an answer that was interrupted ends its line before the message.
func TestAnswerOnTerminal(t *testing.T) {
	screen, tty := pseudoTerminal(t)
	var got bytes.Buffer
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancelCause(t.Context())
	wg.Go(func() {
		for b := make([]byte, 4096); ; {
			n, err := screen.Read(b)
			got.Write(b[:n])
			_, shown, _ := strings.Cut(got.String(), "in all\r\n") // the end of the plan
			shown = shown[strings.LastIndex(shown, "\x1b[J")+1:]
			if len(shown) > 20 && !strings.Contains(shown, "prefill") { // the bar has gone: this is the answer
				cancel(errInterrupted)
			}
			if err != nil {
				return
			}
		}
	})
	args := []string{"run", textModel(t), "-p", "whale", "--max-tokens", "100000", "--context", "100100", "--ignore-eos"}
	code := run(ctx, args, strings.NewReader(""), tty, tty, func(k string) string { return map[string]string{"TERM": "xterm", "NO_COLOR": "1"}[k] })
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	s := got.String()
	if code != exitFailed || !strings.HasSuffix(s, "\nnosa: interrupted\r\n") {
		t.Errorf("code %d, the end of the screen is %q", code, s[max(0, len(s)-200):])
	}
	if first, _, _ := strings.Cut(s, "\r\n"); len(first) > 100 || !strings.Contains(s, "\r\n  ") {
		t.Errorf("the plan is not wrapped to the screen: %q", s[:min(len(s), 300)])
	}
}

// escaping is textModel with two entries of its vocabulary exchanged, so that the first token
// of what it answers is an escape.
func escaping(t testing.TB, args ...string) string {
	t.Helper()
	var got ran
	parseJSON(t, nosa(t, nil, append([]string{"run", textModel(t), "--json"}, args...)...), &got)
	b, err := os.ReadFile("../../tokenizer/testdata/smollm2.tokenizer.json")
	if err != nil {
		t.Fatal(err)
	}
	var all, model map[string]json.RawMessage
	var vocab map[string]int32
	if err := errors.Join(json.Unmarshal(b, &all), json.Unmarshal(all["model"], &model), json.Unmarshal(model["vocab"], &vocab)); err != nil {
		t.Fatal(err)
	}
	const escape = "\u011b" // as byte-level vocabularies write the byte 0x1b
	for piece, id := range vocab {
		if id == got.Tokens[0] {
			vocab[piece], vocab[escape] = vocab[escape], id
			break
		}
	}
	pack := func(v any) json.RawMessage {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	model["vocab"] = pack(vocab)
	all["model"] = pack(model)
	return tinyModel(t, 4096, map[string][]byte{"tokenizer.json": pack(all)})
}

// TestRunOnTerminal: a model's escape codes reach a file as they are, and no terminal.
func TestRunOnTerminal(t *testing.T) {
	args := []string{"-p", "Call me", "--max-tokens", "8", "--ignore-eos"}
	dir := escaping(t, args...)
	raw := nosa(t, nil, append([]string{"run", dir}, args...)...)
	if raw.code != exitDone || !strings.HasPrefix(raw.out, "\x1b") {
		t.Fatalf("%+v", raw)
	}
	screen, tty := pseudoTerminal(t)
	var got bytes.Buffer
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = got.ReadFrom(screen) }) // ends with an error when the terminal is closed, as they do
	code := run(t.Context(), append([]string{"run", dir, "-q"}, args...), strings.NewReader(""), tty, tty, func(string) string { return "" })
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if want := strings.ReplaceAll(screenText(raw.out), "\n", "\r\n"); code != exitDone || got.String() != want || strings.Contains(got.String(), "\x1b") {
		t.Errorf("code %d, the screen shows %q, want %q", code, got.String(), want)
	}
}

// TestProgressBar: on a terminal a bar is drawn, lines that are written meanwhile stay whole, and nothing of the bar is
// left at the end. A pseudo-terminal stands for the terminal.
func TestProgressBar(t *testing.T) {
	for _, tc := range []struct{ noColor, term string }{{"", "xterm"}, {"1", "xterm"}, {"", "dumb"}} {
		screen, tty := pseudoTerminal(t)
		var got bytes.Buffer
		var wg sync.WaitGroup
		wg.Go(func() { _, _ = got.ReadFrom(screen) }) // ends with an error when the terminal is closed, as they do
		g := &Globals{Stderr: NewOutput(tty), Getenv: func(k string) string { return map[string]string{"NO_COLOR": tc.noColor, "TERM": tc.term}[k] }}
		p := newProgress(g, "prefill", 100, "tokens")
		for i := range 100 {
			p.Set(int64(i))
			if i == 50 {
				g.Stderr.Printf("a warning\n")
			}
			time.Sleep(5 * time.Millisecond)
		}
		p.Finish()
		g.Stderr.Printf("done\n")
		if err := g.Stderr.Err(); err != nil {
			t.Error(err)
		}
		if err := tty.Close(); err != nil {
			t.Fatal(err)
		}
		wg.Wait()
		s := got.String()
		if bar := strings.Contains(s, "━"); bar != (tc.term != "dumb") {
			t.Errorf("%+v: a bar: %v\n%q", tc, bar, s)
		}
		if color := strings.Contains(s, "\x1b[36m"); color != (tc.noColor == "" && tc.term != "dumb") {
			t.Errorf("%+v: colours: %v\n%q", tc, color, s)
		}
		if last := strings.LastIndex(s, "\x1b[J"); tc.term != "dumb" && (last < 0 || s[last:] != "\x1b[Jdone\r\n") {
			t.Errorf("%+v: the bar is left on the screen\n%q", tc, s)
		}
		if !strings.Contains(s, "a warning\r\n") || !strings.HasSuffix(s, "done\r\n") {
			t.Errorf("%+v: lines are missing\n%q", tc, s)
		}
	}
}
