package main

import "fmt"

// packedQuantise writes the rounding of a row of activations. Twin: packedrows.go.
func packedQuantise(e *emitter, form, kind string) {
	e.text(fmt.Sprintf("packedQuantise%s%sAVX512", form, kind), 48, "(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)")
	e.op("MOVQ", "codes+0(FP)", "DI")
	e.op("MOVQ", "beside+8(FP)", "R8")
	e.op("MOVQ", "x+16(FP)", "SI")
	e.op("MOVQ", "groups+24(FP)", "CX")
	e.op("MOVQ", "step+32(FP)", "R9")
	e.op("VMOVSS", "top+40(FP)", "X14")
	e.op("MOVL", "negZero+44(FP)", "R10")
	e.op("MOVL", "$0x7fffffff", "AX")
	e.op("VPBROADCASTD", "AX", "Z15")
	if form == "Split" {
		e.op("MOVL", "$128", "AX")
		e.op("VPBROADCASTD", "AX", "Z13")
	}
	e.label("group")
	e.op("VMOVUPS", "(SI)", "Z0")
	e.op("VMOVUPS", "64(SI)", "Z1")
	e.op("VPANDD", "Z15", "Z0", "Z2")
	e.op("VPANDD", "Z15", "Z1", "Z3")
	e.op("VPMAXUD", "Z3", "Z2", "Z2")
	acrossLanes(e, "VPMAXUD", 2, 3)
	e.op("VMOVD", "X2", "AX")
	e.op("CMPL", "AX", "$0x7f800000")
	e.op("JCC", "spoilt")
	e.op("CMPL", "AX", fmt.Sprintf("$0x%08x", (127-96)<<23))
	e.op("JCS", "nothing")
	e.op("VDIVSS", "X2", "X14", "X4")
	e.op("VDIVSS", "X14", "X2", "X5")
	e.op("VBROADCASTSS", "X4", "Z4")
	e.op("VMULPS", "Z4", "Z0", "Z0")
	e.op("VMULPS", "Z4", "Z1", "Z1")
	e.op("VCVTPS2DQ", "Z0", "Z0")
	e.op("VCVTPS2DQ", "Z1", "Z1")
	e.label("store")
	low := 0
	if form == "Split" {
		low = 32
		for i := range 2 {
			e.op("VPADDD", "Z13", zmm(i), zmm(2+i))
			e.op("VPSRAD", "$8", zmm(2+i), zmm(2+i))
			e.op("VPMOVDB", zmm(2+i), at(16*i, "DI"))
		}
	}
	e.op("VPMOVDB", "Z0", at(low, "DI"))
	e.op("VPMOVDB", "Z1", at(low+16, "DI"))
	e.op("VMOVSS", "X5", "(R8)")
	e.op("MOVQ", "$0", "8(R8)")
	switch kind {
	case "Halves":
		for i := range 2 {
			acrossLanes(e, "VPADDD", i, 3)
			e.op("VMOVD", xmm(i), "AX")
			e.op("IMULL", "R10", "AX")
			e.op("MOVL", "AX", at(4+4*i, "R8"))
		}
	default:
		e.op("VPADDD", "Z1", "Z0", "Z0")
		acrossLanes(e, "VPADDD", 0, 3)
		if kind == "Minimum" {
			e.op("VCVTDQ2PS", "X0", "X0")
			e.op("VMULSS", "X0", "X5", "X0")
			e.op("VMOVSS", "X0", "4(R8)")
		} else {
			e.op("VMOVD", "X0", "AX")
			e.op("IMULL", "R10", "AX")
			e.op("MOVL", "AX", "4(R8)")
		}
	}
	e.op("ADDQ", "$128", "SI")
	e.op("ADDQ", "R9", "DI")
	e.op("ADDQ", "R9", "R8")
	e.op("DECQ", "CX")
	e.op("JNZ", "group")
	e.op("VZEROUPPER")
	e.op("RET")
	e.label("spoilt")
	e.op("MOVL", "$0x7fc00000", "AX")
	e.op("JMP", "zeros")
	e.label("nothing")
	e.op("XORL", "AX", "AX")
	e.label("zeros")
	e.op("VMOVD", "AX", "X5")
	clearZ(e, 0, 1)
	e.op("JMP", "store")
}

// acrossLanes brings the 16 lanes of a register together in its first.
func acrossLanes(e *emitter, op string, reg, tmp int) {
	e.op("VEXTRACTI64X4", "$1", zmm(reg), ymm(tmp))
	e.op(op, ymm(tmp), ymm(reg), ymm(reg))
	e.op("VEXTRACTI128", "$1", ymm(reg), xmm(tmp))
	e.op(op, xmm(tmp), xmm(reg), xmm(reg))
	e.op("VPSHUFD", "$0x4e", xmm(reg), xmm(tmp))
	e.op(op, xmm(tmp), xmm(reg), xmm(reg))
	e.op("VPSHUFD", "$0xb1", xmm(reg), xmm(tmp))
	e.op(op, xmm(tmp), xmm(reg), xmm(reg))
}
