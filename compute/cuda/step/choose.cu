// The blocks that rows attend to: scores of blocks from the windows', then the best, exactly;
// with ties, infinities and what is not a number. Twins: compute/score.go, selection.go
// how     scores become integers of the same order, in shared memory. Where the last one that
//         is taken lies a count of the upper bits tells of what they are above the least; among
//         those that share them each is held against all, or, if they are many, their next bits
//         are counted. Of equal ones the first are taken
// order   a head's softmax is summed over its chunks in an order that their number gives, a
//         window's weights over the heads in turn
#include "../ptx.cuh"
#include "score.cuh"

enum {
	THREADS = 512,
	HEADS = 32,                // of a group, at most
	BATCH = 8,                 // loads of weights that a thread has on their way
	DIGIT = 11, DIGITS = 2048, // bits that are counted at a time; a thread has four of their values
	FEW = THREADS / 4,         // that are held against each other
	ROUND = 4 * THREADS,       // windows of importance that are offered at once
	SPAN = 33,                 // segments of a window, at most
	PARTS = (ROUND + SPAN - 1 + THREADS - 1) / THREADS,
};

struct choose_args {
	scoring s;
	step_selection to;
	float *by_query, *by_score; // [n, heads, most] scores of blocks, for who asks, or none
	int use_query, use_score;
	int init, local, query;
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

// A row and KV head at work.
struct choice {
	int blocks, windows, have; // have: blocks that are in
	uint32_t *key;             // [blocks] of the largest score of their windows
	uint32_t *importance;      // [blocks] likewise
	uint32_t *in;              // [words] a bit for each block
	uint32_t *equal;           // [words]
	int *before;               // [words + 1]
};

// What the threads share beside it.
struct counting {
	uint32_t digit[DIGITS]; // how many have it; 0 between takes
	uint2 few[FEW];         // key and block
	int sums[32];
	int last, above, count; // the digit of the last one taken, how many are above it and have it
	int found;              // of few
	uint32_t least, most;   // of the keys; ~0 and 0 between takes
};

__device__ __forceinline__ bool has(const choice &c, int b) { return c.in[b / 32] >> (b % 32) & 1; }

// The key that a choice goes by: what is not a number is below all others, and 0 is left for
// blocks that are in.
__device__ __forceinline__ uint32_t rank(const choice &c, int b) {
	const uint32_t key = c.key[b];
	return has(c, b) ? 0 : key == ~0u ? 1 : key;
}

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

// Windows w to w+3 have these scores, of which n count: each goes to the blocks that it
// overlaps.
__device__ __forceinline__ void offer(const choice &c, const layout &l, int w, const float *v, int n) {
	if (l.segments % 4 == 0) { // all four begin in one block
		const int b = w / l.segments, last = min((w + n - 1 + l.span - 1) / l.segments, c.blocks - 1);
		for (int to = b; to <= last; to++) {
			uint32_t key = 0;
#pragma unroll
			for (int j = 0; j < 4; j++)
				if (j < n && (to == b || w + j + l.span - 1 >= to * l.segments)) key = max(key, key_of(v[j]));
			atomicMax(c.key + to, key);
		}
		return;
	}
#pragma unroll
	for (int j = 0; j < 4; j++) {
		if (j >= n) break;
		const int last = min((w + j + l.span - 1) / l.segments, c.blocks - 1);
		for (int to = (w + j) / l.segments; to <= last; to++) atomicMax(c.key + to, key_of(v[j]));
	}
}

// No window of any block has a score yet.
__device__ __forceinline__ void blank(const choice &c) {
	for (int b = threadIdx.x; b < c.blocks; b += THREADS) c.key[b] = c.importance[b] = none;
}

// take adds the best blocks by their keys until there are want. Keys and bits are there for
// all to see, and digits are 0.
__device__ void take(choice &c, counting &s, int want) {
	want = min(want, c.blocks);
	if (c.have >= want) return;
	uint32_t least = ~0u, most = 0;
	each_block(c, [&](int b) {
		const uint32_t key = b < c.blocks ? rank(c, b) : 0;
		if (key > 0) least = min(least, key), most = max(most, key);
	});
	for (int d = 16; d > 0; d /= 2) least = min(least, __shfl_xor_sync(~0u, least, d)), most = max(most, __shfl_xor_sync(~0u, most, d));
	if (threadIdx.x % 32 == 0 && most > 0) atomicMin(&s.least, least), atomicMax(&s.most, most);
	__syncthreads();
	least = s.least;
	int rest = want - c.have, shift = max(0, 32 - __clz((int)(s.most - least)) - DIGIT), bits = DIGIT; // rest: of those that share the bits above
	uint32_t last = 0;                                                                                // bits from shift on of the last that is taken
	int count;                                                                                        // how many have them
	bool first = true;
	for (;;) {
		each_block(c, [&](int b) {
			const uint32_t key = b < c.blocks ? rank(c, b) : 0;
			if (key > 0 && (first || (key - least) >> (shift + bits) == last)) atomicAdd(s.digit + ((key - least) >> shift & ((1 << bits) - 1)), 1);
		});
		__syncthreads();
		if (threadIdx.x == 0) s.least = ~0u, s.most = 0;
		first = false;
		uint4 *const mine = (uint4 *)s.digit + (THREADS - 1 - threadIdx.x); // from the largest on
		const uint4 d = *mine;
		*mine = {};
		int all, sum = before(d.x + d.y + d.z + d.w, s.sums, all);
		const uint32_t four[4] = {d.w, d.z, d.y, d.x};
#pragma unroll
		for (int j = 0; j < 4; j++) {
			if (sum < rest && rest <= sum + (int)four[j]) s.last = 4 * (THREADS - 1 - threadIdx.x) + 3 - j, s.above = sum, s.count = four[j], s.found = 0;
			sum += four[j];
		}
		__syncthreads();
		last = last << bits | s.last, rest -= s.above, count = s.count;
		if (count == rest || count <= FEW || shift == 0) break;
		bits = min((int)DIGIT, shift), shift -= bits;
		__syncthreads(); // all have read
	}
	// Those above are in, and where all that share the bits are, those too.
	const bool whole = count == rest, few = !whole && count <= FEW;
	each_block(c, [&](int b) {
		const uint32_t key = b < c.blocks ? rank(c, b) : 0, top = (key - least) >> shift;
		const bool same = key > 0 && top == last;
		if (few && same) s.few[atomicAdd(&s.found, 1)] = make_uint2(key, b);
		const unsigned votes = __ballot_sync(~0u, key > 0 && (top > last || whole && same)), equal = __ballot_sync(~0u, same);
		if (threadIdx.x % 32 == 0) c.in[b / 32] |= votes, c.equal[b / 32] = equal;
	});
	if (few) {
		__syncthreads();
		const int i = threadIdx.x / 4;
		const uint2 own = s.few[min(i, count - 1)];
		int better = 0;
		for (int j = threadIdx.x % 4; j < count; j += 4) {
			const uint2 other = s.few[j];
			better += other.x > own.x || other.x == own.x && other.y < own.y;
		}
		better += __shfl_xor_sync(~0u, better, 1);
		better += __shfl_xor_sync(~0u, better, 2);
		if (i < count && threadIdx.x % 4 == 0 && better < rest) atomicOr(c.in + own.y / 32, 1u << own.y % 32);
	} else if (!whole) { // many that are equal
		count_before(c, c.equal);
		each_block(c, [&](int b) {
			const uint32_t equal = c.equal[b / 32], bit = 1u << b % 32;
			const unsigned votes = __ballot_sync(~0u, equal & bit && c.before[b / 32] + __popc(equal & (bit - 1)) < rest);
			if (threadIdx.x % 32 == 0) c.in[b / 32] |= votes;
		});
	}
	c.have = want;
	__syncthreads();
}

__device__ __forceinline__ float segment_score(const scoring &s, int seat, int h, int segment) {
	const int segments = s.c.l.segments, block = (segments & (segments - 1)) == 0 ? segment >> (31 - __clz(segments)) : segment / segments;
	return __ldcg(s.c.seg_score + (size_t)block_id(s.c, seat, h, block) * segments + (segment - block * segments));
}

// Offers the first windows of importance. segment is for the scores of what they span.
__device__ __forceinline__ void offer_importance(const scoring &s, const choice &c, float *segment, int seat, int h, int end) {
	const layout &l = s.c.l;
	for (int from = 0; from < end; from += ROUND) {
		const int segments = min((int)ROUND, end - from) + l.span - 1;
		float v[PARTS];
#pragma unroll
		for (int j = 0; j < PARTS; j++) {
			const int i = j * THREADS + threadIdx.x;
			if (i < segments) v[j] = segment_score(s, seat, h, from + i);
		}
		__syncthreads(); // all have read those of the round before
#pragma unroll
		for (int j = 0; j < PARTS; j++) {
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
		offer(c, l, from + at, mean, n);
	}
}

// grid (n, heads)   block THREADS   shared  what chooseBytes of choose.go says
extern "C" __global__ void __launch_bounds__(THREADS, 2) step_choose(const __grid_constant__ choose_args a) {
	extern __shared__ uint32_t memory[];
	__shared__ __align__(16) counting counted;
	__shared__ float top[HEADS], all[HEADS];
	__shared__ float segment[ROUND + SPAN - 1];
	const scoring &s = a.s;
	const layout &l = s.c.l;
	const int row = blockIdx.x, h = blockIdx.y, pos = s.rows.pos[row], seat = s.rows.seat[row];
	const size_t at = (size_t)row * l.heads + h;
	if ((pos | seat) < 0 || sees_all(s, pos)) { // the one load does not wait for the other
		wait_for_earlier();
		if ((pos | seat) >= 0 && threadIdx.x == 0) a.to.count[at] = -1;
		return;
	}
	const int own = pos / l.block, lane = threadIdx.x % 32, words = own / 32 + 1;
	choice c;
	c.blocks = own + 1, c.windows = windows(s, pos);
	c.key = memory, c.importance = c.key + c.blocks, c.in = c.importance + c.blocks, c.equal = c.in + words;
	c.before = (int *)(c.equal + words);
	each_block(c, [&](int b) {
		const unsigned votes = __ballot_sync(~0u, b <= own && (b < a.init || b >= own - a.local));
		if (threadIdx.x % 32 == 0) c.in[b / 32] = votes;
	});
	const int local = min(a.local, own) + 1;
	c.have = local + min(a.init, own + 1 - local);
	((uint4 *)counted.digit)[threadIdx.x] = {};
	if (threadIdx.x == 0) counted.least = ~0u, counted.most = 0;
	blank(c);
	choice important = c;
	important.key = c.importance;
	// Segments that were complete before this step are there while the kernel before ends.
	int old = 0;
	if (a.use_score) {
		old = min(c.windows, max(0, pos / (l.block / l.segments) - l.span + 1));
		offer_importance(s, important, segment, seat, h, old);
		__syncthreads();
	}
	wait_for_earlier();
	allow_later();
	if (a.use_score)
		for (int w = old + (THREADS - 1 - (int)threadIdx.x); w < c.windows; w += THREADS) {
			double sum = 0;
			for (int i = 0; i < l.span; i++) sum += (double)segment_score(s, seat, h, w + i);
			const float mean = (float)(sum / l.span);
			offer(important, l, w, &mean, 1);
		}

	if (a.use_query) {
		const int group = s.group, chunks = (c.windows + CHUNK - 1) / CHUNK;
		const float2 *total = s.total + at * s.chunks * group;
		// A thread has four windows of a chunk, a warp the chunk. The first of its weights and
		// what it has of the sums are on their way while the sums of all are made.
		const float4 *weight = (const float4 *)(s.weight + at * s.chunks * group * CHUNK) + lane;
		int chunk = threadIdx.x / 32;
		float4 p[BATCH];
		float2 part = {};
		auto ask = [&](int g) {
#pragma unroll
			for (int i = 0; i < BATCH; i++)
				if (g + i < group) p[i] = __ldcg(weight + (size_t)(chunk * group + g + i) * (CHUNK / 4));
		};
		auto ask_chunk = [&] {
			if (chunk >= chunks) return;
			if (lane < group) part = __ldcg(total + chunk * group + lane);
			ask(0);
		};
		float2 t[2]; // sums of a head's first chunks, read once
		auto ask_sums = [&](int g) {
#pragma unroll
			for (int i = 0; i < 2; i++)
				t[i] = g < group && lane + 32 * i < chunks ? __ldcg(total + (lane + 32 * i) * group + g) : make_float2(-INFINITY, 0);
		};
		ask_sums(threadIdx.x / 32);
		ask_chunk();
		for (int g = threadIdx.x / 32; g < group; g += THREADS / 32) {
			float most = -INFINITY, sum = 0;
			if (g >= THREADS / 32) ask_sums(g);
			most = larger(t[0].x, t[1].x);
#pragma unroll 1
			for (int i = lane + 64; i < chunks; i += 32) most = larger(most, total[i * group + g].x);
			most = warp_max(most);
#pragma unroll
			for (int i = 0; i < 2; i++)
				if (lane + 32 * i < chunks) sum = fmaf(t[i].y, exp2_approx(t[i].x - most), sum);
#pragma unroll 1
			for (int i = lane + 64; i < chunks; i += 32) sum = fmaf(total[i * group + g].y, exp2_approx(total[i * group + g].x - most), sum);
			sum = warp_sum(sum);
			if (lane == 0) top[g] = most, all[g] = sum;
		}
		__syncthreads();
		while (chunk < chunks) {
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
			chunk += THREADS / 32;
			ask_chunk();
			if (w < c.windows) offer(c, l, w, v, min(4, c.windows - w));
		}
		__syncthreads();
		if (a.by_query)
			for (int b = threadIdx.x; b < c.blocks; b += THREADS) a.by_query[at * s.c.most + b] = score_of(c.key[b]);
		take(c, counted, a.use_score ? min(s.k, a.init + a.local + a.query) : s.k);
	}
	if (a.use_score) {
		c.key = c.importance;
		if (!a.use_query) __syncthreads();
		if (a.by_score)
			for (int b = threadIdx.x; b < c.blocks; b += THREADS) a.by_score[at * s.c.most + b] = score_of(c.key[b]);
		take(c, counted, s.k);
	}

	count_before(c, c.in);
	int *out = a.to.blocks + at * a.to.places;
	each_block(c, [&](int b) {
		if (b <= own && has(c, b)) out[c.before[b / 32] + __popc(c.in[b / 32] & ((1u << b % 32) - 1))] = b;
	});
	for (int i = c.have + threadIdx.x; i < a.to.places; i += THREADS) out[i] = -1;
	if (threadIdx.x == 0) a.to.count[at] = c.have;
}
