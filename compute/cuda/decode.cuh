// Weights of every format as float32. Twin: dtype/decode.go, whose values these are to
// the bit: products that are added to something are rounded first.
//
//   eight<T>(row, i, w)   elements i to i+7 of a row; i is a multiple of 8, and all eight lie in it
//   one<T>(row, i)        one element of a plain format, for rows of any length
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

// The numbers of dtype.Type.
enum { F32 = 1, F16, BF16, I32, I64, U8, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K };

template <int T> struct format;
template <> struct format<F32>  { enum { block = 1, bytes = 4 }; };
template <> struct format<F16>  { enum { block = 1, bytes = 2 }; };
template <> struct format<BF16> { enum { block = 1, bytes = 2 }; };
template <> struct format<Q8_0> { enum { block = 32, bytes = 34 }; };
template <> struct format<Q4_0> { enum { block = 32, bytes = 18 }; };
template <> struct format<Q4_1> { enum { block = 32, bytes = 20 }; };
template <> struct format<Q5_0> { enum { block = 32, bytes = 22 }; };
template <> struct format<Q5_1> { enum { block = 32, bytes = 24 }; };
template <> struct format<Q4_K> { enum { block = 256, bytes = 144 }; };
template <> struct format<Q5_K> { enum { block = 256, bytes = 176 }; };
template <> struct format<Q6_K> { enum { block = 256, bytes = 210 }; };

__device__ __forceinline__ float half_at(const uint8_t *p) {
	return __half2float(__ushort_as_half(*(const uint16_t *)p));
}

template <int T> __device__ __forceinline__ float one(const uint8_t *row, int i) {
	if constexpr (T == F32) return ((const float *)row)[i];
	if constexpr (T == F16) return half_at(row + 2 * i);
	if constexpr (T == BF16) return __uint_as_float((uint32_t)((const uint16_t *)row)[i] << 16);
	return 0;
}

// The 6-bit scale and minimum of group g of 8.
__device__ __forceinline__ void scale_min(int g, const uint8_t *s, int &scale, int &minimum) {
	if (g < 4) {
		scale = s[g] & 63;
		minimum = s[g + 4] & 63;
	} else {
		scale = (s[g + 4] & 15) | (s[g - 4] >> 6 << 4);
		minimum = (s[g + 4] >> 4) | (s[g] >> 6 << 4);
	}
}

template <int T> __device__ __forceinline__ void eight(const uint8_t *row, int i, float *w) {
	if constexpr (T == F32) {
		const float4 *p = (const float4 *)(row + 4 * (size_t)i);
		float4 a = p[0], b = p[1];
		w[0] = a.x, w[1] = a.y, w[2] = a.z, w[3] = a.w;
		w[4] = b.x, w[5] = b.y, w[6] = b.z, w[7] = b.w;
		return;
	} else if constexpr (T == F16 || T == BF16) {
		uint4 p = *(const uint4 *)(row + 2 * (size_t)i);
		uint32_t v[4] = {p.x, p.y, p.z, p.w};
#pragma unroll
		for (int j = 0; j < 4; j++) {
			if constexpr (T == BF16) {
				w[2 * j] = __uint_as_float(v[j] << 16);
				w[2 * j + 1] = __uint_as_float(v[j] & 0xffff0000u);
			} else {
				w[2 * j] = __half2float(__ushort_as_half(v[j] & 0xffff));
				w[2 * j + 1] = __half2float(__ushort_as_half(v[j] >> 16));
			}
		}
		return;
	} else {
		const uint8_t *b = row + (size_t)(i / format<T>::block) * format<T>::bytes;
		const int at = i % format<T>::block;
		if constexpr (T == Q8_0) {
			const float d = half_at(b);
			const uint16_t *q = (const uint16_t *)(b + 2 + at);
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const uint32_t v = q[j];
				w[2 * j] = __fmul_rn((float)(int8_t)(v & 0xff), d);
				w[2 * j + 1] = __fmul_rn((float)(int8_t)(v >> 8), d);
			}
		} else if constexpr (T == Q4_0 || T == Q4_1 || T == Q5_0 || T == Q5_1) {
			// Element j in the low, j+16 in the high half of byte j.
			const bool minimum = T == Q4_1 || T == Q5_1, fifth = T == Q5_0 || T == Q5_1;
			const float d = half_at(b), m = minimum ? half_at(b + 2) : 0;
			const uint8_t *p = b + (minimum ? 4 : 2);
			uint32_t high = 0;
			if (fifth) {
				high = (uint32_t)((const uint16_t *)p)[0] | (uint32_t)((const uint16_t *)p)[1] << 16;
				p += 4;
			}
			const uint16_t *q = (const uint16_t *)(p + at % 16);
			const int shift = at < 16 ? 0 : 4;
#pragma unroll
			for (int j = 0; j < 8; j++) {
				int c = q[j / 2] >> (8 * (j & 1) + shift) & 15;
				if (fifth) c |= (high >> (at + j) & 1) << 4;
				if (minimum)
					w[j] = __fadd_rn(__fmul_rn((float)c, d), m);
				else
					w[j] = __fmul_rn((float)(c - (fifth ? 16 : 8)), d);
			}
		} else if constexpr (T == Q4_K || T == Q5_K) {
			const int g = at / 32, in = at % 32;
			int sc, mn;
			scale_min(g, b + 4, sc, mn);
			const float d = __fmul_rn(half_at(b), (float)sc), m = __fmul_rn(half_at(b + 2), (float)mn);
			const uint8_t *high = b + 16, *q = b + (T == Q5_K ? 48 : 16) + g / 2 * 32 + in;
#pragma unroll
			for (int j = 0; j < 8; j++) {
				int c = q[j] >> (4 * (g & 1)) & 15;
				if (T == Q5_K) c |= (high[in + j] >> g & 1) << 4;
				w[j] = __fadd_rn(__fmul_rn(d, (float)c), -m);
			}
		} else if constexpr (T == Q6_K) {
			const int n = at / 128, r = at % 128 / 32, in = at % 32;
			const uint8_t *low = b + n * 64 + (r & 1) * 32 + in, *high = b + 128 + n * 32 + in;
			const float d = __fmul_rn(half_at(b + 208), (float)(int8_t)b[192 + n * 8 + r * 2 + in / 16]);
#pragma unroll
			for (int j = 0; j < 8; j++) {
				const int c = (low[j] >> (r >> 1) * 4 & 15) | (high[j] >> 2 * r & 3) << 4;
				w[j] = __fmul_rn(d, (float)(c - 32));
			}
		}
	}
}

// EACH_FORMAT expands X(name, format) for every weight format.
#define EACH_FORMAT(X) \
	X(f32, F32) X(f16, F16) X(bf16, BF16) X(q8_0, Q8_0) X(q4_0, Q4_0) X(q4_1, Q4_1) \
	X(q5_0, Q5_0) X(q5_1, Q5_1) X(q4_k, Q4_K) X(q5_k, Q5_K) X(q6_k, Q6_K)
