package corpus

import (
	"bytes"
	"fmt"
	"strings"
	"unicode/utf8"
)

// A long text is tokenised in pieces, by several threads. It is cut behind a newline that ends a line with something on it and
// before an ASCII letter: there every byte-level pre-tokeniser has a border between two words, however the text goes on, so that
// the pieces have the ids of the whole.

// lastCut is where the last piece of text ends that may be cut off, 0 where there is none.
func lastCut[T string | []byte](text T) int {
	for i := len(text) - 1; i >= 2; i-- {
		if cuttable(text, i) {
			return i
		}
	}
	return 0
}

// nextCut is the first place from at on where text may be cut, 0 where there is none.
func nextCut[T string | []byte](text T, at int) int {
	for i := max(at, 2); i < len(text); i++ {
		if cuttable(text, i) {
			return i
		}
	}
	return 0
}

func cuttable[T string | []byte](text T, i int) bool {
	if text[i-1] != '\n' {
		return false
	}
	before, after := text[i-2], text[i]|0x20
	return before > ' ' && before < utf8.RuneSelf && after >= 'a' && after <= 'z'
}

// cutter hands out a text in memory piece by piece.
type cutter struct {
	text string
	cuts bool
	open bool
}

// next returns the next piece; it must be open.
func (c *cutter) next() piece {
	if c.cuts && len(c.text) > pieceBytes {
		at := lastCut(c.text[:pieceBytes])
		if at == 0 {
			at = nextCut(c.text, pieceBytes)
		}
		if at > 0 {
			p := piece{text: c.text[:at]}
			c.text = c.text[at:]
			return p
		}
	}
	c.open = false
	return piece{c.text, true}
}

// checkText refuses bytes that are no text; line is that of the first byte, and column counts bytes.
func checkText[T string | []byte](name string, line int, text T) error {
	zero := strings.IndexByte(string(text), 0)
	bad := -1
	if !utf8.ValidString(string(text)) {
		for i, r := range string(text) {
			if r != utf8.RuneError {
				continue
			}
			if _, n := utf8.DecodeRuneInString(string(text[i:])); n == 1 {
				bad = i
				break
			}
		}
	}
	at, what := zero, "byte 0x00, as binary files have"
	if bad >= 0 && (zero < 0 || bad < zero) {
		at, what = bad, fmt.Sprintf("byte %#02x is not UTF-8", text[bad])
	}
	if at < 0 {
		return nil
	}
	before := []byte(text[:at])
	return fmt.Errorf("%s: line %d, byte %d: %s: %w", name, line+bytes.Count(before, []byte{'\n'}),
		at-bytes.LastIndexByte(before, '\n'), what, ErrText)
}
