package main

import "fmt"

// Products of packed weights with AMX. Twins: packedwide.go, which says how weights and
// rows lie.
//
// What tiles have summed reaches the vectors through memory. So that they need not
// wait for it, the vectors' steps are some groups behind those of the tiles, with a
// ring of places between them.

func init() {
	files["packedwide_amx_amd64.s"] = func(e *emitter) {
		constantsAMX(e)
		for _, a := range []amx{
			{parts: 1, kind: "Scale"}, {parts: 1, kind: "Minimum"}, {parts: 1, kind: "Halves"},
			{parts: 2, kind: "Scale"}, {parts: 2, kind: "Minimum"}, {parts: 2, kind: "Halves"},
			{parts: 2, kind: "Scale", apart: true}, {parts: 2, kind: "Minimum", apart: true},
		} {
			wideTile(e, a)
		}
		for parts := 1; parts <= 2; parts++ {
			wideQuantise(e, parts)
		}
		for _, p := range packedFormats {
			wideOpen(e, p)
		}
	}
}

// The ring.
const (
	amxBehind = 2    // groups between the tiles' steps and the vectors'
	amxSlots  = 4    // a power of two
	amxSums   = 1024 // bytes of a tile of sums
	amxLines  = 3    // of 64 bytes that a step asks for, of what is read afterwards
)

// amx are the steps of a group; registers are
//
//	SI, BX    the group of the rows, and of the panel: of the tiles' step
//	AX, DX    the same of the vectors' step
//	R10, R11  places in the ring of the tiles' step and of the vectors'
//	R12, R13  64, and the ring
//	R8        for addresses
type amx struct {
	parts int    // of an activation's code
	kind  string // of the weight
	apart bool   // sums of either part are stored
}

func (a amx) name() string {
	name := []string{"One", "Joint"}[a.parts-1]
	if a.apart {
		name = "Apart"
	}
	return name + a.kind
}

func (a amx) halves() int {
	if a.kind == "Halves" {
		return 2
	}
	return 1
}

// tiles is how many tiles of sums a group has.
func (a amx) tiles() int {
	if a.apart {
		return 2
	}
	return a.halves()
}

// step is the bytes of a group of rows, from where their scales begin.
func (a amx) step() int { return a.from() + 128 }
func (a amx) from() int { return a.parts * 1024 }

// size is the bytes of an opened group.
func (a amx) size() int {
	if a.kind == "Scale" {
		return 1024 + 64
	}
	return 1024 + 128
}

func constantsAMX(e *emitter) {
	e.raw("\n")
	shapes := func(name string, rows, columns tileShape) {
		sum := tileShape{16, 64}
		e.tileShapes(name, sum, sum, rows, columns, rows, columns)
	}
	shapes("wideWhole", tileShape{16, 64}, tileShape{16, 64})
	shapes("wideHalves", tileShape{16, 32}, tileShape{8, 64})
	var order [32]uint16 // of words of two registers of float32
	for i := range order {
		order[i&^3|i&1<<1|i>>1&1] = uint16(2*i + 1)
	}
	e.words("wideOrder", order)
	for _, p := range packedFormats {
		bits := 4 + p.planes
		for part := range max(1, 1<<bits/32) {
			if p.planes < 0 {
				break
			}
			var table [32]uint16
			for i := range table {
				code := (32*part + i) & (1<<bits - 1)
				if p.kind != "Minimum" {
					code -= 1 << (bits - 1)
				}
				table[i] = brain(code)
			}
			e.words(fmt.Sprintf("wide%s%d", p.name, part), table)
		}
	}
}

// advance moves a place in the ring.
func (a amx) advance(e *emitter, place string) {
	e.op("ADDQ", fmt.Sprintf("$%d", amxSums), place)
	e.op("ANDQ", fmt.Sprintf("$%d", (amxSlots-1)*amxSums), place)
}

// sums points R8 to the sums of a place.
func (a amx) sums(e *emitter, place string) {
	e.op("LEAQ", fmt.Sprintf("(R13)(%s*%d)", place, a.tiles()), "R8")
}

// multiply is the step of the tiles: sums are 0 and 1, rows 2 and 4, columns 3 and 5.
func (a amx) multiply(e *emitter) {
	a.sums(e, "R10")
	for half := range a.halves() {
		sum, rows, columns := half, 2+2*half, 3+2*half
		e.tileLoad(columns, "BX", 512*half, "R12")
		e.tileLoad(rows, "SI", 32*half, "R12")
		e.tileZero(sum)
		e.tileProduct(sum, rows, columns)
		if a.parts == 2 {
			lower := rows
			if a.halves() == 1 {
				lower = 4
			}
			e.tileLoad(lower, "SI", 1024+32*half, "R12")
			if a.apart {
				e.tileStore(sum, "R8", 0, "R12")
				sum++
				e.tileZero(sum)
			}
			e.tileProduct(sum, lower, columns)
		}
		e.tileStore(sum, "R8", amxSums*sum, "R12")
	}
	e.op("MOVQ", "next+72(FP)", "R8")
	for i := range amxLines {
		e.op("PREFETCHT1", at(64*i, "R8"))
	}
	e.op("ADDQ", "advance+80(FP)", "R8")
	e.op("MOVQ", "R8", "next+72(FP)")
	e.op("ADDQ", fmt.Sprintf("$%d", a.step()), "SI")
	e.op("ADDQ", fmt.Sprintf("$%d", a.size()), "BX")
	a.advance(e, "R10")
}

// Vectors: float32 sums are 16 + r.
const (
	amxTotal = 0 // and the next three
	amxTmp   = 4 // and the next seven
	amxScale = 12
	amxAcc   = 16
)

// add is the step of the vectors: sums are added to those of rows.
func (a amx) add(e *emitter) {
	e.op("VMOVUPS", at(1024, "DX"), zmm(amxScale))
	if a.kind != "Scale" {
		e.op("VMOVUPS", at(1024+64, "DX"), zmm(amxScale+1))
	}
	a.sums(e, "R11")
	for half := range a.halves() {
		for r := range 16 {
			tmp, acc, place := zmm(amxTmp+r%8), zmm(amxAcc+r), at(amxSums*half+64*r, "R8")
			e.op("VMULPS.BCST", at(a.from()+4*r, "AX"), zmm(amxScale+half), tmp)
			if a.apart {
				sum := zmm(amxTotal + r%4)
				e.op("VMOVUPS", place, sum)
				e.op("VADDPS", at(amxSums+64*r, "R8"), sum, sum)
				e.op("VMULPS", sum, tmp, tmp)
			} else {
				e.op("VMULPS", place, tmp, tmp)
			}
			e.op("VADDPS", tmp, acc, acc)
			if a.kind == "Minimum" {
				e.op("VMULPS.BCST", at(a.from()+64+4*r, "AX"), zmm(amxScale+1), tmp)
				e.op("VADDPS", tmp, acc, acc)
			}
		}
	}
	e.op("ADDQ", fmt.Sprintf("$%d", a.step()), "AX")
	e.op("ADDQ", fmt.Sprintf("$%d", a.size()), "DX")
	a.advance(e, "R11")
}

// wideTile writes the product of 16 rows with opened panels, stride bytes apart, which
// is added to out when more is not 0. Every step asks for bytes at next, which moves by
// advance.
func wideTile(e *emitter, a amx) {
	e.text("packedWide"+a.name()+"AMX", 88, "(out *float32, os int, opened, tile *byte, groups, panels, stride, more int, scratch, next *byte, advance int)")
	e.op("MOVQ", "scratch+64(FP)", "R13")
	e.op("ADDQ", "$63", "R13")
	e.op("ANDQ", "$~63", "R13")
	e.op("MOVQ", "$64", "R12")
	if a.kind == "Halves" {
		e.op("LEAQ", "wideHalves<>(SB)", "R8")
	} else {
		e.op("LEAQ", "wideWhole<>(SB)", "R8")
	}
	e.tileConfig("R8")
	e.op("MOVQ", "out+0(FP)", "R14")
	e.op("MOVQ", "os+8(FP)", "R9")
	e.op("SHLQ", "$2", "R9")
	e.op("MOVQ", "opened+16(FP)", "R15")

	e.label("panel")
	e.op("CMPQ", "more+56(FP)", "$0")
	e.op("JEQ", "zero")
	a.rows(e, func(place string, acc int) { e.op("VMOVUPS", place, zmm(acc)) })
	e.op("JMP", "begin")
	e.label("zero")
	for r := range 16 {
		clearZ(e, amxAcc+r)
	}
	e.label("begin")
	e.op("MOVQ", "R15", "BX")
	e.op("MOVQ", "R15", "DX")
	e.op("MOVQ", "tile+24(FP)", "SI")
	e.op("MOVQ", "SI", "AX")
	e.op("XORQ", "R10", "R10")
	e.op("XORQ", "R11", "R11")
	e.op("MOVQ", "groups+32(FP)", "CX")
	e.op("MOVQ", fmt.Sprintf("$%d", amxBehind), "DI")
	e.op("CMPQ", "CX", "DI")
	e.op("CMOVQLT", "CX", "DI")
	e.op("MOVQ", "DI", "CX")
	e.label("ahead")
	a.multiply(e)
	e.op("DECQ", "CX")
	e.op("JNZ", "ahead")
	e.op("MOVQ", "groups+32(FP)", "CX")
	e.op("SUBQ", "DI", "CX")
	e.op("JEQ", "behind")
	e.label("both")
	a.multiply(e)
	a.add(e)
	e.op("DECQ", "CX")
	e.op("JNZ", "both")
	e.label("behind")
	a.add(e)
	e.op("DECQ", "DI")
	e.op("JNZ", "behind")
	a.rows(e, func(place string, acc int) { e.op("VMOVUPS", zmm(acc), place) })
	e.op("ADDQ", "$64", "R14")
	e.op("ADDQ", "stride+48(FP)", "R15")
	e.op("DECQ", "panels+40(FP)")
	e.op("JNZ", "panel")
	e.tileRelease()
	e.op("VZEROUPPER")
	e.op("RET")
}

// rows calls use with the place of every row of R14, R9 bytes apart, and its sums.
func (a amx) rows(e *emitter, use func(place string, acc int)) {
	e.op("MOVQ", "R14", "R8")
	for r := range 16 {
		use("(R8)", amxAcc+r)
		if r < 15 {
			e.op("ADDQ", "R9", "R8")
		}
	}
}
