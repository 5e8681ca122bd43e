package main

import "fmt"

// The gradient of a row's norm, whole vectors of it. Twin: normgrad.go.

func init() {
	files["normgrad_amd64.s"] = func(e *emitter) {
		normDots(e, "AVX2", ymm, 8)
		normDots(e, "AVX512", zmm, 16)
		normSlopes(e, "AVX2", ymm, 8)
		normSlopes(e, "AVX512", zmm, 16)
	}
}

// normDots sums in float64: Σx² in the first two registers, Σ dy·weight·x in the next two.
func normDots(e *emitter, level string, reg func(int) string, lanes int) {
	e.text("normDots"+level, 48, "(dy, x, weight *float32, n int) (squares, along float64)")
	e.op("MOVQ", "dy+0(FP)", "DI")
	e.op("MOVQ", "x+8(FP)", "SI")
	e.op("MOVQ", "weight+16(FP)", "BX")
	e.op("MOVQ", "n+24(FP)", "CX")
	e.op("XORQ", "AX", "AX")
	for i := range 4 {
		e.op("VXORPD", ymm(i), ymm(i), ymm(i))
	}
	e.label("next")
	e.op("SUBQ", fmt.Sprintf("$%d", lanes), "CX")
	e.op("JLT", "done")
	for half := range 2 {
		at := func(base string) string { return fmt.Sprintf("%d(%s)(AX*1)", 2*lanes*half, base) }
		e.op("VCVTPS2PD", at("SI"), reg(4))
		e.op("VCVTPS2PD", at("DI"), reg(5))
		e.op("VCVTPS2PD", at("BX"), reg(6))
		e.op("VFMADD231PD", reg(4), reg(4), reg(half))
		e.op("VMULPD", reg(6), reg(5), reg(5))
		e.op("VFMADD231PD", reg(4), reg(5), reg(2+half))
	}
	e.op("ADDQ", fmt.Sprintf("$%d", 4*lanes), "AX")
	e.op("JMP", "next")
	e.label("done")
	for i, result := range []string{"squares+32(FP)", "along+40(FP)"} {
		a, b := 2*i, 2*i+1
		e.op("VADDPD", reg(b), reg(a), reg(a))
		if lanes == 16 {
			e.op("VEXTRACTF64X4", "$1", zmm(a), ymm(b))
			e.op("VADDPD", ymm(b), ymm(a), ymm(a))
		}
		e.op("VEXTRACTF128", "$1", ymm(a), xmm(b))
		e.op("VADDPD", xmm(b), xmm(a), xmm(a))
		e.op("VPERMILPD", "$1", xmm(a), xmm(b))
		e.op("VADDSD", xmm(b), xmm(a), xmm(a))
		e.op("VMOVSD", xmm(a), result)
	}
	e.op("VZEROUPPER")
	e.op("RET")
}

// normSlopes sets dx, or adds to it, in float32, and adds to sum in float64.
func normSlopes(e *emitter, level string, reg func(int) string, lanes int) {
	const inv, along = 6, 7
	e.text("normSlopes"+level, 64, "(dx *float32, sum *float64, dy, x, weight *float32, n int, inv, along float32, add int)\n//\n// dx is inv·(dy·weight − x·along), and what is added to sum is dy·(x·inv).")
	e.op("MOVQ", "dx+0(FP)", "DI")
	e.op("MOVQ", "sum+8(FP)", "R8")
	e.op("MOVQ", "dy+16(FP)", "DX")
	e.op("MOVQ", "x+24(FP)", "SI")
	e.op("MOVQ", "weight+32(FP)", "BX")
	e.op("MOVQ", "n+40(FP)", "CX")
	e.op("VBROADCASTSS", "inv+48(FP)", reg(inv))
	e.op("VBROADCASTSS", "along+52(FP)", reg(along))
	e.op("MOVQ", "add+56(FP)", "R9")
	e.op("XORQ", "AX", "AX")
	e.label("next")
	e.op("SUBQ", fmt.Sprintf("$%d", lanes), "CX")
	e.op("JLT", "done")
	e.op("VMOVUPS", "(SI)(AX*1)", reg(0))
	e.op("VMOVUPS", "(DX)(AX*1)", reg(1))
	e.op("VMULPS", reg(inv), reg(0), reg(3))
	e.op("VMULPS", reg(3), reg(1), reg(4)) // dy·u
	e.op("VMULPS", "(BX)(AX*1)", reg(1), reg(2))
	e.op("VFNMADD231PS", reg(along), reg(0), reg(2))
	e.op("VMULPS", reg(inv), reg(2), reg(2))
	e.op("TESTQ", "R9", "R9")
	e.op("JZ", "set")
	e.op("VADDPS", "(DI)(AX*1)", reg(2), reg(2))
	e.label("set")
	e.op("VMOVUPS", reg(2), "(DI)(AX*1)")
	low, extract := xmm, "VEXTRACTF128"
	if lanes == 16 {
		low, extract = ymm, "VEXTRACTF64X4"
	}
	for half := range 2 {
		at := fmt.Sprintf("%d(R8)(AX*2)", 4*lanes*half)
		e.op("VCVTPS2PD", low(4), reg(5))
		e.op("VADDPD", at, reg(5), reg(5))
		e.op("VMOVUPD", reg(5), at)
		if half == 0 {
			e.op(extract, "$1", reg(4), low(4))
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", 4*lanes), "AX")
	e.op("JMP", "next")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}
