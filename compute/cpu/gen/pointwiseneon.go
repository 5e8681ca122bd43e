package main

import "math"

// Element-wise ops, the norm and the rotation on arm64. Twins: pointwise.go, rotate.go.

func init() {
	files["pointwise_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		a.swiglu()
		a.swigluGrad()
		a.addScaled()
		a.sumSquares()
		a.normScale()
		a.rotateHalves()
		a.rotatePairs()
	}
}

// allLengths are the steps of an op on any number of elements.
var allLengths = []steps{{2, false}, {1, false}, {1, true}}

func (a neon) swiglu() {
	const highest, infinite = 0, 1
	r := expRegisters{first: 2, n: [2]int{20, 21}, y: [2]int{22, 23}, t: [2]int{24, 25}, mask: [2]int{26, 27}}
	one := r.first + 4
	a.text("swigluNEON", 32, "(out, gate, up *float32, n int)\n//\n// g/(1 + e^−g)·u. Above 88.3 e^−g is made infinite, so that a gate far below shuts.")
	for i, arg := range []string{"out", "gate", "up", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.expConstants(r)
	a.constant(highest, math.Float32bits(88.37626))
	a.constant(infinite, math.Float32bits(float32(math.Inf(1))))
	a.loops("elements", "R3", allLengths, func(s steps, _ string) {
		for i := range s.vectors {
			gate, e, far := 16+i, 28+i, 18+i
			a.get(s, gate, i, "R1")
			a.v("fneg", e, gate)
			a.v("fcmgt", far, e, highest)
			a.v("and", far, far, infinite)
			a.v("fmin", e, e, highest)
		}
		a.exp(r, []int{28, 29}[:s.vectors]...)
		for i := range s.vectors {
			gate, e, far := 16+i, 28+i, 18+i
			a.v("fadd", e, e, far)
			a.v("fadd", e, e, one)
			a.v("fdiv", e, gate, e)
			a.get(s, gate, i, "R2")
			a.v("fmul", e, e, gate)
			a.set(s, e, i, "R0")
		}
		for i := range 3 {
			a.plus(4*s.elements(), x(i))
		}
	})
	a.op("RET")
}

func (a neon) swigluGrad() {
	const highest, infinite = 0, 1
	r := expRegisters{first: 2, n: [2]int{20, 21}, y: [2]int{22, 23}, t: [2]int{24, 25}, mask: [2]int{26, 27}}
	one := r.first + 4
	a.text("swigluGradNEON", 48, "(dgate, dup, dy, gate, up *float32, n int)\n//\n// With σ = 1/(1 + e^−g), e^−g as in swigluNEON: dy·u·σ·(1 + g·(1 − σ)) and dy·g·σ.")
	for i, arg := range []string{"dgate", "dup", "dy", "gate", "up", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.expConstants(r)
	a.constant(highest, math.Float32bits(88.37626))
	a.constant(infinite, math.Float32bits(float32(math.Inf(1))))
	a.loops("elements", "R5", allLengths, func(s steps, _ string) {
		for i := range s.vectors {
			gate, e, far := 16+i, 28+i, 18+i
			a.get(s, gate, i, "R3")
			a.v("fneg", e, gate)
			a.v("fcmgt", far, e, highest)
			a.v("and", far, far, infinite)
			a.v("fmin", e, e, highest)
		}
		a.exp(r, []int{28, 29}[:s.vectors]...)
		for i := range s.vectors {
			gate, e, far, slope, dy, up := 16+i, 28+i, 18+i, 20+i, 22+i, 24+i
			a.v("fadd", e, e, far)
			a.v("fadd", e, e, one)
			a.v("fdiv", e, one, e) // σ
			a.v("fsub", slope, one, e)
			a.v("fmul", slope, slope, gate)
			a.v("fadd", slope, slope, one)
			a.get(s, dy, i, "R2")
			a.get(s, up, i, "R4")
			a.v("fmul", gate, gate, dy)
			a.v("fmul", up, up, dy)
			a.v("fmul", gate, gate, e)
			a.v("fmul", up, up, e)
			a.v("fmul", up, up, slope)
			a.set(s, gate, i, "R1")
			a.set(s, up, i, "R0")
		}
		for i := range 5 {
			a.plus(4*s.elements(), x(i))
		}
	})
	a.op("RET")
}

func (a neon) addScaled() {
	a.text("addScaledNEON", 28, "(x, y *float32, n int, scale float32)")
	for i, arg := range []string{"x", "y", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("FMOVS", "scale+24(FP)", f(31))
	a.loops("elements", "R2", allLengths, func(s steps, _ string) {
		for i := range s.vectors {
			a.get(s, i, i, "R0")
			a.get(s, 4+i, i, "R1")
			a.lane("fmul", 4+i, 4+i, 31, 0)
			a.v("fadd", i, i, 4+i)
			a.set(s, i, i, "R0")
		}
		a.plus(4*s.elements(), "R0")
		a.plus(4*s.elements(), "R1")
	})
	a.op("RET")
}

// sumSquares sums in float64, in four vectors, and single elements beside them.
func (a neon) sumSquares() {
	a.text("sumSquaresNEON", 24, "(x *float32, n int) float64")
	a.argument("x", 0, "R0")
	a.argument("n", 8, "R1")
	a.zero(0, 1, 2, 3, 4)
	a.loops("elements", "R1", allLengths, func(s steps, _ string) {
		for i := range s.vectors {
			a.get(s, 8, i, "R0")
			if s.single {
				a.op("FCVTSD", f(8), f(8))
				a.op("FMADDD", f(8), f(4), f(8), f(4))
				continue
			}
			a.v("fcvtl2.2d", 9, 8)
			a.v("fcvtl.2d", 8, 8)
			a.v("fmla.2d", 2*i, 8, 8)
			a.v("fmla.2d", 2*i+1, 9, 9)
		}
		a.plus(4*s.elements(), "R0")
	})
	for i := range 4 {
		a.v("faddp.2d", i, i, i)
	}
	for i := 1; i < 5; i++ {
		a.op("FADDD", f(i), f(0), f(0))
	}
	a.op("FMOVD", f(0), "ret+16(FP)")
	a.op("RET")
}

func (a neon) normScale() {
	a.text("normScaleNEON", 36, "(out, x, weight *float32, n int, inv float32)")
	for i, arg := range []string{"out", "x", "weight", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("FMOVS", "inv+32(FP)", f(31))
	a.loops("elements", "R3", allLengths, func(s steps, _ string) {
		for i := range s.vectors {
			a.get(s, i, i, "R1")
			a.get(s, 4+i, i, "R2")
			a.lane("fmul", i, i, 31, 0)
			a.v("fmul", i, i, 4+i)
			a.set(s, i, i, "R0")
		}
		for i := range 3 {
			a.plus(4*s.elements(), x(i))
		}
	})
	a.op("RET")
}

// rotation loads the arguments of a rotation and writes the loops over heads and over
// four angles at a time, whose pairs are V0 and V1.
func (a neon) rotation(name, what string, load, store func()) {
	a.text(name, 56, "(v, cos, sin *float32, n, heads, dim, half int)\n//\n// "+what+" n is a multiple of 4 above 0.")
	for i, arg := range []string{"v", "cos", "sin", "n", "heads", "dim", "half"} {
		a.argument(arg, 8*i, x(i))
	}
	a.label("head")
	a.op("MOVD", "R0", "R7")
	a.op("ADD", "R6<<2", "R0", "R8")
	a.op("MOVD", "R1", "R9")
	a.op("MOVD", "R2", "R10")
	a.op("MOVD", "R3", "R11")
	a.label("next")
	load()
	a.next(2, "R9")
	a.next(3, "R10")
	a.v("fmul", 4, 0, 2)
	a.v("fmul", 5, 1, 3)
	a.v("fmul", 6, 1, 2)
	a.v("fmul", 7, 0, 3)
	a.v("fsub", 0, 4, 5)
	a.v("fadd", 1, 6, 7)
	store()
	a.minus(4, "R11")
	a.op("CBNZ", "R11", "next")
	a.op("ADD", "R5<<2", "R0", "R0")
	a.minus(1, "R4")
	a.op("CBNZ", "R4", "head")
	a.op("RET")
}

func (a neon) rotateHalves() {
	a.rotation("rotateHalvesNEON", "Pairs are half apart.", func() {
		a.load(0, 0, "R7")
		a.load(1, 0, "R8")
	}, func() {
		a.put(0, "R7")
		a.put(1, "R8")
	})
}

func (a neon) rotatePairs() {
	a.rotation("rotatePairsNEON", "Pairs are neighbours.", func() {
		a.op("VLD2", "(R7)", "[V0.S4, V1.S4]")
	}, func() {
		a.op("VST2.P", "[V0.S4, V1.S4]", "32(R7)")
	})
}
