package main

import "fmt"

// Loops that only read, or only multiply and add, in order to measure what the
// machine can do. None has a result.

func init() {
	files["roofline_amd64.s"] = func(e *emitter) {
		read(e, "readAVX2", "VMOVDQU", ymm, 32)
		read(e, "readAVX512", "VMOVDQU64", zmm, 64)
		madds(e, "maddsAVX2", "VXORPS", ymm)
		madds(e, "maddsAVX512", "VPXORQ", zmm)
		wordsAVX2(e)
		dots(e, "wordsAVX512", "VPDPWSSD")
		bytesAVX2(e)
		dots(e, "bytesAVX512", "VPDPBUSD")
	}
}

// read loads 512 bytes a round, and asks for those of four rounds on.
func read(e *emitter, name, move string, reg func(int) string, width int) {
	const step, ahead, line = 512, 2048, 64
	e.text(name, 16, "(p *byte, n int)")
	e.op("MOVQ", "p+0(FP)", "SI")
	e.op("MOVQ", "n+8(FP)", "CX")
	e.label("next")
	for at := 0; at < step; at += line {
		e.op("PREFETCHT0", fmt.Sprintf("%d(SI)", ahead+at))
	}
	for i := range step / width {
		e.op(move, fmt.Sprintf("%d(SI)", i*width), reg(i%8))
	}
	e.op("ADDQ", fmt.Sprintf("$%d", step), "SI")
	e.op("SUBQ", fmt.Sprintf("$%d", step), "CX")
	e.op("JNZ", "next")
	e.op("VZEROUPPER")
	e.op("RET")
}

// rounds is a loop over n, over registers that begin at zero.
func rounds(e *emitter, name, clear string, reg func(int) string, registers int, body func()) {
	e.text(name, 8, "(n int)")
	e.op("MOVQ", "n+0(FP)", "CX")
	for i := range registers {
		e.op(clear, reg(i), reg(i), reg(i))
	}
	e.label("next")
	body()
	e.op("DECQ", "CX")
	e.op("JNZ", "next")
	e.op("VZEROUPPER")
	e.op("RET")
}

// sums are as many as hide the latency of an addition.
const sums = 12

// madds are fused multiply-adds of float32.
func madds(e *emitter, name, clear string, reg func(int) string) {
	rounds(e, name, clear, reg, sums+2, func() {
		for i := range sums {
			e.op("VFMADD231PS", reg(sums), reg(sums+1), reg(i))
		}
	})
}

// dots are products of short integers that one instruction sums in int32.
func dots(e *emitter, name, op string) {
	rounds(e, name, "VPXORQ", zmm, sums+2, func() {
		for i := range sums {
			e.op(op, zmm(sums), zmm(sums+1), zmm(i))
		}
	})
}

// wordsAVX2 multiplies int16 and sums pairs, then adds.
func wordsAVX2(e *emitter) {
	rounds(e, "wordsAVX2", "VPXOR", ymm, 14, func() {
		for i := range 6 {
			e.op("VPMADDWD", ymm(12), ymm(13), ymm(6+i))
			e.op("VPADDD", ymm(6+i), ymm(i), ymm(i))
		}
	})
}

// bytesAVX2 multiplies bytes and sums pairs, then pairs of those, then adds.
func bytesAVX2(e *emitter) {
	rounds(e, "bytesAVX2", "VPXOR", ymm, 15, func() {
		for i := range 6 {
			e.op("VPMADDUBSW", ymm(12), ymm(13), ymm(6+i))
			e.op("VPMADDWD", ymm(14), ymm(6+i), ymm(6+i))
			e.op("VPADDD", ymm(6+i), ymm(i), ymm(i))
		}
	})
}
