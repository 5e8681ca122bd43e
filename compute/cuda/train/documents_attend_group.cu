// documents_attend.cu on the tensor cores of sm_90a. Twin: compute/documents_attend.go
//
// A thread block has 64·G queries of a KV head, and G warpgroups that have 64 of them each. The tiles of keys that any
// of the queries sees come AHEAD steps of N tiles before the first warpgroup needs them: keys, values and biases as
// train_tiles has arranged them, by a copy of whole ranges. A warpgroup passes over steps that none of its own queries sees. It posts
// the products of a step's keys and those of the values of the step before, and makes weights of the former's sums; the
// other warpgroups drift, so that tensor cores have theirs meanwhile.
// grid    (thread blocks · heads): the longest walks first   block  G warpgroups
// shared  barriers, (G+1)·words of bits, queries where registers are wanted for others, STAGES steps
// order   as in documents_attend.cu: a query's sums depend neither on the rows beside it nor on the documents before it, nor
//         on whether a selection names every block. Weights are relative to the largest logit of the first tile, until
//         those of a step add up to more than MOST in a lane: then to the largest so far. So it is seldom looked for,
//         and sums are seldom scaled. A tile, or a token, that a query does not see adds 0.
// bound   for 64 queries and 64 tokens, of a multiprocessor's cycles:
//           tensor cores    16384·dim FLOP at 4096 a cycle: 256 at dim 64, 512 at 128
//           powers of 2     4096 at 16 a cycle: 256
//           other steps     a product with a difference, a power, a sum, half a narrowing: 3½ · 4096 at 128 a cycle,
//                           112, a fourth one with biases; and some 130 that a step takes once
//           shared memory   right factors, 256·dim bytes at 128 a cycle: 128 at dim 64, 256 at 128; queries half of that
//                           where they are not in registers
//         So at dim 64 powers take as long as products, and other steps nearly so: all go on at once only where there are
//         several warpgroups, and no more is to be had than the 989 TFLOP/s of an H100's tensor cores. Of the
//         second cache a thread block reads 256·dim bytes for 64·G queries: 64·G FLOP a byte, at 5.5 TB/s 350·G TFLOP/s.
//         train_tiles reads keys and values once and writes them: 25 MB of 16K tokens, 3 heads of 64, some 10 us.
#include "documents.cuh"
#include "documents_group.cuh"

enum { PANEL = 128 * TOKENS };

#define MOST 256.0f // that the weights of a tile may add up to in a lane
#define LEAST -1e30f // below all logits

// A tile as it lies in memory, and in shared memory: keys, values, in panels of 64 channels. Biases, times log2(e), lie behind all
// tiles. Documents have even numbers of tiles, of which the last may be zeros.
template <int DIM> struct document_tile {
	enum { VALUES = 2 * DIM * TOKENS, BYTES = 2 * VALUES };
};
template <int DIM> __device__ __forceinline__ float *biases_of(const documents_args &a) { return (float *)(a.image + (size_t)a.heads * a.tiles * document_tile<DIM>::BYTES); }

// grid (tiles · heads)   block 256   reads k, v, s   writes image: [heads, tiles] and [heads, tiles, TOKENS] f32, each byte once
template <int DIM> __device__ __forceinline__ void arrange(const documents_args &a) {
	using T = document_tile<DIM>;
	enum { PIECES = DIM / 8 };
	const int h = blockIdx.x % a.heads, tid = threadIdx.x;
	const document_work w = a.work[blockIdx.x / a.heads];
	const size_t tile = (size_t)h * a.tiles + w.tiles + w.first;
	uint8_t *const to = a.image + tile * T::BYTES;
	float *const biases = biases_of<DIM>(a) + tile * TOKENS;
	const int row0 = w.begin + w.first * TOKENS, n = w.end - row0;
	for (int i = tid; i < 2 * TOKENS * PIECES; i += 256) {
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
	if (tid < TOKENS && a.s) biases[tid] = tid < n ? a.s[(size_t)(row0 + tid) * a.heads + h] * LOG2E : 0;
	if (w.first % 2 == 0 && n <= TOKENS) { // there is none beside it
		for (int i = tid; i < T::BYTES / 16; i += 256) ((uint4 *)(to + T::BYTES))[i] = {};
		if (tid < TOKENS && a.s) biases[TOKENS + tid] = 0;
	}
}

extern "C" __global__ void __launch_bounds__(256) train_tiles_64(const __grid_constant__ documents_args a) { arrange<64>(a); }
extern "C" __global__ void __launch_bounds__(256) train_tiles_128(const __grid_constant__ documents_args a) { arrange<128>(a); }

// G warpgroups; N tiles a step; steps that are fetched ahead, and that there is room for; KEPT: queries are in registers.
template <int DIM, int G, int N, int AHEAD, int STAGES, bool KEPT, bool BIASED> __device__ __forceinline__ void attend(const documents_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	using T = document_tile<DIM>;
	enum { THREADS = 128 * G, BEHIND = STAGES - AHEAD, STAGE = N * T::BYTES + 1024 };
	static_assert(BEHIND > 1 && 4 * N * TOKENS <= 1024);
	extern __shared__ uint4 memory[];
	uint64_t *const there = (uint64_t *)memory, *const left = there + STAGES; // a stage's tiles are there, are done with
	int *const coming = (int *)(left + STAGES);                               // the next step to fetch: of the first thread
	uint32_t *const any = (uint32_t *)(coming + 2);                           // [G+1, words]: what each warpgroup sees, and all
	uint8_t *const queries = (uint8_t *)(((uintptr_t)(any + (G + 1) * a.words) + 1023) & ~(uintptr_t)1023);
	uint8_t *const stages = queries + (KEPT ? 0 : 128 * DIM * G);
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, group = tid / 128;
	const int h = blockIdx.x % a.heads;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int m0 = w.first, count = min(64 * G, (w.end - w.begin) * a.group - m0);
	const int tiles = by_group(a, m0 + count - 1) / TOKENS + 1, steps = (tiles + N - 1) / N;
	const auto row_bits = [&](int row, int word) { return a.bits[((size_t)(w.begin + row) * a.heads + h) * a.words + word]; };

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
	const auto next = [&](int step) { return a.bits ? (next_tile(a, any + G * a.words, tiles, step * N) + (step * N < tiles ? 0 : N - 1)) / N : step; };
	const auto fetch = [&](int place) {
		const int step = *coming;
		if (step >= steps) return;
		uint8_t *const to = stages + place * STAGE;
		const size_t tile = (size_t)h * a.tiles + w.tiles + step * N;
		mbarrier_expect(there + place, N * (T::BYTES + (BIASED ? 4 * TOKENS : 0)));
		copy_range(to, a.image + tile * T::BYTES, N * T::BYTES, there + place);
		if (BIASED) copy_range(to + N * T::BYTES, biases_of<DIM>(a) + tile * TOKENS, 4 * N * TOKENS, there + place);
		*coming = next(step + 1);
	};
	if (tid == 0) {
		*coming = next(0);
#pragma unroll 1
		for (int i = 0; i < AHEAD; i++) fetch(i);
	}
	__syncwarp();

	const int g = lane / 4, t = lane % 4 * 2, first = own0 + warp % 4 * 16;
	int pos[2] = {-1, -1};         // of a lane's queries in the document; −1: no query
	uint32_t bits[2] = {};         // of 32 blocks
	uint32_t x[DIM / 16][4];       // queries as left factors
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

	float acc[DIM / 2], top[2] = {LEAST, LEAST}, sum[2] = {0, 0};
	uint32_t p[N * TOKENS / 16][4] = {};
#pragma unroll
	for (int i = 0; i < DIM / 2; i++) acc[i] = 0;
	int at = 0, phase = 0;
	uint32_t word = ~0u; // of bits
	int held = -1, passed = 0; // the stage whose weights are p; steps passed over since then
	const auto release = [&](int place) {
		__syncwarp(); // no lane waits for the place's tiles any more, or reads them
		if (lane == 0 && place >= 0) mbarrier_arrive(left + place);
	};
	const auto post_values = [&](int place) { // p · values; p is 0 where nothing is held
		const group_at y(stages + place * STAGE + T::VALUES, PANEL);
#pragma unroll
		for (int j = 0; j < N * TOKENS / 16; j++) group_bf16<DIM, true>(acc, p[j], group_on(y, j / 4 * T::BYTES + j % 4 * 2048), true);
		group_commit();
	};
	for (int step = next(0); step < steps; step = next(step + 1)) {
		const int tile0 = step * N;
		uint32_t block[N]; // the first of each tile
#pragma unroll
		for (int i = 0; i < N; i++) block[i] = (uint32_t)block_of(a, tile0 + i);
		if (tid == 0) {
			mbarrier_wait(left + (at < BEHIND ? at + AHEAD : at - BEHIND), at < BEHIND ? phase ^ 1 : phase);
			fetch(at < BEHIND ? at + AHEAD : at - BEHIND);
		}
		__syncwarp();
		mbarrier_wait(there + at, phase);
		bool sees = false;
#pragma unroll
		for (int i = 0; i < N; i++) {
			if ((tile0 + i) * TOKENS <= last && (!a.bits || any[group * a.words + block[i] / 32] >> block[i] % 32 & part)) sees = true;
		}
		if (sees) {
			const uint8_t *const stage = stages + at * STAGE;
			float s[N][TOKENS / 2];
			group_begin();
			const group_at keys(stage, 0), own_queries(queries + group * 128 * DIM, 0);
#pragma unroll
			for (int i = 0; i < N; i++) {
#pragma unroll
				for (int k = 0; k < DIM / 16; k++) {
					const int on = k / 4 * PANEL + k % 4 * 32;
					if constexpr (KEPT)
						group_bf16<TOKENS, false>(s[i], x[k], group_on(keys, i * T::BYTES + on), k > 0);
					else
						group_bf16<TOKENS, false, false>(s[i], group_on(own_queries, on), group_on(keys, i * T::BYTES + on), k > 0);
				}
			}
			group_commit();
			post_values(held < 0 ? at : held);
			const auto turn = [&](uint32_t w) { // bits are of other blocks
				if (!a.bits || w == word) return;
				word = w;
#pragma unroll
				for (int r = 0; r < 2; r++)
					if (pos[r] >= 0) bits[r] = row_bits(pos[r], word);
			};
			turn(block[0] / 32);
			group_wait<0>();
			group_has<DIM / 2>(acc);
			release(held);
			held = at, passed = 0;

			bool on[N][2];
#pragma unroll
			for (int i = 0; i < N; i++) {
				group_has<TOKENS / 2>(s[i]);
				const int tile = tile0 + i;
				const uint32_t b = block[i];
				if (i > 0 && a.shift == 1) turn(b / 32); // else they are of the same 32
				if (BIASED) {
					const float *const bias = (const float *)(stage + N * T::BYTES) + i * TOKENS + t;
#pragma unroll
					for (int j = 0; j < TOKENS / 8; j++) {
						const float2 v = *(const float2 *)(bias + 8 * j);
#pragma unroll
						for (int e = 0; e < 4; e++) s[i][4 * j + e] = fmaf(s[i][4 * j + e], a.slope, e % 2 ? v.y : v.x);
					}
				}
				if (tile * TOKENS + TOKENS - 1 > low) {
					const int seen[2] = {pos[0] - tile * TOKENS + 1, pos[1] - tile * TOKENS + 1};
#pragma unroll
					for (int j = 0; j < TOKENS / 2; j++)
						if (j / 4 * 8 + t + j % 2 >= seen[j % 4 / 2]) s[i][j] = -INFINITY;
				}
				if (a.shift < 6 && a.bits) {
#pragma unroll
					for (int j = 0; j < TOKENS / 2; j++)
						if (!(bits[j % 4 / 2] >> (b % 32 + (j / 4 * 8 + t + j % 2 >> a.shift)) & 1)) s[i][j] = -INFINITY;
				}
#pragma unroll
				for (int r = 0; r < 2; r++) on[i][r] = bits[r] >> b % 32 & part;
			}
			float total[2];
			const auto weigh = [&] { // s becomes weights p
				float parts[2][2] = {};
#pragma unroll
				for (int j = 0; j < N * TOKENS / 16; j++)
#pragma unroll
					for (int i = 0; i < 4; i++) {
						const int r = i % 2;
						const float *const v = s[j / 4] + j % 4 * 8 + 2 * i, shift = on[j / 4][r] ? top[r] : INFINITY;
						const float x = exp2_approx(BIASED ? v[0] - shift : fmaf(v[0], a.slope, -shift)), y = exp2_approx(BIASED ? v[1] - shift : fmaf(v[1], a.slope, -shift));
						parts[r][0] += x, parts[r][1] += y;
						p[j][i] = two(x, y);
					}
#pragma unroll
				for (int r = 0; r < 2; r++) total[r] = parts[r][0] + parts[r][1]; // a lane's part
			};
			weigh();
			if (__any_sync(~0u, total[0] > MOST || total[1] > MOST)) { // at first, and seldom after it
				float decay[2];
#pragma unroll
				for (int r = 0; r < 2; r++) {
					float all = total[r], most = -INFINITY;
					all = fmaxf(all, __shfl_xor_sync(~0u, all, 1));
					all = fmaxf(all, __shfl_xor_sync(~0u, all, 2));
#pragma unroll
					for (int j = 0; j < N * TOKENS / 4; j++) {
						const int i = 4 * j / TOKENS;
						if (on[i][r]) most = fmaxf(most, s[i][j % (TOKENS / 4) / 2 * 4 + 2 * r + j % 2]);
					}
					most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
					most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
					if (!BIASED) most *= a.slope;
					decay[r] = all > MOST ? exp2_approx(top[r] - most) : 1;
					if (all > MOST) top[r] = most;
					sum[r] *= decay[r];
				}
#pragma unroll
				for (int i = 0; i < DIM / 2; i++) acc[i] *= decay[i % 4 / 2];
				weigh();
			}
#pragma unroll
			for (int r = 0; r < 2; r++) sum[r] += total[r];
		} else {
			release(at);
			// Tiles that are to come must not wait for some that are held while others are passed over.
			if (held >= 0 && ++passed == BEHIND - 1) {
				group_begin();
				post_values(held);
				group_wait<0>();
				group_has<DIM / 2>(acc);
				release(held);
				held = -1;
#pragma unroll
				for (int j = 0; j < N * TOKENS / 16; j++) p[j][0] = p[j][1] = p[j][2] = p[j][3] = 0;
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

#define ATTEND(name, G, BLOCKS, ...)                                                                                                                                             \
	extern "C" __global__ void __launch_bounds__(128 * G, BLOCKS) train_attend_group_##name(const __grid_constant__ documents_args a) { attend<__VA_ARGS__, false>(a); } \
	extern "C" __global__ void __launch_bounds__(128 * G, BLOCKS) train_attend_group_##name##_biased(const __grid_constant__ documents_args a) { attend<__VA_ARGS__, true>(a); }
ATTEND(64x3, 3, 1, 64, 3, 1, 5, 10, true)
ATTEND(64x2, 2, 2, 64, 2, 1, 2, 5, false)
ATTEND(64x4, 4, 1, 64, 4, 1, 5, 10, false)
ATTEND(64x3d, 3, 1, 64, 3, 2, 3, 5, false)
ATTEND(64x2d, 2, 1, 64, 2, 2, 3, 6, true)
ATTEND(128x2, 2, 1, 128, 2, 1, 3, 6, true)
ATTEND(128x3, 3, 1, 128, 3, 1, 2, 5, false)
ATTEND(128x2d, 2, 1, 128, 2, 2, 1, 3, true)
