package main

import "fmt"

// The rounding of rows of activations on arm64. Twin: packedrows.go.

func init() {
	files["packedrows_neon_arm64.s"] = func(e *emitter) {
		for _, form := range packedForms {
			for _, kind := range []string{"Scale", "Minimum", "Halves"} {
				neon{e}.quantise(form, kind)
			}
		}
	}
}

// quantise writes one routine: a group is V0 to V7.
func (a neon) quantise(form packedForm, kind string) {
	const top, inverse, scale, half = 20, 21, 22, 23
	a.text(fmt.Sprintf("packedQuantise%s%sNEON", form.name, kind), 48, "(codes, beside *byte, x *float32, groups, step int, top float32, negZero int32)")
	for i, arg := range []string{"codes", "beside", "x", "groups", "step"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("FMOVS", "top+40(FP)", f(top))
	if kind != "Minimum" {
		a.op("MOVW", "negZero+44(FP)", "R5")
	}
	if form.parts == 2 {
		a.constant(half, 128)
	}
	a.label("group")
	for i := 0; i < 8; i += 2 {
		a.nextTwo(i, i+1, "R2")
	}
	for i := range 8 {
		a.v("fabs", 8+i, i)
	}
	for n := 4; n > 0; n /= 2 { // the order of magnitudes' bits is theirs
		for i := range n {
			a.v("umax", 8+i, 8+i, 8+i+n)
		}
	}
	a.v("umaxv", 8, 8)
	a.op("FMOVS", f(8), "R6")
	a.op("MOVD", "$0x7f800000", "R7")
	a.op("CMPW", "R7", "R6")
	a.op("BHS", "spoilt")
	a.op("MOVD", fmt.Sprintf("$0x%08x", (127-96)<<23), "R7")
	a.op("CMPW", "R7", "R6")
	a.op("BLO", "nothing")
	a.op("FDIVS", f(8), f(top), f(inverse))
	a.op("FDIVS", f(top), f(8), f(scale))
	for i := range 8 {
		a.lane("fmul", i, i, inverse, 0)
		a.v("fcvtns", i, i)
	}

	a.label("store")
	if form.parts == 2 {
		for i := range 8 {
			a.v("add", 8+i, i, half)
			a.right(8, 8+i, 8+i)
		}
		a.narrow(8, 0)
	}
	a.narrow(0, 32*(form.parts-1))
	for i := 0; i < 8; i += 2 {
		a.v("add", i, i, i+1)
	}
	a.v("add", 0, 0, 2)
	a.v("add", 4, 4, 6)
	a.op("FMOVS", f(scale), "(R1)")
	a.op("MOVD", "ZR", "8(R1)")
	whole := func(reg int, to string) { // −zero times the sum of lanes
		a.v("addv", reg, reg)
		a.op("FMOVS", f(reg), "R6")
		a.op("MULW", "R5", "R6", "R6")
		a.op("MOVW", "R6", to)
	}
	switch kind {
	case "Halves":
		whole(0, "4(R1)")
		whole(4, "8(R1)")
	case "Minimum":
		a.v("add", 0, 0, 4)
		a.v("addv", 0, 0)
		a.v("scvtf", 0, 0)
		a.op("FMULS", f(scale), f(0), f(0))
		a.op("FMOVS", f(0), "4(R1)")
	default:
		a.v("add", 0, 0, 4)
		whole(0, "4(R1)")
	}
	a.op("ADD", "R4", "R0")
	a.op("ADD", "R4", "R1")
	a.minus(1, "R3")
	a.op("CBNZ", "R3", "group")
	a.op("RET")

	a.label("spoilt")
	a.constant(scale, 0x7fc00000)
	a.op("B", "zeros")
	a.label("nothing")
	a.zero(scale)
	a.label("zeros")
	for i := range 8 {
		a.zero(i)
	}
	a.op("B", "store")
}

// narrow stores the lowest bytes of 32 lanes, from a vector on.
func (a neon) narrow(from, offset int) {
	for i := range 4 {
		a.v("uzp1.8h", 16+i%2, from+2*i, from+2*i+1)
		if i%2 == 1 {
			a.v("uzp1.16b", 16, 16, 17)
			a.store(16, offset+8*(i-1), "R0")
		}
	}
}
