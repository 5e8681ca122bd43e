package main

import (
	"fmt"
	"strings"

	"github.com/mattn/go-runewidth"
	"golang.org/x/term"
)

// note tells on stderr what is going on, unless --quiet. A terminal gets it in lines that fit, broken between words;
// what reads a pipe gets one line.
func (g *Globals) note(format string, args ...any) {
	if g.Quiet {
		return
	}
	g.Stderr.Printf("%s\n", g.Stderr.fold(fmt.Sprintf(format, args...)))
}

// fold wraps text to the terminal that o is; what is not one gets it as it is.
func (o *Output) fold(text string) string {
	if f := o.terminal(); f != nil {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return wrap(text, width)
		}
	}
	return text
}

// wrap breaks text at blanks into lines of at most width cells, all but the first set in by two. A word that is longer
// has a line for itself, and a width that is no width changes nothing.
func wrap(text string, width int) string {
	const indent = "  "
	if width <= 2*len(indent) {
		return text
	}
	var b strings.Builder
	at := 0
	for i, word := range strings.Split(text, " ") {
		w := runewidth.StringWidth(word)
		switch {
		case i == 0:
		case at+1+w > width:
			b.WriteString("\n" + indent)
			at = len(indent)
		default:
			b.WriteByte(' ')
			at++
		}
		b.WriteString(word)
		at += w
	}
	return b.String()
}
