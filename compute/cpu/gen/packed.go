package main

import "fmt"

// Products of packed weights with VNNI. Twins: packedtile.go; packed.go says how
// weights and rows lie.

func init() {
	files["packedtile_avx512_amd64.s"] = func(e *emitter) {
		for _, form := range []string{"Bytes", "Split"} {
			for _, kind := range []string{"Scale", "Minimum", "Halves"} {
				for _, rows := range []int{8, 4, 2, 1} {
					packedTile(e, form, kind, rows)
				}
			}
		}
	}
	files["packedrow_avx512_amd64.s"] = func(e *emitter) {
		for _, p := range packedFormats {
			packedOpen(e, p)
			for _, form := range []string{"Bytes", "Split"} {
				packedRow(e, p, form)
			}
		}
	}
	files["packedrows_avx512_amd64.s"] = func(e *emitter) {
		for _, form := range []string{"Bytes", "Split"} {
			for _, kind := range []string{"Scale", "Minimum", "Halves"} {
				packedQuantise(e, form, kind)
			}
		}
	}
}

// packedFormat is a packing of packed.go.
type packedFormat struct {
	name                 string
	kind                 string
	codes, group, header int
	planes               int // of 64 bytes beyond the halves; −1: whole bytes
}

var packedFormats = []packedFormat{
	{"Q8", "Scale", 512, 544, 0, -1},
	{"Q4", "Scale", 256, 288, 0, 0},
	{"Q41", "Minimum", 256, 320, 0, 0},
	{"Q5", "Scale", 320, 352, 0, 1},
	{"Q51", "Minimum", 320, 384, 0, 1},
	{"Q4K", "Minimum", 256, 288, 64, 0},
	{"Q5K", "Minimum", 320, 352, 64, 1},
	{"Q6K", "Halves", 384, 416, 32, 2},
}

// Registers that all routines agree on. Integer sums of row r are r, and of its high
// bytes 8 + r; float32 sums are 16 + r.
const (
	packedHigh   = 8
	packedSum    = 16
	packedShared = 22 // and 23: what the groups of a header share
	packedCode   = 24 // and 25: codes
	packedScale  = 26
	packedOther  = 27 // minima, or scales of the second half
	packedTmp    = 28
	packedPlane  = 28 // and 29: while codes are expanded
	packedMask   = 30 // 0x10 or 0x30 in every byte
	packedHalf   = 31 // 0x0f in every byte
)

func at(offset int, reg string) string { return fmt.Sprintf("%d(%s)", offset, reg) }

// clearZ sets registers to 0.
func clearZ(e *emitter, regs ...int) {
	for _, r := range regs {
		e.op("VPXORD", zmm(r), zmm(r), zmm(r))
	}
}

// packedLayout is where things lie in a group of a tile.
type packedLayout struct {
	split      bool
	rows       int
	width      int // bytes of a row's codes
	kind       string
	step, from int // of a group; of what stands beside the codes
}

func layoutOf(form, kind string, rows int) packedLayout {
	l := packedLayout{split: form == "Split", rows: rows, width: 32, kind: kind}
	if l.split {
		l.width = 64
	}
	l.from = rows * l.width
	l.step = l.from + rows*16
	return l
}

// begin sets the integer sums of a half: to what makes up for the zero of the codes,
// or to nothing.
func (l packedLayout) begin(e *emitter, half, shift int) {
	for r := range l.rows {
		if l.kind == "Minimum" {
			clearZ(e, shift+r)
		} else {
			e.op("VPBROADCASTD", at(l.from+r*16+4+4*half, "SI"), zmm(shift+r))
		}
		if l.split {
			clearZ(e, packedHigh+shift+r)
		}
	}
}

// multiply adds the products of a quad's codes with all rows.
func (l packedLayout) multiply(e *emitter, code, quad, shift int) {
	for r := range l.rows {
		if l.split {
			e.op("VPDPBUSD.BCST", at(r*l.width+4*quad, "SI"), zmm(code), zmm(packedHigh+shift+r))
			e.op("VPDPBUSD.BCST", at(r*l.width+32+4*quad, "SI"), zmm(code), zmm(shift+r))
		} else {
			e.op("VPDPBUSD.BCST", at(r*l.width+4*quad, "SI"), zmm(code), zmm(shift+r))
		}
	}
}

// end adds a half's integer sums to the float32 ones: sum·(weight scale·scale).
func (l packedLayout) end(e *emitter, scale, shift int) {
	for r := range l.rows {
		sum := zmm(shift + r)
		if l.split {
			high := zmm(packedHigh + shift + r)
			e.op("VPSLLD", "$8", high, high)
			e.op("VPADDD", high, sum, sum)
		}
		tmp := zmm(packedTmp + r%2)
		e.op("VCVTDQ2PS", sum, sum)
		e.op("VMULPS.BCST", at(l.from+r*16, "SI"), zmm(scale), tmp)
		e.op("VMULPS", tmp, sum, sum)
		e.op("VADDPS", sum, zmm(packedSum+r), zmm(packedSum+r))
	}
}

// minima adds minimum·(scale·Σ code).
func (l packedLayout) minima(e *emitter) {
	for r := range l.rows {
		tmp := zmm(packedTmp + r%2)
		e.op("VMULPS.BCST", at(l.from+r*16+4, "SI"), zmm(packedOther), tmp)
		e.op("VADDPS", tmp, zmm(packedSum+r), zmm(packedSum+r))
	}
}

// packedTile writes the product of an opened panel with so many rows.
func packedTile(e *emitter, form, kind string, rows int) {
	l := layoutOf(form, kind, rows)
	opened := 512 + 64
	if kind != "Scale" {
		opened += 64
	}
	e.text(fmt.Sprintf("packedTile%s%s%dAVX512", form, kind, rows), 40, "(out *float32, os int, panel, tile *byte, groups int)")
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "os+8(FP)", "R8")
	e.op("SHLQ", "$2", "R8")
	e.op("MOVQ", "panel+16(FP)", "BX")
	e.op("MOVQ", "tile+24(FP)", "SI")
	e.op("MOVQ", "groups+32(FP)", "CX")
	for r := range rows {
		clearZ(e, packedSum+r)
	}
	e.label("group")
	l.begin(e, 0, 0)
	for q := range 8 {
		if q == 4 && kind == "Halves" {
			e.op("VMOVUPS", at(512, "BX"), zmm(packedScale))
			l.end(e, packedScale, 0)
			l.begin(e, 1, 0)
		}
		code := packedCode + q%2
		e.op("VMOVDQU32", at(q*64, "BX"), zmm(code))
		l.multiply(e, code, q, 0)
	}
	if kind == "Halves" {
		e.op("VMOVUPS", at(576, "BX"), zmm(packedOther))
		l.end(e, packedOther, 0)
	} else {
		e.op("VMOVUPS", at(512, "BX"), zmm(packedScale))
		l.end(e, packedScale, 0)
	}
	if kind == "Minimum" {
		e.op("VMOVUPS", at(576, "BX"), zmm(packedOther))
		l.minima(e)
	}
	e.op("ADDQ", fmt.Sprintf("$%d", opened), "BX")
	e.op("ADDQ", fmt.Sprintf("$%d", l.step), "SI")
	e.op("DECQ", "CX")
	e.op("JNZ", "group")
	for r := range rows {
		e.op("VMOVUPS", zmm(packedSum+r), "(DI)")
		if r < rows-1 {
			e.op("ADDQ", "R8", "DI")
		}
	}
	e.op("VZEROUPPER")
	e.op("RET")
}

// masks sets the constants of expand.
func (p packedFormat) masks(e *emitter) { p.masksTo(e, packedMask, packedHalf) }

func (p packedFormat) masksTo(e *emitter, mask, half int) {
	if p.planes < 0 {
		return
	}
	e.op("MOVL", "$0x0f0f0f0f", "AX")
	e.op("VPBROADCASTD", "AX", zmm(half))
	if p.planes > 0 {
		e.op("MOVL", fmt.Sprintf("$0x%08x", 0x10101010*(2*p.planes-1)), "AX")
		e.op("VPBROADCASTD", "AX", zmm(mask))
	}
}

// expand writes the steps that bring the codes of a group, a byte each, into registers,
// and calls use for every quad. Codes lie at BX.
func (p packedFormat) expand(e *emitter, use func(code, quad int)) {
	if p.planes < 0 {
		for q := range 8 {
			e.op("VMOVDQU32", at(q*64, "BX"), zmm(packedCode+q%2))
			use(packedCode+q%2, q)
		}
		return
	}
	for i := range p.planes {
		e.op("VMOVDQU32", at(256+64*i, "BX"), zmm(packedPlane+i))
	}
	upper := func(code, quad int) { // adds the bits of the planes, moved to bit 4
		if p.planes == 0 {
			return
		}
		from, plane := quad, packedPlane
		if p.planes == 2 {
			from, plane = quad%4*2, packedPlane+quad/4
		}
		switch shifted := packedScale; { // the scales are not there yet
		case from < 4:
			e.op("VPSLLW", fmt.Sprintf("$%d", 4-from), zmm(plane), zmm(shifted))
			plane = shifted
		case from > 4:
			e.op("VPSRLW", fmt.Sprintf("$%d", from-4), zmm(plane), zmm(shifted))
			plane = shifted
		}
		e.op("VPTERNLOGD", "$0xF8", zmm(packedMask), zmm(plane), zmm(code)) // code | plane & mask
	}
	for q := range 4 {
		e.op("VMOVDQU32", at(q*64, "BX"), zmm(packedCode))
		e.op("VPSRLW", "$4", zmm(packedCode), zmm(packedCode+1))
		e.op("VPANDD", zmm(packedHalf), zmm(packedCode), zmm(packedCode))
		upper(packedCode, q)
		use(packedCode, q)
		e.op("VPANDD", zmm(packedHalf), zmm(packedCode+1), zmm(packedCode+1))
		upper(packedCode+1, q+4)
		use(packedCode+1, q+4)
	}
}

// headTo reads what groups share: d to shared, −dmin to the register after it.
func (p packedFormat) headTo(e *emitter, shared, tmp int) {
	e.op("VCVTPH2PS", "(BX)", zmm(shared))
	if p.kind == "Minimum" {
		e.op("VCVTPH2PS", "32(BX)", zmm(shared+1))
		e.op("MOVL", "$0x80000000", "AX")
		e.op("VPBROADCASTD", "AX", zmm(tmp))
		e.op("VPXORD", zmm(tmp), zmm(shared+1), zmm(shared+1))
	}
	e.op("ADDQ", fmt.Sprintf("$%d", p.header), "BX")
}

// scales reads the scales of a group and its minima or second scales.
func (p packedFormat) scales(e *emitter) { p.scalesTo(e, packedScale, packedShared) }

// scalesTo reads them to a register and the one after it.
func (p packedFormat) scalesTo(e *emitter, scale, shared int) {
	if p.header == 0 {
		e.op("VCVTPH2PS", at(p.codes, "BX"), zmm(scale))
		if p.kind == "Minimum" {
			e.op("VCVTPH2PS", at(p.codes+32, "BX"), zmm(scale+1))
		}
		return
	}
	widen, second := "VPMOVZXBD", shared+1
	if p.kind == "Halves" {
		widen, second = "VPMOVSXBD", shared
	}
	for i, from := range []int{shared, second} {
		reg := zmm(scale + i)
		e.op(widen, at(p.codes+16*i, "BX"), reg)
		e.op("VCVTDQ2PS", reg, reg)
		e.op("VMULPS", zmm(from), reg, reg)
	}
}

// groups writes the loop over the groups of a panel; CX counts them.
func (p packedFormat) groups(e *emitter, body func()) {
	p.groupsOf(e, func() { p.headTo(e, packedShared, packedScale) }, body)
}

// groupsOf is groups with steps of its own for what groups share.
func (p packedFormat) groupsOf(e *emitter, head, body func()) {
	if p.header == 0 {
		e.label("group")
		body()
		e.op("ADDQ", fmt.Sprintf("$%d", p.group), "BX")
		e.op("DECQ", "CX")
		e.op("JNZ", "group")
		return
	}
	e.label("super")
	head()
	e.op("MOVQ", "$8", "DX")
	e.label("group")
	body()
	e.op("ADDQ", fmt.Sprintf("$%d", p.group), "BX")
	e.op("DECQ", "DX")
	e.op("JNZ", "group")
	e.op("SUBQ", "$8", "CX")
	e.op("JNZ", "super")
}

// packedOpen writes the expansion of a panel.
func packedOpen(e *emitter, p packedFormat) {
	opened := 512 + 64
	if p.kind != "Scale" {
		opened += 64
	}
	e.text(fmt.Sprintf("packedOpen%sAVX512", p.name), 24, "(dst, src *byte, groups int)")
	e.op("MOVQ", "dst+0(FP)", "DI")
	e.op("MOVQ", "src+8(FP)", "BX")
	e.op("MOVQ", "groups+16(FP)", "CX")
	p.masks(e)
	p.groups(e, func() {
		p.prefetch(e)
		p.expand(e, func(code, quad int) { e.op("VMOVDQU32", zmm(code), at(quad*64, "DI")) })
		p.scales(e)
		e.op("VMOVUPS", zmm(packedScale), at(512, "DI"))
		if p.kind != "Scale" {
			e.op("VMOVUPS", zmm(packedOther), at(576, "DI"))
		}
		e.op("ADDQ", fmt.Sprintf("$%d", opened), "DI")
	})
	e.op("VZEROUPPER")
	e.op("RET")
}

// packedAhead is how far before their use weights are asked for, in bytes.
const packedAhead = 2048

func (p packedFormat) prefetch(e *emitter) {
	for i := 0; i < p.group; i += 64 {
		e.op("PREFETCHT0", at(packedAhead+i, "BX"))
	}
}

// packedRow writes the product of packed panels with one row.
func packedRow(e *emitter, p packedFormat, form string) {
	l := layoutOf(form, p.kind, 1)
	e.text(fmt.Sprintf("packedRow%s%sAVX512", p.name, form), 40, "(out *float32, src, tile *byte, groups, panels int)")
	e.op("MOVQ", "out+0(FP)", "DI")
	e.op("MOVQ", "src+8(FP)", "BX")
	e.op("MOVQ", "panels+32(FP)", "R9")
	p.masks(e)
	e.label("panel")
	e.op("MOVQ", "tile+16(FP)", "SI")
	e.op("MOVQ", "groups+24(FP)", "CX")
	clearZ(e, packedSum)
	p.groups(e, func() {
		p.prefetch(e)
		l.begin(e, 0, 0)
		if p.kind == "Halves" {
			l.begin(e, 1, 1)
		}
		p.expand(e, func(code, quad int) {
			shift := 0
			if p.kind == "Halves" {
				shift = quad / 4
			}
			l.multiply(e, code, quad, shift)
		})
		p.scales(e)
		l.end(e, packedScale, 0)
		switch p.kind {
		case "Minimum":
			l.minima(e)
		case "Halves":
			l.end(e, packedOther, 1)
		}
		e.op("ADDQ", fmt.Sprintf("$%d", l.step), "SI")
	})
	e.op("VMOVUPS", zmm(packedSum), "(DI)")
	e.op("ADDQ", "$64", "DI")
	e.op("DECQ", "R9")
	e.op("JNZ", "panel")
	e.op("VZEROUPPER")
	e.op("RET")
}
