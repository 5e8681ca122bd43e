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
	int width;               // a multiple of 32
	float eps, scale;        // of what comes out
	int groups;              // of 8 rows, where it is arranged, else 0
	int n;
};

__device__ __forceinline__ float square(const float4 &v, float sum) { return fmaf(v.w, v.w, fmaf(v.z, v.z, fmaf(v.y, v.y, fmaf(v.x, v.x, sum)))); }

// Two numbers after a norm.
__device__ __forceinline__ uint32_t normed(const norm_args &a, float inv, float x, float y, float wx, float wy) {
	const __nv_bfloat162 p = __floats2bfloat162_rn(wx * (x * inv) * a.scale, wy * (y * inv) * a.scale);
	return *(const uint32_t *)&p;
}

// A thread keeps its first eight numbers between the sum and what comes out, and has their
// weights from before the kernel ahead has ended.
// grid (n)   block 512
extern "C" __global__ void __launch_bounds__(512, 3) step_norm(const __grid_constant__ norm_args a) {
	enum { HELD = 2 };
	__shared__ float shared[32];
	const int fours = a.width / 4, step = blockDim.x, row = blockIdx.x;
	const float4 *x = (const float4 *)(a.x + (size_t)row * a.width), *weight = (const float4 *)a.weight;
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
		const uint2 p = make_uint2(normed(a, inv, v.x, v.y, w.x, w.y), normed(a, inv, v.z, v.w, w.z, w.w));
		if (a.groups) {
			*(uint32_t *)(a.out + arranged(row, 4 * i, a.groups)) = p.x;
			*(uint32_t *)(a.out + arranged(row, 4 * i + 2, a.groups)) = p.y;
		} else {
			((uint2 *)(a.out + (size_t)row * a.width))[i] = p;
		}
	};
#pragma unroll
	for (int j = 0; j < HELD; j++)
		if (threadIdx.x + j * step < fours) put(threadIdx.x + j * step, held[j], weights[j]);
	for (int i = threadIdx.x + HELD * step; i < fours; i += step) put(i, x[i], weight[i]);
	if (a.groups && threadIdx.x < 16 && a.width % 64) // the unit's other half
		*(uint32_t *)(a.out + arranged(row, a.width + 2 * threadIdx.x, a.groups)) = 0;
}

// A warp has 32 elements of 8 rows, a lane 8 of a row, which go to where products read them.
// There is no number for rows and elements that are none.
__device__ __forceinline__ void put_eights(__nv_bfloat16 *out, int row, int at, int width, int groups, bool valid, const uint4 &v) {
	if (!groups) {
		if (valid) *(uint4 *)(out + (size_t)row * width + at) = v;
		return;
	}
	uint32_t *const to = (uint32_t *)(out + arranged(row, at, groups));
	to[0] = v.x, to[32] = v.y, to[64] = v.z, to[96] = v.w;
}

// step_norm of thousands of rows, to the bit: a block has 8, whose numbers it reads again,
// from the cache, in the order in which they are written.
// grid (ceil(n / 8))   block 512
extern "C" __global__ void __launch_bounds__(512) step_norm_rows(const __grid_constant__ norm_args a) {
	enum { ROWS = 8 };
	__shared__ float sums[ROWS][16], invs[ROWS];
	const int fours = a.width / 4, step = blockDim.x, row0 = ROWS * blockIdx.x, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	float sum[ROWS] = {};
	for (int i = threadIdx.x; i < fours; i += step)
#pragma unroll
		for (int r = 0; r < ROWS; r++)
			if (row0 + r < a.n) sum[r] = square(((const float4 *)(a.x + (size_t)(row0 + r) * a.width))[i], sum[r]);
#pragma unroll
	for (int r = 0; r < ROWS; r++) {
		sum[r] = warp_sum(sum[r]);
		if (lane == 0) sums[r][warp] = sum[r];
	}
	__syncthreads();
	if (warp < ROWS) {
		const float all = warp_sum(lane < step / 32 ? sums[warp][lane] : 0);
		if (lane == 0) invs[warp] = 1 / sqrtf(all / a.width + a.eps);
	}
	__syncthreads();
	const int row = row0 + lane / 4, end = a.groups ? (a.width + 63) / 64 * 64 : a.width;
	const float inv = invs[lane / 4];
	for (int from = 32 * warp; from < end; from += step) {
		const int at = from + 8 * (lane % 4);
		const bool valid = row < a.n && at < a.width;
		uint4 v = make_uint4(0, 0, 0, 0);
		if (valid) {
			const float4 *x = (const float4 *)(a.x + (size_t)row * a.width + at), *w = (const float4 *)(a.weight + at);
			const float4 x0 = x[0], x1 = x[1], w0 = w[0], w1 = w[1];
			v = make_uint4(normed(a, inv, x0.x, x0.y, w0.x, w0.y), normed(a, inv, x0.z, x0.w, w0.z, w0.w),
			               normed(a, inv, x1.x, x1.y, w1.x, w1.y), normed(a, inv, x1.z, x1.w, w1.z, w1.w));
		}
		put_eights(a.out, row, at, a.width, a.groups, valid, v);
	}
}

struct round_args {
	__nv_bfloat16 *out; // [n, width], or arranged
	const float *x;     // [n, width]
	int n, width;       // width is a multiple of 32
	int groups;         // of 8 rows, where it is arranged, else 0
};

// float32 to bf16, where what comes next is a product.
// grid (ceil(n / 8) · ceil(width / 64) / 4)   block 256: a warp has 32 elements of 8 rows
extern "C" __global__ void step_round(const __grid_constant__ round_args a) {
	const int halves = 2 * ((a.width + 63) / 64), i = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
	const int row = i / halves * 8 + lane / 4, at = i % halves * 32 + 8 * (lane % 4);
	if (i / halves * 8 >= a.n) return;
	const bool valid = row < a.n && at < a.width;
	uint4 v = make_uint4(0, 0, 0, 0);
	if (valid) {
		const float4 *x = (const float4 *)(a.x + (size_t)row * a.width + at), x0 = x[0], x1 = x[1];
		alignas(16) const __nv_bfloat162 p[4] = {__floats2bfloat162_rn(x0.x, x0.y), __floats2bfloat162_rn(x0.z, x0.w), __floats2bfloat162_rn(x1.x, x1.y), __floats2bfloat162_rn(x1.z, x1.w)};
		v = *(const uint4 *)p;
	}
	put_eights(a.out, row, at, a.width, a.groups, valid, v);
}
