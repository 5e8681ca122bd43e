// eˣ for eight float32, shared by the kernels that need it. Twin: expGo.

// EXP sets y to e^y, using t0 to t2 and the constants of Y8 to Y15: Cody and
// Waite's reduction to |r| ≤ ln2/2 and a polynomial of degree 7 (the coefficients
// of Cephes' expf); tests walk the range for the error.
//
// y < −87.3 becomes 0 at the end, y > 88.3 is held there; the operand order of the
// maximum and minimum keeps a NaN; 2ⁿ is the exponent of 1 raised by n.
//
// Y8 log2e, Y9 ln2 upper, Y10 ln2 lower, Y11 −87.3, Y12 1, Y13 0.5, Y14 88.3,
// Y15 the second coefficient; Y7 is overwritten.
#define EXP(y, t0, t1, t2) \
	VCMPPS  $1, Y11, y, t2         \
	VMAXPS  y, Y11, y              \
	VMINPS  y, Y14, y              \
	VMULPS  Y8, y, t0              \
	VROUNDPS $0, t0, t0            \
	VFNMADD231PS Y9, t0, y         \
	VFNMADD231PS Y10, t0, y        \
	VCVTPS2DQ t0, t0               \
	VPSLLD  $23, t0, t0            \
	VPADDD  Y12, t0, t0            \
	VBROADCASTSS ·expConst+12(SB), t1 \
	VFMADD213PS Y15, y, t1         \
	VBROADCASTSS ·expConst+20(SB), Y7 \
	VFMADD213PS Y7, y, t1          \
	VBROADCASTSS ·expConst+24(SB), Y7 \
	VFMADD213PS Y7, y, t1          \
	VBROADCASTSS ·expConst+28(SB), Y7 \
	VFMADD213PS Y7, y, t1          \
	VFMADD213PS Y13, y, t1         \
	VMULPS  y, y, Y7               \
	VFMADD213PS y, Y7, t1          \
	VADDPS  Y12, t1, t1            \
	VMULPS  t0, t1, t1             \
	VANDNPS t1, t2, y

#define EXPCONSTANTS \
	VBROADCASTSS ·expConst+0(SB), Y8   \
	VBROADCASTSS ·expConst+4(SB), Y9   \
	VBROADCASTSS ·expConst+8(SB), Y10  \
	VBROADCASTSS ·expConst+40(SB), Y11 \
	VBROADCASTSS ·expConst+36(SB), Y12 \
	VBROADCASTSS ·expConst+32(SB), Y13 \
	VBROADCASTSS ·expConst+44(SB), Y14 \
	VBROADCASTSS ·expConst+16(SB), Y15
