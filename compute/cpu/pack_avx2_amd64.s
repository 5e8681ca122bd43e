//go:build !noasm

#include "textflag.h"

// Eight rows into the order of panel.go. Twin: packGo.

// TURN makes of four rows' four elements in a to d (another four rows in their
// upper halves) four elements' four rows, by way of t0 to t3.
#define TURN(a, b, c, d, t0, t1, t2, t3) \
	VUNPCKLPS b, a, t0   \
	VUNPCKHPS b, a, t1   \
	VUNPCKLPS d, c, t2   \
	VUNPCKHPS d, c, t3   \
	VUNPCKLPD t2, t0, a  \
	VUNPCKHPD t2, t0, b  \
	VUNPCKLPD t3, t1, c  \
	VUNPCKHPD t3, t1, d

// func pack8AVX2(dst, src *float32, ss, steps, class, st, half int)
//
// dst[class·lane + step·st + row] is set for eight rows of which the last four lie
// half after the first.
TEXT ·pack8AVX2(SB), NOSPLIT, $0-56
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ ss+16(FP), R8
	MOVQ steps+24(FP), CX
	MOVQ class+32(FP), R9
	MOVQ st+40(FP), R10
	MOVQ half+48(FP), R12
	SHLQ $2, R8
	SHLQ $2, R9
	SHLQ $2, R10
	SHLQ $2, R12
	LEAQ (SI)(R8*2), R13
	ADDQ R8, R13           // row 3
	LEAQ (R13)(R8*2), BX
	ADDQ R8, BX            // row 6

next:
	SUBQ $1, CX
	JLT  done
	VMOVUPS (SI), X0
	VMOVUPS (SI)(R8*1), X1
	VMOVUPS (SI)(R8*2), X2
	VMOVUPS (R13), X3
	VINSERTF128 $1, (SI)(R8*4), Y0, Y0
	VINSERTF128 $1, (R13)(R8*2), Y1, Y1
	VINSERTF128 $1, (BX), Y2, Y2
	VINSERTF128 $1, (R13)(R8*4), Y3, Y3
	VMOVUPS 16(SI), X4
	VMOVUPS 16(SI)(R8*1), X5
	VMOVUPS 16(SI)(R8*2), X6
	VMOVUPS 16(R13), X7
	VINSERTF128 $1, 16(SI)(R8*4), Y4, Y4
	VINSERTF128 $1, 16(R13)(R8*2), Y5, Y5
	VINSERTF128 $1, 16(BX), Y6, Y6
	VINSERTF128 $1, 16(R13)(R8*4), Y7, Y7
	TURN(Y0, Y1, Y2, Y3, Y8, Y9, Y10, Y11)
	TURN(Y4, Y5, Y6, Y7, Y12, Y13, Y14, Y15)
	LEAQ (DI)(R12*1), DX
	VMOVUPS X0, (DI)
	VEXTRACTF128 $1, Y0, (DX)
	VMOVUPS X1, (DI)(R9*1)
	VEXTRACTF128 $1, Y1, (DX)(R9*1)
	VMOVUPS X2, (DI)(R9*2)
	VEXTRACTF128 $1, Y2, (DX)(R9*2)
	VMOVUPS X4, (DI)(R9*4)
	VEXTRACTF128 $1, Y4, (DX)(R9*4)
	LEAQ (DI)(R9*1), AX
	LEAQ (DX)(R9*1), DX
	VMOVUPS X3, (AX)(R9*2)
	VEXTRACTF128 $1, Y3, (DX)(R9*2)
	VMOVUPS X5, (AX)(R9*4)
	VEXTRACTF128 $1, Y5, (DX)(R9*4)
	LEAQ (AX)(R9*1), AX
	LEAQ (DX)(R9*1), DX
	VMOVUPS X6, (AX)(R9*4)
	VEXTRACTF128 $1, Y6, (DX)(R9*4)
	LEAQ (AX)(R9*1), AX
	LEAQ (DX)(R9*1), DX
	VMOVUPS X7, (AX)(R9*4)
	VEXTRACTF128 $1, Y7, (DX)(R9*4)
	ADDQ $32, SI
	ADDQ $32, R13
	ADDQ $32, BX
	ADDQ R10, DI
	JMP  next

done:
	VZEROUPPER
	RET
