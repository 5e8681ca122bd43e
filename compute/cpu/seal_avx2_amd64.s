//go:build !noasm

#include "textflag.h"

// Full blocks to codes, as compute.Layout.EncodeBlock does. Twins: seal.go.

DATA sealConst<>+0(SB)/8, $0x3fe0000000000000 // 0.5
DATA sealConst<>+8(SB)/4, $0x3f000000         // 0.5
GLOBL sealConst<>(SB), RODATA|NOPTR, $12

// func spansAVX2(lo, hi, x *float32, rows, dim int)
//
// The least and the greatest of each column of x [rows, dim]; NaN where a column
// has one. dim is a multiple of 8, rows at least 1.
TEXT ·spansAVX2(SB), NOSPLIT, $0-40
	MOVQ lo+0(FP), DI
	MOVQ hi+8(FP), SI
	MOVQ x+16(FP), BX
	MOVQ rows+24(FP), CX
	MOVQ dim+32(FP), DX
	MOVQ DX, R8
	SHLQ $2, R8                // bytes of a row

spans:
	SUBQ $8, DX
	JLT  spansDone
	MOVQ BX, R9
	MOVQ CX, AX
	VMOVUPS (R9), Y0
	VMOVAPS Y0, Y1
	VXORPS Y2, Y2, Y2

spansRow:
	VMOVUPS (R9), Y3
	VMINPS Y3, Y0, Y0
	VMAXPS Y3, Y1, Y1
	VCMPPS $3, Y3, Y3, Y4      // not a number
	VORPS  Y4, Y2, Y2
	ADDQ R8, R9
	SUBQ $1, AX
	JG   spansRow
	VORPS Y2, Y0, Y0
	VORPS Y2, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, (SI)
	ADDQ $32, DI
	ADDQ $32, SI
	ADDQ $32, BX
	JMP  spans

spansDone:
	VZEROUPPER
	RET

// CODE4 leaves in x (int32) the codes of the four floats in xs: x/2 − lo/2 is in
// xs already, the scales in float32 are at mem. In float64 the quotient is rounded
// to the even one; what is not a number, or has no scale, is 0.
#define CODE4(xs, mem, y, t, x) \
	VCVTPS2PD xs, y         \
	VCVTPS2PD mem, t        \
	VMULPD  Y15, t, t       \
	VDIVPD  t, y, y         \
	VROUNDPD $0, y, y       \
	VCMPPD  $4, Y14, t, t   \
	VANDPD  t, y, y         \
	VMAXPD  Y14, y, y       \
	VMINPD  Y13, y, y       \
	VCVTTPD2DQY y, x

// func codesAVX2(dst *byte, x, lo, scale *float32, n int, top float64)
//
// One code a byte, for n values with a minimum and a scale each; n is a multiple
// of 8.
TEXT ·codesAVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ lo+16(FP), BX
	MOVQ scale+24(FP), R8
	MOVQ n+32(FP), CX
	VBROADCASTSD top+40(FP), Y13
	VXORPD Y14, Y14, Y14
	VBROADCASTSD sealConst<>+0(SB), Y15
	VBROADCASTSS sealConst<>+8(SB), Y12

codes:
	SUBQ $8, CX
	JLT  codesDone
	VMULPS (SI), Y12, Y0
	VMULPS (BX), Y12, Y1
	VSUBPS Y1, Y0, Y0
	VEXTRACTF128 $1, Y0, X1
	CODE4(X0, (R8), Y2, Y3, X4)
	CODE4(X1, 16(R8), Y5, Y6, X7)
	VPACKUSDW X7, X4, X4
	VPACKUSWB X4, X4, X4
	VMOVQ X4, (DI)
	ADDQ $8, DI
	ADDQ $32, SI
	ADDQ $32, BX
	ADDQ $32, R8
	JMP  codes

codesDone:
	VZEROUPPER
	RET
