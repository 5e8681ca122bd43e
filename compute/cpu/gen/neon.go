package main

import "fmt"

// Instructions of ARMv8 on vectors. Go's assembler has few of those that compute
// with float32, so that they are written as words, with what they are beside them.
// The codes are those of the ARM Architecture Reference Manual (DDI 0487, C7.2);
// neon_test.go holds words against what another assembler makes of the same text.

// neon writes assembly for arm64.
type neon struct{ *emitter }

// instruction is a code whose registers are not set yet, and its text; without a
// code the text is what Go's assembler reads. Operands are %[1]d, the result, and
// %[2]d and %[3]d, the sources in ARM's order.
type instruction struct {
	code uint32
	text string
}

// same is an instruction whose operands have one arrangement.
func same(code uint32, name, arrangement string) instruction {
	return instruction{code, fmt.Sprintf("%s v%%[1]d.%[2]s, v%%[2]d.%[2]s, v%%[3]d.%[2]s", name, arrangement)}
}

// one is an instruction of one source.
func one(code uint32, name, to, from string) instruction {
	return instruction{code, fmt.Sprintf("%s v%%[1]d.%s, v%%[2]d.%s", name, to, from)}
}

// known is an instruction of two sources that Go's assembler has.
func known(name, arrangement string) instruction {
	return instruction{0, fmt.Sprintf("%s V%%[3]d.%[2]s, V%%[2]d.%[2]s, V%%[1]d.%[2]s", name, arrangement)}
}

// knownOne is one of one source.
func knownOne(name, to, from string) instruction {
	return instruction{0, fmt.Sprintf("%s V%%[2]d.%s, V%%[1]d.%s", name, from, to)}
}

var instructions = map[string]instruction{
	"fadd":     same(0x4e20d400, "fadd", "4s"),
	"fsub":     same(0x4ea0d400, "fsub", "4s"),
	"fmul":     same(0x6e20dc00, "fmul", "4s"),
	"fdiv":     same(0x6e20fc00, "fdiv", "4s"),
	"fdiv.2d":  same(0x6e60fc00, "fdiv", "2d"),
	"fmla":     known("VFMLA", "S4"),
	"fmla.2d":  known("VFMLA", "D2"),
	"fmls":     known("VFMLS", "S4"),
	"fmax":     same(0x4e20f400, "fmax", "4s"),
	"fmin":     same(0x4ea0f400, "fmin", "4s"),
	"fmaxp":    same(0x6e20f400, "fmaxp", "4s"),
	"faddp":    same(0x6e20d400, "faddp", "4s"),
	"faddp.2d": same(0x6e60d400, "faddp", "2d"),
	"fcmge":    same(0x6e20e400, "fcmge", "4s"),
	"fcmgt":    same(0x6ea0e400, "fcmgt", "4s"),
	"add":      known("VADD", "S4"),
	"add.2d":   known("VADD", "D2"),
	"smax":     same(0x4ea06400, "smax", "4s"),
	"smin":     same(0x4ea06c00, "smin", "4s"),
	"umax":     known("VUMAX", "S4"),
	"and":      known("VAND", "B16"),
	"orr":      known("VORR", "B16"),
	"eor":      known("VEOR", "B16"),
	"bit":      known("VBIT", "B16"),
	"bic":      same(0x4e601c00, "bic", "16b"),
	"zip1":     known("VZIP1", "S4"),
	"zip2":     known("VZIP2", "S4"),
	"zip1.2d":  known("VZIP1", "D2"),
	"zip2.2d":  known("VZIP2", "D2"),
	"uzp1":     known("VUZP1", "S4"),
	"uzp2":     known("VUZP2", "S4"),
	"uzp1.8h":  known("VUZP1", "H8"),
	"uzp1.16b": known("VUZP1", "B16"),
	"smlal":    {0x0e608000, "smlal v%[1]d.4s, v%[2]d.4h, v%[3]d.4h"},
	"smull":    {0x0e20c000, "smull v%[1]d.8h, v%[2]d.8b, v%[3]d.8b"},
	"sdot":     {0x4e809400, "sdot v%[1]d.4s, v%[2]d.16b, v%[3]d.16b"},

	"fabs":      one(0x4ea0f800, "fabs", "4s", "4s"),
	"fneg":      one(0x6ea0f800, "fneg", "4s", "4s"),
	"frintn":    one(0x4e218800, "frintn", "4s", "4s"),
	"fcvtns":    one(0x4e21a800, "fcvtns", "4s", "4s"),
	"fcvtns.2d": one(0x4e61a800, "fcvtns", "2d", "2d"),
	"scvtf":     one(0x4e21d800, "scvtf", "4s", "4s"),
	"ucvtf":     one(0x6e21d800, "ucvtf", "4s", "4s"),
	"fcvtl":     one(0x0e217800, "fcvtl", "4s", "4h"),
	"fcvtl2":    one(0x4e217800, "fcvtl2", "4s", "8h"),
	"fcvtl.2d":  one(0x0e617800, "fcvtl", "2d", "2s"),
	"fcvtl2.2d": one(0x4e617800, "fcvtl2", "2d", "4s"),
	"shll":      {0x2e613800, "shll v%[1]d.4s, v%[2]d.4h, #16"},
	"shll2":     {0x6e613800, "shll2 v%[1]d.4s, v%[2]d.8h, #16"},
	"uxtl.8h":   knownOne("VUXTL", "H8", "B8"),
	"uxtl2.8h":  knownOne("VUXTL2", "H8", "B16"),
	"uxtl.4s":   knownOne("VUXTL", "S4", "H4"),
	"uxtl2.4s":  knownOne("VUXTL2", "S4", "H8"),
	"sxtl.8h":   one(0x0f08a400, "sxtl", "8h", "8b"),
	"sxtl2.8h":  one(0x4f08a400, "sxtl2", "8h", "16b"),
	"sxtl.4s":   one(0x0f10a400, "sxtl", "4s", "4h"),
	"sxtl2.4s":  one(0x4f10a400, "sxtl2", "4s", "8h"),
	"sqxtn":     one(0x0ea14800, "sqxtn", "2s", "2d"),
	"sqxtn2":    one(0x4ea14800, "sqxtn2", "4s", "2d"),
	"sadalp":    one(0x4e606800, "sadalp", "4s", "8h"),
	"fmaxv":     {0x6e30f800, "fmaxv s%[1]d, v%[2]d.4s"},
	"umaxv":     {0x6eb0a800, "umaxv s%[1]d, v%[2]d.4s"},
	"addv":      {0x4eb1b800, "addv s%[1]d, v%[2]d.4s"},

	"fmul.lane": {0x4f809000, "fmul v%[1]d.4s, v%[2]d.4s, v%[3]d.s[%[4]d]"},
	"fmla.lane": {0x4f801000, "fmla v%[1]d.4s, v%[2]d.4s, v%[3]d.s[%[4]d]"},
	"sdot.lane": {0x4f80e000, "sdot v%[1]d.4s, v%[2]d.16b, v%[3]d.4b[%[4]d]"},
}

// encode returns the word of an instruction, and its text.
func encode(name string, d, n, m, lane int) (word uint32, text string) {
	in, ok := instructions[name]
	if !ok || d|n|m < 0 || d > 31 || n > 31 || m > 31 || lane < 0 || lane > 3 {
		panic(fmt.Sprintf("gen: no instruction %s of registers %d, %d, %d and lane %d", name, d, n, m, lane))
	}
	text = fmt.Sprintf(in.text, d, n, m, lane)
	if in.code == 0 {
		return 0, text
	}
	return in.code | uint32(lane>>1<<11|lane&1<<21) | uint32(m<<16|n<<5|d), text
}

func (a neon) write(name string, d, n, m, lane int) {
	word, text := encode(name, d, n, m, lane)
	if word != 0 {
		text = fmt.Sprintf("WORD $0x%08x // %s", word, text)
	}
	a.raw("\t" + text + "\n")
}

// v writes an instruction of a result and one or two sources.
func (a neon) v(name string, d, n int, m ...int) {
	if len(m) > 0 {
		a.write(name, d, n, m[0], 0)
	} else {
		a.write(name, d, n, 0, 0)
	}
}

// lane writes an instruction whose second source is one lane of a vector.
func (a neon) lane(name string, d, n, m, lane int) { a.write(name+".lane", d, n, m, lane) }

// right shifts signed lanes to the right.
func (a neon) right(by, d, n int) {
	a.op("WORD", fmt.Sprintf("$0x%08x // sshr v%d.4s, v%d.4s, #%d", 0x4f000400|(64-by)<<16|n<<5|d, d, n, by))
}

// zero clears vectors.
func (a neon) zero(regs ...int) {
	for _, r := range regs {
		a.v("eor", r, r, r)
	}
}

func (a neon) move(d, n int) { a.v("orr", d, n, n) }

// constant sets the lanes of a vector to 32 bits; R26 is overwritten.
func (a neon) constant(d int, bits uint32) {
	a.op("MOVD", fmt.Sprintf("$0x%08x", bits), "R26")
	a.op("VDUP", "R26", lanes(d))
}

// spread sets all lanes to lane i of a vector.
func (a neon) spread(d, n, i int) { a.op("VDUP", fmt.Sprintf("V%d.S[%d]", n, i), lanes(d)) }

// Loads and stores of 16, 8 and 4 bytes; what is beyond them in a vector becomes 0.
func (a neon) load(d, offset int, base string)   { a.op("FMOVQ", at(offset, base), f(d)) }
func (a neon) load8(d, offset int, base string)  { a.op("FMOVD", at(offset, base), f(d)) }
func (a neon) load4(d, offset int, base string)  { a.op("FMOVS", at(offset, base), f(d)) }
func (a neon) store(s, offset int, base string)  { a.op("FMOVQ", f(s), at(offset, base)) }
func (a neon) store4(s, offset int, base string) { a.op("FMOVS", f(s), at(offset, base)) }

// next and put load and store, and move the address behind what they took.
func (a neon) next(d int, base string)  { a.op("FMOVQ.P", at(16, base), f(d)) }
func (a neon) next4(d int, base string) { a.op("FMOVS.P", at(4, base), f(d)) }
func (a neon) put(s int, base string)   { a.op("FMOVQ.P", f(s), at(16, base)) }
func (a neon) put4(s int, base string)  { a.op("FMOVS.P", f(s), at(4, base)) }

// nextTwo loads 32 bytes to two vectors and moves on.
func (a neon) nextTwo(d, d2 int, base string) {
	a.op("FLDPQ.P", at(32, base), fmt.Sprintf("(%s, %s)", f(d), f(d2)))
}

// argument loads an argument of a routine.
func (a neon) argument(name string, offset int, reg string) {
	a.op("MOVD", fmt.Sprintf("%s+%d(FP)", name, offset), reg)
}

// until jumps to a label when less than so much is left in a register.
func (a neon) until(least int, reg, label string) {
	a.op("CMP", fmt.Sprintf("$%d", least), reg)
	a.op("BLT", label)
}

func (a neon) plus(n int, reg string)  { a.op("ADD", fmt.Sprintf("$%d", n), reg) }
func (a neon) minus(n int, reg string) { a.op("SUB", fmt.Sprintf("$%d", n), reg) }

// f, x and lanes name a vector as a scalar, a general register, and a vector of
// four lanes.
func f(i int) string     { return fmt.Sprintf("F%d", i) }
func x(i int) string     { return fmt.Sprintf("R%d", i) }
func lanes(i int) string { return fmt.Sprintf("V%d.S4", i) }
