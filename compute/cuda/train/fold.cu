// Sums of parts that blocks have left, in their order, and sums of columns.
#include "vector.cuh"

struct fold_args {
	float *out;         // [n]: added to
	const float *parts; // [count, stride], of which n of each
	int n, count, stride;
};

// Many parts: 32 groups take every 32nd part each, in order, and are added in theirs.
// grid (n / 32)   block 1024
extern "C" __global__ void __launch_bounds__(1024) train_fold(const __grid_constant__ fold_args a) {
	__shared__ float sums[32][33];
	const int column = threadIdx.x % 32, group = threadIdx.x / 32, i = blockIdx.x * 32 + column;
	float sum = 0;
	if (i < a.n)
#pragma unroll 4
		for (int p = group; p < a.count; p += 32) sum += a.parts[(size_t)p * a.stride + i];
	sums[group][column] = sum;
	__syncthreads();
	if (group > 0 || i >= a.n) return;
	for (int g = 1; g < 32; g++) sum += sums[g][column];
	a.out[i] += sum;
}

// Few parts of much: a thread adds those of V elements.
// grid any   block 256
template <int V> __device__ __forceinline__ void fold_few(const fold_args &a) {
	for (int i = (blockIdx.x * 256 + threadIdx.x) * V; i < a.n; i += gridDim.x * 256 * V) {
		float sum[V], x[V];
		get<V>(a.out + i, sum);
#pragma unroll 4
		for (int p = 0; p < a.count; p++) {
			get<V>(a.parts + (size_t)p * a.stride + i, x);
#pragma unroll
			for (int j = 0; j < V; j++) sum[j] += x[j];
		}
		put<V>(a.out + i, sum);
	}
}
BOTH(256, fold_few, fold_args)

struct columns_args {
	float *parts;           // [rows / 64, n]
	const __nv_bfloat16 *x; // [rows, n]
	int rows, n;
};

// The sums of columns of 64 rows, in order.
// grid (n / 256, rows / 64)   block 256
extern "C" __global__ void __launch_bounds__(256) train_columns(const __grid_constant__ columns_args a) {
	const int i = blockIdx.x * 256 + threadIdx.x, from = blockIdx.y * 64, to = min(a.rows, from + 64);
	if (i >= a.n) return;
	float sum = 0;
#pragma unroll 8
	for (int r = from; r < to; r++) sum += __bfloat162float(a.x[(size_t)r * a.n + i]);
	a.parts[(size_t)blockIdx.y * a.n + i] = sum;
}
