// A full block in the cache's format. Twin: EncodeBlock of compute/layout.go
#pragma once
#include "layout.cuh"
#include "sum.cuh"

// A number as bfloat16: to the nearest, ties to even; what is no number stays none.
__device__ __forceinline__ uint16_t bf16_bits(float v) {
	const uint32_t b = __float_as_uint(v);
	return (b & 0x7fffffff) > 0x7f800000 ? (b >> 16) | 0x40 : (b + 0x7fff + (b >> 16 & 1)) >> 16;
}

// A warp encodes row r of a block, of its keys [dim, block] and then of its values [block,
// dim], as the tail has them.
__device__ __forceinline__ void encode_row(const layout &l, uint8_t *slot, const float *tail, int r) {
	const int lane = threadIdx.x % 32;
	const bool values = r >= l.dim;
	if (values) r -= l.dim;
	const int n = values ? l.dim : l.block;
	const size_t at = (values ? (size_t)l.dim * l.block : 0) + (size_t)r * n;
	const float *x = tail + at;
	if (l.kv == KV_F32 || l.kv == KV_BF16 || l.kv == KV_F16) {
		for (int i = lane; i < n; i += 32) {
			if (l.kv == KV_F32) {
				((float *)slot)[at + i] = x[i];
			} else if (l.kv == KV_F16) {
				((__half *)slot)[at + i] = __float2half_rn(x[i]);
			} else {
				((uint16_t *)slot)[at + i] = bf16_bits(x[i]);
			}
		}
		return;
	}
	float lo = x[0], hi = x[0];
	for (int i = lane; i < n; i += 32) lo = smaller(lo, x[i]), hi = larger(hi, x[i]);
	lo = warp_min(lo), hi = warp_max(hi);
	const float top = l.kv == KV_Q8 ? 255 : 15;
	const float scale = 2 * ((hi / 2 - lo / 2) / top);
	const int kbytes = l.dim * code_bytes(l, l.block), size = code_bytes(l, n);
	uint8_t *codes = slot + (values ? kbytes : 0) + r * size;
	auto code = [&](float v) {
		if (scale == 0) return 0;
		const double c = rint((double)(v / 2 - lo / 2) / ((double)scale / 2));
		return c != c ? 0 : (int)fmin(fmax(c, 0.0), (double)top);
	};
	for (int i = lane; i < size; i += 32) {
		int c = code(x[i]);
		if (l.kv == KV_Q4 && i + size < n) c |= code(x[i + size]) << 4;
		codes[i] = c;
	}
	if (lane < 8) {
		const uint32_t word = __float_as_uint(lane < 4 ? lo : scale);
		uint8_t *p = slot + kbytes + l.block * code_bytes(l, l.dim) + 8 * ((values ? l.dim : 0) + r);
		p[lane] = word >> (8 * (lane % 4));
	}
}
