// The blocks that rows attend to, exactly: no other set and no other order than the
// definition's, with ties, infinities and what is not a number. Twin: compute/selection.go
// grid    (rows of a tile, heads, tiles)   block 256   shared  a bit for each block
// how     scores as integers of the same order; the place of the last one that is taken is
//         found digit by digit (four passes of counting); those above it are taken, and of
//         those equal to it the first
#include "tile.cuh"

struct select_args {
	int *blocks, *count;              // [rows, heads, places], [rows, heads]
	const float *by_query, *by_score; // [rows, heads, most], or none
	const tile *tiles;
	int heads, places, most, block;
	int init, local, query, k, dense_len;
};

// A number of the same order as a score: what is not a number lowest, both zeros one.
__device__ __forceinline__ uint32_t rank(float v) {
	if (v != v) return 0;
	const uint32_t b = __float_as_uint(v == 0 ? 0.0f : v);
	return b >> 31 ? ~b : b | 0x80000000u;
}

// Threads count what they flag, in order: the number of flags before this thread's, and in
// all. shared is 9 words.
__device__ __forceinline__ int before(bool flag, int *shared, int &all) {
	const unsigned votes = __ballot_sync(~0u, flag);
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	__syncthreads();
	if (lane == 0) shared[warp] = __popc(votes);
	__syncthreads();
	int n = __popc(votes & ((1u << lane) - 1));
	all = 0;
	for (int w = 0; w < 8; w++) {
		if (w < warp) n += shared[w];
		all += shared[w];
	}
	return n;
}

__device__ __forceinline__ bool has(const uint32_t *in, int b) { return in[b / 32] >> (b % 32) & 1; }

// take adds the best blocks by score until there are want.
__device__ void take(uint32_t *in, const float *score, int blocks, int &have, int want) {
	__shared__ int counts[256], chosen[2], scan[9];
	want = min(want, blocks);
	if (have >= want) return;
	int need = want - have;
	uint32_t prefix = 0;
	for (int shift = 24; shift >= 0; shift -= 8) {
		counts[threadIdx.x] = 0;
		__syncthreads();
		for (int b = threadIdx.x; b < blocks; b += 256) {
			const uint32_t v = rank(score[b]);
			if (!has(in, b) && (shift == 24 || v >> (shift + 8) == prefix >> (shift + 8))) atomicAdd(&counts[v >> shift & 255], 1);
		}
		__syncthreads();
		// The last digit that is taken, by a warp: a lane has eight, the first of them the highest.
		if (threadIdx.x < 32) {
			const int lane = threadIdx.x, from = 255 - 8 * lane;
			int own = 0;
			for (int i = 0; i < 8; i++) own += counts[from - i];
			int upto = own;
#pragma unroll
			for (int d = 1; d < 32; d *= 2) {
				const int v = __shfl_up_sync(~0u, upto, d);
				if (lane >= d) upto += v;
			}
			const unsigned enough = __ballot_sync(~0u, upto >= need);
			if (lane == (enough ? __ffs(enough) - 1 : 31)) {
				int digit = from, left = need - (upto - own);
				while (digit > max(0, from - 7) && counts[digit] < left) left -= counts[digit--];
				chosen[0] = digit, chosen[1] = left;
			}
		}
		__syncthreads();
		prefix |= (uint32_t)chosen[0] << shift;
		need = chosen[1];
		__syncthreads();
	}
	// prefix is the last rank that is taken, need how many of that rank.
	int equal = 0;
	for (int at = 0; at < blocks; at += 256) {
		const int b = at + threadIdx.x;
		const bool open = b < blocks && !has(in, b);
		const uint32_t v = open ? rank(score[b]) : 0;
		int all;
		const int n = before(open && v == prefix, scan, all);
		const bool taken = open && (v > prefix || (v == prefix && equal + n < need));
		equal += all;
		const unsigned votes = __ballot_sync(~0u, taken);
		if (threadIdx.x % 32 == 0 && b / 32 <= (blocks - 1) / 32) in[b / 32] |= votes;
	}
	have = want;
	__syncthreads();
}

extern "C" __global__ void select_blocks(const __grid_constant__ select_args a) {
	extern __shared__ uint32_t in[];
	__shared__ int scan[9];
	const tile &t = a.tiles[blockIdx.z];
	const int row = blockIdx.x, h = blockIdx.y, own = t.pos / a.block, blocks = own + 1;
	if (row >= t.rows) return;
	const size_t at = (size_t)(t.first + row) * a.heads + h;
	if (t.pos + row < a.dense_len || blocks <= a.k) {
		if (threadIdx.x == 0) a.count[at] = -1;
		return;
	}
	for (int i = threadIdx.x; i <= (blocks - 1) / 32; i += 256) {
		uint32_t bits = 0;
		for (int b = 32 * i; b < min(blocks, 32 * i + 32); b++)
			if (b < a.init || b >= own - a.local) bits |= 1u << (b % 32);
		in[i] = bits;
	}
	__syncthreads();
	const int local = min(a.local, own) + 1;
	int have = local + min(a.init, own + 1 - local);
	if (a.by_query) take(in, a.by_query + at * a.most, blocks, have, a.by_score ? min(a.k, a.init + a.local + a.query) : a.k);
	if (a.by_score) take(in, a.by_score + at * a.most, blocks, have, a.k);

	int *out = a.blocks + at * a.places, written = 0;
	for (int from = 0; from < blocks; from += 256) {
		const int b = from + threadIdx.x;
		const bool chosen = b < blocks && has(in, b);
		int all;
		const int n = before(chosen, scan, all);
		if (chosen) out[written + n] = b;
		written += all;
	}
	for (int i = written + threadIdx.x; i < a.places; i += 256) out[i] = -1;
	if (threadIdx.x == 0) a.count[at] = written;
}
