package main

import "fmt"

// Weights to float32 on arm64, with the values of dtype.Decode.

func init() {
	files["expand_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		a.expandHalves("F16", "fcvtl")
		a.expandHalves("BF16", "shll")
		a.expandBlocks("Q8", false)
		a.expandBlocks("Q40", false)
		a.expandBlocks("Q41", true)
	}
}

func (a neon) expandHalves(name, widen string) {
	a.text(fmt.Sprintf("expand%sNEON", name), 24, "(dst *float32, src *byte, n int)\n//\n// n is a multiple of 8 above 0.")
	a.argument("dst", 0, "R0")
	a.argument("src", 8, "R1")
	a.argument("n", 16, "R2")
	a.label("next")
	a.next(1, "R1")
	a.v(widen, 0, 1)
	a.v(widen+"2", 1, 1)
	a.put(0, "R0")
	a.put(1, "R0")
	a.minus(8, "R2")
	a.op("CBNZ", "R2", "next")
	a.op("RET")
}

// expandBlocks writes the routine for blocks of 32: a scale in V16, a minimum in V17,
// codes in V18 and V19.
func (a neon) expandBlocks(name string, minimum bool) {
	a.text(fmt.Sprintf("expand%sNEON", name), 24, "(dst *float32, src *byte, blocks int)")
	a.argument("dst", 0, "R0")
	a.argument("src", 8, "R1")
	a.argument("blocks", 16, "R2")
	if name != "Q8" {
		a.constant(20, 0x0f0f0f0f)
		a.constant(21, 0x08080808)
	}
	half := func(d int) {
		a.op("MOVHU.P", "2(R1)", "R3")
		a.op("FMOVS", "R3", f(d))
		a.v("fcvtl", d, d)
	}
	a.label("block")
	half(16)
	if minimum {
		half(17)
		a.spread(17, 17, 0)
	}
	if name == "Q8" {
		a.nextTwo(18, 19, "R1")
	} else { // the low halves of bytes are the first sixteen codes
		a.next(18, "R1")
		a.op("VUSHR", "$4", "V18.B16", "V19.B16")
		a.v("and", 18, 18, 20)
	}
	if name == "Q40" {
		a.op("VSUB", "V21.B16", "V18.B16", "V18.B16")
		a.op("VSUB", "V21.B16", "V19.B16", "V19.B16")
	}
	for _, from := range []int{18, 19} {
		signed := "sxtl"
		if minimum {
			signed = "uxtl"
		}
		a.v(signed+".8h", 2, from)
		a.v(signed+"2.8h", 3, from)
		a.v(signed+".4s", 0, 2)
		a.v(signed+"2.4s", 1, 2)
		a.v(signed+".4s", 2, 3)
		a.v(signed+"2.4s", 3, 3)
		for i := range 4 {
			a.v("scvtf", i, i)
			a.lane("fmul", i, i, 16, 0)
			if minimum {
				a.v("fadd", i, i, 17)
			}
			a.put(i, "R0")
		}
	}
	a.minus(1, "R2")
	a.op("CBNZ", "R2", "block")
	a.op("RET")
}
