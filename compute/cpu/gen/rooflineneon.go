package main

// The loops of roofline.go in the package on arm64.

func init() {
	files["roofline_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		a.read()
		a.rounds("maddsNEON", 24, func(i int) { a.v("fmla", i, 24, 25) })
		a.rounds("wordsNEON", 24, func(i int) { a.v("smlal", i, 24, 25) })
		a.rounds("dotsNEON", 24, func(i int) { a.v("sdot", i, 24, 25) })
		a.rounds("bytesNEON", 12, func(i int) {
			a.v("smull", 12+i, 24, 25)
			a.v("sadalp", i, 12+i)
		})
	}
}

// read loads 512 bytes a round.
func (a neon) read() {
	a.text("readNEON", 16, "(p *byte, n int)")
	a.argument("p", 0, "R0")
	a.argument("n", 8, "R1")
	a.label("next")
	for i := range 16 {
		a.nextTwo(2*(i%4), 2*(i%4)+1, "R0")
	}
	a.minus(512, "R1")
	a.op("CBNZ", "R1", "next")
	a.op("RET")
}

// rounds is a loop over n of so many instructions, or pairs of them, that do not wait
// for each other.
func (a neon) rounds(name string, each int, body func(i int)) {
	a.text(name, 8, "(n int)")
	a.argument("n", 0, "R0")
	for i := range 26 {
		a.zero(i)
	}
	a.label("next")
	for i := range each {
		body(i)
	}
	a.minus(1, "R0")
	a.op("CBNZ", "R0", "next")
	a.op("RET")
}
