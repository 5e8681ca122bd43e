package main

import "fmt"

// tileAVX2 writes the product of an opened panel with a multiple of so many rows,
// whose sums stand in the frame.
func tileAVX2(e *emitter, p packedAVX2, form string, rows int) {
	s := newSumsAVX2(p, form, rows)
	s.side = "R12"
	name := fmt.Sprintf("packedTile%s%s%dAVX2", p.name, form, rows)
	e.raw(fmt.Sprintf("\n// func %s(out *float32, os int, panel, tile *byte, groups, rows int)\nTEXT ·%s(SB), NOSPLIT, $544-48\n", name, name))
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "os+8(FP)", "R8")
	e.op("SHLQ", "$2", "R8")
	e.op("MOVQ", "panel+16(FP)", "BX")
	e.op("MOVQ", "tile+24(FP)", "SI")
	e.op("MOVQ", "groups+32(FP)", "CX")
	e.op("MOVQ", "rows+40(FP)", "R9")
	aligned(e, "R13")
	s.clear(e, "R13")
	e.op("MOVQ", "R9", "R11")
	e.op("IMULQ", fmt.Sprintf("$%d", s.width), "R11")

	e.label("group")
	s.passes(e, "R13")
	e.op("ADDQ", fmt.Sprintf("$%d", p.opened()), "BX")
	e.op("DECQ", "CX")
	e.op("JNZ", "group")
	s.store(e, "R13")
}

// clear sets the sums of R9 rows to zero.
func (s sumsAVX2) clear(e *emitter, sums string) {
	e.op("MOVQ", sums, "R10")
	e.op("MOVQ", "R9", "AX")
	clearY(e, 0)
	e.label("clear")
	e.op("VMOVUPS", "Y0", "(R10)")
	e.op("VMOVUPS", "Y0", "32(R10)")
	e.op("ADDQ", "$64", "R10")
	e.op("DECQ", "AX")
	e.op("JNZ", "clear")
}

// passes multiplies an opened group by R9 rows, so many at a time. SI points to their
// codes, of R11 bytes, and ends behind what stands beside them.
func (s sumsAVX2) passes(e *emitter, sums string) {
	e.op("LEAQ", "(SI)(R11*1)", "R12")
	e.op("MOVQ", sums, "R10")
	e.op("MOVQ", "R9", "AX")
	e.label("pass")
	for q := range 8 {
		for lane := range 2 {
			if s.form == "Pairs" {
				even, odd := s.code+2*lane, s.code+2*lane+1
				e.op("VMOVDQU", at(q*64+32*lane, s.panel), ymm(odd))
				e.op("VPAND", evenAVX2, ymm(odd), ymm(even))
				e.op("VPSRLW", "$8", ymm(odd), ymm(odd))
			} else {
				e.op("VMOVDQU", at(q*64+32*lane, s.panel), ymm(s.code+lane))
			}
		}
		s.multiply(e, q)
		if (q+1)%(8/s.halves()) == 0 {
			half := (q+1)*s.halves()/8 - 1
			s.end(e, half, func(lane int) string { return at(512+64*half+32*lane, s.panel) })
			s.addToSums(e)
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", s.rows*s.width), "SI")
	e.op("ADDQ", fmt.Sprintf("$%d", s.rows*16), "R12")
	e.op("ADDQ", fmt.Sprintf("$%d", s.rows*64), "R10")
	e.op("SUBQ", fmt.Sprintf("$%d", s.rows), "AX")
	e.op("JNZ", "pass")
	e.op("MOVQ", "R12", "SI")
}

// store writes the sums of R9 rows to DI, rows R8 bytes apart, and returns.
func (s sumsAVX2) store(e *emitter, sums string) {
	e.label("store")
	e.op("VMOVUPS", at(0, sums), "Y0")
	e.op("VMOVUPS", at(32, sums), "Y1")
	e.op("VMOVUPS", "Y0", "(DI)")
	e.op("VMOVUPS", "Y1", "32(DI)")
	e.op("ADDQ", "$64", sums)
	e.op("ADDQ", "R8", "DI")
	e.op("DECQ", "R9")
	e.op("JNZ", "store")
	e.op("VZEROUPPER")
	e.op("RET")
}

// addToSums adds the products of a group or half, and the minima, to the sums of their
// rows at R10.
func (s sumsAVX2) addToSums(e *emitter) {
	for r := range s.rows {
		if s.kind == "Minimum" {
			e.op("VBROADCASTSS", at(s.from+r*16+4, s.side), "Y8")
		}
		for lane := range 2 {
			sum, place := ymm(s.wide(r, lane)), at(r*64+32*lane, "R10")
			e.op("VADDPS", place, sum, sum)
			if s.kind == "Minimum" {
				e.op("VMULPS", at(576+32*lane, s.panel), "Y8", ymm(10+lane))
				e.op("VADDPS", ymm(10+lane), sum, sum)
			}
			e.op("VMOVUPS", sum, place)
		}
	}
}

// fewAVX2 writes the product of a packed panel with a multiple of so many rows, group
// by group, so that memory is read while products are made. The scratch has what
// groups share, the sums of 8 rows and an opened group.
func fewAVX2(e *emitter, p packedAVX2, form string, rows int) {
	s := newSumsAVX2(p, form, rows)
	s.side, s.panel = "R12", "DI"
	e.text(fmt.Sprintf("packedFew%s%s%dAVX2", p.name, form, rows), 56, "(out *float32, os int, src, tile *byte, groups, rows int, scratch *byte)")
	e.op("MOVQ", "src+16(FP)", "BX")
	e.op("MOVQ", "tile+24(FP)", "SI")
	e.op("MOVQ", "groups+32(FP)", "CX")
	e.op("MOVQ", "rows+40(FP)", "R9")
	e.op("MOVQ", "scratch+48(FP)", "R13")
	e.op("ADDQ", "$63", "R13")
	e.op("ANDQ", "$~63", "R13")
	e.op("LEAQ", "128(R13)", "R8")
	e.op("LEAQ", "640(R13)", "DI")
	s.clear(e, "R8")
	e.op("MOVQ", "R9", "R11")
	e.op("IMULQ", fmt.Sprintf("$%d", s.width), "R11")
	p.groups(e, func() {
		p.masks(e)
		p.openGroup(e)
		s.passes(e, "R8")
	})
	e.op("LEAQ", "128(R13)", "R10")
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "os+8(FP)", "R8")
	e.op("SHLQ", "$2", "R8")
	s.store(e, "R10")
}
