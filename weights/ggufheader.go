package weights

import (
	"encoding/binary"
	"fmt"
	"math"
)

// reader walks through a GGUF header. Nothing is taken that is not there, and nothing is allocated by a count before
// the bytes that it needs have been seen.
type reader struct {
	data []byte
	at   int
}

// take returns the next n bytes, a view.
func (r *reader) take(n int, what string) ([]byte, error) {
	if n > len(r.data)-r.at {
		return nil, fmt.Errorf("%s at byte %d needs %d bytes, %d are left: %w (%w)", what, r.at, n, len(r.data)-r.at,
			ErrTruncated, ErrFormat)
	}
	r.at += n
	return r.data[r.at-n : r.at : r.at], nil
}

func (r *reader) uint32(what string) (uint32, error) {
	b, err := r.take(4, what)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint32(b), nil
}

// length reads a uint64 that counts bytes or things of at least one byte each, so that it cannot exceed what is left.
func (r *reader) length(what string) (int, error) {
	b, err := r.take(8, what)
	if err != nil {
		return 0, err
	}
	n := binary.LittleEndian.Uint64(b)
	if n > uint64(len(r.data)-r.at) {
		return 0, fmt.Errorf("%s at byte %d is %d, more than the %d bytes that are left: %w (%w)", what, r.at-8, n,
			len(r.data)-r.at, ErrTruncated, ErrFormat)
	}
	return int(n), nil
}

func (r *reader) count(what string, limit int) (int, error) {
	n, err := r.length("the number of " + what)
	if err == nil && n > limit {
		err = fmt.Errorf("%d %s, at most %d are read: %w", n, what, limit, ErrTooLarge)
	}
	return n, err
}

// name reads a key or a tensor's name.
func (r *reader) name(what string, limit int) (string, error) {
	n, err := r.length("the length of " + what)
	if err != nil {
		return "", err
	}
	if n == 0 || n > limit {
		return "", fmt.Errorf("%s at byte %d has %d bytes, want 1 to %d: %w", what, r.at, n, limit, ErrFormat)
	}
	b, err := r.take(n, what)
	return string(b), err
}

// metadata reads the keys and values.
func (r *reader) metadata(count int) (*Metadata, error) {
	m := &Metadata{values: map[string]Value{}}
	for i := range count {
		key, err := r.name(fmt.Sprintf("key %d", i), maxKeyLength)
		if err != nil {
			return nil, err
		}
		if _, twice := m.values[key]; twice {
			return nil, fmt.Errorf("key %q is there twice: %w", key, ErrFormat)
		}
		v, err := r.value()
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", key, err)
		}
		m.keys = append(m.keys, key)
		m.values[key] = v
	}
	return m, nil
}

// value reads a kind and the value of that kind.
func (r *reader) value() (Value, error) {
	kind, err := r.kind()
	if err != nil {
		return Value{}, err
	}
	v := Value{Kind: kind, Len: 1}
	start := r.at
	switch kind {
	case KindArray:
		v.Elem, v.Len, start, err = r.array(1)
	case KindString:
		err = r.skipString()
	default:
		_, err = r.take(kind.width(), "a value")
	}
	if err != nil {
		return Value{}, err
	}
	v.raw = r.data[start:r.at:r.at]
	if kind == KindBool && v.raw[0] > 1 {
		return Value{}, fmt.Errorf("bool is %d, want 0 or 1: %w", v.raw[0], ErrFormat)
	}
	return v, nil
}

func (r *reader) kind() (Kind, error) {
	n, err := r.uint32("the type of a value")
	if err == nil && n >= uint32(kindCount) {
		err = fmt.Errorf("value at byte %d has type %d, the last known is %d: %w", r.at, n, kindCount-1, ErrFormat)
	}
	return Kind(n), err
}

func (r *reader) skipString() error {
	n, err := r.length("the length of a string")
	if err == nil {
		_, err = r.take(n, "a string")
	}
	return err
}

// array walks over an array, and returns what its elements are, how many, and where the first one begins.
func (r *reader) array(depth int) (elem Kind, n, start int, err error) {
	if depth > maxNesting {
		return 0, 0, 0, fmt.Errorf("arrays are nested more than %d deep: %w", maxNesting, ErrFormat)
	}
	if elem, err = r.kind(); err != nil {
		return 0, 0, 0, err
	}
	if n, err = r.length("the length of an array"); err != nil {
		return 0, 0, 0, err
	}
	start = r.at
	if width := elem.width(); width > 0 {
		if n > math.MaxInt/width {
			return 0, 0, 0, fmt.Errorf("array of %d × %d bytes: %w", n, width, ErrFormat)
		}
		_, err = r.take(n*width, "an array")
		return elem, n, start, err
	}
	for range n {
		if elem == KindString {
			err = r.skipString()
		} else {
			_, _, _, err = r.array(depth + 1)
		}
		if err != nil {
			return 0, 0, 0, err
		}
	}
	return elem, n, start, nil
}

// tensors reads the tensor table.
func (r *reader) tensors(count int) ([]located, error) {
	var table []located
	for i := range count {
		t, err := r.tensor(i)
		if err != nil {
			return nil, err
		}
		table = append(table, t)
	}
	return table, nil
}

// tensor reads one line of the table: name, dimensions (fastest first), number format, offset.
func (r *reader) tensor(i int) (t located, err error) {
	if t.Name, err = r.name(fmt.Sprintf("the name of tensor %d", i), maxKeyLength); err != nil {
		return t, err
	}
	defer func() {
		if err != nil {
			err = fmt.Errorf("tensor %q: %w", t.Name, err)
		}
	}()
	dims, err := r.uint32("the number of dimensions")
	if err != nil {
		return t, err
	}
	if dims > ggufDims {
		return t, fmt.Errorf("%d dimensions, at most %d are allowed: %w", dims, ggufDims, ErrFormat)
	}
	sizes, err := r.take(8*int(dims), "dimensions")
	if err != nil {
		return t, err
	}
	t.Shape = make([]int, dims)
	for d := range t.Shape {
		n := binary.LittleEndian.Uint64(sizes[8*d:])
		if n > math.MaxInt {
			return t, fmt.Errorf("dimension %d is %d: %w", d, int64(n), ErrFormat)
		}
		t.Shape[int(dims)-1-d] = int(n)
	}
	number, err := r.uint32("the number format")
	if err != nil {
		return t, err
	}
	offset, err := r.take(8, "the offset")
	if err != nil {
		return t, err
	}
	at := binary.LittleEndian.Uint64(offset)
	if at > uint64(len(r.data)) {
		return t, fmt.Errorf("offset %d, but the file has %d bytes: %w (%w)", at, len(r.data), ErrTruncated, ErrFormat)
	}
	t.offset = int(at)
	return t, t.measure(number)
}

// measure sets the type by GGUF's number, and the size.
func (t *located) measure(number uint32) error {
	var ok bool
	if t.Type, ok = ggufTypes[number]; !ok {
		if name, known := ggufOther[number]; known {
			return fmt.Errorf("%s is not read; use a file in F16, BF16, Q8_0, Q4_0 to Q5_1, or Q4_K to Q6_K: %w", name,
				ErrUnsupported)
		}
		return fmt.Errorf("number format %d is unknown: %w", number, ErrFormat)
	}
	elements, err := shapeElements(t.Shape)
	if err != nil {
		return err
	}
	row := 1
	if len(t.Shape) > 0 {
		row = t.Shape[len(t.Shape)-1]
	}
	if row%t.Type.Block() != 0 {
		return fmt.Errorf("rows of %d elements are not whole blocks of %s, which are %d: %w", row, t.Type, t.Type.Block(),
			ErrFormat)
	}
	if t.size, err = t.Type.Size(elements); err != nil {
		return fmt.Errorf("%w: %w", err, ErrFormat)
	}
	return nil
}
