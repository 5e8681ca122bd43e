//go:build !noasm

package cpu

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// neon has vectors of four float32, which every arm64 has, and dot products of bytes
// where the processor has them.
var neon = kernels{
	name:             "neon",
	linearKernels:    linearNEON,
	pointwiseKernels: pointwiseNEON,
	attendKernels:    attendNEON,
	sealKernels:      sealNEON,
	scoreKernels:     scoreNEON,
	packedKernels:    packedNEON,
	matrix:           matrixNEON,
}

// hasDotProducts tells whether there is SDOT. Every Mac with arm64 has it, and the first
// versions of its system do not say so.
func hasDotProducts() bool { return cpu.ARM64.HasASIMDDP || runtime.GOOS == "darwin" }

// available lists the levels of this machine, the best first.
func available() []kernels {
	best := neon
	if !hasDotProducts() {
		best.packedKernels = packedGo
	}
	return []kernels{best, portable}
}
