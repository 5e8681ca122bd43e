package main

import "fmt"

// Element-wise ops with sixteen lanes, and rotation with eight and sixteen. Twins:
// pointwise.go.

func init() {
	files["pointwise_avx512_amd64.s"] = func(e *emitter) {
		swiglu512(e)
		swigluGrad512(e)
		addScaled512(e)
		normScale512(e)
	}
	files["rotate_amd64.s"] = func(e *emitter) {
		e.raw(signs)
		rotateHalves(e, "AVX2", ymm, 8)
		rotatePairs(e, "AVX2", ymm, 8)
		rotateHalves(e, "AVX512", zmm, 16)
		rotatePairs(e, "AVX512", zmm, 16)
	}
}

// each512 runs body over CX elements, sixteen at a time and the rest under K1. AX
// is the offset in bytes; load and store take a place and a register.
func each512(e *emitter, body func(load, store func(base string, z int))) {
	e.op("XORQ", "AX", "AX")
	e.op("SUBQ", "$16", "CX")
	e.op("JLT", "rest")
	e.label("next")
	body(func(base string, z int) { e.op("VMOVUPS", "("+base+")(AX*1)", zmm(z)) },
		func(base string, z int) { e.op("VMOVUPS", zmm(z), "("+base+")(AX*1)") })
	e.op("ADDQ", "$64", "AX")
	e.op("SUBQ", "$16", "CX")
	e.op("JGE", "next")
	e.label("rest")
	e.op("ADDQ", "$16", "CX")
	e.op("JZ", "done")
	e.op("MOVL", "$-1", "DX")
	e.op("SHLXL", "CX", "DX", "DX")
	e.op("NOTL", "DX")
	e.op("KMOVW", "DX", "K1")
	body(func(base string, z int) { e.op("VMOVUPS.Z", "("+base+")(AX*1)", "K1", zmm(z)) },
		func(base string, z int) { e.op("VMOVUPS", zmm(z), "K1", "("+base+")(AX*1)") })
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// swiglu512: g/(1 + e^−g)·u.
func swiglu512(e *emitter) {
	e.text("swigluAVX512", 32, "(out, gate, up *float32, n int)")
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "gate+8(FP)", "SI")
	e.op("MOVQ", "up+16(FP)", "BX")
	e.op("MOVQ", "n+24(FP)", "CX")
	sigmoidConstants512(e)
	each512(e, func(load, store func(string, int)) {
		load("SI", 0)
		load("BX", 1)
		sigmoid512(e)
		e.op("VDIVPS", "Z4", "Z0", "Z0")
		e.op("VMULPS", "Z1", "Z0", "Z0")
		store("DI", 0)
	})
}

// swigluGrad512: with σ = 1/(1 + e^−g), dy·u·σ·(1 + g·(1 − σ)) and dy·g·σ.
func swigluGrad512(e *emitter) {
	e.text("swigluGradAVX512", 48, "(dgate, dup, dy, gate, up *float32, n int)")
	e.op("MOVQ", "dgate+0(FP)", "DI")
	e.op("MOVQ", "dup+8(FP)", "R8")
	e.op("MOVQ", "dy+16(FP)", "R9")
	e.op("MOVQ", "gate+24(FP)", "SI")
	e.op("MOVQ", "up+32(FP)", "BX")
	e.op("MOVQ", "n+40(FP)", "CX")
	sigmoidConstants512(e)
	each512(e, func(load, store func(string, int)) {
		load("SI", 0)
		load("BX", 1)
		sigmoid512(e)
		load("R9", 2)
		e.op("VDIVPS", "Z4", "Z25", "Z4") // σ
		e.op("VSUBPS", "Z4", "Z25", "Z5")
		e.op("VFMADD213PS", "Z25", "Z0", "Z5")
		e.op("VMULPS", "Z2", "Z0", "Z0")
		e.op("VMULPS", "Z2", "Z1", "Z1")
		e.op("VMULPS", "Z4", "Z0", "Z0")
		e.op("VMULPS", "Z4", "Z1", "Z1")
		e.op("VMULPS", "Z5", "Z1", "Z1")
		store("R8", 0)
		store("DI", 1)
	})
}

// sigmoidConstants512 fills Z16 to Z29, of which Z25 is 1.
func sigmoidConstants512(e *emitter) {
	for i, at := range []int{0, 4, 8, 12, 16, 20, 24, 28, 32, 36, 40, 44} {
		e.op("VBROADCASTSS", fmt.Sprintf("·expConst+%d(SB)", at), zmm(16+i))
	}
	e.op("MOVL", "$0x7f800000", "AX")
	e.op("VPBROADCASTD", "AX", "Z28")
	e.op("VPXORD", "Z29", "Z29", "Z29")
}

// sigmoid512 sets Z4 to 1 + e^−g for g in Z0; Z2, Z3 and Z5 are overwritten. The steps are
// those of EXP and SILU of the AVX2 kernels, mask for mask.
func sigmoid512(e *emitter) {
	const log2e, ln2hi, ln2lo, c0, c1, c2, c3, c4, half, one, least, most = "Z16", "Z17", "Z18", "Z19", "Z20", "Z21", "Z22", "Z23", "Z24", "Z25", "Z26", "Z27"
	e.op("VSUBPS", "Z0", "Z29", "Z2")
	e.op("VCMPPS", "$14", most, "Z2", "K2") // e^−g beyond float32
	e.op("VCMPPS", "$5", least, "Z2", "K3") // not below it
	e.op("VMAXPS", "Z2", least, "Z2")
	e.op("VMINPS", "Z2", most, "Z2")
	e.op("VMULPS", log2e, "Z2", "Z3")
	e.op("VRNDSCALEPS", "$0", "Z3", "Z3")
	e.op("VFNMADD231PS", ln2hi, "Z3", "Z2")
	e.op("VFNMADD231PS", ln2lo, "Z3", "Z2")
	e.op("VCVTPS2DQ", "Z3", "Z3")
	e.op("VPSLLD", "$23", "Z3", "Z3")
	e.op("VPADDD", one, "Z3", "Z3")
	e.op("VMOVAPS", c0, "Z4")
	for _, c := range []string{c1, c2, c3, c4, half} {
		e.op("VFMADD213PS", c, "Z2", "Z4")
	}
	e.op("VMULPS", "Z2", "Z2", "Z5")
	e.op("VFMADD213PS", "Z2", "Z5", "Z4")
	e.op("VADDPS", one, "Z4", "Z4")
	e.op("VMULPS.Z", "Z3", "Z4", "K3", "Z4")
	e.op("VADDPS", "Z28", "Z4", "K2", "Z4")
	e.op("VADDPS", one, "Z4", "Z4")
}

func addScaled512(e *emitter) {
	e.text("addScaledAVX512", 28, "(x, y *float32, n int, scale float32)")
	e.op("MOVQ", "x+0(FP)", "DI")
	e.op("MOVQ", "y+8(FP)", "SI")
	e.op("MOVQ", "n+16(FP)", "CX")
	e.op("VBROADCASTSS", "scale+24(FP)", "Z3")
	each512(e, func(load, store func(string, int)) {
		load("SI", 0)
		load("DI", 1)
		e.op("VMULPS", "Z0", "Z3", "Z0")
		e.op("VADDPS", "Z1", "Z0", "Z0")
		store("DI", 0)
	})
}

func normScale512(e *emitter) {
	e.text("normScaleAVX512", 36, "(out, x, weight *float32, n int, inv float32)")
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "x+8(FP)", "SI")
	e.op("MOVQ", "weight+16(FP)", "BX")
	e.op("MOVQ", "n+24(FP)", "CX")
	e.op("VBROADCASTSS", "inv+32(FP)", "Z3")
	each512(e, func(load, store func(string, int)) {
		load("SI", 0)
		load("BX", 1)
		e.op("VMULPS", "Z0", "Z3", "Z0")
		e.op("VMULPS", "Z1", "Z0", "Z0")
		store("DI", 0)
	})
}

// signs turn the sines that meet the first of two neighbours.
const signs = `
DATA ·rotateSigns+0(SB)/8, $0x0000000080000000
GLOBL ·rotateSigns(SB), RODATA|NOPTR, $8
`

// rotateBegin loads the arguments; n elements of a head are taken lanes at a time,
// and for each the heads in turn, so that the angles are read once.
func rotateBegin(e *emitter, name string) {
	e.text(name, 56, "(v, cos, sin *float32, n, heads, dim, half int)")
	e.op("MOVQ", "v+0(FP)", "DI")
	e.op("MOVQ", "cos+8(FP)", "SI")
	e.op("MOVQ", "sin+16(FP)", "BX")
	e.op("MOVQ", "n+24(FP)", "CX")
	e.op("MOVQ", "dim+40(FP)", "R9")
	e.op("SHLQ", "$2", "R9")
}

// rotateHalves: n is a multiple of lanes, and half is how far on the second of
// two elements lies.
func rotateHalves(e *emitter, level string, reg func(int) string, lanes int) {
	rotateBegin(e, "rotateHalves"+level)
	e.op("MOVQ", "half+48(FP)", "R10")
	e.op("SHLQ", "$2", "R10")
	e.label("part")
	e.op("SUBQ", fmt.Sprintf("$%d", lanes), "CX")
	e.op("JLT", "done")
	e.op("VMOVUPS", "(SI)", reg(6))
	e.op("VMOVUPS", "(BX)", reg(7))
	e.op("MOVQ", "heads+32(FP)", "R8")
	e.op("MOVQ", "DI", "DX")
	e.label("head")
	e.op("VMOVUPS", "(DX)", reg(0))
	e.op("VMOVUPS", "(DX)(R10*1)", reg(1))
	e.op("VMULPS", reg(0), reg(6), reg(2)) // x·cos
	e.op("VMULPS", reg(1), reg(7), reg(3)) // y·sin
	e.op("VMULPS", reg(1), reg(6), reg(4)) // y·cos
	e.op("VMULPS", reg(0), reg(7), reg(5)) // x·sin
	e.op("VSUBPS", reg(3), reg(2), reg(2))
	e.op("VADDPS", reg(5), reg(4), reg(4))
	e.op("VMOVUPS", reg(2), "(DX)")
	e.op("VMOVUPS", reg(4), "(DX)(R10*1)")
	e.op("ADDQ", "R9", "DX")
	e.op("SUBQ", "$1", "R8")
	e.op("JNZ", "head")
	for _, p := range []string{"DI", "SI", "BX"} {
		e.op("ADDQ", fmt.Sprintf("$%d", 4*lanes), p)
	}
	e.op("JMP", "part")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// rotatePairs: n counts pairs and is a multiple of lanes/2; half is not asked. Beside each element
// stands its neighbour, whose sine has its sign turned for the first of the two.
func rotatePairs(e *emitter, level string, reg func(int) string, lanes int) {
	rotateBegin(e, "rotatePairs"+level)
	e.op("VBROADCASTSD", "·rotateSigns(SB)", reg(8))
	e.label("part")
	e.op("SUBQ", fmt.Sprintf("$%d", lanes/2), "CX")
	e.op("JLT", "done")
	e.op("VPMOVZXDQ", "(SI)", reg(6))
	e.op("VPMOVZXDQ", "(BX)", reg(7))
	e.op("VMOVSLDUP", reg(6), reg(6))
	e.op("VMOVSLDUP", reg(7), reg(7))
	e.op("VXORPS", reg(8), reg(7), reg(7))
	e.op("MOVQ", "heads+32(FP)", "R8")
	e.op("MOVQ", "DI", "DX")
	e.label("head")
	e.op("VMOVUPS", "(DX)", reg(0))
	e.op("VPERMILPS", "$0xb1", reg(0), reg(1))
	e.op("VMULPS", reg(0), reg(6), reg(0))
	e.op("VMULPS", reg(1), reg(7), reg(1))
	e.op("VADDPS", reg(1), reg(0), reg(0))
	e.op("VMOVUPS", reg(0), "(DX)")
	e.op("ADDQ", "R9", "DX")
	e.op("SUBQ", "$1", "R8")
	e.op("JNZ", "head")
	e.op("ADDQ", fmt.Sprintf("$%d", 4*lanes), "DI")
	for _, p := range []string{"SI", "BX"} {
		e.op("ADDQ", fmt.Sprintf("$%d", 2*lanes), p)
	}
	e.op("JMP", "part")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}
