// The importance score of tokens, from bf16 values, and its gradient. Twins: compute/importance.go,
// importancegrad.go
#include "../sum.cuh"
#include "vector.cuh"

__device__ __forceinline__ float softplus(float x) { return larger(x, 0) + log1pf(expf(-fabsf(x))); }

// delta[h]·v + bias[h], of a warp.
__device__ __forceinline__ float linear(const __nv_bfloat16 *v, const float *delta, const float *bias, int h, int width) {
	const float *d = delta + (size_t)h * width;
	float sum = 0;
#pragma unroll 4
	for (int i = threadIdx.x % 32; i < width; i += 32) sum = fmaf(d[i], __bfloat162float(v[i]), sum);
	sum = warp_sum(sum);
	return bias ? sum + bias[h] : sum;
}

struct importance_args {
	float *out;                    // [rows, heads]
	const __nv_bfloat16 *v;        // [rows, width]
	const float *delta, *bias, *a; // [heads, width], [heads] or none, [heads]
	int rows, heads, width;
};

// grid (rows / 8)   block 256: a warp has a row
extern "C" __global__ void __launch_bounds__(256) train_importance(const __grid_constant__ importance_args a) {
	const int row = blockIdx.x * 8 + threadIdx.x / 32;
	if (row >= a.rows) return;
	for (int h = 0; h < a.heads; h++) {
		const float x = linear(a.v + (size_t)row * a.width, a.delta, a.bias, h, a.width);
		if (threadIdx.x % 32 == 0) a.out[(size_t)row * a.heads + h] = a.a[h] * softplus(x);
	}
}

struct importance_grad_args {
	__nv_bfloat16 *dv;             // [rows, width]: added to
	float *parts;                  // [chunks, heads·(width + 2)]: of delta, bias and A
	const float *ds;               // [rows, heads]
	const __nv_bfloat16 *v;        // [rows, width]
	const float *delta, *bias, *a; // as above
	int rows, heads, width;
};

enum { ROWS = 32 };

// With z = delta[h]·v + bias[h], a warp takes g = ds·A[h]·σ(z) and ds·softplus(z) of each row and head;
// then a thread has columns of all rows, which it adds in order.
// grid (rows / ROWS)   block 256   shared 2·ROWS·heads floats
extern "C" __global__ void __launch_bounds__(256) train_importance_grad(const __grid_constant__ importance_grad_args a) {
	extern __shared__ float memory[];
	float *const gs = memory, *const as = memory + ROWS * a.heads;
	const int first = blockIdx.x * ROWS, n = min((int)ROWS, a.rows - first), all = a.heads * a.width;
	for (int r = threadIdx.x / 32; r < n; r += 8)
		for (int h = 0; h < a.heads; h++) {
			const float z = linear(a.v + (size_t)(first + r) * a.width, a.delta, a.bias, h, a.width);
			const float d = a.ds[(size_t)(first + r) * a.heads + h];
			if (threadIdx.x % 32 == 0) gs[r * a.heads + h] = d * a.a[h] / (1 + expf(-z)), as[r * a.heads + h] = d * softplus(z);
		}
	__syncthreads();
	float *const parts = a.parts + (size_t)blockIdx.x * (all + 2 * a.heads);
	for (int i = threadIdx.x; i < all; i += 256) {
		const int h = i / a.width, c = i % a.width;
		float sum = 0;
#pragma unroll 4
		for (int r = 0; r < n; r++) sum = fmaf(gs[r * a.heads + h], __bfloat162float(a.v[(size_t)(first + r) * a.width + c]), sum);
		parts[i] = sum;
	}
	for (int i = threadIdx.x; i < 2 * a.heads; i += 256) {
		const float *x = i < a.heads ? gs + i : as + i - a.heads;
		float sum = 0;
		for (int r = 0; r < n; r++) sum += x[r * a.heads];
		parts[all + i] = sum;
	}
	for (int i = threadIdx.x; i < n * a.width; i += 256) {
		const int r = i / a.width, c = i % a.width;
		__nv_bfloat16 *p = a.dv + (size_t)(first + r) * a.width + c;
		float sum = __bfloat162float(*p);
		for (int h = 0; h < a.heads; h++) sum = fmaf(gs[r * a.heads + h], a.delta[(size_t)h * a.width + c], sum);
		*p = __float2bfloat16_rn(sum);
	}
}
