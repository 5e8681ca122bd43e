// The choice of blocks for rows of packed documents, from their scores. Twin: compute/selection.go
//
// how     a warp has a row. By query a lane has the blocks of its number's last bits, as integers of their
//         scores' order, in registers: the last one that is taken is found bit by bit from the first in
//         which the largest and the least differ, until as many are above it as are wanted; of those equal
//         to it the first are taken. By importance all rows of a document have one order of its blocks,
//         and take the first that they see and have not; rows of a block that have no query choose once.
// bound   For each layer of 16,384 tokens, 3 KV heads, 64 of 256 blocks, 37,000 rows and heads that see more
//         than 64: scores 24 MB and lists 9 MB, 0.01 ms. About 14 steps of 28 or 40 instructions, and 500
//         for keys, the order, the list and the rest: 1,000 a row and head, 37 M in all, 0.04 ms at four a
//         clock of each SM. Without queries a fifth of it.
// reads   each score once
#include "../sum.cuh"
#include "documents_choose.cuh"

enum { THREADS = 32 * CHOOSE_WARPS };

__device__ __forceinline__ bool has(const uint32_t *in, int b) { return in[b / 32] >> b % 32 & 1; }

// take adds the need best of blocks to in, of those that are not in it. WORDS · 32 is how many blocks
// registers have room for; with 0 scores are read in every step.
template <int WORDS> __device__ __forceinline__ void take(uint32_t *in, int blocks, int need, const float *score) {
	const int lane = threadIdx.x % 32, words = (blocks + 31) / 32;
	const auto key_of = [&](int i, float v) {
		const uint32_t key = rank(v), taken = in[i] >> lane & 1;
		return 32 * i + lane < blocks && !taken ? key : 0;
	};
	uint32_t keys[WORDS ? WORDS : 1];
	if constexpr (WORDS) {
		float v[WORDS];
#pragma unroll
		for (int i = 0; i < WORDS; i++) v[i] = 32 * i + lane < blocks ? score[32 * i + lane] : 0;
#pragma unroll
		for (int i = 0; i < WORDS; i++) keys[i] = key_of(i, v[i]);
	}
	const auto each = [&](const auto &f) { // of words, and the lane's key
		if constexpr (WORDS) {
#pragma unroll
			for (int i = 0; i < WORDS; i++) f(i, keys[i]);
		} else
			for (int i = 0; i < words; i++) f(i, key_of(i, 32 * i + lane < blocks ? score[32 * i + lane] : 0));
	};
	const auto count = [&](uint32_t from) {
		int n = 0;
		each([&](int, uint32_t key) { n += key >= from; });
		return __reduce_add_sync(~0u, n);
	};
	uint32_t least = ~0u, largest = 0;
	each([&](int, uint32_t key) { largest = max(largest, key), least = min(least, key - 1); }); // 0 is no key
	least = __reduce_min_sync(~0u, least) + 1, largest = __reduce_max_sync(~0u, largest);
	uint32_t last = least;
	bool ties = true;
	if (least != largest) {
		int bit = 31 - __clz(least ^ largest);
		last = largest >> bit >> 1 << bit << 1;
		for (; bit >= 0; bit--) {
			const uint32_t next = last | 1u << bit;
			const int n = count(next);
			if (n >= need) last = next;
			if (n == need) {
				ties = false;
				break;
			}
		}
	}
	int equal = ties ? need - count(last + 1) : 0;
	uint32_t mine = 0; // of the word of the lane's number
	each([&](int i, uint32_t key) {
		uint32_t taken = __ballot_sync(~0u, key >= last);
		if (ties) {
			const uint32_t same = __ballot_sync(~0u, key == last), first = __popc(same & ((1u << lane) - 1)) < equal ? ~0u : 0;
			taken = (taken & ~same) | __ballot_sync(~0u, key == last && first);
			equal -= min(equal, __popc(same));
		}
		if constexpr (WORDS) {
			if (lane == i) mine = taken;
		} else if (lane == 0)
			in[i] |= taken;
	});
	if (WORDS && lane < words) in[lane] |= mine;
	__syncwarp();
}

// take_first adds the need first of those in an order that lie before end and are not in it.
__device__ __forceinline__ void take_first(uint32_t *in, const int *order, int count, int end, int need) {
	const int lane = threadIdx.x % 32;
	for (int from = 0; need > 0 && from < count; from += 32) {
		const int b = from + lane < count ? order[from + lane] : end;
		const bool open = b < end && !has(in, b);
		const uint32_t votes = __ballot_sync(~0u, open);
		if (open && __popc(votes & ((1u << lane) - 1)) < need) atomicOr(&in[b / 32], 1u << b % 32);
		need -= __popc(votes);
	}
	__syncwarp();
}

// grid (thread blocks of rows · heads)   block 256   shared  a bit for each block, of each warp: WORDS at least
template <int WORDS> __device__ __forceinline__ void choose(const choose_args &a) {
	extern __shared__ uint32_t bits[];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, h = blockIdx.x % a.heads;
	const choose_work w = a.work[blockIdx.x / a.heads];
	const int rows = rows_of(a, w), pitch = pitch_of((w.first + rows - 1) / a.block + 1);
	uint32_t *const in = bits + warp * a.words;
	const float *const window_score = a.window_score + (size_t)h * a.windows + w.begin / a.stride;
	const float *const block_score = a.block_score + (size_t)h * a.blocks + w.begin / a.block;
	const int *const order = a.order + (size_t)h * a.blocks + w.begin / a.block;
	int own_before = -1, seen_before = -1; // of the row that in is of
	int own = (w.first + warp * a.per_warp) / a.block;
	for (int i = warp * a.per_warp; i < min(rows, (warp + 1) * a.per_warp); i++) {
		const int pos = w.first + i;
		if (pos >= (own + 1) * a.block) own++;
		const int blocks = own + 1, words = own / 32 + 1;
		const size_t at = (size_t)(w.begin + pos) * a.heads + h;
		if (pos < a.dense) {
			if (lane == 0) a.count[at] = -1;
			continue;
		}
		// Of the block before the own one rows see more and more windows, unless it is forced.
		const bool open = own > a.init && a.local == 0;
		const int seen = open ? windows_of(a, pos + 1) : 0;
		if (a.by_query || own != own_before || seen != seen_before) {
			own_before = own, seen_before = seen;
#pragma unroll 1
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
				if (have < want) {
					if (WORDS == 8 && words <= 4)
						take<4>(in, blocks, want - have, score);
					else
						take<WORDS>(in, blocks, want - have, score);
					have = want;
				}
			}
			int need = min(a.most, blocks) - have;
			if (a.by_score && need > 0) {
				if (open && !has(in, own - 1)) {
					// The one before the own one has a place in no order: before it are those of no less importance.
					float v = -INFINITY;
					for (int m = max(0, (own - 1) * a.segments - a.span + 1) + lane; m < min(seen, own * a.segments); m += 32) v = larger(v, window_score[m]);
					const uint32_t mine = rank(warp_max(v));
					int before = 0;
					for (int b = lane; b < own - 1; b += 32) before += !has(in, b) && rank(block_score[b]) >= mine;
					if (__reduce_add_sync(~0u, before) < need) {
						__syncwarp();
						if (lane == 0) in[(own - 1) / 32] |= 1u << (own - 1) % 32;
						need--;
						__syncwarp();
					}
				}
				take_first(in, order, (w.end - w.begin) / a.block, open ? own - 1 : own, need);
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
