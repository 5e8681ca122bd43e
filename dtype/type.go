package dtype

import (
	"errors"
	"fmt"
	"math"
)

// Type is the number format of a tensor.
type Type uint8

// The formats. The zero value is Invalid, so that a forgotten Type is noticed.
const (
	Invalid Type = iota
	F32
	F16
	BF16
	I32
	I64
	U8
	Q8_0 //nolint:revive,staticcheck // the names are ggml's, and users type them
	Q4_0 //nolint:revive,staticcheck // as above
	Q4_1 //nolint:revive,staticcheck // as above
	Q5_0 //nolint:revive,staticcheck // as above
	Q5_1 //nolint:revive,staticcheck // as above
	Q4_K //nolint:revive,staticcheck // as above
	Q5_K //nolint:revive,staticcheck // as above
	Q6_K //nolint:revive,staticcheck // as above

	count
)

// ErrUnknown is returned by Parse for a name that is none of the formats.
var ErrUnknown = errors.New("unknown number format")

// ErrSize is returned by Size for a number of elements that the format cannot hold: negative, not a whole number of
// blocks, or more bytes than an int counts.
var ErrSize = errors.New("impossible number of elements")

// layout is what a format looks like in memory: so many elements in so many bytes.
type layout struct {
	name  string
	block int
	bytes int
}

var layouts = [count]layout{
	Invalid: {"invalid", 1, 0},
	F32:     {"F32", 1, 4},
	F16:     {"F16", 1, 2},
	BF16:    {"BF16", 1, 2},
	I32:     {"I32", 1, 4},
	I64:     {"I64", 1, 8},
	U8:      {"U8", 1, 1},
	Q8_0:    {"Q8_0", 32, 34},
	Q4_0:    {"Q4_0", 32, 18},
	Q4_1:    {"Q4_1", 32, 20},
	Q5_0:    {"Q5_0", 32, 22},
	Q5_1:    {"Q5_1", 32, 24},
	Q4_K:    {"Q4_K", 256, 144},
	Q5_K:    {"Q5_K", 256, 176},
	Q6_K:    {"Q6_K", 256, 210},
}

func (t Type) layout() layout {
	if t >= count {
		return layouts[Invalid]
	}
	return layouts[t]
}

// String returns the format's usual name, such as BF16 or Q4_K.
func (t Type) String() string {
	if t >= count {
		return fmt.Sprintf("invalid(%d)", uint8(t))
	}
	return layouts[t].name
}

// Valid says whether t is one of the formats.
func (t Type) Valid() bool { return t > Invalid && t < count }

// Parse returns the format with the given name, in either case.
func Parse(name string) (Type, error) {
	for t := F32; t < count; t++ {
		if equalFold(layouts[t].name, name) {
			return t, nil
		}
	}
	return Invalid, fmt.Errorf("dtype %q: %w: expected one of %s", name, ErrUnknown, names())
}

// equalFold compares ASCII without regard to case; strings.EqualFold would also take the Kelvin sign for a K.
func equalFold(a, b string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range len(a) {
		x, y := a[i], b[i]
		if 'a' <= y && y <= 'z' {
			y -= 'a' - 'A'
		}
		if x != y {
			return false
		}
	}
	return true
}

func names() string {
	s := layouts[F32].name
	for t := F32 + 1; t < count; t++ {
		s += ", " + layouts[t].name
	}
	return s
}

// Block returns the number of elements that are stored together: 1 for plain formats, 32 or 256 for quantised ones.
// A row of a quantised tensor is a whole number of blocks.
func (t Type) Block() int { return t.layout().block }

// BlockBytes returns the bytes of one block, which for plain formats is one element; 0 for Invalid.
func (t Type) BlockBytes() int { return t.layout().bytes }

// Quantised says whether elements share a scale within a block.
func (t Type) Quantised() bool { return t.layout().block > 1 }

// Size returns the bytes that the given number of elements takes.
func (t Type) Size(elements int) (int, error) {
	l := t.layout()
	switch {
	case !t.Valid():
		return 0, fmt.Errorf("%s: %w", t, ErrUnknown)
	case elements < 0:
		return 0, fmt.Errorf("%d elements of %s: %w", elements, t, ErrSize)
	case elements%l.block != 0:
		return 0, fmt.Errorf("%d elements of %s, not a multiple of %d: %w", elements, t, l.block, ErrSize)
	case elements/l.block > math.MaxInt/l.bytes:
		return 0, fmt.Errorf("%d elements of %s, more bytes than %d: %w", elements, t, math.MaxInt, ErrSize)
	}
	return elements / l.block * l.bytes, nil
}
