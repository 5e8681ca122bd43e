// Attention of a step's rows to blocks of 64 tokens of 64 or 128 channels, bf16, f16 or codes: see attend.cuh.
// splits  the warps of a thread block go through a cut's blocks together, so that each comes
//         once and whole: of the logits a warp has 16 tokens, of the values a fourth of the
//         channels. Between the two they tell each other in shared memory how great logits are,
//         and then weights. So a cut has one state, which lies in registers of all four and is
//         written from there.
// walk    blocks come through a ring of halves, keys and values, by cp.async: of bf16 two halves,
//         32 KiB, are on their way in each of three thread blocks of a multiprocessor
// bytes   of 96 rows that select 64 blocks 403 MB, 95 us at the 4.25 TB/s that memory gives to
//         such reads
#include "attend.cuh"

// What the warps of a cut tell each other, behind their ring.
struct told {
	uint4 weights[STREAMS][32];       // of 16 tokens each, as A
	float top[HEADS][STREAMS];        // of a warp's logits
	float mid[HEADS][STREAMS];        // of codes, its part of the sum of q times what is left of keys
	float sums[2][HEADS][STREAMS];    // of weights, and of weights times what is left of values
	int slot[MOST_CUT], id[MOST_CUT]; // of the cut's blocks
};

// The queries of 16 heads, and what their products are multiplied by. In two parts as A, all
// of them in each warp; or, of codes, f32, of a fourth of the channels, from which a block's
// scales make A: four neighbours of the rows lane/4 and lane/4+8.
template <int KV, int D, bool CODED = coded(KV)> struct queries {
	uint32_t hi[D / 16][4], lo[D / 16][4];
	float factor[2];
	float2 v[D / 16][4];
	__device__ __forceinline__ void load(const float *q, int heads) {
		const int lane = threadIdx.x % 32, i = lane / 4, j = lane % 4;
#pragma unroll
		for (int s = 0; s < D / 16; s++)
#pragma unroll
			for (int x = 0; x < 4; x++) {
				const int r = i + x % 2 * 8;
				v[s][x] = r < heads ? *(const float2 *)(q + r * D + 16 * s + 2 * j + x / 2 * 8) : float2{};
			}
	}
	__device__ __forceinline__ void split(told &) {
		float up[2] = {1, 1}, down[2] = {1, 1};
		if (KV == KV_F16) {
#pragma unroll
			for (int h = 0; h < 2; h++) {
				float top = 0;
#pragma unroll
				for (int s = 0; s < D / 16; s++) top = fmaxf(top, fmaxf(fmaxf(fabsf(v[s][h].x), fabsf(v[s][h].y)), fmaxf(fabsf(v[s][h + 2].x), fabsf(v[s][h + 2].y))));
				power_for_f16(quad_max(top), up[h], down[h]);
			}
		}
#pragma unroll
		for (int h = 0; h < 2; h++) factor[h] = down[h] * (1.44269504f / sqrtf((float)D));
#pragma unroll
		for (int s = 0; s < D / 16; s++)
#pragma unroll
			for (int x = 0; x < 4; x++) {
				parts<KV == KV_F16>(v[s][x].x * up[x % 2], v[s][x].y * up[x % 2], hi[s][x], lo[s][x]);
				computed(hi[s][x]), computed(lo[s][x]);
			}
	}
};
template <int KV, int D> struct queries<KV, D, true> {
	float factor[2];
	float4 v[D / 64][2];
	__device__ __forceinline__ void load(const float *q, int heads) {
		const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = lane / 4, j = lane % 4;
#pragma unroll
		for (int s = 0; s < D / 64; s++)
#pragma unroll
			for (int h = 0; h < 2; h++) v[s][h] = i + 8 * h < heads ? *(const float4 *)(q + (i + 8 * h) * D + D / STREAMS * warp + 16 * s + 4 * j) : float4{};
	}
	__device__ __forceinline__ void split(told &b) {
		const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = lane / 4, j = lane % 4;
#pragma unroll
		for (int h = 0; h < 2; h++) {
			float top = 0;
#pragma unroll
			for (int s = 0; s < D / 64; s++) top = fmaxf(top, fmaxf(fmaxf(fabsf(v[s][h].x), fabsf(v[s][h].y)), fmaxf(fabsf(v[s][h].z), fabsf(v[s][h].w))));
			top = quad_max(top);
			if (j == 0) b.top[i + 8 * h][warp] = top;
		}
		__syncthreads();
#pragma unroll
		for (int h = 0; h < 2; h++) {
			float up = 1, down = 1, top = 0;
#pragma unroll
			for (int x = 0; x < STREAMS; x++) top = fmaxf(top, b.top[i + 8 * h][x]);
			power_for_f16(top, up, down);
			factor[h] = down * (1.44269504f / sqrtf((float)D));
#pragma unroll
			for (int s = 0; s < D / 64; s++) v[s][h].x *= up, v[s][h].y *= up, v[s][h].z *= up, v[s][h].w *= up;
		}
	}
};

__device__ __forceinline__ float four_sum(const float *p) {
	const float4 v = *(const float4 *)p;
	return (v.x + v.y) + (v.z + v.w);
}

// Codes of 16 columns, or of those of a half's: the tiles of even and of odd ones. shift
// brings the half of a byte to its low place.
template <int KV> __device__ __forceinline__ void tiles_of(uint32_t (&b)[2][2], const uint32_t *w, uint32_t ones, int shift) {
#pragma unroll
	for (int t = 0; t < 2; t++)
#pragma unroll
		for (int x = 0; x < 2; x++) b[t][x] = KV == KV_Q8 ? of_bytes(w[x], ones, t) : of_halves(w[x] >> shift, ones, t, false);
}

// The own block, f32: queries, keys, weights and values are in two parts of bf16. Tile t has
// tokens and channels t + 2·column of 16.
template <int D> __device__ __forceinline__ void own_block(const attend_args &a, const list &l, int seat, int head, const float *q, int heads, float *state, told &b) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, i = lane / 4, j = lane % 4, u = 16 * warp;
	const float *keys = tail_of(a.c, seat, head) + u + 2 * i, *values = tail_of(a.c, seat, head) + 64 * D + 4 * j * D + D / STREAMS * warp + 2 * i;
	const float *bias = a.c.score ? a.c.score + (size_t)block_id(a.c, seat, head, l.own) * 64 : nullptr, root = 1.44269504f / sqrtf((float)D);
	float s[2][4] = {};
	if (u < l.seen) {
#pragma unroll
		for (int step = 0; step < D / 16; step += 2) {
			float2 k[2][4], x[2][4];
#pragma unroll
			for (int y = 0; y < 8; y++) {
				const int d = 16 * (step + y / 4) + 2 * j, r = i + y % 2 * 8;
				k[y / 4][y % 4] = *(const float2 *)(keys + (d + y % 2 + y % 4 / 2 * 8) * 64);
				x[y / 4][y % 4] = r < heads ? *(const float2 *)(q + r * D + d + y % 4 / 2 * 8) : float2{};
			}
#pragma unroll
			for (int y = 0; y < 2; y++) {
				uint32_t hi[4], lo[4], khi[2][2], klo[2][2];
#pragma unroll
				for (int h = 0; h < 4; h++) parts<false>(x[y][h].x, x[y][h].y, hi[h], lo[h]);
#pragma unroll
				for (int h = 0; h < 2; h++) {
					parts<false>(k[y][2 * h].x, k[y][2 * h + 1].x, khi[0][h], klo[0][h]);
					parts<false>(k[y][2 * h].y, k[y][2 * h + 1].y, khi[1][h], klo[1][h]);
				}
#pragma unroll
				for (int t = 0; t < 2; t++) {
					mma_bf16_m16n8k16(s[t], hi, khi[t]);
					mma_bf16_m16n8k16(s[t], hi, klo[t]);
					mma_bf16_m16n8k16(s[t], lo, khi[t]);
				}
			}
		}
	}
#pragma unroll
	for (int x = 0; x < 8; x++) {
		const int token = u + 4 * j + x % 2 * 2 + x / 4;
		float &v = s[x / 4][x % 4];
		v = token < l.seen ? v * root + (bias ? bias[token] * 1.44269504f : 0) : -INFINITY;
	}
#pragma unroll
	for (int h = 0; h < 2; h++) {
		const float top = quad_max(fmaxf(fmaxf(s[0][2 * h], s[0][2 * h + 1]), fmaxf(s[1][2 * h], s[1][2 * h + 1])));
		if (j == 0) b.top[i + 8 * h][warp] = top;
	}
	__syncthreads();
	uint4(&low)[STREAMS][32] = *(uint4(*)[STREAMS][32])(&b + 1); // the second parts
	float top[2];
	uint32_t hi[4], lo[4];
#pragma unroll
	for (int h = 0; h < 2; h++) {
		const float4 v = *(const float4 *)b.top[i + 8 * h];
		top[h] = fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w));
#pragma unroll
		for (int x = 0; x < 4; x++) {
			float &p = s[x / 2][2 * h + x % 2];
			p = exp2_approx(p - shift_of(top[h]));
		}
		const float sum = quad_sum((s[0][2 * h] + s[1][2 * h]) + (s[0][2 * h + 1] + s[1][2 * h + 1]));
		if (j == 0) b.sums[0][i + 8 * h][warp] = sum;
		parts<false>(s[0][2 * h], s[1][2 * h], hi[h], lo[h]);
		parts<false>(s[0][2 * h + 1], s[1][2 * h + 1], hi[2 + h], lo[2 + h]);
	}
	b.weights[warp][lane] = {hi[0], hi[1], hi[2], hi[3]};
	low[warp][lane] = {lo[0], lo[1], lo[2], lo[3]};
	__syncthreads();
	float o[D / 32][4] = {};
#pragma unroll
	for (int g = 0; g < 4; g++) {
		if (16 * g >= l.seen) break;
		float2 v[D / 64][4];
#pragma unroll
		for (int x = 0; x < D / 16; x++) v[x / 4][x % 4] = 16 * g + 4 * j + x % 4 < l.seen ? *(const float2 *)(values + (16 * g + x % 4) * D + 16 * (x / 4)) : float2{};
		const uint4 p = b.weights[g][lane], r = low[g][lane];
		const uint32_t whi[4] = {p.x, p.y, p.z, p.w}, wlo[4] = {r.x, r.y, r.z, r.w};
#pragma unroll
		for (int x = 0; x < D / 64; x++) {
			uint32_t vhi[2][2], vlo[2][2];
#pragma unroll
			for (int h = 0; h < 2; h++) {
				parts<false>(v[x][2 * h].x, v[x][2 * h + 1].x, vhi[0][h], vlo[0][h]);
				parts<false>(v[x][2 * h].y, v[x][2 * h + 1].y, vhi[1][h], vlo[1][h]);
			}
#pragma unroll
			for (int t = 0; t < 2; t++) {
				mma_bf16_m16n8k16(o[2 * x + t], whi, vhi[t]);
				mma_bf16_m16n8k16(o[2 * x + t], whi, vlo[t]);
				mma_bf16_m16n8k16(o[2 * x + t], wlo, vhi[t]);
			}
		}
	}
#pragma unroll
	for (int h = 0; h < 2; h++) {
		if (i + 8 * h >= heads) continue;
		float *to = state + (i + 8 * h) * (4 + D);
		if (warp == 0 && j == 0) *(float2 *)to = {top[h], four_sum(b.sums[0][i + 8 * h])};
#pragma unroll
		for (int x = 0; x < D / 64; x++) {
			const float *y = o[2 * x] + 2 * h, *z = o[2 * x + 1] + 2 * h;
			*(float4 *)(to + 4 + D / STREAMS * warp + 16 * x + 4 * j) = {y[0], z[0], y[1], z[1]};
		}
	}
}

// grid    (1+cuts, heads·⌈group/16⌉, n, or 2n for both waves): the own block, then the cuts
// block   128
// shared  ring, told, of codes queries by scales
template <int KV, int D> __device__ __forceinline__ void attend(const attend_args &a) {
	enum { CODED = coded(KV), PER = per_chunk(KV), KC = 64 / PER, VC = D / PER, HALF = D * KC * 16, PAIRS = CODED ? 8 * (D + 64) : 0 };
	extern __shared__ uint4 memory[];
	uint8_t *shared = (uint8_t *)memory;
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, i = lane / 4, j = lane % 4;
	const int row = row_of(a), passes = (a.group + HEADS - 1) / HEADS, head = blockIdx.y / passes, first = blockIdx.y % passes * HEADS;
	const int cut = (int)blockIdx.x - 1, heads = min(HEADS, a.group - first);
	const int pos = a.rows.pos[row], seat = a.rows.seat[row];
	begin(a);
	if (pos < 0) return;
	const size_t at = (size_t)row * a.c.l.heads + head;
	const list l(a, pos, at);
	// The blocks are looked up before it is known whether all of them are there.
	const int place = cut * l.cut + tid, id = cut < 0 || tid >= l.cut || place >= l.all ? -1 : block_id(a.c, seat, head, l.blocks ? l.blocks[place] : place);
	if (cut < 0 ? !l.with_own : cut >= l.cuts()) return;
	if (of_other_wave(a, l, row, head, cut)) return;
	const float *q = a.q + (at * a.group + first) * D;
	const int width = 4 + D;
	float *const state = a.part + ((at * (a.cuts + 1) + (cut < 0 ? a.cuts : cut)) * a.group + first) * width;
	told &b = *(told *)(shared + a.ring * a.piece);
	if (cut < 0) return own_block<D>(a, l, seat, head, q, heads, state, b);
	uint4 *const scaled = (uint4 *)(&b + 1); // [dim/16, 32] of codes, queries by a block's scales, as A
	const int n = min(l.rest - cut * l.cut, l.cut);
	queries<KV, D> of;
	of.load(q, heads);
	if (tid < n) b.id[tid] = id, b.slot[tid] = max(__ldcg(a.c.slot_of + id), 0); // whose block is nowhere is told by the pool
	__syncthreads();

	const plane<true, KC, CODED> keys(KC);
	const plane<true, VC, CODED> values(VC);
	const int kto = keys.lane(tid / KC, tid % KC), vto = values.lane(tid / VC, tid % VC), end = a.ring * a.piece;
	int asked = 0, put = 0, got = 0; // block to be asked for; places in the ring
	const uint8_t *data;
	const auto copy = [&](uint8_t *to) {
#pragma unroll
		for (int x = 0; x < HALF / 2048; x++) cp_async_16(to + 2048 * x, data + 2048 * x);
	};
	// Groups are counted, so that there is one also where there is no piece left.
	const auto asked_piece = [&] {
		cp_async_commit();
		put = put + a.piece == end ? 0 : put + a.piece;
	};
	const auto ask_keys = [&] {
		if (asked < n) {
			data = a.c.slots + (size_t)b.slot[asked] * a.c.l.block_bytes + 16 * tid;
			uint8_t *to = shared + put;
			copy(to + kto);
			if (CODED && tid < PAIRS / 16) cp_async_16(to + HALF + 16 * tid, data + 2 * HALF);
			if (a.c.score && tid < 16) cp_async_16(to + HALF + PAIRS + 16 * tid, a.c.score + (size_t)b.id[asked] * 64 + 4 * tid);
		}
		asked_piece();
	};
	const auto ask_values = [&] {
		if (asked < n) data += HALF, copy(shared + put + vto);
		asked_piece();
		asked++;
	};
	// The piece that comes next in use: it is there, and so is what warps told each other. The
	// place of the one before it may be asked for anew.
	const auto next = [&] {
		if (a.ring == 3)
			cp_async_wait<1>();
		else if (a.ring == 5)
			cp_async_wait<3>();
		else
			cp_async_wait<5>();
		__syncthreads();
		const uint8_t *piece = shared + got;
		got = got + a.piece == end ? 0 : got + a.piece;
		return piece;
	};
	for (int x = 0; x < a.ring / 2; x++) ask_keys(), ask_values();
	of.split(b);

	// The row of a lane's matrix; of codes, whose lanes have four neighbours of a row each, the
	// third and the fourth matrix are the next 16 rows.
	const int matrix = CODED ? lane % 8 / 2 * 4 + lane % 2 + lane / 8 % 2 * 2 : lane % 8 + lane / 8 % 2 * 8;
	const int klane = CODED ? keys.lane(matrix + lane / 16 * 16, 0) : keys.lane(matrix, lane / 16);
	const int vlane = CODED && VC / STREAMS < 2 ? values.lane(matrix + lane / 16 * 16, 0) : values.lane(matrix, lane / 16);
	const uint32_t magic = ones();
	stream<D / STREAMS> r;
	for (int e = 0; e < n; e++) {
		const uint8_t *piece = next();
		ask_keys();
		float s[2][4] = {}, mul[2] = {of.factor[0], of.factor[1]}, plus[2] = {};
		if constexpr (CODED) {
			// A of a fourth of the channels, for all warps.
			const float *pairs = (const float *)(piece + HALF) + 2 * (D / STREAMS * warp + 4 * j);
			uint4 *to = scaled + D / 64 * warp * 32 + lane;
			float mid[2] = {};
#pragma unroll
			for (int step = 0; step < D / 64; step++) {
				const float4 x = of.v[step][0], y = of.v[step][1], u = *(const float4 *)(pairs + 32 * step), v = *(const float4 *)(pairs + 32 * step + 4);
				const float p = fmaf(u.y, middle<KV>(), u.x), o = fmaf(u.w, middle<KV>(), u.z), m = fmaf(v.y, middle<KV>(), v.x), t = fmaf(v.w, middle<KV>(), v.z);
				mid[0] = fmaf(x.w, t, fmaf(x.z, m, fmaf(x.y, o, fmaf(x.x, p, mid[0]))));
				mid[1] = fmaf(y.w, t, fmaf(y.z, m, fmaf(y.y, o, fmaf(y.x, p, mid[1]))));
				to[32 * step] = {f16_pair(x.x * u.y, x.y * u.w), f16_pair(y.x * u.y, y.y * u.w), f16_pair(x.z * v.y, x.w * v.w), f16_pair(y.z * v.y, y.w * v.w)};
			}
#pragma unroll
			for (int h = 0; h < 2; h++) {
				mid[h] = quad_sum(mid[h]);
				if (j == 0) b.mid[i + 8 * h][warp] = mid[h];
			}
			__syncthreads();
#pragma unroll
			for (int h = 0; h < 2; h++) plus[h] = four_sum(b.mid[i + 8 * h]) * mul[h];
#pragma unroll
			for (int step = 0; step < D / 16; step += 2) {
				uint32_t w[4], c[2][2];
				ldmatrix_x4_trans(w, piece + keys.at(klane, 16 * step, KV == KV_Q8 ? warp : warp % 2));
#pragma unroll
				for (int x = 0; x < 2; x++) {
					const uint4 q = scaled[32 * (step + x) + lane];
					const uint32_t part[4] = {q.x, q.y, q.z, q.w};
					tiles_of<KV>(c, w + 2 * x, magic, warp / 2 * 4);
					mma<KV>(s[0], part, c[0]), mma<KV>(s[1], part, c[1]);
				}
			}
		} else {
			float t[2][4] = {};
#pragma unroll
			for (int step = 0; step < D / 16; step++) {
				uint32_t w[4];
				ldmatrix_x4_trans(w, piece + keys.at(klane, 16 * step, 2 * warp));
#pragma unroll
				for (int x = 0; x < 2; x++) mma<KV>(s[x], of.hi[step], w + 2 * x), mma<KV>(t[x], of.lo[step], w + 2 * x);
			}
#pragma unroll
			for (int x = 0; x < 8; x++) s[x / 4][x % 4] += t[x / 4][x % 4];
		}
		if (a.c.score) {
			const float *bias = (const float *)(piece + HALF + PAIRS) + 16 * warp;
			float y[2][2];
			if (CODED) {
				const float4 v = *(const float4 *)(bias + 4 * j);
				y[0][0] = v.x, y[1][0] = v.y, y[0][1] = v.z, y[1][1] = v.w;
			} else {
				const float2 u = *(const float2 *)(bias + 2 * j), v = *(const float2 *)(bias + 8 + 2 * j);
				y[0][0] = u.x, y[0][1] = u.y, y[1][0] = v.x, y[1][1] = v.y;
			}
#pragma unroll
			for (int x = 0; x < 8; x++) s[x / 4][x % 4] = fmaf(s[x / 4][x % 4], mul[x % 4 / 2], fmaf(y[x / 4][x % 2], 1.44269504f, plus[x % 4 / 2]));
			mul[0] = mul[1] = 1, plus[0] = plus[1] = 0;
		}
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const float top = quad_max(fmaf(fmaxf(fmaxf(s[0][2 * h], s[0][2 * h + 1]), fmaxf(s[1][2 * h], s[1][2 * h + 1])), mul[h], plus[h]));
			if (j == 0) b.top[i + 8 * h][warp] = top;
		}
		__syncthreads();
		float base[2], decay[2];
#pragma unroll
		for (int h = 0; h < 2; h++) {
			const float4 v = *(const float4 *)b.top[i + 8 * h];
			const float top = fmaxf(r.top[h], fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)));
			const float shift = shift_of(top);
			decay[h] = exp2_approx(r.top[h] - shift), base[h] = plus[h] - shift + boost(KV);
			r.top[h] = top, r.sum[h] *= decay[h], r.mid[h] *= decay[h];
		}
#pragma unroll
		for (int t = 0; t < D / 32; t++)
#pragma unroll
			for (int x = 0; x < 4; x++) r.o[t][x] *= decay[x / 2];
#pragma unroll
		for (int x = 0; x < 8; x++) s[x / 4][x % 4] = exp2_approx(fmaf(s[x / 4][x % 4], mul[x % 4 / 2], base[x % 4 / 2]));
		uint32_t w[4];
		if constexpr (CODED)
			coded_weights<KV>(w, s[0], s[1], (const float4 *)(piece + HALF + 8 * (D + 16 * warp + 4 * j)), r);
		else
			plain_weights<KV>(w, s[0], s[1], r);
		b.weights[warp][lane] = {w[0], w[1], w[2], w[3]};
		piece = next();
		ask_values();
		uint32_t v[4];
#pragma unroll
		for (int g = 0; g < 4; g++) {
			const uint4 p = b.weights[g][lane];
			const uint32_t w[4] = {p.x, p.y, p.z, p.w};
			uint32_t c[2][2];
			if constexpr (!CODED) {
#pragma unroll
				for (int t = 0; t < D / 32; t += 2) {
					ldmatrix_x4_trans(v, piece + values.at(vlane, 16 * g, D / 32 * warp + t));
					mma<KV>(r.o[t], w, v), mma<KV>(r.o[t + 1], w, v + 2);
				}
			} else if constexpr (VC / STREAMS == 2) {
				ldmatrix_x4_trans(v, piece + values.at(vlane, 16 * g, 2 * warp));
#pragma unroll
				for (int t = 0; t < 4; t += 2) {
					tiles_of<KV>(c, v + t, magic, 0);
					mma<KV>(r.o[t], w, c[0]), mma<KV>(r.o[t + 1], w, c[1]);
				}
			} else {
				if (g % 2 == 0) ldmatrix_x4_trans(v, piece + values.at(vlane, 16 * g, warp % VC));
#pragma unroll
				for (int t = 0; t < D / 32; t += 2) {
					tiles_of<KV>(c, v + g % 2 * 2, magic, (int)VC < (int)STREAMS ? warp / 2 * 4 : 2 * t);
					mma<KV>(r.o[t], w, c[0]), mma<KV>(r.o[t + 1], w, c[1]);
				}
			}
		}
	}

#pragma unroll
	for (int h = 0; h < 2; h++) {
		const float sum = quad_sum(r.sum[h]), mid = CODED ? quad_sum(r.mid[h]) : 0;
		if (j == 0) {
			b.sums[0][i + 8 * h][warp] = sum;
			if (CODED) b.sums[1][i + 8 * h][warp] = mid;
		}
	}
	__syncthreads();
#pragma unroll
	for (int h = 0; h < 2; h++) {
		if (i + 8 * h >= heads) continue;
		float *to = state + (i + 8 * h) * width;
		if (warp == 0 && j == 0) *(float2 *)to = {r.top[h] - boost(KV), four_sum(b.sums[0][i + 8 * h])};
		to += 4;
		if constexpr (!CODED) {
#pragma unroll
			for (int t = 0; t < D / 32; t++) *(float2 *)(to + D / STREAMS * warp + 8 * t + 2 * j) = {r.o[t][2 * h], r.o[t][2 * h + 1]};
		} else {
			const float mid = four_sum(b.sums[1][i + 8 * h]);
#pragma unroll
			for (int t = 0; t < D / 32; t += 2) {
				const float *x = r.o[t] + 2 * h, *y = r.o[t + 1] + 2 * h;
				const int d = KV == KV_Q8 ? D / STREAMS * warp + 8 * t : 16 * warp + D / 4 * t;
				*(float4 *)(to + d + 4 * j) = {x[0] + mid, y[0] + mid, x[1] + mid, y[1] + mid};
			}
		}
	}
}

// blocks: thread blocks of a multiprocessor. More of them have fewer registers, and were slower.
#define ATTEND(name, KV, D, blocks) \
	extern "C" __global__ void __launch_bounds__(32 * STREAMS, blocks) attend_##name##_##D(const __grid_constant__ attend_args a) { attend<KV, D>(a); }
#define SHAPES(name, KV, blocks) ATTEND(name, KV, 128, blocks) ATTEND(name, KV, 64, 4)
SHAPES(bf16, KV_BF16, 3)
SHAPES(f16, KV_F16, 3)
SHAPES(q8, KV_Q8, 4)
SHAPES(q4, KV_Q4, 4)
