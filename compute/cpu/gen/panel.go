package main

import "fmt"

// The product of many rows: tiles of rows times outputs whose sums stay in
// registers. Twin: panel.go, which says how the operands lie.

func init() {
	files["panel_avx2_amd64.s"] = func(e *emitter) {
		for v := 1; v <= 3; v++ {
			panel(e, "AVX2", ymm, 4, v, 8)
		}
	}
	files["panel_avx512_amd64.s"] = func(e *emitter) {
		for v := 1; v <= 3; v++ {
			panel(e, "AVX512", zmm, 8, v, 16)
		}
	}
}

// panel writes the kernel for tiles of rows times v vectors of lanes outputs.
// The sums are the first rows·v registers, then come the weights of a step, and
// the last registers take one element of a row after the other.
func panel(e *emitter, level string, reg func(int) string, rows, v, lanes int) {
	registers := 2 * lanes
	weights := rows * v
	spare := min(4, registers-weights-v)
	sum := func(r, i int) string { return reg(r*v + i) }
	name := fmt.Sprintf("panel%d%s", v, level)
	e.text(name, 56, "(c *float32, ldc int, a, b *float32, steps, blocks, add int)")
	e.op("MOVQ", "c+0(FP)", "DI")
	e.op("MOVQ", "ldc+8(FP)", "R8")
	e.op("SHLQ", "$2", "R8")
	e.op("MOVQ", "a+16(FP)", "SI")
	e.op("MOVQ", "blocks+40(FP)", "CX")
	e.op("MOVQ", "add+48(FP)", "R12")

	e.label("block")
	e.op("SUBQ", "$1", "CX")
	e.op("JLT", "done")
	e.op("MOVQ", "b+24(FP)", "BX")
	e.op("MOVQ", "steps+32(FP)", "AX")
	for i := range rows * v {
		zero(e, reg, lanes, i)
	}

	step := func(n int) {
		for at := 0; at < 4*rows*n && n > 1; at += 64 {
			e.op("PREFETCHT0", fmt.Sprintf("%d(SI)", 1024+at))
		}
		for u := range n {
			for i := range v {
				e.op("VMOVUPS", fmt.Sprintf("%d(BX)", 4*lanes*(u*v+i)), reg(weights+i))
			}
			for r := range rows {
				x := reg(registers - 1 - r%spare)
				e.op("VBROADCASTSS", fmt.Sprintf("%d(SI)", 4*(u*rows+r)), x)
				for i := range v {
					e.op("VFMADD231PS", reg(weights+i), x, sum(r, i))
				}
			}
		}
		e.op("ADDQ", fmt.Sprintf("$%d", 4*lanes*v*n), "BX")
		e.op("ADDQ", fmt.Sprintf("$%d", 4*rows*n), "SI")
	}
	e.op("SUBQ", "$4", "AX")
	e.op("JLT", "rest")
	e.label("four")
	step(4)
	e.op("SUBQ", "$4", "AX")
	e.op("JGE", "four")
	e.label("rest")
	e.op("ADDQ", "$4", "AX")
	e.op("JZ", "sums")
	e.label("one")
	step(1)
	e.op("SUBQ", "$1", "AX")
	e.op("JNZ", "one")

	e.label("sums")
	e.op("TESTQ", "R12", "R12")
	e.op("JZ", "store")
	e.op("MOVQ", "DI", "R10")
	for r := range rows {
		for i := range v {
			e.op("VADDPS", fmt.Sprintf("%d(R10)", 4*lanes*i), sum(r, i), sum(r, i))
		}
		if r < rows-1 {
			e.op("ADDQ", "R8", "R10")
		}
	}
	e.label("store")
	for r := range rows {
		for i := range v {
			e.op("VMOVUPS", sum(r, i), fmt.Sprintf("%d(DI)", 4*lanes*i))
		}
		e.op("ADDQ", "R8", "DI")
	}
	e.op("JMP", "block")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// zero clears a register; the short form suffices, and does not tie up a port.
func zero(e *emitter, reg func(int) string, lanes, i int) {
	if lanes == 16 && i >= 16 {
		e.op("VPXORD", reg(i), reg(i), reg(i))
		return
	}
	e.op("VXORPS", xmm(i), xmm(i), xmm(i))
}
