package main

import "fmt"

// The products of attention on arm64: sums of up to four rows in V0 to V15, the
// vectors of a row of b in V16 to V23, four elements of each row of a in V24 to V27.
// Up to two rows take 32 columns at a time, more take 16; what is left goes by
// fours and then one by one.

func init() {
	files["product_neon_arm64.s"] = func(e *emitter) {
		e.raw("#include \"go_asm.h\"\n\n// Twin: product.go.\n")
		for _, format := range []string{"F32", "BF16", "F16"} {
			for m := 1; m <= 4; m++ {
				productNEON{neon{e}, format, m}.write()
			}
		}
	}
}

type productNEON struct {
	neon
	format string
	m      int
}

// General registers: R8 and on hold the rows of a.
const (
	neonProduct = "R0" // *product
	neonB       = "R1" // first byte of these columns
	neonCols    = "R2" // left
	neonC       = "R3" // bytes from the results' first column to these
	neonStride  = "R4"
	neonDepth   = "R5"
	neonRow     = "R6" // of b
	neonLeft    = "R7" // rows of b
	neonAhead   = "R14"
	neonTmp     = "R15"
)

func (p productNEON) field(name string, i int) string {
	return fmt.Sprintf("product_%s+%d(%s)", name, i, neonProduct)
}

func (p productNEON) write() {
	p.text(fmt.Sprintf("product%sx%dNEON", p.format, p.m), 8, "(p *product)")
	p.argument("p", 0, neonProduct)
	p.op("MOVD", p.field("b", 0), neonB)
	p.op("MOVD", p.field("cols", 0), neonCols)
	p.op("MOVD", p.field("stride", 0), neonStride)
	p.op("MOVD", p.field("depth", 0), neonDepth)
	if p.format != "F32" {
		p.op("MOVD", p.field("ahead", 0), neonAhead)
		p.op("SUB", neonB, neonAhead) // from what is read to what will be
	}
	p.op("MOVD", "ZR", neonC)
	passes := []int{16}
	if p.m <= 2 {
		passes = []int{32, 16}
	}
	if p.format == "F32" {
		passes = append(passes, 4, 1)
	}
	for i, columns := range passes {
		after := "done"
		if i+1 < len(passes) {
			after = fmt.Sprintf("columns%d", passes[i+1])
		}
		p.columns(columns, after)
	}
	p.label("done")
	p.op("RET")
}

// columns is the loop over so many columns at a time; it goes on to after.
func (p productNEON) columns(columns int, after string) {
	name := func(s string) string { return fmt.Sprintf("%s%d", s, columns) }
	vectors := max(1, columns/4)
	get, set := p.load, p.store
	if columns == 1 { // in the first lane
		get, set = p.load4, p.store4
	}
	sum := func(i, v int) int { return vectors*i + v }
	results := func(f func(i int)) {
		for i := range p.m {
			p.op("MOVD", p.field("c", 8*i), neonTmp)
			p.op("ADD", neonC, neonTmp)
			f(i)
		}
	}

	p.label(name("columns"))
	p.until(columns, neonCols, after)
	p.op("MOVD", p.field("fresh", 0), neonTmp)
	p.op("CBNZ", neonTmp, name("zero"))
	results(func(i int) {
		p.op("FMOVS", p.field("decay", 4*i), f(28))
		for v := range vectors {
			get(sum(i, v), 16*v, neonTmp)
			p.lane("fmul", sum(i, v), sum(i, v), 28, 0)
		}
	})
	p.op("B", name("begun"))
	p.label(name("zero"))
	for i := range p.m * vectors {
		p.zero(i)
	}
	p.label(name("begun"))
	p.op("MOVD", neonB, neonRow)
	p.op("MOVD", neonDepth, neonLeft)
	for i := range p.m {
		p.op("MOVD", p.field("a", 8*i), x(8+i))
	}

	p.label(name("four"))
	p.until(4, neonLeft, name("next"))
	for i := range p.m {
		p.next(24+i, x(8+i))
	}
	for depth := range 4 {
		p.row(columns, get)
		for i := range p.m {
			for v := range vectors {
				p.lane("fmla", sum(i, v), 16+v, 24+i, depth)
			}
		}
	}
	p.minus(4, neonLeft)
	p.op("B", name("four"))

	p.label(name("next"))
	p.op("CBZ", neonLeft, name("store"))
	for i := range p.m {
		p.next4(24+i, x(8+i))
	}
	p.row(columns, get)
	for i := range p.m {
		for v := range vectors {
			p.lane("fmla", sum(i, v), 16+v, 24+i, 0)
		}
	}
	p.minus(1, neonLeft)
	p.op("B", name("next"))

	p.label(name("store"))
	results(func(i int) {
		for v := range vectors {
			set(sum(i, v), 16*v, neonTmp)
		}
	})
	bytes := 4 * columns
	p.plus(bytes, neonC)
	if p.format != "F32" {
		bytes /= 2
	}
	p.plus(bytes, neonB)
	p.minus(columns, neonCols)
	p.op("B", name("columns"))
}

// row loads a row of b to V16 and on, as float32, and goes to the next one.
func (p productNEON) row(columns int, get func(d, offset int, base string)) {
	vectors := max(1, columns/4)
	if p.format == "F32" {
		for v := range vectors {
			get(16+v, 16*v, neonRow)
		}
		p.op("ADD", neonStride, neonRow)
		return
	}
	p.op("ADD", neonAhead, neonRow, neonTmp)
	p.op("PRFM", "("+neonTmp+")", "PLDL2KEEP")
	widen := "shll"
	if p.format == "F16" {
		widen = "fcvtl"
	}
	for v := 0; v < vectors; v += 2 {
		p.load(17+v, 8*v, neonRow)
		p.v(widen, 16+v, 17+v)
		p.v(widen+"2", 17+v, 17+v)
	}
	p.op("ADD", neonStride, neonRow)
}
