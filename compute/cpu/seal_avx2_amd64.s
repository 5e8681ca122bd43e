//go:build !noasm

#include "textflag.h"

// Full blocks to codes, as compute.Layout.EncodeBlock does. Twins: seal.go.

DATA sealConst<>+0(SB)/8, $0x3fe0000000000000 // 0.5
DATA sealConst<>+8(SB)/4, $0x3f000000         // 0.5
GLOBL sealConst<>(SB), RODATA|NOPTR, $12

// CODE4 leaves in x (int32) the codes of the four floats in xs: x/2 − lo/2 is in
// xs already, the half scale is in Y15. In float64 the quotient is rounded
// to the even one; what is not a number is 0.
#define CODE4(xs, y, x) \
	VCVTPS2PD xs, y         \
	VDIVPD  Y15, y, y       \
	VROUNDPD $0, y, y       \
	VMAXPD  Y14, y, y       \
	VMINPD  Y13, y, y       \
	VCVTTPD2DQY y, x

// func codesAVX2(dst *byte, x *float32, n int, lo, scale, top float64)
//
// One code a byte, for n values of one minimum and one scale that is not 0; n is
// a multiple of 8.
TEXT ·codesAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ n+16(FP), CX
	VCVTSD2SS lo+24(FP), X1, X1
	VBROADCASTSS X1, Y1
	VBROADCASTSD scale+32(FP), Y15
	VBROADCASTSD top+40(FP), Y13
	VXORPD Y14, Y14, Y14
	VBROADCASTSD sealConst<>+0(SB), Y3
	VMULPD Y3, Y15, Y15
	VBROADCASTSS sealConst<>+8(SB), Y12
	VMULPS Y12, Y1, Y1

codes:
	SUBQ $8, CX
	JLT  codesDone
	VMULPS (SI), Y12, Y0
	VSUBPS Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X5
	CODE4(X0, Y2, X4)
	CODE4(X5, Y5, X7)
	VPACKUSDW X7, X4, X4
	VPACKUSWB X4, X4, X4
	VMOVQ X4, (DI)
	ADDQ $8, DI
	ADDQ $32, SI
	JMP  codes

codesDone:
	VZEROUPPER
	RET
