// What tokens received from the rows that are far from them, and what that teaches importance scores.
// Twin: compute/documents_received.go
// how     received: a product's rows are the keys of a tile, its columns the queries of the far rows that see it, gathered
//         as for dk and dv. Of the weights, 2^(logit − lse) with all in powers of 2, two sums are kept: over queries,
//         what a token got, and over all of each block of rows. The next queries come by cp.async beside
//         the products of these.
//         settle: the gradient of a softmax over all far tokens from these sums, a document and KV head at a time.
// order   rows ascending, heads of the group within a row; a lane's sums, then its neighbours', then the warps'; tiles
//         ascending. Blocks of rows are added up by scans of 32.
// numbers queries and keys are bf16, sums float32
// bound   2·dim FLOP for each query and token far from it that it sees: half of the forward pass at most
#include "../sum.cuh"
#include "documents.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS, N = 64, AT_ONCE = 32 * THREADS };

// As Go's receivedArgs. Tiles, blocks and rows count from the document's begin.
struct received_args {
	documents_args a;
	float *got;    // [rows, heads]
	float *pairs;  // [heads, …]: of each document [tiles of keys, blocks of rows], where its columns would lie
	float *levels; // [heads, rows]: of each document a number for each block of rows
	float *shares; // the same
	float2 *loss;  // [rows, heads]: added to, as a.ds
	int init, local;
	float by;
};

// What the products of keys with a query must know of it.
struct received_row {
	int block;     // −1: no query
	uint32_t bits; // of the tile's blocks
};

// The sums of a tile's weights by blocks of rows, which ascend. All threads of the block call it together; each has
// a part of a sum.
struct received_pairs {
	float *to;         // [blocks of rows]
	float (*sums)[WARPS];
	int done, now;     // blocks that are written; the one that sum is of, or −1
	float sum;
	bool odd = false;  // sums have two places, so that one barrier is enough

	__device__ __forceinline__ received_pairs(float *to, float (*sums)[WARPS], int first) : to(to), sums(sums), done(first), now(-1), sum(0) {}
	__device__ __forceinline__ void zeros(int upto) {
		for (int b = done + threadIdx.x; b < upto; b += THREADS) to[b] = 0;
		done = max(done, upto);
	}
	// From here on sum is of another block, or of none.
	__device__ __forceinline__ void enter(int block) {
		if (block == now) return;
		if (now >= 0) {
			sum = warp_sum(sum);
			if (threadIdx.x % 32 == 0) sums[odd][threadIdx.x / 32] = sum;
			__syncthreads();
			zeros(now);
			if (threadIdx.x == 0) {
				float all = 0;
				for (int i = 0; i < WARPS; i++) all += sums[odd][i];
				to[now] = all;
			}
			done = now + 1, odd = !odd, sum = 0;
		}
		now = block;
	}
};

// grid (tiles of keys · heads)   block 4 warps: a warp has 16 keys
// shared  keys, N queries twice, what is known of them, the rows' list
template <int DIM> __device__ __forceinline__ void received(const received_args &args) {
	const documents_args &a = args.a;
	enum { BYTES = 2 * DIM * TOKENS, STAGE = 2 * DIM * N };
	extern __shared__ uint4 shared[];
	__shared__ int counts[WARPS];
	__shared__ float sums[2][WARPS];
	uint8_t *const keys = (uint8_t *)shared, *const stages = keys + BYTES;
	float *const levels = (float *)(stages + 2 * STAGE);
	received_row *const seen = (received_row *)(levels + 2 * N);
	int *const list = (int *)(seen + 2 * N);
	const int h = blockIdx.x % a.heads, dim = a.dim;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, g = lane / 4, t = lane % 4 * 2;
	const int k0 = w.first * TOKENS, rows = w.end - w.begin, block0 = k0 / a.block, all = (rows + a.block - 1) / a.block, words = (rows + 31) / 32;
	const int blocks = min(max(1, TOKENS / a.block), all - block0); // of the tile
	// The first block whose rows are far from a token of the tile; pairs are written from the first one that could be.
	const int first = block0 + blocks <= args.init ? all : max(block0, args.init) + args.local + 1;
	received_pairs pairs(args.pairs + h * a.column_words + w.columns + (size_t)w.first * all, sums, block0 + args.local + 1);
	const uint32_t *const columns = a.columns + h * a.column_words + w.columns + (size_t)block0 * words;

	bring<DIM, TOKENS, THREADS>(keys, a.k, dim, [&](int j, int) { return k0 + j < rows ? a.k + ((size_t)(w.begin + k0 + j) * a.heads + h) * dim : nullptr; });
	const int mine[2] = {k0 + warp * 16 + g, k0 + warp * 16 + g + 8}; // a lane's keys
	float got[2] = {}, bias[2];
	int own[2]; // their blocks
#pragma unroll
	for (int r = 0; r < 2; r++) {
		bias[r] = mine[r] < rows ? a.s[(size_t)(w.begin + mine[r]) * a.heads + h] * LOG2E : 0;
		own[r] = mine[r] / a.block;
	}

	for (int word = first * a.block / 32; word < words; word += THREADS) {
		// The rows of so many words of the columns that see the tile.
		uint32_t v = 0;
		const int at = word + tid;
		if (at < words) {
			if (a.bits)
				for (int b = 0; b < blocks; b++) v |= columns[(size_t)b * words + at];
			else
				v = rows - 32 * at < 32 ? (1u << (rows - 32 * at)) - 1 : ~0u;
			if (32 * at < first * a.block) v = first * a.block - 32 * at < 32 ? v & ~0u << (first * a.block - 32 * at) : 0;
		}
		int upto = __popc(v), count = 0;
		int place = -upto;
#pragma unroll
		for (int d = 1; d < 32; d *= 2) {
			const int x = __shfl_up_sync(~0u, upto, d);
			if (lane >= d) upto += x;
		}
		__syncthreads(); // list and counts were read
		if (lane == 31) counts[warp] = upto;
		__syncthreads();
		place += upto;
		for (int i = 0; i < WARPS; i++) {
			if (i < warp) place += counts[i];
			count += counts[i];
		}
		for (; v; v &= v - 1) list[place++] = 32 * at + __ffs(v) - 1;
		__syncthreads();

		count *= a.group; // queries
		const auto row_of = [&](int q) { return list[by_group(a, q)]; };
		const auto flat = [&](int q) {
			const int r = by_group(a, q);
			return (size_t)(w.begin + list[r]) * (a.heads * a.group) + (h * a.group + q - r * a.group);
		};
		// Queries from q0 on are on their way to a stage.
		const auto fetch = [&](int q0, int stage) {
			const int n = min((int)N, count - q0);
			bring<DIM, N, THREADS>(stages + stage * STAGE, a.q, dim, [&](int r, int) { return r < n ? a.q + flat(q0 + r) * dim : nullptr; });
			if (tid < N) {
				const int row = tid < n ? row_of(q0 + tid) : 0;
				levels[stage * N + tid] = tid < n ? a.lse[flat(q0 + tid)] * LOG2E : INFINITY; // no weight
				const uint32_t bits = tid < n && a.bits ? a.bits[((size_t)(w.begin + row) * a.heads + h) * a.words + block0 / 32] >> block0 % 32 : ~0u;
				seen[stage * N + tid] = {tid < n ? row / a.block : -1, bits};
			}
			cp_async_commit();
		};
		int stage = 0;
		if (count > 0) fetch(0, 0);
		for (int q0 = 0; q0 < count; q0 += N, stage ^= 1) {
			cp_async_wait<0>();
			__syncthreads();
			if (q0 + N < count) fetch(q0 + N, stage ^ 1);
			const uint8_t *queries = stages + stage * STAGE;
			const received_row *row = seen + stage * N;
			const float *level = levels + stage * N + t;
			float p[N / 8][4] = {}; // logits, then weights; a column is a query
#pragma unroll
			for (int k = 0; k < DIM / 16; k++) {
				uint32_t x[4], y[4];
				left<TOKENS>(x, keys, warp * 16, k);
#pragma unroll
				for (int j = 0; j < N / 16; j++) {
					right<N>(y, queries, 16 * j, k);
					mma_bf16_m16n8k16(p[2 * j], x, y), mma_bf16_m16n8k16(p[2 * j + 1], x, y + 2);
				}
			}
#pragma unroll
			for (int j = 0; j < N / 8; j++)
#pragma unroll
				for (int e = 0; e < 4; e++) p[j][e] = exp2_approx(fmaf(p[j][e], a.slope, bias[e / 2]) - level[8 * j + e % 2]);
			if (a.shift < 6) // else a tile is of one block, which all rows of the list see from afar
#pragma unroll
				for (int j = 0; j < N / 8; j++)
#pragma unroll
					for (int e = 0; e < 4; e++) {
						const received_row q = row[8 * j + t + e % 2];
						const int b = own[e / 2];
						if (b < args.init || b >= q.block - args.local || !(q.bits >> ((mine[e / 2] - k0) >> a.shift) & 1)) p[j][e] = 0;
					}
#pragma unroll
			for (int j = 0; j < N / 8; j++)
#pragma unroll
				for (int e = 0; e < 4; e++) got[e / 2] += p[j][e];

			const int from = row[0].block, last = row[min((int)N, count - q0) - 1].block;
			for (int b = from;;) {
				pairs.enter(b);
				int after = last; // the next block of a query
				float sum = 0;
#pragma unroll
				for (int j = 0; j < N / 8; j++)
#pragma unroll
					for (int c = 0; c < 2; c++) {
						const int of = from == last ? b : row[8 * j + t + c].block;
						if (of == b) sum += p[j][c] + p[j][c + 2];
						if (of > b) after = min(after, of);
					}
				pairs.sum += sum;
				if (b == last) break;
				after = min(after, __shfl_xor_sync(~0u, after, 1));
				b = min(after, __shfl_xor_sync(~0u, after, 2));
			}
		}
	}
	pairs.enter(-1);
	pairs.zeros(all);
	cp_async_wait<0>();
#pragma unroll
	for (int r = 0; r < 2; r++) {
		got[r] += __shfl_xor_sync(~0u, got[r], 1);
		got[r] += __shfl_xor_sync(~0u, got[r], 2);
		if (t == 0 && mine[r] < rows) args.got[(size_t)(w.begin + mine[r]) * a.heads + h] = got[r];
	}
}

extern "C" __global__ void __launch_bounds__(128) train_received_64(const __grid_constant__ received_args a) { received<64>(a); }
extern "C" __global__ void __launch_bounds__(128) train_received_128(const __grid_constant__ received_args a) { received<128>(a); }

// log(eᵃ + eᵇ), of which −∞ is e's 0; not both.
__device__ __forceinline__ float add_logs(float a, float b) { return larger(a, b) + log1pf(expf(-fabsf(a - b))); }

enum { SETTLERS = 512 };

// With L_B the logarithm of the sum of e^s over the tokens that block B is far from, which never falls from a block to
// the next, and W_B the sum of the weights that its rows gave them, a token gets e^(s − L_B)·share_B less what it got, B
// being the first block that is far from it, and share_B = W_B + e^(L_B − L_(B+1))·share_(B+1). No exponent is above 0.
// grid (tiles of keys · heads), of which each document's first works   block 512
extern "C" __global__ void __launch_bounds__(SETTLERS) train_received_settle(const __grid_constant__ received_args args) {
	__shared__ float shared[32];
	const documents_args &a = args.a;
	const int h = blockIdx.x % a.heads, tid = threadIdx.x, lane = tid % 32;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int rows = w.end - w.begin, all = (rows + a.block - 1) / a.block, apart = args.local + 1;
	const int begin = args.init + apart; // the first block that is far from a token
	if (w.first > 0 || begin >= all) return;
	const float *const s = a.s + (size_t)w.begin * a.heads + h, *const got = args.got + (size_t)w.begin * a.heads + h;
	float *const levels = args.levels + (size_t)h * a.rows + w.begin, *const shares = args.shares + (size_t)h * a.rows + w.begin;
	const float *const pairs = args.pairs + h * a.column_words + w.columns;

	for (int b = begin + tid / 32; b < all; b += SETTLERS / 32) { // the block that is far now, and was not before
		const int from = (b - apart) * a.block;
		float top = -INFINITY, sum = 0;
		for (int i = lane; i < a.block; i += 32) top = larger(top, s[(size_t)(from + i) * a.heads]);
		top = warp_max(top);
		for (int i = lane; i < a.block; i += 32) sum += expf(s[(size_t)(from + i) * a.heads] - top);
		sum = warp_sum(sum);
		if (lane == 0) levels[b] = top + logf(sum);
	}
	for (int b = begin + tid; b < all; b += SETTLERS) {
		const int tiles = ((b - apart + 1) * a.block + TOKENS - 1) / TOKENS;
		float sum = 0;
#pragma unroll 8
		for (int u = 0; u < tiles; u++) sum += pairs[(size_t)u * all + b];
		shares[b] = sum;
	}
	__syncthreads();
	float loss = 0, weight = 0;
	if (tid < 32) {
		float before = -INFINITY;
		for (int b0 = begin; b0 < all; b0 += 32) {
			const int b = b0 + lane;
			float x = b < all ? levels[b] : -INFINITY;
#pragma unroll
			for (int d = 1; d < 32; d *= 2) {
				const float y = __shfl_up_sync(~0u, x, d);
				if (lane >= d && b < all) x = add_logs(x, y);
			}
			if (b < all && b0 > begin) x = add_logs(x, before);
			if (b < all) levels[b] = x;
			before = __shfl_sync(~0u, x, min(31, all - 1 - b0));
		}
		__syncwarp();
		float share = 0; // of the block behind
		for (int b0 = all - 1; b0 >= begin; b0 -= 32) {
			const int b = b0 - lane;
			float x = 0, by = 1; // share_b = x + by·share
			if (b >= begin) {
				x = shares[b], by = expf(levels[b] - levels[min(b + 1, all - 1)]);
				loss = fmaf(x, levels[b], loss);
			}
#pragma unroll
			for (int d = 1; d < 32; d *= 2) {
				const float x1 = __shfl_up_sync(~0u, x, d), by1 = __shfl_up_sync(~0u, by, d);
				if (lane >= d) x = fmaf(by, x1, x), by *= by1;
			}
			x = fmaf(by, share, x);
			if (b >= begin) shares[b] = x;
			share = __shfl_sync(~0u, x, 31);
		}
	}
	__syncthreads();
	for (int j = args.init * a.block + tid; j < (all - apart) * a.block; j += SETTLERS) {
		const int b = j / a.block + apart;
		const float x = s[(size_t)j * a.heads], m = got[(size_t)j * a.heads];
		a.ds[(size_t)(w.begin + j) * a.heads + h] += args.by * (expf(x - levels[b]) * shares[b] - m);
		loss -= m * x, weight += m;
	}
	loss = block_sum(loss, shared), weight = block_sum(weight, shared);
	if (tid > 0) return;
	float2 &to = args.loss[(size_t)w.begin * a.heads + h];
	to = {to.x + loss, to.y + weight};
}
