// documents_attend.cu on the tensor cores of sm_90a. Twin: compute/documents_attend.go
//
// A thread block has 64·G queries of a KV head, and G warpgroups that have 64 of them each. The tiles of keys that any
// of the queries sees come AHEAD of the first warpgroup, keys, values and biases as train_tiles has arranged them, one copy
// a tile. A warpgroup passes over tiles that none of its own queries sees. It posts the products of a tile's
// keys, then those of the values before, and makes weights of the former's sums beside the latter's products; the other
// warpgroups drift, so that tensor cores have theirs meanwhile.
// grid    (thread blocks · heads): the longest walks first   block  G warpgroups
// shared  barriers, (G+1)·words of bits, queries where registers are wanted for others, 2·AHEAD tiles
// order   as in documents_attend.cu: a query's sums do not depend on the rows beside it, nor on the documents before it. Weights
//         are relative to a logit that is the largest so far or 2⁸ below it, so that sums are seldom scaled.
// bound   for 64 queries and 64 tokens, of a multiprocessor's cycles:
//           tensor cores    4·dim·4096 FLOP at 4096 a cycle: 256 at dim 64, 512 at 128
//           powers of 2     4096 at 16 a cycle: 256
//           other steps     a product, a maximum, a difference, a sum, half a narrowing: 5½ · 4096 at 128 a cycle: 176, and
//                           some 60 for what a tile takes once
//           shared memory   the right factors alone, 2 · 128·dim bytes at 128 a cycle: 128 at dim 64, 256 at 128; queries
//                           and weights are in registers
//         So at dim 64 there is as much to do for powers as for tensor cores, and both go on at once only where warpgroups
//         take turns: three or four, for none is to wait. 989 TFLOP/s of an H100 are the bound of either. Of the second
//         cache a thread block reads 256·dim bytes for 64·G queries: 64·G FLOP a byte, at 5.5 TB/s 350·G TFLOP/s.
//         train_tiles reads keys and values once and writes them: 25 MB of 16K tokens, 3 heads of 64, some 10 us.
#include "documents.cuh"
#include "documents_group.cuh"

enum { PANEL = 128 * TOKENS, SOFTER = 8 };

// A tile as it lies in memory, and in shared memory: keys, values, in panels of 64 channels; biases times log2(e).
template <int DIM> struct document_tile {
	enum { VALUES = 2 * DIM * TOKENS, BIASES = 2 * VALUES, BYTES = BIASES + 4 * TOKENS, STAGE = BIASES + 1024 };
};

// grid (tiles · heads)   block 256   reads k, v, s   writes image: [heads, tiles], each byte once
template <int DIM> __device__ __forceinline__ void arrange(const documents_args &a) {
	using T = document_tile<DIM>;
	enum { PIECES = DIM / 8 };
	const int h = blockIdx.x % a.heads;
	const document_work w = a.work[blockIdx.x / a.heads];
	uint8_t *const to = a.image + ((size_t)h * a.tiles + w.tiles + w.first) * T::BYTES;
	const int row0 = w.begin + w.first * TOKENS, n = w.end - row0;
	for (int i = threadIdx.x; i < 2 * TOKENS * PIECES; i += 256) {
		const int r = i / PIECES % TOKENS, c = i % PIECES, values = i / (TOKENS * PIECES);
		const __nv_bfloat16 *from = (values ? a.v : a.k) + ((size_t)(row0 + r) * a.heads + h) * a.dim + 8 * c;
		uint4 v = {};
		if (r < n && 8 * c < a.dim) {
			if (a.dim % 8 == 0)
				v = *(const uint4 *)from;
			else
				for (int e = 0; e < 8 && 8 * c + e < a.dim; e++) (&v.x)[e / 2] |= (uint32_t)((const uint16_t *)from)[e] << e % 2 * 16;
		}
		*(uint4 *)(to + values * T::VALUES + row_at<TOKENS>(r, c)) = v;
	}
	if (threadIdx.x < TOKENS) ((float *)(to + T::BIASES))[threadIdx.x] = a.s && (int)threadIdx.x < n ? a.s[(size_t)(row0 + threadIdx.x) * a.heads + h] * LOG2E : 0;
}

extern "C" __global__ void __launch_bounds__(256) train_tiles_64(const __grid_constant__ documents_args a) { arrange<64>(a); }
extern "C" __global__ void __launch_bounds__(256) train_tiles_128(const __grid_constant__ documents_args a) { arrange<128>(a); }

template <int DIM, int G, int AHEAD, bool KEPT, bool BIASED> __device__ __forceinline__ void attend(const documents_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	using T = document_tile<DIM>;
	enum { STAGES = 2 * AHEAD, THREADS = 128 * G };
	extern __shared__ uint4 memory[];
	uint64_t *const there = (uint64_t *)memory, *const left = there + STAGES; // a stage's tile is there, is done with
	int *const coming = (int *)(left + STAGES);                               // the next tile to fetch: of the first thread
	uint32_t *const any = (uint32_t *)(coming + 2);                           // [G+1, words]: what each warpgroup sees, and all
	uint8_t *const queries = (uint8_t *)(((uintptr_t)(any + (G + 1) * a.words) + 1023) & ~(uintptr_t)1023);
	uint8_t *const stages = queries + (KEPT ? 0 : 128 * DIM * G);
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, group = tid / 128;
	const int h = blockIdx.x % a.heads;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int m0 = w.first, count = min(64 * G, (w.end - w.begin) * a.group - m0);
	const int tiles = by_group(a, m0 + count - 1) / TOKENS + 1;
	const size_t bits0 = ((size_t)w.begin * a.heads + h) * a.words; // of the document's first row
	const auto row_bits = [&](int row, int word) { return a.bits[bits0 + (size_t)row * a.heads * a.words + word]; };

	const int own0 = 64 * group, own = min(64, count - own0); // the warpgroup's queries
	const int row0 = own > 0 ? by_group(a, m0 + own0) : 0, last = own > 0 ? by_group(a, m0 + own0 + own - 1) : -1;
	if (a.bits)
		for (int i = tid; i < (G + 1) * a.words; i += THREADS) any[i] = 0;
	if (tid == 0) {
		for (int i = 0; i < STAGES; i++) mbarrier_init(there + i, 1), mbarrier_init(left + i, 4 * G);
		mbarrier_made();
	}
	__syncthreads();
	if (a.bits) {
		const int words = last / a.block / 32 + 1;
		for (int i = tid % 128; i < (last - row0 + 1) * words; i += 128) {
			const uint32_t v = row_bits(row0 + i / words, i % words);
			if (v) atomicOr(any + group * a.words + i % words, v), atomicOr(any + G * a.words + i % words, v);
		}
		__syncthreads();
	}
	const auto next = [&](int u) { return a.bits ? next_tile(a, any + G * a.words, tiles, u) : u; };

	const uint8_t *const image = a.image + ((size_t)h * a.tiles + w.tiles) * T::BYTES;
	const auto fetch = [&](int place) {
		const int u = *coming;
		if (u >= tiles) return;
		mbarrier_expect(there + place, T::BYTES);
		copy_range(stages + place * T::STAGE, image + (size_t)u * T::BYTES, T::BYTES, there + place);
		*coming = next(u + 1);
	};
	if (tid == 0) {
		*coming = next(0);
#pragma unroll 1
		for (int i = 0; i < AHEAD; i++) fetch(i);
	}
	__syncwarp();

	const int g = lane / 4, t = lane % 4 * 2, first = own0 + warp % 4 * 16;
	int pos[2] = {-1, -1};   // of a lane's queries in the document; −1: no query
	uint32_t bits[2] = {};   // of 32 blocks
	uint32_t x[DIM / 16][4]; // queries as left factors
	const auto flat = [&](int r) { // where they lie among all
		const int m = m0 + first + 8 * r + g;
		return ((size_t)(w.begin + pos[r]) * a.heads + h) * a.group + (m - pos[r] * a.group);
	};
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const bool is = first + 8 * r + g < count;
		if (is) pos[r] = by_group(a, m0 + first + 8 * r + g);
		if (is && !a.bits) bits[r] = ~0u;
#pragma unroll
		for (int k = 0; k < DIM / 8; k++) {
			uint32_t &v = x[k / 2][k % 2 * 2 + r];
			v = is && 8 * k + t < a.dim ? *(const uint32_t *)(a.q + flat(r) * a.dim + 8 * k + t) : 0;
			if (!KEPT) *(uint32_t *)(queries + group * 128 * DIM + row_at<64>(warp % 4 * 16 + 8 * r + g, k) + 2 * t) = v;
		}
	}
	if (!KEPT) {
		matrix_written();
		__syncthreads();
	}
	const int low = first < count ? by_group(a, m0 + first) : 0x7fffffff; // the least position of the warp
	const uint32_t part = a.shift == 6 ? 1u : a.shift == 1 ? ~0u : (1u << (TOKENS >> a.shift)) - 1; // bits of a tile's blocks

	float acc[DIM / 2], top[2] = {-INFINITY, -INFINITY}, sum[2] = {0, 0};
	uint32_t p[TOKENS / 16][4] = {};
#pragma unroll
	for (int i = 0; i < DIM / 2; i++) acc[i] = 0;
	int at = 0, phase = 0, held = -1, passed = 0, word = -1; // held: whose weights are p; tiles passed over since then
	const auto release = [&](int place) {
		__syncwarp(); // no lane waits for the place's tile any more, or reads it
		if (lane == 0 && place >= 0) mbarrier_arrive(left + place);
	};
	const auto post_values = [&](int place) { // p · values; p is 0 where nothing is held
		const group_at y(stages + place * T::STAGE + T::VALUES, PANEL);
#pragma unroll
		for (int j = 0; j < TOKENS / 16; j++) group_bf16<DIM, true>(acc, p[j], group_on(y, j * 2048), true);
		group_commit();
	};
	for (int u = next(0); u < tiles; u = next(u + 1)) {
		const int b = block_of(a, u);
		if (tid == 0) {
			const int place = at < AHEAD ? at + AHEAD : at - AHEAD;
			mbarrier_wait(left + place, at < AHEAD ? phase ^ 1 : phase);
			fetch(place);
		}
		__syncwarp();
		mbarrier_wait(there + at, phase);
		if (u * TOKENS <= last && (!a.bits || any[group * a.words + b / 32] >> b % 32 & part)) {
			const uint8_t *const stage = stages + at * T::STAGE;
			float s[TOKENS / 2];
			group_begin();
			const group_at keys(stage, 0), own_queries(queries + group * 128 * DIM, 0);
#pragma unroll
			for (int k = 0; k < DIM / 16; k++) {
				const int on = k / 4 * PANEL + k % 4 * 32;
				if constexpr (KEPT)
					group_bf16<TOKENS, false>(s, x[k], group_on(keys, on), k > 0);
				else
					group_bf16<TOKENS, false, false>(s, group_on(own_queries, on), group_on(keys, on), k > 0);
			}
			group_commit();
			post_values(held < 0 ? at : held);
			if (a.bits && b / 32 != word) {
				word = b / 32;
#pragma unroll
				for (int r = 0; r < 2; r++)
					if (pos[r] >= 0) bits[r] = row_bits(pos[r], word);
			}
			group_wait<1>();
			group_has<TOKENS / 2>(s);

			if (BIASED) {
				const float *const bias = (const float *)(stage + T::BIASES) + t;
#pragma unroll
				for (int j = 0; j < TOKENS / 8; j++) {
					const float2 v = *(const float2 *)(bias + 8 * j);
#pragma unroll
					for (int e = 0; e < 4; e++) s[4 * j + e] = fmaf(s[4 * j + e], a.slope, e % 2 ? v.y : v.x);
				}
			}
			if (u * TOKENS + TOKENS - 1 > low) {
				const int seen[2] = {pos[0] - u * TOKENS + 1, pos[1] - u * TOKENS + 1};
#pragma unroll
				for (int i = 0; i < TOKENS / 2; i++)
					if (i / 4 * 8 + t + i % 2 >= seen[i % 4 / 2]) s[i] = -INFINITY;
			}
			if (a.shift < 6 && a.bits) {
#pragma unroll
				for (int i = 0; i < TOKENS / 2; i++)
					if (!(bits[i % 4 / 2] >> (b % 32 + (i / 4 * 8 + t + i % 2 >> a.shift)) & 1)) s[i] = -INFINITY;
			}
			float decay[2];
			bool grows = false;
#pragma unroll
			for (int r = 0; r < 2; r++) {
				float most = s[2 * r];
#pragma unroll
				for (int i = 1; i < TOKENS / 4; i++) most = fmaxf(most, s[i / 2 * 4 + 2 * r + i % 2]);
				most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
				most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
				if (!BIASED) most *= a.slope;
				const bool sees = bits[r] >> b % 32 & part, more = sees && most > top[r] + SOFTER;
				decay[r] = more ? exp2_approx(top[r] - most) : 1;
				if (more) top[r] = most;
				grows |= more;
				const float shift = sees && top[r] > -INFINITY ? top[r] : INFINITY;
				float total[2] = {0, 0};
#pragma unroll
				for (int i = 0; i < TOKENS / 4; i++) {
					float &v = s[i / 2 * 4 + 2 * r + i % 2];
					v = exp2_approx(BIASED ? v - shift : fmaf(v, a.slope, -shift));
					total[i % 2] += v;
				}
				sum[r] = fmaf(sum[r], decay[r], total[0] + total[1]); // a lane's part
			}
			// The compiler takes a wait to where its block begins: weights are to be there before it.
			group_has<TOKENS / 2>(s);
			if (__any_sync(~0u, grows)) {
				group_wait<0>();
				group_has<DIM / 2>(acc);
#pragma unroll
				for (int i = 0; i < DIM / 2; i++) acc[i] *= decay[i % 4 / 2];
			}
			group_wait<0>();
			group_has<DIM / 2>(acc);
			release(held);
			held = at, passed = 0;
#pragma unroll
			for (int j = 0; j < TOKENS / 16; j++)
#pragma unroll
				for (int i = 0; i < 4; i++) p[j][i] = two(s[8 * j + 2 * i], s[8 * j + 2 * i + 1]);
		} else {
			release(at);
			// Tiles that are to come must not wait for one that is held while others are passed over.
			if (held >= 0 && ++passed == AHEAD - 1) {
				group_begin();
				post_values(held);
				group_wait<0>();
				group_has<DIM / 2>(acc);
				release(held);
				held = -1;
#pragma unroll
				for (int j = 0; j < TOKENS / 16; j++) p[j][0] = p[j][1] = p[j][2] = p[j][3] = 0;
			}
		}
		if (++at == STAGES) at = 0, phase ^= 1;
	}
	if (held >= 0) {
		group_begin();
		post_values(held);
		group_wait<0>();
		group_has<DIM / 2>(acc);
	}
#pragma unroll
	for (int r = 0; r < 2; r++) {
		float &all = sum[r];
		all += __shfl_xor_sync(~0u, all, 1);
		all += __shfl_xor_sync(~0u, all, 2);
		if (pos[r] < 0) continue;
		const float share = all == 0 ? 0 : 1 / all;
		if (t == 0) a.lse[flat(r)] = (top[r] + log2f(all)) * (float)LN2;
#pragma unroll
		for (int d = 0; d < DIM / 8; d++)
			if (8 * d + t < a.dim) *(uint32_t *)(a.out + flat(r) * a.dim + 8 * d + t) = two(acc[4 * d + 2 * r] * share, acc[4 * d + 2 * r + 1] * share);
	}
#endif
}

#define ATTEND(name, DIM, G, AHEAD, KEPT, BLOCKS)                                                                                                                          \
	extern "C" __global__ void __launch_bounds__(128 * G, BLOCKS) train_attend_group_##name(const __grid_constant__ documents_args a) { attend<DIM, G, AHEAD, KEPT, false>(a); } \
	extern "C" __global__ void __launch_bounds__(128 * G, BLOCKS) train_attend_group_##name##_biased(const __grid_constant__ documents_args a) { attend<DIM, G, AHEAD, KEPT, true>(a); }
ATTEND(64x2, 64, 2, 2, false, 2)
ATTEND(64x3, 64, 3, 5, true, 1)
ATTEND(64x4, 64, 4, 5, false, 1)
ATTEND(128x2, 128, 2, 3, true, 1)
ATTEND(128x3, 128, 3, 2, false, 1)
