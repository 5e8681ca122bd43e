//go:build !noasm

#include "textflag.h"

// Quantised KV to float32, as compute.Layout.DecodeBlock does to the bit: code
// times scale, rounded, plus minimum. Twins: block.go.

DATA low<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL low<>(SB), RODATA|NOPTR, $8

// func rows8AVX2(dst *float32, codes *byte, pairs *float32, rows, n int)
//
// dst[r·n+i] = pairs[2r] + pairs[2r+1]·codes[r·n+i]; n is a multiple of 8.
TEXT ·rows8AVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ pairs+16(FP), BX
	MOVQ rows+24(FP), CX
	MOVQ n+32(FP), DX

rows8row:
	SUBQ $1, CX
	JLT  rows8done
	VBROADCASTSS (BX), Y2
	VBROADCASTSS 4(BX), Y3
	ADDQ $8, BX
	MOVQ DX, AX

rows8:
	VPMOVZXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y3, Y0, Y0
	VADDPS Y2, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $8, SI
	ADDQ $32, DI
	SUBQ $8, AX
	JG   rows8
	JMP  rows8row

rows8done:
	VZEROUPPER
	RET

// func rows4AVX2(dst *float32, codes *byte, pairs *float32, rows, n int)
//
// As rows8AVX2 for codes of 4 bits, of which a row's first half are the low halves
// of its bytes; n is a multiple of 16.
TEXT ·rows4AVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ pairs+16(FP), BX
	MOVQ rows+24(FP), CX
	MOVQ n+32(FP), DX
	VPBROADCASTQ low<>(SB), X15
	LEAQ (DX*2), R8            // bytes of half a row of floats

rows4row:
	SUBQ $1, CX
	JLT  rows4done
	VBROADCASTSS (BX), Y4
	VBROADCASTSS 4(BX), Y5
	ADDQ $8, BX
	MOVQ DX, AX

rows4:
	VMOVQ (SI), X0
	VPSRLW $4, X0, X1
	VPAND X15, X0, X0
	VPAND X15, X1, X1
	VPMOVZXBD X0, Y2
	VPMOVZXBD X1, Y3
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y5, Y2, Y2
	VMULPS Y5, Y3, Y3
	VADDPS Y4, Y2, Y2
	VADDPS Y4, Y3, Y3
	VMOVUPS Y2, (DI)
	VMOVUPS Y3, (DI)(R8*1)
	ADDQ $8, SI
	ADDQ $32, DI
	SUBQ $16, AX
	JG   rows4
	ADDQ R8, DI
	JMP  rows4row

rows4done:
	VZEROUPPER
	RET
