//go:build !noasm

#include "textflag.h"
#include "ahead_amd64.h"

// The formats with five bits and those of 256 elements to float32, the values of
// dtype.Decode bit for bit; their layouts are written there. Twin: dtype.Decode.

DATA count<>+0(SB)/4, $0
DATA count<>+4(SB)/4, $1
DATA count<>+8(SB)/4, $2
DATA count<>+12(SB)/4, $3
DATA count<>+16(SB)/4, $4
DATA count<>+20(SB)/4, $5
DATA count<>+24(SB)/4, $6
DATA count<>+28(SB)/4, $7
GLOBL count<>(SB), RODATA|NOPTR, $32

DATA words<>+0(SB)/4, $1
DATA words<>+4(SB)/4, $3
DATA words<>+8(SB)/4, $8
DATA words<>+12(SB)/4, $15
DATA words<>+16(SB)/4, $16
DATA words<>+20(SB)/4, $32
GLOBL words<>(SB), RODATA|NOPTR, $24

// FIVE leaves in y the eight codes whose lower bits are in y and whose fifth bits
// are the next eight of Y15. Y14 counts, Y13 is 1, Y12 is 8.
#define FIVE(y, t) \
	VPSRLVD Y14, Y15, t  \
	VPAND   Y13, t, t    \
	VPSLLD  $4, t, t     \
	VPOR    t, y, y      \
	VPADDD  Y12, Y14, Y14

// SCALES stores the eight scales of a block at SI, times the block's, at 0(SP),
// and the eight minima at 32(SP). The 12 bytes hold them as dtype says; here four
// are taken at a time, 4 to 7 of the scales in R8 and of the minima in DX.
#define SCALES \
	MOVL 4(SI), AX           \
	MOVL 8(SI), BX           \
	MOVL 12(SI), DX          \
	MOVL DX, R8              \
	ANDL $0x0f0f0f0f, R8     \
	MOVL AX, R9              \
	SHRL $2, R9              \
	ANDL $0x30303030, R9     \
	ORL  R9, R8              \
	SHRL $4, DX              \
	ANDL $0x0f0f0f0f, DX     \
	MOVL BX, R9              \
	SHRL $2, R9              \
	ANDL $0x30303030, R9     \
	ORL  R9, DX              \
	ANDL $0x3f3f3f3f, AX     \
	ANDL $0x3f3f3f3f, BX     \
	SHLQ $32, R8             \
	SHLQ $32, DX             \
	ORQ  R8, AX              \
	ORQ  DX, BX              \
	VMOVQ AX, X0             \
	VMOVQ BX, X1             \
	VPMOVZXBD X0, Y0         \
	VPMOVZXBD X1, Y1         \
	VCVTDQ2PS Y0, Y0         \
	VCVTDQ2PS Y1, Y1         \
	VPBROADCASTW (SI), X2    \
	VPBROADCASTW 2(SI), X3   \
	VCVTPH2PS X2, Y2         \
	VCVTPH2PS X3, Y3         \
	VMULPS Y2, Y0, Y0        \
	VMULPS Y3, Y1, Y1        \
	VMOVUPS Y0, 0(SP)        \
	VMOVUPS Y1, 32(SP)

// SIX writes eight elements: the lower bits are in y, the upper pair in h at 16 and
// 32, among others; the factor is at f.
#define SIX(y, h, f, to) \
	VPAND  Y13, h, h       \
	VPOR   h, y, y         \
	VPSUBD Y12, y, y       \
	VCVTDQ2PS y, y         \
	VBROADCASTSS f, h      \
	VMULPS h, y, y         \
	VMOVUPS y, to

// EIGHT writes eight elements of each of the four runs of 32 in half a block, from
// place off of the run on; s is the offset of their factors.
#define EIGHT(off, s) \
	VPMOVZXBD off(SI), Y0                \
	VPMOVZXBD (32+off)(SI), Y1           \
	VPMOVZXBD off(R8), Y2                \
	VPSRLD $4, Y0, Y3                    \
	VPSRLD $4, Y1, Y4                    \
	VPAND  Y15, Y0, Y0                   \
	VPAND  Y15, Y1, Y1                   \
	VPSLLD $4, Y2, Y5                    \
	VPSLLD $2, Y2, Y6                    \
	VPSRLD $2, Y2, Y7                    \
	SIX(Y0, Y5, s(SP)(AX*1), (4*off)(DI))       \
	SIX(Y1, Y6, (8+s)(SP)(AX*1), (128+4*off)(DI)) \
	SIX(Y3, Y2, (16+s)(SP)(AX*1), (256+4*off)(DI)) \
	SIX(Y4, Y7, (24+s)(SP)(AX*1), (384+4*off)(DI))

// func expandQ50AVX2(dst *float32, src *byte, blocks int)
TEXT ·expandQ50AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD words<>+0(SB), Y13
	VPBROADCASTD words<>+8(SB), Y12
	VPBROADCASTD words<>+12(SB), Y11
	VPBROADCASTD words<>+16(SB), Y10

q50:
	PREFETCHT0 AHEAD(SI)
	SUBQ $1, CX
	JLT  q50done
	VPBROADCASTW (SI), X9
	VCVTPH2PS X9, Y9
	VPBROADCASTD 2(SI), Y15
	VMOVDQU count<>(SB), Y14
	VPMOVZXBD 6(SI), Y0
	VPMOVZXBD 14(SI), Y1
	VPSRLD $4, Y0, Y2
	VPSRLD $4, Y1, Y3
	VPAND Y11, Y0, Y0
	VPAND Y11, Y1, Y1
	FIVE(Y0, Y4)
	FIVE(Y1, Y5)
	FIVE(Y2, Y6)
	FIVE(Y3, Y7)
	VPSUBD Y10, Y0, Y0
	VPSUBD Y10, Y1, Y1
	VPSUBD Y10, Y2, Y2
	VPSUBD Y10, Y3, Y3
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y9, Y0, Y0
	VMULPS Y9, Y1, Y1
	VMULPS Y9, Y2, Y2
	VMULPS Y9, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $22, SI
	ADDQ $128, DI
	JMP  q50

q50done:
	VZEROUPPER
	RET

// func expandQ51AVX2(dst *float32, src *byte, blocks int)
TEXT ·expandQ51AVX2(SB), NOSPLIT, $0-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD words<>+0(SB), Y13
	VPBROADCASTD words<>+8(SB), Y12
	VPBROADCASTD words<>+12(SB), Y11

q51:
	PREFETCHT0 AHEAD(SI)
	SUBQ $1, CX
	JLT  q51done
	VPBROADCASTW (SI), X9
	VPBROADCASTW 2(SI), X8
	VCVTPH2PS X9, Y9
	VCVTPH2PS X8, Y8
	VPBROADCASTD 4(SI), Y15
	VMOVDQU count<>(SB), Y14
	VPMOVZXBD 8(SI), Y0
	VPMOVZXBD 16(SI), Y1
	VPSRLD $4, Y0, Y2
	VPSRLD $4, Y1, Y3
	VPAND Y11, Y0, Y0
	VPAND Y11, Y1, Y1
	FIVE(Y0, Y4)
	FIVE(Y1, Y5)
	FIVE(Y2, Y6)
	FIVE(Y3, Y7)
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y9, Y0, Y0
	VMULPS Y9, Y1, Y1
	VMULPS Y9, Y2, Y2
	VMULPS Y9, Y3, Y3
	VADDPS Y8, Y0, Y0
	VADDPS Y8, Y1, Y1
	VADDPS Y8, Y2, Y2
	VADDPS Y8, Y3, Y3
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 32(DI)
	VMOVUPS Y2, 64(DI)
	VMOVUPS Y3, 96(DI)
	ADDQ $24, SI
	ADDQ $128, DI
	JMP  q51

q51done:
	VZEROUPPER
	RET

// func expandQ4KAVX2(dst *float32, src *byte, blocks int)
TEXT ·expandQ4KAVX2(SB), NOSPLIT, $64-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD words<>+12(SB), Y15

q4k:
	SUBQ $1, CX
	JLT  q4kdone
	SCALES
	ADDQ $16, SI
	XORQ AX, AX

q4kpair:                           // two groups share 32 bytes
	PREFETCHT0 AHEAD(SI)
	VBROADCASTSS 0(SP)(AX*8), Y8
	VBROADCASTSS 4(SP)(AX*8), Y9
	VBROADCASTSS 32(SP)(AX*8), Y10
	VBROADCASTSS 36(SP)(AX*8), Y11
	MOVQ $4, BX

q4keight:
	VPMOVZXBD (SI), Y0
	VPSRLD $4, Y0, Y1
	VPAND Y15, Y0, Y0
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VMULPS Y8, Y0, Y0
	VMULPS Y9, Y1, Y1
	VSUBPS Y10, Y0, Y0
	VSUBPS Y11, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 128(DI)
	ADDQ $8, SI
	ADDQ $32, DI
	SUBQ $1, BX
	JNZ  q4keight
	ADDQ $128, DI
	INCQ AX
	CMPQ AX, $4
	JLT  q4kpair
	JMP  q4k

q4kdone:
	VZEROUPPER
	RET

// func expandQ5KAVX2(dst *float32, src *byte, blocks int)
TEXT ·expandQ5KAVX2(SB), NOSPLIT, $64-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD words<>+12(SB), Y15
	VPBROADCASTD words<>+16(SB), Y14

q5k:
	SUBQ $1, CX
	JLT  q5kdone
	SCALES
	LEAQ 16(SI), R8                // fifth bits
	ADDQ $48, SI
	XORQ AX, AX
	VPXOR X12, X12, X12            // first group of the pair: its bit is to become 16

q5kpair:
	PREFETCHT0 AHEAD(SI)
	VBROADCASTSS 0(SP)(AX*8), Y8
	VBROADCASTSS 4(SP)(AX*8), Y9
	VBROADCASTSS 32(SP)(AX*8), Y10
	VBROADCASTSS 36(SP)(AX*8), Y11
	XORQ BX, BX

q5keight:
	VPMOVZXBD (SI), Y0
	VPMOVZXBD (R8)(BX*1), Y2
	VPSLLD $4, Y2, Y2
	VPSRLD X12, Y2, Y2
	VPSRLD $4, Y0, Y1
	VPAND Y15, Y0, Y0
	VPAND Y14, Y2, Y3
	VPOR  Y3, Y0, Y0
	VPSRLD $1, Y2, Y2
	VPAND Y14, Y2, Y2
	VPOR  Y2, Y1, Y1
	VCVTDQ2PS Y0, Y0
	VCVTDQ2PS Y1, Y1
	VMULPS Y8, Y0, Y0
	VMULPS Y9, Y1, Y1
	VSUBPS Y10, Y0, Y0
	VSUBPS Y11, Y1, Y1
	VMOVUPS Y0, (DI)
	VMOVUPS Y1, 128(DI)
	ADDQ $8, SI
	ADDQ $32, DI
	ADDQ $8, BX
	CMPQ BX, $32
	JLT  q5keight
	ADDQ $128, DI
	INCQ AX
	LEAQ (AX)(AX*1), R9
	VMOVQ R9, X12
	CMPQ AX, $4
	JLT  q5kpair
	JMP  q5k

q5kdone:
	VZEROUPPER
	RET

// func expandQ6KAVX2(dst *float32, src *byte, blocks int)
TEXT ·expandQ6KAVX2(SB), NOSPLIT, $64-24
	MOVQ dst+0(FP), DI
	MOVQ src+8(FP), SI
	MOVQ blocks+16(FP), CX
	VPBROADCASTD words<>+12(SB), Y15
	VPBROADCASTD words<>+20(SB), Y12
	VPBROADCASTD words<>+4(SB), Y13
	VPSLLD $4, Y13, Y13

q6k:
	SUBQ $1, CX
	JLT  q6kdone
	VPBROADCASTW 208(SI), X0
	VCVTPH2PS X0, Y0
	VPMOVSXBD 192(SI), Y1
	VPMOVSXBD 200(SI), Y2
	VCVTDQ2PS Y1, Y1
	VCVTDQ2PS Y2, Y2
	VMULPS Y0, Y1, Y1
	VMULPS Y0, Y2, Y2
	VMOVUPS Y1, 0(SP)
	VMOVUPS Y2, 32(SP)
	LEAQ 128(SI), R8               // upper pairs of bits
	XORQ AX, AX

q6khalf:
	PREFETCHT0 AHEAD(SI)
	PREFETCHT0 (AHEAD+64)(SI)
	EIGHT(0, 0)
	EIGHT(8, 0)
	EIGHT(16, 4)
	EIGHT(24, 4)
	ADDQ $64, SI
	ADDQ $32, R8
	ADDQ $512, DI
	ADDQ $32, AX
	CMPQ AX, $64
	JLT  q6khalf
	ADDQ $82, SI                   // 210 in all
	JMP  q6k

q6kdone:
	VZEROUPPER
	RET
