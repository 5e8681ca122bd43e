// Causal attention of packed documents, to all blocks or to those that rows selected, on tensor cores.
// Twin: compute/documents_attend.go. On sm_90a documents_attend_group.cu does the same.
// grid    (thread blocks · heads): the documents' queries 64·MT at a time, the longest walks first
// block   4 warps: a warp has 16·MT queries; registers hold its queries, weights and sums
// walk    the tiles of keys that a query of the thread block sees, ascending; a warp passes over those
//         that none of its own sees. The next tile's keys and values come by cp.async beside this one's
//         products.
// order   a query's tiles one after the other from the document's begin on, 16 products at a time in
//         the order of tokens. A tile, or a token, that it does not see adds 0 and multiplies by 1: neither the
//         rows beside it nor the documents before it enter, nor whether a selection names every block.
// numbers queries, keys, values and weights are bf16, sums float32
// bound   4·dim FLOP for each query and token that it sees: dense, 8K tokens, 9 heads of 64: 77 GFLOP a
//         layer, 0.12 ms at the 660 TFLOP/s that mma.sync gives of an H100's 989. A tile is read once for the
//         64·MT queries of a thread block: so many FLOP for each byte of the second cache, which at 5.5 TB/s
//         bounds MT 1 by 350 TFLOP/s. In shared memory a warp reads it for its own: 16·MT FLOP a byte,
//         2048·MT of a multiprocessor's 4096 a cycle. At 128 channels registers are enough for MT 1.
#include "documents.cuh"

template <int DIM, int MT, int WARPS> __device__ __forceinline__ void attend(const documents_args &a) {
	enum { M = 16 * MT * WARPS, THREADS = 32 * WARPS, BYTES = 2 * DIM * TOKENS };
	extern __shared__ uint4 shared[];
	uint8_t *const own = (uint8_t *)shared, *const stages = own + 2 * M * DIM;
	float *const biases = (float *)(stages + 4 * BYTES);
	document_queries<MT, WARPS> queries(a, (uint32_t *)(biases + 2 * TOKENS));
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, g = lane / 4, t = lane % 4 * 2;
	const int h = queries.h, dim = a.dim, begin = queries.w.begin, rows = queries.w.end - begin;

	bring<DIM, M, THREADS>(own, a.q, dim, [&](int i, int) { return i < queries.count ? a.q + queries.flat(i) * dim : nullptr; });
	const int step = a.heads * dim; // from a token to the next
	const __nv_bfloat16 *const keys0 = a.k + ((size_t)begin * a.heads + h) * dim, *const values0 = a.v + ((size_t)begin * a.heads + h) * dim;
	float ahead = 0; // a token's bias of the tile that is on its way
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

	float acc[MT][DIM / 8][4] = {}, top[MT][2], sum[MT][2];
	uint32_t x[MT][DIM / 16][4];
#pragma unroll
	for (int m = 0; m < MT; m++) top[m][0] = top[m][1] = -INFINITY, sum[m][0] = sum[m][1] = 0;
	int u = queries.next(0), place = 0;
	bool first = true;
	if (u < queries.tiles) fetch(u, 0);
	while (u < queries.tiles) {
		cp_async_wait<0>();
		if (tid < TOKENS) biases[place * TOKENS + tid] = ahead * LOG2E;
		__syncthreads();
		if (first)
#pragma unroll
			for (int m = 0; m < MT; m++)
#pragma unroll
				for (int k = 0; k < DIM / 16; k++) left<M>(x[m][k], own, (warp * MT + m) * 16, k);
		first = false;
		const int after = queries.next(u + 1);
		if (after < queries.tiles) fetch(after, place ^ 1);
		const uint8_t *keys = stages + place * 2 * BYTES, *values = keys + BYTES;
		const float *bias = biases + place * TOKENS + t;
		if (queries.sees(u)) {
			float s[MT][TOKENS / 8][4] = {};
#pragma unroll
			for (int k = 0; k < DIM / 16; k++)
#pragma unroll
				for (int j = 0; j < TOKENS / 16; j++) {
					uint32_t y[4];
					right<TOKENS>(y, keys, 16 * j, k);
#pragma unroll
					for (int m = 0; m < MT; m++) mma_bf16_m16n8k16(s[m][2 * j], x[m][k], y), mma_bf16_m16n8k16(s[m][2 * j + 1], x[m][k], y + 2);
				}
#pragma unroll
			for (int j = 0; j < TOKENS / 8; j++) {
				const float2 b = *(const float2 *)(bias + 8 * j);
#pragma unroll
				for (int m = 0; m < MT; m++)
#pragma unroll
					for (int e = 0; e < 4; e++) s[m][j][e] = fmaf(s[m][j][e], a.slope, e % 2 ? b.y : b.x);
			}
			if (!queries.whole(u))
#pragma unroll
				for (int m = 0; m < MT; m++) {
					const int seen[2] = {queries.seen(m, 0, u), queries.seen(m, 1, u)};
#pragma unroll
					for (int j = 0; j < TOKENS / 8; j++)
#pragma unroll
						for (int e = 0; e < 4; e++)
							if (8 * j + t + e % 2 >= seen[e / 2]) s[m][j][e] = -INFINITY;
					if (a.shift == 6) continue;
#pragma unroll
					for (int j = 0; j < TOKENS / 8; j++)
#pragma unroll
						for (int e = 0; e < 4; e++)
							if (!queries.chosen(m, e / 2, u, 8 * j + t + e % 2)) s[m][j][e] = -INFINITY;
				}
#pragma unroll
			for (int m = 0; m < MT; m++)
#pragma unroll
				for (int r = 0; r < 2; r++) {
					float most = -INFINITY, total = 0;
#pragma unroll
					for (int j = 0; j < TOKENS / 8; j++) most = fmaxf(most, fmaxf(s[m][j][2 * r], s[m][j][2 * r + 1]));
					most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
					most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
					most = fmaxf(top[m][r], most);
					const float shift = most == -INFINITY ? 0 : most, decay = exp2_approx(top[m][r] - shift);
					top[m][r] = most;
#pragma unroll
					for (int j = 0; j < TOKENS / 8; j++) {
						float &p = s[m][j][2 * r], &o = s[m][j][2 * r + 1];
						p = exp2_approx(p - shift), o = exp2_approx(o - shift);
						total += p + o;
					}
					sum[m][r] = fmaf(sum[m][r], decay, total); // a lane's part
#pragma unroll
					for (int d = 0; d < DIM / 8; d++) acc[m][d][2 * r] *= decay, acc[m][d][2 * r + 1] *= decay;
				}
#pragma unroll
			for (int j = 0; j < TOKENS / 16; j++) {
				uint32_t p[MT][4];
#pragma unroll
				for (int m = 0; m < MT; m++)
#pragma unroll
					for (int i = 0; i < 4; i++) p[m][i] = two(s[m][2 * j + i / 2][i % 2 * 2], s[m][2 * j + i / 2][i % 2 * 2 + 1]);
#pragma unroll
				for (int d = 0; d < DIM / 16; d++) {
					uint32_t y[4];
					right_rows<TOKENS>(y, values, 16 * j, d);
#pragma unroll
					for (int m = 0; m < MT; m++) mma_bf16_m16n8k16(acc[m][2 * d], p[m], y), mma_bf16_m16n8k16(acc[m][2 * d + 1], p[m], y + 2);
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
			float &all = sum[m][r];
			all += __shfl_xor_sync(~0u, all, 1);
			all += __shfl_xor_sync(~0u, all, 2);
			if (queries.pos[m][r] < 0) continue;
			const size_t at = queries.flat((warp * MT + m) * 16 + 8 * r + g);
			const float part = all == 0 ? 0 : 1 / all;
			if (t == 0) a.lse[at] = (top[m][r] + log2f(all)) * (float)LN2;
#pragma unroll
			for (int d = 0; d < DIM / 8; d++)
				if (8 * d + t < dim) *(uint32_t *)(a.out + at * dim + 8 * d + t) = two(acc[m][d][2 * r] * part, acc[m][d][2 * r + 1] * part);
		}
}

extern "C" __global__ void __launch_bounds__(128, 2) train_attend_64(const __grid_constant__ documents_args a) { attend<64, 2, 4>(a); }
extern "C" __global__ void __launch_bounds__(128, 2) train_attend_128(const __grid_constant__ documents_args a) { attend<128, 1, 4>(a); }
