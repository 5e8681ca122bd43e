// How much rows ask for windows: the weights of a softmax that lacks what other chunks have.
// Twin: ScoreBlocks of compute/score.go, up to the sums that choose.cu takes
// how     tensor cores multiply the queries of a group by means; a query is two float16s, which
//         are together as good as float32, at a power of two that its largest channel gives
// bytes   a mean once for each row and KV head (again for each 16 queries of a larger group),
//         and 8 bytes for each query and window
// order   a product is a sum over channels in the hardware's order; a chunk's sum knows how many
//         windows the row has in it
//
// The chunks of all rows are one line that thread blocks, as many as the GPU holds at once,
// cut into equal parts. While one chunk is multiplied the means of the next ones are on their
// way to shared memory. A lane waits for what it has itself asked for, and for nobody else.
#include "../ptx.cuh"
#include "score.cuh"

enum {
	QUERIES = 16,             // rows of a product
	UNIT = 16,                // segments that a warp multiplies
	UNITS = CHUNK / UNIT,     // and one more, which the last windows reach into
	THREADS = 32 * UNITS,     // that make windows out of segments
	EACH = THREADS / QUERIES, // of them have a query
	STAGES = 2,               // chunks at work or on their way
};

struct score_args {
	scoring s;
	const float *q; // [n, heads·group, dim]
	float scale;    // log₂e / (span·√dim)
};

// What kernels know of the number of a block's segments. Where it is even a lane loads two
// neighbours at once, and they are columns of two tiles.
enum { ANY, EVEN, FOUR };

template <int SEGS> __device__ __forceinline__ int segments(const layout &l) { return SEGS == FOUR ? 4 : l.segments; }

// The segment of a tile's column.
template <int SEGS> __device__ __forceinline__ int segment_of(int tile, int column) {
	return SEGS != ANY ? 2 * column + tile : 8 * tile + column;
}

// A chunk of the line, and what of its row the warp knows.
struct chunk_of {
	int row, seat, windows;  // windows: of the row
	int head, query, number; // query: the first of the group that is asked for
	int first;               // row that lane 0 knows, lane 1 the one after it
	int my_seat, my_windows; // of the lane's
};

// Chunks of a row, for all heads and queries.
__device__ __forceinline__ int chunks_of(const scoring &s, int windows) {
	return (windows + CHUNK - 1) / CHUNK * s.c.l.heads * ((s.group + QUERIES - 1) / QUERIES);
}

// What a lane finds of a row, beyond the last too: no windows where nobody asks.
__device__ __forceinline__ int windows_asked(const scoring &s, int row, int &seat) {
	const int pos = row < s.rows.n ? s.rows.pos[row] : -1;
	seat = row < s.rows.n ? s.rows.seat[row] : -1;
	return (pos | seat) < 0 || sees_all(s, pos) ? 0 : windows(s, pos);
}

// The warp learns of 32 rows from first on.
__device__ __forceinline__ void learn(chunk_of &c, const scoring &s, int first) {
	c.first = first;
	c.my_windows = windows_asked(s, first + threadIdx.x % 32, c.my_seat);
}

// The row'th of the rows that the warp knows.
__device__ __forceinline__ void enter(chunk_of &c, int lane) {
	c.row = c.first + lane;
	c.seat = __shfl_sync(~0u, c.my_seat, lane), c.windows = __shfl_sync(~0u, c.my_windows, lane);
}

// Chunk number at of the line.
__device__ __forceinline__ void find(chunk_of &c, const scoring &s, int at) {
	for (int first = 0;; first += 32) {
		learn(c, s, first);
		const int own = chunks_of(s, c.my_windows);
		int sum = own;
		for (int d = 1; d < 32; d *= 2) {
			const int v = __shfl_up_sync(~0u, sum, d);
			if ((int)threadIdx.x % 32 >= d) sum += v;
		}
		const unsigned beyond = __ballot_sync(~0u, sum > at);
		if (beyond) {
			const int lane = __ffs(beyond) - 1;
			at -= __shfl_sync(~0u, sum - own, lane);
			enter(c, lane);
			break;
		}
		at -= __shfl_sync(~0u, sum, 31);
	}
	const int chunks = (c.windows + CHUNK - 1) / CHUNK, passes = (s.group + QUERIES - 1) / QUERIES;
	c.number = at % chunks;
	c.query = at / chunks % passes * QUERIES;
	c.head = at / chunks / passes;
}

// The one after it, which there is.
__device__ __forceinline__ void advance(chunk_of &c, const scoring &s) {
	if (++c.number * CHUNK < c.windows) return;
	c.number = 0;
	if ((c.query += QUERIES) < s.group) return;
	c.query = 0;
	if (++c.head < s.c.l.heads) return;
	c.head = 0;
	int from = c.row - c.first + 1; // the next row that asks
	for (;;) {
		const unsigned ask = from < 32 ? __ballot_sync(~0u, c.my_windows > 0) >> from << from : 0;
		if (ask) {
			enter(c, __ffs(ask) - 1);
			return;
		}
		learn(c, s, c.first + 32);
		from = 0;
	}
}

// Where the chunk's segments end.
__device__ __forceinline__ int end_of(const chunk_of &c, const layout &l) { return min((c.number + 1) * CHUNK, c.windows) + l.span - 1; }

// The blocks of the lane's segments of its unit; anything beyond the row's.
template <int SEGS> struct lane_blocks {
	int id[SEGS == ANY ? 2 : 1];
};

template <int SEGS> __device__ __forceinline__ lane_blocks<SEGS> look_up(const chunk_of &c, const step_cache &cache) {
	lane_blocks<SEGS> b;
	const int from = c.number * CHUNK + threadIdx.x / 32 * UNIT;
#pragma unroll
	for (int t = 0; t < (SEGS == ANY ? 2 : 1); t++)
		b.id[t] = block_id(cache, c.seat, c.head, min((from + segment_of<SEGS>(t, threadIdx.x % 32 / 4)) / segments<SEGS>(cache.l), cache.most - 1));
	return b;
}

// The lane's share of the means of its unit, as the right side of products, into its own
// places of shared memory: 2 tiles of 8 segments, of which lane / 4 names one, and of each 16
// channels four neighbours. Since queries are laid out likewise, which four does not matter.
template <int STEPS, int SEGS> __device__ __forceinline__ void ask(uint4 *stage, const chunk_of &c, const step_cache &cache, const lane_blocks<SEGS> &b) {
	const int lane = threadIdx.x % 32, segs = segments<SEGS>(cache.l);
	const int from = c.number * CHUNK + threadIdx.x / 32 * UNIT, end = end_of(c, cache.l);
	stage += (threadIdx.x / 32 * STEPS) * 32 + lane;
#pragma unroll
	for (int t = 0; t < (SEGS == ANY ? 2 : 1); t++) {
		const int seg = from + segment_of<SEGS>(t, lane / 4);
		const bool valid = seg < end;
		const uint8_t *at = cache.means + (size_t)(valid ? b.id[t] : 0) * cache.l.summary_bytes + 8 * (lane % 4 * segs + seg % segs);
#pragma unroll
		for (int k = 0; k < STEPS; k++) {
			if constexpr (SEGS != ANY)
				cp_async_16(stage + 32 * k, at + 32 * segs * k, valid);
			else if (valid)
				cp_async_8((uint2 *)(stage + 32 * k) + t, at + 32 * segs * k);
			else
				((uint2 *)(stage + 32 * k))[t] = {};
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
		x.v[i] = g < min(n, QUERIES) && j < 4 * STEPS ? ((const float4 *)(q + g * 16 * STEPS))[j] : float4{};
	}
}

// The first THREADS threads put their shares. unit is what a product's number is a
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

// parts [QUERIES, width]: products of queries and means, by segment of the chunk.
template <int STEPS, int SEGS> __device__ __forceinline__ void multiply(float *parts, int width, const uint32_t (&q)[STEPS][2][4], const uint4 *stage) {
	const int lane = threadIdx.x % 32;
	stage += (threadIdx.x / 32 * STEPS) * 32 + lane;
	float c[2][4] = {};
#pragma unroll
	for (int k = 0; k < STEPS; k++) {
		const uint4 v = stage[32 * k];
		const uint32_t b[2][2] = {{v.x, v.y}, {v.z, v.w}};
#pragma unroll
		for (int t = 0; t < 2; t++) {
			mma_f16_m16n8k16(c[t], q[k][0], b[t]);
			mma_f16_m16n8k16(c[t], q[k][1], b[t]);
		}
	}
	parts += threadIdx.x / 32 * UNIT + lane / 4 * width;
#pragma unroll
	for (int i = 0; i < 4; i += 2, parts += 8 * width) {
		if constexpr (SEGS != ANY) {
			*(float4 *)(parts + lane % 4 * 4) = {c[0][i], c[1][i], c[0][i + 1], c[1][i + 1]};
		} else {
#pragma unroll
			for (int t = 0; t < 2; t++) *(float2 *)(parts + 8 * t + lane % 4 * 2) = {c[t][i], c[t][i + 1]};
		}
	}
}

// THREADS threads make the weights of a chunk's windows out of parts, four neighbours at a
// time. scale is of the thread's query; n windows, of heads queries.
__device__ __forceinline__ void weigh(const scoring &s, const float *parts, int width, float scale, size_t to, int n, int heads) {
	constexpr int fours = CHUNK / EACH / 4;
	const int g = threadIdx.x / EACH, w0 = threadIdx.x % EACH * 4;
	const float *part = parts + g * width + w0;
	float v[4 * fours], top = -INFINITY, sum = 0;
#pragma unroll
	for (int j = 0; j < fours; j++) {
		const float *p = part + 4 * EACH * j;
		float4 x = *(const float4 *)p;
		v[4 * j] = x.x, v[4 * j + 1] = x.y, v[4 * j + 2] = x.z, v[4 * j + 3] = x.w;
#pragma unroll 1
		for (int i = 1; i < s.c.l.span; i++) {
			x = {x.y, x.z, x.w, p[i + 3]};
			v[4 * j] += x.x, v[4 * j + 1] += x.y, v[4 * j + 2] += x.z, v[4 * j + 3] += x.w;
		}
	}
	if (n < CHUNK)
#pragma unroll
		for (int j = 0; j < 4 * fours; j++)
			if (w0 + j / 4 * 4 * EACH + j % 4 >= n) v[j] = -INFINITY;
#pragma unroll
	for (int j = 0; j < 4 * fours; j++) top = fmaxf(top, v[j]); // what is not a number will be in the sum
#pragma unroll
	for (int d = EACH / 2; d > 0; d /= 2) top = fmaxf(top, __shfl_xor_sync(~0u, top, d));
	top *= scale;
	const float shift = top == -INFINITY ? 0 : top; // another chunk may have more
#pragma unroll
	for (int j = 0; j < 4 * fours; j++) {
		v[j] = exp2_approx(fmaf(v[j], scale, -shift));
		sum += v[j];
	}
	float *const weight = s.weight + (to + g) * CHUNK + w0;
#pragma unroll
	for (int j = 0; j < fours; j++)
		if (g < heads) *(float4 *)(weight + 4 * EACH * j) = {v[4 * j], v[4 * j + 1], v[4 * j + 2], v[4 * j + 3]};
#pragma unroll
	for (int d = EACH / 2; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
	if (threadIdx.x % EACH == 0 && g < heads) s.total[to + g] = {top, sum};
}

// STEPS of 16 channels.
template <int STEPS, int SEGS> __device__ __forceinline__ void score(const score_args &a) {
	extern __shared__ uint4 memory[];
	__shared__ float unit[QUERIES];
	__shared__ int4 items[4]; // the last that were asked for: row and head, query, chunk, its windows
	const scoring &s = a.s;
	const layout &l = s.c.l;
	const int units = blockDim.x / 32, lane = threadIdx.x % 32, width = 16 * (units | 1); // of parts: rows that begin in different banks
	uint4 *stages = memory; // [STAGES, units, STEPS, 32]
	const int stage_size = units * STEPS * 32;
	float *parts = (float *)(memory + STAGES * stage_size); // [2, QUERIES, width], and before a row's first chunk its queries
	queries<STEPS> &left = *(queries<STEPS> *)parts;

	// The part of the line.
	int all = 0;
	for (int row = lane; row < s.rows.n; row += 32) {
		int seat;
		all += chunks_of(s, windows_asked(s, row, seat));
	}
#pragma unroll
	for (int d = 16; d > 0; d /= 2) all += __shfl_xor_sync(~0u, all, d);
	const int block = blockIdx.x, share_of = all / gridDim.x, rest = all % gridDim.x;
	const int begin = block * share_of + min(block, rest), count = share_of + (block < rest);
	if (count == 0) {
		wait_for_earlier(); // the kernel after this one takes it for granted
		return;
	}

	// A row's last chunk has what the kernel before this one has written.
	bool waited = false;
	auto wait_if = [&](bool must) {
		if (waited || !must) return;
		wait_for_earlier();
		waited = true;
	};
	chunk_of next; // what is asked for next
	find(next, s, begin);
	lane_blocks<SEGS> ids = look_up<SEGS>(next, s.c);
	auto ask_next = [&](int i) {
		ask<STEPS, SEGS>(stages + i % STAGES * stage_size, next, s.c, ids);
		if (threadIdx.x == 0)
			items[i % 4] = make_int4(next.row * l.heads + next.head, next.query, next.number, min(CHUNK, next.windows - next.number * CHUNK));
		if (i + 1 < count) advance(next, s), ids = look_up<SEGS>(next, s.c);
	};
	for (int i = 0; i < STAGES; i++) {
		if (i < count) {
			wait_if((next.number + 1) * CHUNK >= next.windows);
			ask_next(i);
		}
		cp_async_commit();
	}
	wait_if(true);
	allow_later();
	__syncthreads();

	uint32_t q[STEPS][2][4];
	float scale = 0;
	for (int i = 0; i < count; i++) {
		if (i == 0 || items[i % 4].z == 0) { // other queries
			const int at = items[i % 4].x, query = items[i % 4].y;
			share<STEPS> mine;
			fetch(mine, a.q + ((size_t)at * s.group + query) * l.dim, s.group - query);
			__syncthreads();
			put(left, unit, mine);
			__syncthreads();
#pragma unroll
			for (int k = 0; k < STEPS; k++)
#pragma unroll
				for (int j = 0; j < 2; j++) *(uint4 *)q[k][j] = *(const uint4 *)left.v[k][j][lane];
			if (threadIdx.x < THREADS) scale = a.scale * unit[threadIdx.x / EACH];
			__syncthreads();
		}
		float *mine = parts + i % 2 * QUERIES * width;
		cp_async_wait<STAGES - 1>();
		multiply<STEPS, SEGS>(mine, width, q, stages + i % STAGES * stage_size);
		if (i + STAGES < count) ask_next(i + STAGES);
		cp_async_commit();
		__syncthreads();
		if (threadIdx.x < THREADS) {
			const int4 x = items[i % 4];
			weigh(s, mine, width, scale, ((size_t)x.x * s.chunks + x.z) * s.group + x.y, x.w, s.group - x.y);
		}
	}
}

// grid any   block UNITS warps, and one more where the span is above 1   shared  what scoreBytes of score.go says
#define SCORE(name, steps, segs) \
	extern "C" __global__ void __launch_bounds__(THREADS + 32, 2) step_score_##name(const __grid_constant__ score_args a) { score<steps, segs>(a); }
SCORE(64_any, 4, ANY)
SCORE(80_any, 5, ANY)
SCORE(96_any, 6, ANY)
SCORE(128_any, 8, ANY)
SCORE(64_even, 4, EVEN)
SCORE(80_even, 5, EVEN)
SCORE(96_even, 6, EVEN)
SCORE(128_even, 8, EVEN)
SCORE(64_four, 4, FOUR)
SCORE(80_four, 5, FOUR)
SCORE(96_four, 6, FOUR)
SCORE(128_four, 8, FOUR)

// Any shape and format, without tensor cores.
// grid (chunks, heads, n)   block THREADS
extern "C" __global__ void __launch_bounds__(THREADS) step_score_plain(const __grid_constant__ score_args a) {
	constexpr int width = CHUNK + 48;
	__shared__ __align__(16) float parts[QUERIES * width];
	const scoring &s = a.s;
	const layout &l = s.c.l;
	const int chunk = blockIdx.x, h = blockIdx.y, row = blockIdx.z;
	int seat;
	const int first = chunk * CHUNK, n = min(CHUNK, windows_asked(s, row, seat) - first), count = n + l.span - 1;
	wait_for_earlier();
	allow_later();
	if (n <= 0) return;
	const size_t at = (size_t)row * l.heads + h;
	for (int from = 0; from < s.group; from += QUERIES) {
		const float *q = a.q + (at * s.group + from) * l.dim;
		const int heads = min((int)QUERIES, s.group - from);
		__syncthreads();
		for (int i = threadIdx.x; i < heads * count; i += THREADS) {
			const int g = i / count, seg = first + i % count;
			const uint8_t *summary = s.c.means + (size_t)block_id(s.c, seat, h, seg / l.segments) * l.summary_bytes;
			float sum = 0;
			for (int d = 0; d < l.dim; d++) sum = fmaf(q[g * l.dim + d], mean_value(l, summary, seg % l.segments, d), sum);
			parts[g * width + i % count] = sum;
		}
		__syncthreads();
		weigh(s, parts, width, a.scale, (at * s.chunks + chunk) * s.group + from, n, heads);
	}
}
