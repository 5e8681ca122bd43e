// What kernels of a step's attention share. Twin: compute/attend.go
// splits  a row's list is cut every 8 blocks (16 where streams go apart); one that would have more
//         than 32 cuts every 16, 32, 64 or 128. The own block is a cut by itself. The cuts are
//         added in their order, the own one last. Nothing of the launch enters: neither its rows
//         nor what a row may select at most.
// numbers the query heads of a KV head are the 16 rows of A. Q is two bf16 (f16) whose sum it is to
//         16 (22) bits, or, where keys are codes, f32 times a channel's scale, as f16; codes less
//         their middle are exact f16. Scales of values go into the weights; what is left of a code,
//         its middle, is a sum of q or of the weights beside the product. Weights are bf16 where
//         values are, else f16. The own block, f32, is in two parts of bf16 too.
// bytes   a block once for each row and KV head; of a cut, group·(4+dim) floats are written and
//         read again: 3 % of 8 blocks of bf16
// Exponents are of 2.
#pragma once
#include "../ptx.cuh"
#include "step.cuh"

enum { STREAMS = 4, HEADS = 16, MOST_CUT = 128, MANY_CUTS = 32 };

struct attend_args {
	step_cache c;
	step_rows rows;
	step_selection sel;
	const float *q;     // [n, heads·group, dim], after rotation
	__nv_bfloat16 *out; // [n, heads·group, dim], or arranged
	float *part;        // [n, heads, cuts+1, 1 or STREAMS, group, 4+dim]: maximum, sum, two unused, weighted values
	int least;          // blocks of a cut, of a short list
	int group, cuts;    // cuts: the most of a list, without the own block
	int split;          // whether streams have their places in part
	int groups;         // of 8 rows, where out is arranged, else 0
	int ring, piece;    // pieces of a ring; bytes of one
	int wave;           // FIRST: cuts whose blocks are all there; SECOND: the others; BOTH, one after the other; 0: all
	int copiers;
	const uint8_t *late; // [slots] 1: a block is on its way, while waves are told apart; 2: it was, and has come
	const int *gathered; // BOTH: when it says copiers, all have come that will
};

enum { FIRST = 1, SECOND, BOTH };

__device__ constexpr bool coded(int kv) { return kv == KV_Q8 || kv == KV_Q4; }
__device__ constexpr int boost(int kv) { return coded(kv) ? 8 : 0; } // small scales would leave the exponents of f16
__device__ constexpr int per_chunk(int kv) { return kv == KV_Q4 ? 32 : kv == KV_Q8 ? 16 : 8; } // elements of 16 bytes

// What is taken from logits before they are exponentiated.
__device__ __forceinline__ float shift_of(float top) { return top == -INFINITY ? 0 : top; }

__device__ __forceinline__ float quad_max(float v) {
	v = fmaxf(v, __shfl_xor_sync(~0u, v, 1));
	return fmaxf(v, __shfl_xor_sync(~0u, v, 2));
}
__device__ __forceinline__ float quad_sum(float v) {
	v += __shfl_xor_sync(~0u, v, 1);
	return v + __shfl_xor_sync(~0u, v, 2);
}

// What a row of a step attends to, for one KV head.
struct list {
	int own, seen; // number of the own block, and how many of its tokens there are
	int all, rest; // how many blocks, and without the own one
	bool with_own;
	const int *blocks; // or none: every one
	int cut;
	__device__ __forceinline__ list(const attend_args &a, int pos, size_t at) {
		const int count = a.sel.count[at];
		own = pos / a.c.l.block, seen = pos % a.c.l.block + 1;
		blocks = count < 0 ? nullptr : a.sel.blocks + at * a.sel.places;
		all = count < 0 ? own + 1 : count;
		with_own = count < 0 || (count > 0 && blocks[count - 1] == own);
		rest = all - with_own;
		for (cut = a.least; cut < MOST_CUT && all > MANY_CUTS * cut;) cut *= 2;
	}
	__device__ __forceinline__ int cuts() const { return (rest + cut - 1) / cut; }
	// The block at a place of the list, −1 behind its end.
	__device__ __forceinline__ int id(const attend_args &a, int row, int head, int place) const {
		return place < all ? block_id(a.c, a.rows.seat[row], head, blocks ? blocks[place] : place) : -1;
	}
};

// The row of a thread block. Of both waves the second has the thread blocks that start last.
__device__ __forceinline__ int row_of(const attend_args &a) { return blockIdx.z % a.rows.n; }

// Both waves begin before the kernels end that they run beside.
__device__ __forceinline__ void begin(const attend_args &a) {
	if (a.wave != BOTH) wait_for_earlier();
	allow_later();
}

// Of the block in a slot: 0, it was there; 1, it is not there yet; 2, it has come since.
__device__ __forceinline__ int late_state(const attend_args &a, int slot) { return slot < 0 ? 1 : *(const volatile uint8_t *)(a.late + slot); }

// Whether another wave has the cut. A warp asks for all of its blocks.
//
// Both waves run beside the kernels that give slots and fill them. To them a block is late that
// has no slot yet, or one that is marked, also when it has come since. The second wave waits
// for its blocks here; those kernels have all begun, and need nothing that it holds.
__device__ __forceinline__ bool of_other_wave(const attend_args &a, const list &l, int row, int head, int cut) {
	if (a.wave == 0) return false;
	const bool second = a.wave == SECOND || a.wave == BOTH && blockIdx.z >= a.rows.n;
	const int lane = threadIdx.x % 32;
	const int *at[MOST_CUT / 32] = {};
#pragma unroll
	for (int e = 0; e < MOST_CUT / 32; e++)
		if (const int i = 32 * e + lane; cut >= 0 && i < l.cut && cut * l.cut + i < l.rest) at[e] = a.c.slot_of + l.id(a, row, head, cut * l.cut + i);
	auto state = [&] { // of its blocks: some are not there yet, or were not; as late_state
		int most = 0;
#pragma unroll
		for (int e = 0; e < MOST_CUT / 32; e++)
			if (const int s = at[e] ? late_state(a, load_acquire(at[e])) : 0) most = most == 1 ? 1 : s;
		return most;
	};
	int late = state();
	if (__any_sync(~0u, late) != second) return true;
	if (second && a.wave == BOTH) {
		while (__any_sync(~0u, late == 1) && load_acquire(a.gathered) < a.copiers) {
			__nanosleep(100);
			late = state();
		}
		__threadfence();
	}
	return false;
}

// The state of a stream: rows lane/4 and lane/4+8 of 16 query heads, of up to D channels in
// tiles of 8. sum and mid are a lane's own part of theirs.
template <int D> struct stream {
	float top[2] = {-INFINITY, -INFINITY}, sum[2] = {}, mid[2] = {}, o[D / 8][4] = {};
};

template <class T> __device__ __forceinline__ uint32_t bits(T v) { return *(const uint32_t *)&v; }

__device__ __forceinline__ uint32_t bf16_pair(float x, float y) { return bits(__floats2bfloat162_rn(x, y)); }
__device__ __forceinline__ uint32_t f16_pair(float x, float y) { return bits(__floats2half2_rn(x, y)); }
__device__ __forceinline__ float2 of_bf16_pair(uint32_t v) { return {__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u)}; }
template <bool F16> __device__ __forceinline__ uint32_t pair(float x, float y) { return F16 ? f16_pair(x, y) : bf16_pair(x, y); }

// Two numbers as the sum of two pairs. With INFINITE one that is infinite is its first part.
template <bool F16, bool INFINITE = true> __device__ __forceinline__ void parts(float x, float y, uint32_t &hi, uint32_t &lo) {
	hi = pair<F16>(x, y);
	const float2 v = F16 ? __half22float2(*(const __half2 *)&hi) : of_bf16_pair(hi);
	lo = pair<F16>(INFINITE && v.x == x ? 0 : x - v.x, INFINITE && v.y == y ? 0 : y - v.y);
}

// Codes of two rows, less their middle, as f16: of bytes 0 and 2 or, with odd, 1 and 3.
// 0x6400 and a code below 1024 are 1024 and it. ones is 0x64006400 in a register: a constant
// would be the second of one instruction, which takes one, and is moved there each time.
__device__ __forceinline__ uint32_t of_bytes(uint32_t w, uint32_t ones, bool odd) {
	const uint32_t x = __byte_perm(w, ones, odd ? 0x7351 : 0x7250), middle = 0x64806480;
	return bits(__hsub2(*(const __half2 *)&x, *(const __half2 *)&middle));
}
__device__ __forceinline__ uint32_t of_halves(uint32_t w, uint32_t ones, bool odd, bool high) {
	if (odd) w >>= 8;
	if (!high) {
		const uint32_t x = (w & 0x000f000f) | ones, middle = 0x64086408;
		return bits(__hsub2(*(const __half2 *)&x, *(const __half2 *)&middle));
	}
	const uint32_t x = (w & 0x00f000f0) | ones, sixteenth = 0x2c002c00, middle = 0xd480d480; // −64 − 8
	return bits(__hfma2(*(const __half2 *)&x, *(const __half2 *)&sixteenth, *(const __half2 *)&middle));
}
__device__ __forceinline__ uint32_t ones() { return 0x64006400 + threadIdx.y; } // which is 0, unknown to the compiler
template <int KV> __device__ constexpr float middle() { return KV == KV_Q8 ? 128 : 8; }

// Weights of 16 tokens, of which x are the first 8, as A. The sum is that of the weights as they are used.
template <int KV, int D> __device__ __forceinline__ void plain_weights(uint32_t *w, const float *x, const float *y, stream<D> &r) {
	w[0] = pair<KV == KV_F16>(x[0], x[1]), w[1] = pair<KV == KV_F16>(x[2], x[3]);
	w[2] = pair<KV == KV_F16>(y[0], y[1]), w[3] = pair<KV == KV_F16>(y[2], y[3]);
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const float2 v = KV == KV_F16 ? __half22float2(*(const __half2 *)&w[i]) : of_bf16_pair(w[i]);
		r.sum[i % 2] += v.x + v.y;
	}
}

// The same of codes: x are the even ones of the tokens, y the odd ones. Weights have their
// values' scales, of four neighbours at pairs.
template <int KV, int D> __device__ __forceinline__ void coded_weights(uint32_t *w, const float *x, const float *y, const float4 *pairs, stream<D> &r) {
	const float4 u = pairs[0], v = pairs[1];
	w[0] = f16_pair(x[0] * u.y, y[0] * u.w), w[1] = f16_pair(x[2] * u.y, y[2] * u.w);
	w[2] = f16_pair(x[1] * v.y, y[1] * v.w), w[3] = f16_pair(x[3] * v.y, y[3] * v.w);
	const float m0 = fmaf(u.y, middle<KV>(), u.x), m1 = fmaf(u.w, middle<KV>(), u.z), m2 = fmaf(v.y, middle<KV>(), v.x), m3 = fmaf(v.w, middle<KV>(), v.z);
	r.mid[0] = fmaf(y[1], m3, fmaf(x[1], m2, fmaf(y[0], m1, fmaf(x[0], m0, r.mid[0]))));
	r.mid[1] = fmaf(y[3], m3, fmaf(x[3], m2, fmaf(y[2], m1, fmaf(x[2], m0, r.mid[1]))));
#pragma unroll
	for (int h = 0; h < 2; h++) r.sum[h] += (x[2 * h] + y[2 * h]) + (x[2 * h + 1] + y[2 * h + 1]);
}

// f16 has few exponents: a row is multiplied by a power of 2 that makes its greatest, top, 64 to 128.
__device__ __forceinline__ void power_for_f16(float top, float &up, float &down) {
	const int e = max((int)(__float_as_uint(top) >> 23) - 127, -100);
	if (e <= 127) up = __uint_as_float((127 + 6 - e) << 23), down = __uint_as_float((127 - 6 + e) << 23);
}

// Rows of C chunks of 16 bytes in shared memory, so that the eight rows of a matrix of
// ldmatrix lie in different banks: chunks of a row change places by the row's key. MIXED: a
// matrix has the rows 0 1 4 5 8 9 12 13 of 16, or those two on, so that the four rows of a
// lane are neighbours. Of any shape (not EXACT) rows have an odd number of chunks instead.
//
// An address is that of a lane's row and chunk, then of a row and chunk that all lanes share
// and that have no bits with theirs in common.
template <bool EXACT, int C, bool MIXED> struct plane {
	int chunks, stride;
	__device__ __forceinline__ explicit plane(int n) : chunks(EXACT ? C : n), stride(EXACT ? C * 16 : (n | 1) * 16) {}
	static __device__ __forceinline__ constexpr int key(int row) {
		const int k = MIXED ? (row & 1) | (row >> 1 & 6) : row & 7;
		return C >= 8 ? k : C == 4 ? k >> 1 : C == 2 ? k >> 2 : 0;
	}
	__device__ __forceinline__ int lane(int row, int chunk) const { return row * stride + (EXACT ? chunk ^ key(row) : chunk) * 16; }
	__device__ __forceinline__ int at(int lane, int row, int chunk) const {
		return EXACT ? row * stride + (lane ^ (chunk ^ key(row)) * 16) : lane + row * stride + chunk * 16;
	}
	// Of rows that are not exact.
	__device__ __forceinline__ void fetch(uint8_t *to, const uint8_t *from, int rows) const {
		const int l = threadIdx.x % 32, dr = 32 / chunks, dc = 32 % chunks;
		int r = l / chunks, c = l % chunks;
		for (int i = l; i < rows * chunks; i += 32) {
			cp_async_16(to + r * stride + c * 16, from + (size_t)i * 16);
			r += dr, c += dc;
			if (c >= chunks) c -= chunks, r++;
		}
	}
};

template <int KV> __device__ __forceinline__ void mma(float *c, const uint32_t *a, const uint32_t *b) {
	if constexpr (KV == KV_BF16)
		mma_bf16_m16n8k16(c, a, b);
	else
		mma_f16_m16n8k16(c, a, b);
}
