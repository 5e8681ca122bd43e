package main

const windowsDecl = "(win, part *float32, n, span int, scale float32) (top, sum float32)"

func windowsArguments(e *emitter) {
	e.op("MOVQ", "win+0(FP)", "DI")
	e.op("MOVQ", "part+8(FP)", "SI")
	e.op("MOVQ", "n+16(FP)", "CX")
	e.op("MOVQ", "span+24(FP)", "DX")
	e.op("VMOVSS", "scale+32(FP)", "X14")
	e.op("VMULSS", constant(log2e), "X14", "X14")
}

// windows512: sums over span neighbours and their maximum, then the exponentials
// of the differences to it.
func windows512(e *emitter) {
	e.text("windowsAVX512", 48, windowsDecl)
	windowsArguments(e)
	const top, sum, scale, low = "Z0", "Z15", "Z14", "Z13"
	e.op("VBROADCASTSS", constant(minusInf), top)
	e.op("KXNORW", "K1", "K1", "K1")
	e.op("XORQ", "AX", "AX")
	e.op("MOVQ", "CX", "R8")

	e.label("sums")
	lastLanes(e, "R8", "sumsMask")
	e.op("VMOVUPS.Z", "(SI)(AX*4)", "K1", "Z1")
	e.op("LEAQ", "4(SI)(AX*4)", "R10")
	e.op("MOVQ", "DX", "R11")
	e.label("span")
	e.op("DECQ", "R11")
	e.op("JLE", "summed")
	e.op("VADDPS.Z", "(R10)", "Z1", "K1", "Z1")
	e.op("ADDQ", "$4", "R10")
	e.op("JMP", "span")
	e.label("summed")
	e.op("VMOVUPS", "Z1", "K1", "(DI)(AX*4)")
	e.op("VMAXPS", "Z1", top, "K1", top)
	e.op("ADDQ", "$16", "AX")
	e.op("SUBQ", "$16", "R8")
	e.op("JG", "sums")

	e.op("VEXTRACTF64X4", "$1", "Z0", "Y1")
	e.op("VMAXPS", "Y1", "Y0", "Y0")
	reduce(e, "VMAXPS")
	e.op("VMOVSS", "X0", "top+40(FP)")
	e.op("VBROADCASTSS", "X0", top)
	e.op("VBROADCASTSS", "X14", scale)
	e.op("VBROADCASTSS", constant(lowest), low)
	for i := range 7 {
		e.op("VBROADCASTSS", constant(coefficients+i), zmm(16+i))
	}
	e.op("VPXORD", sum, sum, sum)
	e.op("KXNORW", "K1", "K1", "K1")
	e.op("XORQ", "AX", "AX")
	e.label("exps")
	lastLanes(e, "CX", "expsMask")
	e.op("VMOVUPS.Z", "(DI)(AX*4)", "K1", "Z1")
	e.op("VSUBPS", top, "Z1", "Z1")
	e.op("VMULPS", scale, "Z1", "Z1")
	e.op("VCMPPS", "$5", low, "Z1", "K1", "K2") // not below, so that what is no number stays
	e.op("VRNDSCALEPS", "$0", "Z1", "Z2")
	e.op("VSUBPS", "Z2", "Z1", "Z1")
	e.op("VMOVAPS", "Z22", "Z3")
	for i := 5; i >= 0; i-- {
		e.op("VFMADD213PS", zmm(16+i), "Z1", "Z3")
	}
	e.op("VSCALEFPS.Z", "Z2", "Z3", "K2", "Z3")
	e.op("VMOVUPS", "Z3", "K1", "(DI)(AX*4)")
	e.op("VADDPS", "Z3", sum, sum)
	e.op("ADDQ", "$16", "AX")
	e.op("SUBQ", "$16", "CX")
	e.op("JG", "exps")
	e.op("VEXTRACTF64X4", "$1", sum, "Y1")
	e.op("VADDPS", "Y1", "Y15", "Y0")
	reduce(e, "VADDPS")
	e.op("VMOVSS", "X0", "sum+44(FP)")
	e.op("VZEROUPPER")
	e.op("RET")
}

// lastLanes sets K1 to the lanes of the last vector when fewer than 16 elements
// are left. It uses R9 and R12.
func lastLanes(e *emitter, left, label string) {
	e.op("CMPQ", left, "$16")
	e.op("JGE", label)
	e.op("MOVL", "$0xffff", "R9")
	e.op("BZHIL", left, "R9", "R9")
	e.op("KMOVW", "R9", "K1")
	e.label(label)
}

// reduce leaves op over the lanes of Y0 in X0.
func reduce(e *emitter, op string) {
	e.op("VEXTRACTF128", "$1", "Y0", "X1")
	e.op(op, "X1", "X0", "X0")
	e.op("VPERMILPS", "$0x4e", "X0", "X1")
	e.op(op, "X1", "X0", "X0")
	e.op("VPERMILPS", "$0xb1", "X0", "X1")
	e.op(op, "X1", "X0", "X0")
}

func windows256(e *emitter) {
	e.text("windowsAVX2", 48, windowsDecl)
	windowsArguments(e)
	const top, sum, scale, low = "Y15", "Y5", "Y14", "Y13"
	e.op("VBROADCASTSS", constant(minusInf), "Y0")
	e.op("XORQ", "AX", "AX")
	e.op("MOVQ", "CX", "R8")

	e.label("sums")
	e.op("CMPQ", "R8", "$8")
	e.op("JLT", "sumsRest")
	e.op("VMOVUPS", "(SI)(AX*4)", "Y1")
	addSpan(e, "", func() { e.op("VADDPS", "(R10)", "Y1", "Y1") })
	e.op("VMOVUPS", "Y1", "(DI)(AX*4)")
	e.op("VMAXPS", "Y1", "Y0", "Y0")
	e.op("ADDQ", "$8", "AX")
	e.op("SUBQ", "$8", "R8")
	e.op("JMP", "sums")
	e.label("sumsRest")
	e.op("TESTQ", "R8", "R8")
	e.op("JLE", "top")
	e.op("LEAQ", "·laneMask+32(SB)", "R12")
	e.op("SHLQ", "$2", "R8")
	e.op("SUBQ", "R8", "R12")
	e.op("VMOVUPS", "(R12)", "Y3")
	e.op("VMASKMOVPS", "(SI)(AX*4)", "Y3", "Y1")
	addSpan(e, "Rest", func() {
		e.op("VMASKMOVPS", "(R10)", "Y3", "Y2")
		e.op("VADDPS", "Y2", "Y1", "Y1")
	})
	e.op("VMASKMOVPS", "Y1", "Y3", "(DI)(AX*4)")
	e.op("VBLENDVPS", "Y3", "Y1", "Y0", "Y1") // what is beyond counts as the maximum so far
	e.op("VMAXPS", "Y1", "Y0", "Y0")

	e.label("top")
	reduce(e, "VMAXPS")
	e.op("VMOVSS", "X0", "top+40(FP)")
	e.op("VBROADCASTSS", "X0", top)
	e.op("VBROADCASTSS", "X14", scale)
	e.op("VBROADCASTSS", constant(lowest), low)
	for i := range 7 {
		e.op("VBROADCASTSS", constant(coefficients+i), ymm(6+i))
	}
	e.op("VXORPS", sum, sum, sum)
	e.op("XORQ", "AX", "AX")
	e.label("exps")
	e.op("CMPQ", "CX", "$8")
	e.op("JLT", "expsRest")
	e.op("VMOVUPS", "(DI)(AX*4)", "Y1")
	exp256(e)
	e.op("VMOVUPS", "Y3", "(DI)(AX*4)")
	e.op("VADDPS", "Y3", sum, sum)
	e.op("ADDQ", "$8", "AX")
	e.op("SUBQ", "$8", "CX")
	e.op("JMP", "exps")
	e.label("expsRest")
	e.op("TESTQ", "CX", "CX")
	e.op("JLE", "total")
	e.op("VMOVUPS", "(R12)", "Y0")
	e.op("VMASKMOVPS", "(DI)(AX*4)", "Y0", "Y1")
	exp256(e)
	e.op("VMOVUPS", "(R12)", "Y0")
	e.op("VANDPS", "Y0", "Y3", "Y3")
	e.op("VMASKMOVPS", "Y3", "Y0", "(DI)(AX*4)")
	e.op("VADDPS", "Y3", sum, sum)
	e.label("total")
	e.op("VMOVAPS", sum, "Y0")
	reduce(e, "VADDPS")
	e.op("VMOVSS", "X0", "sum+44(FP)")
	e.op("VZEROUPPER")
	e.op("RET")
}

// addSpan writes the loop over the neighbours of a vector of products.
func addSpan(e *emitter, name string, add func()) {
	e.op("LEAQ", "4(SI)(AX*4)", "R10")
	e.op("MOVQ", "DX", "R11")
	e.label("span" + name)
	e.op("DECQ", "R11")
	e.op("JLE", "summed"+name)
	add()
	e.op("ADDQ", "$4", "R10")
	e.op("JMP", "span"+name)
	e.label("summed" + name)
}

// exp256 sets Y3 to the exponential of (Y1 − Y15)·Y14 in powers of two; it uses Y0
// to Y2 and Y4.
func exp256(e *emitter) {
	e.op("VSUBPS", "Y15", "Y1", "Y1")
	e.op("VMULPS", "Y14", "Y1", "Y1")
	e.op("VCMPPS", "$5", "Y13", "Y1", "Y4") // not below, so that what is no number stays
	e.op("VROUNDPS", "$0", "Y1", "Y2")
	e.op("VSUBPS", "Y2", "Y1", "Y1")
	e.op("VMOVAPS", "Y12", "Y3")
	for i := 5; i >= 0; i-- {
		e.op("VFMADD213PS", ymm(6+i), "Y1", "Y3")
	}
	e.op("VCVTPS2DQ", "Y2", "Y2")
	e.op("VPSLLD", "$23", "Y2", "Y2")
	e.op("VPADDD", "Y2", "Y3", "Y3")
	e.op("VANDPS", "Y4", "Y3", "Y3")
}

const blendDecl = "(sum, e *float32, es int, factor *float32, fs, group, n int)"

func blendArguments(e *emitter) {
	e.op("MOVQ", "sum+0(FP)", "DI")
	e.op("MOVQ", "e+8(FP)", "SI")
	e.op("MOVQ", "es+16(FP)", "R8")
	e.op("MOVQ", "factor+24(FP)", "BX")
	e.op("MOVQ", "fs+32(FP)", "R9")
	e.op("SHLQ", "$2", "R8")
	e.op("SHLQ", "$2", "R9")
	e.op("MOVQ", "n+48(FP)", "CX")
}

// blend512 and blend256 write the sum of a group's exponentials, each query's
// times its factor.
func blend512(e *emitter) {
	e.text("blendAVX512", 56, blendDecl)
	blendArguments(e)
	e.op("KXNORW", "K1", "K1", "K1")
	e.label("next")
	e.op("MOVQ", "CX", "R13")
	e.op("CMPQ", "CX", "$16")
	e.op("JGE", "whole")
	e.op("MOVL", "$0xffff", "R13")
	e.op("BZHIL", "CX", "R13", "R13")
	e.op("KMOVW", "R13", "K1")
	e.label("whole")
	e.op("MOVQ", "SI", "R10")
	e.op("MOVQ", "BX", "R11")
	e.op("MOVQ", "group+40(FP)", "DX")
	e.op("VMOVUPS.Z", "(R10)", "K1", "Z1")
	e.op("VMULPS.BCST", "(R11)", "Z1", "Z0")
	e.op("JMP", "more")
	e.label("query")
	e.op("VMOVUPS.Z", "(R10)", "K1", "Z1")
	e.op("VFMADD231PS.BCST", "(R11)", "Z1", "Z0")
	e.label("more")
	e.op("ADDQ", "R8", "R10")
	e.op("ADDQ", "R9", "R11")
	e.op("DECQ", "DX")
	e.op("JNZ", "query")
	e.op("VMOVUPS", "Z0", "K1", "(DI)")
	e.op("ADDQ", "$64", "DI")
	e.op("ADDQ", "$64", "SI")
	e.op("SUBQ", "$16", "CX")
	e.op("JG", "next")
	e.op("VZEROUPPER")
	e.op("RET")
}

func blend256(e *emitter) {
	e.text("blendAVX2", 56, blendDecl)
	blendArguments(e)
	e.label("next")
	e.op("SUBQ", "$8", "CX")
	e.op("JLT", "rest")
	blendVector(e, "", func(first bool) {
		e.op("VBROADCASTSS", "(R11)", "Y2")
		if first {
			e.op("VMULPS", "(R10)", "Y2", "Y0")
		} else {
			e.op("VFMADD231PS", "(R10)", "Y2", "Y0")
		}
	})
	e.op("VMOVUPS", "Y0", "(DI)")
	e.op("ADDQ", "$32", "DI")
	e.op("ADDQ", "$32", "SI")
	e.op("JMP", "next")
	e.label("rest")
	e.op("ADDQ", "$8", "CX")
	e.op("JZ", "done")
	e.op("LEAQ", "·laneMask+32(SB)", "R12")
	e.op("SHLQ", "$2", "CX")
	e.op("SUBQ", "CX", "R12")
	e.op("VMOVUPS", "(R12)", "Y3")
	blendVector(e, "Rest", func(first bool) {
		e.op("VBROADCASTSS", "(R11)", "Y2")
		e.op("VMASKMOVPS", "(R10)", "Y3", "Y1")
		if first {
			e.op("VMULPS", "Y1", "Y2", "Y0")
		} else {
			e.op("VFMADD231PS", "Y1", "Y2", "Y0")
		}
	})
	e.op("VMASKMOVPS", "Y0", "Y3", "(DI)")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// blendVector writes the walk over the queries of a group for one vector.
func blendVector(e *emitter, name string, add func(first bool)) {
	e.op("MOVQ", "SI", "R10")
	e.op("MOVQ", "BX", "R11")
	e.op("MOVQ", "group+40(FP)", "DX")
	add(true)
	e.op("JMP", "more"+name)
	e.label("query" + name)
	add(false)
	e.label("more" + name)
	e.op("ADDQ", "R8", "R10")
	e.op("ADDQ", "R9", "R11")
	e.op("DECQ", "DX")
	e.op("JNZ", "query"+name)
}

const poolDecl = "(out, win *float32, n int)"

// pool256 writes maxima over five neighbours at every fourth place. Wider vectors
// win nothing here.
func pool256(e *emitter) {
	e.text("poolAVX2", 24, poolDecl)
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "win+8(FP)", "SI")
	e.op("MOVQ", "n+16(FP)", "CX")
	e.label("next")
	e.op("SUBQ", "$2", "CX")
	e.op("JLT", "rest")
	e.op("VMOVUPS", "(SI)", "Y0")
	e.op("VMOVUPS", "4(SI)", "Y1")
	poolLanes(e, ymm)
	e.op("VEXTRACTF128", "$1", "Y1", "X0")
	e.op("VMOVSS", "X1", "(DI)")
	e.op("VMOVSS", "X0", "4(DI)")
	e.op("ADDQ", "$8", "DI")
	e.op("ADDQ", "$32", "SI")
	e.op("JMP", "next")
	e.label("rest")
	e.op("ADDQ", "$2", "CX")
	e.op("JZ", "done")
	e.op("VMOVUPS", "(SI)", "X0")
	e.op("VMOVUPS", "4(SI)", "X1")
	poolLanes(e, xmm)
	e.op("VMOVSS", "X1", "(DI)")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// poolLanes leaves in the first of four lanes of register 1 the maximum over the
// lanes of register 0 and the last one of register 1, its neighbours.
func poolLanes(e *emitter, reg func(int) string) {
	e.op("VMAXPS", reg(1), reg(0), reg(0)) // of neighbours: lanes 0, 2 and 3 cover all
	e.op("VPERMILPS", "$0x0e", reg(0), reg(1))
	e.op("VPERMILPS", "$0x03", reg(0), reg(2))
	e.op("VMAXPS", reg(1), reg(0), reg(0))
	e.op("VMAXPS", reg(2), reg(0), reg(1))
}
