// Attention of a tile's rows to blocks in slots, on tensor cores. Twin: compute/attend.go
// grid    (N·group / queries of a thread block, runs of the call, heads)   block 8 warps, or 4
//         where shared memory is short: a warp has 16 queries, which are (row, query head of the
//         group), rows outermost
// reads   a block of keys and values once for all queries of the thread block, if one selected it
// order   block numbers are cut into runs, which depend on the row's own block alone (cuts in
//         attend_tile.go). The blocks of a run that a row selected are added one after the other,
//         16 products at a time in the order of tokens and channels; runs join the total in their
//         order. To a block that a row did not select it adds nothing, to the bit: its weights are
//         0 and what was summed is multiplied by 1. So neither the rows beside it nor the cuts of
//         a call enter, and a run that a call ends in stays in the state.
// tiles   where all blocks are in slots a launch has many tiles: grid (.., tiles, heads). A thread
//         block walks all runs of its queries, joins them as they end, and writes outputs: there is
//         no state, and nothing that the host must know. What rows selected becomes its lists.
// numbers queries, weights, keys and values are bfloat16 (float16 where the cache is), sums
//         float32
// bytes   a run's sums are written and read again: (2+dim) floats for each query, against
//         2·64·dim elements of each block; those of a whole walk are not
#include "layout.cuh"
#include "ptx.cuh"
#include "sum.cuh"
#include "tile.cuh"
#include <type_traits>

enum { TOKENS = 64 };

struct attend_tile_args {
	layout l;
	float *state;        // [N, heads·group, 1 + 2·(2+dim)]; the first number is the run's, plus 1
	const float *q;      // [N, heads·group, dim]: the tile's rows
	const uint8_t *slots;
	const float *score;  // [ids, block] or none
	const float *tail;   // [heads, 2, block·dim]
	const int *selected; // [N, heads, places]
	const int *count;    // [N, heads]; −1: every block
	const int *runs;     // [heads, runs, 3]: first of wanted, how many (0: none), number of the run
	const int *wanted;   // [heads, 3, most]: block numbers, slots, ids
	float *part;         // [runs, N·heads·group, dim]: weighted values
	float *sums;         // [runs, N·heads·group, 2]: maximum and sum
	int rows, group, places, own, pos, most, run_count, longest;
};

struct attend_tiles_args {
	layout l;
	float *out;          // [.., heads·group, dim]
	const float *q;      // as out
	const uint8_t *slots;
	const float *score;  // [ids, block] or none
	const int *selected; // [rows, heads, places]
	const int *count;    // [rows, heads]; −1: every block
	const tile *tiles;
	const int *slot_of;  // [heads, most]: a block's slot
	const int *id_of;    // [heads, most]: its id, where there is a score
	int group, places, most, longest;
};

// The run of a block that rows of block own see: as in attend_tile.go.
__device__ __forceinline__ int run_of(int b, int own) {
	constexpr int recent = 64, short_run = 8, long_runs = 8, longest = 512;
	const int far = max(0, own + 1 - recent), size = min(max(short_run, (far + long_runs - 1) / long_runs), longest);
	return b < far ? b / size : (far + size - 1) / size + (b - far) / short_run;
}

// What a thread block is for, of either.
struct attend_work {
	const float *q, *tail;
	const int *selected, *count;
	int rows, own, pos;
};
__device__ __forceinline__ attend_work work_of(const attend_tile_args &a) { return {a.q, a.tail, a.selected, a.count, a.rows, a.own, a.pos}; }
__device__ __forceinline__ attend_work work_of(const attend_tiles_args &a) {
	const tile &t = a.tiles[blockIdx.y];
	return {a.q + (size_t)t.from * a.l.heads * a.group * a.l.dim, t.tail, a.selected + (size_t)t.first * a.l.heads * a.places,
		a.count + (size_t)t.first * a.l.heads, t.rows, t.pos / a.l.block, t.pos};
}

#define LOG2E 1.4426950408889634f

// What a kernel multiplies of a cache of a format.
template <int KV> __device__ __forceinline__ uint32_t two(float x, float y) {
	if constexpr (KV == KV_F16) {
		const __half2 v = __floats2half2_rn(x, y);
		return *(const uint32_t *)&v;
	} else {
		const __nv_bfloat162 v = __floats2bfloat162_rn(x, y);
		return *(const uint32_t *)&v;
	}
}

template <int KV> __device__ __forceinline__ void multiply(float *c, const uint32_t *a, const uint32_t *b) {
	if constexpr (KV == KV_F16)
		mma_f16_m16n8k16(c, a, b);
	else
		mma_bf16_m16n8k16(c, a, b);
}

template <int KV> __device__ __forceinline__ uint4 eight_of(const float *p) {
	const float4 x = *(const float4 *)p, y = *(const float4 *)(p + 4);
	return {two<KV>(x.x, x.y), two<KV>(x.z, x.w), two<KV>(y.x, y.y), two<KV>(y.z, y.w)};
}

// Four codes, the bytes of v, as lo + scale·code.
template <int KV> __device__ __forceinline__ void four_of(uint32_t v, float2 p, uint32_t *to) {
	float x[4];
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const float c = __uint_as_float(__byte_perm(v, 0x4b000000, 0x7440 + i)) - 8388608.0f; // 2^23 and the code
		x[i] = fmaf(c, p.y, p.x);
	}
	to[0] = two<KV>(x[0], x[1]), to[1] = two<KV>(x[2], x[3]);
}

// Elements 8·c to 8·c+7 of a row of n codes.
template <int KV> __device__ __forceinline__ uint4 eight_codes(const uint8_t *row, int n, int c, float2 p) {
	uint4 r;
	uint2 v;
	if constexpr (KV == KV_Q8) {
		v = *(const uint2 *)(row + 8 * c);
	} else {
		const bool high = 8 * c >= n / 2;
		v = *(const uint2 *)(row + 8 * c - (high ? n / 2 : 0));
		const int shift = high ? 4 : 0;
		v.x = v.x >> shift & 0x0f0f0f0f, v.y = v.y >> shift & 0x0f0f0f0f;
	}
	four_of<KV>(v.x, p, &r.x);
	four_of<KV>(v.y, p, &r.z);
	return r;
}

// Tiles in shared memory are rows of 128 bytes, of keys [DIM, TOKENS] by channel, of others
// 64 channels, with the next 64 in a tile behind. The pieces of 16 bytes change places by the
// last bits of the row's number, so that those of eight rows lie in all banks.
__device__ __forceinline__ int key_at(int d, int piece) { return d * 128 + ((piece ^ (d & 7)) << 4); }
template <int ROWS> __device__ __forceinline__ int row_at(int r, int piece) { return piece / 8 * (128 * ROWS) + r * 128 + (((piece ^ r) & 7) << 4); }

// A block's keys [DIM, TOKENS] and values [TOKENS, DIM] in shared memory.
template <int DIM> struct stage {
	enum { VALUES = 2 * DIM * TOKENS, BYTES = 2 * VALUES };
};

#ifdef HAS_WGMMA
constexpr bool GROUPS = true; // products are of warpgroups
#else
constexpr bool GROUPS = false; // a warp has its own
#endif

// s [16, TOKENS] = the warp's queries · keys. piece is where ldmatrix finds the pieces of a
// lane's row. Where it is POSTED, products of warpgroups are to be waited for.
template <int KV, int DIM, int M, bool POSTED = false>
__device__ __forceinline__ void logits(float (&s)[TOKENS / 8][4], const uint8_t *queries, const uint8_t *keys, const int (&piece)[4]) {
	const int warp = threadIdx.x / 32;
#ifdef HAS_WGMMA
	wgmma_begin();
#pragma unroll
	for (int k = 0; k < DIM / 16; k++) {
		const uint64_t x = wgmma_matrix(queries + warp / 4 * 8192 + k / 4 * (128 * M) + k % 4 * 32, 0), y = wgmma_matrix(keys + k * 2048, 0);
		if constexpr (KV == KV_F16)
			wgmma_f16_m64n64k16(s[0], x, y, k > 0);
		else
			wgmma_bf16_m64n64k16(s[0], x, y, k > 0);
	}
	wgmma_commit();
	if (!POSTED) wgmma_wait<0, TOKENS / 2>(s[0]);
#else
#pragma unroll
	for (int j = 0; j < TOKENS / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
	const int low = threadIdx.x & 15;
	const uint8_t *q = queries + (warp * 16 + low) * 128;
#pragma unroll
	for (int k = 0; k < DIM / 16; k++) {
		uint32_t x[4];
		ldmatrix_x4(x, q + k / 4 * (128 * M) + piece[k % 4]);
#pragma unroll
		for (int j = 0; j < TOKENS / 16; j++) {
			uint32_t y[4];
			ldmatrix_x4_trans(y, keys + (16 * k + low) * 128 + piece[j]);
			multiply<KV>(s[2 * j], x, y), multiply<KV>(s[2 * j + 1], x, y + 2);
		}
	}
#endif
}

// acc [16, DIM] += p [16, TOKENS] · values.
template <int KV, int DIM, bool POSTED = false>
__device__ __forceinline__ void weighted(float (&acc)[DIM / 8][4], const uint32_t (&p)[TOKENS / 8][2], const uint8_t *values, const int (&piece)[4]) {
#ifdef HAS_WGMMA
	wgmma_begin();
#pragma unroll
	for (int j = 0; j < TOKENS / 16; j++) {
		const uint32_t x[4] = {p[2 * j][0], p[2 * j][1], p[2 * j + 1][0], p[2 * j + 1][1]};
		const uint64_t y = wgmma_matrix(values + j * 2048, 128 * TOKENS);
		if constexpr (KV == KV_F16 && DIM == 64)
			wgmma_f16_m64n64k16(acc[0], x, y);
		else if constexpr (KV == KV_F16)
			wgmma_f16_m64n128k16(acc[0], x, y);
		else if constexpr (DIM == 64)
			wgmma_bf16_m64n64k16(acc[0], x, y);
		else
			wgmma_bf16_m64n128k16(acc[0], x, y);
	}
	wgmma_commit();
	if (!POSTED) wgmma_wait<0, DIM / 2>(acc[0]);
#else
	const int low = threadIdx.x & 15;
#pragma unroll
	for (int j = 0; j < TOKENS / 16; j++) {
		const uint32_t x[4] = {p[2 * j][0], p[2 * j][1], p[2 * j + 1][0], p[2 * j + 1][1]};
#pragma unroll
		for (int d = 0; d < DIM / 16; d++) {
			uint32_t y[4];
			ldmatrix_x4_trans(y, values + (16 * j + low) * 128 + d / 4 * (128 * TOKENS) + piece[d % 4]);
			multiply<KV>(acc[2 * d], x, y), multiply<KV>(acc[2 * d + 1], x, y + 2);
		}
	}
#endif
}

template <int KV, int DIM, int M, class ARGS> __device__ __forceinline__ void attend_tile(const ARGS &a) {
	using S = stage<DIM>;
	constexpr bool WHOLE = std::is_same<ARGS, attend_tiles_args>::value; // all runs, from the first to the last
	constexpr bool CODED = KV == KV_Q8 || KV == KV_Q4;
	constexpr int PIECES = DIM / 8, THREADS = 2 * M;
	extern __shared__ uint4 shared[];
	__shared__ uint32_t everything[2];
	__shared__ uint32_t poison[DIM][2]; // tokens whose value of a channel is not finite
	const layout &l = a.l;
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, h = blockIdx.z, dim = l.dim, block = l.block;
	const attend_work w = work_of(a);
	int first = 0, n = 0, number = -1; // first block and how many the lists have; the run that sums are of
	if constexpr (!WHOLE) {
		const int *run = a.runs + ((size_t)h * a.run_count + blockIdx.y) * 3;
		first = run[0], n = run[1], number = run[2];
		if (n == 0) return;
	}
	uint8_t *const queries = (uint8_t *)((size_t)shared + 1023 & ~(size_t)1023), *const stages = queries + 2 * M * DIM;
	uint8_t *const raws = stages + (CODED ? 1 : 2) * S::BYTES; // codes of two blocks
	float *const biases = (float *)(raws + (CODED ? 2 * l.block_bytes : 0)); // of two blocks
	uint32_t *const mask = (uint32_t *)(biases + 2 * TOKENS); // [longest, 2]: rows that selected a block
	int *const numbers = (int *)(mask + 2 * a.longest), *const slots = numbers + a.longest, *const ids = slots + a.longest;
	// Of whole walks: a bit for each block that a row selected, and how many are in the words before.
	uint32_t *const chosen_bits = (uint32_t *)(ids + a.longest);
	const int words = w.own / 32 + 1;
	int *const before = (int *)(chosen_bits + words);

	// Queries m0 to m0+count−1 of all, of rows row0 to row0+rows−1.
	const int m0 = blockIdx.x * M, all = w.rows * a.group, count = min(M, all - m0);
	if (WHOLE && count <= 0) return;
	const int row0 = m0 / a.group, rows = (m0 + count - 1) / a.group - row0 + 1;
	const int heads = l.heads * a.group;
	const auto flat = [&](int m) { return (m / a.group * l.heads + h) * a.group + m % a.group; }; // of all queries
	if (tid < 2) everything[tid] = 0;
	if constexpr (WHOLE) {
		for (int i = tid; i < words; i += THREADS) chosen_bits[i] = 0;
	} else
		for (int i = tid; i < n; i += THREADS) {
			const int *w = a.wanted + (size_t)h * 3 * a.most + first + i;
			numbers[i] = w[0], slots[i] = w[a.most], ids[i] = w[2 * a.most];
			mask[2 * i] = mask[2 * i + 1] = 0;
		}
	for (int i = tid; i < M * PIECES; i += THREADS) {
		const int m = i / PIECES, c = i % PIECES;
		uint4 v = {};
		if (m < count && 8 * c < dim) v = eight_of<KV>(w.q + (size_t)flat(m0 + m) * dim + 8 * c);
		*(uint4 *)(queries + row_at<M>(m, c)) = v;
	}
	__syncthreads();
	// Each block that a row of the thread block selected.
	const auto each_choice = [&](auto f) {
		for (int i = tid; i < rows * a.places; i += THREADS) {
			const int r = i / a.places, p = i % a.places;
			const size_t at = (size_t)(row0 + r) * l.heads + h;
			if (p < w.count[at]) f(r, w.selected[at * a.places + p]);
		}
	};
	for (int r = tid; r < rows; r += THREADS)
		if (w.count[(size_t)(row0 + r) * l.heads + h] < 0) atomicOr(&everything[r / 32], 1u << r % 32);
	int total_blocks = 0; // of the walk
	if constexpr (WHOLE) {
		each_choice([&](int, int b) { atomicOr(&chosen_bits[b / 32], 1u << b % 32); });
		__syncthreads();
		if (everything[0] | everything[1]) {
			for (int i = tid; i < words; i += THREADS) chosen_bits[i] = i < words - 1 || w.own % 32 == 31 ? ~0u : (2u << w.own % 32) - 1;
			__syncthreads();
		}
		if (warp == 0)
			for (int i = lane, sum = 0; i < words + lane; i += 32) { // all lanes go as often
				const int own = i < words ? __popc(chosen_bits[i]) : 0;
				int upto = own;
#pragma unroll
				for (int d = 1; d < 32; d *= 2) {
					const int v = __shfl_up_sync(~0u, upto, d);
					if (lane >= d) upto += v;
				}
				if (i < words) before[i] = sum + upto - own;
				sum += __shfl_sync(~0u, upto, 31);
			}
		__syncthreads();
		total_blocks = before[words - 1] + __popc(chosen_bits[words - 1]);
	} else {
		each_choice([&](int r, int b) {
			if (b < numbers[0] || b > numbers[n - 1]) return;
			int lo = 0, hi = n - 1;
			while (lo < hi) {
				const int mid = (lo + hi) / 2;
				if (numbers[mid] < b) lo = mid + 1; else hi = mid;
			}
			if (numbers[lo] == b) atomicOr(&mask[2 * lo + r / 32], 1u << r % 32);
		});
		__syncthreads();
		for (int i = tid; i < 2 * n; i += THREADS) mask[i] |= everything[i % 2];
		__syncthreads();
	}
	// The lists of the blocks of a whole walk from one on, as many as there is room for.
	const auto list_from = [&](int from) {
		if constexpr (WHOLE) {
			n = min(a.longest, total_blocks - from);
			__syncthreads();
			for (int i = tid; i < 2 * n; i += THREADS) mask[i] = everything[i % 2];
			for (int i = tid; i < words; i += THREADS) {
				int at = before[i] - from;
				if (at >= n) break;
				for (uint32_t bits = chosen_bits[i]; bits; bits &= bits - 1, at++) {
					const int b = 32 * i + __ffs(bits) - 1;
					if (at < 0 || at >= n) continue;
					numbers[at] = b;
					if (b < w.own) slots[at] = a.slot_of[h * a.most + b];
					if (a.score) ids[at] = a.id_of[h * a.most + b];
				}
			}
			__syncthreads();
			each_choice([&](int r, int b) {
				const int at = before[b / 32] + __popc(chosen_bits[b / 32] & ((1u << b % 32) - 1)) - from;
				if (at >= 0 && at < n) atomicOr(&mask[2 * at + r / 32], 1u << r % 32);
			});
			__syncthreads();
		}
	};
	const auto chosen_by = [&](int i) { return (uint64_t)mask[2 * i + 1] << 32 | mask[2 * i]; };
	const auto next = [&](int i) { // the first block from i on that a row selected
		while (i < n && chosen_by(i) == 0) i++;
		return i;
	};

	// A lane's rows of the products: 2 queries.
	const int g = lane / 4, t = lane % 4 * 2;
	uint64_t mine = 0; // what of a mask speaks of the warp's, or the warpgroup's
	int rel[2];        // of which row each is, counted from row0; 64: of none
	const auto query = [&](int r) { return warp * 16 + 8 * r + g; };
#pragma unroll
	for (int r = 0; r < 2; r++) rel[r] = query(r) < count ? (m0 + query(r)) / a.group - row0 : 64;
	const int share = GROUPS ? 64 : 16, from = warp * 16 / share * share; // who goes together
	for (int m = from; m < min(count, from + share); m += a.group - (m0 + m) % a.group) mine |= 1ull << ((m0 + m) / a.group - row0);
	const int seen0 = w.pos + row0 + 1 - w.own * block; // keys that row0 sees of the own block
	// How many keys of block i, or of the own one, a query sees.
	const auto keys = [&](uint64_t chosen, bool own, int rel) {
		return rel < 64 && chosen >> rel & 1 ? own ? min(block, seen0 + rel) : block : 0;
	};
	const int last = w.pos + w.rows - 1 - w.own * block; // the last token of the tail that there is

	const auto see = [] {
#ifdef HAS_WGMMA
		wgmma_see_shared();
#endif
	};

	// The own block, from float32.
	const auto open_keys = [&](uint8_t *to) {
		const float *from = w.tail + (size_t)h * 2 * block * dim;
#pragma unroll 1
		for (int i = tid; i < DIM * TOKENS / 8; i += THREADS) {
			const int d = i / (TOKENS / 8), c = i % (TOKENS / 8);
			uint4 v = {};
			if (d < dim && 8 * c < block) v = eight_of<KV>(from + d * block + 8 * c);
			*(uint4 *)(to + key_at(d, c)) = v;
		}
	};
	const auto open_values = [&](uint8_t *to) {
		const float *from = w.tail + ((size_t)h * 2 + 1) * block * dim;
#pragma unroll 1
		for (int i = tid; i < DIM * TOKENS / 8; i += THREADS) {
			const int j = i / PIECES, c = i % PIECES;
			uint4 v = {};
			if (j <= last && 8 * c < dim) v = eight_of<KV>(from + j * dim + 8 * c);
			*(uint4 *)(to + row_at<TOKENS>(j, c)) = v;
		}
	};
	// Keys and bias of block i, and its values, are on their way to place. A thread has a piece
	// of every few rows, whose numbers end in the same bits.
	const auto fetch_keys = [&](int i, int place) {
		uint8_t *const to = stages + place * S::BYTES;
		if (a.score && 4 * tid < block) cp_async_16(biases + place * TOKENS + 4 * tid, a.score + (size_t)ids[i] * block + 4 * tid);
		if (numbers[i] == w.own) {
			open_keys(to);
			return;
		}
		constexpr int EACH = THREADS / (TOKENS / 8);
		static_assert(EACH % 8 == 0);
		const int d = tid / (TOKENS / 8), c = tid % (TOKENS / 8), there = 8 * c < block ? dim : 0;
		const uint8_t *from = a.slots + (size_t)slots[i] * l.block_bytes + 2 * (d * block + 8 * c);
#pragma unroll
		for (int i = 0; i < DIM / EACH; i++, from += 2 * EACH * block) cp_async_16(to + key_at(d, c) + i * EACH * 128, from, d + i * EACH < there);
	};
	const auto fetch_values = [&](int i, int place) {
		uint8_t *const to = stages + place * S::BYTES + S::VALUES;
		if (numbers[i] == w.own) {
			open_values(to);
			return;
		}
		constexpr int EACH = THREADS / PIECES;
		static_assert(EACH % 8 == 0);
		const int r = tid / PIECES, c = tid % PIECES, there = 8 * c < dim ? block : 0;
		const uint8_t *from = a.slots + (size_t)slots[i] * l.block_bytes + 2 * ((block + r) * dim + 8 * c);
#pragma unroll
		for (int i = 0; i < TOKENS / EACH; i++, from += 2 * EACH * dim) cp_async_16(to + row_at<TOKENS>(r, c) + i * EACH * 128, from, r + i * EACH < there);
	};
	const auto fetch = [&](int i, int place) {
		if constexpr (CODED) {
			if (a.score && 4 * tid < block) cp_async_16(biases + place * TOKENS + 4 * tid, a.score + (size_t)ids[i] * block + 4 * tid);
			const uint8_t *from = a.slots + (size_t)slots[i] * l.block_bytes;
			if (numbers[i] != w.own)
				for (int j = tid; j < l.block_bytes / 16; j += THREADS) cp_async_16(raws + place * l.block_bytes + 16 * j, from + 16 * j);
		} else {
			fetch_keys(i, place);
			fetch_values(i, place);
		}
		cp_async_commit();
	};
	// The codes of block i, at place, as what is multiplied.
	const auto expand = [&](int i, int place) {
		if (numbers[i] == w.own) {
			open_keys(stages);
			open_values(stages + S::VALUES);
			return;
		}
		const uint8_t *from = raws + place * l.block_bytes;
		const int kbytes = dim * code_bytes(l, block), vbytes = block * code_bytes(l, dim);
		const float2 *pairs = (const float2 *)(from + kbytes + vbytes);
		for (int j = tid; j < DIM * TOKENS / 8; j += THREADS) {
			const int d = j / (TOKENS / 8), c = j % (TOKENS / 8);
			uint4 v = {};
			if (d < dim && 8 * c < block) v = eight_codes<KV>(from + d * code_bytes(l, block), block, c, pairs[d]);
			*(uint4 *)(stages + key_at(d, c)) = v;
		}
		for (int j = tid; j < DIM * TOKENS / 8; j += THREADS) {
			const int r = j / PIECES, c = j % PIECES;
			uint4 v = {};
			if (r < block && 8 * c < dim) v = eight_codes<KV>(from + kbytes + r * code_bytes(l, dim), dim, c, pairs[dim + r]);
			*(uint4 *)(stages + S::VALUES + row_at<TOKENS>(r, c)) = v;
		}
	};
	// Values that are not finite become 0, and their places are noted.
	const auto scrub = [&](uint8_t *values) {
		for (int i = tid; i < 2 * DIM; i += THREADS) poison[i / 2][i % 2] = 0;
		__syncthreads();
		constexpr uint16_t infinite = KV == KV_F16 ? 0x7c00 : 0x7f80;
#pragma unroll 1
		for (int i = tid; i < DIM * TOKENS; i += THREADS) {
			const int j = i / DIM, d = i % DIM;
			uint16_t *v = (uint16_t *)(values + row_at<TOKENS>(j, d / 8)) + d % 8;
			if ((*v & infinite) != infinite) continue;
			*v = 0;
			atomicOr(&poison[d][j / 32], 1u << j % 32);
		}
		see();
		__syncthreads();
	};

	float top[2], sum[2], acc[DIM / 8][4];
	// Of the runs before. Values are not in registers, which the products need, but in memory.
	float total_top[2], total_sum[2];
	float4 memory[WHOLE ? DIM / 8 : 1], *const total = in_memory(memory);
	const float scale = 1 / sqrtf((float)dim);
	int piece[4]; // of the row of 16 that a lane names to ldmatrix, for the lower and the upper 8 columns
#pragma unroll
	for (int i = 0; i < 4; i++) piece[i] = ((2 * i + lane / 16) ^ (lane & 7)) << 4;

	// Products with the keys of block i become weights: what was summed is to be multiplied by
	// decay.
	using weights = uint32_t[TOKENS / 8][2];
	const auto soften = [&](int i, const float *bias, float (&s)[TOKENS / 8][4], float (&decay)[2]) {
		const uint64_t chosen = chosen_by(i);
		const bool own = numbers[i] == w.own;
		// Logits are s·unit, in which a bias already is.
		float unit = scale;
		if (bias) {
			unit = 1;
#pragma unroll
			for (int j = 0; j < TOKENS / 8; j++) {
				const float2 b = *(const float2 *)(bias + 8 * j + t);
#pragma unroll
				for (int e = 0; e < 4; e++) s[j][e] = fmaf(s[j][e], scale, e % 2 ? b.y : b.x);
			}
		}
		if (own || block < TOKENS || (chosen & mine) != mine) {
#pragma unroll
			for (int e = 0; e < 4; e++) {
				const int end = keys(chosen, own, rel[e / 2]);
#pragma unroll
				for (int j = 0; j < TOKENS / 8; j++)
					if (8 * j + t + e % 2 >= end) s[j][e] = -INFINITY;
			}
		}
		const float slope = unit * LOG2E;
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float most = -INFINITY;
#pragma unroll
			for (int j = 0; j < TOKENS / 8; j++) most = fmaxf(most, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
			most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
			most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
			most = fmaxf(top[r], most * unit);
			const float shift = most == -INFINITY ? 0 : most * LOG2E;
			decay[r] = exp2_approx(top[r] * LOG2E - shift);
			top[r] = most;
			float total = 0;
#pragma unroll
			for (int j = 0; j < TOKENS / 8; j++) {
				float &x = s[j][2 * r], &y = s[j][2 * r + 1];
				x = exp2_approx(fmaf(x, slope, -shift)), y = exp2_approx(fmaf(y, slope, -shift));
				total += x + y;
			}
			total += __shfl_xor_sync(~0u, total, 1);
			total += __shfl_xor_sync(~0u, total, 2);
			sum[r] = fmaf(sum[r], decay[r], total);
		}
	};
	const auto pack = [&](const float (&s)[TOKENS / 8][4], weights &p) {
#pragma unroll
		for (int j = 0; j < TOKENS / 8; j++) p[j][0] = two<KV>(s[j][0], s[j][1]), p[j][1] = two<KV>(s[j][2], s[j][3]);
	};
	const auto rescale = [&](const float (&decay)[2]) {
		const bool less = decay[0] != 1 || decay[1] != 1;
		if (__any_sync(~0u, less))
#pragma unroll
			for (int d = 0; d < DIM / 8; d++)
#pragma unroll
				for (int e = 0; e < 4; e++) acc[d][e] *= decay[e / 2];
	};
	// Adds block i, which lies in here, to the warp's queries.
	const auto add = [&](int i, const uint8_t *here, const float *bias) {
		float s[TOKENS / 8][4], decay[2];
		weights p;
		logits<KV, DIM, M>(s, queries, here, piece);
		soften(i, bias, s, decay);
		pack(s, p);
		rescale(decay);
		weighted<KV, DIM>(acc, p, here + S::VALUES, piece);
	};
	// The values that scrub took away make their channels none where they are seen.
	const auto mark = [&](int i) {
#pragma unroll
		for (int r = 0; r < 2; r++) {
			const int end = keys(chosen_by(i), numbers[i] == w.own, rel[r]);
			const uint64_t sees = end == 64 ? ~0ull : (1ull << end) - 1;
#pragma unroll
			for (int d = 0; d < DIM / 8; d++)
#pragma unroll
				for (int e = 0; e < 2; e++) {
					const uint32_t *v = poison[8 * d + t + e];
					if (((uint64_t)v[1] << 32 | v[0]) & sees) acc[d][2 * r + e] = NAN;
				}
		}
	};

	// Block i is of another run than what was summed: that joins the total.
	const auto changes = [&](int i) { return WHOLE && run_of(numbers[i], w.own) != number; };
	const auto join = [&](const float (&top)[2], const float (&sum)[2]) {
		if constexpr (WHOLE) {
			float x[2], y[2];
			bool none[2]; // of the run that the row saw
#pragma unroll
			for (int r = 0; r < 2; r++) {
				x[r] = y[r] = 0, none[r] = top[r] == -INFINITY && sum[r] == 0;
				if (none[r]) continue;
				const float most = larger(total_top[r], top[r]), shift = most == -INFINITY ? 0 : most;
				x[r] = expf(total_top[r] - shift), y[r] = expf(top[r] - shift);
				total_top[r] = most, total_sum[r] = total_sum[r] * x[r] + sum[r] * y[r];
			}
#pragma unroll
			for (int d = 0; d < DIM / 8; d++) {
				float4 v = total[d];
				if (!none[0]) v.x = v.x * x[0] + acc[d][0] * y[0], v.y = v.y * x[0] + acc[d][1] * y[0];
				if (!none[1]) v.z = v.z * x[1] + acc[d][2] * y[1], v.w = v.w * x[1] + acc[d][3] * y[1];
				total[d] = v;
			}
		}
	};
	const auto clear = [&] {
#pragma unroll
		for (int d = 0; d < DIM / 8; d++)
#pragma unroll
			for (int e = 0; e < 4; e++) acc[d][e] = 0;
	};
	const auto open = [&](int i) { // the run of block i, of which nothing is summed yet
		number = run_of(numbers[i], w.own);
		top[0] = top[1] = -INFINITY, sum[0] = sum[1] = 0;
	};

	// A value that is not finite would show in the rows that do not see it too, as 0 times it.
	// Where a sum is not finite the run is taken again without such values, which then are put
	// where they are seen: other sums have the same bits either way.
	for (bool careful = false;; careful = true) {
		if constexpr (WHOLE) {
			number = -1;
			top[0] = top[1] = total_top[0] = total_top[1] = -INFINITY, sum[0] = sum[1] = total_sum[0] = total_sum[1] = 0;
			clear();
#pragma unroll
			for (int d = 0; d < DIM / 8; d++) total[d] = {};
		} else {
#pragma unroll
			for (int r = 0; r < 2; r++) {
				const float *s = a.state + (size_t)flat(m0 + query(r)) * (1 + 2 * (2 + dim));
				const bool goes_on = rel[r] < 64 && s[0] == number + 1;
				top[r] = goes_on ? s[1] : -INFINITY, sum[r] = goes_on ? s[2] : 0;
#pragma unroll
				for (int d = 0; d < DIM / 8; d++)
#pragma unroll
					for (int e = 0; e < 2; e++) acc[d][2 * r + e] = goes_on && 8 * d + t + e < dim ? s[3 + 8 * d + t + e] : 0;
			}
		}
		for (int from = 0; WHOLE ? from < total_blocks : from == 0; from += WHOLE ? a.longest : 1) {
			list_from(from);
			int i = next(0), place = 0;
#ifdef HAS_WGMMA
			// Two products are under way at a time: those of the next block's logits, while weights
			// are taken of them, beside those of this one's values.
			if constexpr (!CODED)
				if (!careful && i < n) {
					float s[TOKENS / 8][4], decay[2];
					weights p;
					const auto bias = [&](int place) { return a.score ? biases + place * TOKENS : nullptr; };
					fetch_keys(i, 0), fetch_values(i, 0);
					cp_async_commit();
					int after = next(i + 1);
					if (after < n) fetch_keys(after, 1);
					cp_async_commit();
					cp_async_wait<1>();
					see();
					__syncthreads();
					logits<KV, DIM, M>(s, queries, stages, piece);
					if (changes(i)) join(top, sum), clear(), open(i);
					soften(i, bias(0), s, decay);
					pack(s, p);
					while (after < n) {
						cp_async_wait<0>();
						see();
						__syncthreads();
						const int third = next(after + 1);
						if (third < n) fetch_keys(third, place);
						fetch_values(after, place ^ 1);
						cp_async_commit();
						rescale(decay);
						logits<KV, DIM, M, true>(s, queries, stages + (place ^ 1) * S::BYTES, piece);
						weighted<KV, DIM, true>(acc, p, stages + place * S::BYTES + S::VALUES, piece);
						wgmma_wait<1, TOKENS / 2>(s[0]);
						const bool fresh = changes(after);
						const float last_top[2] = {top[0], top[1]}, last_sum[2] = {sum[0], sum[1]};
						if (fresh) open(after);
						soften(after, bias(place ^ 1), s, decay);
						wgmma_wait<0, DIM / 2>(acc[0]);
						if (fresh) join(last_top, last_sum), clear();
						pack(s, p);
						wgmma_keep<TOKENS / 4>(p[0]);
						i = after, after = third, place ^= 1;
					}
					cp_async_wait<0>();
					see();
					__syncthreads();
					rescale(decay);
					weighted<KV, DIM>(acc, p, stages + place * S::BYTES + S::VALUES, piece);
					i = n;
				}
#endif
			if (i < n) fetch(i, place);
			while (i < n) {
				const int after = next(i + 1);
				cp_async_wait<0>();
				see();
				__syncthreads();
				if constexpr (CODED) {
					expand(i, place);
					if (after < n) fetch(after, place ^ 1);
					see();
					__syncthreads();
				} else if (after < n)
					fetch(after, place ^ 1);
				uint8_t *here = CODED ? stages : stages + place * S::BYTES;
				const float *bias = a.score ? biases + place * TOKENS : nullptr;
				if (careful) scrub(here + S::VALUES);
				if (changes(i)) join(top, sum), clear(), open(i);
				if (chosen_by(i) & mine) add(i, here, bias);
				if (careful) mark(i);
				i = after, place ^= 1;
			}
		}
		join(top, sum);
		bool finite = true;
#pragma unroll
		for (int d = 0; d < DIM / 8; d++) {
			const float4 v = WHOLE ? total[d * WHOLE] : float4{acc[d][0], acc[d][1], acc[d][2], acc[d][3]};
			finite &= fabsf(v.x) < INFINITY && fabsf(v.y) < INFINITY && fabsf(v.z) < INFINITY && fabsf(v.w) < INFINITY;
		}
		if (!__syncthreads_or(!finite) || careful) break;
	}

#pragma unroll
	for (int r = 0; r < 2; r++) {
		if (rel[r] == 64) continue;
		if constexpr (WHOLE) {
			float *out = a.out + (w.q - a.q) + (size_t)flat(m0 + query(r)) * dim;
			const auto part = [&](float v) { return total_sum[r] != 0 ? v / total_sum[r] : 0; };
#pragma unroll
			for (int d = 0; d < DIM / 8; d++)
				if (8 * d < dim) *(float2 *)(out + 8 * d + t) = {part(r ? total[d].z : total[d].x), part(r ? total[d].w : total[d].y)};
		} else {
			const size_t at = (size_t)blockIdx.y * w.rows * heads + flat(m0 + query(r));
			if (t == 0) *(float2 *)(a.sums + 2 * at) = {top[r], sum[r]};
			if (top[r] == -INFINITY && sum[r] == 0) continue; // nothing to say
			float *part = a.part + at * dim;
#pragma unroll
			for (int d = 0; d < DIM / 8; d++)
				if (8 * d < dim) *(float2 *)(part + 8 * d + t) = {acc[d][2 * r], acc[d][2 * r + 1]};
		}
	}
}

#define TILE(name, KV, DIM, M) \
	extern "C" __global__ void __launch_bounds__(2 * M, 128 / M) attend_tile_##name##_##DIM##_##M(const __grid_constant__ attend_tile_args a) { attend_tile<KV, DIM, M>(a); } \
	extern "C" __global__ void __launch_bounds__(2 * M, 128 / M) attend_tiles_##name##_##DIM##_##M(const __grid_constant__ attend_tiles_args a) { attend_tile<KV, DIM, M>(a); }
#define TILES(name, KV) TILE(name, KV, 64, 64) TILE(name, KV, 128, 64)
TILES(bf16, KV_BF16)
TILES(f16, KV_F16)
TILES(q8, KV_Q8)
TILES(q4, KV_Q4)

// The runs of a call into the state, in their order: each but the last joins the total. A
// run in which a row saw nothing is none to it.
// grid (N·heads·group / 4)   block 4 warps: a warp has a query, a lane every 32nd channel
extern "C" __global__ void __launch_bounds__(128) attend_tile_fold(const __grid_constant__ attend_tile_args a) {
	const int all = a.rows * a.l.heads * a.group, query = blockIdx.x * 4 + threadIdx.x / 32, lane = threadIdx.x % 32, dim = a.l.dim;
	if (query >= all) return;
	const int h = query / a.group % a.l.heads;
	float *s = a.state + (size_t)query * (1 + 2 * (2 + dim));
	int in = (int)s[0];
	float top = s[1], sum = s[2], total_top = s[3 + dim], total_sum = s[4 + dim];
	float value[4], total[4];
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const int d = lane + 32 * i;
		value[i] = d < dim ? s[3 + d] : 0, total[i] = d < dim ? s[5 + dim + d] : 0;
	}
	__syncwarp();
#pragma unroll 4
	for (int r = 0; r < a.run_count; r++) {
		const int *run = a.runs + ((size_t)h * a.run_count + r) * 3;
		if (run[1] == 0) break;
		const size_t at = (size_t)r * all + query;
		const float2 m = *(const float2 *)(a.sums + 2 * at);
		if (m.x == -INFINITY && m.y == 0) continue;
		float next[4];
#pragma unroll
		for (int i = 0; i < 4; i++) next[i] = lane + 32 * i < dim ? a.part[at * dim + lane + 32 * i] : 0;
		if (in != 0 && in != run[2] + 1) {
			const float most = larger(total_top, top), shift = most == -INFINITY ? 0 : most;
			const float x = expf(total_top - shift), y = expf(top - shift);
			total_top = most, total_sum = total_sum * x + sum * y;
#pragma unroll
			for (int i = 0; i < 4; i++) total[i] = total[i] * x + value[i] * y;
		}
		in = run[2] + 1, top = m.x, sum = m.y;
#pragma unroll
		for (int i = 0; i < 4; i++) value[i] = next[i];
	}
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const int d = lane + 32 * i;
		if (d < dim) s[3 + d] = value[i], s[5 + dim + d] = total[i];
	}
	if (lane == 0) s[0] = in, s[1] = top, s[2] = sum, s[3 + dim] = total_top, s[4 + dim] = total_sum;
}
