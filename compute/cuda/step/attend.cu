// Attention of a step's rows to their selected blocks, of any shape, and the sum of cuts: see attend.cuh.
// Of 64 tokens and 64 or 128 channels: attend_joint.cu.
// splits  four streams share a cut's blocks: stream s has the blocks s, s+4 and so on; of the own
//         block it has every fourth 16 tokens. Streams are added in their order. Nothing of the
//         launch enters, not how many streams a thread block has either (4: they are added in
//         shared memory; fewer, where there are few rows: attend_merge adds them, by the same
//         steps).
// walk    a stream is a warp, which waits for no other: its blocks come through a ring of its own
//         in shared memory, in pieces, by cp.async. Logits stay in registers and become A of the
//         second product.
#include "arranged.cuh"
#include "attend.cuh"

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

// Queries in shared memory, 16 rows: two parts [2][16] of dim elements and 16 bytes, or f32
// [16] of dim and 16 elements; then a factor for each row, that what was taken from it comes
// back with.
__device__ __forceinline__ int query_bytes(int dim) { return HEADS * (dim + 16) * 4; }
__device__ __forceinline__ int part_stride(int dim) { return 2 * dim + 16; }

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
				power_for_f16(warp_max(top), up, down);
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
// two pieces: its keys, with their scales and the bias, and its values.
template <int KV, int D> struct walk {
	enum { PER = per_chunk(KV), CODED = coded(KV), TWO = !CODED, NX = 64 / PER / 2, VX = D / PER / 2 };
	const attend_args &a;
	const int dim, block;
	const plane<false, 64 / PER, CODED> keys;
	const plane<false, D / PER, CODED> values;
	uint8_t *const ring;
	const uint8_t *q;
	const uint8_t *data; // of this lane's block
	int id, n;
	const uint32_t magic;
	int next = 0, put = 0, got = 0; // piece to be asked for, its place in the ring; place of the keys that are used

	__device__ __forceinline__ walk(const attend_args &a, uint8_t *q, uint8_t *ring)
		: a(a), dim(a.c.l.dim), block(a.c.l.block), keys(block / PER), values(dim / PER), ring(ring), q(q), magic(ones()) {}

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
		const int k = next / 2;
		if (k < n) {
			const uint8_t *from = (const uint8_t *)__shfl_sync(~0u, (unsigned long long)data, k);
			const int which = __shfl_sync(~0u, id, k);
			uint8_t *to = ring + put * a.piece;
			const int half = dim * keys.chunks * 16, pairs = 2 * half;
			if (next % 2 == 0) {
				keys.fetch(to, from, dim);
				to += dim * keys.stride;
				if (CODED) fetch_line(to, from + pairs, 8 * dim), to += 8 * dim;
				if (a.c.score) fetch_line(to, a.c.score + (size_t)which * block, 4 * block);
			} else {
				values.fetch(to, from + half, block);
				if (CODED) fetch_line(to + block * values.stride, from + pairs + 8 * dim, 8 * block);
			}
		}
		cp_async_commit();
		next++;
		put = put + 1 == a.ring ? 0 : put + 1;
	}
	// Which 16 tokens of the block group g of half is. half is a run of 64 tokens; of q4, two of 32
	// whose codes share bytes.
	__device__ __forceinline__ int group_of(int half, int g) const {
		return KV == KV_Q4 ? g / 2 * (block / 32) + 2 * half + g % 2 : 4 * half + g;
	}
	__device__ __forceinline__ bool has_group(int half, int g) const {
		return KV == KV_Q4 ? 2 * half + g % 2 < block / 32 : 4 * half + g < block / 16;
	}

	// q·k, for 64 tokens.
	__device__ __forceinline__ void logits(float (&s)[8][4], float *mid, const uint8_t *k, int half, int klane) {
		const int lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
		const uint8_t *pairs = k + dim * keys.stride;
#pragma unroll
		for (int step = 0; step < D / 16; step++) {
			if (16 * step >= dim) break;
			const int d = 16 * step;
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
				if (chunk >= keys.chunks) break;
				uint32_t w[4];
				ldmatrix_x4_trans(w, k + keys.at(klane, 16 * step, chunk));
				multiply<KV, 2, TWO>(s, hi, lo, w, magic, c, chunk + 1 < keys.chunks);
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
		if constexpr (CODED)
			coded_weights<KV>(w, x, y, pairs, r);
		else
			plain_weights<KV>(w, x, y, r);
	}

	// The values of 16 tokens, at v, by their weights.
	__device__ __forceinline__ void add(stream<D> &r, const uint32_t *w, const uint8_t *v, int row, int vlane) {
#pragma unroll
		for (int c = 0; c < 2 * VX; c += 2) {
			if (c >= values.chunks) break;
			uint32_t b[4];
			ldmatrix_x4_trans(b, v + values.at(vlane, row, c));
			multiply<KV, D / 32, false>(r.o, w, w, b, magic, c, c + 1 < values.chunks);
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
			wait_pieces(a.ring - 2); // keys and values: each half needs both
			const uint8_t *const piece = ring + got * a.piece, *const v = ring + (got + 1 == a.ring ? 0 : got + 1) * a.piece;
			for (int half = 0; half < (block + 63) / 64; half++) {
				float s[8][4] = {}, mid[2] = {}, mul[2] = {factor[i], factor[i + 8]}, add_[2];
				logits(s, mid, piece, half, klane);
#pragma unroll
				for (int h = 0; h < 2; h++) add_[h] = CODED ? quad_sum(mid[h]) * mul[h] : 0;
				if (a.c.score) bias(s, (const float *)(piece + dim * (keys.stride + (CODED ? 8 : 0))), mul, add_, half);
#pragma unroll
				for (int g = 0; g < 4; g++)
					if (!has_group(half, g))
#pragma unroll
						for (int x = 0; x < 8; x++) s[2 * g + x / 4][x % 4] = -INFINITY;
				weigh<boost(KV)>(s, mul, add_, r);
#pragma unroll
				for (int g = 0; g < 4; g++) {
					if (!has_group(half, g)) continue;
					const int at = 16 * group_of(half, g);
					uint32_t w[4];
					weights(w, s, g, (const float4 *)(v + block * values.stride + 8 * (at + 4 * j)), r);
					add(r, w, v, at, vlane);
				}
			}
			__syncwarp();
			ask();
			ask();
			got = (got + 2) % a.ring;
		}
	}
};

// The own block: every fourth 16 tokens from those of the stream on. Tile t has tokens and
// channels t % 2 + 2·column of 16.
template <int D> __device__ __forceinline__ void own_block(const attend_args &a, const list &l, int row, int head, int from, const uint8_t *q, stream<D> &r) {
	const int dim = a.c.l.dim, block = a.c.l.block, lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
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
				k[x / 4][x % 4] = d < dim ? *(const float2 *)(keys + d * block + u + 2 * i) : float2{};
			}
#pragma unroll
			for (int x = 0; x < 4; x++) {
				if (16 * (step + x) >= dim) break;
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
				v[x / 4][x % 4] = d < dim && token < l.seen ? *(const float2 *)(values + token * dim + d) : float2{};
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

// The states of a thread block's streams, each stride floats on, become one in memory.
__device__ __forceinline__ void add_streams(const float *states, int stride, float *part, int heads, int dim) {
	__syncthreads();
	for (int i = threadIdx.x; i < heads * dim / 4; i += blockDim.x) {
		const int h = i / (dim / 4), d = i % (dim / 4) * 4;
		sums<4> t;
		t.read(states + (size_t)h * (4 + dim), d);
#pragma unroll
		for (int s = 1; s < STREAMS; s++) {
			sums<4> o;
			o.read(states + (size_t)s * stride + (size_t)h * (4 + dim), d);
			t.add(o);
		}
		float *p = part + (size_t)h * (4 + dim);
		if (d == 0) *(float2 *)p = {t.top, t.sum};
		*(float4 *)(p + 4 + d) = {t.value[0], t.value[1], t.value[2], t.value[3]};
	}
}

// grid    ((1+cuts)·STREAMS/warps, heads·⌈group/16⌉, n, or 2n for both waves): the own block, then the cuts
// block   32·warps, warps 1, 2 or 4
// shared  queries, 16 factors, warps rings
template <int KV, int D> __device__ __forceinline__ void attend(const attend_args &a) {
	extern __shared__ uint4 memory[];
	uint8_t *shared = (uint8_t *)memory;
	const int dim = a.c.l.dim, warp = threadIdx.x / 32, warps = blockDim.x / 32, share = STREAMS / warps;
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
		own_block<D>(a, l, row, head, which, shared, r);
		write_stream<KV_F32, D>(r, to, heads, dim);
	} else {
		walk<KV, D> w(a, shared, ring);
		w.find(l, row, head, cut * l.cut + which);
		w.start();
		load_queries<KV, D>(shared, q, heads, dim);
		__syncthreads();
		w.run(r);
		__syncwarp();
		write_stream<KV, D>(r, to, heads, dim);
	}
	if (!a.split) add_streams((const float *)(shared + query_bytes(dim) + 4 * HEADS), a.ring * a.piece / 4, part, heads, dim);
}

#define ATTEND(name, KV, D, blocks) \
	extern "C" __global__ void __launch_bounds__(32 * STREAMS, blocks) attend_##name##_upto##D(const __grid_constant__ attend_args a) { attend<KV, D>(a); }
#define SHAPES(name, KV) ATTEND(name, KV, 128, 2) ATTEND(name, KV, 256, 1)
SHAPES(bf16, KV_BF16)
SHAPES(f16, KV_F16)
SHAPES(q8, KV_Q8)
SHAPES(q4, KV_Q4)

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

// The quotients of a cut that is all of a row's, N channels from at on of all of its heads.
template <int N> __device__ __forceinline__ void put_out(const attend_args &a, int row, int at, const sums<N> &all) {
	float v[N];
#pragma unroll
	for (int i = 0; i < N; i++) v[i] = all.sum != 0 ? all.value[i] / all.sum : 0;
	const auto to = [&](int i) { return a.out + (a.groups ? arranged(row, i, a.groups) : (size_t)row * a.c.l.heads * a.group * a.c.l.dim + i); };
	if constexpr (N == 4) {
		*(uint32_t *)to(at) = bf16_pair(v[0], v[1]);
		*(uint32_t *)to(at + 2) = bf16_pair(v[2], v[3]);
	} else {
		*to(at) = __float2bfloat16_rn(v[0]);
	}
}

// The streams of each cut, the cuts, and the quotient: zeros where nothing was seen. A warp
// has a query head, a lane N channels at a time. EACH: states of a cut.
// grid (⌈heads·group / 4⌉, n)   block 128
template <int N, int EACH> __device__ __forceinline__ void merge(const attend_args &a) {
	enum { BATCH = EACH == 1 ? 9 : 2 * EACH }; // most lists have 9 cuts
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
		put_out(a, row, h * dim + d, total);
	}
}
#define MERGE(N) \
	extern "C" __global__ void __launch_bounds__(128, 5) attend_merge_##N(const __grid_constant__ attend_args a) { \
		allow_later(); \
		if (a.split) \
			merge<N, STREAMS>(a); \
		else \
			merge<N, 1>(a); \
	}
MERGE(4)
MERGE(1)
