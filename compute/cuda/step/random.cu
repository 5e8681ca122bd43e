// Random contents of the size of a model and its cache, for benchmarks: what is read must
// not be all alike, since products of zeros take less power and caches may compress them.
#include "../decode.cuh"
#include "step.cuh"

struct random_args {
	uint8_t *out;
	long long n; // numbers, or blocks of a quantised format
	float scale; // of the numbers, which lie evenly in ±scale
	uint32_t seed;
	int format;  // of decode.cuh
};

// The finaliser of murmur3, over a counter.
__device__ __forceinline__ uint32_t mix(uint32_t v) {
	v ^= v >> 16, v *= 0x85ebca6b, v ^= v >> 13, v *= 0xc2b2ae35;
	return v ^ v >> 16;
}

__device__ __forceinline__ uint32_t draw(const random_args &a, long long i) { return mix(mix((uint32_t)i ^ a.seed) + (uint32_t)(i >> 32) * 0x9e3779b9); }

__device__ __forceinline__ float even(uint32_t v, float scale) { return ((float)(int32_t)v) * (scale / 2147483648.0f); }

// grid any   block any
extern "C" __global__ void random_fill(const __grid_constant__ random_args a) {
	for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += (long long)gridDim.x * blockDim.x) {
		switch (a.format) {
		case F32: ((float *)a.out)[i] = even(draw(a, i), a.scale); break;
		case F16: ((__half *)a.out)[i] = __float2half_rn(even(draw(a, i), a.scale)); break;
		case BF16: ((__nv_bfloat16 *)a.out)[i] = __float2bfloat16_rn(even(draw(a, i), a.scale)); break;
		case U8: a.out[i] = draw(a, i); break;
		case Q8_0: case Q4_0: { // codes are even in their range, under one scale
			const int bytes = a.format == Q8_0 ? 34 : 18;
			uint8_t *b = a.out + i * bytes;
			*(__half *)b = __float2half_rn(a.scale / (a.format == Q8_0 ? 128 : 8));
			for (int j = 2; j < bytes; j++) b[j] = draw(a, i * bytes + j);
		}
		}
	}
}
