package main

// The gradient of a softmax (softmaxgrad.go in the package): element-wise, with the bits of
// its twin.

const softmaxGradArgs = "(grad, p *float32, n int, mean float32)"

func init() {
	files["softmaxgrad_avx512_amd64.s"] = func(e *emitter) {
		softmaxGradBegin(e, "AVX512", "Z3")
		each512(e, func(load, store func(string, int)) {
			load("DI", 0)
			load("SI", 1)
			e.op("VSUBPS", "Z3", "Z0", "Z0")
			e.op("VMULPS", "Z1", "Z0", "Z0")
			store("DI", 0)
		})
	}
	files["softmaxgrad_avx2_amd64.s"] = softmaxGrad256
	files["softmaxgrad_neon_arm64.s"] = func(e *emitter) { neon{e}.softmaxGrad() }
}

func softmaxGradBegin(e *emitter, level, mean string) {
	e.raw("\n// Twin: softmaxgrad.go.\n")
	e.text("softmaxGrad"+level, 28, softmaxGradArgs)
	e.op("MOVQ", "grad+0(FP)", "DI")
	e.op("MOVQ", "p+8(FP)", "SI")
	e.op("MOVQ", "n+16(FP)", "CX")
	e.op("VBROADCASTSS", "mean+24(FP)", mean)
}

func softmaxGrad256(e *emitter) {
	softmaxGradBegin(e, "AVX2", "Y3")
	e.op("XORQ", "AX", "AX")
	e.op("SUBQ", "$8", "CX")
	e.op("JLT", "rest")
	e.label("next")
	e.op("VMOVUPS", "(DI)(AX*1)", "Y0")
	e.op("VSUBPS", "Y3", "Y0", "Y0")
	e.op("VMULPS", "(SI)(AX*1)", "Y0", "Y0")
	e.op("VMOVUPS", "Y0", "(DI)(AX*1)")
	e.op("ADDQ", "$32", "AX")
	e.op("SUBQ", "$8", "CX")
	e.op("JGE", "next")
	e.label("rest")
	e.op("ADDQ", "$8", "CX")
	e.op("JZ", "done")
	e.op("LEAQ", "·laneMask+32(SB)", "DX")
	e.op("SHLQ", "$2", "CX")
	e.op("SUBQ", "CX", "DX")
	e.op("VMOVUPS", "(DX)", "Y2")
	e.op("VMASKMOVPS", "(DI)(AX*1)", "Y2", "Y0")
	e.op("VMASKMOVPS", "(SI)(AX*1)", "Y2", "Y1")
	e.op("VSUBPS", "Y3", "Y0", "Y0")
	e.op("VMULPS", "Y1", "Y0", "Y0")
	e.op("VMASKMOVPS", "Y0", "Y2", "(DI)(AX*1)")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

func (a neon) softmaxGrad() {
	a.raw("\n// Twin: softmaxgrad.go.\n")
	a.text("softmaxGradNEON", 28, softmaxGradArgs)
	for i, arg := range []string{"grad", "p", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("FMOVS", "mean+24(FP)", f(30))
	a.spread(31, 30, 0)
	a.loops("elements", "R2", allLengths, func(s steps, _ string) {
		for i := range s.vectors {
			a.get(s, i, i, "R0")
			a.get(s, 4+i, i, "R1")
			a.v("fsub", i, i, 31)
			a.v("fmul", i, i, 4+i)
			a.set(s, i, i, "R0")
		}
		a.plus(4*s.elements(), "R0")
		a.plus(4*s.elements(), "R1")
	})
	a.op("RET")
}
