package main

import "math"

// The running softmax of one query over a block on arm64 (softmax.go in the
// package), and eˣ for the kernels that need it.

func init() { files["softmax_neon_arm64.s"] = softmaxNEON }

// expRegisters are what exp needs: the constants, from first on, and places for up
// to two vectors.
type expRegisters struct {
	first   int    // of eleven vectors of constants
	n, y, t [2]int // whole powers, polynomials
	mask    [2]int
}

// expNEON are the constants of expGo: log2(e), ln 2 in two parts, the lowest x, 1, ½ and
// the coefficients.
var expNEON = []float32{
	1.44269502, 0.693359375, -2.12194440e-4, -87.33655, 1, 0.5,
	1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1,
}

func (a neon) expConstants(r expRegisters) {
	for i, c := range expNEON {
		a.constant(r.first+i, math.Float32bits(c))
	}
}

// exp sets up to two vectors of numbers up to 88.37 to their exponentials: 2ⁿ times
// a polynomial of what is left of x, and 0 for what is no normal number. What is not
// a number stays so.
func (a neon) exp(r expRegisters, regs ...int) {
	each := func(f func(i, x int)) {
		for i, x := range regs {
			f(i, x)
		}
	}
	log2e, upper, lower, lowest, one, half, coefficients := r.first, r.first+1, r.first+2, r.first+3, r.first+4, r.first+5, r.first+6
	each(func(i, x int) { a.v("fcmgt", r.mask[i], lowest, x) })
	each(func(i, x int) { a.v("fmul", r.n[i], x, log2e) })
	each(func(i, _ int) { a.v("frintn", r.n[i], r.n[i]) })
	each(func(i, x int) { a.v("fmls", x, r.n[i], upper) })
	each(func(i, x int) { a.v("fmls", x, r.n[i], lower) })
	each(func(i, _ int) { a.v("fcvtns", r.n[i], r.n[i]) })
	from, to := r.y, r.t
	each(func(i, _ int) { a.move(from[i], coefficients) })
	for _, c := range []int{coefficients + 1, coefficients + 2, coefficients + 3, coefficients + 4, half, one, one} {
		each(func(i, _ int) { a.move(to[i], c) })
		each(func(i, x int) { a.v("fmla", to[i], from[i], x) })
		from, to = to, from
	}
	each(func(i, _ int) { a.op("VSHL", "$23", lanes(r.n[i]), lanes(r.n[i])) })
	each(func(i, _ int) { a.v("add", r.n[i], r.n[i], one) })
	each(func(i, x int) { a.v("fmul", x, from[i], r.n[i]) })
	each(func(i, x int) { a.v("bic", x, x, r.mask[i]) })
}

func softmaxNEON(e *emitter) {
	e.raw("\n// Twin: softmax.go. Keys are filled up to whole vectors with −∞, for which rows\n// have room.\n")
	a := neon{e}
	const scale, top, minusInf, before, single, sum = 0, 1, 7, 6, 5, 31
	r := expRegisters{first: 8, n: [2]int{20, 21}, y: [2]int{22, 23}, t: [2]int{24, 25}, mask: [2]int{26, 27}}
	a.text("softmaxOneNEON", 44, "(p, bias *float32, state *[2]float32, n int, scale float32) (decay float32)")
	a.argument("p", 0, "R0")
	a.argument("bias", 8, "R1")
	a.argument("state", 16, "R2")
	a.argument("n", 24, "R3")
	a.op("FMOVS", "scale+32(FP)", f(scale))
	a.constant(minusInf, math.Float32bits(float32(math.Inf(-1))))
	for i := range 4 {
		a.move(top+i, minusInf)
	}
	a.move(single, minusInf)
	a.op("MOVD", "R0", "R5")
	a.op("MOVD", "R3", "R7")
	a.op("CBZ", "R1", "plain16")
	a.logits("biased", true)
	a.op("B", "fill")
	a.logits("plain", false)

	a.label("fill")
	a.op("NEG", "R3", "R7")
	a.op("AND", "$3", "R7")
	a.label("filling")
	a.op("CBZ", "R7", "top")
	a.put4(minusInf, "R5")
	a.minus(1, "R7")
	a.op("B", "filling")

	a.label("top")
	a.v("fmax", top, top, top+1)
	a.v("fmax", top+2, top+2, top+3)
	a.v("fmax", top, top, top+2)
	a.v("fmaxv", top, top)
	a.op("FMAXS", f(single), f(top), f(top))
	a.op("FMOVS", "(R2)", f(before))
	a.op("FMAXS", f(before), f(top), f(top))
	a.op("FMOVS", f(top), "(R2)")
	a.op("FCMPS", f(minusInf), f(top))
	a.op("BNE", "shift")
	a.op("FMOVS", "ZR", f(top)) // all −∞: e^(−∞ − 0) = 0

	a.label("shift")
	a.spread(top, top, 0)
	a.expConstants(r)
	a.op("FSUBS", f(top), f(before), f(before))
	a.exp(r, before)
	a.zero(sum)
	a.op("MOVD", "R0", "R5")
	a.plus(3, "R3")
	a.op("LSR", "$2", "R3")
	a.label("two")
	a.until(2, "R3", "last")
	a.load(28, 0, "R5")
	a.load(29, 16, "R5")
	a.v("fsub", 28, 28, top)
	a.v("fsub", 29, 29, top)
	a.exp(r, 28, 29)
	a.put(28, "R5")
	a.put(29, "R5")
	a.v("fadd", sum, sum, 28)
	a.v("fadd", sum, sum, 29)
	a.minus(2, "R3")
	a.op("B", "two")
	a.label("last")
	a.op("CBZ", "R3", "sum")
	a.load(28, 0, "R5")
	a.v("fsub", 28, 28, top)
	a.exp(r, 28)
	a.store(28, 0, "R5")
	a.v("fadd", sum, sum, 28)
	a.label("sum")
	a.v("faddp", sum, sum, sum)
	a.v("faddp", sum, sum, sum)
	a.op("FMOVS", "4(R2)", f(30))
	a.op("FMADDS", f(before), f(sum), f(30), f(sum))
	a.op("FMOVS", f(sum), "4(R2)")
	a.op("FMOVS", f(before), "decay+40(FP)")
	a.op("RET")
}

// logits scales the products, adds the bias and takes their maximum: whole vectors
// in V1 to V4, single ones in F5.
func (a neon) logits(name string, bias bool) {
	const scale, top, single = 0, 1, 5
	vectors := func(n int) {
		for i := range n {
			a.load(16+i, 16*i, "R5")
			if bias {
				a.next(20+i, "R1")
				a.lane("fmla", 20+i, 16+i, scale, 0)
			} else {
				a.lane("fmul", 20+i, 16+i, scale, 0)
			}
		}
		for i := range n {
			a.put(20+i, "R5")
			a.v("fmax", top+i, top+i, 20+i)
		}
		a.minus(4*n, "R7")
	}
	a.label(name + "16")
	a.until(16, "R7", name+"4")
	vectors(4)
	a.op("B", name+"16")
	a.label(name + "4")
	a.until(4, "R7", name+"1")
	vectors(1)
	a.op("B", name+"4")
	a.label(name + "1")
	a.op("CBZ", "R7", "fill")
	a.load4(16, 0, "R5")
	if bias {
		a.next4(20, "R1")
		a.op("FMADDS", f(scale), f(20), f(16), f(20))
	} else {
		a.op("FMULS", f(scale), f(16), f(20))
	}
	a.put4(20, "R5")
	a.op("FMAXS", f(20), f(single), f(single))
	a.minus(1, "R7")
	a.op("B", name+"1")
}
