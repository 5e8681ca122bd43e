//go:build !noasm

#include "textflag.h"
#include "exp_avx2_amd64.h"

// Element-wise ops and the norm. Twins: pointwise.go.

// OPENING sets Y6 to 1 + e^−g for g in Y0. Above 88.3 e^−g is made infinite, so that a gate
// far below shuts for good. Y2 to Y5 are overwritten.
#define OPENING \
	VXORPS  Y6, Y6, Y6             \
	VSUBPS  Y0, Y6, Y6             \
	VCMPPS  $14, Y14, Y6, Y2       \
	EXP(Y6, Y3, Y4, Y5)            \
	VBROADCASTSS inf<>(SB), Y3     \
	VANDPS  Y3, Y2, Y2             \
	VADDPS  Y2, Y6, Y6             \
	VADDPS  Y12, Y6, Y6

// SILU sets y to g/(1 + e^−g)·u for g in Y0 and u in Y1.
#define SILU(y) \
	OPENING                        \
	VDIVPS  Y6, Y0, Y0             \
	VMULPS  Y1, Y0, y

// SLOPES sets Y4 to u·σ·(1 + g·(1 − σ)) and Y0 to g·σ for g in Y0 and u in Y1, with σ =
// 1/(1 + e^−g).
#define SLOPES \
	OPENING                        \
	VDIVPS  Y6, Y12, Y6            \
	VSUBPS  Y6, Y12, Y4            \
	VFMADD213PS Y12, Y0, Y4        \
	VMULPS  Y6, Y1, Y1             \
	VMULPS  Y1, Y4, Y4             \
	VMULPS  Y6, Y0, Y0

DATA inf<>+0(SB)/4, $0x7f800000
GLOBL inf<>(SB), RODATA|NOPTR, $4

// MASK leaves in ptr the mask of the n%8 lanes in n, and in full the bytes of the
// whole steps; n becomes 0 when there is no short step.
#define MASK(n, full, ptr) \
	MOVQ n, full               \
	ANDQ $~7, full             \
	SHLQ $2, full              \
	ANDQ $7, n                 \
	LEAQ ·laneMask+32(SB), ptr \
	SHLQ $2, n                 \
	SUBQ n, ptr

// func swigluAVX2(out, gate, up *float32, n int)
TEXT ·swigluAVX2(SB), NOSPLIT, $0-32
	MOVQ out+0(FP), DI
	MOVQ gate+8(FP), SI
	MOVQ up+16(FP), BX
	MOVQ n+24(FP), CX
	MASK(CX, DX, R8)
	EXPCONSTANTS
	XORQ AX, AX

swiglu:
	CMPQ AX, DX
	JGE  swigluLast
	VMOVUPS (SI)(AX*1), Y0
	VMOVUPS (BX)(AX*1), Y1
	SILU(Y0)
	VMOVUPS Y0, (DI)(AX*1)
	ADDQ $32, AX
	JMP  swiglu

swigluLast:
	TESTQ CX, CX
	JZ   swigluDone
	VMOVUPS (R8), Y2
	VMASKMOVPS (SI)(AX*1), Y2, Y0
	VMASKMOVPS (BX)(AX*1), Y2, Y1
	SILU(Y0)
	VMOVUPS (R8), Y2
	VMASKMOVPS Y0, Y2, (DI)(AX*1)

swigluDone:
	VZEROUPPER
	RET

// func swigluGradAVX2(dgate, dup, dy, gate, up *float32, n int)
TEXT ·swigluGradAVX2(SB), NOSPLIT, $0-48
	MOVQ dgate+0(FP), DI
	MOVQ dup+8(FP), R9
	MOVQ dy+16(FP), R10
	MOVQ gate+24(FP), SI
	MOVQ up+32(FP), BX
	MOVQ n+40(FP), CX
	MASK(CX, DX, R8)
	EXPCONSTANTS
	XORQ AX, AX

slopes:
	CMPQ AX, DX
	JGE  slopesLast
	VMOVUPS (SI)(AX*1), Y0
	VMOVUPS (BX)(AX*1), Y1
	SLOPES
	VMOVUPS (R10)(AX*1), Y3
	VMULPS Y3, Y0, Y0
	VMULPS Y3, Y4, Y4
	VMOVUPS Y0, (R9)(AX*1)
	VMOVUPS Y4, (DI)(AX*1)
	ADDQ $32, AX
	JMP  slopes

slopesLast:
	TESTQ CX, CX
	JZ   slopesDone
	VMOVUPS (R8), Y2
	VMASKMOVPS (SI)(AX*1), Y2, Y0
	VMASKMOVPS (BX)(AX*1), Y2, Y1
	SLOPES
	VMOVUPS (R8), Y2
	VMASKMOVPS (R10)(AX*1), Y2, Y3
	VMULPS Y3, Y0, Y0
	VMULPS Y3, Y4, Y4
	VMASKMOVPS Y0, Y2, (R9)(AX*1)
	VMASKMOVPS Y4, Y2, (DI)(AX*1)

slopesDone:
	VZEROUPPER
	RET

// func addScaledAVX2(x, y *float32, n int, scale float32)
//
// x += y·scale, the product rounded by itself as in the definition.
TEXT ·addScaledAVX2(SB), NOSPLIT, $0-28
	MOVQ x+0(FP), DI
	MOVQ y+8(FP), SI
	MOVQ n+16(FP), CX
	VBROADCASTSS scale+24(FP), Y3
	MASK(CX, DX, R8)
	XORQ AX, AX

add:
	CMPQ AX, DX
	JGE  addLast
	VMULPS (SI)(AX*1), Y3, Y0
	VADDPS (DI)(AX*1), Y0, Y0
	VMOVUPS Y0, (DI)(AX*1)
	ADDQ $32, AX
	JMP  add

addLast:
	TESTQ CX, CX
	JZ   addDone
	VMOVUPS (R8), Y2
	VMASKMOVPS (SI)(AX*1), Y2, Y0
	VMULPS Y3, Y0, Y0
	VMASKMOVPS (DI)(AX*1), Y2, Y1
	VADDPS Y1, Y0, Y0
	VMASKMOVPS Y0, Y2, (DI)(AX*1)

addDone:
	VZEROUPPER
	RET

// func sumSquaresAVX2(x *float32, n int) float64
//
// In float64: eight lanes of two accumulators, then the lanes in one order.
TEXT ·sumSquaresAVX2(SB), NOSPLIT, $0-24
	MOVQ x+0(FP), SI
	MOVQ n+8(FP), CX
	MASK(CX, DX, R8)
	VXORPD Y0, Y0, Y0
	VXORPD Y1, Y1, Y1
	XORQ AX, AX

squares:
	CMPQ AX, DX
	JGE  squaresLast
	VCVTPS2PD (SI)(AX*1), Y2
	VCVTPS2PD 16(SI)(AX*1), Y3
	VFMADD231PD Y2, Y2, Y0
	VFMADD231PD Y3, Y3, Y1
	ADDQ $32, AX
	JMP  squares

squaresLast:
	TESTQ CX, CX
	JZ   squaresSum
	VMOVUPS (R8), Y2
	VMASKMOVPS (SI)(AX*1), Y2, Y4
	VEXTRACTF128 $1, Y4, X5
	VCVTPS2PD X4, Y2
	VCVTPS2PD X5, Y3
	VFMADD231PD Y2, Y2, Y0
	VFMADD231PD Y3, Y3, Y1

squaresSum:
	VADDPD Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	VADDPD X1, X0, X0
	VPERMILPD $1, X0, X1
	VADDSD X1, X0, X0
	VMOVSD X0, ret+16(FP)
	VZEROUPPER
	RET

// func normScaleAVX2(out, x, weight *float32, n int, inv float32)
//
// out = weight·(x·inv), each product rounded as in the definition.
TEXT ·normScaleAVX2(SB), NOSPLIT, $0-36
	MOVQ out+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ weight+16(FP), BX
	MOVQ n+24(FP), CX
	VBROADCASTSS inv+32(FP), Y3
	MASK(CX, DX, R8)
	XORQ AX, AX

norm:
	CMPQ AX, DX
	JGE  normLast
	VMULPS (SI)(AX*1), Y3, Y0
	VMULPS (BX)(AX*1), Y0, Y0
	VMOVUPS Y0, (DI)(AX*1)
	ADDQ $32, AX
	JMP  norm

normLast:
	TESTQ CX, CX
	JZ   normDone
	VMOVUPS (R8), Y2
	VMASKMOVPS (SI)(AX*1), Y2, Y0
	VMASKMOVPS (BX)(AX*1), Y2, Y1
	VMULPS Y3, Y0, Y0
	VMULPS Y1, Y0, Y0
	VMASKMOVPS Y0, Y2, (DI)(AX*1)

normDone:
	VZEROUPPER
	RET
