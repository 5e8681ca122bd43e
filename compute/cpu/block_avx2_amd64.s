//go:build !noasm

#include "textflag.h"

// Quantised KV to float32, as compute.Layout.DecodeBlock does to the bit: code
// times scale, rounded, plus minimum. Twins: block.go.

DATA low<>+0(SB)/8, $0x0f0f0f0f0f0f0f0f
GLOBL low<>(SB), RODATA|NOPTR, $8

// CODES16 leaves the sixteen 4-bit codes of eight bytes at mem in X0, in order.
#define CODES16(mem) \
	VMOVQ mem, X0            \
	VPSRLW $4, X0, X1        \
	VPAND X15, X0, X0        \
	VPAND X15, X1, X1        \
	VPUNPCKLBW X1, X0, X0

// func keys8AVX2(dst *float32, codes *byte, lo, scale *float32, rows, dim int)
//
// dst[t·dim+d] = lo[d] + scale[d]·codes[t·dim+d]; dim is a multiple of 8.
TEXT ·keys8AVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ lo+16(FP), BX
	MOVQ scale+24(FP), R8
	MOVQ rows+32(FP), CX
	MOVQ dim+40(FP), DX

keys8row:
	SUBQ $1, CX
	JLT  keys8done
	XORQ AX, AX

keys8:
	CMPQ AX, DX
	JGE  keys8row
	VPMOVZXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMULPS (R8)(AX*4), Y0, Y0
	VADDPS (BX)(AX*4), Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $8, SI
	ADDQ $32, DI
	ADDQ $8, AX
	JMP  keys8

keys8done:
	VZEROUPPER
	RET

// func values8AVX2(dst *float32, codes *byte, pairs *float32, rows, dim int)
//
// dst[t·dim+d] = pairs[2t] + pairs[2t+1]·codes[t·dim+d]; dim is a multiple of 8.
TEXT ·values8AVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ pairs+16(FP), BX
	MOVQ rows+24(FP), CX
	MOVQ dim+32(FP), DX

values8row:
	SUBQ $1, CX
	JLT  values8done
	VBROADCASTSS (BX), Y2
	VBROADCASTSS 4(BX), Y3
	ADDQ $8, BX
	MOVQ DX, AX

values8:
	VPMOVZXBD (SI), Y0
	VCVTDQ2PS Y0, Y0
	VMULPS Y3, Y0, Y0
	VADDPS Y2, Y0, Y0
	VMOVUPS Y0, (DI)
	ADDQ $8, SI
	ADDQ $32, DI
	SUBQ $8, AX
	JG   values8
	JMP  values8row

values8done:
	VZEROUPPER
	RET

// func keys4AVX2(dst *float32, codes *byte, lo, scale *float32, rows, dim int)
//
// As keys8AVX2 for codes of 4 bits; dim is a multiple of 16.
TEXT ·keys4AVX2(SB), NOSPLIT, $0-48
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ lo+16(FP), BX
	MOVQ scale+24(FP), R8
	MOVQ rows+32(FP), CX
	MOVQ dim+40(FP), DX
	VPBROADCASTQ low<>(SB), X15

keys4row:
	SUBQ $1, CX
	JLT  keys4done
	XORQ AX, AX

keys4:
	CMPQ AX, DX
	JGE  keys4row
	CODES16((SI))
	VPMOVZXBD X0, Y2
	VPSRLDQ $8, X0, X0
	VPMOVZXBD X0, Y3
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS (R8)(AX*4), Y2, Y2
	VMULPS 32(R8)(AX*4), Y3, Y3
	VADDPS (BX)(AX*4), Y2, Y2
	VADDPS 32(BX)(AX*4), Y3, Y3
	VMOVUPS Y2, (DI)
	VMOVUPS Y3, 32(DI)
	ADDQ $8, SI
	ADDQ $64, DI
	ADDQ $16, AX
	JMP  keys4

keys4done:
	VZEROUPPER
	RET

// func values4AVX2(dst *float32, codes *byte, pairs *float32, rows, dim int)
//
// As values8AVX2 for codes of 4 bits; dim is a multiple of 16.
TEXT ·values4AVX2(SB), NOSPLIT, $0-40
	MOVQ dst+0(FP), DI
	MOVQ codes+8(FP), SI
	MOVQ pairs+16(FP), BX
	MOVQ rows+24(FP), CX
	MOVQ dim+32(FP), DX
	VPBROADCASTQ low<>(SB), X15

values4row:
	SUBQ $1, CX
	JLT  values4done
	VBROADCASTSS (BX), Y4
	VBROADCASTSS 4(BX), Y5
	ADDQ $8, BX
	MOVQ DX, AX

values4:
	CODES16((SI))
	VPMOVZXBD X0, Y2
	VPSRLDQ $8, X0, X0
	VPMOVZXBD X0, Y3
	VCVTDQ2PS Y2, Y2
	VCVTDQ2PS Y3, Y3
	VMULPS Y5, Y2, Y2
	VMULPS Y5, Y3, Y3
	VADDPS Y4, Y2, Y2
	VADDPS Y4, Y3, Y3
	VMOVUPS Y2, (DI)
	VMOVUPS Y3, 32(DI)
	ADDQ $8, SI
	ADDQ $64, DI
	SUBQ $16, AX
	JG   values4
	JMP  values4row

values4done:
	VZEROUPPER
	RET
