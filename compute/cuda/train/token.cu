// What knows of tokens: embedding and its gradient, and the loss with its gradient. Twins:
// compute/embed.go, embedgrad.go, crossentropy.go
#include "../sum.cuh"
#include "vector.cuh"

struct embed_args {
	__nv_bfloat16 *out;         // [rows, width]
	const __nv_bfloat16 *table; // [vocab, width]
	const int *ids;             // [rows]
	int width;
};

// grid (rows)   block 128
template <int V> __device__ __forceinline__ void embed(const embed_args &a) {
	const __nv_bfloat16 *row = a.table + (size_t)a.ids[blockIdx.x] * a.width;
	__nv_bfloat16 *out = a.out + (size_t)blockIdx.x * a.width;
	for (int i = V * threadIdx.x; i < a.width; i += V * 128) {
		if constexpr (V == 8)
			*(uint4 *)(out + i) = *(const uint4 *)(row + i);
		else
			out[i] = row[i];
	}
}
BOTH(128, embed, embed_args)

struct embed_grad_args {
	float *table;              // [vocab, width]: added to
	const __nv_bfloat16 *dout; // [rows, width]
	const int *ids;            // [distinct]
	const int *first;          // [distinct + 1]: of each one's rows in order
	const int *order;          // [rows]: rows by id, in their order
	int width;
};

// A block has an id and 32 columns. Each of its warps adds every eighth of the id's rows, in order;
// then warps in theirs.
// grid (distinct, width / 32)   block 256
extern "C" __global__ void __launch_bounds__(256) train_embed_grad(const __grid_constant__ embed_grad_args a) {
	__shared__ float sums[8][32];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, column = blockIdx.y * 32 + lane;
	const int from = a.first[blockIdx.x], to = a.first[blockIdx.x + 1];
	float sum = 0;
	if (column < a.width)
#pragma unroll 4
		for (int i = from + warp; i < to; i += 8) sum += __bfloat162float(a.dout[(size_t)a.order[i] * a.width + column]);
	sums[warp][lane] = sum;
	__syncthreads();
	if (warp > 0 || column >= a.width) return;
	for (int w = 1; w < 8; w++) sum += sums[w][lane];
	a.table[(size_t)a.ids[blockIdx.x] * a.width + column] += sum;
}

struct loss_args {
	float *loss;           // [rows]
	__nv_bfloat16 *logits; // [rows, vocab]: become the gradient
	const int *targets;    // [rows]; −1: none
	int vocab;
	float scale;
};

// A block has a row, which it reads from memory once, and then from the second cache. A thread keeps
// its maximum so far, and the sum of exponentials relative to it.
// grid (rows)   block 512
template <int V> __device__ __forceinline__ void loss(const loss_args &a) {
	__shared__ float shared[32];
	__nv_bfloat16 *row = a.logits + (size_t)blockIdx.x * a.vocab;
	const int target = a.targets[blockIdx.x];
	if (target < 0) {
		const float none[V] = {};
		for (int i = V * threadIdx.x; i < a.vocab; i += V * 512) put<V>(row + i, none);
		if (threadIdx.x == 0) a.loss[blockIdx.x] = 0;
		return;
	}
	const float lowest = -__uint_as_float(0x7f800000);
	float top = lowest, sum = 0;
#pragma unroll 2
	for (int i = V * threadIdx.x; i < a.vocab; i += V * 512) {
		float x[V];
		get<V>(row + i, x);
		float here = x[0];
#pragma unroll
		for (int j = 1; j < V; j++) here = larger(here, x[j]);
		if (!(here <= top)) sum *= expf(top - here), top = here;
		if (top != lowest) // else there is nothing to add, nor a difference
#pragma unroll
			for (int j = 0; j < V; j++) sum += expf(x[j] - top);
	}
	const float all = block_max(top, shared);
	sum = block_sum(top == lowest ? 0 : sum * expf(top - all), shared);
	const float over = 1 / sum;
	if (threadIdx.x == 0) a.loss[blockIdx.x] = all - __bfloat162float(row[target]) + logf(sum);
	__syncthreads(); // the target is read
#pragma unroll 2
	for (int i = V * threadIdx.x; i < a.vocab; i += V * 512) {
		float x[V];
		get<V>(row + i, x);
#pragma unroll
		for (int j = 0; j < V; j++) x[j] = (expf(x[j] - all) * over - (i + j == target ? 1.0f : 0.0f)) * a.scale;
		put<V>(row + i, x);
	}
}
BOTH(512, loss, loss_args)
