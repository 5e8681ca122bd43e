// The blocks that rows attend to: scores of blocks from the windows', then the best, exactly;
// with ties, infinities and what is not a number. Twins: compute/score.go, selection.go
// how     scores become integers of the same order, in shared memory; the last one that is
//         taken is found bit by bit, and of those equal to it the first are taken
// order   a head's softmax is summed over its chunks in an order that their number gives, a
//         window's weights over the heads in turn
#include "score.cuh"

#ifndef THREADS
#define THREADS 512
#define BATCH 8
#define AT_ONCE 2
#endif

enum {
	TILE = 2048, // windows at a time
	HEADS = 32,  // of a group, at most
};

struct choose_args {
	scoring s;
	step_selection to;
	float *by_query, *by_score; // [n, heads, most] scores of blocks, for who asks, or none
	int use_query, use_score;
	int init, local, query;
};

// A number of the same order as a score: what is not a number lowest, both zeros one. 0 is
// left for blocks that are not to choose from.
__device__ __forceinline__ uint32_t rank(float v) {
	if (v != v) return 1;
	const uint32_t b = __float_as_uint(v == 0 ? 0.0f : v);
	return b >> 31 ? ~b : b | 0x80000000u;
}

// A row and KV head at work.
struct choice {
	int blocks, windows, have; // have: blocks that are in
	uint32_t *key;             // [blocks]
	uint32_t *in;              // [words] a bit for each block
	int *before;               // [words + 1]
};

__device__ __forceinline__ bool has(const choice &c, int b) { return c.in[b / 32] >> (b % 32) & 1; }

// Goes through blocks with whole warps; f may see numbers beyond the last.
template <typename F> __device__ __forceinline__ void each_block(const choice &c, F f) {
	for (int b = threadIdx.x; b / 32 <= (c.blocks - 1) / 32; b += THREADS) f(b);
}

// Sets before to how many bits of words are set before each, and in all.
__device__ void count_before(const choice &c, const uint32_t *words) {
	__syncthreads();
	if (threadIdx.x < 32) {
		const int n = (c.blocks + 31) / 32;
		int sum = 0;
		for (int from = 0; from < n; from += 32) {
			const int i = from + threadIdx.x, own = i < n ? __popc(words[i]) : 0;
			int up = own;
			for (int d = 1; d < 32; d *= 2) {
				const int v = __shfl_up_sync(~0u, up, d);
				if ((int)threadIdx.x >= d) up += v;
			}
			if (i < n) c.before[i] = sum + up - own;
			sum += __shfl_sync(~0u, up, 31);
		}
		if (threadIdx.x == 0) c.before[n] = sum;
	}
	__syncthreads();
}

// Sets keys from scores of windows: the largest of those that overlap a block. fill puts the
// windows from..end−1 into win, from a multiple of four.
template <typename F> __device__ __forceinline__ void pool(const choice &c, const layout &l, float *win, float *out, F fill) {
	const int step = max(1, TILE / l.segments);
	for (int b0 = 0; b0 < c.blocks; b0 += step) {
		const int b1 = min(c.blocks, b0 + step), from = max(0, l.segments * b0 - l.span + 1) / 4 * 4, end = min(c.windows, l.segments * b1);
		__syncthreads();
		fill(from, end);
		__syncthreads();
		for (int b = b0 + threadIdx.x; b < b1; b += THREADS) {
			float best = -INFINITY;
			for (int w = max(0, l.segments * b - l.span + 1); w < min(c.windows, l.segments * (b + 1)); w++) best = larger(best, win[w - from]);
			c.key[b] = has(c, b) ? 0 : rank(best);
			if (out) out[b] = best;
		}
	}
	__syncthreads();
}

// take adds the best blocks by their keys until there are want.
__device__ void take(choice &c, uint32_t *equal, int want) {
	want = min(want, c.blocks);
	if (c.have >= want) return;
	const int need = want - c.have;
	auto at_least = [&](uint32_t key) {
		int n = 0;
		for (int from = 0; from < c.blocks; from += THREADS) {
			const int b = from + threadIdx.x;
			n += __syncthreads_count(b < c.blocks && c.key[b] >= key);
		}
		return n;
	};
	// The largest key that enough blocks have or surpass, or any that divides off as many.
	uint32_t last = 0;
	int n = c.blocks - c.have;
	for (int bit = 31; bit >= 0 && n != need; bit--) {
		const uint32_t key = last | 1u << bit;
		const int m = at_least(key);
		if (m >= need) last = key, n = m;
	}
	if (n == need) {
		last = max(last, 1u);
		each_block(c, [&](int b) {
			const unsigned votes = __ballot_sync(~0u, b < c.blocks && c.key[b] >= last);
			if (threadIdx.x % 32 == 0) c.in[b / 32] |= votes;
		});
	} else { // more are equal than are wanted
		const int first = need - at_least(last + 1);
		each_block(c, [&](int b) {
			const unsigned votes = __ballot_sync(~0u, b < c.blocks && c.key[b] == last);
			if (threadIdx.x % 32 == 0) equal[b / 32] = votes;
		});
		count_before(c, equal);
		each_block(c, [&](int b) {
			bool taken = b < c.blocks && c.key[b] >= last;
			if (taken && c.key[b] == last) taken = c.before[b / 32] + __popc(equal[b / 32] & ((1u << b % 32) - 1)) < first;
			const unsigned votes = __ballot_sync(~0u, taken);
			if (threadIdx.x % 32 == 0) c.in[b / 32] |= votes;
		});
	}
	c.have = want;
	__syncthreads();
}

// grid (n, heads)   block 512   shared  what chooseBytes of choose.go says
extern "C" __global__ void __launch_bounds__(THREADS, AT_ONCE) step_choose(const __grid_constant__ choose_args a) {
	extern __shared__ uint32_t memory[];
	__shared__ __align__(16) float win[TILE + 64];
	__shared__ float factor[(TILE / CHUNK + 2) * HEADS], top[HEADS], all[HEADS];
	const scoring &s = a.s;
	const layout &l = s.c.l;
	const int row = blockIdx.x, h = blockIdx.y, pos = s.rows.pos[row], seat = s.rows.seat[row];
	if ((pos | seat) < 0) return; // the one load does not wait for the other
	const size_t at = (size_t)row * l.heads + h;
	if (sees_all(s, pos)) {
		if (threadIdx.x == 0) a.to.count[at] = -1;
		return;
	}
	const int own = pos / l.block, lane = threadIdx.x % 32, words = own / 32 + 1;
	choice c;
	c.blocks = own + 1, c.windows = windows(s, pos);
	c.key = memory, c.in = c.key + c.blocks;
	uint32_t *equal = c.in + words;
	c.before = (int *)(equal + words);
	each_block(c, [&](int b) {
		const unsigned votes = __ballot_sync(~0u, b <= own && (b < a.init || b >= own - a.local));
		if (threadIdx.x % 32 == 0) c.in[b / 32] = votes;
	});
	const int local = min(a.local, own) + 1;
	c.have = local + min(a.init, own + 1 - local);

	if (a.use_query) {
		const int group = s.group, chunks = (c.windows + CHUNK - 1) / CHUNK;
		const float2 *total = s.total + at * s.chunks * group;
		const float4 *weight = (const float4 *)(s.weight + at * s.chunks * group * CHUNK);
		for (int g = threadIdx.x / 32; g < group; g += THREADS / 32) {
			float most = -INFINITY, sum = 0;
#pragma unroll 1
			for (int i = lane; i < chunks; i += 32) most = larger(most, total[i * group + g].x);
			most = warp_max(most);
#pragma unroll 1
			for (int i = lane; i < chunks; i += 32) sum = fmaf(total[i * group + g].y, expf(total[i * group + g].x - most), sum);
			sum = warp_sum(sum);
			if (lane == 0) top[g] = most, all[g] = sum;
		}
		pool(c, l, win, a.by_query ? a.by_query + at * s.c.most : nullptr, [&](int from, int end) {
			const int first = from / CHUNK;
			for (int i = threadIdx.x; first + i / group < chunks && i < (TILE / CHUNK + 2) * group; i += THREADS)
				factor[i] = expf(total[first * group + i].x - top[i % group]) / all[i % group];
			__syncthreads();
			for (int w = from + 4 * threadIdx.x; w < end; w += 4 * THREADS) {
				const float4 *v = weight + (size_t)(w / CHUNK) * group * (CHUNK / 4) + w % CHUNK / 4;
				const float *f = factor + (w / CHUNK - first) * group;
				float4 sum = {};
				for (int g = 0; g < group; g += BATCH) {
					float4 p[BATCH];
#pragma unroll
					for (int i = 0; i < BATCH; i++) // all on their way before the first is waited for
						if (g + i < group) p[i] = v[(g + i) * (CHUNK / 4)];
#pragma unroll
					for (int i = 0; i < BATCH; i++) {
						if (g + i >= group) break;
						const float k = f[g + i];
						sum.x = fmaf(p[i].x, k, sum.x), sum.y = fmaf(p[i].y, k, sum.y), sum.z = fmaf(p[i].z, k, sum.z), sum.w = fmaf(p[i].w, k, sum.w);
					}
				}
				*(float4 *)(win + w - from) = sum;
			}
		});
		take(c, equal, a.use_score ? min(s.k, a.init + a.local + a.query) : s.k);
	}
	if (a.use_score) {
		pool(c, l, win, a.by_score ? a.by_score + at * s.c.most : nullptr, [&](int from, int end) {
			for (int w = from + threadIdx.x; w < end; w += THREADS) {
				double sum = 0;
				for (int i = w; i < w + l.span; i++)
					sum += (double)s.c.seg_score[(size_t)block_id(s.c, seat, h, i / l.segments) * l.segments + i % l.segments];
				win[w - from] = (float)(sum / l.span);
			}
		});
		take(c, equal, s.k);
	}

	count_before(c, c.in);
	int *out = a.to.blocks + at * a.to.places;
	each_block(c, [&](int b) {
		if (b <= own && has(c, b)) out[c.before[b / 32] + __popc(c.in[b / 32] & ((1u << b % 32) - 1))] = b;
	});
	for (int i = c.have + threadIdx.x; i < a.to.places; i += THREADS) out[i] = -1;
	if (threadIdx.x == 0) a.to.count[at] = c.have;
}
