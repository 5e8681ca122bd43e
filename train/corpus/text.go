package corpus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// textReader gives a file as one document. It keeps no more than a piece of it and a line.
type textReader struct {
	name   string
	cuts   bool
	line   int // of the first byte of buf
	buf    []byte
	begun  bool
	spoken bool // something that is not blank has come
	ended  bool // nothing follows buf
	done   bool
	*stream
}

// bom is the mark that some systems put before a text; it is no part of it.
var bom = []byte("\ufeff")

func (r *textReader) next() (piece, error) {
	if r.done {
		return piece{}, io.EOF
	}
	at, err := r.find()
	if err != nil {
		return piece{}, err
	}
	text := string(r.buf[:at])
	if err := checkText(r.name, r.line, text); err != nil {
		return piece{}, err
	}
	r.line += bytes.Count(r.buf[:at], []byte{'\n'})
	r.spoken = r.spoken || len(bytes.TrimSpace(r.buf[:at])) > 0
	r.buf = append(r.buf[:0], r.buf[at:]...)
	r.done = r.ended && len(r.buf) == 0
	if r.done && !r.spoken {
		return piece{}, fmt.Errorf("%s: holds no text: %w", r.name, ErrText)
	}
	return piece{text, r.done}, nil
}

// find returns where the next piece ends in buf, which it fills.
func (r *textReader) find() (int, error) {
	limit := pieceBytes
	if !r.cuts {
		limit = maxDocument
	}
	if err := r.fill(limit + 1); err != nil {
		return 0, err
	}
	if len(r.buf) <= limit {
		return len(r.buf), nil // the rest
	}
	if !r.cuts {
		return 0, fmt.Errorf("%s: more than %d bytes, and this vocabulary takes a text in one piece: divide the file: %w", r.name, maxDocument, ErrText)
	}
	if at := lastCut(r.buf[:limit]); at > 0 {
		return at, nil
	}
	for from := limit; len(r.buf) <= maxDocument; from = len(r.buf) {
		if err := r.fill(len(r.buf) + pieceBytes); err != nil {
			return 0, err
		}
		if at := nextCut(r.buf, from); at > 0 {
			return at, nil
		}
		if r.ended {
			return len(r.buf), nil
		}
	}
	whole := limit
	for whole > 0 && !utf8.RuneStart(r.buf[whole]) {
		whole--
	}
	if err := checkText(r.name, r.line, r.buf[:whole]); err != nil {
		return 0, err
	}
	return 0, fmt.Errorf("%s: line %d: %d bytes and no end of a line before a letter: break the lines: %w", r.name,
		r.line+bytes.Count(r.buf[:bytes.LastIndexByte(r.buf, '\n')+1], []byte{'\n'}), len(r.buf), ErrText)
}

// fill has n bytes in buf, or all that there are.
func (r *textReader) fill(n int) error {
	for len(r.buf) < n && !r.ended {
		have := len(r.buf)
		r.buf = append(r.buf, make([]byte, min(n-have, inputBuffer))...)
		got, err := io.ReadFull(r.stream, r.buf[have:])
		r.buf = r.buf[:have+got]
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			r.ended, err = true, nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		if !r.begun {
			r.buf, r.begun = bytes.TrimPrefix(r.buf, bom), true
		}
	}
	return nil
}
