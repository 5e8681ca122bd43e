//go:build !noasm

package cpu

import "golang.org/x/sys/cpu"

var avx2 = kernels{
	name:             "avx2",
	linearKernels:    linearAVX2,
	pointwiseKernels: pointwiseAVX2,
	attendKernels:    attendAVX2,
	sealKernels:      sealAVX2,
	scoreKernels:     scoreAVX2,
	packedKernels:    packedAVX2,
	matrix:           matrixAVX2,
}

// avx512 stands on avx2 where wider vectors bring nothing.
var avx512 = kernels{
	name:             "avx512",
	linearKernels:    linearAVX512,
	pointwiseKernels: pointwiseAVX512,
	attendKernels:    attendAVX512,
	sealKernels:      sealAVX2,
	scoreKernels:     scoreAVX512,
	packedKernels:    packedAVX512,
	matrix:           matrixAVX512,
}

// amx is avx512 with products of quantised weights in tiles.
var amx = kernels{
	name:             "amx",
	linearKernels:    linearAVX512,
	pointwiseKernels: pointwiseAVX512,
	attendKernels:    attendAVX512,
	sealKernels:      sealAVX2,
	scoreKernels:     scoreAVX512,
	packedKernels:    packedAMX,
	matrix:           matrixAVX512,
}

// available lists the levels of this machine, the best first.
func available() []kernels {
	var all []kernels
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL && cpu.X86.HasAVX512VNNI {
			if hasAMX() {
				all = append(all, amx)
			}
			all = append(all, avx512)
		}
		all = append(all, avx2)
	}
	return append(all, portable)
}
