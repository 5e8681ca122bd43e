package main

import "fmt"

// The kernels of Select: maxima of lanes, and what is not below a bound. Twins:
// choose.go.

func init() {
	files["choose_avx512_amd64.s"] = func(e *emitter) {
		aboveConstants(e)
		tops512(e)
		above512(e)
	}
	files["choose_avx2_amd64.s"] = func(e *emitter) {
		tops256(e)
		above256(e)
	}
}

const (
	topsDecl  = "(top, x *float32, n int)"
	aboveDecl = "(ids *int32, x *float32, n int, low float32) int"
)

func aboveConstants(e *emitter) {
	e.raw("\n")
	for i := range 16 {
		e.raw(fmt.Sprintf("DATA ·ascending+%d(SB)/4, $%d\n", 4*i, i))
	}
	e.raw("GLOBL ·ascending(SB), RODATA|NOPTR, $64\n")
}

func topsArguments(e *emitter) {
	e.op("MOVQ", "top+0(FP)", "DI")
	e.op("MOVQ", "x+8(FP)", "SI")
	e.op("MOVQ", "n+16(FP)", "CX")
}

// tops512 and tops256 write the maxima of 64 lanes. Of two operands the maximum is
// the second one if either is no number: that is what was there before.
func tops512(e *emitter) {
	e.text("topsAVX512", 24, topsDecl)
	topsArguments(e)
	for i := range 4 {
		e.op("VBROADCASTSS", constant(minusInf), zmm(i))
	}
	e.op("SUBQ", "$64", "CX")
	e.op("JLT", "rest")
	e.label("next")
	for i := range 4 {
		e.op("VMOVUPS", fmt.Sprintf("%d(SI)", 64*i), zmm(4+i))
	}
	for i := range 4 {
		e.op("VMAXPS", zmm(i), zmm(4+i), zmm(i))
	}
	e.op("ADDQ", "$256", "SI")
	e.op("SUBQ", "$64", "CX")
	e.op("JGE", "next")
	e.label("rest")
	e.op("ADDQ", "$64", "CX")
	e.op("MOVQ", "$-1", "AX")
	e.op("BZHIQ", "CX", "AX", "AX")
	for i := range 4 {
		e.op("KMOVW", "AX", "K1")
		e.op("SHRQ", "$16", "AX")
		e.op("VMOVUPS.Z", fmt.Sprintf("%d(SI)", 64*i), "K1", "Z4")
		e.op("VMAXPS", zmm(i), "Z4", "K1", zmm(i))
		e.op("VMOVUPS", zmm(i), fmt.Sprintf("%d(DI)", 64*i))
	}
	e.op("VZEROUPPER")
	e.op("RET")
}

func tops256(e *emitter) {
	e.text("topsAVX2", 24, topsDecl)
	topsArguments(e)
	for i := range 8 {
		e.op("VBROADCASTSS", constant(minusInf), ymm(i))
	}
	e.op("SUBQ", "$64", "CX")
	e.op("JLT", "rest")
	e.label("next")
	for half := range 2 {
		for i := range 4 {
			e.op("VMOVUPS", fmt.Sprintf("%d(SI)", 128*half+32*i), ymm(8+i))
		}
		for i := range 4 {
			e.op("VMAXPS", ymm(4*half+i), ymm(8+i), ymm(4*half+i))
		}
	}
	e.op("ADDQ", "$256", "SI")
	e.op("SUBQ", "$64", "CX")
	e.op("JGE", "next")
	e.label("rest")
	e.op("ADDQ", "$64", "CX")
	for i := range 8 {
		e.op("TESTQ", "CX", "CX")
		e.op("JLE", "done")
		laneMask(e, "Y9")
		e.op("VMASKMOVPS", fmt.Sprintf("%d(SI)", 32*i), "Y9", "Y8")
		e.op("VMAXPS", ymm(i), "Y8", "Y8")
		e.op("VBLENDVPS", "Y9", "Y8", ymm(i), ymm(i))
		e.op("SUBQ", "$8", "CX")
	}
	e.label("done")
	for i := range 8 {
		e.op("VMOVUPS", ymm(i), fmt.Sprintf("%d(DI)", 32*i))
	}
	e.op("VZEROUPPER")
	e.op("RET")
}

// laneMask sets a register to the mask of the next CX elements, eight at most. It
// uses R8 and R9.
func laneMask(e *emitter, mask string) {
	e.op("MOVQ", "$8", "R8")
	e.op("CMPQ", "CX", "R8")
	e.op("CMOVQLT", "CX", "R8")
	e.op("LEAQ", "·laneMask+32(SB)", "R9")
	e.op("SHLQ", "$2", "R8")
	e.op("SUBQ", "R8", "R9")
	e.op("VMOVUPS", "(R9)", mask)
}

func aboveArguments(e *emitter) {
	e.op("MOVQ", "ids+0(FP)", "DI")
	e.op("MOVQ", "x+8(FP)", "SI")
	e.op("MOVQ", "n+16(FP)", "CX")
}

func aboveResult(e *emitter) {
	e.op("SUBQ", "ids+0(FP)", "DI")
	e.op("SHRQ", "$2", "DI")
	e.op("MOVQ", "DI", "ret+32(FP)")
	e.op("VZEROUPPER")
	e.op("RET")
}

// above512 and above256 write the list of the elements that are not below a bound:
// packed to the front of a vector, or bit by bit, since there are few.
func above512(e *emitter) {
	e.text("aboveAVX512", 40, aboveDecl)
	aboveArguments(e)
	e.op("VBROADCASTSS", "low+24(FP)", "Z0")
	e.op("VMOVDQU32", "·ascending(SB)", "Z1")
	e.op("MOVL", "$16", "AX")
	e.op("VPBROADCASTD", "AX", "Z2")
	e.op("KXNORW", "K2", "K2", "K2")
	e.label("next")
	e.op("CMPQ", "CX", "$16")
	e.op("JGE", "whole")
	e.op("MOVL", "$0xffff", "AX")
	e.op("BZHIL", "CX", "AX", "AX")
	e.op("KMOVW", "AX", "K2")
	e.label("whole")
	e.op("VMOVUPS.Z", "(SI)", "K2", "Z3")
	e.op("VCMPPS", "$13", "Z0", "Z3", "K2", "K1")
	e.op("VPCOMPRESSD.Z", "Z1", "K1", "Z4")
	e.op("VMOVDQU32", "Z4", "(DI)")
	e.op("KMOVW", "K1", "AX")
	e.op("POPCNTL", "AX", "AX")
	e.op("LEAQ", "(DI)(AX*4)", "DI")
	e.op("VPADDD", "Z2", "Z1", "Z1")
	e.op("ADDQ", "$64", "SI")
	e.op("SUBQ", "$16", "CX")
	e.op("JG", "next")
	aboveResult(e)
}

func above256(e *emitter) {
	e.text("aboveAVX2", 40, aboveDecl)
	aboveArguments(e)
	e.op("VBROADCASTSS", "low+24(FP)", "Y0")
	e.op("XORQ", "BX", "BX")
	e.op("SUBQ", "$8", "CX")
	e.op("JLT", "rest")
	e.label("next")
	e.op("VMOVUPS", "(SI)", "Y1")
	e.op("VCMPPS", "$13", "Y0", "Y1", "Y1")
	e.op("VMOVMSKPS", "Y1", "AX")
	e.op("TESTL", "AX", "AX")
	e.op("JNZ", "some")
	e.label("more")
	e.op("ADDQ", "$32", "SI")
	e.op("ADDQ", "$8", "BX")
	e.op("SUBQ", "$8", "CX")
	e.op("JGE", "next")
	e.label("rest")
	e.op("ADDQ", "$8", "CX")
	e.op("JLE", "done")
	laneMask(e, "Y2")
	e.op("VMASKMOVPS", "(SI)", "Y2", "Y1")
	e.op("VCMPPS", "$13", "Y0", "Y1", "Y1")
	e.op("VANDPS", "Y2", "Y1", "Y1")
	e.op("VMOVMSKPS", "Y1", "AX")
	e.op("XORQ", "CX", "CX") // this is the last time
	e.op("TESTL", "AX", "AX")
	e.op("JZ", "done")
	e.label("some")
	e.op("BSFL", "AX", "DX")
	e.op("ADDL", "BX", "DX")
	e.op("MOVL", "DX", "(DI)")
	e.op("ADDQ", "$4", "DI")
	e.op("LEAL", "-1(AX)", "DX")
	e.op("ANDL", "DX", "AX")
	e.op("JNZ", "some")
	e.op("JMP", "more")
	e.label("done")
	aboveResult(e)
}
