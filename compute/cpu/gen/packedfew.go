package main

import "fmt"

// Products of packed panels with a few rows, with VNNI. The codes of a group are
// expanded to eight registers, and pass over the rows there: what is read from memory
// is read once, while products are made. Twin: unopenedGo.

func init() {
	files["packedfew_avx512_amd64.s"] = func(e *emitter) {
		for _, p := range packedFormats {
			for _, form := range []string{"Bytes", "Split"} {
				for _, rows := range []int{8, 4, 2} {
					packedFew(e, p, form, rows)
				}
			}
		}
	}
}

// Registers of packedFew. Codes are 0 to 7 by quad.
const (
	fewSum   = 8  // and on: the float32 sum of a row
	fewTotal = 16 // and on: integer sums of four rows, of low bytes when there are two
	fewHigh  = 20 // and on: those of high bytes
	fewScale = 24 // and 25: minima, or scales of the second half
	fewTmp   = 26 // and 27
	fewHead  = 28 // and 29: what the groups of a header share
	fewMask  = 30 // 0x10 or 0x30 in every byte
	fewHalf  = 31 // 0x0f in every byte
)

// fewRows is how many rows' integer sums there are registers for.
const fewRows = 4

// packedFew writes the product of a packed panel with so many rows.
func packedFew(e *emitter, p packedFormat, form string, rows int) {
	l := layoutOf(form, p.kind, rows)
	e.text(fmt.Sprintf("packedFew%s%s%dAVX512", p.name, form, rows), 40, "(out *float32, os int, src, tile *byte, groups int)")
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "os+8(FP)", "R8")
	e.op("SHLQ", "$2", "R8")
	e.op("MOVQ", "src+16(FP)", "BX")
	e.op("MOVQ", "tile+24(FP)", "SI")
	e.op("MOVQ", "groups+32(FP)", "CX")
	p.masksTo(e, fewMask, fewHalf)
	for r := range rows {
		clearZ(e, fewSum+r)
	}
	p.groupsOf(e, func() { p.headTo(e, fewHead, fewTmp) }, func() {
		p.prefetch(e)
		p.expandAll(e)
		p.scalesTo(e, fewScale, fewHead)
		for first := 0; first < rows; first += fewRows {
			l.pass(e, first, min(fewRows, rows-first))
		}
		e.op("ADDQ", fmt.Sprintf("$%d", l.step), "SI")
	})
	for r := range rows {
		e.op("VMOVUPS", zmm(fewSum+r), "(DI)")
		if r < rows-1 {
			e.op("ADDQ", "R8", "DI")
		}
	}
	e.op("VZEROUPPER")
	e.op("RET")
}

// expandAll brings the codes of a group at BX, a byte each, into registers 0 to 7.
func (p packedFormat) expandAll(e *emitter) {
	for q := range 8 {
		code := zmm(q)
		switch place := at(q%4*64, "BX"); {
		case p.planes < 0:
			e.op("VMOVDQU32", at(q*64, "BX"), code)
			continue
		case q < 4:
			e.op("VPANDD", place, zmm(fewHalf), code)
		default:
			e.op("VPSRLW", "$4", place, code)
			e.op("VPANDD", zmm(fewHalf), code, code)
		}
		if p.planes == 0 {
			continue
		}
		from, plane := q, 256
		if p.planes == 2 {
			from, plane = q%4*2, 256+q/4*64
		}
		tmp := zmm(fewTmp + q%2)
		switch { // the bits of the plane are moved to bit 4
		case from < 4:
			e.op("VPSLLW", fmt.Sprintf("$%d", 4-from), at(plane, "BX"), tmp)
		case from > 4:
			e.op("VPSRLW", fmt.Sprintf("$%d", from-4), at(plane, "BX"), tmp)
		default:
			e.op("VMOVDQU32", at(plane, "BX"), tmp)
		}
		e.op("VPTERNLOGD", "$0xF8", zmm(fewMask), tmp, code) // code | tmp & mask
	}
}

// pass multiplies the group in registers by rows from the first on.
func (l packedLayout) pass(e *emitter, first, rows int) {
	halves := 1
	if l.kind == "Halves" {
		halves = 2
	}
	for half := range halves {
		for r := range rows {
			if l.kind == "Minimum" {
				clearZ(e, fewTotal+r)
			} else {
				e.op("VPBROADCASTD", at(l.from+(first+r)*16+4+4*half, "SI"), zmm(fewTotal+r))
			}
			if l.split {
				clearZ(e, fewHigh+r)
			}
		}
		for q := half * 8 / halves; q < (half+1)*8/halves; q++ {
			for r := range rows {
				codes := (first+r)*l.width + 4*q
				if l.split {
					e.op("VPDPBUSD.BCST", at(codes, "SI"), zmm(q), zmm(fewHigh+r))
					codes += 32
				}
				e.op("VPDPBUSD.BCST", at(codes, "SI"), zmm(q), zmm(fewTotal+r))
			}
		}
		for r := range rows {
			sum, tmp := zmm(fewTotal+r), zmm(fewTmp+r%2)
			if l.split {
				e.op("VPSLLD", "$8", zmm(fewHigh+r), zmm(fewHigh+r))
				e.op("VPADDD", zmm(fewHigh+r), sum, sum)
			}
			beside := l.from + (first+r)*16
			e.op("VCVTDQ2PS", sum, sum)
			e.op("VMULPS.BCST", at(beside, "SI"), zmm(fewScale+half), tmp)
			e.op("VMULPS", tmp, sum, sum)
			e.op("VADDPS", sum, zmm(fewSum+first+r), zmm(fewSum+first+r))
			if l.kind == "Minimum" {
				e.op("VMULPS.BCST", at(beside+4, "SI"), zmm(fewScale+1), tmp)
				e.op("VADDPS", tmp, zmm(fewSum+first+r), zmm(fewSum+first+r))
			}
		}
	}
}
