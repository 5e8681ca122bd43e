//go:build !noasm

#include "textflag.h"

// Dot products of float32 rows. Twins: dot.go.
//
// Every product of a row x and an output w is summed in the same order, whatever
// tile it lies in: eight lanes, lane l taking the elements k ≡ l mod 8 in
// ascending order by fused multiply-add, a short last step masked with zeros,
// then ((l0+l1)+(l2+l3)) + ((l4+l5)+(l6+l7)). That is what makes a row's bits the
// same in a decode step and in a prefill.

// Eight lanes on, eight lanes off: the mask of r lanes begins at 32−4r.
DATA ·laneMask+0(SB)/8, $0xffffffffffffffff
DATA ·laneMask+8(SB)/8, $0xffffffffffffffff
DATA ·laneMask+16(SB)/8, $0xffffffffffffffff
DATA ·laneMask+24(SB)/8, $0xffffffffffffffff
DATA ·laneMask+32(SB)/8, $0
DATA ·laneMask+40(SB)/8, $0
DATA ·laneMask+48(SB)/8, $0
DATA ·laneMask+56(SB)/8, $0
GLOBL ·laneMask(SB), RODATA|NOPTR, $64

// TAILMASK leaves in ptr the address of the mask for k%8 lanes, or 0 when there
// are none, and in full the bytes of the whole steps. Both may be k.
#define TAILMASK(k, ptr, full, tmp) \
	MOVQ k, tmp           \
	MOVQ k, full          \
	ANDQ $~7, full        \
	SHLQ $2, full         \
	XORQ ptr, ptr         \
	ANDQ $7, tmp          \
	JZ   4(PC)            \
	LEAQ ·laneMask+32(SB), ptr \
	SHLQ $2, tmp          \
	SUBQ tmp, ptr

// SUM4 reduces four accumulators to four neighbouring results at mem.
#define SUM4(a, b, c, d, ax, bx, mem) \
	VHADDPS b, a, a         \
	VHADDPS d, c, c         \
	VHADDPS c, a, a         \
	VEXTRACTF128 $1, a, bx  \
	VADDPS  bx, ax, ax      \
	VMOVUPS ax, mem

// SUM1 reduces one accumulator to one result at mem.
#define SUM1(a, ax, bx, mem) \
	VHADDPS a, a, a         \
	VHADDPS a, a, a         \
	VEXTRACTF128 $1, a, bx  \
	VADDSS  bx, ax, ax      \
	VMOVSS  ax, mem

// STEP3X4 adds eight elements of three rows times four outputs.
#define STEP3X4(off) \
	VMOVUPS off(SI)(AX*1), Y12      \
	VMOVUPS off(R9)(AX*1), Y13      \
	VMOVUPS off(R10)(AX*1), Y14     \
	VMOVUPS off(R13), Y15           \
	VFMADD231PS Y15, Y12, Y0        \
	VFMADD231PS Y15, Y13, Y4        \
	VFMADD231PS Y15, Y14, Y8        \
	VMOVUPS off(R13)(R11*1), Y15    \
	VFMADD231PS Y15, Y12, Y1        \
	VFMADD231PS Y15, Y13, Y5        \
	VFMADD231PS Y15, Y14, Y9        \
	VMOVUPS off(R12), Y15           \
	VFMADD231PS Y15, Y12, Y2        \
	VFMADD231PS Y15, Y13, Y6        \
	VFMADD231PS Y15, Y14, Y10       \
	VMOVUPS off(R12)(R11*1), Y15    \
	VFMADD231PS Y15, Y12, Y3        \
	VFMADD231PS Y15, Y13, Y7        \
	VFMADD231PS Y15, Y14, Y11

// func dot3AVX2(out *float32, os int, x0, x1, x2, w *float32, ws, n, k int)
//
// out[r·os + i] = x_r · w[i·ws :] for three rows and n outputs.
TEXT ·dot3AVX2(SB), NOSPLIT, $0-72
	MOVQ out+0(FP), DI
	MOVQ os+8(FP), R8
	SHLQ $2, R8
	MOVQ x0+16(FP), SI
	MOVQ x1+24(FP), R9
	MOVQ x2+32(FP), R10
	MOVQ w+40(FP), BX
	MOVQ ws+48(FP), R11
	SHLQ $2, R11
	MOVQ k+64(FP), CX
	TAILMASK(CX, DX, R14, AX)
	MOVQ n+56(FP), CX

four:
	SUBQ $4, CX
	JLT  ones
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	VXORPS Y8, Y8, Y8
	VXORPS Y9, Y9, Y9
	VXORPS Y10, Y10, Y10
	VXORPS Y11, Y11, Y11
	MOVQ BX, R13
	LEAQ (BX)(R11*2), R12
	XORQ AX, AX
	SUBQ $32, R14

twosteps:
	CMPQ AX, R14
	JGE  onestep
	STEP3X4(0)
	STEP3X4(32)
	ADDQ $64, AX
	ADDQ $64, R13
	ADDQ $64, R12
	JMP  twosteps

onestep:
	ADDQ $32, R14
	CMPQ AX, R14
	JGE  mask
	STEP3X4(0)
	ADDQ $32, AX
	ADDQ $32, R13
	ADDQ $32, R12

mask:
	TESTQ DX, DX
	JZ   sums
	VMOVUPS (DX), Y15
	VMASKMOVPS (SI)(AX*1), Y15, Y12
	VMASKMOVPS (R9)(AX*1), Y15, Y13
	VMASKMOVPS (R10)(AX*1), Y15, Y14
	VMASKMOVPS (R13), Y15, Y15
	VFMADD231PS Y15, Y12, Y0
	VFMADD231PS Y15, Y13, Y4
	VFMADD231PS Y15, Y14, Y8
	VMOVUPS (DX), Y15
	VMASKMOVPS (R13)(R11*1), Y15, Y15
	VFMADD231PS Y15, Y12, Y1
	VFMADD231PS Y15, Y13, Y5
	VFMADD231PS Y15, Y14, Y9
	VMOVUPS (DX), Y15
	VMASKMOVPS (R12), Y15, Y15
	VFMADD231PS Y15, Y12, Y2
	VFMADD231PS Y15, Y13, Y6
	VFMADD231PS Y15, Y14, Y10
	VMOVUPS (DX), Y15
	VMASKMOVPS (R12)(R11*1), Y15, Y15
	VFMADD231PS Y15, Y12, Y3
	VFMADD231PS Y15, Y13, Y7
	VFMADD231PS Y15, Y14, Y11

sums:
	SUM4(Y0, Y1, Y2, Y3, X0, X1, (DI))
	SUM4(Y4, Y5, Y6, Y7, X4, X5, (DI)(R8*1))
	SUM4(Y8, Y9, Y10, Y11, X8, X9, (DI)(R8*2))
	ADDQ $16, DI
	LEAQ (BX)(R11*4), BX
	JMP  four

ones:
	ADDQ $4, CX

one:
	SUBQ $1, CX
	JLT  done
	VXORPS Y0, Y0, Y0
	VXORPS Y4, Y4, Y4
	VXORPS Y8, Y8, Y8
	XORQ AX, AX

onenext:
	CMPQ AX, R14
	JGE  onemask
	VMOVUPS (BX)(AX*1), Y15
	VFMADD231PS (SI)(AX*1), Y15, Y0
	VFMADD231PS (R9)(AX*1), Y15, Y4
	VFMADD231PS (R10)(AX*1), Y15, Y8
	ADDQ $32, AX
	JMP  onenext

onemask:
	TESTQ DX, DX
	JZ   onesum
	VMOVUPS (DX), Y14
	VMASKMOVPS (BX)(AX*1), Y14, Y15
	VMASKMOVPS (SI)(AX*1), Y14, Y1
	VFMADD231PS Y1, Y15, Y0
	VMASKMOVPS (R9)(AX*1), Y14, Y1
	VFMADD231PS Y1, Y15, Y4
	VMASKMOVPS (R10)(AX*1), Y14, Y1
	VFMADD231PS Y1, Y15, Y8

onesum:
	SUM1(Y0, X0, X1, (DI))
	SUM1(Y4, X4, X5, (DI)(R8*1))
	SUM1(Y8, X8, X9, (DI)(R8*2))
	ADDQ $4, DI
	ADDQ R11, BX
	JMP  one

done:
	VZEROUPPER
	RET

// func dot1AVX2(out, x, w *float32, ws, n, k int)
//
// out[i] = x · w[i·ws :] for n outputs, eight at a time to hide the latency of
// the sums, then four, then one.
TEXT ·dot1AVX2(SB), NOSPLIT, $0-48
	MOVQ out+0(FP), DI
	MOVQ x+8(FP), SI
	MOVQ w+16(FP), BX
	MOVQ ws+24(FP), R11
	SHLQ $2, R11
	MOVQ k+40(FP), CX
	TAILMASK(CX, DX, R14, AX)
	MOVQ n+32(FP), CX

eight:
	SUBQ $8, CX
	JLT  ones
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	VXORPS Y4, Y4, Y4
	VXORPS Y5, Y5, Y5
	VXORPS Y6, Y6, Y6
	VXORPS Y7, Y7, Y7
	MOVQ BX, R13               // outputs 0 to 2
	LEAQ (BX)(R11*2), R10
	ADDQ R11, R10              // 3 to 5
	LEAQ (R10)(R11*2), R9
	ADDQ R11, R9               // 6 and 7
	XORQ AX, AX

next:
	CMPQ AX, R14
	JGE  mask
	VMOVUPS (SI)(AX*1), Y12
	VFMADD231PS (R13), Y12, Y0
	VFMADD231PS (R13)(R11*1), Y12, Y1
	VFMADD231PS (R13)(R11*2), Y12, Y2
	VFMADD231PS (R10), Y12, Y3
	VFMADD231PS (R10)(R11*1), Y12, Y4
	VFMADD231PS (R10)(R11*2), Y12, Y5
	VFMADD231PS (R9), Y12, Y6
	VFMADD231PS (R9)(R11*1), Y12, Y7
	ADDQ $32, AX
	ADDQ $32, R13
	ADDQ $32, R10
	ADDQ $32, R9
	JMP  next

mask:
	TESTQ DX, DX
	JZ   sums
	VMOVUPS (DX), Y13
	VMASKMOVPS (SI)(AX*1), Y13, Y12
	VMASKMOVPS (R13), Y13, Y14
	VFMADD231PS Y14, Y12, Y0
	VMASKMOVPS (R13)(R11*1), Y13, Y14
	VFMADD231PS Y14, Y12, Y1
	VMASKMOVPS (R13)(R11*2), Y13, Y14
	VFMADD231PS Y14, Y12, Y2
	VMASKMOVPS (R10), Y13, Y14
	VFMADD231PS Y14, Y12, Y3
	VMASKMOVPS (R10)(R11*1), Y13, Y14
	VFMADD231PS Y14, Y12, Y4
	VMASKMOVPS (R10)(R11*2), Y13, Y14
	VFMADD231PS Y14, Y12, Y5
	VMASKMOVPS (R9), Y13, Y14
	VFMADD231PS Y14, Y12, Y6
	VMASKMOVPS (R9)(R11*1), Y13, Y14
	VFMADD231PS Y14, Y12, Y7

sums:
	SUM4(Y0, Y1, Y2, Y3, X0, X1, (DI))
	SUM4(Y4, Y5, Y6, Y7, X4, X5, 16(DI))
	ADDQ $32, DI
	LEAQ (BX)(R11*8), BX
	JMP  eight

ones:
	ADDQ $8, CX
	SUBQ $4, CX
	JLT  rest
	VXORPS Y0, Y0, Y0
	VXORPS Y1, Y1, Y1
	VXORPS Y2, Y2, Y2
	VXORPS Y3, Y3, Y3
	MOVQ BX, R13
	LEAQ (BX)(R11*2), R10
	XORQ AX, AX

fournext:
	CMPQ AX, R14
	JGE  fourmask
	VMOVUPS (SI)(AX*1), Y12
	VFMADD231PS (R13), Y12, Y0
	VFMADD231PS (R13)(R11*1), Y12, Y1
	VFMADD231PS (R10), Y12, Y2
	VFMADD231PS (R10)(R11*1), Y12, Y3
	ADDQ $32, AX
	ADDQ $32, R13
	ADDQ $32, R10
	JMP  fournext

fourmask:
	TESTQ DX, DX
	JZ   foursums
	VMOVUPS (DX), Y13
	VMASKMOVPS (SI)(AX*1), Y13, Y12
	VMASKMOVPS (R13), Y13, Y14
	VFMADD231PS Y14, Y12, Y0
	VMASKMOVPS (R13)(R11*1), Y13, Y14
	VFMADD231PS Y14, Y12, Y1
	VMASKMOVPS (R10), Y13, Y14
	VFMADD231PS Y14, Y12, Y2
	VMASKMOVPS (R10)(R11*1), Y13, Y14
	VFMADD231PS Y14, Y12, Y3

foursums:
	SUM4(Y0, Y1, Y2, Y3, X0, X1, (DI))
	ADDQ $16, DI
	LEAQ (BX)(R11*4), BX
	SUBQ $4, CX

rest:
	ADDQ $4, CX

one:
	SUBQ $1, CX
	JLT  done
	VXORPS Y0, Y0, Y0
	XORQ AX, AX

onenext:
	CMPQ AX, R14
	JGE  onemask
	VMOVUPS (BX)(AX*1), Y15
	VFMADD231PS (SI)(AX*1), Y15, Y0
	ADDQ $32, AX
	JMP  onenext

onemask:
	TESTQ DX, DX
	JZ   onesum
	VMOVUPS (DX), Y14
	VMASKMOVPS (BX)(AX*1), Y14, Y15
	VMASKMOVPS (SI)(AX*1), Y14, Y1
	VFMADD231PS Y1, Y15, Y0

onesum:
	SUM1(Y0, X0, X1, (DI))
	ADDQ $4, DI
	ADDQ R11, BX
	JMP  one

done:
	VZEROUPPER
	RET
