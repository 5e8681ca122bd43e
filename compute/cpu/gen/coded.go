package main

import "fmt"

// The products of rows of codes with blocks of codes of 8 and 4 bits (coded.go in the
// package), for AVX-512 with VNNI: 64 columns and four rows of the matrix at a time. The
// bytes of four rows are interleaved, so that each 32-bit lane holds a column's four
// codes. Of 4 bits, the low halves of 32 bytes are columns and the high ones those that
// lie half a row further.

func init() { files["coded_avx512_amd64.s"] = codedProducts512 }

const codedRows = 3 // as in the package

func codedProducts512(e *emitter) {
	e.raw("#include \"go_asm.h\"\n\n// Twin: coded.go.\n")
	for odd := range 2 {
		for lane := range 16 {
			e.raw(fmt.Sprintf("DATA pairHalf<>+%d(SB)/4, $%d\n", 64*odd+4*lane, 2*lane+odd))
		}
	}
	e.raw("GLOBL pairHalf<>(SB), RODATA|NOPTR, $128\n")
	codedLimits(e)
	e.raw("DATA lowHalves<>+0(SB)/4, $0x0f0f0f0f\nGLOBL lowHalves<>(SB), RODATA|NOPTR, $4\n")
	var shifts [32]uint16 // of the words of two copies of 32 bytes
	for i := range 16 {
		shifts[16+i] = 4
	}
	e.words("halfShifts", shifts)
	for m := 1; m <= codedRows; m++ {
		codeRows512(e, m)
		coded512{e, 8, m}.write()
		coded512{e, 4, m}.write()
	}
}

// codeRows512 is one height: the rows' steps alternate, so that none waits for its own
// last one. Sums of a·lo are in Z0 to Z2, the largest |a·s| in Z3 to Z5.
func codeRows512(e *emitter, m int) {
	sum, top := func(i int) int { return i }, func(i int) int { return 3 + i }
	place := func(name string, i int) string { return fmt.Sprintf("codedRow_%s+codedRow__size*%d(DI)", name, i) }
	each := func(f func(i int)) {
		for i := range m {
			f(i)
		}
	}
	e.text(fmt.Sprintf("codeRowsx%dAVX512", m), 16, "(p *product, rows *codedRow)")
	e.op("MOVQ", "p+0(FP)", productArgs)
	e.op("MOVQ", "rows+8(FP)", "DI")
	each(func(i int) { e.op("MOVQ", field("a", 8*i), rowRegister(i)) })
	e.op("MOVQ", field("pairs", 0), "DX")
	e.op("MOVQ", field("depth", 0), "CX")
	e.op("SHLQ", "$2", "CX")
	e.op("MOVQ", field("ahead", 0), "R12")
	e.op("SUBQ", field("b", 0), "R12")
	e.op("ADDQ", "DX", "R12") // pairs that will be read
	e.op("VMOVDQU32", "pairHalf<>+0(SB)", "Z10")
	e.op("VMOVDQU32", "pairHalf<>+64(SB)", "Z11")
	e.op("VPBROADCASTD", "codedLimits<>+0(SB)", "Z12")
	e.op("VPXORD", "Z13", "Z13", "Z13")
	each(func(i int) {
		e.op("VPXORD", zmm(sum(i)), zmm(sum(i)), zmm(sum(i)))
		e.op("VPXORD", zmm(top(i)), zmm(top(i)), zmm(top(i)))
	})
	e.op("XORQ", "AX", "AX")
	e.label("scale")
	e.op("PREFETCHT1", "(R12)(AX*2)")
	e.op("PREFETCHT1", "64(R12)(AX*2)")
	e.op("VMOVDQU32", "(DX)(AX*2)", "Z14")
	e.op("VMOVAPS", "Z14", "Z15")
	e.op("VPERMT2PS", "64(DX)(AX*2)", "Z10", "Z14") // lo
	e.op("VPERMT2PS", "64(DX)(AX*2)", "Z11", "Z15") // s
	each(func(i int) { e.op("VMOVUPS", fmt.Sprintf("(%s)(AX*1)", rowRegister(i)), zmm(16+i)) })
	each(func(i int) { e.op("VMULPS", "Z15", zmm(16+i), zmm(20+i)) })
	each(func(i int) { e.op("VMULPS", "Z14", zmm(16+i), zmm(16+i)) })
	each(func(i int) { e.op("VMOVUPS", zmm(20+i), place("scaled", i)+"(AX*1)") })
	each(func(i int) { e.op("VFMADD231PS", "Z13", zmm(20+i), zmm(16+i)) })
	each(func(i int) { e.op("VPANDD", "Z12", zmm(20+i), zmm(20+i)) })
	each(func(i int) { e.op("VADDPS", zmm(16+i), zmm(sum(i)), zmm(sum(i))) })
	each(func(i int) { e.op("VMAXPS", zmm(20+i), zmm(top(i)), zmm(top(i))) })
	e.op("ADDQ", "$64", "AX")
	e.op("CMPQ", "AX", "CX")
	e.op("JLT", "scale")

	// Lanes together: each half added to the other, down to one.
	fold := func(half func(from, to int)) {
		each(func(i int) { half(sum(i), 16+i) })
		each(func(i int) { half(top(i), 20+i) })
		each(func(i int) { e.op("VADDPS", ymm(16+i), ymm(sum(i)), ymm(sum(i))) })
		each(func(i int) { e.op("VMAXPS", ymm(20+i), ymm(top(i)), ymm(top(i))) })
	}
	fold(func(from, to int) { e.op("VEXTRACTF64X4", "$1", zmm(from), ymm(to)) })
	fold(func(from, to int) { e.op("VEXTRACTF64X2", "$1", ymm(from), xmm(to)) })
	fold(func(from, to int) { e.op("VPERMILPS", "$0x0e", ymm(from), ymm(to)) })
	fold(func(from, to int) { e.op("VPERMILPS", "$0x01", ymm(from), ymm(to)) })
	// Below codedLeast there are no codes: scale and inverse are 0.
	e.op("VMOVSS", "codedLimits<>+8(SB)", "X6")
	e.op("VMOVSS", "codedLimits<>+12(SB)", "X7")
	each(func(i int) {
		e.op("VMOVSS", xmm(sum(i)), place("base", i))
		e.op("VCMPSS", "$13", "X7", xmm(top(i)), fmt.Sprintf("K%d", 1+i)) // at least
	})
	each(func(i int) {
		e.op("VDIVSS.Z", "X6", xmm(top(i)), fmt.Sprintf("K%d", 1+i), xmm(16+i))
		e.op("VDIVSS.Z", xmm(top(i)), "X6", fmt.Sprintf("K%d", 1+i), xmm(20+i))
	})
	each(func(i int) {
		e.op("VMOVSS", xmm(16+i), place("scale", i))
		e.op("VBROADCASTSS", xmm(20+i), zmm(20+i))
	})

	e.op("VPBROADCASTD", "codedLimits<>+4(SB)", "Z7")
	e.op("SHRQ", "$2", "CX")
	e.op("XORQ", "AX", "AX")
	e.label("code")
	each(func(i int) { e.op("VMULPS", place("scaled", i)+"(AX*4)", zmm(20+i), zmm(16+i)) })
	each(func(i int) { e.op("VCVTPS2DQ", zmm(16+i), zmm(16+i)) })
	each(func(i int) { e.op("VPMOVDB", zmm(16+i), place("low", i)+"(AX*1)") })
	each(func(i int) { e.op("VPADDD", "Z7", zmm(16+i), zmm(16+i)) })
	each(func(i int) { e.op("VPSRLD", "$8", zmm(16+i), zmm(16+i)) })
	each(func(i int) { e.op("VPMOVDB", zmm(16+i), place("high", i)+"(AX*1)") })
	e.op("ADDQ", "$16", "AX")
	e.op("CMPQ", "AX", "CX")
	e.op("JLT", "code")
	e.op("VZEROUPPER")
	e.op("RET")
}

// coded512 is one routine: sums of high bytes in Z0 to Z11, of low ones in Z12 to Z23,
// four vectors a row.
type coded512 struct {
	*emitter
	bits, m int
}

// place is where vector v of these columns lies in a row of results.
func (c coded512) place(v int) string {
	if c.bits == 4 && v > 1 {
		return fmt.Sprintf("%d(AX)(R13*1)", 64*(v-2))
	}
	return fmt.Sprintf("%d(AX)(DX*1)", 64*v)
}

// load sets a register to 64 codes, a byte each.
func (c coded512) load(at, reg string) {
	if c.bits == 8 {
		c.op("VMOVDQU32", at, reg)
		return
	}
	c.op("VBROADCASTI64X4", at, reg)
	c.op("VPSRLVW", "halfShifts<>(SB)", reg, reg)
	c.op("VPANDD.BCST", "lowHalves<>(SB)", reg, reg)
}

func (c coded512) write() {
	e, m := c.emitter, c.m
	high := func(i, v int) string { return zmm(4*i + v) }
	low := func(i, v int) string { return zmm(12 + 4*i + v) }
	row := func(i int) string { return fmt.Sprintf("codedRow__size*%d", i) }
	e.text(fmt.Sprintf("codedQ%dx%dAVX512", c.bits, m), 16, "(p *product, rows *codedRow)")
	e.op("MOVQ", "p+0(FP)", productArgs)
	e.op("MOVQ", "rows+8(FP)", "R8")
	e.op("MOVQ", field("b", 0), productB)
	e.op("MOVQ", field("cols", 0), productCols)
	e.op("MOVQ", field("stride", 0), productStep)
	e.op("MOVQ", field("depth", 0), productEnd)
	e.op("MOVQ", field("ahead", 0), "R12")
	e.op("SUBQ", productB, "R12") // from what is read to what will be
	e.op("LEAQ", "(R14)(R14*2)", "R11")
	e.op("XORQ", productC, productC)
	if c.bits == 4 {
		e.op("LEAQ", "(CX)(CX*1)", "R13")
	}

	e.label("columns")
	for i := range m {
		for v := range 4 {
			e.op("VPXORD", high(i, v), high(i, v), high(i, v))
			e.op("VPXORD", low(i, v), low(i, v), low(i, v))
		}
	}
	e.op("MOVQ", productB, productRow)
	e.op("XORQ", productK, productK)
	e.label("next")
	e.op("LEAQ", "(DI)(R12*1)", "R10")
	for i, at := range []string{"", "(R14*1)", "(R14*2)", "(R11*1)"} {
		c.load("(DI)"+at, zmm(24+i))
		e.op("PREFETCHT1", "(R10)"+at)
	}
	e.op("VPUNPCKLBW", "Z25", "Z24", "Z28")
	e.op("VPUNPCKHBW", "Z25", "Z24", "Z24")
	e.op("VPUNPCKLBW", "Z27", "Z26", "Z29")
	e.op("VPUNPCKHBW", "Z27", "Z26", "Z26")
	e.op("VPUNPCKLWD", "Z29", "Z28", "Z30")
	e.op("VPUNPCKHWD", "Z29", "Z28", "Z28")
	e.op("VPUNPCKLWD", "Z26", "Z24", "Z31")
	e.op("VPUNPCKHWD", "Z26", "Z24", "Z24")
	columns := []string{"Z30", "Z28", "Z31", "Z24"}
	for i := range m {
		e.op("VPBROADCASTD", fmt.Sprintf("codedRow_high+%s(R8)(AX*1)", row(i)), "Z25")
		e.op("VPBROADCASTD", fmt.Sprintf("codedRow_low+%s(R8)(AX*1)", row(i)), "Z26")
		for v, codes := range columns {
			e.op("VPDPBUSD", "Z25", codes, high(i, v))
			e.op("VPDPBUSD", "Z26", codes, low(i, v))
		}
	}
	e.op("LEAQ", "(DI)(R14*4)", "DI")
	e.op("ADDQ", "$4", productK)
	e.op("CMPQ", productK, productEnd)
	e.op("JLT", "next")

	for i := range m {
		e.op("VBROADCASTSS", fmt.Sprintf("codedRow_scale+%s(R8)", row(i)), "Z24")
		e.op("VBROADCASTSS", fmt.Sprintf("codedRow_base+%s(R8)", row(i)), "Z25")
		for v := range 4 {
			e.op("VPSLLD", "$8", high(i, v), high(i, v))
			e.op("VPADDD", low(i, v), high(i, v), high(i, v))
			e.op("VCVTDQ2PS", high(i, v), high(i, v))
			e.op("VMULPS", "Z24", high(i, v), high(i, v))
			e.op("VADDPS", "Z25", high(i, v), high(i, v))
		}
		// The quarters of vector v are columns 4·v … 4·v+3 of each sixteen.
		e.op("VSHUFF32X4", "$0x44", high(i, 1), high(i, 0), "Z26")
		e.op("VSHUFF32X4", "$0x44", high(i, 3), high(i, 2), "Z27")
		e.op("VSHUFF32X4", "$0xee", high(i, 1), high(i, 0), "Z28")
		e.op("VSHUFF32X4", "$0xee", high(i, 3), high(i, 2), "Z29")
		e.op("VSHUFF32X4", "$0x88", "Z27", "Z26", high(i, 0))
		e.op("VSHUFF32X4", "$0xdd", "Z27", "Z26", high(i, 1))
		e.op("VSHUFF32X4", "$0x88", "Z29", "Z28", high(i, 2))
		e.op("VSHUFF32X4", "$0xdd", "Z29", "Z28", high(i, 3))
	}
	codedResults(e, m, high, c.place, "Z24", "Z25")
	e.op("ADDQ", fmt.Sprintf("$%d", 32*c.bits), productC)
	e.op("ADDQ", fmt.Sprintf("$%d", 8*c.bits), productB)
	if c.bits == 4 {
		e.op("ADDQ", "$128", "R13")
	}
	e.op("SUBQ", "$64", productCols)
	e.op("JGT", "columns")
	e.op("VZEROUPPER")
	e.op("RET")
}

// codedLimits writes the numbers that both widths make codes by.
func codedLimits(e *emitter) {
	e.raw("DATA codedLimits<>+0(SB)/4, $0x7fffffff\n")  // all but the sign
	e.raw("DATA codedLimits<>+4(SB)/4, $0x80\n")        // half of a high byte's step
	e.raw("DATA codedLimits<>+8(SB)/4, $0x46fefe00\n")  // codedTop
	e.raw("DATA codedLimits<>+12(SB)/4, $0x0da24260\n") // codedLeast
	e.raw("GLOBL codedLimits<>(SB), RODATA|NOPTR, $16\n")
}

// codedResults adds what was there, shrunk, to the sums of m rows, four vectors each,
// and writes them; decay and tmp are registers.
func codedResults(e *emitter, m int, sum func(i, v int) string, place func(v int) string, decay, tmp string) {
	e.op("CMPQ", field("fresh", 0), "$0")
	e.op("JNE", "store")
	results(e, m, func(i int) {
		e.op("VBROADCASTSS", field("decay", 4*i), decay)
		for v := range 4 {
			e.op("VMULPS", place(v), decay, tmp)
			e.op("VADDPS", tmp, sum(i, v), sum(i, v))
		}
	})
	e.label("store")
	results(e, m, func(i int) {
		for v := range 4 {
			e.op("VMOVUPS", sum(i, v), place(v))
		}
	})
}
