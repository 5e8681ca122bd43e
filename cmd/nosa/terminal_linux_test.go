package main

import (
	"bytes"
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
