// Keys of blocks: numbers of the order of their scores, out of windows' weights and importance.
// Twin: compute/score.go
// order   a head's softmax is summed over its chunks in an order that their number gives, a
//         window's weights over the heads in turn; which blocks are beside is nothing to a key
#pragma once
#include "../ptx.cuh"
#include "score.cuh"

enum {
	THREADS = 512,
	HEADS = 32,          // of a group, at most
	BATCH = 8,           // loads of weights that a thread has on their way
	ROUND = 4 * THREADS, // windows of importance that are offered at once
	SPAN = 33,           // segments of a window, at most
	EACH = (ROUND + SPAN - 1 + THREADS - 1) / THREADS, // scores of them that a thread loads
};

// A number of the same order as a score, both zeros one. What is not a number is above all
// others, as for the largest of a block's windows; 0 is below all.
__device__ __forceinline__ uint32_t key_of(float v) {
	if (v != v) return ~0u;
	const uint32_t b = __float_as_uint(v == 0 ? 0.0f : v);
	return b >> 31 ? ~b : b | 0x80000000u;
}

__device__ __forceinline__ float score_of(uint32_t key) { return __uint_as_float(key >> 31 ? key & 0x7fffffff : ~key); }

constexpr uint32_t none = 0x007fffff; // key_of(−∞), as of a block without windows

struct choose_args {
	scoring s;
	step_selection to;
	float *by_query, *by_score; // [n, heads, most] scores of blocks, for who asks, or none
	uint2 *best;                // [n, heads, room] keys and numbers that parts leave
	int use_query, use_score;
	int init, local, query;
	int room; // of a row and KV head, for what its parts leave
};

// Blocks of a row and KV head that lie beside each other.
struct stretch {
	int row, head, seat, pos;
	int first, blocks;             // the first one's number, how many there are
	uint32_t *by_query, *by_score; // [blocks] keys of the largest score of their windows
	int windows;                   // of the row
	int from, end;                 // windows that overlap the blocks
};

__device__ __forceinline__ stretch stretch_of(const scoring &s, int row, int head, int seat, int pos, int first, int blocks, uint32_t *keys) {
	const layout &l = s.c.l;
	stretch c = {row, head, seat, pos, first, blocks, keys, keys + blocks};
	c.windows = windows(s, pos);
	c.from = max(0, first * l.segments - l.span + 1), c.end = min(c.windows, (first + blocks) * l.segments);
	return c;
}

// Windows w to w+3 have these scores, of which n count: each goes to the blocks that it
// overlaps. Of several the first is a multiple of 4.
__device__ __forceinline__ void offer(const stretch &c, const layout &l, uint32_t *key, int w, const float *v, int n) {
	const int end = c.first + c.blocks;
	if (l.segments % 4 == 0) { // all four begin in one block
		const int b = w / l.segments, last = min((w + n - 1 + l.span - 1) / l.segments, end - 1);
		for (int to = max(b, c.first); to <= last; to++) {
			uint32_t best = 0;
#pragma unroll
			for (int j = 0; j < 4; j++)
				if (j < n && (to == b || w + j + l.span - 1 >= to * l.segments)) best = max(best, key_of(v[j]));
			atomicMax(key + (to - c.first), best);
		}
		return;
	}
#pragma unroll
	for (int j = 0; j < 4; j++) {
		if (j >= n) break;
		const int last = min((w + j + l.span - 1) / l.segments, end - 1);
		for (int to = max((w + j) / l.segments, c.first); to <= last; to++) atomicMax(key + (to - c.first), key_of(v[j]));
	}
}

__device__ __forceinline__ float segment_score(const scoring &s, int seat, int h, int segment) {
	const int segments = s.c.l.segments, block = (segments & (segments - 1)) == 0 ? segment >> (31 - __clz(segments)) : segment / segments;
	return __ldcg(s.c.seg_score + (size_t)block_id(s.c, seat, h, block) * segments + (segment - block * segments));
}

// Offers the importance of windows from a multiple of 4 on.
__device__ __forceinline__ void offer_importance(const scoring &s, const stretch &c, int begin, int end) {
	__shared__ float segment[ROUND + SPAN - 1]; // scores of what the windows span
	const layout &l = s.c.l;
	for (int from = begin; from < end; from += ROUND) {
		const int segments = min((int)ROUND, end - from) + l.span - 1;
		float v[EACH];
#pragma unroll
		for (int j = 0; j < EACH; j++) {
			const int i = j * THREADS + threadIdx.x;
			if (i < segments) v[j] = segment_score(s, c.seat, c.head, from + i);
		}
		__syncthreads(); // all have read those of the round before
#pragma unroll
		for (int j = 0; j < EACH; j++) {
			const int i = j * THREADS + threadIdx.x;
			if (i < segments) segment[i] = v[j];
		}
		__syncthreads();
		const int at = 4 * threadIdx.x, n = min(4, end - from - at);
		if (n <= 0) continue;
		double sum[4] = {};
		for (int i = 0; i < n - 1 + l.span; i++) {
			const double x = segment[at + i];
#pragma unroll
			for (int j = 0; j < 4; j++)
				if (i >= j && i < j + l.span) sum[j] += x;
		}
		float mean[4];
		const double part = 1.0 / l.span; // exact, where a product is as good as a quotient
#pragma unroll
		for (int j = 0; j < 4; j++) mean[j] = (float)((l.span & (l.span - 1)) == 0 ? sum[j] * part : sum[j] / l.span);
		offer(c, l, c.by_score, from + at, mean, n);
	}
}

// Keys by importance. Those of windows whose segments were complete before this step are there
// while the kernel before ends; the others' come behind it.
__device__ __forceinline__ void rate(const scoring &s, const stretch &c) {
	const layout &l = s.c.l;
	const int old = max(0, c.pos / (l.block / l.segments) - l.span + 1);
	offer_importance(s, c, c.from & ~3, min(c.end, old));
	__syncthreads();
	wait_for_earlier();
	allow_later();
	for (int w = max(c.from, old) + (THREADS - 1 - (int)threadIdx.x); w < c.end; w += THREADS) {
		double sum = 0;
		for (int i = 0; i < l.span; i++) sum += (double)segment_score(s, c.seat, c.head, w + i);
		const float mean = (float)(sum / l.span);
		offer(c, l, c.by_score, w, &mean, 1);
	}
}

// Keys by the query. PART: of a part of a long row.
template <bool PART> __device__ __forceinline__ void weigh(const scoring &s, const stretch &c) {
	enum { TOTALS = PART ? 16 : 2 }; // of chunks, that a lane has on their way
	__shared__ float top[HEADS], all[HEADS];
	const int lane = threadIdx.x % 32, group = s.group, chunks = (c.windows + CHUNK - 1) / CHUNK;
	const size_t at = ((size_t)c.row * s.c.l.heads + c.head) * s.chunks * group;
	const float2 *total = s.total + at;
	// A thread has four windows of a chunk, a warp the chunk. The first of its weights and
	// what it has of the sums are on their way while the sums of all are made.
	const float4 *weight = (const float4 *)(s.weight + at * CHUNK) + lane;
	const int last = PART ? (c.end + CHUNK - 1) / CHUNK : chunks;
	int chunk = (PART ? c.from / CHUNK : 0) + threadIdx.x / 32;
	bool mine = true; // some of the four are of the stretch
	float4 p[BATCH];
	float2 part = {};
	auto ask = [&](int g) {
#pragma unroll
		for (int i = 0; i < BATCH; i++)
			if (g + i < group && mine) p[i] = __ldcg(weight + (size_t)(chunk * group + g + i) * (CHUNK / 4));
	};
	auto ask_chunk = [&] {
		if (chunk >= last) return;
		if (PART) mine = chunk * CHUNK + 4 * lane + 4 > c.from && chunk * CHUNK + 4 * lane < c.end;
		if (lane < group) part = __ldcg(total + chunk * s.of_chunk + lane * s.of_query);
		ask(0);
	};
	float2 t[TOTALS];
	auto ask_sums = [&](int g, int from) {
#pragma unroll
		for (int i = 0; i < TOTALS; i++) {
			const int j = from + 32 * i + lane;
			t[i] = g < group && j < chunks ? __ldcg(total + j * s.of_chunk + g * s.of_query) : make_float2(-INFINITY, 0);
		}
	};
	ask_sums(threadIdx.x / 32, 0);
	ask_chunk();
	for (int g = threadIdx.x / 32; g < group; g += THREADS / 32) {
		float most = -INFINITY, sum = 0;
		if (g >= THREADS / 32) ask_sums(g, 0);
#pragma unroll 1
		for (int from = 0;;) {
#pragma unroll
			for (int i = 0; i < TOTALS; i++) most = larger(most, t[i].x);
			if ((from += 32 * TOTALS) >= chunks) break;
			ask_sums(g, from);
		}
		most = warp_max(most);
#pragma unroll 1
		for (int from = 0; from < chunks; from += 32 * TOTALS) {
			if (chunks > 32 * TOTALS) ask_sums(g, from);
#pragma unroll
			for (int i = 0; i < TOTALS; i++)
				if (from + 32 * i + lane < chunks) sum = fmaf(t[i].y, exp2_approx(t[i].x - most), sum);
		}
		sum = warp_sum(sum);
		if (lane == 0) top[g] = most, all[g] = sum;
	}
	__syncthreads();
	while (chunk < last) {
		const float factor = lane < group ? exp2_approx(part.x - top[lane]) / all[lane] : 0;
		float v[4] = {};
		for (int g = 0; g < group; g += BATCH) {
			if (g > 0) ask(g);
#pragma unroll
			for (int i = 0; i < BATCH; i++) {
				if (g + i >= group) break;
				const float f = __shfl_sync(~0u, factor, g + i);
				v[0] = fmaf(p[i].x, f, v[0]), v[1] = fmaf(p[i].y, f, v[1]), v[2] = fmaf(p[i].z, f, v[2]), v[3] = fmaf(p[i].w, f, v[3]);
			}
		}
		const int w = chunk * CHUNK + 4 * lane;
		const bool offers = mine && w < c.windows;
		chunk += THREADS / 32;
		ask_chunk();
		if (offers) offer(c, s.c.l, c.by_query, w, v, min(4, c.windows - w));
	}
}

// Keys of a stretch, for all to see, and scores for who asks. It waits for the kernel before.
template <bool PART> __device__ __forceinline__ void find_keys(const choose_args &a, const stretch &c) {
	for (int b = threadIdx.x; b < c.blocks; b += THREADS) c.by_query[b] = c.by_score[b] = none;
	if (a.use_score) {
		rate(a.s, c);
	} else {
		wait_for_earlier();
		allow_later();
	}
	if (a.use_query) weigh<PART>(a.s, c);
	__syncthreads();
	const size_t at = ((size_t)c.row * a.s.c.l.heads + c.head) * a.s.c.most + c.first;
	if (a.use_query && a.by_query)
		for (int b = threadIdx.x; b < c.blocks; b += THREADS) a.by_query[at + b] = score_of(c.by_query[b]);
	if (a.use_score && a.by_score)
		for (int b = threadIdx.x; b < c.blocks; b += THREADS) a.by_score[at + b] = score_of(c.by_score[b]);
}
