package main

import "fmt"

// The products of rows of codes with blocks of codes (coded.go in the package), for
// AVX2: 32 columns and two rows of the matrix at a time, in pairs of 16 bits. Of 4 bits,
// the low halves of 16 bytes are columns and the high ones those that lie half a row
// further.

func init() { files["coded_avx2_amd64.s"] = codedProducts256 }

func codedProducts256(e *emitter) {
	e.raw("#include \"go_asm.h\"\n\n// Twin: coded.go.\n")
	codedLimits(e)
	e.raw("DATA lowHalves<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f\nDATA lowHalves<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f\n")
	e.raw("GLOBL lowHalves<>(SB), RODATA|NOPTR, $16\n")
	codeRow256(e)
	for m := 1; m <= codedRows; m++ {
		coded256{e, 8, m}.write()
		coded256{e, 4, m}.write()
	}
}

// codeRow256 sums 16 lanes in Y0 and Y1 and keeps the largest |a·s| in Y2 and Y3.
func codeRow256(e *emitter) {
	e.text("codeRowAVX2", 32, "(r *codedRow, a *float32, pairs unsafe.Pointer, depth int)")
	e.op("MOVQ", "r+0(FP)", "DI")
	e.op("MOVQ", "a+8(FP)", "SI")
	e.op("MOVQ", "pairs+16(FP)", "DX")
	e.op("MOVQ", "depth+24(FP)", "CX")
	e.op("SHLQ", "$2", "CX")
	e.op("VBROADCASTSS", "codedLimits<>+0(SB)", "Y12")
	for _, i := range []int{0, 1, 2, 3, 13} {
		e.op("VXORPS", ymm(i), ymm(i), ymm(i))
	}
	e.op("XORQ", "AX", "AX")
	e.label("scale")
	for half := range 2 {
		e.op("VMOVUPS", fmt.Sprintf("%d(DX)(AX*2)", 64*half), "Y4")
		e.op("VMOVUPS", fmt.Sprintf("%d(DX)(AX*2)", 64*half+32), "Y5")
		e.op("VMOVUPS", fmt.Sprintf("%d(SI)(AX*1)", 32*half), "Y6")
		e.op("VSHUFPS", "$0x88", "Y5", "Y4", "Y7")
		e.op("VSHUFPS", "$0xdd", "Y5", "Y4", "Y8")
		e.op("VPERMPD", "$0xd8", "Y7", "Y7") // lo
		e.op("VPERMPD", "$0xd8", "Y8", "Y8") // s
		e.op("VMULPS", "Y8", "Y6", "Y8")
		e.op("VMULPS", "Y7", "Y6", "Y7")
		e.op("VMOVUPS", "Y8", fmt.Sprintf("codedRow_scaled+%d(DI)(AX*1)", 32*half))
		e.op("VFMADD231PS", "Y13", "Y8", "Y7")
		e.op("VADDPS", "Y7", ymm(half), ymm(half))
		e.op("VANDPS", "Y12", "Y8", "Y8")
		e.op("VMAXPS", "Y8", ymm(2+half), ymm(2+half))
	}
	e.op("ADDQ", "$64", "AX")
	e.op("CMPQ", "AX", "CX")
	e.op("JLT", "scale")

	e.op("VADDPS", "Y1", "Y0", "Y0")
	e.op("VMAXPS", "Y3", "Y2", "Y2")
	fold := func(half func(from, to string)) {
		half("0", "4")
		half("2", "5")
		e.op("VADDPS", "X4", "X0", "X0")
		e.op("VMAXPS", "X5", "X2", "X2")
	}
	fold(func(from, to string) { e.op("VEXTRACTF128", "$1", "Y"+from, "X"+to) })
	fold(func(from, to string) { e.op("VPERMILPS", "$0x0e", "X"+from, "X"+to) })
	fold(func(from, to string) { e.op("VPERMILPS", "$0x01", "X"+from, "X"+to) })
	e.op("VMOVSS", "X0", "codedRow_base(DI)")
	// Below codedLeast there are no codes: scale and inverse are 0.
	e.op("VMOVSS", "codedLimits<>+8(SB)", "X4")
	e.op("VXORPS", "X5", "X5", "X5")
	e.op("VXORPS", "X6", "X6", "X6")
	e.op("VUCOMISS", "codedLimits<>+12(SB)", "X2")
	e.op("JCS", "divided") // less, or not comparable
	e.op("VDIVSS", "X4", "X2", "X5")
	e.op("VDIVSS", "X2", "X4", "X6")
	e.label("divided")
	e.op("VMOVSS", "X5", "codedRow_scale(DI)")
	e.op("VBROADCASTSS", "X6", "Y6")

	e.op("SHRQ", "$1", "CX")
	e.op("XORQ", "AX", "AX")
	e.label("code")
	for half := range 2 {
		e.op("VMULPS", fmt.Sprintf("codedRow_scaled+%d(DI)(AX*2)", 32*half), "Y6", ymm(4+half))
		e.op("VCVTPS2DQ", ymm(4+half), ymm(4+half))
	}
	e.op("VPACKSSDW", "Y5", "Y4", "Y4")
	e.op("VPERMQ", "$0xd8", "Y4", "Y4")
	e.op("VMOVDQU", "Y4", "codedRow_codes(DI)(AX*1)")
	e.op("ADDQ", "$32", "AX")
	e.op("CMPQ", "AX", "CX")
	e.op("JLT", "code")
	e.op("VZEROUPPER")
	e.op("RET")
}

// coded256 is one routine: sums in Y0 to Y11, four vectors a row.
type coded256 struct {
	*emitter
	bits, m int
}

// place is where vector v of these columns lies in a row of results.
func (c coded256) place(v int) string {
	if c.bits == 4 && v > 1 {
		return fmt.Sprintf("%d(AX)(R13*1)", 32*(v-2))
	}
	return fmt.Sprintf("%d(AX)(DX*1)", 32*v)
}

// load sets a register to 16 codes of a row, a byte each.
func (c coded256) load(half int, row, reg string) {
	if c.bits == 8 {
		c.op("VMOVDQU", fmt.Sprintf("%d%s", 16*half, row), reg)
		return
	}
	c.op("VMOVDQU", row, reg)
	if half == 1 {
		c.op("VPSRLW", "$4", reg, reg)
	}
	c.op("VPAND", "lowHalves<>(SB)", reg, reg)
}

func (c coded256) write() {
	e, m := c.emitter, c.m
	sum := func(i, v int) string { return ymm(4*i + v) }
	field256 := func(name string, i int) string { return fmt.Sprintf("codedRow_%s+codedRow__size*%d(R8)", name, i) }
	e.text(fmt.Sprintf("codedQ%dx%dAVX2", c.bits, m), 16, "(p *product, rows *codedRow)")
	e.op("MOVQ", "p+0(FP)", productArgs)
	e.op("MOVQ", "rows+8(FP)", "R8")
	e.op("MOVQ", field("b", 0), productB)
	e.op("MOVQ", field("cols", 0), productCols)
	e.op("MOVQ", field("stride", 0), productStep)
	e.op("MOVQ", field("depth", 0), productEnd)
	e.op("SHLQ", "$1", productEnd)
	e.op("MOVQ", field("ahead", 0), "R12")
	e.op("SUBQ", productB, "R12")
	e.op("XORQ", productC, productC)
	if c.bits == 4 {
		e.op("LEAQ", "(CX)(CX*1)", "R13")
	}

	e.label("columns")
	for i := range m {
		for v := range 4 {
			e.op("VPXOR", sum(i, v), sum(i, v), sum(i, v))
		}
	}
	e.op("MOVQ", productB, productRow)
	e.op("XORQ", productK, productK) // 2 × the row
	e.label("next")
	e.op("LEAQ", "(DI)(R12*1)", "R10")
	e.op("PREFETCHT1", "(R10)")
	e.op("PREFETCHT1", "(R10)(R14*1)")
	for half := range 2 {
		c.load(half, "(DI)", "X12")
		c.load(half, "(DI)(R14*1)", "X13")
		e.op("VPUNPCKLBW", "X13", "X12", "X14")
		e.op("VPUNPCKHBW", "X13", "X12", "X12")
		for v, x := range []string{"X14", "X12"} {
			e.op("VPMOVZXBW", x, "Y15")
			for i := range m {
				e.op("VPBROADCASTD", field256("codes", i)+"(AX*1)", "Y13")
				e.op("VPMADDWD", "Y13", "Y15", "Y13")
				e.op("VPADDD", "Y13", sum(i, 2*half+v), sum(i, 2*half+v))
			}
		}
	}
	e.op("LEAQ", "(DI)(R14*2)", "DI")
	e.op("ADDQ", "$4", productK)
	e.op("CMPQ", productK, productEnd)
	e.op("JLT", "next")

	for i := range m {
		e.op("VBROADCASTSS", field256("scale", i), "Y12")
		e.op("VBROADCASTSS", field256("base", i), "Y13")
		for v := range 4 {
			e.op("VCVTDQ2PS", sum(i, v), sum(i, v))
			e.op("VMULPS", "Y12", sum(i, v), sum(i, v))
			e.op("VADDPS", "Y13", sum(i, v), sum(i, v))
		}
	}
	codedResults(e, m, sum, c.place, "Y12", "Y13")
	e.op("ADDQ", fmt.Sprintf("$%d", 16*c.bits), productC)
	e.op("ADDQ", fmt.Sprintf("$%d", 4*c.bits), productB)
	if c.bits == 4 {
		e.op("ADDQ", "$64", "R13")
	}
	e.op("SUBQ", "$32", productCols)
	e.op("JGT", "columns")
	e.op("VZEROUPPER")
	e.op("RET")
}
