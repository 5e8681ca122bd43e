package corpus

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// lineReader gives each line of a file, a JSON object, as a document: the string in one of its fields. Blank lines are passed
// over.
type lineReader struct {
	name  string
	field string
	cuts  bool
	line  int
	buf   []byte
	doc   cutter
	any   bool
	*stream
}

func (r *lineReader) next() (piece, error) {
	for !r.doc.open {
		line, err := r.readLine()
		if err != nil {
			return piece{}, err
		}
		if len(bytes.TrimSpace(line)) == 0 {
			continue
		}
		text, err := fieldOf(line, r.field)
		if err == nil && strings.IndexByte(text, 0) >= 0 {
			err = fmt.Errorf("field %q has a zero character: %w", r.field, ErrText)
		}
		if err != nil {
			return piece{}, fmt.Errorf("%s: line %d: %w", r.name, r.line, err)
		}
		r.any = true
		r.doc = cutter{text: text, cuts: r.cuts, open: true}
	}
	return r.doc.next(), nil
}

// readLine returns the next line, which holds until the one after it; io.EOF behind the last.
func (r *lineReader) readLine() ([]byte, error) {
	r.buf = r.buf[:0]
	r.line++
	for {
		part, err := r.ReadSlice('\n')
		r.buf = append(r.buf, part...)
		switch {
		case len(r.buf) > maxDocument:
			return nil, fmt.Errorf("%s: line %d is longer than %d bytes: %w", r.name, r.line, maxDocument, ErrText)
		case err == nil || errors.Is(err, io.EOF) && len(r.buf) > 0:
			if r.line == 1 {
				return bytes.TrimPrefix(r.buf, bom), nil
			}
			return r.buf, nil
		case errors.Is(err, io.EOF) && !r.any:
			return nil, fmt.Errorf("%s: holds no document: %w", r.name, ErrText)
		case errors.Is(err, io.EOF):
			return nil, io.EOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
	}
}

// fieldOf returns the string of a field of a JSON object; null is the empty text.
func fieldOf(line []byte, field string) (string, error) {
	d := jsontext.NewDecoder(bytes.NewReader(line))
	bad := func(err error) (string, error) { return "", fmt.Errorf("%w: %w", err, ErrText) }
	if open, err := d.ReadToken(); err != nil {
		return bad(err)
	} else if open.Kind() != '{' {
		return "", fmt.Errorf("is not a JSON object: %w", ErrText)
	}
	text, found := "", false
	for d.PeekKind() == '"' {
		name, err := d.ReadToken()
		if err != nil {
			return bad(err)
		}
		if name.String() != field {
			if err := d.SkipValue(); err != nil {
				return bad(err)
			}
			continue
		}
		value, err := d.ReadToken()
		switch {
		case err != nil:
			return bad(err)
		case value.Kind() == '"':
			text, found = value.String(), true
		case value.Kind() == 'n':
			found = true
		default:
			return "", fmt.Errorf("field %q is not a string: %w", field, ErrText)
		}
	}
	if _, err := d.ReadToken(); err != nil { // the closing brace
		return bad(err)
	}
	if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("something follows the object: %w", ErrText)
	}
	if !found {
		return "", fmt.Errorf("has no field %q: %w", field, ErrText)
	}
	return text, nil
}
