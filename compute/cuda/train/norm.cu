// RMSNorm of bf16 rows with float32 weights, and its gradient. Twins: compute/norm.go, normgrad.go
// order   lane l of a warp adds what lies at V·l, V·(l+32) … of a row, then lanes in a butterfly.
//         A weight's gradient: rows of a chunk in groups, each in order, then groups, then chunks
//         (fold.cu). It depends on the shape alone.
#include "../sum.cuh"
#include "vector.cuh"

struct norm_args {
	__nv_bfloat16 *out;
	const __nv_bfloat16 *x;
	const float *weight;
	int rows, width;
	float eps;
};

// A warp has a row, which it reads twice, the second time from the first cache.
// grid (rows / 8)   block 256   out may be x
template <int V> __device__ __forceinline__ void norm(const norm_args &a) {
	const int lane = threadIdx.x % 32, row = blockIdx.x * 8 + threadIdx.x / 32;
	if (row >= a.rows) return;
	const __nv_bfloat16 *x = a.x + (size_t)row * a.width;
	__nv_bfloat16 *out = a.out + (size_t)row * a.width;
	float sum = 0;
#pragma unroll 4
	for (int i = V * lane; i < a.width; i += 32 * V) {
		float v[V];
		get<V>(x + i, v);
#pragma unroll
		for (int j = 0; j < V; j++) sum = fmaf(v[j], v[j], sum);
	}
	const float inv = 1 / sqrtf(warp_sum(sum) / a.width + a.eps);
#pragma unroll 2
	for (int i = V * lane; i < a.width; i += 32 * V) {
		float v[V], w[V];
		get<V>(x + i, v);
		get<V>(a.weight + i, w);
#pragma unroll
		for (int j = 0; j < V; j++) v[j] = w[j] * (v[j] * inv);
		put<V>(out + i, v);
	}
}
BOTH(256, norm, norm_args)

struct norm_grad_args {
	__nv_bfloat16 *dx;           // may be dy
	float *parts;                // [chunks, width]: of the weight's gradient
	const __nv_bfloat16 *dy, *x; // [rows, width]
	const float *weight;
	int rows, width, add;
	float eps;
};

enum { CHUNK = 32 };

// With inv = 1/√(mean(x²) + eps) and along = inv²·mean(dy·weight·x): dx = inv·(dy·weight − x·along).
// First a warp takes these two of each of its rows; then a thread has V columns of some of the rows.
// grid (rows / CHUNK)   block 256
template <int V> __device__ __forceinline__ void norm_grad(const norm_grad_args &a) {
	__shared__ float invs[CHUNK], alongs[CHUNK], sums[256 * V];
	const int lane = threadIdx.x % 32, first = blockIdx.x * CHUNK, n = min((int)CHUNK, a.rows - first);
	for (int r = threadIdx.x / 32; r < n; r += 8) {
		const size_t at = (size_t)(first + r) * a.width;
		float squares = 0, along = 0;
#pragma unroll 2
		for (int i = V * lane; i < a.width; i += 32 * V) {
			float x[V], g[V], w[V];
			get<V>(a.x + at + i, x);
			get<V>(a.dy + at + i, g);
			get<V>(a.weight + i, w);
#pragma unroll
			for (int j = 0; j < V; j++) squares = fmaf(x[j], x[j], squares), along = fmaf(g[j] * w[j], x[j], along);
		}
		squares = warp_sum(squares), along = warp_sum(along);
		if (lane == 0) {
			const float inv = 1 / sqrtf(squares / a.width + a.eps);
			invs[r] = inv, alongs[r] = along * inv * inv / a.width;
		}
	}
	__syncthreads();
	const int columns = a.width / V, groups = max(1, 256 / columns), group = columns < 256 ? threadIdx.x / columns : 0;
	float *parts = a.parts + (size_t)blockIdx.x * a.width;
	for (int c = columns < 256 ? threadIdx.x % columns : threadIdx.x; c < columns && group < groups; c += min(columns, 256)) {
		float sum[V] = {}, w[V];
		get<V>(a.weight + c * V, w);
#pragma unroll 4
		for (int r = group; r < n; r += groups) {
			const size_t at = (size_t)(first + r) * a.width + c * V;
			float x[V], g[V], d[V] = {};
			get<V>(a.x + at, x);
			get<V>(a.dy + at, g);
			if (a.add) get<V>(a.dx + at, d);
#pragma unroll
			for (int j = 0; j < V; j++) {
				sum[j] = fmaf(g[j], x[j] * invs[r], sum[j]);
				d[j] += invs[r] * (g[j] * w[j] - x[j] * alongs[r]);
			}
			put<V>(a.dx + at, d);
		}
		if (groups == 1)
			put<V>(parts + c * V, sum);
		else
#pragma unroll
			for (int j = 0; j < V; j++) sums[group * a.width + c * V + j] = sum[j];
	}
	if (groups == 1) return;
	__syncthreads();
	for (int i = threadIdx.x; i < a.width; i += 256) {
		float sum = sums[i];
		for (int g = 1; g < groups; g++) sum += sums[g * a.width + i];
		parts[i] = sum;
	}
}
BOTH(256, norm_grad, norm_grad_args)
