package client

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// ErrTooLong is returned for a line, an event or an answer beyond its bound.
var ErrTooLong = errors.New("is longer than any answer should be")

// mostEvent bounds a line and an event. One with a token's log-probabilities has a few
// thousand bytes.
const mostEvent = 4 << 20

// sseEvent is one server-sent event.
type sseEvent struct {
	name string // of its "event:" line; "error" for llama.cpp's "error:" lines too
	data []byte // valid until the next event is read
}

// sseReader reads the events of a stream as the HTML standard defines them: lines end
// with LF, CR or both, lines of data are joined, comments and unknown fields are left
// out. It differs in that an event needs no blank line at the end of the stream.
type sseReader struct {
	in      *bufio.Reader
	most    int  // bytes of a line, and of an event
	afterCR bool // a LF that comes next belongs to the line before
	begun   bool
	line    []byte
	data    []byte
}

func newSSEReader(r io.Reader, most int) *sseReader {
	return &sseReader{in: bufio.NewReaderSize(r, 32<<10), most: most}
}

// next reads an event that has data. At the end it returns io.EOF, and
// io.ErrUnexpectedEOF in the middle of a line.
func (r *sseReader) next() (sseEvent, error) {
	var e sseEvent
	r.data = r.data[:0]
	some := false
	for {
		line, err := r.readLine()
		if errors.Is(err, io.EOF) && some {
			err, line = nil, nil
		}
		if err != nil {
			return sseEvent{}, err
		}
		if len(line) == 0 {
			if some && len(r.data) > 0 {
				e.data = r.data
				return e, nil
			}
			e, some = sseEvent{}, false
			continue
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			e.name = string(value[:min(len(value), 64)])
		case "error", "data":
			if string(field) == "error" {
				e.name = "error"
			}
			if some {
				r.data = append(r.data, '\n')
			}
			if some = true; len(r.data)+len(value) > r.most {
				return sseEvent{}, fmt.Errorf("an event of more than %d bytes %w", r.most, ErrTooLong)
			}
			r.data = append(r.data, value...)
		}
	}
}

// readLine reads one without its end. It is valid until the next one is read.
func (r *sseReader) readLine() ([]byte, error) {
	if !r.begun {
		r.begun = true
		if mark, _ := r.in.Peek(3); string(mark) == "\xef\xbb\xbf" {
			_, _ = r.in.Discard(3) // it was peeked at
		}
	}
	r.line = r.line[:0]
	for {
		b, err := r.in.ReadByte()
		if errors.Is(err, io.EOF) && len(r.line) > 0 {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
		if b == '\n' && r.afterCR {
			r.afterCR = false
			continue
		}
		// A LF after this CR may come much later: it is not waited for.
		if r.afterCR = b == '\r'; r.afterCR || b == '\n' {
			return r.line, nil
		}
		if len(r.line) == r.most {
			return nil, fmt.Errorf("a line of more than %d bytes %w", r.most, ErrTooLong)
		}
		r.line = append(r.line, b)
	}
}
