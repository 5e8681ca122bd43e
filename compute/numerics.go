package compute

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
)

// Numerics says in which numbers a device multiplies activations by quantised
// weights. Weights of plain formats are always multiplied in float32.
type Numerics uint8

// The modes. Int16 keeps an activation to one part in 65278 of its group's largest
// value, Int8 to one in 254: see LinearInt.
const (
	NumericsAuto Numerics = iota // the device's choice
	NumericsF32                  // weights are expanded to float32
	NumericsInt16
	NumericsInt8
)

var numericsNames = []string{"auto", "f32", "int16", "int8"}

// ErrNumerics is returned by ParseNumerics for a name that is none of the modes.
var ErrNumerics = errors.New("unknown numerics")

// String is the mode as --numerics names it.
func (n Numerics) String() string {
	if int(n) < len(numericsNames) {
		return numericsNames[n]
	}
	return fmt.Sprintf("numerics(%d)", uint8(n))
}

// ParseNumerics reads a value of --numerics.
func ParseNumerics(s string) (Numerics, error) {
	if i := slices.Index(numericsNames, s); i >= 0 {
		return Numerics(i), nil
	}
	return 0, fmt.Errorf("numerics %q: %w: use %s", s, ErrNumerics, strings.Join(numericsNames, ", "))
}

// Top is the largest code of an activation. That of int16 is 127·256 + 127, so that a
// code is two signed bytes, 256·h + l: what most processors multiply fastest.
func (n Numerics) Top() int {
	switch n {
	case NumericsInt16:
		return 127<<8 + 127
	case NumericsInt8:
		return math.MaxInt8
	}
	panic("compute: " + n.String() + " has no codes")
}
