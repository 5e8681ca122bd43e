package cpu

import (
	"fmt"
	"slices"
	"strings"
)

// kernels is what a level does for the ops: a value, chosen once, so that tests
// can walk every level of the machine. Each group stands in a file of its own
// subject, with the portable values beside it; each function has one rule on top of
// its own: the bits of a row do not depend on what is computed beside it.
type kernels struct {
	name string
	linearKernels
	pointwiseKernels
	attendKernels
	sealKernels
	scoreKernels
	packedKernels
	matrix matrixKernels
}

// portable is the level that every machine has.
var portable = kernels{
	name:             "go",
	linearKernels:    linearGo,
	pointwiseKernels: pointwiseGo,
	attendKernels:    attendGo,
	sealKernels:      sealGo,
	scoreKernels:     scoreGo,
	packedKernels:    packedGo,
	matrix:           matrixGo,
}

// Levels are the names of the levels that this machine can run, the best first.
func Levels() []string {
	var names []string
	for _, k := range available() {
		names = append(names, k.name)
	}
	return names
}

// pick returns the level of the given name, or the best one for "".
func pick(name string) (kernels, error) {
	all := available()
	if name == "" {
		return all[0], nil
	}
	i := slices.IndexFunc(all, func(k kernels) bool { return k.name == name })
	if i < 0 {
		return kernels{}, fmt.Errorf("cpu: level %q: %w: this machine has %s", name, ErrLevel, strings.Join(Levels(), ", "))
	}
	return all[i], nil
}
