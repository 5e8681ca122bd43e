package main

import "fmt"

// Products of packed weights with SDOT, whose codes have signs: those of weights that
// do not reach 128 are as they are, and those of Q8_0 are less 128, their zero, so that
// their sums begin at 0 and not at what makes up for it. Twins: packedtile.go; packed.go
// says how weights and rows lie.
//
// Of a group, four outputs after the other are multiplied by all codes of up to four
// rows, which stay in registers; so do the sums in float32.

// packedForm is a form of rows and how many of them a routine takes together.
type packedForm struct {
	name  string
	parts int // bytes of a code, the higher first
	rows  []int
}

var packedForms = []packedForm{{"Bytes", 1, []int{4, 2, 1}}, {"Split", 2, []int{2, 1}}}

// openedFormats are opened panels, by kind; the codes of Whole are those of Q8_0.
var openedFormats = []packedFormat{
	{"Whole", "Scale", 512, 576, 0, openedPlanes},
	{"Scale", "Scale", 512, 576, 0, openedPlanes},
	{"Minimum", "Minimum", 512, 640, 0, openedPlanes},
	{"Halves", "Halves", 512, 640, 0, openedPlanes},
}

// openedPlanes stands for whole bytes and scales in float32.
const openedPlanes = -2

// packedNEON is one routine. General registers: R0 out, R1 bytes between its rows, R2
// panel, R3 codes, R4 what stands beside them, R5 groups, R6 rows or panels left, R7
// bytes of a group of rows; R8 to R10 run over weights, codes and what is beside them,
// R11 counts groups, R12 those of a header, which is at R13.
type packedNEON struct {
	neon
	p    packedFormat
	form packedForm
	rows int
}

func (k packedNEON) width() int { return 32 * k.form.parts }

// flip says whether codes reach 255.
func (k packedNEON) flip() bool { return k.p.name == "Q8" || k.p.name == "Whole" }

// pair says whether both halves of a byte are multiplied when it is loaded, by sums of
// their own. For more rows there are not the registers.
func (k packedNEON) pair() bool { return k.rows == 1 && k.p.planes >= 0 }

// Vector registers.

func (k packedNEON) sum(r, v int) int { return 4*r + v }

// codes are the 32 codes of a row, 16 in a register.
func (k packedNEON) codes(r, part, half int) int {
	return 4*k.rows + 2*(r*k.form.parts+part) + half
}

// whole is an integer sum; set is 1 for what high halves of bytes have.
func (k packedNEON) whole(r, part, set int) int {
	return k.codes(k.rows, 0, 0) + (set*k.rows+r)*k.form.parts + part
}

func (k packedNEON) low() int { return k.form.parts - 1 }

// The last registers; the first four are for one row alone.
const (
	packedUpperNEON  = 24 // the second plane
	packedSecondNEON = 25 // the high halves of bytes
	packedPlaneNEON  = 26
	packedSideNEON   = 27 // what stands beside the codes
	packedLowNEON    = 28 // 0x0f in every byte
	packedMaskNEON   = 29 // 0x10 or 0x30, or 0x80 to take 128
	packedCodeNEON   = 30 // also a scale
	packedTmpNEON    = 31
)

func (k packedNEON) constants() {
	switch {
	case k.flip():
		k.constant(packedMaskNEON, 0x80808080)
	case k.p.planes >= 0:
		k.constant(packedLowNEON, 0x0f0f0f0f)
		if k.p.planes > 0 {
			k.constant(packedMaskNEON, uint32(0x10101010*(2*k.p.planes-1)))
		}
	}
}

// upper adds the bits of a plane to the codes of a quad.
func (k packedNEON) upper(code, plane, quad int) {
	from := quad
	if k.p.planes == 2 {
		from = quad % 4 * 2
	}
	switch tmp := fmt.Sprintf("V%d.B16", packedTmpNEON); {
	case from < 4:
		k.op("VSHL", fmt.Sprintf("$%d", 4-from), fmt.Sprintf("V%d.B16", plane), tmp)
		plane = packedTmpNEON
	case from > 4:
		k.op("VUSHR", fmt.Sprintf("$%d", from-4), fmt.Sprintf("V%d.B16", plane), tmp)
		plane = packedTmpNEON
	}
	k.v("bit", code, plane, packedMaskNEON)
}

func (k packedNEON) highHalf(code, from int) {
	k.op("VUSHR", "$4", fmt.Sprintf("V%d.B16", from), fmt.Sprintf("V%d.B16", code))
}

// code loads the codes of outputs 4v to 4v+3 and one quad.
func (k packedNEON) code(quad, v int) int {
	const code = packedCodeNEON
	if k.p.planes < 0 {
		k.load(code, 64*quad+16*v, "R8")
		if k.flip() {
			k.v("eor", code, code, packedMaskNEON)
		}
		return code
	}
	k.load(code, 64*(quad%4)+16*v, "R8")
	if quad < 4 {
		k.v("and", code, code, packedLowNEON)
	} else {
		k.highHalf(code, code)
	}
	if k.p.planes > 0 {
		k.load(packedTmpNEON, 256+64*(quad/4*(k.p.planes-1))+16*v, "R8")
		k.upper(code, packedTmpNEON, quad)
	}
	return code
}

// each calls use with the codes of every quad of four outputs. Where sums are of one
// half at a time, between is called before the second one's codes are loaded.
func (k packedNEON) each(v int, between func(), use func(code, quad, set int)) {
	if !k.pair() {
		for q := range 8 {
			if q == 4 {
				between()
			}
			use(k.code(q, v), q, 0)
		}
		return
	}
	planes := [2]int{packedPlaneNEON, packedPlaneNEON}
	if k.p.planes == 2 {
		planes[1] = packedUpperNEON
	}
	for i := range k.p.planes {
		k.load(planes[i], 256+64*i+16*v, "R8")
	}
	for q := range 4 {
		k.load(packedCodeNEON, 64*q+16*v, "R8")
		k.highHalf(packedSecondNEON, packedCodeNEON)
		k.v("and", packedCodeNEON, packedCodeNEON, packedLowNEON)
		if k.p.planes > 0 {
			k.upper(packedCodeNEON, planes[0], q)
			k.upper(packedSecondNEON, planes[1], q+4)
		}
		use(packedCodeNEON, q, 0)
		use(packedSecondNEON, q+4, 1)
	}
}

// multiply adds the products of a quad's codes with all rows.
func (k packedNEON) multiply(code, quad, set int) {
	for part := range k.form.parts {
		for r := range k.rows {
			k.lane("sdot", k.whole(r, part, set), code, k.codes(r, part, quad/4), quad%4)
		}
	}
}

// beside is the register of what stands beside a row's codes.
func (k packedNEON) beside(r int) int {
	if k.rows == 1 {
		return packedSideNEON
	}
	k.load(packedTmpNEON, 16*r, "R10")
	return packedTmpNEON
}

// begin sets the integer sums: to what makes up for the zero of a half's codes, or to
// nothing.
func (k packedNEON) begin(half, set int) {
	for r := range k.rows {
		if k.p.kind == "Minimum" || k.flip() || set == 1 && k.p.kind != "Halves" {
			k.zero(k.whole(r, k.low(), set))
		} else {
			k.spread(k.whole(r, k.low(), set), k.beside(r), 1+half)
		}
		if k.form.parts == 2 {
			k.zero(k.whole(r, 0, set))
		}
	}
}

// end adds integer sums to the float32 ones: sum·(weight scale·scale).
func (k packedNEON) end(v, set int) {
	for r := range k.rows {
		sum := k.whole(r, k.low(), set)
		if k.form.parts == 2 {
			high := k.whole(r, 0, set)
			k.op("VSHL", "$8", lanes(high), lanes(high))
			k.v("add", sum, sum, high)
		}
		k.v("scvtf", sum, sum)
		k.lane("fmul", packedTmpNEON, packedCodeNEON, k.beside(r), 0)
		k.v("fmul", sum, sum, packedTmpNEON)
		k.v("fadd", k.sum(r, v), k.sum(r, v), sum)
	}
}

// minima adds minimum·(scale·Σ code).
func (k packedNEON) minima(v int) {
	for r := range k.rows {
		k.lane("fmul", packedTmpNEON, packedCodeNEON, k.beside(r), 1)
		k.v("fadd", k.sum(r, v), k.sum(r, v), packedTmpNEON)
	}
}

// scale reads the scales of four outputs to V30, or their minima or second scales.
func (k packedNEON) scale(v int, second bool) {
	const scale, tmp = packedCodeNEON, packedTmpNEON
	i := 0
	if second {
		i = 1
	}
	switch {
	case k.p.planes == openedPlanes:
		k.load(scale, k.p.codes+64*i+16*v, "R8")
	case k.p.header == 0:
		k.load8(scale, k.p.codes+32*i+8*v, "R8")
		k.v("fcvtl", scale, scale)
	case k.p.kind == "Halves":
		k.load4(scale, k.p.codes+16*i+4*v, "R8")
		k.v("sxtl.8h", scale, scale)
		k.v("sxtl.4s", scale, scale)
		k.v("scvtf", scale, scale)
		k.load8(tmp, 8*v, "R13")
		k.v("fcvtl", tmp, tmp)
		k.v("fmul", scale, scale, tmp)
	default:
		k.load4(scale, k.p.codes+16*i+4*v, "R8")
		k.v("uxtl.8h", scale, scale)
		k.v("uxtl.4s", scale, scale)
		k.v("ucvtf", scale, scale)
		k.load8(tmp, 32*i+8*v, "R13")
		k.v("fcvtl", tmp, tmp)
		if second {
			k.v("fneg", tmp, tmp)
		}
		k.v("fmul", scale, scale, tmp)
	}
}

// group adds the product of a group.
func (k packedNEON) group() {
	for r := range k.rows {
		for part := range k.form.parts {
			k.op("FLDPQ", at(r*k.width()+32*part, "R9"), fmt.Sprintf("(%s, %s)", f(k.codes(r, part, 0)), f(k.codes(r, part, 1))))
		}
	}
	if k.rows == 1 {
		k.load(packedSideNEON, 0, "R10")
	}
	halves := k.p.kind == "Halves"
	for v := range 4 {
		k.begin(0, 0)
		if k.pair() {
			k.begin(1, 1)
		}
		k.each(v, func() {
			if halves {
				k.scale(v, false)
				k.end(v, 0)
				k.begin(1, 0)
			}
		}, k.multiply)
		switch {
		case k.pair() && halves:
			k.scale(v, false)
			k.end(v, 0)
			k.scale(v, true)
			k.end(v, 1)
			continue
		case k.pair():
			for part := range k.form.parts {
				k.v("add", k.whole(0, part, 0), k.whole(0, part, 0), k.whole(0, part, 1))
			}
		}
		k.scale(v, halves)
		k.end(v, 0)
		if k.p.kind == "Minimum" {
			k.scale(v, true)
			k.minima(v)
		}
	}
	k.op("ADD", "R7", "R9")
	k.op("ADD", "R7", "R10")
}
