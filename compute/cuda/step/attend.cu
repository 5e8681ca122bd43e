// Attention of a step's rows to their selected blocks. Twin: compute/attend.go
// splits  a row's list is cut every 8 blocks; of a cut four streams have two blocks each: stream
//         s the blocks s and s+4. The own block is a cut by itself, whose streams take 16 tokens
//         in turn. The streams of a cut are added in their order, then the cuts, the own one
//         last. Nothing of the launch enters: not its rows, not what a row may select at most,
//         and not how many streams a thread block has (4: they are added in shared memory; fewer,
//         where there are few rows: attend_merge adds them, by the same steps).
// walk    a stream is a warp, which waits for no other: its blocks come through a ring of its own
//         in shared memory, in pieces, by cp.async. The query heads of a KV head are the 16 rows
//         of A. Logits stay in registers and become A of the second product.
// numbers Q is two bf16 (f16) whose sum it is to 16 (22) bits, or, where keys are codes, f32 times
//         a channel's scale, as f16; codes less their middle are exact f16. Scales of values go
//         into the weights; what is left of a code, its middle, is a sum of q or of the weights
//         beside the product. Weights are bf16 where values are, else f16. The own block, f32, is
//         in two parts of bf16 too.
// bytes   a block once for each row and KV head; of 8 blocks, group·(4+dim) floats are written and
//         read again: 3 % of bf16
// Exponents are of 2.
#include "../ptx.cuh"
#include "step.cuh"

enum { STREAMS = 4, HEADS = 16 };

struct attend_args {
	step_cache c;
	step_rows rows;
	step_selection sel;
	const float *q;     // [n, heads·group, dim], after rotation
	__nv_bfloat16 *out; // [n, heads·group, dim]
	float *part;        // [n, heads, cuts+1, 1 or STREAMS, group, 4+dim]: maximum, sum, two unused, weighted values
	int cut;
	int group, cuts;    // cuts: of the longest list, without the own block
	int split;          // whether streams have their places in part
	int ring, piece;    // pieces of a warp's ring; bytes of one
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
	int rest;      // how many blocks without the own one
	bool with_own;
	const int *blocks; // or none: every one
	int cut;
	__device__ __forceinline__ list(const attend_args &a, int pos, size_t at) {
		const int count = a.sel.count[at];
		own = pos / a.c.l.block, seen = pos % a.c.l.block + 1;
		blocks = count < 0 ? nullptr : a.sel.blocks + at * a.sel.places;
		with_own = count < 0 || (count > 0 && blocks[count - 1] == own);
		rest = (count < 0 ? own + 1 : count) - with_own;
		cut = a.cut;
	}
	__device__ __forceinline__ int cuts() const { return (rest + cut - 1) / cut; }
};

// The row of a thread block. Of both waves the second has the thread blocks that start last.
__device__ __forceinline__ int row_of(const attend_args &a) { return blockIdx.z % a.rows.n; }

// Both waves begin before the kernels end that they run beside.
__device__ __forceinline__ void begin(const attend_args &a) {
	if (a.wave != BOTH) wait_for_earlier();
	allow_later();
}

// Whether another wave has the cut. A warp asks for all of its blocks, at most 32.
//
// Both waves run beside the kernels that give slots and fill them. To them a block is late that
// has no slot yet, or one that is marked, also when it has come since. The second wave waits
// for its blocks here; those kernels have all begun, and need nothing that it holds.
__device__ __forceinline__ bool of_other_wave(const attend_args &a, const list &l, int row, int head, int cut) {
	if (a.wave == 0) return false;
	const bool second = a.wave == SECOND || a.wave == BOTH && blockIdx.z >= a.rows.n;
	const int lane = threadIdx.x % 32, i = cut * l.cut + lane;
	const int *at = nullptr;
	if (cut >= 0 && lane < l.cut && i < l.rest) at = a.c.slot_of + block_id(a.c, a.rows.seat[row], head, l.blocks ? l.blocks[i] : i);
	auto state = [&] { // 0: it was there; 1: not yet
		const int slot = at ? load_acquire(at) : 0;
		return !at ? 0 : slot < 0 ? 1 : (int)*(const volatile uint8_t *)(a.late + slot);
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

// Sums of exponentials, and of N values that they weigh.
template <int N> struct sums {
	float top, sum, value[N];
	__device__ __forceinline__ void add(const sums &o) {
		const float most = fmaxf(top, o.top), shift = shift_of(most);
		const float x = exp2_approx(top - shift), y = exp2_approx(o.top - shift);
		top = most, sum = sum * x + o.sum * y;
#pragma unroll
		for (int i = 0; i < N; i++) value[i] = value[i] * x + o.value[i] * y;
	}
	__device__ __forceinline__ void read(const float *state, int at) {
		top = state[0], sum = state[1];
		if constexpr (N == 4) {
			const float4 v = *(const float4 *)(state + 4 + at);
			value[0] = v.x, value[1] = v.y, value[2] = v.z, value[3] = v.w;
		} else {
			value[0] = state[4 + at];
		}
	}
};

// The state of a stream: rows lane/4 and lane/4+8 of 16 query heads, of up to D channels in
// tiles of 8. sum and mid are a lane's own part of theirs.
template <int D> struct stream {
	float top[2] = {-INFINITY, -INFINITY}, sum[2] = {}, mid[2] = {}, o[D / 8][4] = {};
};

// T tiles of logits s·mul + add become weights, relative to the greatest so far.
// BOOST: all are 2 to that power greater.
template <int BOOST, int T, int D> __device__ __forceinline__ void weigh(float (&s)[T][4], const float *mul, const float *add, stream<D> &r) {
	float base[2], decay[2];
	bool moved = false;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		float top = -INFINITY;
#pragma unroll
		for (int t = 0; t < T; t++) top = fmaxf(top, fmaxf(s[t][2 * h], s[t][2 * h + 1]));
		top = fmaxf(r.top[h], quad_max(fmaf(top, mul[h], add[h])));
		const float shift = shift_of(top);
		decay[h] = exp2_approx(r.top[h] - shift), base[h] = add[h] - shift + BOOST;
		moved = moved || top != r.top[h];
		r.top[h] = top;
	}
	if (__any_sync(~0u, moved)) {
#pragma unroll
		for (int h = 0; h < 2; h++) r.sum[h] *= decay[h], r.mid[h] *= decay[h];
#pragma unroll
		for (int t = 0; t < D / 8; t++)
#pragma unroll
			for (int i = 0; i < 4; i++) r.o[t][i] *= decay[i / 2];
	}
#pragma unroll
	for (int t = 0; t < T; t++)
#pragma unroll
		for (int i = 0; i < 4; i++) s[t][i] = exp2_approx(fmaf(s[t][i], mul[i / 2], base[i / 2]));
}

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

// Queries in shared memory, 16 rows: two parts [2][16] of dim elements and 16 bytes, or f32
// [16] of dim and 16 elements; then a factor for each row, that what was taken from it comes
// back with.
__device__ __forceinline__ int query_bytes(int dim) { return HEADS * (dim + 16) * 4; }
__device__ __forceinline__ int part_stride(int dim) { return 2 * dim + 16; }

// f16 has few exponents: a row is multiplied by a power of 2 that makes its greatest 64 to 128.
template <int KV, int D> __device__ __forceinline__ void load_queries(uint8_t *to, const float *q, int heads, int dim) {
	enum { N = (D + 127) / 128, BATCH = 4 };
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
	const float root = 1.44269504f / sqrtf((float)dim);
	for (int r0 = warp; r0 < HEADS; r0 += BATCH * warps) {
		float4 v[BATCH][N];
#pragma unroll
		for (int i = 0; i < BATCH; i++)
#pragma unroll
			for (int n = 0; n < N; n++) {
				const int r = r0 + i * warps, d = 128 * n + 4 * lane;
				v[i][n] = r < heads && d < dim ? *(const float4 *)(q + (size_t)r * dim + d) : float4{};
			}
#pragma unroll
		for (int i = 0; i < BATCH; i++) {
			const int r = r0 + i * warps;
			if (r >= HEADS) break;
			float up = 1, down = 1;
			if (KV != KV_BF16) {
				float top = 0;
#pragma unroll
				for (int n = 0; n < N; n++) top = fmaxf(top, fmaxf(fmaxf(fabsf(v[i][n].x), fabsf(v[i][n].y)), fmaxf(fabsf(v[i][n].z), fabsf(v[i][n].w))));
				top = warp_max(top);
				const int e = max((int)(__float_as_uint(top) >> 23) - 127, -100);
				if (e <= 127) up = __uint_as_float((127 + 6 - e) << 23), down = __uint_as_float((127 - 6 + e) << 23);
			}
			if (lane == 0) ((float *)(to + query_bytes(dim)))[r] = down * root;
#pragma unroll
			for (int n = 0; n < N; n++) {
				const int d = 128 * n + 4 * lane;
				if (d >= dim) continue;
				const float4 x = {v[i][n].x * up, v[i][n].y * up, v[i][n].z * up, v[i][n].w * up};
				if (coded(KV)) {
					*(float4 *)(to + ((size_t)r * (dim + 16) + d) * 4) = x;
				} else {
					uint2 hi, lo;
					parts<KV == KV_F16>(x.x, x.y, hi.x, lo.x);
					parts<KV == KV_F16>(x.z, x.w, hi.y, lo.y);
					*(uint2 *)(to + r * part_stride(dim) + 2 * d) = hi;
					*(uint2 *)(to + (HEADS + r) * part_stride(dim) + 2 * d) = lo;
				}
			}
		}
	}
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
	__device__ __forceinline__ void fetch(uint8_t *to, const uint8_t *from, int rows) const {
		const int l = threadIdx.x % 32;
		if constexpr (EXACT) {
			const int own = lane(l / C, l % C);
			from += 16 * l;
#pragma unroll
			for (int i = 0; i < rows * C / 32; i++) cp_async_16(to + at(own, i * 32 / C, 0), from + (size_t)i * 512);
		} else {
			int r = l / chunks, c = l % chunks;
			const int dr = 32 / chunks, dc = 32 % chunks;
			for (int i = l; i < rows * chunks; i += 32) {
				cp_async_16(to + r * stride + c * 16, from + (size_t)i * 16);
				r += dr, c += dc;
				if (c >= chunks) c -= chunks, r++;
			}
		}
	}
};

__device__ __forceinline__ void fetch_line(uint8_t *to, const void *from, int bytes) {
	for (int i = threadIdx.x % 32 * 16; i < bytes; i += 512) cp_async_16(to + i, (const uint8_t *)from + i);
}

// Waits for all but the last n groups of copies, and for the other lanes.
__device__ __forceinline__ void wait_pieces(int n) {
	switch (n) {
	case 0: cp_async_wait<0>(); break;
	case 1: cp_async_wait<1>(); break;
	case 2: cp_async_wait<2>(); break;
	case 3: cp_async_wait<3>(); break;
	case 4: cp_async_wait<4>(); break;
	case 5: cp_async_wait<5>(); break;
	case 6: cp_async_wait<6>(); break;
	default: cp_async_wait<7>();
	}
	__syncwarp();
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

template <int KV> __device__ __forceinline__ void mma(float *c, const uint32_t *a, const uint32_t *b) {
	if constexpr (KV == KV_BF16)
		mma_bf16_m16n8k16(c, a, b);
	else
		mma_f16_m16n8k16(c, a, b);
}

// The products of A (and of a second part of it) with two chunks that ldmatrix brought:
// words 0 and 1 are rows 0 to 7 and 8 to 15 of the first, 2 and 3 of the second.
//	bf16, f16  chunk c is tile c
//	q8         tile 2c has the even of its 16 columns, 2c+1 the odd ones
//	q4         so have the tiles 2c and 2c+1 the low, those H pairs on the high halves
template <int KV, int H, bool TWO> __device__ __forceinline__ void multiply(float (*acc)[4], const uint32_t *a, const uint32_t *lo, const uint32_t *w, uint32_t ones, int c, bool second) {
#pragma unroll
	for (int i = 0; i < 2; i++) {
		if (i && !second) break;
		if constexpr (!coded(KV)) {
			mma<KV>(acc[c + i], a, w + 2 * i);
			if (TWO) mma<KV>(acc[c + i], lo, w + 2 * i);
		} else {
#pragma unroll
			for (int t = 0; t < (KV == KV_Q4 ? 4 : 2); t++) {
				uint32_t b[2];
#pragma unroll
				for (int j = 0; j < 2; j++) b[j] = KV == KV_Q8 ? of_bytes(w[2 * i + j], ones, t % 2) : of_halves(w[2 * i + j], ones, t % 2, t / 2);
				mma<KV>(acc[2 * (c + i + t / 2 * H) + t % 2], a, b);
				if (TWO) mma<KV>(acc[2 * (c + i + t / 2 * H) + t % 2], lo, b);
			}
		}
	}
}

// A stream's blocks, n of them; block k's number, id and bytes are lane k's. A block comes as
// PARTS pieces of its keys, by channels, with their scales, the last with the bias; then
// PARTS pieces of its values, by tokens.
template <int KV, int D, bool EXACT, int PARTS> struct walk {
	enum { PER = per_chunk(KV), CODED = coded(KV), TWO = !CODED, NX = 64 / PER / 2, VX = D / PER / 2 };
	static_assert(EXACT || PARTS == 1);
	const attend_args &a;
	const int dim, block;
	const plane<EXACT, 64 / PER, CODED> keys;
	const plane<EXACT, D / PER, CODED> values;
	uint8_t *const ring;
	const uint8_t *q;
	const uint8_t *data; // of this lane's block
	int id, n;
	const uint32_t magic;
	int next = 0, put = 0, got = 0; // piece to be asked for, its place in the ring; place of the piece that is used

	__device__ __forceinline__ walk(const attend_args &a, uint8_t *q, uint8_t *ring)
		: a(a), dim(EXACT ? D : a.c.l.dim), block(EXACT ? 64 : a.c.l.block), keys(block / PER), values(dim / PER), ring(ring), q(q), magic(ones()) {}

	__device__ __forceinline__ void find(const list &l, int row, int head, int from) {
		const int lane = threadIdx.x % 32, left = min(l.rest, from / l.cut * l.cut + l.cut) - from;
		n = left > 0 ? (left + STREAMS - 1) / STREAMS : 0;
		id = 0, data = nullptr;
		if (lane < n) {
			const int i = from + STREAMS * lane;
			id = block_id(a.c, a.rows.seat[row], head, l.blocks ? l.blocks[i] : i);
			data = a.c.slots + (size_t)max(__ldcg(a.c.slot_of + id), 0) * a.c.l.block_bytes; // whose block is nowhere is told by the pool
		}
	}

	// Asks for the next piece. Groups are counted, so that there is one also where there is no
	// piece left.
	__device__ __forceinline__ void ask() {
		const int k = next / (2 * PARTS), part = next % (2 * PARTS);
		if (k < n) {
			const uint8_t *from = (const uint8_t *)__shfl_sync(~0u, (unsigned long long)data, k);
			const int which = __shfl_sync(~0u, id, k);
			uint8_t *to = ring + put * a.piece;
			const int half = dim * keys.chunks * 16, pairs = 2 * half;
			if (part < PARTS) {
				const int rows = dim / PARTS;
				keys.fetch(to, from + (size_t)(part * rows * keys.chunks * 16), rows);
				to += rows * keys.stride;
				if (CODED) fetch_line(to, from + pairs + 8 * part * rows, 8 * rows), to += 8 * rows;
				if (part == PARTS - 1 && a.c.score) fetch_line(to, a.c.score + (size_t)which * block, 4 * block);
			} else {
				const int rows = block / PARTS, p = part - PARTS;
				values.fetch(to, from + (size_t)(half + p * rows * values.chunks * 16), rows);
				if (CODED) fetch_line(to + rows * values.stride, from + pairs + 8 * (dim + p * rows), 8 * rows);
			}
		}
		cp_async_commit();
		next++;
		put = put + 1 == a.ring ? 0 : put + 1;
	}
	// The piece that comes next in use, and its end.
	__device__ __forceinline__ const uint8_t *have() const { return ring + got * a.piece; }
	__device__ __forceinline__ void done() { got = got + 1 == a.ring ? 0 : got + 1; }

	// Which 16 tokens of the block group g of half is. half is a run of 64 tokens; of q4, two of 32
	// whose codes share bytes.
	__device__ __forceinline__ int group_of(int half, int g) const {
		return EXACT ? g : KV == KV_Q4 ? g / 2 * (block / 32) + 2 * half + g % 2 : 4 * half + g;
	}
	__device__ __forceinline__ bool has_group(int half, int g) const {
		return EXACT || (KV == KV_Q4 ? 2 * half + g % 2 < block / 32 : 4 * half + g < block / 16);
	}

	// q·k over the channels of a piece, for 64 tokens.
	__device__ __forceinline__ void logits(float (&s)[8][4], float *mid, const uint8_t *k, int part, int half, int klane) {
		const int lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
		const uint8_t *pairs = k + dim / PARTS * keys.stride;
#pragma unroll
		for (int step = 0; step < D / 16 / PARTS; step++) {
			if (!EXACT && 16 * step >= dim) break;
			const int d = part * (D / PARTS) + 16 * step;
			uint32_t hi[4], lo[4];
			if constexpr (!CODED) {
				const uint8_t *at = q + lane % 16 * part_stride(dim) + 2 * (d + lane / 16 * 8);
				ldmatrix_x4(hi, at);
				ldmatrix_x4(lo, at + HEADS * part_stride(dim));
			} else {
				const float4 x = *(const float4 *)(q + (i * (dim + 16) + d + 4 * j) * 4);
				const float4 y = *(const float4 *)(q + ((i + 8) * (dim + 16) + d + 4 * j) * 4);
				const float4 u = *(const float4 *)(pairs + 8 * (16 * step + 4 * j)), v = *(const float4 *)(pairs + 8 * (16 * step + 4 * j + 2));
				const float p = fmaf(u.y, middle<KV>(), u.x), r = fmaf(u.w, middle<KV>(), u.z), s = fmaf(v.y, middle<KV>(), v.x), t = fmaf(v.w, middle<KV>(), v.z);
				mid[0] = fmaf(x.w, t, fmaf(x.z, s, fmaf(x.y, r, fmaf(x.x, p, mid[0]))));
				mid[1] = fmaf(y.w, t, fmaf(y.z, s, fmaf(y.y, r, fmaf(y.x, p, mid[1]))));
				if constexpr (TWO) {
					parts<true, false>(x.x * u.y, x.y * u.w, hi[0], lo[0]);
					parts<true, false>(y.x * u.y, y.y * u.w, hi[1], lo[1]);
					parts<true, false>(x.z * v.y, x.w * v.w, hi[2], lo[2]);
					parts<true, false>(y.z * v.y, y.w * v.w, hi[3], lo[3]);
				} else {
					hi[0] = f16_pair(x.x * u.y, x.y * u.w), hi[1] = f16_pair(y.x * u.y, y.y * u.w);
					hi[2] = f16_pair(x.z * v.y, x.w * v.w), hi[3] = f16_pair(y.z * v.y, y.w * v.w);
				}
			}
#pragma unroll
			for (int c = 0; c < 2 * NX; c += 2) {
				const int chunk = 2 * NX * half + c;
				if (!EXACT && chunk >= keys.chunks) break;
				uint32_t w[4];
				ldmatrix_x4_trans(w, k + keys.at(klane, 16 * step, chunk));
				multiply<KV, 2, TWO>(s, hi, lo, w, magic, c, EXACT || chunk + 1 < keys.chunks);
			}
		}
	}

	// Adds the bias of tokens, in memory at bias, to logits, which from then on are what they are.
	__device__ __forceinline__ void bias(float (&s)[8][4], const float *bias, float *mul, float *add, int half) {
		const int j = threadIdx.x % 4;
		const float e = 1.44269504f;
#pragma unroll
		for (int g = 0; g < 4; g++) {
			if (!has_group(half, g)) continue;
			const float *b = bias + 16 * group_of(half, g);
			float2 x, y; // of the tiles 2g and 2g+1
			if (CODED) {
				const float4 v = *(const float4 *)(b + 4 * j);
				x = {v.x, v.z}, y = {v.y, v.w};
			} else {
				x = *(const float2 *)(b + 2 * j), y = *(const float2 *)(b + 8 + 2 * j);
			}
#pragma unroll
			for (int h = 0; h < 2; h++) {
				float *p = s[2 * g] + 2 * h, *r = s[2 * g + 1] + 2 * h;
				p[0] = fmaf(p[0], mul[h], fmaf(x.x, e, add[h])), p[1] = fmaf(p[1], mul[h], fmaf(x.y, e, add[h]));
				r[0] = fmaf(r[0], mul[h], fmaf(y.x, e, add[h])), r[1] = fmaf(r[1], mul[h], fmaf(y.y, e, add[h]));
			}
		}
		mul[0] = mul[1] = 1, add[0] = add[1] = 0;
	}

	// The weights of group g, with their values' scales, as A.
	__device__ __forceinline__ void weights(uint32_t *w, const float (&s)[8][4], int g, const float4 *pairs, stream<D> &r) {
		const float *x = s[2 * g], *y = s[2 * g + 1];
		if constexpr (CODED) {
			const float4 u = pairs[0], v = pairs[1];
			w[0] = f16_pair(x[0] * u.y, y[0] * u.w), w[1] = f16_pair(x[2] * u.y, y[2] * u.w);
			w[2] = f16_pair(x[1] * v.y, y[1] * v.w), w[3] = f16_pair(x[3] * v.y, y[3] * v.w);
			const float m0 = fmaf(u.y, middle<KV>(), u.x), m1 = fmaf(u.w, middle<KV>(), u.z), m2 = fmaf(v.y, middle<KV>(), v.x), m3 = fmaf(v.w, middle<KV>(), v.z);
			r.mid[0] = fmaf(y[1], m3, fmaf(x[1], m2, fmaf(y[0], m1, fmaf(x[0], m0, r.mid[0]))));
			r.mid[1] = fmaf(y[3], m3, fmaf(x[3], m2, fmaf(y[2], m1, fmaf(x[2], m0, r.mid[1]))));
#pragma unroll
			for (int h = 0; h < 2; h++) r.sum[h] += (x[2 * h] + y[2 * h]) + (x[2 * h + 1] + y[2 * h + 1]);
		} else {
			// The sum is that of the weights as they are used.
			w[0] = pair<KV == KV_F16>(x[0], x[1]), w[1] = pair<KV == KV_F16>(x[2], x[3]);
			w[2] = pair<KV == KV_F16>(y[0], y[1]), w[3] = pair<KV == KV_F16>(y[2], y[3]);
#pragma unroll
			for (int i = 0; i < 4; i++) {
				const float2 v = KV == KV_F16 ? __half22float2(*(const __half2 *)&w[i]) : of_bf16_pair(w[i]);
				r.sum[i % 2] += v.x + v.y;
			}
		}
	}

	// The values of 16 tokens, at v, by their weights.
	__device__ __forceinline__ void add(stream<D> &r, const uint32_t *w, const uint8_t *v, int row, int vlane) {
#pragma unroll
		for (int c = 0; c < 2 * VX; c += 2) {
			if (!EXACT && c >= values.chunks) break;
			uint32_t b[4];
			ldmatrix_x4_trans(b, v + values.at(vlane, row, c));
			multiply<KV, D / 32, false>(r.o, w, w, b, magic, c, EXACT || c + 1 < values.chunks);
		}
	}

	__device__ __forceinline__ void start() {
		for (int i = 0; i < a.ring; i++) ask();
	}

	__device__ __forceinline__ void run(stream<D> &r) {
		const int lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
		const int e = lane % 8, second = lane / 8 % 2; // row of a matrix; first or second eight rows
		const int row = CODED ? e / 2 * 4 + e % 2 + 2 * second : e + 8 * second;
		const int klane = keys.lane(row, lane / 16), vlane = values.lane(row, lane / 16);
		const float *factor = (const float *)(q + query_bytes(dim));
		for (int k = 0; k < n; k++) {
			const int halves = EXACT ? 1 : (block + 63) / 64;
			if (!EXACT) wait_pieces(a.ring - 2); // keys and values: each half needs both
			for (int half = 0; half < halves; half++) {
				float s[8][4] = {}, mid[2] = {}, mul[2] = {factor[i], factor[i + 8]}, add_[2];
				const uint8_t *piece = have();
#pragma unroll
				for (int part = 0; part < PARTS; part++) {
					if (EXACT) wait_pieces(a.ring - 1), piece = have();
					logits(s, mid, piece, part, half, klane);
					if (part == PARTS - 1) {
#pragma unroll
						for (int h = 0; h < 2; h++) add_[h] = CODED ? quad_sum(mid[h]) * mul[h] : 0;
						if (a.c.score) bias(s, (const float *)(piece + dim / PARTS * (keys.stride + (CODED ? 8 : 0))), mul, add_, half);
					}
					if (EXACT) {
						__syncwarp();
						ask();
						done();
					}
				}
				if (!EXACT) {
#pragma unroll
					for (int g = 0; g < 4; g++)
						if (!has_group(half, g))
#pragma unroll
							for (int x = 0; x < 8; x++) s[2 * g + x / 4][x % 4] = -INFINITY;
					piece = ring + (got + 1 == a.ring ? 0 : got + 1) * a.piece;
				}
				weigh<boost(KV)>(s, mul, add_, r);
#pragma unroll
				for (int g = 0; g < 4; g++) {
					enum { EACH = 4 / PARTS };
					if (EXACT && g % EACH == 0) wait_pieces(a.ring - 1), piece = have();
					if (has_group(half, g)) {
						const int at = 16 * (EXACT ? g % EACH : group_of(half, g));
						uint32_t w[4];
						weights(w, s, g, (const float4 *)(piece + block / PARTS * values.stride + 8 * (at + 4 * j)), r);
						add(r, w, piece, at, vlane);
					}
					if (EXACT && g % EACH == EACH - 1) {
						__syncwarp();
						ask();
						done();
					}
				}
			}
			if (!EXACT) {
				__syncwarp();
				ask();
				ask();
				done();
				done();
			}
		}
	}
};

// The own block: every fourth 16 tokens from those of the stream on. Tile t has tokens and
// channels t % 2 + 2·column of 16.
template <int D, bool EXACT> __device__ __forceinline__ void own_block(const attend_args &a, const list &l, int row, int head, int from, const uint8_t *q, stream<D> &r) {
	const int dim = EXACT ? D : a.c.l.dim, block = EXACT ? 64 : a.c.l.block, lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
	const int seat = a.rows.seat[row];
	const float *keys = tail_of(a.c, seat, head), *values = keys + dim * block, *factor = (const float *)(q + query_bytes(dim));
	const float *bias = a.c.score ? a.c.score + (size_t)block_id(a.c, seat, head, l.own) * block : nullptr;
	const uint8_t *at = q + lane % 16 * part_stride(dim) + lane / 16 * 16;
	for (int u = 16 * from; u < l.seen; u += 16 * STREAMS) {
		float s[2][4] = {}, mul[2] = {factor[i], factor[i + 8]}, add[2] = {};
#pragma unroll
		for (int step = 0; step < D / 16; step += 4) {
			float2 k[4][4];
#pragma unroll
			for (int x = 0; x < 16; x++) {
				const int d = 16 * (step + x / 4) + 2 * j + x % 2 + x % 4 / 2 * 8;
				k[x / 4][x % 4] = EXACT || d < dim ? *(const float2 *)(keys + d * block + u + 2 * i) : float2{};
			}
#pragma unroll
			for (int x = 0; x < 4; x++) {
				if (!EXACT && 16 * (step + x) >= dim) break;
				uint32_t hi[4], lo[4], khi[2][2], klo[2][2];
				ldmatrix_x4(hi, at + 32 * (step + x));
				ldmatrix_x4(lo, at + 32 * (step + x) + HEADS * part_stride(dim));
#pragma unroll
				for (int h = 0; h < 2; h++) {
					parts<false>(k[x][2 * h].x, k[x][2 * h + 1].x, khi[0][h], klo[0][h]);
					parts<false>(k[x][2 * h].y, k[x][2 * h + 1].y, khi[1][h], klo[1][h]);
				}
#pragma unroll
				for (int t = 0; t < 2; t++) {
					mma_bf16_m16n8k16(s[t], hi, khi[t]);
					mma_bf16_m16n8k16(s[t], hi, klo[t]);
					mma_bf16_m16n8k16(s[t], lo, khi[t]);
				}
			}
		}
#pragma unroll
		for (int x = 0; x < 8; x++) {
			const int token = u + 4 * j + x % 2 * 2 + x / 4;
			float &v = s[x / 4][x % 4];
			if (bias && token < l.seen) v = fmaf(v, mul[x % 4 / 2], bias[token] * 1.44269504f);
			if (token >= l.seen) v = -INFINITY;
		}
		if (bias) mul[0] = mul[1] = 1;
		weigh<0>(s, mul, add, r);
		uint32_t hi[4], lo[4];
#pragma unroll
		for (int h = 0; h < 2; h++) {
			r.sum[h] += (s[0][2 * h] + s[1][2 * h]) + (s[0][2 * h + 1] + s[1][2 * h + 1]);
			parts<false>(s[0][2 * h], s[1][2 * h], hi[h], lo[h]);
			parts<false>(s[0][2 * h + 1], s[1][2 * h + 1], hi[2 + h], lo[2 + h]);
		}
#pragma unroll
		for (int g = 0; g < D / 16; g += 4) {
			float2 v[4][4];
#pragma unroll
			for (int x = 0; x < 16; x++) {
				const int d = 16 * (g + x / 4) + 2 * i, token = u + 4 * j + x % 4;
				v[x / 4][x % 4] = (EXACT || d < dim) && token < l.seen ? *(const float2 *)(values + token * dim + d) : float2{};
			}
#pragma unroll
			for (int x = 0; x < 4; x++) {
				uint32_t vhi[2][2], vlo[2][2];
#pragma unroll
				for (int h = 0; h < 2; h++) {
					parts<false>(v[x][2 * h].x, v[x][2 * h + 1].x, vhi[0][h], vlo[0][h]);
					parts<false>(v[x][2 * h].y, v[x][2 * h + 1].y, vhi[1][h], vlo[1][h]);
				}
#pragma unroll
				for (int t = 0; t < 2; t++) {
					float *o = r.o[2 * (g + x) + t];
					mma_bf16_m16n8k16(o, hi, vhi[t]);
					mma_bf16_m16n8k16(o, hi, vlo[t]);
					mma_bf16_m16n8k16(o, lo, vhi[t]);
				}
			}
		}
	}
}

// A stream's state to memory, [heads] of 4+dim. KV says how channels lie in tiles; F32 stands
// for the own block.
template <int KV, int D> __device__ __forceinline__ void write_stream(stream<D> &r, float *to, int heads, int dim) {
	const int lane = threadIdx.x % 32, j = lane % 4;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		const int row = lane / 4 + 8 * h;
		const float sum = quad_sum(r.sum[h]), mid = quad_sum(r.mid[h]);
		if (row >= heads) continue;
		float *p = to + (size_t)row * (4 + dim);
		if (j == 0) *(float2 *)p = {r.top[h] - boost(KV), sum};
		p += 4;
		if (KV == KV_BF16 || KV == KV_F16) {
#pragma unroll
			for (int t = 0; t < D / 8; t++)
				if (8 * t < dim) *(float2 *)(p + 8 * t + 2 * j) = {r.o[t][2 * h], r.o[t][2 * h + 1]};
		} else {
#pragma unroll
			for (int g = 0; g < D / 16; g++) {
				const bool high = KV == KV_Q4 && g >= D / 32;
				const int d = KV == KV_Q4 ? 16 * (g % (D / 32)) + (high ? dim / 2 : 0) : 16 * g;
				if (d >= (KV == KV_Q4 && !high ? dim / 2 : dim)) continue;
				const float *x = r.o[2 * g] + 2 * h, *y = r.o[2 * g + 1] + 2 * h;
				*(float4 *)(p + d + 4 * j) = {x[0] + mid, y[0] + mid, x[1] + mid, y[1] + mid};
			}
		}
	}
}

// grid    ((1+cuts)·STREAMS/warps, heads·⌈group/16⌉, n, or 2n for both waves): the own block, then the cuts
// block   32·warps, warps 1, 2 or 4
// shared  queries, 16 factors, warps rings
template <int KV, int D, bool EXACT, int PARTS> __device__ __forceinline__ void attend(const attend_args &a) {
	extern __shared__ uint4 memory[];
	uint8_t *shared = (uint8_t *)memory;
	const int dim = EXACT ? D : a.c.l.dim, warp = threadIdx.x / 32, warps = blockDim.x / 32, share = STREAMS / warps;
	const int row = row_of(a), passes = (a.group + HEADS - 1) / HEADS, head = blockIdx.y / passes, first = blockIdx.y % passes * HEADS;
	const int cut = (int)blockIdx.x / share - 1, which = blockIdx.x % share * warps + warp, heads = min(HEADS, a.group - first);
	begin(a);
	const int pos = a.rows.pos[row];
	if (pos < 0) return;
	const size_t at = (size_t)row * a.c.l.heads + head;
	const list l(a, pos, at);
	if (cut < 0 ? !l.with_own : cut >= l.cuts()) return;
	if (of_other_wave(a, l, row, head, cut)) return;
	uint8_t *ring = shared + query_bytes(dim) + 4 * HEADS + (size_t)warp * a.ring * a.piece;
	const float *q = a.q + (at * a.group + first) * dim;
	float *part = a.part + ((at * (a.cuts + 1) + (cut < 0 ? a.cuts : cut)) * (a.split ? STREAMS : 1) * a.group + first) * (4 + dim);
	float *to = a.split ? part + (size_t)which * a.group * (4 + dim) : (float *)ring;
	stream<D> r;
	if (cut < 0) {
		load_queries<KV_BF16, D>(shared, q, heads, dim);
		__syncthreads();
		own_block<D, EXACT>(a, l, row, head, which, shared, r);
		write_stream<KV_F32, D>(r, to, heads, dim);
	} else {
		walk<KV, D, EXACT, PARTS> w(a, shared, ring);
		w.find(l, row, head, cut * l.cut + which);
		w.start();
		load_queries<KV, D>(shared, q, heads, dim);
		__syncthreads();
		w.run(r);
		__syncwarp();
		write_stream<KV, D>(r, to, heads, dim);
	}
	if (a.split) return;
	__syncthreads();
	const float *states = (const float *)(shared + query_bytes(dim) + 4 * HEADS);
	const size_t stride = (size_t)a.ring * a.piece / 4;
	for (int i = threadIdx.x; i < heads * dim / 4; i += blockDim.x) {
		const int h = i / (dim / 4), d = i % (dim / 4) * 4;
		sums<4> t;
		t.read(states + (size_t)h * (4 + dim), d);
#pragma unroll
		for (int s = 1; s < STREAMS; s++) {
			sums<4> o;
			o.read(states + s * stride + (size_t)h * (4 + dim), d);
			t.add(o);
		}
		float *p = part + (size_t)h * (4 + dim);
		if (d == 0) *(float2 *)p = {t.top, t.sum};
		*(float4 *)(p + 4 + d) = {t.value[0], t.value[1], t.value[2], t.value[3]};
	}
}

// bf16 blocks of 64 tokens and 128 channels are walked in pieces of 4 KiB.
#define ATTEND(name, KV, D, EXACT, PARTS, blocks) \
	extern "C" __global__ void __launch_bounds__(32 * STREAMS, blocks) attend_##name(const __grid_constant__ attend_args a) { attend<KV, D, EXACT, PARTS>(a); }
#define SHAPES(name, KV, parts128, parts64) \
	ATTEND(name##_128, KV, 128, true, parts128, 3) ATTEND(name##_64, KV, 64, true, parts64, 4) \
	ATTEND(name##_upto128, KV, 128, false, 1, 2) ATTEND(name##_upto256, KV, 256, false, 1, 1)
SHAPES(bf16, KV_BF16, 4, 2)
SHAPES(f16, KV_F16, 4, 2)
SHAPES(q8, KV_Q8, 2, 1)
SHAPES(q4, KV_Q4, 1, 1)

// What the kernels above have no form for: f32 blocks, and shapes that are no whole matrices.
// A cut's blocks go one after the other, four query heads at a time.
// grid    (1+cuts, heads·⌈group/4⌉, n, or 2n for both waves)   block 128
// shared  4·block floats
template <int KV> __device__ __forceinline__ void attend_plainly(const attend_args &a) {
	enum { FEW = 4 };
	extern __shared__ float weight[]; // [4, block]
	__shared__ float decay[FEW];
	const layout &f = a.c.l;
	const int dim = f.dim, tid = threadIdx.x, row = row_of(a), passes = (a.group + FEW - 1) / FEW;
	const int head = blockIdx.y / passes, first = blockIdx.y % passes * FEW, heads = min(FEW, a.group - first), cut = (int)blockIdx.x - 1;
	begin(a);
	const int pos = a.rows.pos[row];
	if (pos < 0) return;
	const size_t at = (size_t)row * f.heads + head;
	const list l(a, pos, at);
	if (cut < 0 ? !l.with_own : cut >= l.cuts()) return;
	if (of_other_wave(a, l, row, head, cut)) return;
	const float *q = a.q + (at * a.group + first) * dim;
	float *part = a.part + ((at * (a.cuts + 1) + (cut < 0 ? a.cuts : cut)) * a.group + first) * (4 + dim);
	const float factor = 1.44269504f / sqrtf((float)dim);
	const int from = cut * l.cut, to = cut < 0 ? from + 1 : min(l.rest, from + l.cut);
	for (int i = from; i < to; i++) {
		const bool own = cut < 0;
		const int number = own ? l.own : l.blocks ? l.blocks[i] : i, seen = own ? l.seen : f.block;
		const int id = block_id(a.c, a.rows.seat[row], head, number);
		const uint8_t *data = own ? (const uint8_t *)tail_of(a.c, a.rows.seat[row], head) : a.c.slots + (size_t)max(__ldcg(a.c.slot_of + id), 0) * f.block_bytes;
		const auto value = [&](bool values, int r, int e) { return own ? block_value<KV_F32>(f, data, values, r, e) : block_value<KV>(f, data, values, r, e); };
		for (int n = tid; n < heads * seen; n += blockDim.x) {
			const int h = n / seen, j = n % seen;
			float x = 0;
			for (int d = 0; d < dim; d++) x = fmaf(q[h * dim + d], value(false, d, j), x);
			weight[h * f.block + j] = x * factor + (a.c.score ? a.c.score[(size_t)id * f.block + j] * 1.44269504f : 0);
		}
		__syncthreads();
		if (const int h = tid / 32; h < heads) {
			float *w = weight + h * f.block, *state = part + h * (4 + dim);
			const float before = i == from ? -INFINITY : state[0], had = i == from ? 0 : state[1];
			float top = before, sum = 0;
			for (int j = tid % 32; j < seen; j += 32) top = fmaxf(top, w[j]);
			for (int d = 16; d > 0; d /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
			const float shift = shift_of(top);
			for (int j = tid % 32; j < seen; j += 32) sum += w[j] = exp2_approx(w[j] - shift);
			sum = warp_sum(sum);
			if (tid % 32 == 0) {
				decay[h] = exp2_approx(before - shift);
				state[0] = top, state[1] = had * decay[h] + sum;
			}
		}
		__syncthreads();
		for (int n = tid; n < heads * dim; n += blockDim.x) {
			const int h = n / dim, d = n % dim;
			float *v = part + h * (4 + dim) + 4 + d, x = i == from ? 0 : *v * decay[h];
			for (int j = 0; j < seen; j++) x = fmaf(weight[h * f.block + j], value(true, j, d), x);
			*v = x;
		}
		__syncthreads();
	}
}
#define PLAIN(name, KV) \
	extern "C" __global__ void __launch_bounds__(128) attend_##name##_plain(const __grid_constant__ attend_args a) { attend_plainly<KV>(a); }
PLAIN(f32, KV_F32)
PLAIN(bf16, KV_BF16)
PLAIN(f16, KV_F16)
PLAIN(q8, KV_Q8)
PLAIN(q4, KV_Q4)

// The streams of each cut, the cuts, and the quotient: zeros where nothing was seen. A warp
// has a query head, a lane N channels at a time. EACH: states of a cut.
// grid (⌈heads·group / 4⌉, n)   block 128
template <int N, int EACH> __device__ __forceinline__ void merge(const attend_args &a) {
	enum { BATCH = EACH == 1 ? 10 : 3 * EACH }; // most lists have 9 cuts
	const int row = blockIdx.y, h = blockIdx.x * 4 + threadIdx.x / 32, dim = a.c.l.dim, heads = a.c.l.heads * a.group;
	// Positions and selections were there before the kernel ahead began, or it has ended.
	const int pos = a.rows.pos[row];
	if (h >= heads || pos < 0) return wait_for_earlier();
	const size_t at = (size_t)row * a.c.l.heads + h / a.group;
	const list l(a, pos, at);
	const int stride = a.group * (4 + dim), cuts = l.cuts(), n = (cuts + l.with_own) * EACH, unused = (a.cuts - cuts) * EACH;
	const float *part = a.part + at * (a.cuts + 1) * EACH * stride + h % a.group * (4 + dim);
	wait_for_earlier();
	for (int d = N * (threadIdx.x % 32); d < dim; d += 32 * N) {
		sums<N> total = {-INFINITY, 0}, cut;
		const float *p = part;
		for (int from = 0; from < n; from += BATCH, p += (size_t)BATCH * stride) {
			sums<N> s[BATCH];
#pragma unroll
			for (int i = 0; i < BATCH; i++)
				if (from + i < n) s[i].read(p + (size_t)(i + (from + i < cuts * EACH ? 0 : unused)) * stride, d);
#pragma unroll
			for (int i = 0; i < BATCH; i++) {
				if (from + i >= n) break;
				if (i % EACH == 0)
					cut = s[i];
				else
					cut.add(s[i]);
				if (i % EACH < EACH - 1) continue;
				if (from + i < EACH)
					total = cut;
				else
					total.add(cut);
			}
		}
		__nv_bfloat16 *out = a.out + ((size_t)row * heads + h) * dim + d;
		float v[N];
#pragma unroll
		for (int i = 0; i < N; i++) v[i] = total.sum != 0 ? total.value[i] / total.sum : 0;
		if constexpr (N == 4)
			*(uint2 *)out = {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3])};
		else
			*out = __float2bfloat16_rn(v[0]);
	}
}
#define MERGE(N) \
	extern "C" __global__ void __launch_bounds__(128) attend_merge_##N(const __grid_constant__ attend_args a) { \
		allow_later(); \
		if (a.split) \
			merge<N, STREAMS>(a); \
		else \
			merge<N, 1>(a); \
	}
MERGE(4)
MERGE(1)
