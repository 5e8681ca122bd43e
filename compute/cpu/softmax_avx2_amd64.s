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

// func softmaxAVX2(p, bias, state *float32, n int, scale float32) (decay float32)
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

// func weighAVX2(acc, p, v *float32, n, dim int, decay float32)
//
// acc = acc·decay + Σ p[j]·v[j], j ascending, v [n, dim].
TEXT ·weighAVX2(SB), NOSPLIT, $0-44
	MOVQ acc+0(FP), DI
	MOVQ p+8(FP), SI
	MOVQ v+16(FP), BX
	MOVQ n+24(FP), CX
	MOVQ dim+32(FP), DX
	VBROADCASTSS decay+40(FP), Y15
	MOVQ DX, R11
	SHLQ $2, R11                   // bytes of a row of v

wide:
	SUBQ $64, DX
	JLT  narrow
	VMULPS (DI), Y15, Y0
	VMULPS 32(DI), Y15, Y1
	VMULPS 64(DI), Y15, Y2
	VMULPS 96(DI), Y15, Y3
	VMULPS 128(DI), Y15, Y4
	VMULPS 160(DI), Y15, Y5
	VMULPS 192(DI), Y15, Y6
	VMULPS 224(DI), Y15, Y7
	MOVQ BX, R8
	XORQ AX, AX

wideNext:
	CMPQ AX, CX
	JGE  wideDone
	VBROADCASTSS (SI)(AX*4), Y8
	VFMADD231PS (R8), Y8, Y0
	VFMADD231PS 32(R8), Y8, Y1
	VFMADD231PS 64(R8), Y8, Y2
	VFMADD231PS 96(R8), Y8, Y3
	VFMADD231PS 128(R8), Y8, Y4
	VFMADD231PS 160(R8), Y8, Y5
	VFMADD231PS 192(R8), Y8, Y6
	VFMADD231PS 224(R8), Y8, Y7
	ADDQ R11, R8
	INCQ AX
	JMP  wideNext

wideDone:
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	VMOVUPS Y4, 128(DI)
	VMOVUPS Y5, 160(DI)
	VMOVUPS Y6, 192(DI)
	VMOVUPS Y7, 224(DI)
	ADDQ $256, DI
	ADDQ $256, BX
	JMP  wide

narrow:
	ADDQ $64, DX

narrowStep:
	SUBQ $8, DX
	JLT  rest
	VMULPS (DI), Y15, Y0
	MOVQ BX, R8
	XORQ AX, AX

narrowNext:
	CMPQ AX, CX
	JGE  narrowDone
	VBROADCASTSS (SI)(AX*4), Y8
	VFMADD231PS (R8), Y8, Y0
	ADDQ R11, R8
	INCQ AX
	JMP  narrowNext

narrowDone:
	VMOVUPS Y0, (DI)
	ADDQ $32, DI
	ADDQ $32, BX
	JMP  narrowStep

rest:
	ADDQ $8, DX
	JZ   done
	LEAQ ·laneMask+32(SB), R8
	SHLQ $2, DX
	SUBQ DX, R8
	VMOVUPS (R8), Y9
	VMASKMOVPS (DI), Y9, Y0
	VMULPS Y15, Y0, Y0
	XORQ AX, AX

restNext:
	CMPQ AX, CX
	JGE  restDone
	VBROADCASTSS (SI)(AX*4), Y8
	VMASKMOVPS (BX), Y9, Y1
	VFMADD231PS Y1, Y8, Y0
	ADDQ R11, BX
	INCQ AX
	JMP  restNext

restDone:
	VMASKMOVPS Y0, Y9, (DI)

done:
	VZEROUPPER
	RET
