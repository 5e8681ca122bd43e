package main

import "math"

// Blocks of a quantised cache on arm64: codes to float32 as
// compute.Layout.DecodeBlock does, and values to codes as EncodeBlock does, to the
// bit. Twins: block.go, seal.go.

func init() {
	files["block_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		a.rows8()
		a.rows4()
		a.codes()
	}
}

// rowsBegin loads the arguments of rows8 and rows4: dst R0, codes R1, pairs R2, rows
// R3, n R4.
func (a neon) rowsBegin(name, what string) {
	a.text(name, 40, "(dst *float32, codes *byte, pairs *float32, rows, n int)\n//\n// "+what)
	for i, arg := range []string{"dst", "codes", "pairs", "rows", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.label("row")
	a.op("CBZ", "R3", "done")
	a.minus(1, "R3")
	for i := range 2 { // minimum V16, scale V17
		a.next4(16+i, "R2")
		a.spread(16+i, 16+i, 0)
	}
	a.op("MOVD", "R4", "R5")
	a.label("next")
}

// widenCodes turns eight bytes of V18 into float32: minimum + scale·code in d and
// d+1.
func (a neon) widenCodes(d, from int) {
	a.v("uxtl.8h", from, from)
	a.v("uxtl.4s", d, from)
	a.v("uxtl2.4s", d+1, from)
	for i := d; i < d+2; i++ {
		a.v("ucvtf", i, i)
		a.v("fmul", i, i, 17)
		a.v("fadd", i, i, 16)
	}
}

func (a neon) rows8() {
	a.rowsBegin("rows8NEON", "dst[r·n+i] = pairs[2r] + pairs[2r+1]·codes[r·n+i]; n is a multiple of 8.")
	a.op("FMOVD.P", at(8, "R1"), f(18))
	a.widenCodes(0, 18)
	a.put(0, "R0")
	a.put(1, "R0")
	a.minus(8, "R5")
	a.op("CBNZ", "R5", "next")
	a.op("B", "row")
	a.label("done")
	a.op("RET")
}

func (a neon) rows4() {
	a.rowsBegin("rows4NEON", "As rows8NEON for codes of 4 bits, of which a row's first half are the low halves\n// of its bytes; n is a multiple of 16.")
	a.op("ADD", "R4<<1", "R0", "R6") // the second half of the row
	a.op("FMOVD.P", at(8, "R1"), f(18))
	a.op("VUSHR", "$4", "V18.B16", "V19.B16")
	a.op("VSHL", "$4", "V18.B16", "V18.B16")
	a.op("VUSHR", "$4", "V18.B16", "V18.B16")
	a.widenCodes(0, 18)
	a.widenCodes(2, 19)
	a.put(0, "R0")
	a.put(1, "R0")
	a.store(2, 0, "R6")
	a.store(3, 16, "R6")
	a.minus(16, "R5")
	a.op("CBNZ", "R5", "next")
	a.op("ADD", "R4<<1", "R0", "R0")
	a.op("B", "row")
	a.label("done")
	a.op("RET")
}

// codes rounds eight values at a time to the nearest code, in float64.
func (a neon) codes() {
	a.text("codesNEON", 36, "(dst *byte, x *float32, n int, lo, scale, top float32)\n//\n// A code is x/2 − lo/2 over scale/2; n is a multiple of 8, and scale is not 0.")
	a.argument("dst", 0, "R0")
	a.argument("x", 8, "R1")
	a.argument("n", 16, "R2")
	a.constant(16, math.Float32bits(0.5))
	a.op("FMOVS", "lo+24(FP)", f(17))
	a.spread(17, 17, 0)
	a.v("fmul", 17, 17, 16)
	a.op("FMOVS", "scale+28(FP)", f(18))
	a.op("FCVTSD", f(18), f(18))
	a.op("FMOVD", "$0.5", f(19))
	a.op("FMULD", f(19), f(18), f(18))
	a.op("VDUP", "V18.D[0]", "V18.D2")
	a.op("FMOVS", "top+32(FP)", f(19))
	a.spread(19, 19, 0)
	a.v("fcvtns", 19, 19)
	a.zero(20)
	a.label("next")
	for i := range 2 {
		a.next(i, "R1")
		a.v("fmul", i, i, 16)
		a.v("fsub", i, i, 17)
		a.v("fcvtl.2d", 2+2*i, i)
		a.v("fcvtl2.2d", 3+2*i, i)
	}
	for i := 2; i < 6; i++ {
		a.v("fdiv.2d", i, i, 18)
		a.v("fcvtns.2d", i, i) // what is not a number is 0
	}
	for i := range 2 {
		a.v("sqxtn", i, 2+2*i)
		a.v("sqxtn2", i, 3+2*i)
		a.v("smax", i, i, 20)
		a.v("smin", i, i, 19)
	}
	a.v("uzp1.8h", 0, 0, 1)
	a.v("uzp1.16b", 0, 0, 0)
	a.op("FMOVD.P", f(0), at(8, "R0"))
	a.minus(8, "R2")
	a.op("CBNZ", "R2", "next")
	a.op("RET")
}
