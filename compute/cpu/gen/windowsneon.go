package main

import (
	"fmt"
	"math"
)

// Softmax over windows, the sum of a group's and maxima over blocks on arm64, sixteen
// elements at a time, then four, then one in the first lane. Twins: means.go.

func init() {
	files["windows_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		a.windows()
		a.blend()
		a.pool()
	}
}

// steps are the loops over elements: vectors of each, and whether they are single ones.
type steps struct {
	vectors int
	single  bool
}

func (s steps) elements() int {
	if s.single {
		return 1
	}
	return 4 * s.vectors
}

// loops writes a loop for each step over the elements that are left in a register, and
// goes on behind them. body has the loads and stores of the step.
func (a neon) loops(name, left string, of []steps, body func(s steps, label string)) {
	label := func(i int) string {
		if i == len(of) {
			return name + "Done"
		}
		return fmt.Sprintf("%s%d", name, of[i].elements())
	}
	for i, s := range of {
		a.label(label(i))
		a.until(s.elements(), left, label(i+1))
		body(s, label(i))
		a.minus(s.elements(), left)
		a.op("B", label(i))
	}
	a.label(label(len(of)))
}

// get and set load and store the i-th vector of a step.
func (a neon) get(s steps, d, i int, base string) {
	if s.single {
		a.load4(d, 0, base)
	} else {
		a.load(d, 16*i, base)
	}
}

func (a neon) set(s steps, from, i int, base string) {
	if s.single {
		a.store4(from, 0, base)
	} else {
		a.store(from, 16*i, base)
	}
}

// powerNEON are the constants of powerGo: the lowest x and the coefficients.
var powerNEON = []float32{
	-126, 0.0001534581242594868, 0.0013399930903688073, 0.009618489071726799,
	0.05550328642129898, 0.24022646248340607, 0.6931471824645996, 1,
}

func (a neon) windows() {
	const scale, top, single, sum, alone, first = 0, 1, 5, 6, 7, 8
	a.text("windowsNEON", 48, "(win, part *float32, n, span int, scale float32) (top, sum float32)")
	for i, arg := range []string{"win", "part", "n", "span"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("FMOVS", "scale+32(FP)", f(scale))
	a.constant(single, math.Float32bits(float32(math.Inf(-1))))
	for i := range 4 {
		a.move(top+i, single)
	}
	a.op("MOVD", "R0", "R4")
	a.op("MOVD", "R2", "R5")
	a.loops("sums", "R5", []steps{{4, false}, {1, false}, {1, true}}, func(s steps, label string) {
		for i := range s.vectors {
			a.get(s, 16+i, i, "R1")
		}
		a.op("ADD", "$4", "R1", "R6")
		a.op("MOVD", "R3", "R7")
		a.label(label + "span")
		a.minus(1, "R7")
		a.op("CBZ", "R7", label+"summed")
		for i := range s.vectors {
			a.get(s, 20+i, i, "R6")
		}
		for i := range s.vectors {
			a.v("fadd", 16+i, 16+i, 20+i)
		}
		a.plus(4, "R6")
		a.op("B", label+"span")
		a.label(label + "summed")
		for i := range s.vectors {
			a.set(s, 16+i, i, "R4")
			if s.single {
				a.op("FMAXS", f(16), f(single), f(single))
			} else {
				a.v("fmax", top+i, top+i, 16+i)
			}
		}
		a.plus(4*s.elements(), "R1")
		a.plus(4*s.elements(), "R4")
	})
	a.v("fmax", top, top, top+1)
	a.v("fmax", top+2, top+2, top+3)
	a.v("fmax", top, top, top+2)
	a.v("fmaxv", top, top)
	a.op("FMAXS", f(single), f(top), f(top))
	a.op("FMOVS", f(top), "top+40(FP)")
	a.spread(top, top, 0)
	a.constant(2, math.Float32bits(1.44269502))
	a.op("FMULS", f(2), f(scale), f(scale))
	for i, c := range powerNEON {
		a.constant(first+i, math.Float32bits(c))
	}
	a.zero(sum, alone)
	a.loops("powers", "R2", []steps{{2, false}, {1, false}, {1, true}}, func(s steps, _ string) {
		for i := range s.vectors {
			a.get(s, 16+i, i, "R0")
		}
		a.power(first, top, scale, s.vectors)
		for i := range s.vectors {
			a.set(s, 22+i, i, "R0")
			if s.single {
				a.op("FADDS", f(22), f(alone), f(alone))
			} else {
				a.v("fadd", sum, sum, 22+i)
			}
		}
		a.plus(4*s.elements(), "R0")
	})
	a.v("faddp", sum, sum, sum)
	a.v("faddp", sum, sum, sum)
	a.op("FADDS", f(alone), f(sum), f(sum))
	a.op("FMOVS", f(sum), "sum+44(FP)")
	a.op("RET")
}

// power sets V22 and V23 to powers of two, of the differences of V16 and V17 to the top
// times a scale, which are up to 0; what is no normal number becomes 0, and what is not a
// number stays so.
func (a neon) power(first, top, scale, vectors int) {
	each := func(f func(i int)) {
		for i := range vectors {
			f(i)
		}
	}
	each(func(i int) { a.v("fsub", 16+i, 16+i, top) })
	each(func(i int) { a.lane("fmul", 16+i, 16+i, scale, 0) })
	each(func(i int) { a.v("fcmgt", 18+i, first, 16+i) })
	each(func(i int) { a.v("frintn", 20+i, 16+i) })
	each(func(i int) { a.v("fsub", 16+i, 16+i, 20+i) })
	each(func(i int) { a.v("fcvtns", 20+i, 20+i) })
	each(func(i int) { a.op("VSHL", "$23", lanes(20+i), lanes(20+i)) })
	from, to := 24, 22
	each(func(i int) { a.move(from+i, first+1) })
	for c := first + 2; c < first+len(powerNEON); c++ {
		each(func(i int) { a.move(to+i, c) })
		each(func(i int) { a.v("fmla", to+i, from+i, 16+i) })
		from, to = to, from
	}
	each(func(i int) { a.v("add", 22+i, from+i, 20+i) })
	each(func(i int) { a.v("bic", 22+i, 22+i, 18+i) })
}

// blend sums a group's exponentials, each query's times its factor.
func (a neon) blend() {
	a.text("blendNEON", 56, "(sum, e *float32, es int, factor *float32, fs, group, n int)")
	for i, arg := range []string{"sum", "e", "es", "factor", "fs", "group", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.op("LSL", "$2", "R2")
	a.op("LSL", "$2", "R4")
	a.loops("sums", "R6", []steps{{4, false}, {1, false}, {1, true}}, func(s steps, label string) {
		for i := range s.vectors {
			a.zero(i)
		}
		a.op("MOVD", "R1", "R7")
		a.op("MOVD", "R3", "R8")
		a.op("MOVD", "R5", "R9")
		a.label(label + "query")
		a.op("FMOVS", "(R8)", f(8))
		a.op("ADD", "R4", "R8")
		for i := range s.vectors {
			a.get(s, 4+i, i, "R7")
			a.lane("fmla", i, 4+i, 8, 0)
		}
		a.op("ADD", "R2", "R7")
		a.minus(1, "R9")
		a.op("CBNZ", "R9", label+"query")
		for i := range s.vectors {
			a.set(s, i, i, "R0")
		}
		a.plus(4*s.elements(), "R0")
		a.plus(4*s.elements(), "R1")
	})
	a.op("RET")
}

// pool takes the maxima of four blocks at a time: of their own windows, and of the first
// one of the block after them.
func (a neon) pool() {
	a.text("poolNEON", 24, "(out, win *float32, n int)")
	for i, arg := range []string{"out", "win", "n"} {
		a.argument(arg, 8*i, x(i))
	}
	a.loops("blocks", "R2", []steps{{1, false}, {1, true}}, func(s steps, _ string) {
		if s.single {
			a.op("FMOVQ.P", "16(R1)", f(0))
			a.v("fmaxv", 0, 0)
			a.op("FMOVS", "(R1)", f(1))
			a.op("FMAXS", f(1), f(0), f(0))
			a.put4(0, "R0")
			return
		}
		a.op("VLD4.P", "64(R1)", "[V0.S4, V1.S4, V2.S4, V3.S4]")
		a.op("FMOVS", "(R1)", f(4))
		a.op("VEXT", "$4", "V4.B16", "V0.B16", "V4.B16")
		a.v("fmax", 0, 0, 1)
		a.v("fmax", 2, 2, 3)
		a.v("fmax", 0, 0, 2)
		a.v("fmax", 0, 0, 4)
		a.put(0, "R0")
	})
	a.op("RET")
}
