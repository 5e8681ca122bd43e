// The choice of blocks for rows of packed documents, from their scores. Twin: compute/selection.go
//
// how     a warp has a row: a lane has the blocks of its number's last bits, as integers of their scores'
//         order, in registers. The last one that is taken is found bit by bit from the first in which
//         the largest and the least differ, until as many as are wanted lie above; those equal to it are
//         taken by their numbers. Where importance alone chooses, rows beside each other choose the same.
// bound   For each layer of 16,384 tokens, 3 KV heads, 64 of 256 blocks: scores 24 MB and lists 13 MB,
//         0.01 ms. About 12 steps of 2 instructions for each 32 blocks and of 10 beside, 160 blocks: 250 a
//         row and choice, twice in NOSA; with 150 for the list 32 M in all, 0.04 ms of four a clock and SM.
// reads   each score once
#include "../sum.cuh"
#include "documents_choose.cuh"

enum { THREADS = 32 * CHOOSE_WARPS };

// A number of the same order as a score, above 0: what is not a number lowest, both zeros one.
__device__ __forceinline__ uint32_t rank(float v) {
	if (v != v) return 1;
	const uint32_t b = __float_as_uint(v == 0 ? 0.0f : v);
	return b >> 31 ? ~b : b | 0x80000000u;
}

// take adds the need best of blocks to in, of those that are not in it. WORDS · 32 is how many blocks
// registers have room for; with 0 scores are read in every step.
template <int WORDS, class SCORE> __device__ __forceinline__ void take(uint32_t *in, int blocks, int need, const SCORE &score) {
	const int lane = threadIdx.x % 32, words = (blocks + 31) / 32;
	const auto rank_of = [&](int i) {
		const int b = 32 * i + lane;
		return b < blocks && !(in[i] >> lane & 1) ? rank(score(b)) : 0;
	};
	uint32_t keys[WORDS ? WORDS : 1];
	const auto each = [&](const auto &f) { // of words, and the lane's key
		if constexpr (WORDS) {
#pragma unroll
			for (int i = 0; i < WORDS; i++)
				if (i < words) f(i, keys[i]);
		} else
			for (int i = 0; i < words; i++) f(i, rank_of(i));
	};
	if constexpr (WORDS) {
#pragma unroll
		for (int i = 0; i < WORDS; i++) keys[i] = i < words ? rank_of(i) : 0;
	}
	uint32_t least = ~0u, largest = 0;
	each([&](int, uint32_t key) {
		largest = max(largest, key);
		if (key) least = min(least, key);
	});
	least = __reduce_min_sync(~0u, least), largest = __reduce_max_sync(~0u, largest);
	uint32_t last = least; // all that are open
	if (least != largest) {
		int bit = 31 - __clz(least ^ largest);
		last = largest >> bit >> 1 << bit << 1;
		for (; bit >= 0; bit--) {
			const uint32_t next = last | 1u << bit;
			int n = 0;
			each([&](int, uint32_t key) { n += key >= next; });
			n = __reduce_add_sync(~0u, n);
			if (n >= need) last = next;
			if (n == need) break;
		}
	}
	// Those above last, and of those equal to it the first.
	int above = 0;
	each([&](int, uint32_t key) { above += key > last; });
	int equal = need - __reduce_add_sync(~0u, above);
	each([&](int i, uint32_t key) {
		const uint32_t more = __ballot_sync(~0u, key > last), same = __ballot_sync(~0u, key == last);
		const bool first = key == last && __popc(same & ((1u << lane) - 1)) < equal;
		const uint32_t taken = more | __ballot_sync(~0u, first);
		equal -= min(equal, __popc(same));
		if (lane == 0) in[i] |= taken;
	});
	__syncwarp();
}

// grid (thread blocks of rows · heads)   block 256   shared  a bit for each block, of each warp
template <int WORDS> __device__ __forceinline__ void choose(const choose_args &a) {
	extern __shared__ uint32_t bits[];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.x % a.heads;
	const choose_work w = a.work[blockIdx.x / a.heads];
	const int rows = rows_of(a, w), pitch = pitch_of((w.first + rows - 1) / a.block + 1);
	uint32_t *const in = bits + warp * a.words;
	const float *const window_score = a.window_score + (size_t)h * a.windows + w.begin / a.stride;
	const float *const block_score = a.block_score + (size_t)h * a.blocks + w.begin / a.block;
	int own_before = -1, seen_before = -1; // of the row that in is of
	for (int i = warp * a.per_warp; i < min(rows, (warp + 1) * a.per_warp); i++) {
		const int pos = w.first + i, own = pos / a.block, blocks = own + 1, words = own / 32 + 1;
		const size_t at = (size_t)(w.begin + pos) * a.heads + h;
		if (pos < a.dense) {
			if (lane == 0) a.count[at] = -1;
			continue;
		}
		// Of the block before the own one rows see more and more windows, unless it is forced.
		const bool open = own > a.init && a.local == 0;
		const int seen = windows_of(a, pos + 1);
		if (a.by_query || own != own_before || (open && seen != seen_before)) {
			own_before = own, seen_before = seen;
			for (int word = lane; word < words; word += 32) {
				const int first = max(0, own - a.local) - 32 * word, init = a.init - 32 * word, last = own - 32 * word;
				const auto below = [](int n) { return n >= 32 ? ~0u : n <= 0 ? 0u : (1u << n) - 1; };
				in[word] = (below(init) | ~below(first)) & below(last + 1);
			}
			__syncwarp();
			int have = min(a.local, own) + 1;
			have += min(a.init, own + 1 - have);
			if (a.by_query) {
				const float *score = a.scores + 8 * (size_t)w.at + (size_t)(i * a.heads + h) * pitch;
				const int want = min(a.most_by_query, blocks);
				if (have < want) take<WORDS>(in, blocks, want - have, [&](int b) { return score[b]; }), have = want;
			}
			const int want = min(a.most, blocks);
			if (a.by_score && have < want) {
				float before = -INFINITY;
				if (open) {
					for (int m = max(0, (own - 1) * a.segments - a.span + 1) + lane; m < min(seen, own * a.segments); m += 32) before = larger(before, window_score[m]);
					before = warp_max(before);
				}
				take<WORDS>(in, blocks, want - have, [&](int b) { return open && b == own - 1 ? before : block_score[b]; });
			}
		}
		int *const out = a.selected + at * a.places, below = (1 << lane) - 1;
		int n = 0;
		for (int word = 0; word < words; word++) {
			const uint32_t v = in[word];
			if (v >> lane & 1) out[n + __popc(v & below)] = 32 * word + lane;
			n += __popc(v);
		}
		for (int p = n + lane; p < a.places; p += 32) out[p] = -1;
		if (lane == 0) a.count[at] = n;
		__syncwarp();
	}
}

extern "C" __global__ void __launch_bounds__(THREADS) train_choose_8(const __grid_constant__ choose_args a) { choose<8>(a); }
extern "C" __global__ void __launch_bounds__(THREADS) train_choose_32(const __grid_constant__ choose_args a) { choose<32>(a); }
extern "C" __global__ void __launch_bounds__(THREADS) train_choose_any(const __grid_constant__ choose_args a) { choose<0>(a); }
