// The cache's blocks and summaries. Twins: compute/layout.go, compute/summary.go
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

enum { KV_F32, KV_BF16, KV_F16, KV_Q8, KV_Q4 };

// As Go's layoutArgs.
struct layout {
	int heads, dim, block, segments, span, kv, summary_bytes, block_bytes;
};

// The place of a channel of a segment's mean, in elements.
__device__ __forceinline__ int summary_at(const layout &l, int segment, int channel) {
	return (channel / 4 * l.segments + segment) * 4 + channel % 4;
}

// Bytes of n codes of a row.
__device__ __forceinline__ int code_bytes(const layout &l, int n) { return l.kv == KV_Q4 ? (n + 1) / 2 : n; }

// Element i of row r of a full block's keys [dim, block] or values [block, dim], where
// rows have n elements.
template <int KV> __device__ __forceinline__ float block_value(const layout &l, const uint8_t *b, bool values, int r, int i) {
	const int n = values ? l.dim : l.block, at = (values ? l.dim * l.block : 0) + r * n + i;
	if constexpr (KV == KV_F32) return ((const float *)b)[at];
	if constexpr (KV == KV_BF16) return __uint_as_float((uint32_t)((const uint16_t *)b)[at] << 16);
	if constexpr (KV == KV_F16) return __half2float(__ushort_as_half(((const uint16_t *)b)[at]));
	if constexpr (KV != KV_Q8 && KV != KV_Q4) return 0;
	const int kbytes = l.dim * code_bytes(l, l.block), size = code_bytes(l, n);
	const uint8_t *codes = b + (values ? kbytes : 0) + r * size;
	int c;
	if constexpr (KV == KV_Q8)
		c = codes[i];
	else
		c = i < size ? codes[i] & 15 : codes[i - size] >> 4;
	// A block of odd shape puts its pairs at any address.
	const uint8_t *p = b + kbytes + l.block * code_bytes(l, l.dim) + 8 * ((values ? l.dim : 0) + r);
	float lo, scale;
	if (((size_t)p & 3) == 0) {
		lo = ((const float *)p)[0], scale = ((const float *)p)[1];
	} else {
		uint32_t v[2] = {};
		for (int j = 0; j < 8; j++) v[j / 4] |= (uint32_t)p[j] << (8 * (j % 4));
		lo = __uint_as_float(v[0]), scale = __uint_as_float(v[1]);
	}
	return __fadd_rn(lo, __fmul_rn(scale, (float)c));
}

// A mean as the cache holds it.
__device__ __forceinline__ float mean_value(const layout &l, const uint8_t *summary, int segment, int channel) {
	const int at = summary_at(l, segment, channel);
	if (l.kv == KV_F32) return ((const float *)summary)[at];
	return __half2float(((const __half *)summary)[at]);
}
