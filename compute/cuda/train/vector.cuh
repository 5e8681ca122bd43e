// V neighbours as float32: 8, of which the first lies at a multiple of 16 bytes, or 1.
#pragma once
#include <cuda_bf16.h>
#include <stdint.h>

template <int V> __device__ __forceinline__ void get(const __nv_bfloat16 *p, float (&x)[V]) {
	static_assert(V == 1 || V == 8);
	if constexpr (V == 8) {
		const uint4 v = *(const uint4 *)p;
		const uint32_t w[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
		for (int i = 0; i < 4; i++) x[2 * i] = __uint_as_float(w[i] << 16), x[2 * i + 1] = __uint_as_float(w[i] & 0xffff0000u);
	} else {
		x[0] = __bfloat162float(*p);
	}
}

template <int V> __device__ __forceinline__ void get(const float *p, float (&x)[V]) {
	static_assert(V == 1 || V == 8);
	if constexpr (V == 8) {
		const float4 a = ((const float4 *)p)[0], b = ((const float4 *)p)[1];
		x[0] = a.x, x[1] = a.y, x[2] = a.z, x[3] = a.w, x[4] = b.x, x[5] = b.y, x[6] = b.z, x[7] = b.w;
	} else {
		x[0] = *p;
	}
}

// Rounded to the nearest, ties to even.
template <int V> __device__ __forceinline__ void put(__nv_bfloat16 *p, const float (&x)[V]) {
	if constexpr (V == 8) {
		uint32_t w[4];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const __nv_bfloat162 v = __floats2bfloat162_rn(x[2 * i], x[2 * i + 1]);
			w[i] = *(const uint32_t *)&v;
		}
		*(uint4 *)p = make_uint4(w[0], w[1], w[2], w[3]);
	} else {
		*p = __float2bfloat16_rn(x[0]);
	}
}

template <int V> __device__ __forceinline__ void put(float *p, const float (&x)[V]) {
	if constexpr (V == 8) {
		((float4 *)p)[0] = make_float4(x[0], x[1], x[2], x[3]);
		((float4 *)p)[1] = make_float4(x[4], x[5], x[6], x[7]);
	} else {
		*p = x[0];
	}
}

// BOTH makes two kernels of one: NAME_8 for rows of whole eights at 16 bytes, and NAME_1.
#define BOTH(threads, name, args)                                                                                               \
	extern "C" __global__ void __launch_bounds__(threads) train_##name##_8(const __grid_constant__ args a) { name<8>(a); } \
	extern "C" __global__ void __launch_bounds__(threads) train_##name##_1(const __grid_constant__ args a) { name<1>(a); }
