package main

import "fmt"

// The product of one to four rows with weights that are read where they lie.
// Twin: stream.go; the order of summation: panel.go.

// streamed is a format whose weights are expanded in registers.
type streamed struct {
	name  string
	width int // bytes of an element; 0: a block of 32 has size bytes
	size  int

	// consts loads what stays in registers; load leaves a step's weights in w.
	consts func(s *stream)
	load   func(s *stream, mem func(off int) string, w int)

	// block loads the scale of a block; weights leaves those of its step n in w.
	block   func(s *stream, mem func(off int) string)
	weights func(s *stream, mem func(off int) string, n, w int)
}

// stream is one routine on its way.
type stream struct {
	*emitter
	streamed
	reg        func(int) string
	lanes      int
	rows       int
	w, t0      int // registers for weights, and four that are free after the sums
	x          int // registers of the rows' elements
	scale, low int // of a block
	c0, c1     int // constants
}

func init() {
	formats := []streamed{
		{name: "F32", width: 4, load: func(s *stream, mem func(int) string, w int) {
			s.op("VMOVUPS", mem(0), s.reg(w))
		}},
		{name: "F16", width: 2, load: func(s *stream, mem func(int) string, w int) {
			s.op("VCVTPH2PS", mem(0), s.reg(w))
		}},
		{name: "BF16", width: 2, load: func(s *stream, mem func(int) string, w int) {
			s.op("VPMOVZXWD", mem(0), s.reg(w))
			s.op("VPSLLD", "$16", s.reg(w), s.reg(w))
		}},
		{name: "Q8", size: 34, block: loadScale, weights: weightsQ8},
		{name: "Q40", size: 18, consts: constsQ40, block: blockQ40, weights: weightsQ4},
		{name: "Q41", size: 20, consts: constsQ41, block: blockQ41, weights: weightsQ4},
	}
	files["stream_avx2_amd64.s"] = func(e *emitter) {
		e.raw(streamConsts)
		for _, f := range formats {
			for rows := 1; rows <= 3; rows++ {
				s := &stream{emitter: e, streamed: f, reg: ymm, lanes: 8, rows: rows, w: 15, t0: 12, x: 12, scale: 12, low: 13, c0: 14, c1: 13}
				s.emit("AVX2")
			}
		}
	}
	files["stream_avx512_amd64.s"] = func(e *emitter) {
		for _, f := range formats {
			for _, rows := range []int{1, 2, 3, 4, 6, 8} {
				s := &stream{emitter: e, streamed: f, reg: zmm, lanes: 16, rows: rows, w: 24, t0: 24, x: 16, scale: 28, low: 29, c0: 30, c1: 31}
				s.emit("AVX512")
			}
		}
	}
}

// streamConsts are shared by both levels. The bytes of streamTail from 16 − 2r on
// move the last r of eight halves to the front and clear the rest.
const streamConsts = `
DATA ·streamTail+0(SB)/8, $0x0706050403020100
DATA ·streamTail+8(SB)/8, $0x0f0e0d0c0b0a0908
DATA ·streamTail+16(SB)/8, $0x8080808080808080
DATA ·streamTail+24(SB)/8, $0x8080808080808080
GLOBL ·streamTail(SB), RODATA|NOPTR, $32

DATA ·streamNibbles+0(SB)/4, $15
DATA ·streamNibbles+4(SB)/4, $8
GLOBL ·streamNibbles(SB), RODATA|NOPTR, $8

DATA ·streamCodes+0(SB)/4, $0x00000000
DATA ·streamCodes+4(SB)/4, $0x3f800000
DATA ·streamCodes+8(SB)/4, $0x40000000
DATA ·streamCodes+12(SB)/4, $0x40400000
DATA ·streamCodes+16(SB)/4, $0x40800000
DATA ·streamCodes+20(SB)/4, $0x40a00000
DATA ·streamCodes+24(SB)/4, $0x40c00000
DATA ·streamCodes+28(SB)/4, $0x40e00000
DATA ·streamCodes+32(SB)/4, $0x41000000
DATA ·streamCodes+36(SB)/4, $0x41100000
DATA ·streamCodes+40(SB)/4, $0x41200000
DATA ·streamCodes+44(SB)/4, $0x41300000
DATA ·streamCodes+48(SB)/4, $0x41400000
DATA ·streamCodes+52(SB)/4, $0x41500000
DATA ·streamCodes+56(SB)/4, $0x41600000
DATA ·streamCodes+60(SB)/4, $0x41700000
GLOBL ·streamCodes(SB), RODATA|NOPTR, $64

DATA ·streamEight+0(SB)/4, $0x41000000
GLOBL ·streamEight(SB), RODATA|NOPTR, $4
`

func (s *stream) emit(level string) {
	e := s.emitter
	group := 4
	switch {
	case s.rows == 1:
		group = 8
	case s.rows > 4:
		group = 2
	}
	e.text(fmt.Sprintf("stream%sx%d%s", s.name, s.rows, level), 112,
		"(out []float32, os int, x []float32, xs int, w []byte, ws, n, k int)")
	e.op("MOVQ", "out_base+0(FP)", "DI")
	e.op("MOVQ", "os+24(FP)", "R8")
	e.op("SHLQ", "$2", "R8")
	e.op("MOVQ", "xs+56(FP)", "R9")
	e.op("SHLQ", "$2", "R9")
	e.op("MOVQ", "w_base+64(FP)", "BX")
	e.op("MOVQ", "ws+88(FP)", "R11")
	e.op("MOVQ", "n+96(FP)", "CX")
	e.op("SUBQ", fmt.Sprintf("$%d", group), "CX")
	e.op("JLT", "singles")
	s.outputs("", group)
	e.op("SUBQ", fmt.Sprintf("$%d", group), "CX")
	e.op("JGE", "group")
	e.label("singles")
	e.op("ADDQ", fmt.Sprintf("$%d", group-1), "CX")
	e.op("JLT", "done")
	s.outputs("single", 1)
	e.op("SUBQ", "$1", "CX")
	e.op("JGE", "singlegroup")
	e.label("done")
	e.op("VZEROUPPER")
	e.op("RET")
}

// outputs writes the products of all rows with n outputs. Labels begin with l.
func (s *stream) outputs(l string, n int) {
	e := s.emitter
	unit := 2 * s.lanes
	if s.width == 0 {
		unit = 32
	}
	e.label(l + "group")
	e.op("VXORPS", "X0", "X0", "X0")
	s.eachOut(func(r int, out string) {
		switch n {
		case 8:
			e.op("VMOVUPS", "Y0", out)
		case 4:
			e.op("VMOVUPS", "X0", out)
		case 2:
			e.op("VMOVSD", "X0", out)
		case 1:
			e.op("VMOVSS", "X0", out)
		}
	})
	e.op("MOVQ", "x_base+32(FP)", "SI")
	if s.rows > 3 {
		e.op("LEAQ", "(SI)(R9*2)", "DX")
		e.op("ADDQ", "R9", "DX")
	}
	if s.rows > 6 {
		e.op("LEAQ", "(DX)(R9*2)", "R10")
		e.op("ADDQ", "R9", "R10")
	}
	e.op("MOVQ", "BX", "R13")
	if n >= 4 {
		e.op("LEAQ", "(BX)(R11*2)", "R12")
		e.op("ADDQ", "R11", "R12")
	}
	if n == 8 {
		e.op("LEAQ", "(R12)(R11*2)", "R10")
		e.op("ADDQ", "R11", "R10")
	}
	e.op("MOVQ", "k+104(FP)", "R14")

	e.label(l + "run")
	e.op("MOVQ", fmt.Sprintf("$%d", runLength), "AX")
	e.op("CMPQ", "R14", "AX")
	e.op("CMOVQLT", "R14", "AX")
	e.op("SUBQ", "AX", "R14")
	for i := range s.rows * n {
		zero(e, s.reg, s.lanes, i)
	}
	if s.consts != nil {
		s.consts(s)
	}
	e.op("SUBQ", fmt.Sprintf("$%d", unit), "AX")
	e.op("JLT", l+"rest")
	e.label(l + "next")
	if s.width == 0 {
		s.ahead(l, n, s.size)
		s.blockStep(n)
	} else {
		s.ahead(l, n, unit*s.width)
		s.step(n, 0)
		s.step(n, 1)
	}
	s.advance(n, unit)
	e.op("SUBQ", fmt.Sprintf("$%d", unit), "AX")
	e.op("JGE", l+"next")
	e.label(l + "rest")
	if s.width != 0 {
		e.op("ADDQ", fmt.Sprintf("$%d", unit-s.lanes), "AX")
		e.op("JLT", l+"tail")
		s.step(n, 0)
		s.advance(n, s.lanes)
		e.op("SUBQ", fmt.Sprintf("$%d", s.lanes), "AX")
		e.label(l + "tail")
		e.op("ADDQ", fmt.Sprintf("$%d", s.lanes), "AX")
		e.op("JZ", l+"sums")
		if s.lanes == 16 {
			s.tail512(n)
		} else {
			s.tail256(n)
		}
		e.label(l + "sums")
	}
	s.sums(n)
	e.op("TESTQ", "R14", "R14")
	e.op("JNZ", l+"run")
	e.op("ADDQ", fmt.Sprintf("$%d", 4*n), "DI")
	if n == 1 {
		e.op("ADDQ", "R11", "BX")
	} else {
		e.op("LEAQ", fmt.Sprintf("(BX)(R11*%d)", n), "BX")
	}
}

// eachOut calls f with the place of each row's results; AX is overwritten.
func (s *stream) eachOut(f func(r int, out string)) {
	base := "DI"
	for r := range s.rows {
		if r > 0 && r%3 == 0 {
			s.op("LEAQ", fmt.Sprintf("(%s)(R8*2)", base), "AX")
			s.op("ADDQ", "R8", "AX")
			base = "AX"
		}
		f(r, operand(0, base, "R8", r%3))
	}
}

// operand is one in memory: off bytes and some times a distance from a base on.
func operand(off int, base, distance string, times int) string {
	a := fmt.Sprintf("(%s)", base)
	if off != 0 {
		a = fmt.Sprintf("%d(%s)", off, base)
	}
	if times > 0 {
		a += fmt.Sprintf("(%s*%d)", distance, times)
	}
	return a
}

// row is the place of a row's elements, off bytes on.
func (s *stream) row(r, off int) string {
	return operand(off, [3]string{"SI", "DX", "R10"}[r/3], "R9", r%3)
}

// weight is the place of an output's weights, off bytes on.
func (s *stream) weight(c, off int) string {
	return operand(off, [3]string{"R13", "R12", "R10"}[c/3], "R11", c%3)
}

func (s *stream) sum(r, c, n int) string { return s.reg(r*n + c) }

// ahead asks for the weights that are due some way on: in the same rows or, near
// their end, where the next outputs' begin. R15 is that way.
func (s *stream) ahead(l string, n, size int) {
	const way = 1024
	elements := way * 32 / max(s.size, 32*s.width)
	s.op("LEAQ", "(AX)(R14*1)", "R15")
	s.op("CMPQ", "R15", fmt.Sprintf("$%d", elements))
	s.op("MOVQ", fmt.Sprintf("$%d", way), "R15")
	s.op("JGE", l+"ahead")
	switch n {
	case 1:
	case 2:
		s.op("ADDQ", "R11", "R15")
	default:
		s.op("LEAQ", fmt.Sprintf("(R15)(R11*%d)", n), "R15")
		s.op("SUBQ", "R11", "R15")
	}
	s.label(l + "ahead")
	for c := range n {
		if c%3 == 0 {
			if c > 0 {
				s.op("SUBQ", [3]string{"R13", "R12", "R10"}[c/3-1], "R15")
			}
			s.op("ADDQ", [3]string{"R13", "R12", "R10"}[c/3], "R15")
		}
		for off := 0; off < size; off += 64 {
			s.op("PREFETCHT0", operand(off, "R15", "R11", c%3))
		}
	}
}

// step adds step u of the elements ahead.
func (s *stream) step(n, u int) {
	for r := range s.rows {
		s.op("VMOVUPS", s.row(r, 4*s.lanes*u), s.reg(s.x+r))
	}
	for c := range n {
		off := u * s.lanes * s.width
		mem := func(o int) string { return s.weight(c, off+o) }
		if s.rows == 1 && s.name == "F32" {
			s.op("VFMADD231PS", mem(0), s.reg(s.x), s.sum(0, c, n))
			continue
		}
		w := s.w
		if s.lanes == 16 {
			w += c % 4
		}
		s.load(s, mem, w)
		for r := range s.rows {
			s.op("VFMADD231PS", s.reg(w), s.reg(s.x+r), s.sum(r, c, n))
		}
	}
}

// blockStep adds a block of 32 elements, with the rows' as operands in memory.
func (s *stream) blockStep(n int) {
	for c := range n {
		mem := func(o int) string { return s.weight(c, o) }
		s.block(s, mem)
		for u := range 32 / s.lanes {
			s.weights(s, mem, u, s.w)
			for r := range s.rows {
				s.op("VFMADD231PS", s.row(r, 4*s.lanes*u), s.reg(s.w), s.sum(r, c, n))
			}
		}
	}
}

// advance moves all places on by so many elements.
func (s *stream) advance(n, elements int) {
	size := elements * s.width
	if s.width == 0 {
		size = s.size
	}
	s.op("ADDQ", fmt.Sprintf("$%d", 4*elements), "SI")
	if s.rows > 3 {
		s.op("ADDQ", fmt.Sprintf("$%d", 4*elements), "DX")
	}
	if s.rows > 6 {
		s.op("ADDQ", fmt.Sprintf("$%d", 4*elements), "R10")
	}
	for _, p := range []string{"R13", "R12", "R10"}[:(n+2)/3] {
		s.op("ADDQ", fmt.Sprintf("$%d", size), p)
	}
}

// tail512 adds the AX elements that are left, masked.
func (s *stream) tail512(n int) {
	s.op("MOVQ", "$-1", "R15")
	s.op("SHLXQ", "AX", "R15", "R15")
	s.op("NOTQ", "R15")
	s.op("KMOVW", "R15", "K1")
	for r := range s.rows {
		s.op("VMOVUPS.Z", s.row(r, 0), "K1", s.reg(s.x+r))
	}
	for c := range n {
		w, mem := s.w+c%4, s.weight(c, 0)
		if s.width == 4 {
			s.op("VMOVUPS.Z", mem, "K1", s.reg(w))
		} else {
			s.op("VMOVDQU16.Z", mem, "K1", ymm(w))
			s.load(s, func(int) string { return ymm(w) }, w)
		}
		for r := range s.rows {
			s.op("VFMADD231PS", s.reg(w), s.reg(s.x+r), s.sum(r, c, n))
		}
	}
}

// tail256 does so with masks in memory. Halves are read with those before them,
// which the run has: a product of less than eight elements has no stream of its
// own.
func (s *stream) tail256(n int) {
	w := s.reg(s.w)
	s.op("LEAQ", "·laneMask+32(SB)", "R15")
	s.op("SHLQ", "$2", "AX")
	s.op("SUBQ", "AX", "R15")
	s.op("VMOVUPS", "(R15)", w)
	for r := range s.rows {
		s.op("VMASKMOVPS", s.row(r, 0), w, s.reg(s.x+r))
	}
	if s.width == 2 {
		s.op("SHRQ", "$1", "AX")
		s.op("LEAQ", "·streamTail+16(SB)", "R15")
		s.op("SUBQ", "AX", "R15")
		for _, p := range []string{"R13", "R12", "R10"}[:(n+2)/3] {
			s.op("ADDQ", "AX", p)
		}
	}
	for c := range n {
		if s.width == 4 {
			s.op("VMOVUPS", "(R15)", w)
			s.op("VMASKMOVPS", s.weight(c, 0), w, w)
		} else {
			s.op("VMOVDQU", s.weight(c, -16), xmm(s.w))
			s.op("VPSHUFB", "(R15)", xmm(s.w), xmm(s.w))
			s.load(s, func(int) string { return xmm(s.w) }, s.w)
		}
		for r := range s.rows {
			s.op("VFMADD231PS", w, s.reg(s.x+r), s.sum(r, c, n))
		}
	}
}

// sums adds the lanes of every sum to its result, one after the other.
func (s *stream) sums(n int) {
	e := s.emitter
	t, even := s.t0, ""
	extract := func(q int, from, to int) {
		if s.lanes == 16 {
			e.op("VEXTRACTF32X4", fmt.Sprintf("$%d", q), zmm(from), xmm(to))
		} else {
			e.op("VEXTRACTF128", fmt.Sprintf("$%d", q), ymm(from), xmm(to))
		}
	}
	s.eachOut(func(r int, out string) {
		if n == 1 {
			e.op("VMOVSS", out, xmm(t))
			for q := range s.lanes / 4 {
				from := r
				if q > 0 {
					from = t + 1
					extract(q, r, from)
				}
				for j := range 4 {
					e.op("VADDSS", xmm(from), xmm(t), xmm(t))
					if j < 3 {
						e.op("VPERMILPS", "$0x39", xmm(from), xmm(t+1))
						from = t + 1
					}
				}
			}
			e.op("VMOVSS", xmm(t), out)
			return
		}
		if n == 2 && r%2 == 0 { // two rows have their results together
			even = out
			return
		}
		for g := 0; g < n; g += 4 {
			at := out
			if g > 0 {
				at = fmt.Sprintf("%d%s", 4*g, out)
			}
			a := (r*n + g) &^ 3
			e.op("VUNPCKLPS", s.reg(a+1), s.reg(a), s.reg(t))
			e.op("VUNPCKHPS", s.reg(a+1), s.reg(a), s.reg(t+1))
			e.op("VUNPCKLPS", s.reg(a+3), s.reg(a+2), s.reg(t+2))
			e.op("VUNPCKHPS", s.reg(a+3), s.reg(a+2), s.reg(t+3))
			e.op("VUNPCKLPD", s.reg(t+2), s.reg(t), s.reg(a))
			e.op("VUNPCKHPD", s.reg(t+2), s.reg(t), s.reg(a+1))
			e.op("VUNPCKLPD", s.reg(t+3), s.reg(t+1), s.reg(a+2))
			e.op("VUNPCKHPD", s.reg(t+3), s.reg(t+1), s.reg(a+3))
			if n == 2 {
				e.op("VMOVSD", even, xmm(t))
				e.op("VMOVHPS", out, xmm(t), xmm(t))
			} else {
				e.op("VMOVUPS", at, xmm(t))
			}
			for q := range s.lanes / 4 {
				for j := range 4 {
					from := a + j
					if q > 0 {
						from = t + 1 + j%3
						extract(q, a+j, from)
					}
					e.op("VADDPS", xmm(from), xmm(t), xmm(t))
				}
			}
			if n == 2 {
				e.op("VMOVSD", xmm(t), even)
				e.op("VMOVHPS", xmm(t), out)
			} else {
				e.op("VMOVUPS", xmm(t), at)
			}
		}
	})
}

// half leaves the number of float16 at mem in every lane of a register.
func half(s *stream, mem string, to int) {
	if s.lanes == 16 {
		s.op("VPBROADCASTW", mem, ymm(to))
		s.op("VCVTPH2PS", ymm(to), zmm(to))
		return
	}
	s.op("VPBROADCASTW", mem, xmm(to))
	s.op("VCVTPH2PS", xmm(to), ymm(to))
}

func loadScale(s *stream, mem func(int) string) { half(s, mem(0), s.scale) }

func weightsQ8(s *stream, mem func(int) string, n, w int) {
	s.op("VPMOVSXBD", mem(2+s.lanes*n), s.reg(w))
	s.op("VCVTDQ2PS", s.reg(w), s.reg(w))
	s.op("VMULPS", s.reg(s.scale), s.reg(w), s.reg(w))
}

// With sixteen lanes a block's sixteen values stand in c1, and codes choose among
// them; with eight, codes are made numbers one by one.

func constsQ40(s *stream) {
	if s.lanes == 16 {
		s.op("VMOVUPS", "·streamCodes(SB)", zmm(s.c0))
		s.op("VBROADCASTSS", "·streamEight(SB)", zmm(s.low))
		s.op("VSUBPS", zmm(s.low), zmm(s.c0), zmm(s.c0))
		return
	}
	s.op("VPBROADCASTD", "·streamNibbles+0(SB)", ymm(s.c0))
	s.op("VPBROADCASTD", "·streamNibbles+4(SB)", ymm(s.c1))
}

func blockQ40(s *stream, mem func(int) string) {
	half(s, mem(0), s.scale)
	if s.lanes == 16 {
		s.op("VMULPS", zmm(s.scale), zmm(s.c0), zmm(s.c1))
	}
}

func constsQ41(s *stream) {
	if s.lanes == 16 {
		s.op("VMOVUPS", "·streamCodes(SB)", zmm(s.c0))
		return
	}
	s.op("VPBROADCASTD", "·streamNibbles+0(SB)", ymm(s.c0))
}

func blockQ41(s *stream, mem func(int) string) {
	half(s, mem(0), s.scale)
	half(s, mem(2), s.low)
	if s.lanes == 16 {
		s.op("VMULPS", zmm(s.scale), zmm(s.c0), zmm(s.c1))
		s.op("VADDPS", zmm(s.low), zmm(s.c1), zmm(s.c1))
	}
}

// weightsQ4: the low halves of the 16 bytes come before the high ones.
func weightsQ4(s *stream, mem func(int) string, n, w int) {
	at := s.size - 16
	if s.lanes == 16 {
		s.op("VPMOVZXBD", mem(at), zmm(w))
		if n == 1 {
			s.op("VPSRLD", "$4", zmm(w), zmm(w))
		}
		s.op("VPERMPS", zmm(s.c1), zmm(w), zmm(w))
		return
	}
	s.op("VPMOVZXBD", mem(at+8*(n%2)), ymm(w))
	if n < 2 {
		s.op("VPAND", ymm(s.c0), ymm(w), ymm(w))
	} else {
		s.op("VPSRLD", "$4", ymm(w), ymm(w))
	}
	if s.name == "Q40" {
		s.op("VPSUBD", ymm(s.c1), ymm(w), ymm(w))
	}
	s.op("VCVTDQ2PS", ymm(w), ymm(w))
	s.op("VMULPS", ymm(s.scale), ymm(w), ymm(w))
	if s.name == "Q41" {
		s.op("VADDPS", ymm(s.low), ymm(w), ymm(w))
	}
}
