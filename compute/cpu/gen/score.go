package main

import "fmt"

// The kernels of scores: products of queries with the means of segments, softmax
// over windows, maxima over blocks. Twins: means.go and windows.go, which say what
// each routine computes.

func init() {
	files["score_avx512_amd64.s"] = func(e *emitter) {
		products(e, wide512)
		widen(e, wide512)
		windows512(e)
		blend512(e)
	}
	files["score_avx2_amd64.s"] = func(e *emitter) {
		scoreConstants(e)
		products(e, wide256)
		widen(e, wide256)
		windows256(e)
		blend256(e)
		pool256(e)
	}
}

// width is what differs between the levels in the products.
type width struct {
	level  string
	reg    func(int) string
	lanes  int
	blocks int // of a group, whose sums are in registers at once
	tall   int // queries of a tile
	ahead  int // groups that summaries are asked for in advance
}

var (
	wide512 = width{"AVX512", zmm, 16, 4, 6, 8}
	wide256 = width{"AVX2", ymm, 8, 2, 3, 16}
)

// constants of eˣ = 2^(x·log2 e): the coefficients are the best on [−½, ½] for the
// relative error (2e-9), found by exchange.
func scoreConstants(e *emitter) {
	values := []struct{ bits, what string }{
		{"0x3fb8aa3b", "log2(e)"},
		{"0xc2fc0000", "-126: below it 2ˣ is not normal"},
		{"0xff800000", "-inf"},
		{"0x3f800000", "coefficients of 2ᶠ from the constant on"},
		{"0x3f317218", ""}, {"0x3e75fded", ""}, {"0x3d63576a", ""}, {"0x3c1d96de", ""}, {"0x3aafa2b5", ""}, {"0x3920e99a", ""},
	}
	e.raw("\n")
	for i, v := range values {
		note := ""
		if v.what != "" {
			note = " // " + v.what
		}
		e.raw(fmt.Sprintf("DATA ·scoreConst+%d(SB)/4, $%s%s\n", 4*i, v.bits, note))
	}
	e.raw(fmt.Sprintf("GLOBL ·scoreConst(SB), RODATA|NOPTR, $%d\n\n", 4*len(values)))
	e.raw("// The lanes of sums by segment and block, put in the order of blocks: for four\n// blocks in sixteen lanes, and for two in eight.\n")
	for i := range 16 {
		e.raw(fmt.Sprintf("DATA ·blockLanes+%d(SB)/4, $%d\n", 4*i, i%4*4+i/4))
	}
	for i, from := range []int{0, 4, 1, 5, 2, 6, 3, 7} {
		e.raw(fmt.Sprintf("DATA ·blockLanes+%d(SB)/4, $%d\n", 64+4*i, from))
	}
	e.raw("GLOBL ·blockLanes(SB), RODATA|NOPTR, $96\n")
}

func constant(i int) string { return fmt.Sprintf("·scoreConst+%d(SB)", 4*i) }

const (
	log2e = iota
	lowest
	minusInf
	coefficients
)

// products writes the routines for means in float16 and in float32, with a loop
// for each height of a tile. In place of arguments that are needed once a group it
// keeps what they are multiplied with: bytes of a row of out and of a summary.
func products(e *emitter, w width) {
	for _, half := range []bool{true, false} {
		name, size, element := "means32", 64, "float32"
		if half {
			name, size, element = "means16", 32, "byte"
		}
		e.text(name+w.level, 72, fmt.Sprintf("(out *float32, os int, q *float32, height, steps int, base *%s, table *int32, groups, more int)", element))
		e.op("SHLQ", "$2", "os+8(FP)")
		e.op("MOVQ", "q+16(FP)", "SI")
		e.op("MOVQ", "steps+32(FP)", "R11")
		e.op("IMUL3Q", fmt.Sprintf("$%d", size), "R11", "AX")
		e.op("MOVQ", "AX", "steps+32(FP)")
		e.op("SHLQ", "$4", "R11")
		e.op("MOVQ", "base+40(FP)", "R13")
		e.op("MOVQ", "table+48(FP)", "BX")
		if w.lanes == 16 {
			e.op("VMOVUPS", "·blockLanes(SB)", "Z31")
		}
		e.op("MOVQ", "height+24(FP)", "AX")
		for h := w.tall; h > 1; h-- {
			e.op("CMPQ", "AX", fmt.Sprintf("$%d", h))
			e.op("JEQ", fmt.Sprintf("group%d", h))
		}
		for h := 1; h <= w.tall; h++ {
			productTile(e, w, half, h)
		}
		e.label("done")
		e.op("VZEROUPPER")
		e.op("RET")
	}
}

// productTile writes the loop over groups of blocks for h queries.
//
// R11 bytes of a query's channels, AX the step, R15 the tile's queries of the step,
// R8 to R10 and R14 the summaries; CX, DX, DI and R12 those of a later group, which
// are asked for line by line as the lines of this one are read: so memory is never
// asked for more at once than it can be, nor left without a request.
func productTile(e *emitter, w width, half bool, h int) {
	at, next := []string{"R8", "R9", "R10", "R14"}[:w.blocks], []string{"CX", "DX", "DI", "R12"}[:w.blocks]
	group, far, step := fmt.Sprintf("group%d", h), fmt.Sprintf("far%d", h), fmt.Sprintf("step%d", h)
	halves := 16 / w.lanes // vectors of a block's step
	sums := w.blocks * halves
	sum := func(j, v int) string { return w.reg(j*sums + v) }

	e.label(group)
	e.op("MOVQ", fmt.Sprintf("$%d", 4*w.blocks*w.ahead), "AX")
	e.op("CMPQ", "more+64(FP)", fmt.Sprintf("$%d", w.ahead))
	e.op("JGT", far)
	e.op("XORQ", "AX", "AX") // the table does not go so far: what is there already
	e.label(far)
	e.op("DECQ", "more+64(FP)")
	e.op("MOVQ", "steps+32(FP)", "R15")
	for b := range w.blocks {
		e.op("MOVLQSX", fmt.Sprintf("%d(BX)", 4*b), at[b])
		e.op("MOVLQSX", fmt.Sprintf("%d(BX)(AX*1)", 4*b), next[b])
		e.op("IMULQ", "R15", at[b])
		e.op("IMULQ", "R15", next[b])
		e.op("ADDQ", "R13", at[b])
		e.op("ADDQ", "R13", next[b])
	}
	for i := range h * sums {
		clearReg(e, w, i)
	}
	e.op("MOVQ", "SI", "R15")
	e.op("XORQ", "AX", "AX")

	e.label(step)
	for _, r := range next {
		if half {
			e.op("PREFETCHT1", fmt.Sprintf("(%s)(AX*2)", r))
		} else {
			e.op("PREFETCHT1", fmt.Sprintf("(%s)(AX*4)", r))
		}
	}
	load := func(b, v int, dst string) {
		if half {
			e.op("VCVTPH2PS", fmt.Sprintf("%d(%s)(AX*2)", 2*w.lanes*v, at[b]), dst)
		} else {
			e.op("VMOVUPS", fmt.Sprintf("%d(%s)(AX*4)", 4*w.lanes*v, at[b]), dst)
		}
	}
	if w.lanes == 16 { // all blocks in Z24 to Z27, queries in turn in Z28 to Z30
		for b := range w.blocks {
			load(b, 0, w.reg(24+b))
		}
		for j := range h {
			q := w.reg(28 + j%3)
			e.op("VBROADCASTF32X4", fmt.Sprintf("%d(R15)", 16*j), q)
			for b := range w.blocks {
				e.op("VFMADD231PS", w.reg(24+b), q, sum(j, b))
			}
		}
	} else { // all queries in Y12 to Y14, vectors in turn in Y15
		for j := range h {
			e.op("VBROADCASTF128", fmt.Sprintf("%d(R15)", 16*j), w.reg(12+j))
		}
		for v := range sums {
			load(v/halves, v%halves, w.reg(15))
			for j := range h {
				e.op("VFMADD231PS", w.reg(15), w.reg(12+j), sum(j, v))
			}
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", 16*h), "R15")
	e.op("ADDQ", "$16", "AX")
	e.op("CMPQ", "AX", "R11")
	e.op("JLT", step)

	// The four sums of an element: (first + third) + (second + fourth).
	e.op("MOVQ", "out+0(FP)", "R15")
	e.op("MOVQ", "os+8(FP)", "R12")
	t := func(i int) string {
		if w.lanes == 16 {
			return w.reg(24 + i)
		}
		return w.reg(12 + i)
	}
	for j := range h {
		for pair := range 2 {
			a, b := sum(j, 2*pair), sum(j, 2*pair+1)
			e.op("VUNPCKLPS", b, a, t(pair))
			e.op("VUNPCKHPS", b, a, t(2+pair))
			e.op("VADDPS", t(2+pair), t(pair), t(pair))
		}
		e.op("VUNPCKLPD", t(1), t(0), t(2))
		e.op("VUNPCKHPD", t(1), t(0), t(3))
		e.op("VADDPS", t(3), t(2), t(2))
		if w.lanes == 16 {
			e.op("VPERMPS", t(2), "Z31", t(2))
		} else {
			e.op("VMOVUPS", "·blockLanes+64(SB)", t(3))
			e.op("VPERMPS", t(2), t(3), t(2))
		}
		e.op("VMOVUPS", t(2), "(R15)")
		if j < h-1 {
			e.op("ADDQ", "R12", "R15")
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", 16*w.blocks), "out+0(FP)")
	e.op("ADDQ", fmt.Sprintf("$%d", 4*w.blocks), "BX")
	e.op("DECQ", "groups+56(FP)")
	e.op("JNZ", group)
	e.op("JMP", "done")
}

func clearReg(e *emitter, w width, i int) {
	if w.lanes == 16 {
		e.op("VPXORD", w.reg(i), w.reg(i), w.reg(i))
		return
	}
	e.op("VXORPS", w.reg(i), w.reg(i), w.reg(i))
}

// widen writes the copy of summaries into one run of float32.
func widen(e *emitter, w width) {
	e.text("widen"+w.level, 48, "(dst *float32, base *byte, size int, table *int32, n, more int)")
	e.op("MOVQ", "dst+0(FP)", "DI")
	e.op("MOVQ", "base+8(FP)", "SI")
	e.op("MOVQ", "size+16(FP)", "DX")
	e.op("MOVQ", "table+24(FP)", "BX")
	e.op("MOVQ", "n+32(FP)", "CX")
	e.op("MOVQ", "more+40(FP)", "R10")
	const ahead = 8
	e.label("next")
	e.op("CMPQ", "R10", fmt.Sprintf("$%d", ahead))
	e.op("JLE", "asked")
	e.op("MOVLQSX", fmt.Sprintf("%d(BX)", 4*ahead), "AX")
	e.op("IMULQ", "DX", "AX")
	e.op("ADDQ", "SI", "AX")
	e.op("LEAQ", "(AX)(DX*1)", "R9")
	e.label("line")
	e.op("PREFETCHT0", "(AX)")
	e.op("ADDQ", "$64", "AX")
	e.op("CMPQ", "AX", "R9")
	e.op("JLT", "line")
	e.label("asked")
	e.op("DECQ", "R10")
	e.op("MOVLQSX", "(BX)", "R8")
	e.op("IMULQ", "DX", "R8")
	e.op("ADDQ", "SI", "R8")
	e.op("LEAQ", "(R8)(DX*1)", "R9")
	e.label("step")
	for i := range 32 / (2 * w.lanes) {
		e.op("VCVTPH2PS", fmt.Sprintf("%d(R8)", 2*w.lanes*i), w.reg(i))
		e.op("VMOVUPS", w.reg(i), fmt.Sprintf("%d(DI)", 4*w.lanes*i))
	}
	e.op("ADDQ", "$32", "R8")
	e.op("ADDQ", "$64", "DI")
	e.op("CMPQ", "R8", "R9")
	e.op("JLT", "step")
	e.op("ADDQ", "$4", "BX")
	e.op("DECQ", "CX")
	e.op("JNZ", "next")
	e.op("VZEROUPPER")
	e.op("RET")
}
