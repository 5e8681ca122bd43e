package main

import "fmt"

// Registers of openAVX2 and rowAVX2 beyond those of the sums.
const (
	rowMaskAVX2 = 14 // 0x10 or 0x30 in every byte
	rowHalfAVX2 = 15 // 0x0f in every byte
)

// masks sets the constants of expand.
func (p packedAVX2) masks(e *emitter) {
	if p.bits == 8 {
		return
	}
	e.op("VMOVDQU", nibbleAVX2, ymm(rowHalfAVX2))
	if p.planes > 0 {
		e.op("MOVL", fmt.Sprintf("$0x%08x", 0x10101010*(2*p.planes-1)), "AX")
		e.op("VMOVD", "AX", xmm(rowMaskAVX2))
		e.op("VPBROADCASTD", xmm(rowMaskAVX2), ymm(rowMaskAVX2))
	}
}

// expand brings the codes of half a vector, a byte each, into a register.
func (p packedAVX2) expand(e *emitter, quad, lane, code, tmp int) {
	switch place := at(quad%4*64+32*lane, "BX"); {
	case p.bits == 8:
		e.op("VMOVDQU", at(quad*64+32*lane, "BX"), ymm(code))
		return
	case quad < 4:
		e.op("VPAND", place, ymm(rowHalfAVX2), ymm(code))
	default:
		e.op("VMOVDQU", place, ymm(code))
		e.op("VPSRLW", "$4", ymm(code), ymm(code))
		e.op("VPAND", ymm(rowHalfAVX2), ymm(code), ymm(code))
	}
	if p.planes == 0 {
		return
	}
	from, plane := quad, 256
	if p.planes == 2 {
		from, plane = quad%4*2, 256+quad/4*64
	}
	plane += 32 * lane
	if from == 4 {
		e.op("VPAND", at(plane, "BX"), ymm(rowMaskAVX2), ymm(tmp))
	} else {
		e.op("VMOVDQU", at(plane, "BX"), ymm(tmp))
		if from < 4 {
			e.op("VPSLLW", fmt.Sprintf("$%d", 4-from), ymm(tmp), ymm(tmp))
		} else {
			e.op("VPSRLW", fmt.Sprintf("$%d", from-4), ymm(tmp), ymm(tmp))
		}
		e.op("VPAND", ymm(rowMaskAVX2), ymm(tmp), ymm(tmp))
	}
	e.op("VPOR", ymm(tmp), ymm(code), ymm(code))
}

// frame is the size of the frame where head puts what groups share.
func (p packedAVX2) frame() int {
	if p.header == 0 {
		return 0
	}
	return 160
}

// head reads what groups share: d to the frame at R13, −dmin behind it.
func (p packedAVX2) head(e *emitter) {
	for lane := range 2 {
		e.op("VCVTPH2PS", at(16*lane, "BX"), ymm(8+lane))
		e.op("VMOVUPS", ymm(8+lane), at(32*lane, "R13"))
	}
	if p.kind == "Minimum" {
		e.op("VPCMPEQD", "Y10", "Y10", "Y10")
		e.op("VPSLLD", "$31", "Y10", "Y10")
		for lane := range 2 {
			e.op("VCVTPH2PS", at(32+16*lane, "BX"), ymm(8+lane))
			e.op("VPXOR", "Y10", ymm(8+lane), ymm(8+lane))
			e.op("VMOVUPS", ymm(8+lane), at(64+32*lane, "R13"))
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", p.header), "BX")
}

// scale reads half of the scales of a group, or of its minima or second scales.
func (p packedAVX2) scale(e *emitter, second, lane, reg int) {
	if p.header == 0 {
		e.op("VCVTPH2PS", at(p.codes+32*second+16*lane, "BX"), ymm(reg))
		return
	}
	widen, shared := "VPMOVZXBD", 64*second
	if p.kind == "Halves" {
		widen, shared = "VPMOVSXBD", 0
	}
	e.op(widen, at(p.codes+16*second+8*lane, "BX"), ymm(reg))
	e.op("VCVTDQ2PS", ymm(reg), ymm(reg))
	e.op("VMULPS", at(shared+32*lane, "R13"), ymm(reg), ymm(reg))
}

// groups writes the loop over the groups of a panel; CX counts them.
func (p packedAVX2) groups(e *emitter, body func()) {
	if p.header > 0 {
		e.label("super")
		p.head(e)
		e.op("MOVQ", "$8", "DX")
	}
	e.label("group")
	p.prefetch(e)
	body()
	e.op("ADDQ", fmt.Sprintf("$%d", p.group), "BX")
	if p.header == 0 {
		e.op("DECQ", "CX")
		e.op("JNZ", "group")
		return
	}
	e.op("DECQ", "DX")
	e.op("JNZ", "group")
	e.op("SUBQ", "$8", "CX")
	e.op("JNZ", "super")
}

// opened is the size of an opened group.
func (p packedAVX2) opened() int {
	if p.kind == "Scale" {
		return 512 + 64
	}
	return 512 + 128
}

// openGroup expands a group at BX to DI.
func (p packedAVX2) openGroup(e *emitter) {
	for q := range 8 {
		for lane := range 2 {
			code := (q*2 + lane) % 4
			p.expand(e, q, lane, code, 4+code)
			e.op("VMOVDQU", ymm(code), at(q*64+32*lane, "DI"))
		}
	}
	for i := range (p.opened() - 512) / 32 {
		p.scale(e, i/2, i%2, i%2)
		e.op("VMOVUPS", ymm(i%2), at(512+32*i, "DI"))
	}
}

// openAVX2 writes the expansion of a panel.
func openAVX2(e *emitter, p packedAVX2) {
	name := fmt.Sprintf("packedOpen%sAVX2", p.name)
	e.raw(fmt.Sprintf("\n// func %s(dst, src *byte, groups int)\nTEXT ·%s(SB), NOSPLIT, $%d-24\n", name, name, p.frame()))
	e.op("MOVQ", "dst+0(FP)", "DI")
	e.op("MOVQ", "src+8(FP)", "BX")
	e.op("MOVQ", "groups+16(FP)", "CX")
	if p.header > 0 {
		aligned(e, "R13")
	}
	p.masks(e)
	p.groups(e, func() {
		p.openGroup(e)
		e.op("ADDQ", fmt.Sprintf("$%d", p.opened()), "DI")
	})
	e.op("VZEROUPPER")
	e.op("RET")
}

// rowAVX2 writes the product of packed panels with one row, whose float32 sums are
// registers 6 and 7.
func rowAVX2(e *emitter, p packedAVX2, form string) {
	s := newSumsAVX2(p, form, 1)
	s.side, s.from, s.total = "SI", s.width, 4
	if form == "Pairs" {
		s.part, s.tmp = 12, 2
	}
	name := fmt.Sprintf("packedRow%s%sAVX2", p.name, form)
	e.raw(fmt.Sprintf("\n// func %s(out *float32, src, tile *byte, groups, panels int)\nTEXT ·%s(SB), NOSPLIT, $%d-40\n", name, name, p.frame()))
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "src+8(FP)", "BX")
	e.op("MOVQ", "panels+32(FP)", "R9")
	if p.header > 0 {
		aligned(e, "R13")
	}
	p.masks(e)
	e.label("panel")
	e.op("MOVQ", "tile+16(FP)", "SI")
	e.op("MOVQ", "groups+24(FP)", "CX")
	clearY(e, 6, 7)
	p.groups(e, func() {
		for q := range 8 {
			for lane := range 2 {
				if form != "Pairs" {
					p.expand(e, q, lane, s.code+lane, s.tmp)
					continue
				}
				even, odd := s.code+2*lane, s.code+2*lane+1
				p.expand(e, q, lane, odd, s.tmp)
				e.op("VPAND", evenAVX2, ymm(odd), ymm(even))
				e.op("VPSRLW", "$8", ymm(odd), ymm(odd))
			}
			s.multiply(e, q)
			if (q+1)%(8/s.halves()) != 0 {
				continue
			}
			half := (q+1)*s.halves()/8 - 1
			s.end(e, half, func(lane int) string {
				p.scale(e, half, lane, 12+lane)
				return ymm(12 + lane)
			})
			for lane := range 2 {
				e.op("VADDPS", ymm(s.wide(0, lane)), ymm(6+lane), ymm(6+lane))
			}
		}
		if p.kind == "Minimum" {
			e.op("VBROADCASTSS", at(s.from+4, s.side), "Y8")
			for lane := range 2 {
				p.scale(e, 1, lane, 12+lane)
				e.op("VMULPS", ymm(12+lane), "Y8", ymm(10+lane))
				e.op("VADDPS", ymm(10+lane), ymm(6+lane), ymm(6+lane))
			}
		}
		e.op("ADDQ", fmt.Sprintf("$%d", s.width+16), "SI")
	})
	e.op("VMOVUPS", "Y6", "(DI)")
	e.op("VMOVUPS", "Y7", "32(DI)")
	e.op("ADDQ", "$64", "DI")
	e.op("DECQ", "R9")
	e.op("JNZ", "panel")
	e.op("VZEROUPPER")
	e.op("RET")
}
