// The small ops of a step between products. Twins: compute/embed.go, compute/norm.go
// order   a row's sums know its length and the block's size alone
#include "../decode.cuh"
#include "../ptx.cuh"
#include "arranged.cuh"
#include "step.cuh"

struct embed_args {
	float *out;           // [n, width]
	const uint8_t *table; // [vocab, width]
	const int *token;     // [n]
	step_rows rows;
	int width, row_bytes;
	float scale;
};

// grid (n)   block 512
template <int T> __device__ void embed(const embed_args &a) {
	float *out = a.out + (size_t)blockIdx.x * a.width;
	if (a.rows.pos[blockIdx.x] < 0) { // nobody's row goes through the products too: finite, whatever lay there
		for (int i = threadIdx.x; i < a.width; i += blockDim.x) out[i] = 0;
		return;
	}
	const uint8_t *row = a.table + (size_t)a.token[blockIdx.x] * a.row_bytes;
	if constexpr (format<T>::block == 1) {
#pragma unroll 8
		for (int i = threadIdx.x; i < a.width; i += blockDim.x) out[i] = one<T>(row, i) * a.scale;
	} else {
		for (int i = 8 * threadIdx.x; i < a.width; i += 8 * blockDim.x) {
			float w[8];
			eight<T>(row, i, w);
			for (int j = 0; j < 8; j++) out[i + j] = w[j] * a.scale;
		}
	}
}
#define EMBED(name, T) \
	extern "C" __global__ void step_embed_##name(const __grid_constant__ embed_args a) { embed<T>(a); }
EACH_FORMAT(EMBED)

struct norm_args {
	__nv_bfloat16 *out;      // [n, width], or arranged
	const float *x, *weight; // [n, width], [width]
	int width;               // a multiple of 4
	float eps, scale;        // of what comes out
	int groups;              // of 8 rows, where it is arranged, else 0
};

__device__ __forceinline__ float square(const float4 &v, float sum) { return fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, sum)))); }

// A thread keeps its first eight numbers between the sum and what comes out, and has their
// weights from before the kernel ahead has ended.
// grid (n)   block 512
extern "C" __global__ void __launch_bounds__(512, 3) step_norm(const __grid_constant__ norm_args a) {
	enum { HELD = 2 };
	__shared__ float shared[32];
	const int fours = a.width / 4, step = blockDim.x;
	const float4 *x = (const float4 *)(a.x + (size_t)blockIdx.x * a.width), *weight = (const float4 *)a.weight;
	float4 held[HELD], weights[HELD];
	float sum = 0;
#pragma unroll
	for (int j = 0; j < HELD; j++) {
		const int i = threadIdx.x + j * step;
		if (i < fours) weights[j] = weight[i];
	}
	wait_for_earlier();
	allow_later();
#pragma unroll
	for (int j = 0; j < HELD; j++) {
		const int i = threadIdx.x + j * step;
		if (i < fours) held[j] = x[i];
	}
#pragma unroll
	for (int j = 0; j < HELD; j++)
		if (threadIdx.x + j * step < fours) sum = square(held[j], sum);
	for (int i = threadIdx.x + HELD * step; i < fours; i += step) sum = square(x[i], sum);
	sum = block_sum(sum, shared);
	const float inv = 1 / sqrtf(sum / a.width + a.eps);
	const auto put = [&](int i, const float4 &v, const float4 &w) {
		alignas(8) const __nv_bfloat162 p[2] = {__floats2bfloat162_rn(w.x * (v.x * inv) * a.scale, w.y * (v.y * inv) * a.scale),
		                             __floats2bfloat162_rn(w.z * (v.z * inv) * a.scale, w.w * (v.w * inv) * a.scale)};
		if (!a.groups) {
			((uint2 *)(a.out + (size_t)blockIdx.x * a.width))[i] = *(const uint2 *)p;
			return;
		}
#pragma unroll
		for (int h = 0; h < 2; h++) *(__nv_bfloat162 *)(a.out + arranged(blockIdx.x, 4 * i + 2 * h, a.groups)) = p[h];
	};
#pragma unroll
	for (int j = 0; j < HELD; j++)
		if (threadIdx.x + j * step < fours) put(threadIdx.x + j * step, held[j], weights[j]);
	for (int i = threadIdx.x + HELD * step; i < fours; i += step) put(i, x[i], weight[i]);
	if (a.groups && threadIdx.x < 32 && a.width % 64) a.out[arranged(blockIdx.x, a.width + threadIdx.x, a.groups)] = __float2bfloat16_rn(0); // the unit's other half
}

struct round_args {
	__nv_bfloat16 *out;
	const float *x;
	long long n; // a multiple of 8
};

// float32 to bf16, where what comes next is a product.
// grid any   block any
extern "C" __global__ void step_round(const __grid_constant__ round_args a) {
	const long long step = 8ll * gridDim.x * blockDim.x;
	for (long long i = 8 * ((long long)blockIdx.x * blockDim.x + threadIdx.x); i < a.n; i += step) {
		const float4 u = *(const float4 *)(a.x + i), v = *(const float4 *)(a.x + i + 4);
		alignas(16) const __nv_bfloat162 p[4] = {__floats2bfloat162_rn(u.x, u.y), __floats2bfloat162_rn(u.z, u.w), __floats2bfloat162_rn(v.x, v.y), __floats2bfloat162_rn(v.z, v.w)};
		*(uint4 *)(a.out + i) = *(const uint4 *)p;
	}
}
