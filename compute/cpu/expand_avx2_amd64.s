//go:build !noasm

#include "textflag.h"
#include "ahead_amd64.h"

// Weights and cached keys to float32, the values of dtype.Decode bit for bit (a
// product and a sum are rounded one after the other there, so no fused
// multiply-add here). Twin: dtype.Decode.

DATA nibble<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
DATA nibble<>+8(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL nibble<>(SB), RODATA|NOPTR, $16

DATA minusEight<>+0(SB)/8, $0xf8f8f8f8f8f8f8f8
DATA minusEight<>+8(SB)/8, $0xf8f8f8f8f8f8f8f8
GLOBL minusEight<>(SB), RODATA|NOPTR, $16

// func expandF16AVX2(dst *float32, src *byte, n int)
//
// n is a multiple of 8.
TEXT ·expandF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

f16x16:
	PREFETCHT0 AHEAD(SI)
	SUBQ $16, CX
	JLT  f16x8
	VCVTPH2PS (SI), Y0
	VCVTPH2PS 16(SI), Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	ADDQ $32, SI
	ADDQ $64, DI
	JMP  f16x16

f16x8:
	ADDQ $16, CX
	JZ   f16done
	VCVTPH2PS (SI), Y0
	VMOVUPS Y0, (DI)

f16done:
	VZEROUPPER
	RET

// func expandBF16AVX2(dst *float32, src *byte, n int)
//
// n is a multiple of 8.
TEXT ·expandBF16AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ n+16(FP), CX

bf16x16:
	PREFETCHT0 AHEAD(SI)
	SUBQ $16, CX
	JLT  bf16x8
	VPMOVZXWD (SI), Y0
	VPMOVZXWD 16(SI), Y1
	VPSLLD $16, Y0, Y0
	VPSLLD $16, Y1, Y1
	VMOVDQU Y0, (DI)
	VMOVDQU Y1, 32(DI)
	ADDQ $32, SI
	ADDQ $64, DI
	JMP  bf16x16

bf16x8:
	ADDQ $16, CX
	JZ   bf16done
	VPMOVZXWD (SI), Y0
	VPSLLD $16, Y0, Y0
	VMOVDQU Y0, (DI)

bf16done:
	VZEROUPPER
	RET

// func expandQ8AVX2(dst *float32, src *byte, blocks int)
//
// Q8_0: scale f16, 32 int8.
TEXT ·expandQ8AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX

q8:
	PREFETCHT0 AHEAD(SI)
	SUBQ $1, CX
	JLT  q8done
	VPBROADCASTW (SI), X8
	VCVTPH2PS X8, Y8
	VPMOVSXBD 2(SI), Y0
	VPMOVSXBD 10(SI), Y1
	VPMOVSXBD 18(SI), Y2
	VPMOVSXBD 26(SI), Y3
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y8, Y0, Y0
	VMULPS Y8, Y1, Y1
	VMULPS Y8, Y2, Y2
	VMULPS Y8, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $34, SI
	ADDQ $128, DI
	JMP  q8

q8done:
	VZEROUPPER
	RET

// func expandQ40AVX2(dst *float32, src *byte, blocks int)
//
// Q4_0: scale f16, 16 bytes with element i in the low and i+16 in the high half.
TEXT ·expandQ40AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VMOVDQU nibble<>(SB), X10
	VMOVDQU minusEight<>(SB), X11

q40:
	PREFETCHT0 AHEAD(SI)
	SUBQ $1, CX
	JLT  q40done
	VPBROADCASTW (SI), X8
	VCVTPH2PS X8, Y8
	VMOVDQU 2(SI), X0
	VPSRLW $4, X0, X2
	VPAND X10, X0, X0
	VPAND X10, X2, X2
	VPADDB X11, X0, X0
	VPADDB X11, X2, X2
	VPSRLDQ $8, X0, X1
	VPSRLDQ $8, X2, X3
	VPMOVSXBD X0, Y0
	VPMOVSXBD X1, Y1
	VPMOVSXBD X2, Y2
	VPMOVSXBD X3, Y3
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y8, Y0, Y0
	VMULPS Y8, Y1, Y1
	VMULPS Y8, Y2, Y2
	VMULPS Y8, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $18, SI
	ADDQ $128, DI
	JMP  q40

q40done:
	VZEROUPPER
	RET

// func expandQ41AVX2(dst *float32, src *byte, blocks int)
//
// Q4_1: scale f16, minimum f16, 16 bytes as in Q4_0.
TEXT ·expandQ41AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VMOVDQU nibble<>(SB), X10

q41:
	PREFETCHT0 AHEAD(SI)
	SUBQ $1, CX
	JLT  q41done
	VPBROADCASTW (SI), X8
	VPBROADCASTW 2(SI), X9
	VCVTPH2PS X8, Y8
	VCVTPH2PS X9, Y9
	VMOVDQU 4(SI), X0
	VPSRLW $4, X0, X2
	VPAND X10, X0, X0
	VPAND X10, X2, X2
	VPSRLDQ $8, X0, X1
	VPSRLDQ $8, X2, X3
	VPMOVZXBD X0, Y0
	VPMOVZXBD X1, Y1
	VPMOVZXBD X2, Y2
	VPMOVZXBD X3, Y3
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y8, Y0, Y0
	VMULPS Y8, Y1, Y1
	VMULPS Y8, Y2, Y2
	VMULPS Y8, Y3, Y3
	VADDPS Y9, Y0, Y0
	VADDPS Y9, Y1, Y1
	VADDPS Y9, Y2, Y2
	VADDPS Y9, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $20, SI
	ADDQ $128, DI
	JMP  q41

q41done:
	VZEROUPPER
	RET
