//go:build !noasm

#include "textflag.h"
#include "exp_avx2_amd64.h"

// The running softmax of one query over one block. Twins: softmax.go.

DATA ·expConst+0(SB)/4, $0x3fb8aa3b  // log2(e)
DATA ·expConst+4(SB)/4, $0x3f317200  // ln 2, upper part
DATA ·expConst+8(SB)/4, $0x35bfbe8e  // ln 2, lower part
DATA ·expConst+12(SB)/4, $0x39506967 // 1.9875691500e-4
DATA ·expConst+16(SB)/4, $0x3ab743ce // 1.3981999507e-3
DATA ·expConst+20(SB)/4, $0x3c088908 // 8.3334519073e-3
DATA ·expConst+24(SB)/4, $0x3d2aa9c1 // 4.1665795894e-2
DATA ·expConst+28(SB)/4, $0x3e2aaaaa // 1.6666665459e-1
DATA ·expConst+32(SB)/4, $0x3f000000 // 0.5
DATA ·expConst+36(SB)/4, $0x3f800000 // 1
DATA ·expConst+40(SB)/4, $0xc2aeac50 // -87.33655: below it eˣ is not normal
DATA ·expConst+44(SB)/4, $0x42b0c0a5 // 88.37626: above it eˣ is held
DATA ·expConst+48(SB)/4, $0xff800000 // -inf
GLOBL ·expConst(SB), RODATA|NOPTR, $52

// func softmaxAVX2(p, bias *float32, state *[2]float32, n int, scale float32) (decay float32)
//
// With l = p·scale + bias, which may be nil, and state = (maximum, sum): the
// maximum takes in l, p becomes e^(l − maximum), decay is the factor by which
// what came before shrinks, and sum = sum·decay + Σp.
TEXT ·softmaxAVX2(SB), NOSPLIT, $0-44
	MOVQ p+0(FP), DI
	MOVQ bias+8(FP), SI
	MOVQ state+16(FP), BX
	MOVQ n+24(FP), CX
	VBROADCASTSS scale+32(FP), Y0
	MOVQ CX, DX
	ANDQ $~7, DX
	SHLQ $2, DX                    // bytes of whole steps
	ANDQ $7, CX
	LEAQ ·laneMask+32(SB), R8
	SHLQ $2, CX
	SUBQ CX, R8                    // mask of the last step
	VBROADCASTSS ·expConst+48(SB), Y1 // maximum
	XORQ AX, AX
	TESTQ SI, SI
	JZ   plain

biased:
	CMPQ AX, DX
	JGE  biasedLast
	VMOVUPS (SI)(AX*1), Y2
	VFMADD231PS (DI)(AX*1), Y0, Y2
	VMOVUPS Y2, (DI)(AX*1)
	VMAXPS Y2, Y1, Y1
	ADDQ $32, AX
	JMP  biased

biasedLast:
	TESTQ CX, CX
	JZ   top
	VMOVUPS (R8), Y3
	VMASKMOVPS (SI)(AX*1), Y3, Y2
	VMASKMOVPS (DI)(AX*1), Y3, Y4
	VFMADD231PS Y4, Y0, Y2
	JMP  last

plain:
	CMPQ AX, DX
	JGE  plainLast
	VMULPS (DI)(AX*1), Y0, Y2
	VMOVUPS Y2, (DI)(AX*1)
	VMAXPS Y2, Y1, Y1
	ADDQ $32, AX
	JMP  plain

plainLast:
	TESTQ CX, CX
	JZ   top
	VMOVUPS (R8), Y3
	VMASKMOVPS (DI)(AX*1), Y3, Y2
	VMULPS Y0, Y2, Y2

last:
	VMASKMOVPS Y2, Y3, (DI)(AX*1)
	VBROADCASTSS ·expConst+48(SB), Y4
	VBLENDVPS Y3, Y2, Y4, Y2       // −inf in the lanes beyond n
	VMAXPS Y2, Y1, Y1

top:
	VEXTRACTF128 $1, Y1, X2
	VMAXPS X2, X1, X1
	VPERMILPS $0x4e, X1, X2
	VMAXPS X2, X1, X1
	VPERMILPS $0xb1, X1, X2
	VMAXPS X2, X1, X1
	VMOVSS (BX), X5                // the maximum before
	VMAXSS X1, X5, X1
	VMOVSS X1, (BX)
	VMOVSS ·expConst+48(SB), X2
	VUCOMISS X2, X1
	JP   shift                     // not a number
	JNE  shift
	VXORPS X1, X1, X1              // all −inf: e^(−inf − 0) = 0

shift:
	VBROADCASTSS X1, Y1
	EXPCONSTANTS
	VSUBSS X1, X5, X6
	EXP(Y6, Y3, Y4, Y5)
	VMOVAPS X6, X0                 // decay
	VXORPS Y2, Y2, Y2              // sum
	XORQ AX, AX

exps:
	CMPQ AX, DX
	JGE  expsLast
	VMOVUPS (DI)(AX*1), Y6
	VSUBPS Y1, Y6, Y6
	EXP(Y6, Y3, Y4, Y5)
	VMOVUPS Y6, (DI)(AX*1)
	VADDPS Y6, Y2, Y2
	ADDQ $32, AX
	JMP  exps

expsLast:
	TESTQ CX, CX
	JZ   sum
	VMOVUPS (R8), Y3
	VMASKMOVPS (DI)(AX*1), Y3, Y6
	VSUBPS Y1, Y6, Y6
	EXP(Y6, Y3, Y4, Y5)
	VMOVUPS (R8), Y3
	VANDPS Y3, Y6, Y6
	VMASKMOVPS Y6, Y3, (DI)(AX*1)
	VADDPS Y6, Y2, Y2

sum:
	VEXTRACTF128 $1, Y2, X3
	VADDPS X3, X2, X2
	VPERMILPS $0x4e, X2, X3
	VADDPS X3, X2, X2
	VPERMILPS $0xb1, X2, X3
	VADDPS X3, X2, X2
	VMOVSS 4(BX), X3
	VFMADD231SS X0, X3, X2
	VMOVSS X2, 4(BX)
	VMOVSS X0, decay+40(FP)
	VZEROUPPER
	RET
