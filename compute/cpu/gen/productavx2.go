package main

import "fmt"

// products256 are the routines of AVX2: sums in Y0 to Y11, four vectors a row, a's
// rows in Y12 to Y14, b's vector in Y15.
func products256(e *emitter) {
	e.raw("#include \"go_asm.h\"\n\n// Twin: product.go.\n")
	for _, format := range []string{"F32", "BF16", "F16"} {
		for m := 1; m <= 3; m++ {
			product256{e, format, m}.write()
		}
	}
}

type product256 struct {
	*emitter
	format string
	m      int
}

func (p product256) sum(i, v int) string { return ymm(4*i + v) }

// width is the bytes of eight elements of b.
func (p product256) width() int {
	if p.format == "F32" {
		return 32
	}
	return 16
}

func (p product256) write() {
	e := p.emitter
	productBegin(e, fmt.Sprintf("product%sx%dAVX2", p.format, p.m), p.m)
	if p.format != "F32" {
		e.op("MOVQ", field("ahead", 0), "R12")
		e.op("SUBQ", productB, "R12")
	}
	e.label("columns")
	e.op("CMPQ", productCols, "$32")
	e.op("JLT", "rest")
	e.op("CMPQ", field("fresh", 0), "$0")
	e.op("JNE", "zero")
	results(e, p.m, func(i int) {
		e.op("VBROADCASTSS", field("decay", 4*i), "Y15")
		for v := range 4 {
			e.op("VMULPS", fmt.Sprintf("%d(AX)(DX*1)", 32*v), "Y15", p.sum(i, v))
		}
	})
	e.op("JMP", "begun")
	e.label("zero")
	for i := range p.m {
		for v := range 4 {
			e.op("VXORPS", p.sum(i, v), p.sum(i, v), p.sum(i, v))
		}
	}
	e.label("begun")
	e.op("MOVQ", productB, productRow)
	e.op("XORQ", productK, productK)
	e.op("TESTQ", productEnd, productEnd)
	e.op("JLE", "store")
	e.label("next")
	if p.format != "F32" {
		e.op("PREFETCHT1", "(DI)(R12*1)")
	}
	for i := range p.m {
		e.op("VBROADCASTSS", fmt.Sprintf("(%s)(AX*1)", rowRegister(i)), ymm(12+i))
	}
	for v := range 4 {
		at := fmt.Sprintf("%d(DI)", p.width()*v)
		switch p.format {
		case "F32":
			e.op("VMOVUPS", at, "Y15")
		case "BF16":
			e.op("VPMOVZXWD", at, "Y15")
			e.op("VPSLLD", "$16", "Y15", "Y15")
		case "F16":
			e.op("VCVTPH2PS", at, "Y15")
		}
		for i := range p.m {
			e.op("VFMADD231PS", "Y15", ymm(12+i), p.sum(i, v))
		}
	}
	e.op("ADDQ", productStep, productRow)
	e.op("ADDQ", "$4", productK)
	e.op("CMPQ", productK, productEnd)
	e.op("JLT", "next")
	e.label("store")
	results(e, p.m, func(i int) {
		for v := range 4 {
			e.op("VMOVUPS", p.sum(i, v), fmt.Sprintf("%d(AX)(DX*1)", 32*v))
		}
	})
	e.op("ADDQ", "$128", productC)
	e.op("ADDQ", fmt.Sprintf("$%d", 4*p.width()), productB)
	e.op("SUBQ", "$32", productCols)
	e.op("JMP", "columns")
	e.label("rest")
	if p.format == "F32" {
		p.rest()
	}
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// rest is the loop over the last columns, eight at a time and masked.
func (p product256) rest() {
	e := p.emitter
	e.op("TESTQ", productCols, productCols)
	e.op("JLE", "done")
	e.op("LEAQ", "·laneMask+32(SB)", "AX")
	e.op("MOVQ", "$8", "R12")
	e.op("CMPQ", productCols, "R12")
	e.op("CMOVQLT", productCols, "R12")
	e.op("SHLQ", "$2", "R12")
	e.op("SUBQ", "R12", "AX")
	e.op("VMOVUPS", "(AX)", "Y14")
	for i := range p.m {
		e.op("VXORPS", ymm(i), ymm(i), ymm(i))
	}
	e.op("CMPQ", field("fresh", 0), "$0")
	e.op("JNE", "restZero")
	results(e, p.m, func(i int) {
		e.op("VMASKMOVPS", "(AX)(DX*1)", "Y14", ymm(i))
		e.op("VBROADCASTSS", field("decay", 4*i), "Y15")
		e.op("VMULPS", "Y15", ymm(i), ymm(i))
	})
	e.label("restZero")
	e.op("MOVQ", productB, productRow)
	e.op("XORQ", productK, productK)
	e.op("TESTQ", productEnd, productEnd)
	e.op("JLE", "restStore")
	e.label("restNext")
	e.op("VMASKMOVPS", "(DI)", "Y14", "Y15")
	for i := range p.m {
		e.op("VBROADCASTSS", fmt.Sprintf("(%s)(AX*1)", rowRegister(i)), "Y13")
		e.op("VFMADD231PS", "Y15", "Y13", ymm(i))
	}
	e.op("ADDQ", productStep, productRow)
	e.op("ADDQ", "$4", productK)
	e.op("CMPQ", productK, productEnd)
	e.op("JLT", "restNext")
	e.label("restStore")
	results(e, p.m, func(i int) { e.op("VMASKMOVPS", ymm(i), "Y14", "(AX)(DX*1)") })
	e.op("ADDQ", "$32", productC)
	e.op("ADDQ", "$32", productB)
	e.op("SUBQ", "$8", productCols)
	e.op("JMP", "rest")
}
