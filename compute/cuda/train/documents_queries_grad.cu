// The gradient of attention over packed documents by queries, on tensor cores. Twin: compute/documents_grad.go
// how     weights are taken again from lse. Each sum has one thread block and one order, so there are two walks: this
//         one of queries over the keys that they see, as in documents_attend.cu, and that of keys over the
//         queries that see them (documents_keys_grad.cu). What both need of a query, its lse and Σ dout·out, is
//         written before.
// order   a query's tiles of keys ascending, 16 products at a time in the order of tokens
// numbers queries, keys, values, dout and the gradients of logits are bf16, sums float32
// bound   6·dim FLOP for each query and token that it sees, 3 products; with those of the other walk 14·dim, where
//         10·dim would do if dq were added to by atomics in no order: dense, 8K tokens, 9 heads of 64: 270 GFLOP
//         a layer, 0.4 ms at the 660 TFLOP/s that mma.sync gives of an H100's 989.
#include "documents.cuh"

// stats of all queries.
// grid any   block 4 warps: where rows are whole eights, a query has 8 or 16 lanes of 8 channels, else a warp, of which a lane
// has every 32nd channel
extern "C" __global__ void __launch_bounds__(128) train_stats(const __grid_constant__ documents_args a) {
	const long long all = (long long)a.rows * a.heads * a.group, warps = (long long)gridDim.x * 4;
	const bool eights = a.dim % 8 == 0;
	const int lanes = !eights ? 32 : a.dim <= 64 ? 8 : 16, each = 32 / lanes, lane = threadIdx.x % lanes;
	for (long long first = ((long long)blockIdx.x * 4 + threadIdx.x / 32) * each; first < all; first += warps * each) {
		const long long i = first + threadIdx.x % 32 / lanes, at = i * a.dim;
		float sum = 0;
		if (!eights)
			for (int c = lane; c < a.dim; c += 32) sum = fmaf(__bfloat162float(a.dout[at + c]), __bfloat162float(a.out[at + c]), sum);
		else if (i < all && 8 * lane < a.dim) {
			const uint4 x = *(const uint4 *)(a.dout + at + 8 * lane), y = *(const uint4 *)(a.out + at + 8 * lane);
			const uint32_t u[4] = {x.x, x.y, x.z, x.w}, v[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const float2 p = __bfloat1622float2(*(const __nv_bfloat162 *)&u[j]), q = __bfloat1622float2(*(const __nv_bfloat162 *)&v[j]);
				sum = fmaf(p.y, q.y, fmaf(p.x, q.x, sum));
			}
		}
		for (int d = lanes / 2; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
		if (lane == 0 && i < all) a.stats[i] = {a.lse[i] * LOG2E, sum};
	}
}

// grid (thread blocks · heads)   block: a warp has 16·MT queries   shared  queries, their dout, two tiles twice
template <int DIM, int MT, int WARPS> __device__ __forceinline__ void queries_grad(const documents_args &a) {
	enum { M = 16 * MT * WARPS, THREADS = 32 * WARPS, BYTES = 2 * DIM * TOKENS, HALF = TOKENS / 2 };
	extern __shared__ uint4 shared[];
	uint8_t *const own = (uint8_t *)shared, *const douts = own + 2 * M * DIM, *const stages = douts + 2 * M * DIM;
	float *const biases = (float *)(stages + 4 * BYTES);
	document_queries<MT, WARPS> queries(a, (uint32_t *)(biases + 2 * TOKENS));
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, g = lane / 4, t = lane % 4 * 2;
	const int h = queries.h, dim = a.dim, begin = queries.w.begin, rows = queries.w.end - begin;

	const auto mine = [&](const __nv_bfloat16 *x) {
		return [&queries, x, dim](int i, int) { return i < queries.count ? x + queries.flat(i) * dim : nullptr; };
	};
	bring<DIM, M, THREADS>(own, a.q, dim, mine(a.q));
	bring<DIM, M, THREADS>(douts, a.dout, dim, mine(a.dout));
	const int step = a.heads * dim; // from a token to the next
	const __nv_bfloat16 *const keys0 = a.k + ((size_t)begin * a.heads + h) * dim, *const values0 = a.v + ((size_t)begin * a.heads + h) * dim;
	float ahead = 0;
	const auto fetch = [&](int u, int place) {
		uint8_t *to = stages + place * 2 * BYTES;
		const auto of = [&](const __nv_bfloat16 *x) {
			return [=](int j, int) { return u * TOKENS + j < rows ? x + (long long)(u * TOKENS + j) * step : nullptr; };
		};
		bring<DIM, TOKENS, THREADS>(to, a.k, dim, of(keys0));
		bring<DIM, TOKENS, THREADS>(to + BYTES, a.v, dim, of(values0));
		if (tid < TOKENS) ahead = a.s && u * TOKENS + tid < rows ? a.s[(size_t)(begin + u * TOKENS + tid) * a.heads + h] : 0;
		cp_async_commit();
	};
	float2 stats[MT][2];
#pragma unroll
	for (int m = 0; m < MT; m++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			stats[m][r] = {INFINITY, 0}; // no weight
			if (queries.pos[m][r] >= 0) stats[m][r] = a.stats[queries.flat((warp * MT + m) * 16 + 8 * r + g)];
		}

	float acc[MT][DIM / 8][4] = {};
	int u = queries.next(0), place = 0;
	if (u < queries.tiles) fetch(u, 0);
	while (u < queries.tiles) {
		cp_async_wait<0>();
		if (tid < TOKENS) biases[place * TOKENS + tid] = ahead * LOG2E;
		__syncthreads();
		const int after = queries.next(u + 1);
		if (after < queries.tiles) fetch(after, place ^ 1);
		const uint8_t *keys = stages + place * 2 * BYTES, *values = keys + BYTES;
		if (queries.sees(u)) {
			const bool whole = queries.whole(u);
#pragma unroll 1
			for (int from = 0; from < TOKENS; from += HALF) {
				if (u * TOKENS + from > queries.high) break;
				// p[..] are logits, then weights; dp is the weights' gradient, then the logits'.
				float p[MT][HALF / 8][4] = {}, dp[MT][HALF / 8][4] = {};
#pragma unroll
				for (int k = 0; k < DIM / 16; k++) {
					uint32_t x[MT][4], o[MT][4];
#pragma unroll
					for (int m = 0; m < MT; m++) left<M>(x[m], own, (warp * MT + m) * 16, k), left<M>(o[m], douts, (warp * MT + m) * 16, k);
#pragma unroll
					for (int j = 0; j < HALF / 16; j++) {
						uint32_t y[4];
						right<TOKENS>(y, keys, from + 16 * j, k);
#pragma unroll
						for (int m = 0; m < MT; m++) mma_bf16_m16n8k16(p[m][2 * j], x[m], y), mma_bf16_m16n8k16(p[m][2 * j + 1], x[m], y + 2);
						right<TOKENS>(y, values, from + 16 * j, k);
#pragma unroll
						for (int m = 0; m < MT; m++) mma_bf16_m16n8k16(dp[m][2 * j], o[m], y), mma_bf16_m16n8k16(dp[m][2 * j + 1], o[m], y + 2);
					}
				}
#pragma unroll
				for (int j = 0; j < HALF / 8; j++) {
					const float2 b = *(const float2 *)(biases + place * TOKENS + from + 8 * j + t);
#pragma unroll
					for (int m = 0; m < MT; m++)
#pragma unroll
						for (int e = 0; e < 4; e++) {
							float &w = p[m][j][e];
							w = exp2_approx(fmaf(w, a.slope, e % 2 ? b.y : b.x) - stats[m][e / 2].x);
						}
				}
				if (!whole)
#pragma unroll
					for (int m = 0; m < MT; m++) {
						const int seen[2] = {queries.seen(m, 0, u) - from, queries.seen(m, 1, u) - from};
#pragma unroll
						for (int j = 0; j < HALF / 8; j++)
#pragma unroll
							for (int e = 0; e < 4; e++)
								if (8 * j + t + e % 2 >= seen[e / 2]) p[m][j][e] = 0;
						if (a.shift == 6) continue;
#pragma unroll
						for (int j = 0; j < HALF / 8; j++)
#pragma unroll
							for (int e = 0; e < 4; e++)
								if (!queries.chosen(m, e / 2, u, from + 8 * j + t + e % 2)) p[m][j][e] = 0;
					}
#pragma unroll
				for (int m = 0; m < MT; m++)
#pragma unroll
					for (int j = 0; j < HALF / 8; j++)
#pragma unroll
						for (int e = 0; e < 4; e++) dp[m][j][e] = p[m][j][e] * (dp[m][j][e] - stats[m][e / 2].y);
#pragma unroll
				for (int j = 0; j < HALF / 16; j++) {
					uint32_t x[MT][4];
#pragma unroll
					for (int m = 0; m < MT; m++)
#pragma unroll
						for (int i = 0; i < 4; i++) x[m][i] = two(dp[m][2 * j + i / 2][i % 2 * 2], dp[m][2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
					for (int d = 0; d < DIM / 16; d++) {
						uint32_t y[4];
						right_rows<TOKENS>(y, keys, from + 16 * j, d);
#pragma unroll
						for (int m = 0; m < MT; m++) mma_bf16_m16n8k16(acc[m][2 * d], x[m], y), mma_bf16_m16n8k16(acc[m][2 * d + 1], x[m], y + 2);
					}
				}
			}
		}
		u = after, place ^= 1;
	}
	cp_async_wait<0>();
#pragma unroll
	for (int m = 0; m < MT; m++)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			if (queries.pos[m][r] < 0) continue;
			const size_t at = queries.flat((warp * MT + m) * 16 + 8 * r + g);
#pragma unroll
			for (int d = 0; d < DIM / 8; d++)
				if (8 * d + t < dim) *(uint32_t *)(a.dq + at * dim + 8 * d + t) = two(acc[m][d][2 * r] * a.scale, acc[m][d][2 * r + 1] * a.scale);
		}
}

extern "C" __global__ void __launch_bounds__(128, 2) train_queries_grad_64(const __grid_constant__ documents_args a) { queries_grad<64, 2, 4>(a); }
extern "C" __global__ void __launch_bounds__(128, 2) train_queries_grad_128(const __grid_constant__ documents_args a) { queries_grad<128, 1, 4>(a); }
