package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"

	"nosa/chat"
)

// talk is a conversation and the loop that leads it.
type talk struct {
	g        *Globals
	partner  partner
	in       *chatInput
	system   string
	messages []chat.Message // all but the system's
	files    string         // to go before the next message
	last     *turn
}

// errStopped is the cause of an answer's context when the user wants no more of it.
var errStopped = errors.New("stopped")

const chatHelp = `/help             this
/reset            begin a new conversation, under the same system message
/system [TEXT]    set the system message, or take it away
/file PATH        put a text before the next message
/stats            what the tiers of the cache did for the last answer
/exit             end, as Ctrl-D does
"""               begins a message of several lines, and ends it
//…               a message that begins with a slash
`

// run answers until the input ends.
func (t *talk) run(ctx context.Context) error {
	var interrupts chan os.Signal
	if t.in.terminal {
		// From here on Ctrl-C is for the answer, and does not end the program: what main does with
		// it is undone. SIGTERM still ends ctx.
		signal.Reset(os.Interrupt)
		interrupts = make(chan os.Signal, 1)
		signal.Notify(interrupts, os.Interrupt)
		defer signal.Stop(interrupts)
		t.g.note("/help lists what can be typed; Ctrl-C stops an answer, Ctrl-D ends")
	}
	for {
		text, err := t.in.message(ctx)
		switch {
		case errors.Is(err, io.EOF):
			if t.in.terminal {
				t.g.Stdout.Printf("\n") // the shell's own prompt is to have a line of its own
			}
			return nil
		case errors.Is(err, errAgain):
			t.g.Stdout.Printf("\n%v\n", errAgain)
			continue
		case errors.Is(err, errInput) && t.in.terminal:
			t.complain(err)
			continue
		case err != nil:
			if t.in.terminal {
				t.g.Stdout.Printf("\n")
			}
			return err
		}
		end, err := t.obey(ctx, &text)
		if err == nil && !end && strings.TrimSpace(text) != "" {
			err = t.say(ctx, text, interrupts)
		}
		if end {
			return nil
		}
		if err != nil {
			// A script can not answer to an error, a user can.
			if !t.in.terminal || ctx.Err() != nil {
				return err
			}
			t.complain(err)
		}
	}
}

// complain shows an error and goes on.
func (t *talk) complain(err error) { t.g.Stderr.Printf("nosa: %s\n", oneLine(err.Error())) }

// obey carries out a command. What remains of the text is a message.
func (t *talk) obey(ctx context.Context, text *string) (end bool, err error) {
	if !strings.HasPrefix(*text, "/") {
		return false, nil
	}
	if rest, ok := strings.CutPrefix(*text, "//"); ok {
		*text = "/" + rest
		return false, nil
	}
	word, rest, _ := strings.Cut(*text, " ")
	rest = strings.TrimSpace(rest)
	*text = ""
	if rest != "" && word != "/system" && word != "/file" {
		return false, fmt.Errorf("%w: %s stands alone", errInput, printable(word, 40))
	}
	switch word {
	case "/help":
		t.tell().Printf("%s", chatHelp)
	case "/reset":
		t.messages, t.files, t.last = nil, "", nil
		t.g.note("a new conversation")
	case "/system":
		t.setSystem(rest)
		t.g.note("the system message is set: all that was said is read again under it")
	case "/file":
		if rest == "" {
			return false, fmt.Errorf("%w: /file wants a PATH", errInput)
		}
		text, err := readText(ctx, t.g, "/file", rest)
		if err != nil {
			return false, err
		}
		if len(t.files)+len(text) > maxText {
			return false, fmt.Errorf("%w: more than %d MiB of files for one message", errInput, maxText>>20)
		}
		t.files += text + "\n"
		t.g.note("%s goes before the next message", sizeText(int64(len(text))))
	case "/stats":
		if t.last == nil {
			return false, fmt.Errorf("%w: there is no answer yet", errInput)
		}
		t.partner.stats(t.tell(), *t.last)
	case "/exit", "/quit":
		return true, nil
	default:
		return false, fmt.Errorf("%w: there is no command %s; /help lists them, and // begins a message with a slash", errInput, printable(word, 40))
	}
	return false, nil
}

// tell is where the answers to commands go. A script's are notes, and leave with them.
func (t *talk) tell() *Output {
	switch {
	case t.in.terminal:
		return t.g.Stdout
	case t.g.Quiet:
		return NewOutput(io.Discard)
	}
	return t.g.Stderr
}

func (t *talk) setSystem(text string) { t.system = text }

// conversation is what the partner reads.
func (t *talk) conversation() []chat.Message {
	if t.system == "" {
		return t.messages
	}
	return append([]chat.Message{{Role: "system", Content: t.system}}, t.messages...)
}

// say sends a message and prints the answer. A message that fails is taken back; an answer
// that was stopped stays as far as it came.
func (t *talk) say(ctx context.Context, text string, interrupts <-chan os.Signal) error {
	select {
	case <-interrupts: // that came too late for the last answer
	default:
	}
	before := t.messages
	t.messages = append(t.messages, chat.Message{Role: "user", Content: t.files + text})
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	ended := make(chan struct{})
	watched := make(chan struct{})
	go func() { // ends with the answer
		defer close(watched)
		select {
		case <-interrupts:
			stop(errStopped)
		case <-ended:
		}
	}()
	screen := t.g.Stdout.terminal() != nil
	open := false // a line that what follows must not be glued to
	got, err := t.partner.answer(ctx, t.conversation(), func(piece string) error {
		if t.g.JSON || piece == "" {
			return nil
		}
		if screen {
			piece = screenText(piece)
		}
		open = !strings.HasSuffix(piece, "\n")
		_, err := io.WriteString(t.g.Stdout, piece)
		return err
	})
	close(ended)
	<-watched
	stopped := errors.Is(err, errStopped)
	if open || err == nil && !t.g.JSON {
		t.g.Stdout.Printf("\n")
	}
	if err != nil && !stopped {
		t.messages = before
		return err
	}
	if stopped && got.text == "" {
		t.messages = before
		t.g.note("stopped before the first token: the message is taken back")
		return nil
	}
	t.files = ""
	if stopped {
		got.finish = "stopped"
	}
	t.messages, t.last = append(t.messages, chat.Message{Role: "assistant", Content: got.text}), &got
	switch {
	case t.g.JSON:
		return writeJSON(t.g.Stdout, got.json())
	case stopped:
		t.g.note("stopped after %d tokens; they stay in the conversation", got.generated)
	default:
		t.g.note("%s", t.g.faint(got.line()))
	}
	return nil
}

// faint dims a note on a terminal that has colours.
func (g *Globals) faint(s string) string {
	if !g.Color(g.Stderr) {
		return s
	}
	return "\x1b[2m" + s + "\x1b[0m"
}
