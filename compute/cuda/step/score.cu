// How much rows ask for windows: the weights of a softmax that lacks what other chunks have.
// Twin: ScoreBlocks of compute/score.go, up to the sums that choose.cu takes
// how     tensor cores multiply the queries of a group by means; a query is two float16s, which
//         are together as good as float32, at a power of two that its largest channel gives
// bytes   a mean once for each row and KV head, and 8 bytes for each query and window
// order   a product is a sum over channels in the hardware's order; a chunk's sum knows how many
//         windows the row has in it
#include "../ptx.cuh"
#include "score.cuh"

enum {
	WARPS = CHUNK / 32,    // a warp has 32 segments; one more has those that the last windows reach into
	QUERIES = 16,          // rows of a product
	AT_ONCE = 3,           // thread blocks on a multiprocessor
	EACH = 2 * WARPS,      // threads that have a query
	ROW = CHUNK + 40,      // of parts: CHUNK + 32 segments, and rows that begin in different banks
};

struct score_args {
	scoring s;
	const float *q; // [n, heads·group, dim]
	float scale;    // log₂e / (span·√dim)
};

// One lane's share of the means of 32 segments, as the right side of products: 4 tiles of 8
// segments, of which lane / 4 names one, and of each 16 channels four neighbours. Since
// queries are laid out likewise, which four does not matter.
template <int STEPS> struct means {
	uint2 v[4][STEPS];
};

// The segment of a tile's column. Where segments are even in number a lane loads two
// neighbours at once, and they are columns of two tiles.
template <bool PAIRS> __device__ __forceinline__ int segment_of(int tile, int column) {
	return PAIRS ? 16 * (tile / 2) + 2 * column + tile % 2 : 8 * tile + column;
}

template <int STEPS, bool PAIRS> __device__ __forceinline__ void load(means<STEPS> &m, const step_cache &c, int seat, int head, int from, int end) {
	const int lane = threadIdx.x % 32, segs = c.l.segments;
	int seg[4], id[4];
	const uint8_t *at[4];
#pragma unroll
	for (int t = 0; t < 4; t += 1 + PAIRS) { // all on their way before the first is waited for
		seg[t] = from + segment_of<PAIRS>(t, lane / 4);
		id[t] = block_id(c, seat, head, min(seg[t], end - 1) / segs);
	}
#pragma unroll
	for (int t = 0; t < 4; t += 1 + PAIRS)
		at[t] = seg[t] < end ? c.means + (size_t)id[t] * c.l.summary_bytes + 8 * (lane % 4 * segs + seg[t] % segs) : nullptr;
#pragma unroll
	for (int t = 0; t < 4; t += 1 + PAIRS)
#pragma unroll
		for (int k = 0; k < STEPS; k++) {
			if constexpr (PAIRS) {
				const uint4 v = at[t] ? load_stream_16(at[t] + 32 * segs * k) : uint4{};
				m.v[t][k] = {v.x, v.y}, m.v[t + 1][k] = {v.z, v.w};
			} else {
				m.v[t][k] = at[t] ? *(const uint2 *)(at[t] + 32 * segs * k) : uint2{};
			}
		}
}

// The left side of products: 16 queries, by step, of the larger and the smaller float16,
// by lane.
template <int STEPS> struct queries {
	uint32_t v[STEPS][2][32][4];
};

__device__ __forceinline__ uint32_t halves(float a, float b, float &rest_a, float &rest_b) {
	const __half x = __float2half_rn(a), y = __float2half_rn(b);
	rest_a = a - __half2float(x), rest_b = b - __half2float(y);
	return __half_as_ushort(x) | (uint32_t)__half_as_ushort(y) << 16;
}

// A thread's share of a query: of EACH threads, four channels at a time.
template <int STEPS> struct share {
	enum { FOURS = (4 * STEPS + EACH - 1) / EACH };
	float4 v[FOURS];
};

template <int STEPS> __device__ __forceinline__ void fetch(share<STEPS> &x, const float *q, int n) {
	const int g = threadIdx.x / EACH;
#pragma unroll
	for (int i = 0; i < share<STEPS>::FOURS; i++) {
		const int j = EACH * i + threadIdx.x % EACH;
		x.v[i] = g < n && j < 4 * STEPS ? ((const float4 *)(q + g * 16 * STEPS))[j] : float4{};
	}
}

// The first QUERIES·EACH threads put their shares. unit is what a product's number is a
// multiple of.
template <int STEPS> __device__ __forceinline__ void put(queries<STEPS> &to, float *unit, const share<STEPS> &x) {
	const int g = threadIdx.x / EACH;
	if (g >= QUERIES) return;
	float top = 0;
#pragma unroll
	for (int i = 0; i < share<STEPS>::FOURS; i++)
		top = fmaxf(fmaxf(top, fmaxf(fabsf(x.v[i].x), fabsf(x.v[i].y))), fmaxf(fabsf(x.v[i].z), fabsf(x.v[i].w)));
#pragma unroll
	for (int d = EACH / 2; d > 0; d /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
	// The largest channel comes to 2¹⁴ to 2¹⁵; of queries of next to nothing, less.
	const int exponent = min(127 + 14 + 127 - (int)(__float_as_uint(top) >> 23), 227);
	const float scale = __uint_as_float((uint32_t)exponent << 23);
	if (threadIdx.x % EACH == 0) unit[g] = __uint_as_float((uint32_t)(254 - exponent) << 23);
#pragma unroll
	for (int i = 0; i < share<STEPS>::FOURS; i++) {
		const int j = EACH * i + threadIdx.x % EACH;
		if (j >= 4 * STEPS) break;
		float4 r;
		uint32_t *large = to.v[j / 4][0][g % 8 * 4 + j % 4] + g / 8, *small = to.v[j / 4][1][g % 8 * 4 + j % 4] + g / 8;
		large[0] = halves(x.v[i].x * scale, x.v[i].y * scale, r.x, r.y);
		large[2] = halves(x.v[i].z * scale, x.v[i].w * scale, r.z, r.w);
		small[0] = halves(r.x, r.y, r.x, r.y);
		small[2] = halves(r.z, r.w, r.z, r.w);
	}
}

// parts [QUERIES, ROW]: products of queries and means, by segment of the chunk.
template <int STEPS, bool PAIRS> __device__ __forceinline__ void multiply(float *parts, const queries<STEPS> &q, const means<STEPS> &m) {
	const int lane = threadIdx.x % 32;
	float c[4][4] = {};
#pragma unroll
	for (int k = 0; k < STEPS; k++) {
		uint32_t a[2][4];
		for (int i = 0; i < 2; i++) *(uint4 *)a[i] = *(const uint4 *)q.v[k][i][lane];
#pragma unroll
		for (int t = 0; t < 4; t++) {
			const uint32_t b[2] = {m.v[t][k].x, m.v[t][k].y};
			mma_f16_m16n8k16(c[t], a[0], b);
			mma_f16_m16n8k16(c[t], a[1], b);
		}
	}
	parts += threadIdx.x / 32 * 32 + lane / 4 * ROW;
#pragma unroll
	for (int half = 0; half < 2; half++, parts += 8 * ROW) {
		const int i = 2 * half;
		if constexpr (PAIRS) {
			for (int t = 0; t < 4; t += 2)
				*(float4 *)(parts + 8 * t + lane % 4 * 4) = {c[t][i], c[t + 1][i], c[t][i + 1], c[t + 1][i + 1]};
		} else {
			for (int t = 0; t < 4; t++) *(float2 *)(parts + 8 * t + lane % 4 * 2) = {c[t][i], c[t][i + 1]};
		}
	}
}

// Any shape and format, without tensor cores.
__device__ __forceinline__ void multiply_plain(float *parts, const float *q, int n, const step_cache &c, int seat, int head, int from, int count) {
	for (int i = threadIdx.x; i < n * count; i += blockDim.x) {
		const int g = i / count, seg = from + i % count;
		const uint8_t *summary = c.means + (size_t)block_id(c, seat, head, seg / c.l.segments) * c.l.summary_bytes;
		float sum = 0;
		for (int d = 0; d < c.l.dim; d++) sum = fmaf(q[g * c.l.dim + d], mean_value(c.l, summary, seg % c.l.segments, d), sum);
		parts[g * ROW + i % count] = sum;
	}
}

// STEPS of 16 channels, or 0: plain.
template <int STEPS, bool PAIRS> __device__ __forceinline__ void score(const score_args &a) {
	constexpr bool PLAIN = STEPS == 0;
	constexpr int S = PLAIN ? 1 : STEPS;
	__shared__ __align__(16) float parts[QUERIES * ROW];
	__shared__ __align__(16) queries<S> left;
	__shared__ float unit[QUERIES];
	const scoring &s = a.s;
	const layout &l = s.c.l;
	const int chunk = blockIdx.x, h = blockIdx.y, row = blockIdx.z, pos = s.rows.pos[row], seat = s.rows.seat[row];
	if ((pos | seat) < 0 || sees_all(s, pos)) return wait_for_earlier(); // the one load does not wait for the other
	const int first = chunk * CHUNK, n = min(CHUNK, windows(s, pos) - first);
	if (n <= 0) return wait_for_earlier();
	const int count = n + l.span - 1;
	const size_t at = (size_t)row * l.heads + h;
	const float *q = a.q + at * s.group * l.dim;
	means<S> right;
	share<S> mine;
	// The row's last windows may have a segment that has just become full; the others' means
	// are on their way while the kernel before ends.
	const bool old = n == CHUNK && first + CHUNK < windows(s, pos);
	if constexpr (!PLAIN)
		if (old) load<S, PAIRS>(right, s.c, seat, h, first + threadIdx.x / 32 * 32, first + count);
	wait_for_earlier();
	allow_later();
	if constexpr (!PLAIN) {
		fetch(mine, q, s.group);
		if (!old) load<S, PAIRS>(right, s.c, seat, h, first + threadIdx.x / 32 * 32, first + count);
	}
	for (int from = 0; from < s.group; from += QUERIES, q += QUERIES * l.dim) {
		const int heads = min(QUERIES, s.group - from);
		if constexpr (PLAIN) {
			multiply_plain(parts, q, heads, s.c, seat, h, first, count);
		} else {
			if (from > 0) fetch(mine, q, heads);
			put(left, unit, mine);
			__syncthreads();
			multiply<S, PAIRS>(parts, left, right);
		}
		__syncthreads();
		if (threadIdx.x < QUERIES * EACH) {
			const int g = threadIdx.x / EACH, w0 = threadIdx.x % EACH;
			const float scale = PLAIN ? a.scale : a.scale * unit[g];
			const size_t to = (at * s.chunks + chunk) * s.group + from + g;
			const size_t total = at * s.chunks * s.group + chunk * s.of_chunk + (from + g) * s.of_query;
			const float *part = parts + g * ROW + w0;
			float v[CHUNK / EACH], top = -INFINITY, sum = 0;
#pragma unroll
			for (int j = 0; j < CHUNK / EACH; j++) v[j] = part[EACH * j];
#pragma unroll 1
			for (int i = 1; i < l.span; i++)
#pragma unroll
				for (int j = 0; j < CHUNK / EACH; j++) v[j] += part[EACH * j + i];
#pragma unroll
			for (int j = 0; j < CHUNK / EACH; j++) {
				v[j] = w0 + EACH * j < n ? v[j] * scale : -INFINITY;
				top = larger(top, v[j]);
			}
			for (int d = EACH / 2; d > 0; d /= 2) top = larger(top, __shfl_xor_sync(~0u, top, d));
			const float shift = top == -INFINITY ? 0 : top; // another chunk may have more
#pragma unroll
			for (int j = 0; j < CHUNK / EACH; j++) {
				v[j] = exp2_approx(v[j] - shift);
				sum += v[j];
				if (g < heads) s.weight[to * CHUNK + w0 + EACH * j] = v[j];
			}
			for (int d = EACH / 2; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
			if (w0 == 0 && g < heads) s.total[total] = {top, sum};
		}
		__syncthreads();
	}
}

// grid (chunks, heads, n)   block WARPS warps, and one more where the span is above 1
#define SCORE(name, steps, pairs) \
	extern "C" __global__ void __launch_bounds__(32 * WARPS + 32, AT_ONCE) step_score_##name(const __grid_constant__ score_args a) { score<steps, pairs>(a); }
SCORE(plain, 0, false)
SCORE(64, 4, false)
SCORE(80, 5, false)
SCORE(96, 6, false)
SCORE(128, 8, false)
SCORE(64_pairs, 4, true)
SCORE(80_pairs, 5, true)
SCORE(96_pairs, 6, true)
SCORE(128_pairs, 8, true)
