package main

import "fmt"

// The products of attention (product.go in the package): a few rows times a matrix
// that lies by rows, 64 columns at a time with AVX-512, 32 with AVX2, whose sums
// stay in registers.

func init() {
	files["product_avx512_amd64.s"] = products512
	files["product_avx2_amd64.s"] = products256
}

// blockFormats are the formats in which a product reads its matrix; for codes see
// coded.go.
var blockFormats = []string{"F32", "BF16", "F16"}

const (
	productArgs = "BX" // *product
	productB    = "SI" // first byte of these columns
	productRow  = "DI" // of this row
	productCols = "CX" // left
	productC    = "DX" // bytes from the results' first column to these
	productK    = "AX" // 4 × the row of b
	productStep = "R14"
	productEnd  = "R15"
)

// rowRegister holds the address of row i of a.
func rowRegister(i int) string { return fmt.Sprintf("R%d", 8+i) }

func field(name string, i int) string {
	return fmt.Sprintf("product_%s+%d(%s)", name, i, productArgs)
}

// productBegin loads what a routine keeps in registers.
func productBegin(e *emitter, name string, m int) {
	e.text(name, 8, "(p *product)")
	e.op("MOVQ", "p+0(FP)", productArgs)
	e.op("MOVQ", field("b", 0), productB)
	e.op("MOVQ", field("cols", 0), productCols)
	e.op("MOVQ", field("stride", 0), productStep)
	e.op("MOVQ", field("depth", 0), productEnd)
	e.op("SHLQ", "$2", productEnd)
	for i := range m {
		e.op("MOVQ", field("a", 8*i), rowRegister(i))
	}
	e.op("XORQ", productC, productC)
}

// results calls f with each row's address of its results in AX.
func results(e *emitter, m int, f func(i int)) {
	for i := range m {
		e.op("MOVQ", field("c", 8*i), "AX")
		f(i)
	}
}

// product512 is one routine of AVX-512: sums in Z0 to Z23, four vectors a row.
type product512 struct {
	*emitter
	format string
	m      int
}

func (p product512) sum(i, v int) string { return zmm(4*i + v) }

func products512(e *emitter) {
	e.raw("#include \"go_asm.h\"\n\n// Twin: product.go.\n")
	for i, first := range []int{0, 1, 16, 24} { // even and odd places of two vectors, and back
		for lane := range 16 {
			at := 0
			switch i {
			case 0, 1:
				at = 2*lane + first
			case 2, 3:
				at = lane/2 + 16*(lane%2) + (first - 16)
			}
			e.raw(fmt.Sprintf("DATA evenOdd<>+%d(SB)/4, $%d\n", 64*i+4*lane, at))
		}
	}
	e.raw("GLOBL evenOdd<>(SB), RODATA|NOPTR, $256\n")
	e.raw("DATA highHalf<>+0(SB)/4, $0xffff0000\nGLOBL highHalf<>(SB), RODATA|NOPTR, $4\n")
	for _, format := range blockFormats {
		most := 4
		if format == "F32" {
			most = 6
		}
		for m := 1; m <= most; m++ {
			product512{e, format, m}.write()
		}
	}
}

func (p product512) write() {
	e := p.emitter
	productBegin(e, fmt.Sprintf("product%sx%dAVX512", p.format, p.m), p.m)
	if p.format != "F32" {
		e.op("MOVQ", field("ahead", 0), "R12")
		e.op("SUBQ", productB, "R12") // from what is read to what will be
	}
	if p.format == "BF16" {
		e.op("VPBROADCASTD", "highHalf<>+0(SB)", "Z31")
	}
	bytes := map[string]string{"F32": "$256", "BF16": "$128", "F16": "$128"}[p.format]

	e.label("columns")
	if p.format == "F32" {
		e.op("CMPQ", productCols, "$64")
		e.op("JLT", "rest")
	} else {
		e.op("SUBQ", "$64", productCols)
		e.op("JLT", "done")
	}
	p.begin()
	e.op("MOVQ", productB, productRow)
	e.op("XORQ", productK, productK)
	e.op("TESTQ", productEnd, productEnd)
	e.op("JLE", "store")
	e.label("next")
	p.step()
	e.op("ADDQ", productStep, productRow)
	e.op("ADDQ", "$4", productK)
	if p.format != "F32" { // an even number of rows
		p.step()
		e.op("ADDQ", productStep, productRow)
		e.op("ADDQ", "$4", productK)
	}
	e.op("CMPQ", productK, productEnd)
	e.op("JLT", "next")
	e.label("store")
	p.end()
	e.op("ADDQ", "$256", productC)
	e.op("ADDQ", bytes, productB)
	if p.format == "F32" {
		e.op("SUBQ", "$64", productCols)
	}
	e.op("JMP", "columns")
	if p.format == "F32" {
		p.rest()
	}
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// place is where vector v of these columns lies in a row of results, whose address
// is in AX.
func (p product512) place(v int) string { return fmt.Sprintf("%d(AX)(DX*1)", 64*v) }

// begin sets the sums to what was there, shrunk, or to zero.
func (p product512) begin() {
	e := p.emitter
	e.op("CMPQ", field("fresh", 0), "$0")
	e.op("JNE", "zero")
	results(e, p.m, func(i int) {
		e.op("VBROADCASTSS", field("decay", 4*i), "Z24")
		if p.format == "BF16" {
			for v := 0; v < 4; v += 2 {
				e.op("VMULPS", p.place(v), "Z24", "Z25")
				e.op("VMULPS", p.place(v+1), "Z24", "Z26")
				for odd := range 2 {
					e.op("VMOVDQU32", fmt.Sprintf("evenOdd<>+%d(SB)", 64*odd), p.sum(i, v+odd))
					e.op("VPERMI2PS", "Z26", "Z25", p.sum(i, v+odd))
				}
			}
			return
		}
		for v := range 4 {
			e.op("VMULPS", p.place(v), "Z24", p.sum(i, v))
		}
	})
	e.op("JMP", "begun")
	e.label("zero")
	for i := range p.m {
		for v := range 4 {
			e.op("VPXORD", p.sum(i, v), p.sum(i, v), p.sum(i, v))
		}
	}
	e.label("begun")
}

// end writes the sums.
func (p product512) end() {
	e := p.emitter
	results(e, p.m, func(i int) {
		if p.format == "BF16" {
			for v := 0; v < 4; v += 2 {
				for high := range 2 {
					e.op("VMOVDQU32", fmt.Sprintf("evenOdd<>+%d(SB)", 64*(2+high)), "Z24")
					e.op("VPERMI2PS", p.sum(i, v+1), p.sum(i, v), "Z24")
					e.op("VMOVUPS", "Z24", p.place(v+high))
				}
			}
			return
		}
		for v := range 4 {
			e.op("VMOVUPS", p.sum(i, v), p.place(v))
		}
	})
}

// step adds a row of b to the sums.
func (p product512) step() {
	e := p.emitter
	add := func(i, a, v int, b string) { e.op("VFMADD231PS", b, zmm(a), p.sum(i, v)) }
	rowOf := func(i, a int) {
		e.op("VBROADCASTSS", fmt.Sprintf("(%s)(%s*1)", rowRegister(i), productK), zmm(a))
	}
	switch p.format {
	case "F32":
		for v := range 4 {
			e.op("VMOVUPS", fmt.Sprintf("%d(DI)", 64*v), zmm(24+v))
		}
		for i := range p.m {
			a := 28 + i%4
			rowOf(i, a)
			for v := range 4 {
				add(i, a, v, zmm(24+v))
			}
		}
		return
	case "BF16":
		e.op("PREFETCHT1", "(DI)(R12*1)")
		e.op("PREFETCHT1", "64(DI)(R12*1)")
		e.op("VMOVDQU32", "(DI)", "Z25")
		e.op("VMOVDQU32", "64(DI)", "Z27")
		e.op("VPSLLD", "$16", "Z25", "Z24")
		e.op("VPSLLD", "$16", "Z27", "Z26")
		e.op("VPANDD", "Z31", "Z25", "Z25")
		e.op("VPANDD", "Z31", "Z27", "Z27")
	case "F16":
		e.op("PREFETCHT1", "(DI)(R12*1)")
		e.op("PREFETCHT1", "64(DI)(R12*1)")
		for v := range 4 {
			e.op("VCVTPH2PS", fmt.Sprintf("%d(DI)", 32*v), zmm(24+v))
		}
	}
	for i := range p.m {
		a := 28 + i%3
		rowOf(i, a)
		for v := range 4 {
			add(i, a, v, zmm(24+v))
		}
	}
}

// rest is the loop over the last columns, sixteen at a time and masked.
func (p product512) rest() {
	e := p.emitter
	e.label("rest")
	e.op("TESTQ", productCols, productCols)
	e.op("JLE", "done")
	e.op("MOVL", "$0xffff", "AX")
	e.op("CMPQ", productCols, "$16")
	e.op("JGE", "lanes")
	e.op("BZHIL", productCols, "AX", "AX")
	e.label("lanes")
	e.op("KMOVW", "AX", "K1")
	for i := range p.m {
		e.op("VPXORD", zmm(i), zmm(i), zmm(i))
	}
	e.op("CMPQ", field("fresh", 0), "$0")
	e.op("JNE", "restZero")
	results(e, p.m, func(i int) {
		e.op("VMOVUPS.Z", "(AX)(DX*1)", "K1", zmm(i))
		e.op("VMULPS.BCST", field("decay", 4*i), zmm(i), zmm(i))
	})
	e.label("restZero")
	e.op("MOVQ", productB, productRow)
	e.op("XORQ", productK, productK)
	e.op("TESTQ", productEnd, productEnd)
	e.op("JLE", "restStore")
	e.label("restNext")
	e.op("VMOVUPS.Z", "(DI)", "K1", "Z24")
	for i := range p.m {
		e.op("VFMADD231PS.BCST", fmt.Sprintf("(%s)(%s*1)", rowRegister(i), productK), "Z24", zmm(i))
	}
	e.op("ADDQ", productStep, productRow)
	e.op("ADDQ", "$4", productK)
	e.op("CMPQ", productK, productEnd)
	e.op("JLT", "restNext")
	e.label("restStore")
	results(e, p.m, func(i int) { e.op("VMOVUPS", zmm(i), "K1", "(AX)(DX*1)") })
	e.op("ADDQ", "$64", productC)
	e.op("ADDQ", "$64", productB)
	e.op("SUBQ", "$16", productCols)
	e.op("JMP", "rest")
}
