package main

import "fmt"

// Instructions of AMX, which Go's assembler does not know, as bytes.

// registers64 are the numbers of general registers.
var registers64 = map[string]int{
	"AX": 0, "CX": 1, "DX": 2, "BX": 3, "SI": 6, "DI": 7, "R8": 8, "R9": 9, "R10": 10,
	"R11": 11, "R12": 12, "R13": 13, "R14": 14, "R15": 15,
}

// The prefixes that tell instructions of one opcode apart.
const (
	vexNone = 0
	vexF3   = 2
	vexF2   = 3
)

func (e *emitter) code(what string, bytes ...int) {
	for i, b := range bytes {
		if i > 0 {
			e.raw("; ")
		} else {
			e.raw("\t")
		}
		e.raw(fmt.Sprintf("BYTE $0x%02x", b))
	}
	e.raw(" // " + what + "\n")
}

// tileMemory is an instruction on a tile and its rows in memory, the first at base +
// offset and each stride bytes behind the one before.
func (e *emitter) tileMemory(name string, prefix, tile int, base string, offset int, stride string) {
	b, i := registers64[base], registers64[stride]
	vex := 0xe2 // three inverted bits that extend registers, and the map 0F38
	if b >= 8 {
		vex &^= 0x20
	}
	if i >= 8 {
		vex &^= 0x40
	}
	e.code(fmt.Sprintf("%s %d(%s)(%s*1), T%d", name, offset, base, stride, tile),
		0xc4, vex, 0x78|prefix, 0x4b, 0x84|tile<<3, i&7<<3|b&7, offset&0xff, offset>>8&0xff, offset>>16&0xff, offset>>24&0xff)
}

func (e *emitter) tileLoad(tile int, base string, offset int, stride string) {
	e.tileMemory("TILELOADD", vexF2, tile, base, offset, stride)
}

func (e *emitter) tileStore(tile int, base string, offset int, stride string) {
	e.tileMemory("TILESTORED", vexF3, tile, base, offset, stride)
}

func (e *emitter) tileZero(tile int) {
	e.code(fmt.Sprintf("TILEZERO T%d", tile), 0xc4, 0xe2, 0x78|vexF2, 0x49, 0xc0|tile<<3)
}

// tileProduct adds pairs of bfloat16 of rows times those of columns, in float32.
func (e *emitter) tileProduct(sum, rows, columns int) {
	e.code(fmt.Sprintf("TDPBF16PS T%d, T%d, T%d", columns, rows, sum), 0xc4, 0xe2, (^columns&15)<<3|vexF3, 0x5c, 0xc0|sum<<3|rows)
}

// tileConfig says what tiles are; base points to 64 bytes.
func (e *emitter) tileConfig(base string) {
	b := registers64[base]
	vex := 0xe2
	if b >= 8 {
		vex &^= 0x20
	}
	e.code(fmt.Sprintf("LDTILECFG (%s)", base), 0xc4, vex, 0x78|vexNone, 0x49, 0x80|b&7, 0, 0, 0, 0)
}

func (e *emitter) tileRelease() {
	e.code("TILERELEASE", 0xc4, 0xe2, 0x78|vexNone, 0x49, 0xc0)
}

// tileShape is a line of a configuration.
type tileShape struct{ rows, bytes int }

// tileShapes writes the configuration of tiles 0, 1, …
func (e *emitter) tileShapes(name string, shapes ...tileShape) {
	var all [64]byte
	all[0] = 1
	for i, s := range shapes {
		all[16+2*i], all[48+i] = byte(s.bytes), byte(s.rows)
	}
	for i := 0; i < len(all); i += 8 {
		var v uint64
		for j := range 8 {
			v |= uint64(all[i+j]) << (8 * j)
		}
		e.raw(fmt.Sprintf("DATA %s<>+%d(SB)/8, $0x%016x\n", name, i, v))
	}
	e.raw(fmt.Sprintf("GLOBL %s<>(SB), RODATA|NOPTR, $64\n", name))
}
