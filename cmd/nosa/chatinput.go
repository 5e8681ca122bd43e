package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"
)

// errInput marks what the user typed wrong: said, and forgotten.
var errInput = errors.New("not understood")

// errAgain is what an interrupt at the prompt comes to, the first time.
var errAgain = errors.New("Ctrl-C again, or Ctrl-D, ends")

const (
	mostLine   = 1 << 20 // bytes of a line that is not typed
	mostTyped  = 4096    // characters of a line that is: the editor takes no more, and does not say so
	mostLines  = 1 << 16 // of a message
	chatPrompt = "> "
)

// chatInput reads messages: from a terminal with an editor of lines, or lines of a pipe.
type chatInput struct {
	g        *Globals
	terminal bool
	file     *os.File // of the terminal
	editor   *term.Terminal
	cooked   *term.State // nil while the terminal is as it was
	screen   *editorScreen
	lines    *bufio.Reader
	warned   bool // an interrupt at the prompt came, and nothing since
}

// editorScreen is the terminal as the editor sees it. It notes Ctrl-C, which the editor takes for the end.
type editorScreen struct {
	io.Writer
	in          io.Reader
	interrupted bool
}

func (s *editorScreen) Read(p []byte) (int, error) {
	n, err := s.in.Read(p)
	s.interrupted = s.interrupted || bytes.IndexByte(p[:n], 3) >= 0
	return n, err
}

// newChatInput looks at what stdin and stdout are.
func newChatInput(g *Globals) *chatInput {
	c := &chatInput{g: g}
	f, ok := g.Stdin.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) || g.Stdout.terminal() == nil || g.JSON {
		c.lines = bufio.NewReaderSize(g.Stdin, 64<<10)
		return c
	}
	c.terminal = true
	if g.Getenv("TERM") == "dumb" { // which knows no escape codes: the terminal's own lines
		c.lines = bufio.NewReaderSize(g.Stdin, 64<<10)
		return c
	}
	c.file, c.screen = f, &editorScreen{Writer: g.Stdout, in: f}
	c.editor = term.NewTerminal(c.screen, chatPrompt)
	return c
}

// close leaves the terminal as it was.
func (c *chatInput) close() { c.restore() }

func (c *chatInput) restore() {
	if c.cooked != nil {
		_, _ = io.WriteString(c.g.Stdout, "\x1b[?2004l") // kept by the output
		_ = term.Restore(int(c.file.Fd()), c.cooked)     // of a terminal that may have gone
		c.cooked = nil
	}
}

// message waits for one: a line, or several between lines of """.
func (c *chatInput) message(ctx context.Context) (string, error) {
	text, err := c.line(ctx, chatPrompt)
	if err != nil || strings.TrimSpace(text) != `"""` {
		return text, err
	}
	var b strings.Builder
	for n := 0; ; n++ {
		line, err := c.line(ctx, ". ")
		switch {
		case errors.Is(err, io.EOF):
			return "", fmt.Errorf(`%w: the input ended in a message that began with """`, errInput)
		case err != nil:
			return "", err
		case strings.TrimSpace(line) == `"""`:
			return strings.TrimSuffix(b.String(), "\n"), nil
		case n == mostLines || b.Len()+len(line) > maxText:
			return "", fmt.Errorf("%w: a message of more than %d lines, or %d MiB: use /file", errInput, mostLines, maxText>>20)
		}
		b.WriteString(line + "\n")
	}
}

// line reads one, until ctx ends.
func (c *chatInput) line(ctx context.Context, prompt string) (string, error) {
	type read struct {
		text string
		err  error
	}
	if c.editor != nil {
		if err := c.raw(prompt); err != nil {
			return "", err
		}
		defer c.restore()
	} else if c.terminal {
		c.g.Stdout.Printf("%s", prompt)
	}
	done := make(chan read, 1) // the reader may never end; then it lives as long as the process
	go func() {
		var r read
		if c.editor != nil {
			r.text, r.err = c.edited()
		} else {
			r.text, r.err = c.plain()
		}
		done <- r
	}()
	select {
	case r := <-done:
		if r.err == nil {
			if err := checkUTF8("the message", r.text); err != nil {
				r.err = fmt.Errorf("%w: %w", errInput, err)
			}
		}
		return r.text, r.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// plain reads a line as it comes.
func (c *chatInput) plain() (string, error) {
	var b strings.Builder
	for {
		part, err := c.lines.ReadSlice('\n')
		if b.Len()+len(part) > mostLine {
			return "", fmt.Errorf("a line of more than %d MiB: use /file, or nosa run --prompt-file", mostLine>>20)
		}
		b.Write(part)
		switch {
		case err == nil, errors.Is(err, io.EOF) && b.Len() > 0:
			return strings.TrimRight(b.String(), "\r\n"), nil
		case !errors.Is(err, bufio.ErrBufferFull):
			return "", err
		}
	}
}

// raw hands the terminal to the editor.
func (c *chatInput) raw(prompt string) (err error) {
	fd := int(c.file.Fd())
	if c.cooked, err = term.MakeRaw(fd); err != nil {
		return fmt.Errorf("the terminal: %w", err)
	}
	if width, height, err := term.GetSize(fd); err == nil && width > 0 {
		_ = c.editor.SetSize(width, height) // what it paints again goes to the output, which keeps errors
	}
	c.editor.SetPrompt(prompt)
	c.editor.SetBracketedPasteMode(true)
	return nil
}

// edited reads a line through the editor; lines that were pasted together are one message.
func (c *chatInput) edited() (string, error) {
	var pasted strings.Builder
	for {
		c.screen.interrupted = false
		text, err := c.editor.ReadLine()
		switch {
		case errors.Is(err, term.ErrPasteIndicator):
			if pasted.Len()+len(text) > mostLine {
				return "", fmt.Errorf("%w: more than %d MiB: use /file", errInput, mostLine>>20)
			}
			pasted.WriteString(text + "\n")
			continue
		case errors.Is(err, io.EOF) && c.screen.interrupted:
			// The editor would see it again: another one takes over.
			history := c.editor.History
			c.editor = term.NewTerminal(c.screen, chatPrompt)
			c.editor.History = history
			if c.warned {
				return "", io.EOF
			}
			c.warned = true
			return "", errAgain
		case err != nil:
			return "", err
		case len([]rune(text)) >= mostTyped:
			return "", fmt.Errorf("%w: a line of more than %d characters, which the editor cut: use /file", errInput, mostTyped-1)
		}
		c.warned = false
		return pasted.String() + text, nil
	}
}
