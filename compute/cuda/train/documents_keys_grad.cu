// The gradient of attention over packed documents by keys, on tensor cores. Twin: compute/documents_grad.go
// how     as in documents_queries_grad.cu, but that a product's columns are queries: weights and the gradients of
//         logits come out as left factors of the products that follow, and stay in registers. The rows
//         that see a tile of keys are gathered, so that those that do not take no products; the next queries
//         come by cp.async beside the products of these.
// order   rows ascending, heads of the group within a row, 16 products at a time
// numbers as there, weights too
// bound   8·dim FLOP for each query and token that it sees, 4 products. A warp reads each query and dout in shared
//         memory twice for its 16 keys: 16 FLOP a byte, 2048 of a multiprocessor's 4096 a cycle.
#include "documents_rows.cuh"

enum { THREADS = 128 };

struct all_threads {
	static __device__ __forceinline__ void meet() { __syncthreads(); }
};

// What the products of keys with a query must know of it.
struct document_seen {
	int pos;
	uint32_t bits; // of the tile's blocks
};

// grid (tiles of keys · heads)   block 4 warps: a warp has 16 keys
// shared  keys, values, N queries and their dout twice, what is known of them, the rows' list
template <int DIM, int N> __device__ __forceinline__ void keys_grad(const documents_args &a) {
	enum { BYTES = 2 * DIM * TOKENS, STAGE = 2 * DIM * N };
	using rows_of = document_rows<1, false, THREADS, all_threads>;
	extern __shared__ uint4 shared[];
	uint8_t *const keys = (uint8_t *)shared, *const values = keys + BYTES, *const stages = values + BYTES;
	float2 *const stats = (float2 *)(stages + 4 * STAGE);
	document_seen *const seen = (document_seen *)(stats + 2 * N);
	int *const list = (int *)(seen + 2 * N), *const sums = list + rows_of::LIST;
	const int h = blockIdx.x % a.heads, dim = a.dim;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, g = lane / 4, t = lane % 4 * 2;
	const int k0 = w.first * TOKENS, rows = w.end - w.begin, block0 = k0 / a.block;
	rows_of of(a, w, h, list, sums);

	const auto own = [&](const __nv_bfloat16 *x) {
		return [=](int j, int) { return k0 + j < rows ? x + ((size_t)(w.begin + k0 + j) * a.heads + h) * dim : nullptr; };
	};
	bring<DIM, TOKENS, THREADS>(keys, a.k, dim, own(a.k));
	bring<DIM, TOKENS, THREADS>(values, a.v, dim, own(a.v));
	// The next queries are on their way to place; how many there are.
	const auto fetch = [&](int place) {
		const int n = of.next<N>();
		if (n > 0) {
			uint8_t *to = stages + place * 2 * STAGE;
			using P = pieces<DIM, THREADS>;
			long long at[N / P::EACH];
#pragma unroll
			for (int i = 0; i < N / P::EACH; i++) {
				const int r = i * P::EACH + tid / P::PIECES;
				at[i] = r < n ? of.flat(h, r) * dim : 0;
			}
			const auto each = [&](const __nv_bfloat16 *x) {
				return [&at, x, n](int r, int i) { return r < n ? x + at[i] : nullptr; };
			};
			bring<DIM, N, THREADS>(to, a.q, dim, each(a.q));
			bring<DIM, N, THREADS>(to + STAGE, a.dout, dim, each(a.dout));
			if (tid < N) {
				if (tid < n)
					cp_async_8(&stats[place * N + tid], &a.stats[of.flat(h, tid)]);
				else
					stats[place * N + tid] = {INFINITY, 0}; // no weight
				const int row = tid < n ? of.row(tid) : 0;
				const uint32_t bits = tid < n && a.bits ? a.bits[((size_t)(w.begin + row) * a.heads + h) * a.words + block0 / 32] >> block0 % 32 : ~0u;
				seen[place * N + tid] = {row, bits};
			}
			of.take(n);
		}
		cp_async_commit();
		return n;
	};

	const int mine[2] = {k0 + warp * 16 + g, k0 + warp * 16 + g + 8}; // a lane's keys
	float dk[DIM / 8][4] = {}, dv[DIM / 8][4] = {}, ds[2] = {}, bias[2];
#pragma unroll
	for (int r = 0; r < 2; r++) bias[r] = a.s && mine[r] < rows ? a.s[(size_t)(w.begin + mine[r]) * a.heads + h] * LOG2E : 0;
	int place = 0, n = fetch(0);
	while (n > 0) {
		cp_async_wait<0>();
		__syncthreads();
		n = fetch(place ^ 1);
		const uint8_t *queries = stages + place * 2 * STAGE, *douts = queries + STAGE;
		const document_seen *see = seen + place * N + t;
		const float2 *stat = stats + place * N + t;
		// Rows ascend: behind the first ones all keys of the tile lie before them.
		const bool whole = a.shift == 6 && seen[place * N].pos >= k0 + TOKENS - 1;
		// p[..] are logits, then weights; dp is the weights' gradient, then the logits'. A column is a query.
		float p[N / 8][4] = {}, dp[N / 8][4] = {};
#pragma unroll
		for (int k = 0; k < DIM / 16; k++) {
			uint32_t x[4], z[4];
			left<TOKENS>(x, keys, warp * 16, k), left<TOKENS>(z, values, warp * 16, k);
#pragma unroll
			for (int j = 0; j < N / 16; j++) {
				uint32_t y[4];
				right<N>(y, queries, 16 * j, k);
				mma_bf16_m16n8k16(p[2 * j], x, y), mma_bf16_m16n8k16(p[2 * j + 1], x, y + 2);
				right<N>(y, douts, 16 * j, k);
				mma_bf16_m16n8k16(dp[2 * j], z, y), mma_bf16_m16n8k16(dp[2 * j + 1], z, y + 2);
			}
		}
#pragma unroll
		for (int j = 0; j < N / 8; j++) {
			const float level[2] = {stat[8 * j].x, stat[8 * j + 1].x};
#pragma unroll
			for (int e = 0; e < 4; e++) p[j][e] = exp2_approx(fmaf(p[j][e], a.slope, bias[e / 2]) - level[e % 2]);
		}
		if (!whole)
#pragma unroll
			for (int j = 0; j < N / 8; j++)
#pragma unroll
				for (int e = 0; e < 4; e++) {
					const document_seen q = see[8 * j + e % 2];
					if (mine[e / 2] > q.pos || !(q.bits >> ((mine[e / 2] - k0) >> a.shift) & 1)) p[j][e] = 0;
				}
#pragma unroll
		for (int j = 0; j < N / 8; j++) {
			const float mean[2] = {stat[8 * j].y, stat[8 * j + 1].y};
#pragma unroll
			for (int e = 0; e < 4; e++) {
				dp[j][e] = p[j][e] * (dp[j][e] - mean[e % 2]);
				ds[e / 2] += dp[j][e];
			}
		}
#pragma unroll
		for (int j = 0; j < N / 16; j++) {
			uint32_t x[4], z[4];
#pragma unroll
			for (int i = 0; i < 4; i++) {
				x[i] = two(p[2 * j + i / 2][i % 2 * 2], p[2 * j + i / 2][i % 2 * 2 + 1]);
				z[i] = two(dp[2 * j + i / 2][i % 2 * 2], dp[2 * j + i / 2][i % 2 * 2 + 1]);
			}
#pragma unroll
			for (int d = 0; d < DIM / 16; d++) {
				uint32_t y[4];
				right_rows<N>(y, douts, 16 * j, d);
				mma_bf16_m16n8k16(dv[2 * d], x, y), mma_bf16_m16n8k16(dv[2 * d + 1], x, y + 2);
				right_rows<N>(y, queries, 16 * j, d);
				mma_bf16_m16n8k16(dk[2 * d], z, y), mma_bf16_m16n8k16(dk[2 * d + 1], z, y + 2);
			}
		}
		place ^= 1;
	}
	cp_async_wait<0>();
#pragma unroll
	for (int r = 0; r < 2; r++) {
		ds[r] += __shfl_xor_sync(~0u, ds[r], 1);
		ds[r] += __shfl_xor_sync(~0u, ds[r], 2);
		if (mine[r] >= rows) continue;
		const size_t at = (size_t)(w.begin + mine[r]) * a.heads + h;
		if (a.ds && t == 0) a.ds[at] = ds[r];
#pragma unroll
		for (int d = 0; d < DIM / 8; d++)
			if (8 * d + t < dim) {
				*(uint32_t *)(a.dk + at * dim + 8 * d + t) = two(dk[d][2 * r] * a.scale, dk[d][2 * r + 1] * a.scale);
				*(uint32_t *)(a.dv + at * dim + 8 * d + t) = two(dv[d][2 * r], dv[d][2 * r + 1]);
			}
	}
}

extern "C" __global__ void __launch_bounds__(128, 2) train_keys_grad_64(const __grid_constant__ documents_args a) { keys_grad<64, 64>(a); }
extern "C" __global__ void __launch_bounds__(128, 2) train_keys_grad_128(const __grid_constant__ documents_args a) { keys_grad<128, 32>(a); }
