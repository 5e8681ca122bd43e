package main

import "fmt"

// The products of queries with the means of segments on arm64, block by block: four sums
// of a vector for each of up to six queries. Twins: means.go.

func init() {
	files["score_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		for _, bits := range []int{16, 32} {
			for height := 1; height <= 6; height++ {
				a.means(bits, height)
			}
		}
		a.summaries()
	}
}

// blocksAhead is how many blocks before their use summaries are asked for.
const blocksAhead = 8

// means writes one routine: sums in V0 to V23, a step's means in V24 to V27.
func (a neon) means(bits, height int) {
	what := map[int]string{16: "byte", 32: "float32"}[bits]
	a.text(fmt.Sprintf("means%dx%dNEON", bits, height), 64,
		fmt.Sprintf("(out *float32, os int, q *float32, steps int, base *%s, table *int32, blocks, more int)", what))
	for i, arg := range []string{"out", "os", "q", "steps", "base", "table", "blocks", "more"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("LSL", "$2", "R1")
	a.op("LSL", map[int]string{16: "$5", 32: "$6"}[bits], "R3", "R8") // bytes of a summary
	place := func(reg string) {
		a.op("MUL", "R8", reg)
		a.op("ADD", "R4", reg)
	}
	a.label("block")
	a.op("MOVW.P", "4(R5)", "R9")
	place("R9")
	a.op("MOVD", "R9", "R12")
	a.until(blocksAhead+1, "R7", "begin")
	a.op("MOVW", at(4*(blocksAhead-1), "R5"), "R12")
	place("R12")
	a.label("begin")
	a.minus(1, "R7")
	for i := range 4 * height {
		a.zero(i)
	}
	a.op("MOVD", "R2", "R10")
	a.op("MOVD", "R3", "R11")

	a.label("step")
	a.op("PRFM", "(R12)", "PLDL1KEEP")
	a.plus(2*bits, "R12")
	if bits == 32 {
		a.nextTwo(24, 25, "R9")
		a.nextTwo(26, 27, "R9")
	} else {
		a.nextTwo(25, 27, "R9")
		for i := 24; i < 28; i += 2 {
			a.v("fcvtl", i, i+1)
			a.v("fcvtl2", i+1, i+1)
		}
	}
	for j := range height {
		q := 28 + j%4
		a.next(q, "R10")
		for s := range 4 {
			a.v("fmla", 4*j+s, 24+s, q)
		}
	}
	a.minus(1, "R11")
	a.op("CBNZ", "R11", "step")

	a.op("MOVD", "R0", "R13")
	for j := range height { // (first + third) + (second + fourth) of every sum
		for i := range 2 {
			first, t := 4*j+2*i, 28+2*i
			a.v("zip1.2d", t, first, first+1)
			a.v("zip2.2d", t+1, first, first+1)
			a.v("fadd", t, t, t+1)
		}
		a.v("faddp", 28, 28, 30)
		a.store(28, 0, "R13")
		a.op("ADD", "R1", "R13")
	}
	a.plus(16, "R0")
	a.minus(1, "R6")
	a.op("CBNZ", "R6", "block")
	a.op("RET")
}

// summaries copies summaries of float16 as float32.
func (a neon) summaries() {
	a.text("widenNEON", 40, "(dst *float32, base *byte, size int, table *int32, n int)")
	for i, arg := range []string{"dst", "base", "size", "table", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.label("block")
	a.op("MOVW.P", "4(R3)", "R5")
	a.op("MUL", "R2", "R5")
	a.op("ADD", "R1", "R5")
	a.op("MOVD", "R2", "R6")
	a.label("next")
	a.nextTwo(1, 3, "R5")
	for i := 0; i < 4; i += 2 {
		a.v("fcvtl", i, i+1)
		a.v("fcvtl2", i+1, i+1)
	}
	for i := range 4 {
		a.put(i, "R0")
	}
	a.minus(32, "R6")
	a.op("CBNZ", "R6", "next")
	a.minus(1, "R4")
	a.op("CBNZ", "R4", "block")
	a.op("RET")
}
