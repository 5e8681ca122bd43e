package main

import "fmt"

// The running softmax of one to four queries over a block of up to 64 keys
// (softmax.go in the package): the logits of a query are four vectors, and the
// queries' reductions overlap.

func init() { files["softmax_avx512_amd64.s"] = softmax512 }

// expConstant names a constant of softmax_avx2_amd64.s.
func expConstant(i int) string { return fmt.Sprintf("·expConst+%d(SB)", 4*i) }

// The constants' places.
const (
	expLog2e = iota
	expUpper
	expLower
	expCoefficients // five, from the highest power down
	expHalf         = 8
	expOne          = 9
	expLowest       = 10
	expMinusInf     = 12
)

func softmax512(e *emitter) {
	e.raw("#include \"go_asm.h\"\n\n// Twin: softmax.go.\n")
	for m := 1; m <= 4; m++ {
		softmaxRows512(e, m)
	}
}

func softmaxRows512(e *emitter, m int) {
	// Logits of query r in Z(4r) to Z(4r+3), shifts in Z24 to Z27, temporaries in Z16
	// to Z23, 28 to 31.
	logit := func(r, v int) string { return zmm(4*r + v) }
	arg := func(name string, i int) string { return fmt.Sprintf("softRows_%s+%d(BX)", name, i) }
	e.text(fmt.Sprintf("softmax%dAVX512", m), 8, "(s *softRows)")
	e.op("MOVQ", "s+0(FP)", "BX")
	e.op("MOVQ", arg("p", 0), "DI")
	e.op("MOVQ", arg("ld", 0), "DX")
	e.op("SHLQ", "$2", "DX")
	e.op("MOVQ", arg("n", 0), "CX")
	e.op("MOVQ", arg("bias", 0), "SI")
	e.op("MOVQ", "$-1", "AX")
	e.op("BZHIQ", "CX", "AX", "AX")
	for v := range 4 { // the keys that there are
		e.op("KMOVW", "AX", fmt.Sprintf("K%d", 1+v))
		e.op("SHRQ", "$16", "AX")
	}
	e.op("VBROADCASTSS", arg("scale", 0), "Z16")
	e.op("VBROADCASTSS", expConstant(expMinusInf), "Z17")
	for r := range m {
		e.op("MOVQ", "DI", fmt.Sprintf("R%d", 8+r))
		if r+1 < m {
			e.op("ADDQ", "DX", "DI")
		}
	}
	at := func(r, v int) string { return fmt.Sprintf("%d(R%d)", 64*v, 8+r) }
	for r := range m {
		for v := range 4 {
			k := fmt.Sprintf("K%d", 1+v)
			e.op("VMOVAPS", "Z17", logit(r, v))
			e.op("VMULPS", at(r, v), "Z16", k, logit(r, v))
		}
	}
	e.op("TESTQ", "SI", "SI")
	e.op("JZ", "top")
	for v := range 4 {
		k := fmt.Sprintf("K%d", 1+v)
		e.op("VMOVUPS.Z", fmt.Sprintf("%d(SI)", 64*v), k, "Z18")
		for r := range m {
			e.op("VADDPS", "Z18", logit(r, v), logit(r, v))
		}
	}

	e.label("top")
	for r := range m { // the maximum of a row is left in its shift's register
		x := 24 + r
		e.op("VMAXPS", logit(r, 0), logit(r, 1), "Z18")
		e.op("VMAXPS", logit(r, 2), logit(r, 3), "Z19")
		e.op("VMAXPS", "Z18", "Z19", "Z18")
		across(e, "VMAXPS", 18, 19)
		e.op("MOVQ", arg("state", 8*r), "AX")
		e.op("VMOVSS", "(AX)", "X20") // the maximum before
		e.op("VMAXSS", "X18", "X20", "X18")
		e.op("VMOVSS", "X18", "(AX)")
		e.op("VCMPPS", "$4", "Z17", "Z18", "K5") // all −inf: e^(−inf − 0) = 0
		e.op("VMOVAPS.Z", "Z18", "K5", "Z18")
		e.op("VSUBSS", "X18", "X20", "X20")
		e.op("VMOVSS", "X20", arg("decay", 4*r))
		e.op("VBROADCASTSS", "X18", zmm(x))
	}

	// The decays are one more vector, of which m lanes count.
	e.op("VMOVUPS", arg("decay", 0), "X16")
	exps512(e, []int{16})
	e.op("VMOVUPS", "X16", arg("decay", 0))
	for r := range m {
		regs := []int{4 * r, 4*r + 1, 4*r + 2, 4*r + 3}
		for _, i := range regs {
			e.op("VSUBPS", zmm(24+r), zmm(i), zmm(i))
		}
		exps512(e, regs)
		for v := range 4 {
			e.op("VMOVUPS", logit(r, v), at(r, v)) // rows have room; 0 beyond the keys
		}
		e.op("VADDPS", logit(r, 0), logit(r, 1), "Z18")
		e.op("VADDPS", logit(r, 2), logit(r, 3), "Z19")
		e.op("VADDPS", "Z18", "Z19", "Z18")
		across(e, "VADDPS", 18, 19)
		e.op("MOVQ", arg("state", 8*r), "AX")
		e.op("VMOVSS", "4(AX)", "X19")
		e.op("VMOVSS", arg("decay", 4*r), "X20")
		e.op("VFMADD231SS", "X20", "X19", "X18")
		e.op("VMOVSS", "X18", "4(AX)")
	}
	e.op("VZEROUPPER")
	e.op("RET")
}

// across leaves op over the lanes of vector x in its first lane; t is spare.
func across(e *emitter, op string, x, t int) {
	e.op("VEXTRACTF64X4", "$1", zmm(x), ymm(t))
	e.op(op, ymm(t), ymm(x), ymm(x))
	e.op("VEXTRACTF32X4", "$1", ymm(x), xmm(t))
	e.op(op, xmm(t), xmm(x), xmm(x))
	e.op("VPERMILPS", "$0x4e", xmm(x), xmm(t))
	e.op(op, xmm(t), xmm(x), xmm(x))
	e.op("VPERMILPS", "$0xb1", xmm(x), xmm(t))
	e.op(op, xmm(t), xmm(x), xmm(x))
}

// exps512 sets up to four vectors of numbers up to 0 to their exponentials, as expGo
// does: 2ⁿ times a polynomial of what is left of x. It uses Z18 to Z23, Z28 to Z31
// and K1 to K4.
func exps512(e *emitter, regs []int) {
	each := func(f func(x, n, y, mask string)) {
		for i, r := range regs {
			f(zmm(r), zmm(20+i), zmm(28+i), fmt.Sprintf("K%d", 1+i))
		}
	}
	e.op("VBROADCASTSS", expConstant(expLog2e), "Z18")
	e.op("VBROADCASTSS", expConstant(expLowest), "Z19")
	each(func(x, n, _, mask string) {
		e.op("VCMPPS", "$5", "Z19", x, mask) // not below, so that what is no number stays
		e.op("VMULPS", "Z18", x, n)
		e.op("VRNDSCALEPS", "$0", n, n)
	})
	e.op("VBROADCASTSS", expConstant(expUpper), "Z18")
	e.op("VBROADCASTSS", expConstant(expLower), "Z19")
	each(func(x, n, _, _ string) { e.op("VFNMADD231PS", "Z18", n, x) })
	each(func(x, n, _, _ string) { e.op("VFNMADD231PS", "Z19", n, x) })
	e.op("VBROADCASTSS", expConstant(expCoefficients), "Z18")
	each(func(_, _, y, _ string) { e.op("VMOVAPS", "Z18", y) })
	for _, c := range []int{expCoefficients + 1, expCoefficients + 2, expCoefficients + 3, expCoefficients + 4, expHalf, expOne, expOne} {
		e.op("VBROADCASTSS", expConstant(c), "Z18")
		each(func(x, _, y, _ string) { e.op("VFMADD213PS", "Z18", x, y) })
	}
	each(func(x, n, y, mask string) { e.op("VSCALEFPS.Z", n, y, mask, x) })
}
