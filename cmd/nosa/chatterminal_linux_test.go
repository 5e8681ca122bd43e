package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// keyboard is `nosa chat` in a terminal of its own, as a user has it.
type keyboard struct {
	*testing.T
	screen *os.File
	before *unix.Termios // the terminal, as nobody had touched it
	cmd    *exec.Cmd
	ended  chan struct{}

	mu   sync.Mutex
	more *sync.Cond
	seen string // all that was on the screen
	at   int    // up to where it was looked at
}

func typing(t *testing.T, env []string, args ...string) *keyboard {
	t.Helper()
	screen, tty := pseudoTerminal(t)
	before, err := unix.IoctlGetTermios(int(screen.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	k := &keyboard{T: t, screen: screen, before: before, cmd: command(t, env, append([]string{"chat"}, args...)...), ended: make(chan struct{})}
	k.more = sync.NewCond(&k.mu)
	k.cmd.Stdin, k.cmd.Stdout, k.cmd.Stderr = tty, tty, tty
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := k.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if err := tty.Close(); err != nil {
		t.Fatal(err)
	}
	go func() { // ends with the process, whose terminal it is
		defer close(k.ended)
		for b := make([]byte, 4096); ; {
			n, err := screen.Read(b)
			k.mu.Lock()
			k.seen += string(b[:n])
			k.mu.Unlock()
			k.more.Broadcast()
			if err != nil {
				return
			}
		}
	}()
	return k
}

// waits until the screen shows something new that has s in it.
func (k *keyboard) waits(s string) {
	k.Helper()
	late := time.AfterFunc(time.Minute, func() {
		_ = k.cmd.Process.Kill() // it may have ended
	})
	defer late.Stop()
	k.mu.Lock()
	defer k.mu.Unlock()
	for {
		if i := strings.Index(k.seen[k.at:], s); i >= 0 {
			k.at += i + len(s)
			return
		}
		select {
		case <-k.ended:
			k.Fatalf("it ended without %q; the screen shows %q", s, k.seen)
		default:
		}
		k.more.Wait()
	}
}

func (k *keyboard) types(s string) {
	k.Helper()
	if _, err := k.screen.WriteString(s); err != nil {
		k.Fatal(err)
	}
}

// exit waits for the end, which is to have a code.
func (k *keyboard) exit(code int) string {
	k.Helper()
	err := k.cmd.Wait()
	<-k.ended
	if k.cmd.ProcessState.ExitCode() != code {
		k.Errorf("%v; the screen shows %q", err, k.seen)
	}
	return k.seen
}

// evil is a server that sends what a terminal would obey, and then, to a question with
// "forever" in it, does not end.
func evil(t *testing.T) (url string, gone chan struct{}) {
	gone = make(chan struct{}, 10)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct{ Messages []struct{ Content string } }
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
			return
		}
		last := body.Messages[len(body.Messages)-1].Content
		w.Header().Set("Content-Type", "text/event-stream")
		send := func(text string) {
			_, _ = fmt.Fprintf(w, "data: {\"choices\":[{\"delta\":{\"content\":%q}}]}\n\n", text)
			_ = http.NewResponseController(w).Flush()
		}
		// The escape as JSON has it, in two pieces.
		_, _ = fmt.Fprint(w, `data: {"choices":[{"delta":{"content":"red\u001b"}}]}`+"\n\n"+`data: {"choices":[{"delta":{"content":"[31m\u009b2J\u0007\r!"}}]}`+"\n\n")
		if strings.Contains(last, "forever") {
			send(" and on")
			<-r.Context().Done()
			gone <- struct{}{}
			return
		}
		if strings.HasSuffix(last, "one\ntwo") {
			send(" heard both")
		}
		_, _ = fmt.Fprint(w, "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":4}}\n\ndata: [DONE]\n\n")
	}))
	t.Cleanup(s.Close)
	return s.URL, gone
}

// TestChatOnTerminal: Ctrl-C stops an answer, and not the program; what a model sends can
// do nothing to the terminal; lines that are pasted are one message; Ctrl-D ends, and
// leaves the terminal as it was.
func TestChatOnTerminal(t *testing.T) {
	url, gone := evil(t)
	k := typing(t, []string{"TERM=xterm", "NO_COLOR=1"}, "--server", url, "--model", "m")
	k.waits("Ctrl-C stops")
	k.waits("> ")
	k.types("hi\r")
	k.waits("red?[31m?2J?!\r\n")
	k.waits("4 tokens")
	k.waits("> ")
	k.types("go on forever\r")
	k.waits("!")
	k.waits(" and on")
	k.types("\x03")
	k.waits("stopped after 3 tokens")
	<-gone
	k.waits("> ")
	k.types("/dance\r")
	k.waits("no command /dance")
	k.waits("> ")
	k.types("\x1b[200~one\rtwo\x1b[201~\r")
	k.waits(" heard both")
	k.waits("> ")
	k.types("half a line\x03")
	k.waits("Ctrl-C again")
	k.waits("> ")
	k.types("hi again\r")
	k.waits("red?[31m")
	k.waits("> ")
	k.types("\x03")
	k.waits("Ctrl-C again")
	k.waits("> ")
	k.types(strings.Repeat("x", 5000) + "\r")
	k.waits("which the editor cut")
	k.waits("> ")
	mode, err := unix.IoctlGetTermios(int(k.screen.Fd()), unix.TCGETS)
	if err != nil || mode.Lflag&unix.ICANON != 0 {
		t.Errorf("the editor does not have the terminal: %+v, %v", mode, err)
	}
	k.types("\x04")
	seen := k.exit(exitDone)
	for _, bad := range []string{"\x1b[31m", "\u009b", "\a", "\x1b[2m"} {
		if strings.Contains(seen, bad) {
			t.Errorf("the screen was sent %q", bad)
		}
	}
	if on, off := strings.Count(seen, "\x1b[?2004h"), strings.Count(seen, "\x1b[?2004l"); on != off || on == 0 {
		t.Errorf("pasting was set %d times, and undone %d times", on, off)
	}
}

// TestChatTerminalAfter: whatever ends it, the terminal is as it was, and the shell's
// prompt has a line of its own.
func TestChatTerminalAfter(t *testing.T) {
	url, _ := evil(t)
	for name, end := range map[string]struct {
		do   func(k *keyboard)
		code int
		last string
	}{
		"Ctrl-D":       {func(k *keyboard) { k.types("\x04") }, exitDone, "> \r\n"},
		"Ctrl-C twice": {func(k *keyboard) { k.types("\x03"); k.waits("again"); k.waits("> "); k.types("\x03") }, exitDone, "\r\n"},
		"/exit":        {func(k *keyboard) { k.types("/exit\r") }, exitDone, "/exit\r\n"},
		"SIGTERM":      {func(k *keyboard) { _ = k.cmd.Process.Signal(syscall.SIGTERM) }, exitFailed, "> \r\nnosa: interrupted\r\n"},
		"in an answer": {func(k *keyboard) { k.types("forever\r"); k.waits(" and on"); _ = k.cmd.Process.Signal(syscall.SIGTERM) }, exitFailed, " and on\r\nnosa: interrupted\r\n"},
	} {
		k := typing(t, []string{"TERM=xterm"}, "--server", url, "--model", "m")
		k.waits("> ")
		again, err := os.OpenFile(ttyName(t, k.screen), os.O_RDWR|unix.O_NOCTTY, 0) // so that it outlives the process
		if err != nil {
			t.Fatal(err)
		}
		end.do(k)
		_ = k.cmd.Wait() // its code is looked at
		after, err := unix.IoctlGetTermios(int(again.Fd()), unix.TCGETS)
		if err != nil {
			t.Fatal(err)
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		<-k.ended
		seen := strings.ReplaceAll(k.seen, "\x1b[?2004l", "")
		if k.cmd.ProcessState.ExitCode() != end.code || !strings.HasSuffix(seen, end.last) {
			t.Errorf("%s: code %d, the screen shows %q", name, k.cmd.ProcessState.ExitCode(), k.seen)
		}
		if k.before.Lflag != after.Lflag || k.before.Iflag != after.Iflag || k.before.Oflag != after.Oflag {
			t.Errorf("%s: the terminal is not as it was: %+v, now %+v", name, k.before, after)
		}
	}
}

// ttyName is the other end of a pseudo-terminal.
func ttyName(t *testing.T, screen *os.File) string {
	t.Helper()
	n, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("/dev/pts/%d", n)
}

// TestChatDumbTerminal: one that knows no escape codes gets none.
func TestChatDumbTerminal(t *testing.T) {
	url, _ := evil(t)
	k := typing(t, []string{"TERM=dumb"}, "--server", url, "--model", "m")
	k.waits("> ")
	k.types("hi\n")
	k.waits("red?[31m")
	k.waits("> ")
	k.types("forever\n")
	k.waits(" and on")
	k.types("\x03")
	k.waits("stopped")
	k.waits("> ")
	k.types("\x04")
	if seen := k.exit(exitDone); strings.Contains(seen, "\x1b") {
		t.Errorf("the screen was sent %q", seen)
	}
}
