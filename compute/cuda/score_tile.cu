// How much a tile's rows ask for blocks, on tensor cores. Twin: compute/score.go
// grid    (strips of 256 windows, rows / rows of a thread block, heads)   block 8 warps: a warp
//         has 16 queries, which are (row, query head of the group), rows outermost
// reads   means once for all queries of a thread block, twice in all
// order   a window's logit is summed 16 channels at a time; a softmax over its strips in their
//         order, a strip 64 windows at a time. Windows that a row does not see add 0 to it, so
//         that neither the rows beside it nor the length of the launch enter.
// numbers queries and a window's mean are float16, sums float32
// bytes   the logits are nowhere: the second kernel takes them again, which is less than to
//         write and read them
#include "layout.cuh"
#include "ptx.cuh"
#include "sum.cuh"

enum { CHUNK = 64, CHUNKS = 4, STRIP = CHUNK * CHUNKS, WARPS = 8, THREADS = 32 * WARPS, QUERIES = 16 * WARPS };

struct score_tile_args {
	layout l;
	float *out;           // [N, heads, blocks]
	const float *q;       // [N, heads·group, dim]: the tile's rows
	const uint8_t *means; // [ids, summary bytes]
	const int *tables;    // [heads, blocks]: ids
	float *part;          // [strips, N·heads·group, 2]: maximum and sum of a strip, of powers of 2
	float *window;        // [N, heads, windows]: probabilities, summed over a group
	int blocks, group, pos, kernel, stride, rows, windows;
};

#define LOG2E 1.4426950408889634f

// The complete windows that a row sees.
__device__ __forceinline__ int windows(const score_tile_args &a, int row) {
	const int n = a.pos + row + 1;
	return n < a.kernel ? 0 : (n - a.kernel) / a.stride + 1;
}

// shared  queries [QUERIES, dim + 8] and windows [CHUNK, dim + 8] f16; then, for probabilities,
//         maxima and factors [QUERIES] and weights [QUERIES, CHUNK + 1] f32
template <bool PROBABILITIES> __device__ __forceinline__ void score_tile(const score_tile_args &a) {
	extern __shared__ uint4 shared[];
	const layout &l = a.l;
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, h = blockIdx.z, dim = l.dim, width = dim + 8;
	const int each = QUERIES / a.group, row0 = blockIdx.y * each, rows = min(each, a.rows - row0), count = rows * a.group;
	const int all = a.rows * l.heads * a.group;
	__half *const queries = (__half *)shared, *const keys = queries + QUERIES * width;
	float *const tops = (float *)(keys + CHUNK * width), *const factors = tops + QUERIES, *const weights = factors + QUERIES;
	const auto flat = [&](int m) { return ((row0 + m / a.group) * l.heads + h) * a.group + m % a.group; };

	const float scale = LOG2E / sqrtf((float)dim);
	for (int i = tid; i < QUERIES * dim / 4; i += THREADS) {
		const int m = i / (dim / 4), c = i % (dim / 4);
		float4 v = {};
		if (m < count) v = *(const float4 *)(a.q + (size_t)flat(m) * dim + 4 * c);
		const auto near = [&](float x) { return smaller(65504, larger(-65504, x * scale)); };
		const __half2 x = __floats2half2_rn(near(v.x), near(v.y)), y = __floats2half2_rn(near(v.z), near(v.w));
		*(uint2 *)(queries + m * width + 4 * c) = {*(const uint32_t *)&x, *(const uint32_t *)&y};
	}
	if (PROBABILITIES && tid < count) {
		const float2 *part = (const float2 *)a.part + flat(tid);
		float top = -INFINITY, sum = 0;
		const int strips = gridDim.x;
		for (int s = 0; s < strips; s++) top = fmaxf(top, part[(size_t)s * all].x);
		const float shift = top == -INFINITY ? 0 : top;
		for (int s = 0; s < strips; s++) {
			const float2 p = part[(size_t)s * all];
			sum = fmaf(p.y, exp2_approx(p.x - shift), sum);
		}
		tops[tid] = shift, factors[tid] = 1 / sum;
	}

	const int g = lane / 4, t = lane % 4 * 2;
	const bool busy = warp * 16 < count;
	int seen[2];
	float top[2] = {-INFINITY, -INFINITY}, sum[2] = {};
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const int m = warp * 16 + 8 * r + g;
		seen[r] = m < count ? windows(a, row0 + m / a.group) : 0;
	}
	for (int w0 = blockIdx.x * STRIP; w0 < min(a.windows, (int)(blockIdx.x + 1) * STRIP); w0 += CHUNK) {
		__syncthreads();
		// The means of windows: four neighbours of a few channels lie beside each other.
		const float part_of = 1.0f / l.span;
#pragma unroll 4
		for (int i = tid; i < CHUNK * dim / 4; i += THREADS) {
			const int c = i / 4 % (dim / 4), w = i / dim * 4 + i % 4;
			float4 v = {};
			if (w0 + w < a.windows)
				for (int s = w0 + w; s < w0 + w + l.span; s++) {
					const uint8_t *summary = a.means + (size_t)a.tables[h * a.blocks + s / l.segments] * l.summary_bytes;
					const uint2 x = *(const uint2 *)(summary + 2 * summary_at(l, s % l.segments, 4 * c));
					const float2 lo = __half22float2(*(const __half2 *)&x.x), hi = __half22float2(*(const __half2 *)&x.y);
					v.x += lo.x, v.y += lo.y, v.z += hi.x, v.w += hi.y;
				}
			const __half2 x = __floats2half2_rn(v.x * part_of, v.y * part_of), y = __floats2half2_rn(v.z * part_of, v.w * part_of);
			*(uint2 *)(keys + w * width + 4 * c) = {*(const uint32_t *)&x, *(const uint32_t *)&y};
		}
		__syncthreads();
		float s[CHUNK / 8][4] = {};
		if (busy) {
			const __half *x = queries + (warp * 16 + (lane & 15)) * width + 8 * (lane >> 4);
			const __half *y = keys + ((lane & 7) + 8 * (lane >> 4)) * width + (lane & 8);
#pragma unroll 2
			for (int k = 0; k < dim; k += 16) {
				uint32_t p[4];
				ldmatrix_x4(p, x + k);
#pragma unroll
				for (int j = 0; j < CHUNK / 16; j++) {
					uint32_t b[4];
					ldmatrix_x4(b, y + 16 * j * width + k);
					mma_f16_m16n8k16(s[2 * j], p, b);
					mma_f16_m16n8k16(s[2 * j + 1], p, b + 2);
				}
			}
		}
		const auto sees = [&](int j, int e) { return w0 + 8 * j + t + e % 2 < seen[e / 2]; };
		if constexpr (PROBABILITIES) {
			if (busy)
#pragma unroll
				for (int r = 0; r < 2; r++) {
					const int m = warp * 16 + 8 * r + g;
#pragma unroll
					for (int j = 0; j < CHUNK / 8; j++)
#pragma unroll
						for (int e = 2 * r; e < 2 * r + 2; e++)
							weights[m * (CHUNK + 1) + 8 * j + t + e % 2] = sees(j, e) ? exp2_approx(s[j][e] - tops[m]) * factors[m] : 0;
				}
			__syncthreads();
			for (int i = tid; i < rows * CHUNK; i += THREADS) {
				const int r = i / CHUNK, w = i % CHUNK;
				if (w0 + w >= a.windows) continue;
				float v = 0;
				for (int g = 0; g < a.group; g++) v += weights[(r * a.group + g) * (CHUNK + 1) + w];
				a.window[((size_t)(row0 + r) * l.heads + h) * a.windows + w0 + w] = v;
			}
		} else if (busy) {
#pragma unroll
			for (int r = 0; r < 2; r++) {
				float most = -INFINITY;
#pragma unroll
				for (int j = 0; j < CHUNK / 8; j++)
#pragma unroll
					for (int e = 2 * r; e < 2 * r + 2; e++) {
						if (!sees(j, e)) s[j][e] = -INFINITY;
						most = fmaxf(most, s[j][e]);
					}
				most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
				most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
				most = fmaxf(top[r], most);
				const float shift = most == -INFINITY ? 0 : most;
				float more = 0;
#pragma unroll
				for (int j = 0; j < CHUNK / 8; j++) more += exp2_approx(s[j][2 * r] - shift) + exp2_approx(s[j][2 * r + 1] - shift);
				sum[r] = fmaf(sum[r], exp2_approx(top[r] - shift), more);
				top[r] = most;
			}
		}
	}
	if (!PROBABILITIES && busy)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float v = sum[r];
			v += __shfl_xor_sync(~0u, v, 1);
			v += __shfl_xor_sync(~0u, v, 2);
			const int m = warp * 16 + 8 * r + g;
			if (t == 0 && m < count) *(float2 *)(a.part + 2 * ((size_t)blockIdx.x * all + flat(m))) = {top[r], v};
		}
}
extern "C" __global__ void __launch_bounds__(THREADS, 2) score_tile_sums(const __grid_constant__ score_tile_args a) { score_tile<false>(a); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) score_tile_windows(const __grid_constant__ score_tile_args a) { score_tile<true>(a); }

// grid (blocks / 256, N, heads)   block 256
extern "C" __global__ void score_tile_pool(const __grid_constant__ score_tile_args a) {
	const int b = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y, h = blockIdx.z;
	if (b >= a.blocks) return;
	const int m = windows(a, row), segs = a.l.segments;
	const size_t at = (size_t)row * a.l.heads + h;
	float best = -INFINITY;
	for (int w = max(0, segs * b - a.l.span + 1); w < min(m, segs * (b + 1)); w++) best = larger(best, a.window[at * a.windows + w]);
	a.out[at * a.blocks + b] = best;
}
