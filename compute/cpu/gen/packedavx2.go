package main

import "fmt"

// Products of packed weights with AVX2. Twins: packedtile.go; packed.go says how
// weights and rows lie.
//
// Codes of 4, 5 and 6 bits are multiplied as unsigned bytes by signed ones, which
// gives sums of two products in 16 bits; and as many of those are added in 16 bits
// as cannot overflow: an activation's byte is −128 at the least. Codes of 8 bits are
// multiplied as 16-bit numbers, of which two products are added in 32 bits.

func init() {
	files["packedtile_avx2_amd64.s"] = func(e *emitter) {
		constantsAVX2(e)
		for _, name := range []string{"Q8", "Q4", "Q41", "Q5", "Q51", "Q6K"} {
			p := formatAVX2(name)
			for _, form := range p.forms() {
				for _, rows := range p.tiles(form) {
					tileAVX2(e, p, form, rows)
				}
			}
		}
	}
	files["packedrow_avx2_amd64.s"] = func(e *emitter) {
		constantsAVX2(e)
		for _, f := range packedFormats {
			p := formatAVX2(f.name)
			openAVX2(e, p)
			for _, form := range p.forms() {
				rowAVX2(e, p, form)
			}
		}
	}
}

// packedAVX2 is a packing as these routines see it.
type packedAVX2 struct {
	packedFormat
	bits int // of a code
}

func formatAVX2(name string) packedAVX2 {
	for _, f := range packedFormats {
		if f.name == name {
			p := packedAVX2{f, 4 + f.planes}
			if f.planes < 0 {
				p.bits = 8
			}
			return p
		}
	}
	panic("no format " + name)
}

// forms are those of rows that meet this format.
func (p packedAVX2) forms() []string {
	switch p.bits {
	case 8:
		return []string{"Pairs"}
	case 6: // 16 bits hold four products of a byte: widening them costs more than words
		return []string{"Bytes", "Pairs"}
	}
	return []string{"Bytes", "Split"}
}

// tiles are how many rows a routine takes at a time: what 16 registers hold.
func (p packedAVX2) tiles(form string) []int {
	if form == "Pairs" || form == "Bytes" && p.bits == 4 {
		return []int{4, 2, 1}
	}
	return []int{2, 1}
}

// Constants of 32 bytes.
const (
	onesAVX2   = "packedOnes<>(SB)"   // words 1
	raiseAVX2  = "packedRaise<>(SB)"  // words 256
	evenAVX2   = "packedEven<>(SB)"   // words 0x00ff
	nibbleAVX2 = "packedNibble<>(SB)" // bytes 0x0f
)

func constantsAVX2(e *emitter) {
	e.raw("\n")
	for _, c := range []struct {
		name  string
		value uint64
	}{
		{"packedOnes", 0x0001000100010001},
		{"packedRaise", 0x0100010001000100},
		{"packedEven", 0x00ff00ff00ff00ff},
		{"packedNibble", 0x0f0f0f0f0f0f0f0f},
	} {
		for i := 0; i < 32; i += 8 {
			e.raw(fmt.Sprintf("DATA %s<>+%d(SB)/8, $0x%016x\n", c.name, i, c.value))
		}
		e.raw(fmt.Sprintf("GLOBL %s<>(SB), RODATA|NOPTR, $32\n", c.name))
	}
}

// clearY sets registers to 0.
func clearY(e *emitter, regs ...int) {
	for _, r := range regs {
		e.op("VPXOR", ymm(r), ymm(r), ymm(r))
	}
}

// aligned sets a register to a place of the frame that is a multiple of 32.
func aligned(e *emitter, reg string) {
	e.op("LEAQ", "31(SP)", reg)
	e.op("ANDQ", "$~31", reg)
}

// sumsAVX2 is the arithmetic of a group for some rows: registers, and where things
// lie. A vector of 16 outputs is two registers.
type sumsAVX2 struct {
	packedAVX2
	form  string
	rows  int
	width int    // bytes of a row's codes
	side  string // register that points to what stands beside the codes
	from  int    // and how far behind it that stands

	code  int // the first register of codes
	part  int // of an activation's code
	tmp   int // of a product
	total int // the first register of 32-bit sums, when they are not in place
}

func newSumsAVX2(p packedAVX2, form string, rows int) sumsAVX2 {
	s := sumsAVX2{packedAVX2: p, form: form, rows: rows, width: 64, code: 8, part: 10, tmp: 11, total: 12}
	switch form {
	case "Bytes":
		s.width = 32
	case "Pairs":
		s.part, s.tmp = 12, 14
	}
	return s
}

// parts is how many numbers an activation's code is.
func (s sumsAVX2) parts() int {
	if s.form == "Split" {
		return 2
	}
	return 1
}

// narrow is the register of sums in 16 bits, or of all sums of pairs; part 0 is that
// of the high bytes when there are two.
func (s sumsAVX2) narrow(row, lane, part int) int { return (row*2+lane)*s.parts() + part }

// flush is after how many quads 16 bits could overflow.
func (s sumsAVX2) flush() int { return map[int]int{4: 8, 5: 4, 6: 2, 8: 99}[s.bits] }

// halves is how many sums of their own a group has.
func (s sumsAVX2) halves() int {
	if s.kind == "Halves" {
		return 2
	}
	return 1
}

// wide is the register of the 32-bit sum.
func (s sumsAVX2) wide(row, lane int) int {
	if s.form == "Pairs" || s.form == "Bytes" && s.flush() == 8 {
		return s.narrow(row, lane, 0)
	}
	return s.total + row*2 + lane
}

// multiply adds the products of a quad, whose codes are in their registers.
func (s sumsAVX2) multiply(e *emitter, quad int) {
	if s.form == "Pairs" {
		for r := range s.rows {
			for odd := range 2 {
				part := s.part + odd
				e.op("VPBROADCASTD", at(r*s.width+8*quad+4*odd, "SI"), ymm(part))
				for lane := range 2 {
					code, sum := s.code+2*lane+odd, s.narrow(r, lane, 0)
					if quad%(8/s.halves())+odd == 0 {
						e.op("VPMADDWD", ymm(part), ymm(code), ymm(sum))
						continue
					}
					tmp := s.tmp + lane
					e.op("VPMADDWD", ymm(part), ymm(code), ymm(tmp))
					e.op("VPADDD", ymm(tmp), ymm(sum), ymm(sum))
				}
			}
		}
		return
	}
	for r := range s.rows {
		for part := range s.parts() {
			e.op("VPBROADCASTD", at(r*s.width+32*part+4*quad, "SI"), ymm(s.part))
			for lane := range 2 {
				sum := s.narrow(r, lane, part)
				if quad%s.flush() == 0 {
					e.op("VPMADDUBSW", ymm(s.part), ymm(s.code+lane), ymm(sum))
					continue
				}
				e.op("VPMADDUBSW", ymm(s.part), ymm(s.code+lane), ymm(s.tmp))
				e.op("VPADDW", ymm(s.tmp), ymm(sum), ymm(sum))
			}
		}
	}
	if (quad+1)%s.flush() == 0 {
		s.widen(e, (quad+1-s.flush())%(8/s.halves()) == 0)
	}
}

// widen adds the 16-bit sums to the 32-bit ones, or begins these.
func (s sumsAVX2) widen(e *emitter, begin bool) {
	for r := range s.rows {
		for lane := range 2 {
			sum, from := s.wide(r, lane), s.narrow(r, lane, 0)
			if s.parts() == 1 {
				if begin {
					e.op("VPMADDWD", onesAVX2, ymm(from), ymm(sum))
					continue
				}
				e.op("VPMADDWD", onesAVX2, ymm(from), ymm(from))
				e.op("VPADDD", ymm(from), ymm(sum), ymm(sum))
				continue
			}
			e.op("VPMADDWD", raiseAVX2, ymm(from), ymm(from))
			e.op("VPMADDWD", onesAVX2, ymm(from+1), ymm(from+1))
			if begin {
				e.op("VPADDD", ymm(from), ymm(from+1), ymm(sum))
				continue
			}
			e.op("VPADDD", ymm(from), ymm(from+1), ymm(from+1))
			e.op("VPADDD", ymm(from+1), ymm(sum), ymm(sum))
		}
	}
}

// end makes the integer sums of a half the products sum·(weight scale·scale), in
// their registers. scale gives the operand of a lane's weight scales; registers 8 to
// 11 are free.
func (s sumsAVX2) end(e *emitter, half int, scale func(lane int) string) {
	for r := range s.rows {
		if s.kind != "Minimum" {
			e.op("VPBROADCASTD", at(s.from+r*16+4+4*half, s.side), "Y8")
			for lane := range 2 {
				e.op("VPADDD", "Y8", ymm(s.wide(r, lane)), ymm(s.wide(r, lane)))
			}
		}
		e.op("VBROADCASTSS", at(s.from+r*16, s.side), "Y9")
		for lane := range 2 {
			sum := ymm(s.wide(r, lane))
			e.op("VMULPS", scale(lane), "Y9", ymm(10+lane))
			e.op("VCVTDQ2PS", sum, sum)
			e.op("VMULPS", ymm(10+lane), sum, sum)
		}
	}
}

// tileAVX2 writes the product of an opened panel with a multiple of so many rows,
// whose sums stand in the frame.
func tileAVX2(e *emitter, p packedAVX2, form string, rows int) {
	s := newSumsAVX2(p, form, rows)
	s.side = "R12"
	opened := 512 + 64
	if p.kind != "Scale" {
		opened += 64
	}
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
	e.op("MOVQ", "R13", "DX")
	e.op("MOVQ", "R9", "AX")
	clearY(e, 0)
	e.label("clear")
	e.op("VMOVUPS", "Y0", "(DX)")
	e.op("VMOVUPS", "Y0", "32(DX)")
	e.op("ADDQ", "$64", "DX")
	e.op("DECQ", "AX")
	e.op("JNZ", "clear")
	e.op("MOVQ", "R9", "R11")
	e.op("IMULQ", fmt.Sprintf("$%d", s.width), "R11")

	e.label("group")
	e.op("LEAQ", "(SI)(R11*1)", "R12")
	e.op("MOVQ", "R13", "DX")
	e.op("MOVQ", "R9", "AX")
	e.label("pass")
	for q := range 8 {
		for lane := range 2 {
			if form == "Pairs" {
				even, odd := s.code+2*lane, s.code+2*lane+1
				e.op("VMOVDQU", at(q*64+32*lane, "BX"), ymm(odd))
				e.op("VPAND", evenAVX2, ymm(odd), ymm(even))
				e.op("VPSRLW", "$8", ymm(odd), ymm(odd))
			} else {
				e.op("VMOVDQU", at(q*64+32*lane, "BX"), ymm(s.code+lane))
			}
		}
		s.multiply(e, q)
		if (q+1)%(8/s.halves()) == 0 {
			half := (q+1)*s.halves()/8 - 1
			s.end(e, half, func(lane int) string { return at(512+64*half+32*lane, "BX") })
			s.addToFrame(e)
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", rows*s.width), "SI")
	e.op("ADDQ", fmt.Sprintf("$%d", rows*16), "R12")
	e.op("ADDQ", fmt.Sprintf("$%d", rows*64), "DX")
	e.op("SUBQ", fmt.Sprintf("$%d", rows), "AX")
	e.op("JNZ", "pass")
	e.op("MOVQ", "R12", "SI")
	e.op("ADDQ", fmt.Sprintf("$%d", opened), "BX")
	e.op("DECQ", "CX")
	e.op("JNZ", "group")

	e.label("store")
	e.op("VMOVUPS", "(R13)", "Y0")
	e.op("VMOVUPS", "32(R13)", "Y1")
	e.op("VMOVUPS", "Y0", "(DI)")
	e.op("VMOVUPS", "Y1", "32(DI)")
	e.op("ADDQ", "$64", "R13")
	e.op("ADDQ", "R8", "DI")
	e.op("DECQ", "R9")
	e.op("JNZ", "store")
	e.op("VZEROUPPER")
	e.op("RET")
}

// addToFrame adds the products of a group or half, and the minima, to the sums of
// their rows.
func (s sumsAVX2) addToFrame(e *emitter) {
	for r := range s.rows {
		if s.kind == "Minimum" {
			e.op("VBROADCASTSS", at(s.from+r*16+4, s.side), "Y8")
		}
		for lane := range 2 {
			sum, place := ymm(s.wide(r, lane)), at(r*64+32*lane, "DX")
			e.op("VADDPS", place, sum, sum)
			if s.kind == "Minimum" {
				e.op("VMULPS", at(576+32*lane, "BX"), "Y8", ymm(10+lane))
				e.op("VADDPS", ymm(10+lane), sum, sum)
			}
			e.op("VMOVUPS", sum, place)
		}
	}
}

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

// openAVX2 writes the expansion of a panel.
func openAVX2(e *emitter, p packedAVX2) {
	opened, scales := 512+64, 1
	if p.kind != "Scale" {
		opened, scales = 512+128, 2
	}
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
		for q := range 8 {
			for lane := range 2 {
				code := (q*2 + lane) % 4
				p.expand(e, q, lane, code, 4+code)
				e.op("VMOVDQU", ymm(code), at(q*64+32*lane, "DI"))
			}
		}
		for second := range scales {
			for lane := range 2 {
				p.scale(e, second, lane, lane)
				e.op("VMOVUPS", ymm(lane), at(512+64*second+32*lane, "DI"))
			}
		}
		e.op("ADDQ", fmt.Sprintf("$%d", opened), "DI")
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
