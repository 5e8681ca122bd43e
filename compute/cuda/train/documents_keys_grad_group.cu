// The gradient of attention over packed documents by keys, on the tensor cores of sm_90a. Twin: compute/documents_grad.go
// how     as in documents_keys_grad.cu: products' rows are keys, their columns queries, so that weights and the gradients
//         of logits come out as the left factors of the products that follow, and stay in registers. A warpgroup has a
//         tile of 64 keys, another one brings queries, dout and what is known of them, STAGES times 64 ahead, to all
//         warpgroups of the thread block: to two where every row sees every key, so that each byte is brought
//         for 128 keys; to one where rows have selected blocks, so that a tile meets only the rows that see it, and
//         two thread blocks share a multiprocessor.
// order   rows ascending, heads of the group within a row, 16 at a time: a tile's stages begin at its own first row, which
//         is a whole number of stages behind that of the tile before, so that its bits do not depend on WGS
// numbers queries, keys, values, dout, weights and the gradients of logits are bf16, sums float32
// bound   with the walk by queries 14·dim FLOP for each query and token that it sees: 7 products for 5 and two passes of powers.
//         A single walk would have to add dq up by parts of keys, in an order that is always the same: parts in memory are
//         4·dim bytes each way for 128 keys, of dense 2 · 8K tokens of 9 heads of 64 2.4 GB, 0.6 ms at 4 TB/s, where the two
//         products are 155 GFLOP, 0.25 ms at 620 TFLOP/s; turns taken by thread blocks in a fixed order make those wait
//         for each other, and rows that selected blocks have no such order. So there are two walks.
//         Here, of 64 keys and 64 queries at dim 64: 4 products of 128 cycles of a multiprocessor's tensor cores, 4096 powers at
//         16 a cycle: 256, some 7 · 4096 other operations at 128 a cycle: 224. A stage's 16 KiB for WGS tiles are 128·WGS
//         FLOP a byte: at 500 TFLOP/s 2 TB/s of the second cache's 5.5 with two tiles, 4 with one.
#include "documents_grad_group.cuh"
#include "documents_rows.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
struct bringers {
	static __device__ __forceinline__ void meet() { meet_of<BRINGERS>(); }
};

// What is known of a stage's queries.
template <int WGS> struct stage_queries {
	float level[64], mean[64]; // lse·log2(e) and Σ dout·out
	int pos[64];
	uint32_t bits[WGS][64]; // of 32 blocks, with those of a tile
	int n, pad[3];
};
#endif

// grid    (WGS tiles of keys each · heads)   block WGS + 1 warpgroups
// shared  barriers, keys and values of each tile, STAGES times 64 queries with their dout, what is known of them, the rows' list
template <int DIM, int WGS, int N, int STAGES, bool EVERY, bool KEYS_HELD, bool VALUES_HELD, int GIVE, int TAKE> __device__ __forceinline__ void keys_grad(const documents_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	enum { BYTES = 128 * DIM };
	using rows_of = document_rows<WGS, EVERY, BRINGERS, bringers>;
	extern __shared__ uint4 shared[];
	const ring<STAGES> of(shared);
	uint8_t *const own = whole_kib(of.read + STAGES), *const stages = own + WGS * 2 * BYTES;
	stage_queries<WGS> *const known = (stage_queries<WGS> *)(stages + STAGES * 2 * BYTES);
	int *const list = (int *)(known + STAGES), *const sums = list + rows_of::LIST;
	const int h = blockIdx.x % a.heads, dim = a.dim;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int rows = w.end - w.begin;
	// Where one tile has a block, or a part of one, its rows see all of it.
	const bool chosen = !EVERY && a.bits && (WGS > 1 || a.shift < 6);
	if (threadIdx.x == 0) of.make(4 * WGS);
	__syncthreads();

	if (threadIdx.x < BRINGERS) {
		registers_give<GIVE>();
		const int tid = threadIdx.x;
		ring_filler<STAGES> fill(of);
		rows_of see(a, w, h, list, sums);
		const int step = a.heads * dim; // from a token to the next
		for (int i = 0; i < WGS; i++) { // on their way with the first stage
			const int k0 = (w.first + i) * TOKENS;
			bring_both<DIM>(own + i * 2 * BYTES, a.k, a.v, dim, [&](int j) { return k0 + j < rows ? (long long)(w.begin + k0 + j) * step + h * dim : -1; });
		}
		for (;;) {
			const int n = see.template next<64>(), at = fill.begin();
			if (tid == 0) known[at].n = n;
			if (n <= 0) break;
			bring_both<DIM>(stages + at * 2 * BYTES, a.q, a.dout, dim, [&](int r) { return r < n ? see.flat(h, r) * dim : -1; });
			stage_queries<WGS> &k = known[at];
			if (tid < 64) {
				const int row = tid < n ? see.row(tid) : 0;
				const float2 *const stats = &a.stats[tid < n ? see.flat(h, tid) : 0];
				if (tid < n)
					cp_async_4(&k.level[tid], &stats->x, true);
				else
					k.level[tid] = INFINITY; // no weight
				cp_async_4(&k.mean[tid], &stats->y, tid < n);
				k.pos[tid] = row;
				if (chosen)
					for (int i = 0; i < WGS; i++) {
						const int word = (w.first + i) * TOKENS / a.block / 32;
						const bool is = tid < n && word < a.words;
						cp_async_4(&k.bits[i][tid], is ? &a.bits[((size_t)(w.begin + row) * a.heads + h) * a.words + word] : a.bits, is);
					}
			}
			see.take(n);
			fill.end();
		}
		fill.end();
		fill.last();
		return;
	}

	registers_take<TAKE>();
	const int wg = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4, g = lane / 4, t = lane % 4 * 2;
	const int k0 = (w.first + wg) * TOKENS, block0 = k0 / a.block % 32;
	const int mine[2] = {warp * 16 + g, warp * 16 + g + 8}; // a lane's keys of the tile
	const int bit[2] = {block0 + (mine[0] >> a.shift), block0 + (mine[1] >> a.shift)}; // of its block
	float dk[DIM / 2] = {}, dv[DIM / 2] = {}, ds[2] = {}, bias[2];
	float p[N / 2], dp[N / 2]; // logits, then weights; the weights' gradient, then the logits'. A column is a query.
#pragma unroll
	for (int r = 0; r < 2; r++) bias[r] = a.s && k0 + mine[r] < rows ? a.s[(size_t)(w.begin + k0 + mine[r]) * a.heads + h] * LOG2E : 0;
	group_left<DIM, KEYS_HELD> keys;
	group_left<DIM, VALUES_HELD> values;
	mbarrier_wait(of.there, 0);
	keys.take(own + wg * 2 * BYTES), values.take(own + wg * 2 * BYTES + BYTES);
	ring_place<STAGES> at;
	int before = -1; // the stage that products may still read
	for (;; at.next()) {
		mbarrier_wait(of.there + at.at, at.phase);
		const stage_queries<WGS> &k = known[at.at];
		const int n = k.n;
		if (n <= 0) break;
		if (k.pos[n - 1] < k0) { // the tile before has rows of its own first
			of.let_go(at.at);
			continue;
		}
		// Rows ascend: behind the first ones all keys of the tile lie before them.
		const bool whole = !chosen && k.pos[0] >= k0 + TOKENS - 1;
#pragma unroll 1
		for (int q0 = 0; q0 < 64; q0 += N) {
			const uint8_t *const queries = stages + at.at * 2 * BYTES + q0 * 128, *const douts = queries + BYTES;
			uint32_t x[N / 16][4], y[N / 16][4];
			group_begin();
			keys.template times<N>(p, queries);
			group_commit();
			values.template times<N>(dp, douts);
			group_commit();
			group_wait<1>();
			group_has<N / 2>(p);
			if (before >= 0) of.let_go(before);
			before = -1;
#pragma unroll
			for (int j = 0; j < N / 8; j++) {
				const float2 level = *(const float2 *)(k.level + q0 + 8 * j + t);
#pragma unroll
				for (int e = 0; e < 4; e++) p[4 * j + e] = exp2_approx(fmaf(p[4 * j + e], a.slope, bias[e / 2] - (e % 2 ? level.y : level.x)));
			}
			if (!whole) {
#pragma unroll
				for (int j = 0; j < N / 8; j++) {
					const int2 pos = *(const int2 *)(k.pos + q0 + 8 * j + t);
					const uint2 bits = chosen ? *(const uint2 *)(k.bits[wg] + q0 + 8 * j + t) : uint2{~0u, ~0u};
#pragma unroll
					for (int e = 0; e < 4; e++) {
						const bool sees = k0 + mine[e / 2] <= (e % 2 ? pos.y : pos.x) & (e % 2 ? bits.y : bits.x) >> bit[e / 2];
						if (!sees) p[4 * j + e] = 0;
					}
				}
			}
			group_narrow(x, p);
			group_wait<0>();
			group_has<N / 2>(dp);
			group_begin();
			group_add<DIM>(dv, x, douts);
			group_commit();
#pragma unroll
			for (int j = 0; j < N / 8; j++) {
				const float2 mean = *(const float2 *)(k.mean + q0 + 8 * j + t);
#pragma unroll
				for (int e = 0; e < 4; e++) {
					dp[4 * j + e] = p[4 * j + e] * (dp[4 * j + e] - (e % 2 ? mean.y : mean.x));
					ds[e / 2] += dp[4 * j + e];
				}
			}
			group_narrow(y, dp);
			group_begin();
			group_add<DIM>(dk, y, queries);
			group_commit();
		}
		before = at.at;
	}
	group_wait<0>();
	group_has<DIM / 2>(dk), group_has<DIM / 2>(dv);
#pragma unroll
	for (int r = 0; r < 2; r++) {
		ds[r] += __shfl_xor_sync(~0u, ds[r], 1);
		ds[r] += __shfl_xor_sync(~0u, ds[r], 2);
		if (k0 + mine[r] >= rows) continue;
		const size_t to = (size_t)(w.begin + k0 + mine[r]) * a.heads + h;
		if (a.ds && t == 0) a.ds[to] = ds[r];
#pragma unroll
		for (int d = 0; d < DIM / 8; d++)
			if (8 * d + t < dim) {
				*(uint32_t *)(a.dk + to * dim + 8 * d + t) = two(dk[4 * d + 2 * r] * a.scale, dk[4 * d + 2 * r + 1] * a.scale);
				*(uint32_t *)(a.dv + to * dim + 8 * d + t) = two(dv[4 * d + 2 * r], dv[4 * d + 2 * r + 1]);
			}
	}
#endif
}

#define KEYS_GRAD(name, DIM, WGS, N, STAGES, EVERY, KEYS_HELD, VALUES_HELD, GIVE, TAKE)                                                        \
	extern "C" __global__ void __launch_bounds__(128 * (WGS + 1), WGS == 1 ? 2 : 1) train_keys_grad_##name(const __grid_constant__ documents_args a) { \
		keys_grad<DIM, WGS, N, STAGES, EVERY, KEYS_HELD, VALUES_HELD, GIVE, TAKE>(a);                                                    \
	}
KEYS_GRAD(pair_64, 64, 2, 64, 5, true, true, true, 40, 232)
KEYS_GRAD(solo_64, 64, 1, 64, 4, false, true, true, 56, 200)
KEYS_GRAD(trio_64, 64, 3, 32, 5, true, true, false, 32, 160)
KEYS_GRAD(pair_128, 128, 2, 32, 4, false, false, false, 56, 224)
