package main

import "math"

// What finds the best blocks on arm64. Twins: choose.go.

func init() {
	files["choose_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		a.tops()
		a.above()
	}
}

// tops keeps the maxima of 64 lanes in V0 to V15.
func (a neon) tops() {
	a.text("topsNEON", 24, "(top, x *float32, n int)\n//\n// n is a multiple of 64. What is not a number is not greater.")
	for i, arg := range []string{"top", "x", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	for i := range 16 {
		a.constant(i, math.Float32bits(float32(math.Inf(-1))))
	}
	a.label("next")
	a.op("CBZ", "R2", "done")
	for i := 0; i < 16; i += 4 {
		a.nextTwo(16, 17, "R1")
		a.nextTwo(18, 19, "R1")
		for j := range 4 {
			a.v("fcmgt", 20+j, 16+j, i+j)
		}
		for j := range 4 {
			a.v("bit", i+j, 16+j, 20+j)
		}
	}
	a.minus(64, "R2")
	a.op("B", "next")
	a.label("done")
	for i := range 16 {
		a.put(i, "R0")
	}
	a.op("RET")
}

// above looks at sixteen elements at a time, and one by one only at those among which
// there is one to list.
func (a neon) above() {
	a.text("aboveNEON", 40, "(ids *int32, x *float32, n int, low float32) int\n//\n// n is a multiple of 16.")
	for i, arg := range []string{"ids", "x", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("FMOVS", "low+24(FP)", f(0))
	a.spread(8, 0, 0)
	a.op("MOVD", "ZR", "R3") // element
	a.op("MOVD", "ZR", "R4") // listed
	a.label("next")
	a.op("CBZ", "R2", "done")
	a.nextTwo(1, 2, "R1")
	a.nextTwo(3, 4, "R1")
	for i := 1; i < 5; i++ {
		a.v("fcmge", i, i, 8)
	}
	a.v("orr", 1, 1, 2)
	a.v("orr", 3, 3, 4)
	a.v("orr", 1, 1, 3)
	a.v("umaxv", 1, 1)
	a.op("FMOVS", f(1), "R5")
	a.minus(16, "R2")
	a.op("CBNZ", "R5", "some")
	a.plus(16, "R3")
	a.op("B", "next")
	a.label("some")
	a.op("SUB", "$64", "R1", "R6")
	a.op("ADD", "$16", "R3", "R7")
	a.label("one")
	a.op("FMOVS.P", "4(R6)", f(1))
	a.op("MOVW", "R3", "(R0)(R4<<2)") // counts when it is listed
	a.op("FCMPS", f(0), f(1))
	a.op("CSET", "GE", "R8")
	a.op("ADD", "R8", "R4")
	a.plus(1, "R3")
	a.op("CMP", "R7", "R3")
	a.op("BLT", "one")
	a.op("B", "next")
	a.label("done")
	a.op("MOVD", "R4", "ret+32(FP)")
	a.op("RET")
}
