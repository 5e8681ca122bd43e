package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"

	"golang.org/x/term"
)

// Globals is what every command is handed: where it writes, how, and the environment.
type Globals struct {
	Stdout *Output
	Stderr *Output
	Stdin  io.Reader
	Getenv func(string) string
	JSON   bool // one JSON object, or lines of them, on Stdout
	Quiet  bool // nothing on Stderr but errors
	Log    *slog.Logger
}

// Output is a stream that remembers its first error, so that a full disk behind stdout fails the command without a
// check at every line. It is safe for several goroutines.
type Output struct {
	mu  sync.Mutex
	w   io.Writer
	err error
	via io.Writer // while bars are on the screen, lines go above them
}

// NewOutput writes to w.
func NewOutput(w io.Writer) *Output { return &Output{w: w} }

func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil {
		return 0, o.err
	}
	to := o.w
	if o.via != nil {
		to = o.via
	}
	n, err := to.Write(p)
	o.err = err
	return n, err
}

// Printf formats a piece of text; an error is kept for Err.
func (o *Output) Printf(format string, args ...any) {
	_, _ = fmt.Fprintf(o, format, args...) // kept by Write
}

// writeJSON writes v on a line of its own. Names keep their < and >: this is no web page.
func writeJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// Err is the first error of a write, nil if all went out.
func (o *Output) Err() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

// divert sends what is written through w, until it is called with nil.
func (o *Output) divert(w io.Writer) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.via = w
}

// terminal is the stream's file if it is a terminal, nil otherwise.
func (o *Output) terminal() *os.File {
	if f, ok := o.w.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return f
	}
	return nil
}

// Color tells whether o may be written to in colours: a terminal that knows them, and nobody said NO_COLOR.
func (g *Globals) Color(o *Output) bool {
	return o.terminal() != nil && g.Getenv("NO_COLOR") == "" && g.Getenv("TERM") != "dumb"
}

// errUsage marks errors in what the user asked for: exit code 2.
var errUsage = errors.New("bad usage")

// usageError says what is wrong with the command line; it prints without the word.
type usageError struct{ err error }

func (u *usageError) Error() string        { return u.err.Error() }
func (u *usageError) Unwrap() error        { return u.err }
func (u *usageError) Is(target error) bool { return target == errUsage }

// usage makes an error of the command line's own.
func usage(format string, args ...any) error { return &usageError{fmt.Errorf(format, args...)} }

// newLog writes warnings, or everything with verbose, in one line each and without the time of day.
func newLog(w io.Writer, verbose, quiet bool) *slog.Logger {
	level := slog.LevelWarn
	switch {
	case quiet:
		return slog.New(slog.DiscardHandler)
	case verbose:
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level, ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey && len(groups) == 0 {
			return slog.Attr{}
		}
		return a
	}}))
}

// sprint is the text of a value that was thrown.
func sprint(v any) string { return fmt.Sprint(v) }
