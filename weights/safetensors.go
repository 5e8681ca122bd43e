package weights

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"nosa/dtype"
)

// maxHeader is the reference implementation's limit of a safetensors header.
const maxHeader = 100_000_000

// maxDims is more than any model uses; GGUF has four.
const maxDims = 8

// span is one tensor of a safetensors header: its description and where its bytes are in the data part.
type span struct {
	entry
	begin, end int
}

// safetensorsTypes are the formats' names, with the width in bytes of those that nosa does not read, so that their
// sizes are checked all the same.
var safetensorsTypes = map[string]struct {
	t     dtype.Type
	width int
}{
	"F32": {t: dtype.F32}, "F16": {t: dtype.F16}, "BF16": {t: dtype.BF16}, "I32": {t: dtype.I32},
	"I64": {t: dtype.I64}, "U8": {t: dtype.U8},
	"F64": {width: 8}, "U64": {width: 8}, "U32": {width: 4}, "I16": {width: 2}, "U16": {width: 2}, "I8": {width: 1},
	"BOOL": {width: 1}, "F8_E4M3": {width: 1}, "F8_E5M2": {width: 1}, "C64": {width: 8},
}

// parseSafetensors reads the header of a whole safetensors file and returns its tensors in the order of their bytes,
// as views of data. The file is: length of the header (uint64, little-endian), header (JSON), data. Tensors have to
// fill the data part without overlap or gap, as the reference implementation demands.
func parseSafetensors(data []byte) ([]entry, error) {
	if len(data) < 8 {
		return nil, fmt.Errorf("%d bytes, less than the length of a header: %w (%w)", len(data), ErrTruncated, ErrFormat)
	}
	n := binary.LittleEndian.Uint64(data)
	switch {
	case n > maxHeader:
		return nil, fmt.Errorf("header of %d bytes, at most %d are allowed (is this a safetensors file?): %w", n,
			maxHeader, ErrFormat)
	case n > uint64(len(data)-8):
		return nil, fmt.Errorf("header of %d bytes, but only %d follow: %w (%w)", n, len(data)-8, ErrTruncated, ErrFormat)
	}
	header, body := data[8:8+n], data[8+n:]
	spans, err := parseHeader(header)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	slices.SortFunc(spans, func(a, b span) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.end, b.end))
	})
	entries, at := make([]entry, 0, len(spans)), 0
	for _, s := range spans {
		switch {
		case s.begin < at:
			return nil, fmt.Errorf("tensor %q begins at byte %d, inside the tensor before it, which ends at %d: %w", s.Name,
				s.begin, at, ErrFormat)
		case s.begin > at:
			return nil, fmt.Errorf("%d unused bytes before tensor %q: %w", s.begin-at, s.Name, ErrFormat)
		case s.end > len(body):
			return nil, fmt.Errorf("tensor %q ends at byte %d of the data, which has %d: %w (%w)", s.Name, s.end, len(body),
				ErrTruncated, ErrFormat)
		}
		at = s.end
		s.Data = body[s.begin:s.end:s.end]
		entries = append(entries, s.entry)
	}
	if at != len(body) {
		return nil, fmt.Errorf("%d bytes behind the last tensor: %w", len(body)-at, ErrFormat)
	}
	return entries, nil
}

// parseHeader reads the JSON object {name: {dtype, shape, data_offsets}, "__metadata__": {...}}. The decoder refuses
// duplicate names and invalid UTF-8, and reads the mapped bytes in place.
func parseHeader(header []byte) ([]span, error) {
	if len(header) == 0 || header[0] != '{' {
		return nil, fmt.Errorf("does not begin with {: %w", ErrFormat)
	}
	d := jsonReader{jsontext.NewDecoder(bytes.NewBuffer(header))}
	var spans []span
	err := d.object(func(name string) error {
		if name == "__metadata__" {
			return d.SkipValue()
		}
		if len(spans) >= maxTensors {
			return fmt.Errorf("more than %d tensors: %w", maxTensors, ErrTooLarge)
		}
		s, err := d.span(name)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		spans = append(spans, s)
		return nil
	})
	if err == nil {
		err = d.end()
	}
	return spans, err
}

// span reads one tensor's description.
func (d jsonReader) span(name string) (span, error) {
	s := span{entry: entry{Tensor: Tensor{Name: name}}}
	var seen struct{ dtype, shape, offsets bool }
	err := d.object(func(key string) error {
		switch key {
		case "dtype":
			seen.dtype = true
			return d.text(&s.stored)
		case "shape":
			seen.shape = true
			return d.ints(&s.Shape, maxDims)
		case "data_offsets":
			seen.offsets = true
			var o []int
			if err := d.ints(&o, 2); err != nil {
				return err
			}
			if len(o) != 2 || o[0] > o[1] {
				return fmt.Errorf("data_offsets %v, want a begin and an end: %w", o, ErrFormat)
			}
			s.begin, s.end = o[0], o[1]
			return nil
		}
		return d.SkipValue()
	})
	if err != nil {
		return s, err
	}
	if !seen.dtype || !seen.shape || !seen.offsets {
		return s, fmt.Errorf("dtype, shape or data_offsets is missing: %w", ErrFormat)
	}
	return s, s.resolve()
}

// resolve holds the size by shape and dtype against the offsets.
func (s *span) resolve() error {
	elements, err := shapeElements(s.Shape)
	if err != nil {
		return err
	}
	known, ok := safetensorsTypes[s.stored]
	if !ok {
		return nil // its size cannot be known; Tensor refuses it when it is asked for
	}
	width := known.width
	if known.t != dtype.Invalid {
		s.Type, s.stored, width = known.t, "", known.t.BlockBytes()
	}
	if elements > maxInt/width || elements*width != s.end-s.begin {
		return fmt.Errorf("shape %v takes %d × %d bytes, but data_offsets give it %d: %w", s.Shape, elements, width,
			s.end-s.begin, ErrFormat)
	}
	return nil
}

// jsonReader reads the few shapes of JSON that headers and indexes consist of, without building values of it.
type jsonReader struct{ *jsontext.Decoder }

// object reads { and }, and calls each for every name in between; each reads the value.
func (d jsonReader) object(each func(name string) error) error {
	if err := d.want('{', "an object"); err != nil {
		return err
	}
	for d.PeekKind() != '}' {
		tok, err := d.ReadToken()
		if err != nil {
			return jsonError(err)
		}
		if err := each(tok.String()); err != nil {
			return jsonError(err)
		}
	}
	_, err := d.ReadToken()
	return jsonError(err)
}

func (d jsonReader) want(kind jsontext.Kind, what string) error {
	if got := d.PeekKind(); got != kind && got != jsontext.KindInvalid {
		return fmt.Errorf("%s at byte %d, want %s: %w", got, d.InputOffset(), what, ErrFormat)
	}
	_, err := d.ReadToken()
	return jsonError(err)
}

func (d jsonReader) text(to *string) error {
	if got := d.PeekKind(); got != '"' && got != jsontext.KindInvalid {
		return fmt.Errorf("%s at byte %d, want a string: %w", got, d.InputOffset(), ErrFormat)
	}
	tok, err := d.ReadToken()
	if err != nil {
		return jsonError(err)
	}
	*to = tok.String()
	return nil
}

// ints reads an array of at most limit integers, 0 or more.
func (d jsonReader) ints(to *[]int, limit int) error {
	if err := d.want('[', "an array"); err != nil {
		return err
	}
	out := []int{}
	for d.PeekKind() != ']' {
		tok, err := d.ReadToken()
		if err != nil {
			return jsonError(err)
		}
		n, err := strconv.Atoi(tok.String())
		if tok.Kind() != '0' || err != nil || n < 0 {
			return fmt.Errorf("%s, want an integer of 0 or more: %w", tok, ErrFormat)
		}
		if len(out) == limit {
			return fmt.Errorf("more than %d numbers: %w", limit, ErrFormat)
		}
		out = append(out, n)
	}
	*to = out
	_, err := d.ReadToken()
	return jsonError(err)
}

// end allows white space only.
func (d jsonReader) end() error {
	if _, err := d.ReadToken(); err != io.EOF { //nolint:errorlint // ReadToken documents io.EOF itself
		return fmt.Errorf("something follows the object: %w", ErrFormat)
	}
	return nil
}
