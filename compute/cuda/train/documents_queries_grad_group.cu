// The gradient of attention over packed documents by queries, on the tensor cores of sm_90a. Twin: compute/documents_grad.go
// how     as in documents_queries_grad.cu. A warpgroup has 64 queries with their dout; another one brings the tiles of keys and
//         values that any of the thread block's queries sees, STAGES ahead. A warpgroup passes over those that none of its own sees.
//         Weights and the gradients of logits stay in registers, as left factors of what follows.
// order   a query's tiles of keys ascending, 16 tokens at a time; a tile, or a token, that it does not see adds 0
// numbers queries, keys, values, dout and the gradients of logits are bf16, sums float32
// bound   of 64 queries and 64 keys at dim 64: 3 products of 128 cycles of a multiprocessor's tensor cores, 4096 powers at 16 a
//         cycle: 256, some 6 · 4096 other operations at 128 a cycle: 192. So tensor cores bound it, if warpgroups take
//         turns. A stage's 16 KiB are 96·WGS FLOP a byte. Why there are two walks: documents_keys_grad_group.cu.
#include "documents_grad_group.cuh"

// grid    (WGS · 64 queries each · heads)   block WGS + 1 warpgroups
// shared  barriers, queries and dout of each warpgroup, STAGES tiles of keys and values, and of biases, a bit for each block
template <int DIM, int WGS, int STAGES, bool QUERIES_HELD, bool DOUTS_HELD, int GIVE, int TAKE> __device__ __forceinline__ void queries_grad(const documents_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	enum { BYTES = 128 * DIM, M = 64 * WGS };
	extern __shared__ uint4 shared[];
	const ring<STAGES> of(shared);
	uint8_t *const own = whole_kib(of.read + STAGES), *const stages = own + WGS * 2 * BYTES;
	float *const biases = (float *)(stages + STAGES * 2 * BYTES);
	uint32_t *const any = (uint32_t *)(biases + STAGES * TOKENS); // a bit for each block that a query sees
	const int h = blockIdx.x % a.heads, dim = a.dim;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int m0 = w.first, rows = w.end - w.begin, count = min((int)M, rows * a.group - m0);
	const int row0 = by_group(a, m0), last = by_group(a, m0 + count - 1), tiles = last / TOKENS + 1;
	const auto bits_of = [&](int row, int word) { return a.bits[((size_t)(w.begin + row) * a.heads + h) * a.words + word]; };
	if (threadIdx.x == 0) of.make(4 * WGS);
	if (a.bits) {
		const int words = last / a.block / 32 + 1, n = (last - row0 + 1) * words;
		for (int i = threadIdx.x; i < words; i += 128 * (WGS + 1)) any[i] = 0;
		__syncthreads();
		for (int i = threadIdx.x; i < n; i += 128 * (WGS + 1)) {
			const uint32_t v = bits_of(row0 + i / words, i % words);
			if (v) atomicOr(&any[i % words], v);
		}
	}
	__syncthreads();
	// The first tile from u on that a query sees.
	const auto next = [&](int u) {
		while (a.bits && u < tiles) {
			const int b = block_of(a, u);
			const uint32_t rest = any[b / 32] >> b % 32;
			if (rest) return min(tiles, max(u, (b + __ffs(rest) - 1) * a.block / TOKENS));
			u = (b / 32 + 1) * 32 * a.block / TOKENS;
		}
		return u;
	};

	if (threadIdx.x < BRINGERS) {
		registers_give<GIVE>();
		const int tid = threadIdx.x, step = a.heads * dim; // from a token to the next
		ring_filler<STAGES> fill(of);
		for (int i = 0; i < WGS; i++) // on their way with the first stage
			bring_both<DIM>(own + i * 2 * BYTES, a.q, a.dout, dim, [&](int r) {
				const int m = m0 + 64 * i + r, row = by_group(a, m);
				return 64 * i + r < count ? ((long long)(w.begin + row) * a.heads + h) * a.group * dim + (m - row * a.group) * dim : -1;
			});
		for (int u = next(0); u < tiles; u = next(u + 1)) {
			const int at = fill.begin();
			bring_both<DIM>(stages + at * 2 * BYTES, a.k, a.v, dim, [&](int r) {
				const int row = u * TOKENS + r;
				return row < rows ? (long long)(w.begin + row) * step + h * dim : -1;
			});
			if (tid < TOKENS) {
				const bool is = a.s && u * TOKENS + tid < rows;
				cp_async_4(&biases[at * TOKENS + tid], is ? (const void *)&a.s[(size_t)(w.begin + u * TOKENS + tid) * a.heads + h] : a.k, is);
			}
			fill.end();
		}
		fill.last();
		return;
	}

	registers_take<TAKE>();
	const int wg = threadIdx.x / 128 - 1, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4 * 2;
	const int first = 64 * wg + threadIdx.x / 32 % 4 * 16 + g; // a lane's queries are this one and the eighth behind it
	// The warpgroup's rows.
	const int low = by_group(a, m0 + 64 * wg), high = 64 * wg < count ? by_group(a, m0 + min(count, 64 * wg + 64) - 1) : -1;
	int pos[2];
	size_t flat[2];
	float2 stats[2];
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const int m = m0 + first + 8 * r;
		const bool is = first + 8 * r < count;
		pos[r] = is ? by_group(a, m) : -1;
		flat[r] = ((size_t)(w.begin + pos[r]) * a.heads + h) * a.group + (m - pos[r] * a.group);
		stats[r] = {INFINITY, 0}; // no weight
		if (is) stats[r] = a.stats[flat[r]];
	}
	uint32_t bits[2] = {}, one = 0, every = 0; // of 32 blocks: of a lane's queries, of any of the warpgroup's rows, of all
	int word = -1;
	const uint32_t part = a.shift == 6 ? 1u : a.shift == 1 ? ~0u : (1u << (TOKENS >> a.shift)) - 1; // of a tile
	const auto sees = [&](int u, int b) { // whether any of the warpgroup's rows sees a block of tile u, whose first is b
		if (u * TOKENS > high) return false;
		if (!a.bits) return true;
		if (b / 32 != word) {
			word = b / 32;
#pragma unroll
			for (int r = 0; r < 2; r++) bits[r] = pos[r] < 0 ? 0 : bits_of(pos[r], word);
			one = 0, every = ~0u;
			for (int row = low + lane; row <= high; row += 32) {
				const uint32_t v = bits_of(row, word);
				one |= v, every &= v;
			}
			one = __reduce_or_sync(~0u, one), every = __reduce_and_sync(~0u, every);
		}
		return (one >> b % 32 & part) != 0;
	};

	float dq[DIM / 2] = {}, p[32], dp[32]; // logits, then weights; the weights' gradient, then the logits'
	uint32_t x[4][4];
	group_left<DIM, QUERIES_HELD> queries;
	group_left<DIM, DOUTS_HELD> douts;
	ring_place<STAGES> at;
	int before = -1; // the stage that products may still read
	int u = next(0);
	if (u < tiles) {
		mbarrier_wait(of.there, 0);
		queries.take(own + wg * 2 * BYTES), douts.take(own + wg * 2 * BYTES + BYTES);
	}
	for (; u < tiles; u = next(u + 1), at.next()) {
		mbarrier_wait(of.there + at.at, at.phase);
		const int b = block_of(a, u);
		if (sees(u, b)) {
			const uint8_t *const keys = stages + at.at * 2 * BYTES, *const values = keys + BYTES;
			const float *const bias = biases + at.at * TOKENS + t;
			group_begin();
			queries.template times<64>(p, keys);
			group_commit();
			douts.template times<64>(dp, values);
			group_commit();
			float level[2];
#pragma unroll
			for (int r = 0; r < 2; r++) level[r] = a.bits && a.shift == 6 && !(bits[r] >> b % 32 & 1) ? INFINITY : stats[r].x;
			group_wait<1>();
			group_has<32>(p);
			if (before >= 0) of.let_go(before);
#pragma unroll
			for (int j = 0; j < 8; j++) {
				const float2 s = *(const float2 *)(bias + 8 * j);
#pragma unroll
				for (int e = 0; e < 4; e++) p[4 * j + e] = exp2_approx(fmaf(p[4 * j + e], a.slope, fmaf(e % 2 ? s.y : s.x, LOG2E, -level[e / 2])));
			}
			if (u * TOKENS + TOKENS - 1 > low) {
				const int seen[2] = {pos[0] - u * TOKENS - t, pos[1] - u * TOKENS - t};
#pragma unroll
				for (int i = 0; i < 32; i++)
					if (i / 4 * 8 + i % 2 > seen[i % 4 / 2]) p[i] = 0;
			}
			if (a.bits && a.shift < 6 && (~every >> b % 32 & part)) {
				const uint32_t of[2] = {bits[0] >> b % 32, bits[1] >> b % 32};
#pragma unroll
				for (int i = 0; i < 32; i++)
					if (!(of[i % 4 / 2] >> ((i / 4 * 8 + t + i % 2) >> a.shift) & 1)) p[i] = 0;
			}
			group_wait<0>();
			group_has<32>(dp);
#pragma unroll
			for (int i = 0; i < 32; i++) dp[i] = p[i] * (dp[i] - stats[i % 4 / 2].y);
			group_narrow(x, dp);
			group_begin();
			group_add<DIM>(dq, x, keys);
			group_commit();
			before = at.at;
			continue;
		}
		// Tiles that are to come must not wait for one that is held while others are passed over.
		if (before >= 0) {
			group_wait<0>();
			of.let_go(before);
			before = -1;
		}
		of.let_go(at.at);
	}
	group_wait<0>();
	group_has<DIM / 2>(dq);
#pragma unroll
	for (int r = 0; r < 2; r++) {
		if (pos[r] < 0) continue;
#pragma unroll
		for (int d = 0; d < DIM / 8; d++)
			if (8 * d + t < dim) *(uint32_t *)(a.dq + flat[r] * dim + 8 * d + t) = two(dq[4 * d + 2 * r] * a.scale, dq[4 * d + 2 * r + 1] * a.scale);
	}
#endif
}

#define QUERIES_GRAD(name, DIM, WGS, STAGES, QUERIES_HELD, DOUTS_HELD, GIVE, TAKE)                                                                         \
	extern "C" __global__ void __launch_bounds__(128 * (WGS + 1), WGS == 1 ? 2 : 1) train_queries_grad_##name(const __grid_constant__ documents_args a) { \
		queries_grad<DIM, WGS, STAGES, QUERIES_HELD, DOUTS_HELD, GIVE, TAKE>(a);                                                                       \
	}
QUERIES_GRAD(two_64, 64, 2, 5, true, true, 56, 224)
QUERIES_GRAD(one_64, 64, 1, 4, true, true, 56, 200)
QUERIES_GRAD(three_64, 64, 3, 5, true, false, 32, 160)
QUERIES_GRAD(two_128, 128, 2, 4, true, false, 40, 232)
