package main

import "fmt"

// Tiles of eight rows by up to twelve outputs on arm64, and what puts rows into their
// order. Twins: panel.go.

func init() {
	files["panel_neon_arm64.s"] = func(e *emitter) {
		a := neon{e}
		for vectors := 1; vectors <= 3; vectors++ {
			a.panel(vectors)
		}
		a.pack()
	}
}

// panel writes one routine: sums in V0 to V23, outputs in V24 to V26, rows in V27 and V28.
func (a neon) panel(vectors int) {
	a.text(fmt.Sprintf("panel%dNEON", vectors), 56, "(c *float32, ldc int, a, b *float32, steps, blocks, add int)")
	for i, arg := range []string{"c", "ldc", "a", "b", "steps", "blocks", "add"} {
		a.argument(arg, 8*i, x(i))
	}
	sum := func(r, v int) int { return vectors*r + v }
	a.op("LSL", "$2", "R1")
	a.label("block")
	a.op("MOVD", "R3", "R7")
	a.op("MOVD", "R4", "R8")
	for i := range 8 * vectors {
		a.zero(i)
	}
	a.label("step")
	a.nextTwo(27, 28, "R2")
	for v := range vectors {
		a.next(24+v, "R7")
	}
	for r := range 8 {
		for v := range vectors {
			a.lane("fmla", sum(r, v), 24+v, 27+r/4, r%4)
		}
	}
	a.minus(1, "R8")
	a.op("CBNZ", "R8", "step")
	a.op("CBZ", "R6", "store")
	a.op("MOVD", "R0", "R9")
	for r := range 8 {
		for v := range vectors {
			a.load(24+v, 16*v, "R9")
			a.v("fadd", sum(r, v), sum(r, v), 24+v)
		}
		a.op("ADD", "R1", "R9")
	}
	a.label("store")
	for r := range 8 {
		for v := range vectors {
			a.store(sum(r, v), 16*v, "R0")
		}
		a.op("ADD", "R1", "R0")
	}
	a.minus(1, "R5")
	a.op("CBNZ", "R5", "block")
	a.op("RET")
}

// pack turns eight elements of four rows a step.
func (a neon) pack() {
	a.text("pack4NEON", 48, "(dst, src *float32, ss, steps, class, st int)\n//\n// dst[class·lane + step·st + row] is set for four rows.")
	a.argument("dst", 0, "R0")
	a.argument("src", 8, "R8")
	a.argument("ss", 16, "R2")
	a.argument("steps", 24, "R3")
	a.argument("class", 32, "R5")
	a.argument("st", 40, "R6")
	for _, r := range []string{"R2", "R5", "R6"} {
		a.op("LSL", "$2", r)
	}
	for r := 9; r < 12; r++ {
		a.op("ADD", "R2", x(r-1), x(r))
	}
	a.label("step")
	for r := range 4 {
		a.nextTwo(r, 4+r, x(8+r))
	}
	a.turn([4]int{0, 1, 2, 3}, [4]int{0, 1, 2, 3}, 16)
	a.turn([4]int{4, 5, 6, 7}, [4]int{4, 5, 6, 7}, 20)
	a.op("MOVD", "R0", "R7")
	for lane := range 8 {
		a.store(lane, 0, "R7")
		if lane < 7 {
			a.op("ADD", "R5", "R7")
		}
	}
	a.op("ADD", "R6", "R0")
	a.minus(1, "R3")
	a.op("CBNZ", "R3", "step")
	a.op("RET")
}
