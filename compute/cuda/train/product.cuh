// What products are told, and what becomes of their sums.
//
//	c [m, n] = a · b over k     a [m, k], or across: [k, m]     b [n, k], or across: [k, n]
//
// y = x·Wᵀ has both along k, dx = dy·W has b across, dW = dyᵀ·x both.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

enum { SET, ADD, SUM, PART }; // out is bf16 and set, or added to; float32 and added to, or parts that fold.cu adds

struct product_args {
	void *out;                    // [m, n]; of PART: [splits, m, n]
	const __nv_bfloat16 *a, *b;
	const float *bias;            // [n] or none; of SET
	int m, n, k;
	int splits, kind;
	int wide;                     // lines of a, b and out are whole eights that begin at 16 bytes
};

// How many pieces of k, of `unit` elements each, come before split s.
__device__ __forceinline__ int before(const product_args &a, int s, int unit) { return (int)((long long)s * ((a.k + unit - 1) / unit) / a.splits); }

// Two neighbours of a row as they become of two sums, for SET and ADD.
__device__ __forceinline__ __nv_bfloat162 pair_of(const product_args &a, int row, int column, float x, float y) {
	if (a.kind == ADD) {
		const __nv_bfloat162 old = *((const __nv_bfloat162 *)a.out + ((size_t)row * a.n + column) / 2);
		x += __bfloat162float(old.x), y += __bfloat162float(old.y);
	} else if (a.bias) {
		x += a.bias[column], y += a.bias[column + 1];
	}
	return __floats2bfloat162_rn(x, y);
}

// One sum goes where it belongs.
__device__ __forceinline__ void finish(const product_args &a, int split, int row, int column, float x) {
	const size_t at = (size_t)row * a.n + column;
	switch (a.kind) {
	case SET: ((__nv_bfloat16 *)a.out)[at] = __float2bfloat16_rn(a.bias ? x + a.bias[column] : x); break;
	case ADD: ((__nv_bfloat16 *)a.out)[at] = __float2bfloat16_rn(x + __bfloat162float(((const __nv_bfloat16 *)a.out)[at])); break;
	case SUM: ((float *)a.out)[at] += x; break;
	case PART: ((float *)a.out)[(size_t)split * a.m * a.n + at] = x; break;
	}
}

// Two neighbours of a row, where n is even and out lies at 16 bytes.
__device__ __forceinline__ void finish(const product_args &a, int split, int row, int column, float x, float y) {
	const size_t at = (size_t)row * a.n + column;
	if (a.kind <= ADD) {
		*((__nv_bfloat162 *)a.out + at / 2) = pair_of(a, row, column, x, y);
		return;
	}
	float2 *const to = (float2 *)a.out + (a.kind == PART ? (size_t)split * a.m * a.n + at : at) / 2;
	if (a.kind == SUM) {
		const float2 old = *to;
		x += old.x, y += old.y;
	}
	*to = make_float2(x, y);
}
