package weights

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"strconv"
	"strings"
)

// Kind is the type of a metadata value, by GGUF's numbers.
type Kind uint32

// The kinds of values.
const (
	KindUint8 Kind = iota
	KindInt8
	KindUint16
	KindInt16
	KindUint32
	KindInt32
	KindFloat32
	KindBool
	KindString
	KindArray
	KindUint64
	KindInt64
	KindFloat64

	kindCount
)

var kinds = [kindCount]struct {
	name  string
	width int // bytes; 0 for those that carry their length
}{
	{"uint8", 1}, {"int8", 1}, {"uint16", 2}, {"int16", 2}, {"uint32", 4}, {"int32", 4}, {"float32", 4}, {"bool", 1},
	{"string", 0}, {"array", 0}, {"uint64", 8}, {"int64", 8}, {"float64", 8},
}

func (k Kind) String() string {
	if k >= kindCount {
		return fmt.Sprintf("unknown(%d)", uint32(k))
	}
	return kinds[k].name
}

// Value is one value of the metadata. It refers to the file's bytes and takes no memory of its own, however long an
// array is; like a tensor it ends with the checkpoint.
type Value struct {
	Kind Kind
	Elem Kind // kind of an array's elements
	Len  int  // number of an array's elements, 1 otherwise
	raw  []byte
}

// Metadata holds the keys and values of a GGUF file. A nil Metadata has none, and may be asked.
type Metadata struct {
	keys   []string // in the order of the file
	values map[string]Value
}

// Keys returns the keys in the order of the file.
func (m *Metadata) Keys() iter.Seq[string] {
	return func(yield func(string) bool) {
		if m == nil {
			return
		}
		for _, k := range m.keys {
			if !yield(k) {
				return
			}
		}
	}
}

// Get returns the value of a key.
func (m *Metadata) Get(key string) (Value, bool) {
	if m == nil {
		return Value{}, false
	}
	v, ok := m.values[key]
	return v, ok
}

// String returns a copy of a string's value; false if the key is missing or of another kind, as in all that follow.
func (m *Metadata) String(key string) (string, bool) {
	v, ok := m.Get(key)
	if !ok || v.Kind != KindString {
		return "", false
	}
	return string(v.raw[8:]), true
}

// Int returns an integer of any width; false if it does not fit.
func (m *Metadata) Int(key string) (int, bool) {
	v, ok := m.Get(key)
	if !ok {
		return 0, false
	}
	n, ok := v.Kind.integer(v.raw)
	return int(n), ok && int64(int(n)) == n
}

// Float returns a number of any kind.
func (m *Metadata) Float(key string) (float64, bool) {
	v, ok := m.Get(key)
	if !ok {
		return 0, false
	}
	return v.Kind.float(v.raw)
}

// Bool returns a truth value.
func (m *Metadata) Bool(key string) (value, ok bool) {
	v, ok := m.Get(key)
	if !ok || v.Kind != KindBool {
		return false, false
	}
	return v.raw[0] != 0, true
}

// Strings returns the strings of an array. They share one copy of the array's bytes, so that they outlive the
// checkpoint at the price of their own length and a header each.
func (m *Metadata) Strings(key string) ([]string, bool) {
	v, ok := m.Get(key)
	if !ok || v.Kind != KindArray || v.Elem != KindString {
		return nil, false
	}
	whole := string(v.raw)
	out := make([]string, v.Len)
	at := 0
	for i := range out {
		n := int(binary.LittleEndian.Uint64(v.raw[at:]))
		out[i] = whole[at+8 : at+8+n]
		at += 8 + n
	}
	return out, true
}

// Ints returns the integers of an array; false if one does not fit an int32.
func (m *Metadata) Ints(key string) ([]int32, bool) {
	v, ok := m.Get(key)
	if !ok || v.Kind != KindArray || v.Elem.width() == 0 {
		return nil, false
	}
	out := make([]int32, v.Len)
	for i := range out {
		n, ok := v.Elem.integer(v.raw[i*v.Elem.width():])
		if !ok || int64(int32(n)) != n {
			return nil, false
		}
		out[i] = int32(n)
	}
	return out, true
}

// Floats returns the numbers of an array.
func (m *Metadata) Floats(key string) ([]float32, bool) {
	v, ok := m.Get(key)
	if !ok || v.Kind != KindArray || v.Elem.width() == 0 {
		return nil, false
	}
	out := make([]float32, v.Len)
	for i := range out {
		f, ok := v.Elem.float(v.raw[i*v.Elem.width():])
		if !ok {
			return nil, false
		}
		out[i] = float32(f)
	}
	return out, true
}

func (k Kind) width() int { return kinds[k].width }

// integer reads a value of an integer kind; false for other kinds and for what an int64 does not hold.
func (k Kind) integer(raw []byte) (int64, bool) {
	switch k {
	case KindUint8:
		return int64(raw[0]), true
	case KindInt8:
		return int64(int8(raw[0])), true
	case KindUint16:
		return int64(binary.LittleEndian.Uint16(raw)), true
	case KindInt16:
		return int64(int16(binary.LittleEndian.Uint16(raw))), true
	case KindUint32:
		return int64(binary.LittleEndian.Uint32(raw)), true
	case KindInt32:
		return int64(int32(binary.LittleEndian.Uint32(raw))), true
	case KindUint64, KindInt64:
		n := int64(binary.LittleEndian.Uint64(raw))
		return n, k == KindInt64 || n >= 0
	}
	return 0, false
}

func (k Kind) float(raw []byte) (float64, bool) {
	switch k {
	case KindFloat32:
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))), true
	case KindFloat64:
		return math.Float64frombits(binary.LittleEndian.Uint64(raw)), true
	}
	n, ok := k.integer(raw)
	return float64(n), ok
}

// maxShown is how many characters of a value Text shows.
const maxShown = 80

// Text returns the value for people to read: long strings and arrays are shortened.
func (v Value) Text() string {
	switch v.Kind {
	case KindString:
		return strconv.Quote(shorten(string(v.raw[8:min(len(v.raw), 8+4*maxShown)]), len(v.raw)-8))
	case KindArray:
		return v.arrayText()
	}
	return v.Kind.text(v.raw)
}

func (v Value) arrayText() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s [", v.Len, v.Elem)
	at := 0
	for i := range v.Len {
		if i > 0 {
			b.WriteString(", ")
		}
		if b.Len() > maxShown || v.Elem == KindArray {
			b.WriteString("…")
			break
		}
		if v.Elem == KindString {
			n := int(binary.LittleEndian.Uint64(v.raw[at:]))
			b.WriteString(strconv.Quote(shorten(string(v.raw[at+8:at+8+min(n, maxShown)]), n)))
			at += 8 + n
			continue
		}
		b.WriteString(v.Elem.text(v.raw[at:]))
		at += v.Elem.width()
	}
	return b.String() + "]"
}

// shorten cuts a text of which the first bytes are given and whole is the length.
func shorten(s string, whole int) string {
	runes := []rune(s)
	if len(runes) <= maxShown && len(s) == whole {
		return s
	}
	return string(runes[:min(len(runes), maxShown)]) + "…"
}

func (k Kind) text(raw []byte) string {
	switch k {
	case KindBool:
		return strconv.FormatBool(raw[0] != 0)
	case KindFloat32:
		f, _ := k.float(raw)
		return strconv.FormatFloat(f, 'g', -1, 32)
	case KindFloat64:
		f, _ := k.float(raw)
		return strconv.FormatFloat(f, 'g', -1, 64)
	case KindUint64:
		return strconv.FormatUint(binary.LittleEndian.Uint64(raw), 10)
	}
	n, _ := k.integer(raw)
	return strconv.FormatInt(n, 10)
}
