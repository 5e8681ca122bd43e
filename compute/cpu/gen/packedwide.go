package main

import (
	"fmt"
	"math"
)

// Rows and panels for tiles of bfloat16. Twins: packedwide.go.

// brain is a small whole number as bfloat16.
func brain(x int) uint16 { return uint16(math.Float32bits(float32(x)) >> 16) }

// words writes a table of a register.
func (e *emitter) words(name string, table [32]uint16) {
	for i := 0; i < len(table); i += 4 {
		v := uint64(table[i]) | uint64(table[i+1])<<16 | uint64(table[i+2])<<32 | uint64(table[i+3])<<48
		e.raw(fmt.Sprintf("DATA %s<>+%d(SB)/8, $0x%016x\n", name, 2*i, v))
	}
	e.raw(fmt.Sprintf("GLOBL %s<>(SB), RODATA|NOPTR, $64\n", name))
}

// wideQuantise writes the rounding of a row of activations.
func wideQuantise(e *emitter, parts int) {
	e.text(fmt.Sprintf("packedQuantiseWide%dAMX", parts), 44, "(codes, beside *byte, x *float32, groups, step int, top float32)")
	e.op("MOVQ", "codes+0(FP)", "DI")
	e.op("MOVQ", "beside+8(FP)", "R8")
	e.op("MOVQ", "x+16(FP)", "SI")
	e.op("MOVQ", "groups+24(FP)", "CX")
	e.op("MOVQ", "step+32(FP)", "R9")
	e.op("VMOVSS", "top+40(FP)", "X14")
	e.op("MOVL", "$0x7fffffff", "AX")
	e.op("VPBROADCASTD", "AX", "Z15")
	e.op("VMOVDQU32", "wideOrder<>(SB)", "Z12")
	if parts == 2 {
		e.op("MOVL", "$128", "AX")
		e.op("VPBROADCASTD", "AX", "Z13")
		e.op("MOVL", "$~255", "AX")
		e.op("VPBROADCASTD", "AX", "Z11")
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
	e.op("VPADDD", "Z1", "Z0", "Z6")
	low := 0
	if parts == 2 {
		low = 1024
		for i := range 2 {
			e.op("VPADDD", "Z13", zmm(i), zmm(2+i))
			e.op("VPANDD", "Z11", zmm(2+i), zmm(2+i))
			e.op("VPSUBD", zmm(2+i), zmm(i), zmm(i))
		}
		storeBrains(e, 2, 0)
	}
	storeBrains(e, 0, low)
	acrossLanes(e, "VPADDD", 6, 3)
	e.op("VCVTDQ2PS", "X6", "X6")
	e.op("VMULSS", "X6", "X5", "X6")
	e.op("VMOVSS", "X5", "(R8)")
	e.op("VMOVSS", "X6", "64(R8)")
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

// storeBrains stores the whole numbers of a register and the next one as bfloat16.
func storeBrains(e *emitter, reg, offset int) {
	e.op("VCVTDQ2PS", zmm(reg), zmm(reg))
	e.op("VCVTDQ2PS", zmm(reg+1), zmm(reg+1))
	e.op("VPERMT2W", zmm(reg+1), "Z12", zmm(reg))
	e.op("VMOVDQU32", zmm(reg), at(offset, "DI"))
}

// wideOpen writes the expansion of groups of a panel. Tables are 14 and 15.
func wideOpen(e *emitter, p packedFormat) {
	size := amx{kind: p.kind}.size()
	e.text(fmt.Sprintf("packedOpenWide%sAMX", p.name), 24, "(dst, src *byte, groups int)")
	e.op("MOVQ", "dst+0(FP)", "DI")
	e.op("MOVQ", "src+8(FP)", "BX")
	e.op("MOVQ", "groups+16(FP)", "CX")
	for part := range max(1, p.planes) {
		if p.planes >= 0 {
			e.op("VMOVDQU32", fmt.Sprintf("wide%s%d<>(SB)", p.name, part), zmm(14+part))
		}
	}
	switch {
	case p.planes < 0:
		e.op("MOVL", "$0x80808080", "AX")
		e.op("VPBROADCASTD", "AX", "Z14")
		e.op("MOVL", "$0xffff0000", "AX")
		e.op("VPBROADCASTD", "AX", "Z15")
	case p.planes > 0:
		p.masksTo(e, fewMask, fewHalf)
	}
	p.groupsOf(e, func() { p.headTo(e, fewHead, fewTmp) }, func() {
		p.prefetch(e)
		switch p.planes {
		case -1:
			for q := range 8 {
				openBytes(e, q)
			}
		case 0:
			for q := range 4 {
				openNibbles(e, q)
			}
		default:
			p.expandAll(e)
			for q := range 8 {
				p.openCodes(e, q)
			}
		}
		p.scalesTo(e, fewScale, fewHead)
		e.op("VMOVUPS", zmm(fewScale), at(1024, "DI"))
		if p.kind != "Scale" {
			e.op("VMOVUPS", zmm(fewScale+1), at(1024+64, "DI"))
		}
		e.op("ADDQ", fmt.Sprintf("$%d", size), "DI")
	})
	e.op("VZEROUPPER")
	e.op("RET")
}

// openNibbles looks up the codes of quads q and q + 4: in tables of 32 places, of which
// those above 16 say the same again, as bits of the next code stand there.
func openNibbles(e *emitter, q int) {
	e.op("VMOVDQU32", at(64*q, "BX"), "Z0")
	for i := range 4 { // the low code of even bytes, the high one, those of odd bytes
		from := "Z0"
		if i > 0 {
			from = zmm(i)
			e.op("VPSRLW", fmt.Sprintf("$%d", 4*i), "Z0", from)
		}
		e.op("VPERMW", "Z14", from, zmm(4+i))
		e.op("VMOVDQU32", zmm(4+i), at(128*(q+i%2*4)+i/2*64, "DI"))
	}
}

// openCodes looks up the codes of quad q, which are in its register.
func (p packedFormat) openCodes(e *emitter, q int) {
	code, odd := zmm(q), zmm(8+q%2)
	e.op("VPSRLW", "$8", code, odd)
	for i, reg := range []string{code, odd} {
		if p.planes == 1 {
			e.op("VPERMW", "Z14", reg, reg)
		} else {
			e.op("VPERMI2W", "Z15", "Z14", reg)
		}
		e.op("VMOVDQU32", reg, at(128*q+64*i, "DI"))
	}
}

// openBytes makes whole bytes float32, of which the upper half is kept.
func openBytes(e *emitter, q int) {
	e.op("VPXORD", at(64*q, "BX"), "Z14", "Z0")
	for k := range 4 {
		from := "Z0"
		if k < 3 {
			from = zmm(1 + k)
			e.op("VPSLLD", fmt.Sprintf("$%d", 24-8*k), "Z0", from)
		}
		e.op("VPSRAD", "$24", from, zmm(1+k))
		e.op("VCVTDQ2PS", zmm(1+k), zmm(1+k))
	}
	for odd := range 2 { // k0 below k2, k1 below k3
		low, high := zmm(1+odd), zmm(3+odd)
		e.op("VPSRLD", "$16", low, low)
		e.op("VPTERNLOGD", "$0xF8", "Z15", high, low) // low | high & mask
		e.op("VMOVDQU32", low, at(128*q+64*odd, "DI"))
	}
}
