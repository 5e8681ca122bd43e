package main

import "fmt"

// Products of up to three rows with weights as they lie, on arm64. A sum has eight
// lanes, two vectors; a routine takes eight outputs of one row at a time or four of
// more rows, and the last ones alone. Twin: streamGo, in the order of panel.go.

func init() {
	files["stream_neon_arm64.s"] = func(e *emitter) {
		for _, format := range []string{"F32", "F16", "BF16"} {
			for rows := 3; rows > 0; rows-- {
				streamNEON{neon{e}, format, rows}.write()
			}
		}
	}
}

// streamNEON is one routine. General registers: R0 out, R1 bytes between its rows, R2 x,
// R3 bytes between its rows, R4 w, R5 bytes between its rows, R6 outputs left, R7
// elements; R8 and R9 count those of a run, R10 those that are left after it.
type streamNEON struct {
	neon
	format string
	rows   int
}

// runLength is runLen of panel.go.
const runLength = 2048

// xAt and wAt hold the addresses of rows.
func (s streamNEON) xAt(r int) string { return x(11 + r) }
func (s streamNEON) wAt(i int) string {
	return []string{"R14", "R15", "R16", "R17", "R19", "R20", "R21", "R22"}[i]
}

func (s streamNEON) row(r, half int) int { return 24 + 2*r + half }

// weights are the pairs of registers for weights, which take turns.
func (s streamNEON) weights(i int) int {
	first := s.row(s.rows, 0)
	return first + i%((32-first)/2)*2
}

func (s streamNEON) write() {
	s.text(fmt.Sprintf("stream%sx%dNEON", s.format, s.rows), 112, "(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)")
	s.argument("out_base", 0, "R0")
	s.argument("os", 24, "R1")
	s.argument("x_base", 32, "R2")
	s.argument("xs", 56, "R3")
	s.argument("w_base", 64, "R4")
	s.argument("ws", 88, "R5")
	s.argument("n", 96, "R6")
	s.argument("k", 104, "R7")
	s.op("LSL", "$2", "R1")
	s.op("LSL", "$2", "R3")
	if s.rows == 1 {
		s.outputs(8, "outputs1")
	} else {
		s.outputs(4, "outputs1")
	}
	s.outputs(1, "done")
	s.label("done")
	s.op("RET")
}

// outputs is the loop over so many outputs at a time; it goes on to after.
func (s streamNEON) outputs(n int, after string) {
	name := func(what string) string { return fmt.Sprintf("%s%d", what, n) }
	acc := func(r, i, half int) int { return 2*(r*n+i) + half }
	s.label(name("outputs"))
	s.until(n, "R6", after)
	for r := range s.rows {
		if r == 0 {
			s.op("MOVD", "R2", s.xAt(0))
		} else {
			s.op("ADD", "R3", s.xAt(r-1), s.xAt(r))
		}
	}
	for i := range n {
		if i == 0 {
			s.op("MOVD", "R4", s.wAt(0))
		} else {
			s.op("ADD", "R5", s.wAt(i-1), s.wAt(i))
		}
	}
	// Sums are added to −0, which leaves the first one as it is.
	s.constant(31, 1<<31)
	s.results(func(int) {
		for i := 0; i < n; i += 4 {
			if n == 1 {
				s.store4(31, 0, "R23")
			} else {
				s.store(31, 4*i, "R23")
			}
		}
	})
	s.op("MOVD", "R7", "R10")

	s.label(name("run"))
	s.op("MOVD", fmt.Sprintf("$%d", runLength), "R8")
	s.op("CMP", "R8", "R10")
	s.op("CSEL", "LT", "R10", "R8", "R8")
	s.op("SUB", "R8", "R10")
	for i := range 2 * n * s.rows {
		s.zero(i)
	}
	s.op("LSR", "$3", "R8", "R9")
	s.op("CBZ", "R9", name("rest"))
	s.label(name("step"))
	for r := range s.rows {
		s.nextTwo(s.row(r, 0), s.row(r, 1), s.xAt(r))
	}
	multiply := func(i, w int) {
		for half := range 2 {
			for r := range s.rows {
				s.v("fmla", acc(r, i, half), w+half, s.row(r, half))
			}
		}
	}
	for i := range n {
		w := s.weights(i)
		if s.format == "F32" {
			s.nextTwo(w, w+1, s.wAt(i))
		} else {
			s.next(w+1, s.wAt(i))
			s.widen(w)
		}
		multiply(i, w)
	}
	s.minus(1, "R9")
	s.op("CBNZ", "R9", name("step"))

	s.label(name("rest"))
	s.op("AND", "$7", "R8", "R9")
	s.op("CBZ", "R9", name("sum"))
	for r := range s.rows {
		s.few(fmt.Sprintf("x%d_%d", r, n), s.xAt(r), s.row(r, 0))
	}
	for i := range n {
		w := s.weights(i)
		label := fmt.Sprintf("w%d_%d", i, n)
		if s.format == "F32" {
			s.few(label, s.wAt(i), w)
		} else {
			s.fewHalves(label, s.wAt(i), w+1)
			s.widen(w)
		}
		multiply(i, w)
	}

	s.label(name("sum"))
	s.results(func(r int) {
		for i := 0; i < n; i += 4 {
			s.sums(n == 1, 16*(i/4), func(j, half int) int { return acc(r, i+j, half) })
		}
	})
	s.op("CBNZ", "R10", name("run"))
	s.plus(4*n, "R0")
	s.op("ADD", map[int]string{1: "R5", 4: "R5<<2", 8: "R5<<3"}[n], "R4")
	s.minus(n, "R6")
	s.op("B", name("outputs"))
}

// results calls f for every row with the address of its results in R23.
func (s streamNEON) results(f func(r int)) {
	s.op("MOVD", "R0", "R23")
	for r := range s.rows {
		f(r)
		if r+1 < s.rows {
			s.op("ADD", "R1", "R23")
		}
	}
}

// widen makes float32 of the eight numbers in w+1, to w and w+1.
func (s streamNEON) widen(w int) {
	op := "shll"
	if s.format == "F16" {
		op = "fcvtl"
	}
	s.v(op, w, w+1)
	s.v(op+"2", w+1, w+1)
}

// few loads the last elements of a row, R9 of them, to d and d+1, and zeros behind: from
// the last one on, each pushes those before it one lane up.
func (s streamNEON) few(label, from string, d int) {
	s.zero(d, d+1)
	s.backwards(label, from, 2, func() {
		s.op("VEXT", "$12", vector(d+1, "B16"), vector(d, "B16"), vector(d+1, "B16"))
		s.op("VEXT", "$12", vector(d, "B16"), vector(d, "B16"), vector(d, "B16"))
		s.op("VLD1", "(R23)", vector(d, "S[0]"))
	})
}

// fewHalves is few for elements of 16 bits, in one vector.
func (s streamNEON) fewHalves(label, from string, d int) {
	s.zero(d)
	s.backwards(label, from, 1, func() {
		s.op("VEXT", "$14", vector(d, "B16"), vector(d, "B16"), vector(d, "B16"))
		s.op("VLD1", "(R23)", vector(d, "H[0]"))
	})
}

// backwards is a loop over R9 elements of 1<<size bytes with the address of each in R23.
func (s streamNEON) backwards(label, from string, size int, body func()) {
	s.op("ADD", fmt.Sprintf("R9<<%d", size), from, "R23")
	s.op("MOVD", "R9", "R24")
	s.label(label)
	s.minus(1<<size, "R23")
	body()
	s.minus(1, "R24")
	s.op("CBNZ", "R24", label)
}

// sums adds the lanes of four outputs, or of one, one after the other to the results.
func (s streamNEON) sums(alone bool, offset int, acc func(i, half int) int) {
	const total, lane = 28, 29
	if alone {
		s.load4(total, offset, "R23")
		for l := range 8 {
			s.spread(lane, acc(0, l/4), l%4)
			s.op("FADDS", f(lane), f(total), f(total))
		}
		s.store4(total, offset, "R23")
		return
	}
	s.load(total, offset, "R23")
	for half := range 2 {
		a := [4]int{acc(0, half), acc(1, half), acc(2, half), acc(3, half)}
		s.turn(a, a, 24)
		for _, r := range a {
			s.v("fadd", total, total, r)
		}
	}
	s.store(total, offset, "R23")
}

// turn makes rows of four columns; four registers from t on are spare.
func (a neon) turn(to, from [4]int, t int) {
	a.v("zip1", t, from[0], from[2])
	a.v("zip2", t+1, from[0], from[2])
	a.v("zip1", t+2, from[1], from[3])
	a.v("zip2", t+3, from[1], from[3])
	a.v("zip1", to[0], t, t+2)
	a.v("zip2", to[1], t, t+2)
	a.v("zip1", to[2], t+1, t+3)
	a.v("zip2", to[3], t+1, t+3)
}

func vector(i int, arrangement string) string { return fmt.Sprintf("V%d.%s", i, arrangement) }
