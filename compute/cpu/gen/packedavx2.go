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
	files["packedfew_avx2_amd64.s"] = func(e *emitter) {
		constantsAVX2(e)
		for _, f := range packedFormats {
			p := formatAVX2(f.name)
			for _, form := range p.forms() {
				for _, rows := range p.tiles(form) {
					if rows > 1 {
						fewAVX2(e, p, form, rows)
					}
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
	panel string // register that points to an opened group, in tiles

	code  int // the first register of codes
	part  int // of an activation's code
	tmp   int // of a product
	total int // the first register of 32-bit sums, when they are not in place
}

func newSumsAVX2(p packedAVX2, form string, rows int) sumsAVX2 {
	s := sumsAVX2{packedAVX2: p, form: form, rows: rows, width: 64, panel: "BX", code: 8, part: 10, tmp: 11, total: 12}
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
