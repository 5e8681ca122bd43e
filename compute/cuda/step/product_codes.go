//go:build linux && amd64

package step

// codeKernels are the kernels for many rows of sm_90a with weights of codes.
func codeKernels() (kernels []*productKernel) {
	add := func(name string, warpgroups, rows, units, q8, q4 int) {
		for format, steps := range map[string]int{"q8_0": q8, "q4_0": q4} {
			kernels = append(kernels, &productKernel{name: "codes_" + format + name, tiles: 4 * warpgroups, rows: rows,
				warps: 4*warpgroups + 4, deep: deep{units: units, weights: steps, rows: steps}, beside: 1})
		}
	}
	add("_32", 3, 32, 4, 3, 5)
	add("_32b", 4, 32, 2, 5, 8)
	add("_64", 3, 64, 2, 5, 7)
	add("_64b", 4, 64, 2, 4, 6)
	add("_96", 3, 96, 2, 4, 6)
	add("_96b", 2, 96, 2, 5, 6)
	add("_128", 3, 128, 2, 3, 4)
	add("_128b", 2, 128, 2, 4, 5)
	return kernels
}

// chooseCodes is the kernel of codeKernels for so many rows, more than 8. Those called b are for weights whose k is not cut: they have tiles for all multiprocessors.
func chooseCodes(w *weight, rows int) (name string, whole bool) {
	whole = w.splits == 1
	switch {
	case rows <= 32:
		name = "_32"
	case rows <= 64:
		name = "_64"
	case rows <= 96 || rows > 128 && rows <= 192:
		name = "_96"
	default:
		name = "_128"
	}
	if whole {
		name += "b"
	}
	return "codes_" + formatNames[w.format] + name, whole
}
