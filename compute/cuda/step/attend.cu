// Attention of a step's rows to their selected blocks. Twin: compute/attend.go
// splits  a row's list is cut every few blocks, up to 16 times; the own block is a cut by itself.
//         A cut's blocks go to its streams in turn (4, of large shapes fewer), those of the own
//         block 16 tokens at a time. The streams of a cut are added in pairs, then the cuts in
//         their order, the own one last. Nothing of the launch enters.
// blocks  as many thread blocks as there is room for take one cut after the other, as they get to
//         it. A stream is a warp: its blocks come through a ring of its own in shared memory, in
//         pieces, by cp.async, and those of the next cut are on their way before this one's end.
//         Where they lie is looked up one step (list, table, slot) with each piece. Who writes the
//         last cut of a row adds them.
// numbers Q is two bf16 (f16) whose sum it is to 16 (22) bits, or, where keys are codes, f32 times
//         a channel's scale, as f16; codes less their middle are exact f16. Scales of values go
//         into the weights; what is left of a code, its middle, is a sum of q or of the weights
//         beside the product. Weights are bf16 where values are, else f16. The own block, f32, is
//         in two parts of bf16 too. Logits stay in registers and become A of the second product;
//         the query heads of a KV head are the 16 rows of A.
// bytes   a block once for each row and KV head; of each cut, group·(4+dim) floats are written and
//         read again: of 8 blocks of bf16, 3 %
// Exponents are of 2.
#include "../ptx.cuh"
#include "step.cuh"

enum {
	STREAMS = 4, // at most
	HEADS = 16,
	CUTS = 16,           // that a list is cut into, unless its blocks are more than a warp looks up
	ARRIVALS = 1 << 16,  // rows·heads·⌈group/16⌉ of a launch, at most
};

struct attend_args {
	step_cache c;
	step_rows rows;
	step_selection sel;
	const float *q;     // [n, heads·group, dim], after rotation
	__nv_bfloat16 *out; // [n, heads·group, dim]
	float *part;        // [n, heads, cuts+1, group, 4+dim]: maximum, sum, two unused, weighted values
	int cut, streams;   // least blocks of a cut; its streams
	int group, cuts;    // cuts: of the longest list, without the own block
	int items;          // n·heads·⌈group/16⌉·(1+cuts)
	int ring, piece;    // pieces of a warp's ring; bytes of one
};

// What thread blocks tell each other; 0 between launches, of which one runs at a time.
__device__ unsigned taken;             // items, beyond the first of each thread block
__device__ unsigned arrived[ARRIVALS]; // cuts that have been written

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

// The blocks of a cut, of a list of so many with the own one.
__device__ __forceinline__ int cut_of(const attend_args &a, int length) {
	const int even = (length + CUTS * a.streams - 1) / (CUTS * a.streams) * a.streams;
	return min(32 * a.streams, max(a.cut, even));
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
		const int length = count < 0 ? own + 1 : count;
		rest = length - with_own;
		cut = cut_of(a, length);
	}
	__device__ __forceinline__ int cuts() const { return (rest + cut - 1) / cut; }
};

// A row's KV head, up to 16 of its query heads, and a cut, or −1 for the own block.
struct place {
	int row, head, first, cut;
	size_t at; // of the row's KV head
	int group; // of the query heads
	__device__ __forceinline__ place(const attend_args &a, int item) {
		const int passes = (a.group + HEADS - 1) / HEADS;
		group = item / (1 + a.cuts), cut = item % (1 + a.cuts) - 1;
		first = group % passes * HEADS, at = group / passes;
		row = (int)at / a.c.l.heads, head = (int)at % a.c.l.heads;
	}
	__device__ __forceinline__ int heads(const attend_args &a) const { return min(HEADS, a.group - first); }
	__device__ __forceinline__ const float *q(const attend_args &a) const { return a.q + (at * a.group + first) * a.c.l.dim; }
	__device__ __forceinline__ float *part(const attend_args &a, int cut) const {
		return a.part + ((at * (a.cuts + 1) + (cut < 0 ? a.cuts : cut)) * a.group + first) * (4 + a.c.l.dim);
	}
};

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
		top = __ldcg(state), sum = __ldcg(state + 1);
		if constexpr (N == 4) {
			const float4 v = __ldcg((const float4 *)(state + 4 + at));
			value[0] = v.x, value[1] = v.y, value[2] = v.z, value[3] = v.w;
		} else {
			value[0] = __ldcg(state + 4 + at);
		}
	}
};

// The state of a stream: rows lane/4 and lane/4+8 of 16 query heads, of up to D channels in
// tiles of 8. sum and mid are a lane's own part of theirs.
template <int D> struct stream {
	enum { WORDS = D / 8 + 2 }; // of 16 bytes, of a lane
	float top[2] = {-INFINITY, -INFINITY}, sum[2] = {}, mid[2] = {}, o[D / 8][4] = {};

	// To and from shared memory, each lane its own words.
	__device__ __forceinline__ void save(float4 *to) const {
		to += threadIdx.x % 32;
		to[0] = {top[0], top[1], sum[0], sum[1]}, to[32] = {mid[0], mid[1], 0, 0};
#pragma unroll
		for (int t = 0; t < D / 8; t++) to[32 * (2 + t)] = {o[t][0], o[t][1], o[t][2], o[t][3]};
	}
	__device__ __forceinline__ void add(const float4 *from) {
		from += threadIdx.x % 32;
		const float4 s = from[0], m = from[32];
		const float other[2] = {s.x, s.y}, sums[2] = {s.z, s.w}, mids[2] = {m.x, m.y};
		float x[2], y[2];
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const float most = fmaxf(top[h], other[h]), shift = shift_of(most);
			x[h] = exp2_approx(top[h] - shift), y[h] = exp2_approx(other[h] - shift);
			top[h] = most, sum[h] = sum[h] * x[h] + sums[h] * y[h], mid[h] = mid[h] * x[h] + mids[h] * y[h];
		}
#pragma unroll
		for (int t = 0; t < D / 8; t++) {
			const float4 v = from[32 * (2 + t)];
			o[t][0] = o[t][0] * x[0] + v.x * y[0], o[t][1] = o[t][1] * x[0] + v.y * y[0];
			o[t][2] = o[t][2] * x[1] + v.z * y[1], o[t][3] = o[t][3] * x[1] + v.w * y[1];
		}
	}
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

// By warps that are all there or some. f16 has few exponents: a row is multiplied by a power of 2 that makes its greatest 64 to 128.
template <int KV, int D> __device__ __forceinline__ void load_queries(uint8_t *to, const float *q, int heads, int dim, int warp, int warps) {
	enum { N = (D + 127) / 128, BATCH = 4 };
	const int lane = threadIdx.x % 32;
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

// What a warp has to do of a cut, in shared memory: registers are few.
struct item {
	int t;           // its number
	int cuts, total; // cuts of the row, and with the own one
	bool live;       // whether there is such a cut; of a row that sees nothing, the own one
	int id[32], slot[32];
};

// A stream's blocks, from cut to cut. A block comes as PARTS pieces of its keys, by channels,
// with their scales, the last with the bias; then PARTS pieces of its values, by tokens.
template <int KV, int D, bool EXACT, int PARTS> struct walk {
	enum { PER = per_chunk(KV), CODED = coded(KV), TWO = !CODED, NX = 64 / PER / 2, VX = D / PER / 2, FOUND = 5 };
	static_assert(EXACT || PARTS == 1);
	const attend_args &a;
	const int dim, block, warp, warps;
	const plane<EXACT, 64 / PER, CODED> keys;
	const plane<EXACT, D / PER, CODED> values;
	uint8_t *const ring;
	const uint8_t *q;
	const uint32_t magic;
	item *now, *then;     // what is computed, and what comes after it
	int n = 0, after = 0; // their blocks
	int stage = FOUND;    // how far then has been found
	bool known = false;   // whether there is a then
	bool ahead = false;   // whether pieces are asked for then
	int next = 0;         // piece to be asked for
	int put = 0, got = 0; // its place in the ring; place of the piece that is used
	int out = 0;          // pieces from got on that have been asked for
	int pos, seat, count, last, number;

	__device__ __forceinline__ walk(const attend_args &a, item *items, uint8_t *q, uint8_t *ring)
		: a(a), dim(EXACT ? D : a.c.l.dim), block(EXACT ? 64 : a.c.l.block), warp(threadIdx.x / 32), warps(blockDim.x / 32), keys(block / PER),
		  values(dim / PER), ring(ring), q(q), magic(ones()), now(items), then(items + 1) {}

	__device__ __forceinline__ void follow(int t) {
		__syncwarp();
		then->t = t, then->live = false, after = 0;
		stage = t < a.items ? 0 : FOUND, known = true;
		__syncwarp();
	}

	// Finds out more of what follows. A step uses what the one before has asked for.
	__device__ __forceinline__ void find() {
		const int lane = threadIdx.x % 32;
		const place p(a, then->t);
		switch (stage++) {
		case 0:
			pos = a.rows.pos[p.row], seat = a.rows.seat[p.row], count = a.sel.count[p.at];
			break;
		case 1: {
			const int i = p.cut * cut_of(a, count < 0 ? pos / block + 1 : count) + warp + warps * lane;
			const int *blocks = a.sel.blocks + p.at * a.sel.places;
			if (pos < 0)
				stage = FOUND;
			else if (count < 0)
				last = pos / block, number = i;
			else
				last = count > 0 ? blocks[count - 1] : -1, number = p.cut >= 0 && i < count ? blocks[i] : 0;
			break;
		}
		case 2: {
			const bool own = last == pos / block;
			const int length = count < 0 ? pos / block + 1 : count, rest = length - own, cut = cut_of(a, length);
			const int cuts = (rest + cut - 1) / cut, total = cuts + own, left = min(rest, (p.cut + 1) * cut) - p.cut * cut - warp;
			after = p.cut >= 0 && left > 0 ? (left + warps - 1) / warps : 0;
			then->cuts = cuts, then->total = total, then->live = p.cut < 0 ? own || total == 0 : p.cut < cuts;
			if (lane < after) number = block_id(a.c, seat, p.head, number);
			break;
		}
		case 3:
			if (lane < after) {
				then->id[lane] = number;
				number = a.c.slot_of[number];
			}
			break;
		default:
			if (lane < after) then->slot[lane] = number;
			__syncwarp();
		}
	}
	__device__ __forceinline__ void found() {
		while (stage < FOUND) find();
	}

	// Asks for the next piece, if there is one.
	__device__ __forceinline__ bool ask() {
		if (!ahead && next == 2 * PARTS * n) {
			if (!known) return false;
			found();
			ahead = true, next = 0;
		}
		const int k = next / (2 * PARTS), part = next % (2 * PARTS);
		if (k == (ahead ? after : n)) return false;
		const item *x = ahead ? then : now;
		const uint8_t *from = a.c.slots + (size_t)x->slot[k] * a.c.l.block_bytes;
		uint8_t *to = ring + put * a.piece;
		const int half = dim * keys.chunks * 16, pairs = 2 * half;
		if (part < PARTS) {
			const int rows = dim / PARTS;
			keys.fetch(to, from + (size_t)(part * rows * keys.chunks * 16), rows);
			to += rows * keys.stride;
			if (CODED) fetch_line(to, from + pairs + 8 * part * rows, 8 * rows), to += 8 * rows;
			if (part == PARTS - 1 && a.c.score) fetch_line(to, a.c.score + (size_t)x->id[k] * block, 4 * block);
		} else {
			const int rows = block / PARTS, p = part - PARTS;
			values.fetch(to, from + (size_t)(half + p * rows * values.chunks * 16), rows);
			if (CODED) fetch_line(to + rows * values.stride, from + pairs + 8 * (dim + p * rows), 8 * rows);
		}
		cp_async_commit();
		next++, out++;
		put = put + 1 == a.ring ? 0 : put + 1;
		return true;
	}
	// Fills the ring, after one step of what follows.
	__device__ __forceinline__ void fill() {
		if (stage < FOUND) find();
		while (out < a.ring && ask()) {}
	}
	// Goes on to what follows, all of now having been asked for.
	__device__ __forceinline__ void go_on() {
		item *const free = now;
		now = then, then = free, n = after;
		if (!ahead) next = 0;
		ahead = known = false;
	}
	// The piece that comes next in use, and its end.
	__device__ __forceinline__ const uint8_t *have() const { return ring + got * a.piece; }
	__device__ __forceinline__ void done() { got = got + 1 == a.ring ? 0 : got + 1, out--; }

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

	__device__ __forceinline__ void run(stream<D> &r) {
		const int lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
		const int e = lane % 8, second = lane / 8 % 2; // row of a matrix; first or second eight rows
		const int row = CODED ? e / 2 * 4 + e % 2 + 2 * second : e + 8 * second;
		const int klane = keys.lane(row, lane / 16), vlane = values.lane(row, lane / 16);
		const float *factor = (const float *)(q + query_bytes(dim));
		for (int k = 0; k < n; k++) {
			const int halves = EXACT ? 1 : (block + 63) / 64;
			if (!EXACT) wait_pieces(out - 2); // keys and values: each half needs both
			for (int half = 0; half < halves; half++) {
				float s[8][4] = {}, mid[2] = {}, mul[2] = {factor[i], factor[i + 8]}, add_[2];
				const uint8_t *piece = have();
#pragma unroll
				for (int part = 0; part < PARTS; part++) {
					if (EXACT) wait_pieces(out - 1), piece = have();
					logits(s, mid, piece, part, half, klane);
					if (part == PARTS - 1) {
#pragma unroll
						for (int h = 0; h < 2; h++) add_[h] = CODED ? quad_sum(mid[h]) * mul[h] : 0;
						if (a.c.score) bias(s, (const float *)(piece + dim / PARTS * (keys.stride + (CODED ? 8 : 0))), mul, add_, half);
					}
					if (EXACT) {
						__syncwarp();
						done();
						fill();
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
					if (EXACT && g % EACH == 0) wait_pieces(out - 1), piece = have();
					if (has_group(half, g)) {
						const int at = 16 * (EXACT ? g % EACH : group_of(half, g));
						uint32_t w[4];
						weights(w, s, g, (const float4 *)(piece + block / PARTS * values.stride + 8 * (at + 4 * j)), r);
						add(r, w, piece, at, vlane);
					}
					if (EXACT && g % EACH == EACH - 1) {
						__syncwarp();
						done();
						fill();
					}
				}
			}
			if (!EXACT) {
				__syncwarp();
				done();
				done();
				fill();
			}
		}
	}
};

// The own block: 16 tokens from those of the stream on, then those streams of the cut on. Tile t has tokens and
// channels t % 2 + 2·column of 16.
template <int D, bool EXACT> __device__ __noinline__ stream<D> own_block(const attend_args &a, const place &p, int from, const uint8_t *q) {
	stream<D> r;
	const int dim = EXACT ? D : a.c.l.dim, block = EXACT ? 64 : a.c.l.block, lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
	const int seat = a.rows.seat[p.row], pos = a.rows.pos[p.row], own = pos / block, seen = pos % block + 1;
	const float *keys = tail_of(a.c, seat, p.head), *values = keys + dim * block, *factor = (const float *)(q + query_bytes(dim));
	const float *bias = a.c.score ? a.c.score + (size_t)block_id(a.c, seat, p.head, own) * block : nullptr;
	const uint8_t *at = q + lane % 16 * part_stride(dim) + lane / 16 * 16;
	for (int u = 16 * from; u < seen; u += 16 * a.streams) {
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
			if (bias && token < seen) v = fmaf(v, mul[x % 4 / 2], bias[token] * 1.44269504f);
			if (token >= seen) v = -INFINITY;
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
				v[x / 4][x % 4] = (EXACT || d < dim) && token < seen ? *(const float2 *)(values + token * dim + d) : float2{};
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
	return r;
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

// The cuts of a query head, h of the row's KV head, and the quotient: zeros where nothing was
// seen. A lane has N channels at a time.
template <int N> __device__ __forceinline__ void merge(const attend_args &a, size_t at, int h, int cuts, int total) {
	enum { BATCH = 9 };
	const int dim = a.c.l.dim;
	const size_t stride = (size_t)a.group * (4 + dim);
	const float *part = a.part + at * (a.cuts + 1) * stride + h * (4 + dim);
	for (int d = N * (threadIdx.x % 32); d < dim; d += 32 * N) {
		sums<N> sum = {-INFINITY, 0};
		for (int from = 0; from < total; from += BATCH) {
			sums<N> s[BATCH];
#pragma unroll
			for (int i = 0; i < BATCH; i++)
				if (from + i < total) s[i].read(part + (from + i < cuts ? from + i : a.cuts) * stride, d);
#pragma unroll
			for (int i = 0; i < BATCH; i++) {
				if (from + i >= total) break;
				if (from + i == 0)
					sum = s[i];
				else
					sum.add(s[i]);
			}
		}
		__nv_bfloat16 *out = a.out + (at * a.group + h) * dim + d;
		float v[N];
#pragma unroll
		for (int i = 0; i < N; i++) v[i] = sum.sum != 0 ? sum.value[i] / sum.sum : 0;
		if constexpr (N == 4)
			*(uint2 *)out = {bf16_pair(v[0], v[1]), bf16_pair(v[2], v[3])};
		else
			*out = __float2bfloat16_rn(v[0]);
	}
}

// The next item of a thread block. After the last there is one more for each, who then asks no
// longer: with the last of them all is as it was.
__device__ __forceinline__ int take(const attend_args &a) {
	const unsigned before = atomicAdd(&taken, 1u);
	if (before == a.items - 1) taken = 0;
	return gridDim.x + before;
}

template <int KV, int D, bool EXACT> __device__ __noinline__ void load_queries_of(const attend_args &a, const item &x, uint8_t *to, int warp, int warps) {
	if (!x.live) return;
	const place p(a, x.t);
	if (p.cut < 0)
		load_queries<KV_BF16, D>(to, p.q(a), p.heads(a), EXACT ? D : a.c.l.dim, warp, warps);
	else
		load_queries<KV, D>(to, p.q(a), p.heads(a), EXACT ? D : a.c.l.dim, warp, warps);
}

// grid    up to items, of which it takes all
// block   32·streams: 1, 2 or 4
// shared  queries, 16 factors, places for streams/2 states, streams rings
template <int KV, int D, bool EXACT, int PARTS> __device__ __forceinline__ void attend(const attend_args &a) {
	extern __shared__ uint4 memory[];
	__shared__ int ticket;    // the item after the one that is known
	__shared__ bool complete; // whether all of a row has been written
	__shared__ item items[STREAMS][2];
	uint8_t *shared = (uint8_t *)memory;
	const int dim = EXACT ? D : a.c.l.dim, warp = threadIdx.x / 32, lane = threadIdx.x % 32, warps = blockDim.x / 32;
	float4 *states = (float4 *)(shared + query_bytes(dim) + 4 * HEADS);
	float4 *mine = states + warp / 2 * 32 * stream<D>::WORDS;
	walk<KV, D, EXACT, PARTS> w(a, items[warp], shared, (uint8_t *)(states + warps / 2 * 32 * stream<D>::WORDS) + (size_t)warp * a.ring * a.piece);
	if (threadIdx.x == blockDim.x - 1) ticket = take(a);
	w.follow(blockIdx.x);
	w.found();
	w.go_on();
	w.fill();
	load_queries_of<KV, D, EXACT>(a, *w.now, shared, warp, warps);
	__syncthreads();
	for (; w.now->t < a.items; w.go_on()) {
		const bool some = w.now->live && w.now->total > 0;
		w.follow(ticket);
		stream<D> r;
		if (some && w.n == 0 && w.now->t % (1 + a.cuts) == 0)
			r = own_block<D, EXACT>(a, place(a, w.now->t), warp, shared);
		else
			w.run(r);
		w.found();
		w.fill();
		// States of the second of each pair go to the first.
		for (int s = 1; some && s < warps; s *= 2) {
			if (warp % (2 * s) == s) r.save(mine);
			__syncthreads();
			if (warp % (2 * s) == 0) r.add(mine + s / 2 * 32 * stream<D>::WORDS);
		}
		if (!some || warps == 1) __syncthreads();
		const place p(a, w.now->t);
		// Nobody needs the queries and the ticket any more.
		if (threadIdx.x == blockDim.x - 1 && w.then->t < a.items) ticket = take(a);
		if (warp == 0) {
			bool all = w.now->live;
			if (some) {
				if (p.cut < 0)
					write_stream<KV_F32, D>(r, p.part(a, p.cut), p.heads(a), dim);
				else
					write_stream<KV, D>(r, p.part(a, p.cut), p.heads(a), dim);
				__threadfence();
				__syncwarp();
				if (lane == 0) {
					all = atomicAdd(&arrived[p.group], 1u) == w.now->total - 1;
					if (all) arrived[p.group] = 0;
				}
			}
			if (lane == 0) complete = all;
		}
		if (warp > 0 || warps == 1) load_queries_of<KV, D, EXACT>(a, *w.then, shared, max(warp - 1, 0), max(warps - 1, 1));
		__syncthreads();
		if (complete) {
			__threadfence();
			for (int h = warp; h < p.heads(a); h += warps) merge<4>(a, p.at, p.first + h, w.now->cuts, w.now->total);
		}
	}
}

#define ATTEND(name, KV, D, EXACT, PARTS, blocks) \
	extern "C" __global__ void __launch_bounds__(32 * STREAMS, blocks) attend_##name(const __grid_constant__ attend_args a) { attend<KV, D, EXACT, PARTS>(a); }
#define SHAPES(name, KV, parts128, blocks128, parts64) \
	ATTEND(name##_128, KV, 128, true, parts128, blocks128) ATTEND(name##_64, KV, 64, true, parts64, 4) \
	ATTEND(name##_upto128, KV, 128, false, 1, 2) ATTEND(name##_upto256, KV, 256, false, 1, 1)
SHAPES(bf16, KV_BF16, 4, 2, 2)
SHAPES(f16, KV_F16, 4, 2, 2)
SHAPES(q8, KV_Q8, 2, 3, 1)
SHAPES(q4, KV_Q4, 1, 3, 1)
ATTEND(bf16_128_p2, KV_BF16, 128, true, 2, 2)
ATTEND(bf16_128_b3, KV_BF16, 128, true, 4, 3)
ATTEND(q8_128_b2, KV_Q8, 128, true, 2, 2)
ATTEND(q4_128_b2, KV_Q4, 128, true, 1, 2)

// What the kernels above have no form for: f32 blocks, and shapes that are no whole matrices.
// A cut's blocks go one after the other, four query heads at a time.
// grid    (1+cuts, heads·⌈group/4⌉, n)   block 128
// shared  4·block floats
template <int KV> __device__ __forceinline__ void attend_plainly(const attend_args &a) {
	enum { FEW = 4 };
	extern __shared__ float weight[]; // [4, block]
	__shared__ float decay[FEW];
	const layout &f = a.c.l;
	const int dim = f.dim, tid = threadIdx.x, row = blockIdx.z, passes = (a.group + FEW - 1) / FEW;
	const int head = blockIdx.y / passes, first = blockIdx.y % passes * FEW, heads = min(FEW, a.group - first), cut = (int)blockIdx.x - 1;
	const int pos = a.rows.pos[row];
	if (pos < 0) return;
	const size_t at = (size_t)row * f.heads + head;
	const list l(a, pos, at);
	if (cut < 0 ? !l.with_own : cut >= l.cuts()) return;
	const float *q = a.q + (at * a.group + first) * dim;
	float *part = a.part + ((at * (a.cuts + 1) + (cut < 0 ? a.cuts : cut)) * a.group + first) * (4 + dim);
	const float factor = 1.44269504f / sqrtf((float)dim);
	const int from = cut * l.cut, to = cut < 0 ? from + 1 : min(l.rest, from + l.cut);
	for (int i = from; i < to; i++) {
		const bool own = cut < 0;
		const int number = own ? l.own : l.blocks ? l.blocks[i] : i, seen = own ? l.seen : f.block;
		const int id = block_id(a.c, a.rows.seat[row], head, number);
		const uint8_t *data = own ? (const uint8_t *)tail_of(a.c, a.rows.seat[row], head) : a.c.slots + (size_t)a.c.slot_of[id] * f.block_bytes;
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

// Then the cuts, a warp a query head.
// grid (⌈heads·group / 4⌉, n)   block 128
extern "C" __global__ void __launch_bounds__(128) attend_merge(const __grid_constant__ attend_args a) {
	const int row = blockIdx.y, h = blockIdx.x * 4 + threadIdx.x / 32;
	const int pos = a.rows.pos[row];
	if (h >= a.c.l.heads * a.group || pos < 0) return;
	const size_t at = (size_t)row * a.c.l.heads + h / a.group;
	const list l(a, pos, at);
	merge<1>(a, at, h % a.group, l.cuts(), l.cuts() + l.with_own);
}
