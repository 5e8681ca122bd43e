package main

import "fmt"

func init() {
	files["packedrows_avx2_amd64.s"] = func(e *emitter) {
		e.raw("\nDATA packedOrder<>+0(SB)/8, $0x0000000400000000\nDATA packedOrder<>+8(SB)/8, $0x0000000500000001\n" +
			"DATA packedOrder<>+16(SB)/8, $0x0000000600000002\nDATA packedOrder<>+24(SB)/8, $0x0000000700000003\n" +
			"GLOBL packedOrder<>(SB), RODATA|NOPTR, $32\n")
		for _, form := range []string{"Bytes", "Split", "Pairs"} {
			for _, kind := range []string{"Scale", "Minimum", "Halves"} {
				if form == "Pairs" && kind == "Minimum" { // Q8_0 and Q6_K alone
					continue
				}
				quantiseAVX2(e, form, kind)
			}
		}
	}
}

// quantiseAVX2 writes the rounding of a row of activations. Twin: packedrows.go.
func quantiseAVX2(e *emitter, form, kind string) {
	e.text(fmt.Sprintf("packedQuantise%s%sAVX2", form, kind), 48, "(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)")
	e.op("MOVQ", "codes+0(FP)", "DI")
	e.op("MOVQ", "beside+8(FP)", "R8")
	e.op("MOVQ", "x+16(FP)", "SI")
	e.op("MOVQ", "groups+24(FP)", "CX")
	e.op("MOVQ", "step+32(FP)", "R9")
	e.op("VMOVSS", "top+40(FP)", "X14")
	e.op("MOVL", "negZero+44(FP)", "R10")
	e.op("VPCMPEQD", "Y15", "Y15", "Y15")
	e.op("VPSRLD", "$25", "Y15", "Y13")
	e.op("VPSUBD", "Y15", "Y13", "Y13") // 128
	e.op("VPSRLD", "$1", "Y15", "Y15")  // without the sign
	e.op("VMOVDQU", "packedOrder<>(SB)", "Y12")
	e.label("group")
	for i := range 4 {
		e.op("VMOVUPS", at(32*i, "SI"), ymm(i))
		e.op("VPAND", ymm(15), ymm(i), ymm(4+i))
	}
	e.op("VPMAXUD", "Y5", "Y4", "Y4")
	e.op("VPMAXUD", "Y7", "Y6", "Y6")
	e.op("VPMAXUD", "Y6", "Y4", "Y4")
	acrossLanesAVX2(e, "VPMAXUD", 4, 5)
	e.op("VMOVD", "X4", "AX")
	e.op("CMPL", "AX", "$0x7f800000")
	e.op("JCC", "spoilt")
	e.op("CMPL", "AX", fmt.Sprintf("$0x%08x", (127-96)<<23))
	e.op("JCS", "nothing")
	e.op("VDIVSS", "X4", "X14", "X6")
	e.op("VDIVSS", "X14", "X4", "X11")
	e.op("VBROADCASTSS", "X6", "Y6")
	for i := range 4 {
		e.op("VMULPS", "Y6", ymm(i), ymm(i))
		e.op("VCVTPS2DQ", ymm(i), ymm(i))
	}
	e.label("store")
	switch form {
	case "Bytes":
		packBytesAVX2(e, 0, 4, at(0, "DI"))
	case "Split":
		for i := range 4 {
			e.op("VPADDD", "Y13", ymm(i), ymm(4+i))
			e.op("VPSRAD", "$8", ymm(4+i), ymm(4+i))
		}
		packBytesAVX2(e, 4, 8, at(0, "DI"))
		for i := range 4 {
			e.op("VPSLLD", "$24", ymm(i), ymm(4+i))
			e.op("VPSRAD", "$24", ymm(4+i), ymm(4+i))
		}
		packBytesAVX2(e, 4, 8, at(32, "DI"))
	case "Pairs":
		for i := range 2 {
			e.op("VPACKSSDW", ymm(2*i+1), ymm(2*i), ymm(4))
			e.op("VPERMQ", "$0xd8", ymm(4), ymm(4))
			e.op("VPSHUFLW", "$0xd8", ymm(4), ymm(4)) // k1 and k2 of a quad change places
			e.op("VPSHUFHW", "$0xd8", ymm(4), ymm(4))
			e.op("VMOVDQU", ymm(4), at(32*i, "DI"))
		}
	}
	e.op("VMOVSS", "X11", "(R8)")
	e.op("MOVQ", "$0", "8(R8)")
	e.op("VPADDD", "Y1", "Y0", "Y0")
	e.op("VPADDD", "Y3", "Y2", "Y2")
	if kind == "Halves" {
		for i := range 2 {
			acrossLanesAVX2(e, "VPADDD", 2*i, 4)
			e.op("VMOVD", xmm(2*i), "AX")
			e.op("IMULL", "R10", "AX")
			e.op("MOVL", "AX", at(4+4*i, "R8"))
		}
	} else {
		e.op("VPADDD", "Y2", "Y0", "Y0")
		acrossLanesAVX2(e, "VPADDD", 0, 4)
	}
	switch kind {
	case "Minimum":
		e.op("VCVTDQ2PS", "X0", "X0")
		e.op("VMULSS", "X0", "X11", "X0")
		e.op("VMOVSS", "X0", "4(R8)")
	case "Scale":
		e.op("VMOVD", "X0", "AX")
		e.op("IMULL", "R10", "AX")
		e.op("MOVL", "AX", "4(R8)")
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
	e.op("VMOVD", "AX", "X11")
	clearY(e, 0, 1, 2, 3)
	e.op("JMP", "store")
}

// packBytesAVX2 stores four registers of numbers that fit a byte as 32 bytes in
// order; tmp and the next are free.
func packBytesAVX2(e *emitter, from, tmp int, to string) {
	e.op("VPACKSSDW", ymm(from+1), ymm(from), ymm(tmp))
	e.op("VPACKSSDW", ymm(from+3), ymm(from+2), ymm(tmp+1))
	e.op("VPACKSSWB", ymm(tmp+1), ymm(tmp), ymm(tmp))
	e.op("VPERMD", ymm(tmp), ymm(12), ymm(tmp))
	e.op("VMOVDQU", ymm(tmp), to)
}

// acrossLanesAVX2 brings the 8 lanes of a register together in its first.
func acrossLanesAVX2(e *emitter, op string, reg, tmp int) {
	e.op("VEXTRACTI128", "$1", ymm(reg), xmm(tmp))
	e.op(op, xmm(tmp), xmm(reg), xmm(reg))
	e.op("VPSHUFD", "$0x4e", xmm(reg), xmm(tmp))
	e.op(op, xmm(tmp), xmm(reg), xmm(reg))
	e.op("VPSHUFD", "$0xb1", xmm(reg), xmm(tmp))
	e.op(op, xmm(tmp), xmm(reg), xmm(reg))
}
