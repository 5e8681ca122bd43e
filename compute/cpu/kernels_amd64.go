//go:build !noasm

package cpu

import "golang.org/x/sys/cpu"

// available lists the levels of this machine, the best first.
func available() []kernels {
	var all []kernels
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA && cpu.X86.HasF16C {
		all = append(all, kernels{
			name:       "avx2",
			dot3:       dot3,
			dot1:       dot1,
			expand:     expand,
			softmax:    softmax,
			weigh:      weigh,
			swiglu:     swiglu,
			addScaled:  addScaled,
			rmsNorm:    rmsNorm,
			keyCodes:   keyCodes,
			valueCodes: valueCodes,
			spans:      spans,
			codes:      codes,
		})
	}
	return append(all, portable)
}
