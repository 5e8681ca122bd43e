// The small ops of a step between products. Twins: compute/norm.go, compute/sample.go
// order   a row's sums know its length and the block's size alone
#include "../decode.cuh"
#include "step.cuh"

struct embed_args {
	float *out;           // [n, width]
	const uint8_t *table; // [vocab, width]
	const int *token;     // [n]
	step_rows rows;
	int width, row_bytes;
	float scale;
};

// grid (n)   block 256
template <int T> __device__ void embed(const embed_args &a) {
	float *out = a.out + (size_t)blockIdx.x * a.width;
	if (a.rows.pos[blockIdx.x] < 0) { // nobody's row goes through the products too: finite, whatever lay there
		for (int i = threadIdx.x; i < a.width; i += blockDim.x) out[i] = 0;
		return;
	}
	const uint8_t *row = a.table + (size_t)a.token[blockIdx.x] * a.row_bytes;
	if constexpr (format<T>::block == 1) {
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
	__nv_bfloat16 *out;     // [n, width]
	const float *x, *weight; // [n, width], [width]
	int width;
	float eps, scale;        // of what comes out
};

// grid (n)   block 512
extern "C" __global__ void step_norm(const __grid_constant__ norm_args a) {
	__shared__ float shared[32];
	const float *x = a.x + (size_t)blockIdx.x * a.width;
	__nv_bfloat16 *out = a.out + (size_t)blockIdx.x * a.width;
	float sum = 0;
	for (int i = threadIdx.x; i < a.width; i += blockDim.x) sum = fmaf(x[i], x[i], sum);
	sum = block_sum(sum, shared);
	const float inv = 1 / sqrtf(sum / a.width + a.eps);
	for (int i = threadIdx.x; i < a.width; i += blockDim.x) out[i] = __float2bfloat16_rn(a.weight[i] * (x[i] * inv) * a.scale);
}

struct best_args {
	const float *logits; // [n, vocab]
	int *token;          // [n]
	int vocab;
};

// The most likely id, the first of several; what is not a number is never it.
// grid (n)   block 1024
extern "C" __global__ void step_best(const __grid_constant__ best_args a) {
	__shared__ float tops[32];
	__shared__ int ids[32];
	const float *x = a.logits + (size_t)blockIdx.x * a.vocab;
	float top = -INFINITY;
	int id = a.vocab;
	auto take = [&](float v, int i) {
		if (v > top || (v == top && i < id)) top = v, id = i;
	};
	for (int i = threadIdx.x; i < a.vocab; i += blockDim.x) take(x[i], i);
	for (int d = 16; d > 0; d /= 2) take(__shfl_xor_sync(~0u, top, d), __shfl_xor_sync(~0u, id, d));
	if (threadIdx.x % 32 == 0) tops[threadIdx.x / 32] = top, ids[threadIdx.x / 32] = id;
	__syncthreads();
	if (threadIdx.x >= 32) return;
	top = tops[threadIdx.x], id = ids[threadIdx.x];
	for (int d = 16; d > 0; d /= 2) take(__shfl_xor_sync(~0u, top, d), __shfl_xor_sync(~0u, id, d));
	if (threadIdx.x == 0) a.token[blockIdx.x] = id < a.vocab ? id : 0;
}

struct advance_args {
	step_rows rows;
	int *pos; // rows.pos
};

// The next position of every row.
// grid (n / 256)   block 256
extern "C" __global__ void step_advance(const __grid_constant__ advance_args a) {
	const int r = blockIdx.x * blockDim.x + threadIdx.x;
	if (r < a.rows.n && a.pos[r] >= 0) a.pos[r]++;
}
