// How much the rows of tiles ask for blocks, on tensor cores. Twin: compute/score.go
// how     queries and windows become images that lie as products read them: queries 64 at a
//         time, the means of windows in chunks of 128, in two halves; a chunk has all windows of
//         its blocks, so that some are in two. Then a pass over them for the sums of each query's softmax, and one that
//         takes the logits again, which is less than to write and read them, for its
//         probabilities: these are summed over a group, and the largest over the windows of a
//         block is its score. Products of a half run while powers are taken of the one before.
// queries are (row, query head of the group), rows outermost. A group takes 1, 2, 4, 8 or 16
//         places, of which some may be of no head; a warp has 16.
// reads   means once for all queries of a thread block, twice in all
// order   a window's logit is summed 16 channels at a time; a softmax half a chunk at a time, in
//         strips of chunks that are added in their order. A group is summed in a tree. Windows
//         that a row does not see add 0 to it, so that neither the rows beside it nor the length
//         or the tiles of a launch enter.
// numbers queries and a window's mean are float16, sums float32
#include "layout.cuh"
#include "ptx.cuh"
#include "sum.cuh"
#include "tile.cuh"

enum { HALF = 64, CHUNK = 2 * HALF, STRIP = 24, RING = 4, PANEL = 64 };

struct score_tile_args {
	layout l;
	float *out;           // [rows, heads, most]
	const float *q;       // [.., heads·group, dim]
	const uint8_t *means; // [ids, summary bytes]
	const int *tables;    // [heads, most]: ids
	const tile *tiles;
	uint8_t *image;       // [heads, chunks, 2, panels, HALF, 128 bytes]
	uint8_t *queries;     // [tiles, heads, per_tile · queries of a thread block / 64, panels, 64, 128 bytes]
	float *part;          // [strips, rows·heads·places, 2]: maximum and sum of a strip, of powers of 2
	int rows, most, group, places, kernel, stride, windows, chunks, each, per_tile, panels;
};

#define LOG2E 1.4426950408889634f

// The place of 16 bytes in rows of 128, of 64 channels, with the next 64 in a panel behind:
// those of eight rows lie in all banks.
__device__ __forceinline__ int piece_at(int rows, int r, int piece) { return piece / 8 * (128 * rows) + r * 128 + (((piece ^ r) & 7) << 4); }

// The first window of a chunk; those before the first of all are none.
__device__ __forceinline__ int first_window(const score_tile_args &a, int chunk) { return chunk * a.each * a.l.segments - (a.l.span - 1); }

// grid (chunks, heads)   block 256
extern "C" __global__ void __launch_bounds__(256) score_tile_image(const __grid_constant__ score_tile_args a) {
	const layout &l = a.l;
	const int chunk = blockIdx.x, h = blockIdx.y, n = a.panels, w0 = first_window(a, chunk);
	uint8_t *const to = a.image + ((size_t)h * a.chunks + chunk) * n * CHUNK * 128;
	const float part_of = 1.0f / l.span;
	for (int i = threadIdx.x; i < n * 8 * CHUNK; i += 256) {
		const int r = i / 4 % CHUNK, piece = i / (4 * CHUNK) * 4 + i % 4, w = w0 + r; // row, and 8 channels
		float v[8] = {};
		if (w >= 0 && w < a.windows && 8 * piece < l.dim)
			for (int s = w; s < w + l.span; s++) {
				const uint8_t *summary = a.means + (size_t)a.tables[h * a.most + s / l.segments] * l.summary_bytes;
#pragma unroll
				for (int k = 0; k < 2; k++) {
					const uint2 x = *(const uint2 *)(summary + 2 * summary_at(l, s % l.segments, 8 * piece + 4 * k));
					const float2 lo = __half22float2(*(const __half2 *)&x.x), hi = __half22float2(*(const __half2 *)&x.y);
					v[4 * k] += lo.x, v[4 * k + 1] += lo.y, v[4 * k + 2] += hi.x, v[4 * k + 3] += hi.y;
				}
			}
		__half2 p[4];
#pragma unroll
		for (int k = 0; k < 4; k++) p[k] = __floats2half2_rn(v[2 * k] * part_of, v[2 * k + 1] * part_of);
		*(uint4 *)(to + r / HALF * n * HALF * 128 + piece_at(HALF, r % HALF, piece)) = *(const uint4 *)p;
	}
}

// grid (sixty-fours of a tile, heads, tiles)   block 256
extern "C" __global__ void __launch_bounds__(256) score_tile_queries(const __grid_constant__ score_tile_args a) {
	const layout &l = a.l;
	const tile &of = a.tiles[blockIdx.z];
	const int h = blockIdx.y, n = a.panels;
	uint8_t *const to = a.queries + (((size_t)blockIdx.z * l.heads + h) * gridDim.x + blockIdx.x) * n * 64 * 128;
	const float scale = LOG2E / sqrtf((float)l.dim);
	for (int i = threadIdx.x; i < 64 * n * 8; i += 256) {
		const int r = i / (n * 8), piece = i % (n * 8), query = blockIdx.x * 64 + r, row = query / a.places, g = query % a.places;
		float4 x = {}, y = {};
		if (row < of.rows && g < a.group && 8 * piece < l.dim) {
			const float *from = a.q + (((size_t)(of.from + row) * l.heads + h) * a.group + g) * l.dim + 8 * piece;
			x = *(const float4 *)from, y = *(const float4 *)(from + 4);
		}
		const auto near = [&](float x) { return smaller(65504, larger(-65504, x * scale)); };
		const __half2 p[4] = {__floats2half2_rn(near(x.x), near(x.y)), __floats2half2_rn(near(x.z), near(x.w)),
			__floats2half2_rn(near(y.x), near(y.y)), __floats2half2_rn(near(y.z), near(y.w))};
		*(uint4 *)(to + piece_at(64, r, piece)) = *(const uint4 *)p;
	}
}

// s [16, HALF] = the warp's queries · windows, posted: there after products_end.
template <int PANELS> __device__ __forceinline__ void products(float (&s)[HALF / 8][4], const uint8_t *queries, const uint8_t *windows) {
	const int warp = threadIdx.x / 32;
	queries += warp / 4 * PANELS * 8192;
#ifdef HAS_WGMMA
	wgmma_begin();
#pragma unroll
	for (int k = 0; k < 4 * PANELS; k++) {
		const uint64_t x = wgmma_matrix(queries + k / 4 * 8192 + k % 4 * 32, 0);
		const uint64_t y = wgmma_matrix(windows + k / 4 * (128 * HALF) + k % 4 * 32, 0);
		wgmma_f16_rows_m64n64k16(s[0], x, y, k > 0);
	}
	wgmma_commit();
#else
	const int lane = threadIdx.x % 32;
#pragma unroll
	for (int j = 0; j < HALF / 8; j++) s[j][0] = s[j][1] = s[j][2] = s[j][3] = 0;
	for (int k = 0; k < 4 * PANELS; k++) {
		uint32_t x[4];
		ldmatrix_x4(x, queries + piece_at(64, warp % 4 * 16 + (lane & 15), 2 * k + lane / 16));
#pragma unroll
		for (int j = 0; j < HALF / 16; j++) {
			uint32_t y[4];
			ldmatrix_x4(y, windows + piece_at(HALF, 16 * j + (lane & 7) + 8 * (lane >> 4), 2 * k + (lane >> 3 & 1)));
			mma_f16_m16n8k16(s[2 * j], x, y), mma_f16_m16n8k16(s[2 * j + 1], x, y + 2);
		}
	}
#endif
}

__device__ __forceinline__ void products_end(float (&s)[HALF / 8][4]) {
#ifdef HAS_WGMMA
	wgmma_wait<0, HALF / 2>(s[0]);
#endif
}

// Of 2·N sums a lane keeps half, and adds what the lane 4·N away has of them.
template <int N> __device__ __forceinline__ void halve(float (&v)[HALF / 8][2]) {
	const bool upper = threadIdx.x & 4 * N;
#pragma unroll
	for (int j = 0; j < N; j++)
#pragma unroll
		for (int e = 0; e < 2; e++) {
			const float keep = upper ? v[j + N][e] : v[j][e], give = upper ? v[j][e] : v[j + N][e];
			v[j][e] = keep + __shfl_xor_sync(~0u, give, 4 * N);
		}
}

// grid (strips, tiles · thread blocks of one, heads)   block 2 threads a query
// shared  queries, then a ring of halves of chunks; then [warps, CHUNK] f32
template <int PANELS, bool PROBABILITIES, bool FEW> __device__ __forceinline__ void score_tile(const score_tile_args &a) {
	extern __shared__ uint4 shared[];
	const layout &l = a.l;
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, h = blockIdx.z, threads = blockDim.x, m = threads / 2;
	const tile &of = a.tiles[blockIdx.y / a.per_tile];
	const int first = of.first, pos = of.pos, own = pos / l.block;
	const int each = m / a.places, row0 = blockIdx.y % a.per_tile * each, rows = min(each, of.rows - row0);
	if (rows <= 0) return;
	constexpr int BYTES = PANELS * HALF * 128; // of half a chunk
	const int used = a.each * l.segments;
	uint8_t *const queries = (uint8_t *)((size_t)shared + 1023 & ~(size_t)1023), *const stages = queries + PANELS * m * 128;
	float *const weights = (float *)(stages + RING * BYTES) + warp * CHUNK;
	const auto windows = [&](int row) { // that a row of the tile sees
		const int n = pos + row + 1;
		return n < a.kernel ? 0 : (n - a.kernel) / a.stride + 1;
	};
	const auto flat = [&](int i) { return ((size_t)(first + row0 + i / a.places) * l.heads + h) * a.places + i % a.places; };
	const int all = a.rows * l.heads * a.places, most = windows(row0 + rows - 1);

	// The chunks of the strip that say something of a row.
	const int begin = blockIdx.x * STRIP;
	const int blocks_end = min(begin + STRIP, own / a.each + 1), end = min(blocks_end, (most + used - 1) / used);
	if (begin >= (PROBABILITIES ? blocks_end : end)) return;

	// Halves are counted from the strip's first on: they are on their way to a place of the ring,
	// there, and done with. Queries come before the first.
	const int halves = 2 * max(0, end - begin);
	const uint8_t *const image = a.image + ((size_t)h * a.chunks + begin) * 2 * BYTES;
	const uint8_t *const mine = a.queries + (((size_t)(blockIdx.y / a.per_tile) * l.heads + h) * a.per_tile + blockIdx.y % a.per_tile) * m * PANELS * 128;
	const auto stage = [&](int u) { return stages + u % RING * BYTES; };
#ifdef HAS_WGMMA
	__shared__ uint64_t there[RING], left[RING];
	if (tid == 0) {
		for (int i = 0; i < RING; i++) mbarrier_init(&there[i], 1), mbarrier_init(&left[i], threads / 32);
		mbarrier_made();
	}
	__syncthreads();
	const auto fetch = [&](int u) {
		if (tid == 0 && u < halves) {
			if (u >= RING) mbarrier_wait(&left[u % RING], u / RING - 1 & 1);
			mbarrier_expect(&there[u % RING], BYTES + (u == 0 ? m * PANELS * 128 : 0));
			if (u == 0) copy_range(queries, mine, m * PANELS * 128, &there[0]);
			copy_range(stage(u), image + (size_t)u * BYTES, BYTES, &there[u % RING]);
		}
		__syncwarp();
	};
	const auto landed = [&](int u) {
		if (u < halves) mbarrier_wait(&there[u % RING], u / RING & 1);
		__syncwarp();
	};
	const auto done = [&](int u) {
		if (lane == 0) mbarrier_arrive(&left[u % RING]);
	};
#else
	const auto bring = [&](uint8_t *to, const uint8_t *from, int bytes) {
		for (int i = tid * 16; i < bytes; i += threads * 16) cp_async_16(to + i, from + i);
	};
	const auto fetch = [&](int u) {
		if (u == 0 && halves > 0) bring(queries, mine, m * PANELS * 128);
		if (u < halves) bring(stage(u), image + (size_t)u * BYTES, BYTES);
		cp_async_commit();
	};
	const auto landed = [&](int u) { // of those up to the one after it, and all threads are done with what was before
		if (u == 0)
			cp_async_wait<2>();
		else
			cp_async_wait<1>();
		__syncthreads();
	};
	const auto done = [](int) {};
#endif
	fetch(0), fetch(1), fetch(2);

	// A lane's rows of the products: 2 queries.
	const int g = lane / 4, t = lane % 4 * 2;
	int seen[2], fewest; // windows; of all rows of the warp
	float top[2], sum[2], level[2] = {}; // level: the logarithm of all of a query's powers
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const int i = warp * 16 + 8 * r + g;
		const bool head = i / a.places < rows && i % a.places < a.group;
		seen[r] = head ? windows(row0 + i / a.places) : 0;
		top[r] = -INFINITY, sum[r] = 0;
		if (PROBABILITIES && head) {
			const float2 *part = (const float2 *)a.part + flat(i);
			const int strips = (seen[r] + used * STRIP - 1) / (used * STRIP);
			for (int s = 0; s < strips; s++) top[r] = fmaxf(top[r], part[(size_t)s * all].x);
			const float shift = top[r] == -INFINITY ? 0 : top[r];
			for (int s = 0; s < strips; s++) {
				const float2 p = part[(size_t)s * all];
				sum[r] = fmaf(p.y, exp2_approx(p.x - shift), sum[r]);
			}
			level[r] = shift + log2f(sum[r]);
		}
	}
	fewest = __reduce_min_sync(~0u, min(seen[0], seen[1]));

	// Products of half u, which is of chunk c, become sums, or weights of the group.
	const auto soften = [&](float (&s)[HALF / 8][4], int c, int half) {
		// Columns from to to−1 are windows that count: others are none of the chunk's, or not seen.
		const int w0 = first_window(a, c), from = PROBABILITIES && c > 0 ? 0 : l.span - 1, to = used + l.span - 1;
		const auto hide = [&](float none) {
			const int last[2] = {min(to, seen[0] - w0), min(to, seen[1] - w0)};
			const auto columns = [&](int j) {
#pragma unroll
				for (int e = 0; e < 4; e++) {
					const int i = HALF * half + 8 * j + t + e % 2;
					if (i < from || i >= last[e / 2]) s[j][e] = none;
				}
			};
			if (from <= 8 && min(to, fewest - w0) >= CHUNK - 8) { // mostly it is at the ends alone
				columns(half ? HALF / 8 - 1 : 0);
				return;
			}
#pragma unroll
			for (int j = 0; j < HALF / 8; j++) columns(j);
		};
		if constexpr (!PROBABILITIES) {
			hide(-INFINITY);
#pragma unroll
			for (int r = 0; r < 2; r++) {
				float most = -INFINITY;
#pragma unroll
				for (int j = 0; j < HALF / 8; j++) most = fmaxf(most, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
				most = fmaxf(most, __shfl_xor_sync(~0u, most, 1));
				most = fmaxf(most, __shfl_xor_sync(~0u, most, 2));
				most = fmaxf(top[r], most);
				const float shift = most == -INFINITY ? 0 : most;
				float more[2] = {};
#pragma unroll
				for (int j = 0; j < HALF / 8; j++) more[0] += exp2_approx(s[j][2 * r] - shift), more[1] += exp2_approx(s[j][2 * r + 1] - shift);
				sum[r] = fmaf(sum[r], exp2_approx(top[r] - shift), more[0] + more[1]);
				top[r] = most;
			}
		} else {
#pragma unroll
			for (int j = 0; j < HALF / 8; j++)
#pragma unroll
				for (int e = 0; e < 4; e++) s[j][e] = exp2_approx(s[j][e] - level[e / 2]);
			hide(0);
		}
	};
	// The scores of the blocks of chunk c for a row, from weights, where it sees a window of them.
	const auto pool = [&](int c, int row) {
		__syncwarp();
		float *out = a.out + ((size_t)(first + row0 + row) * l.heads + h) * a.most;
		const int n = windows(row0 + row);
		for (int k = lane; k < a.each; k += 32) {
			const int b = c * a.each + k;
			if (b > own) break;
			float best = -INFINITY;
			if (max(0, l.segments * b - l.span + 1) < n)
				for (int i = l.segments * k; i < l.segments * (k + 1) + l.span - 1; i++) best = larger(best, weights[i]);
			out[b] = best;
		}
		__syncwarp();
	};
	// What a group of 16 places, which is a warp's row, weighs of half a chunk.
	const auto gather = [&](const float (&s)[HALF / 8][4], int half) {
		float v[HALF / 8][2];
#pragma unroll
		for (int j = 0; j < HALF / 8; j++) v[j][0] = s[j][0] + s[j][2], v[j][1] = s[j][1] + s[j][3];
		halve<4>(v), halve<2>(v), halve<1>(v);
		*(float2 *)(weights + HALF * half + 8 * g + t) = {v[0][0], v[0][1]};
	};
	// Rows of the warp one after the other, where a group has fewer places.
	const auto gather_rows = [&](float (&x)[HALF / 8][4], float (&y)[HALF / 8][4], int c) {
#pragma unroll
		for (int j = 0; j < HALF / 8; j++)
#pragma unroll
			for (int e = 0; e < 4; e++)
				for (int d = 1; d < a.places; d *= 2) x[j][e] += __shfl_xor_sync(~0u, x[j][e], 4 * d), y[j][e] += __shfl_xor_sync(~0u, y[j][e], 4 * d);
#pragma unroll
		for (int r = 0; r < 2; r++)
			for (int i = 0; i < 8 / a.places; i++) {
				const int row = (warp * 16 + 8 * r) / a.places + i;
				if (row >= rows) break;
				if (g == i * a.places)
#pragma unroll
					for (int j = 0; j < HALF / 8; j++) {
						*(float2 *)(weights + 8 * j + t) = {x[j][2 * r], x[j][2 * r + 1]};
						*(float2 *)(weights + HALF + 8 * j + t) = {y[j][2 * r], y[j][2 * r + 1]};
					}
				pool(c, row);
			}
	};
	if (halves > 0) {
		float x[HALF / 8][4], y[HALF / 8][4];
		landed(0);
		products<PANELS>(x, queries, stage(0));
		products_end(x);
		done(0);
		for (int u = 0; u < halves; u += 2) { // products ahead of the last are of anything, and of no use
			const int c = begin + u / 2;
			landed(u + 1);
			products<PANELS>(y, queries, stage(u + 1));
			fetch(u + 3);
			soften(x, c, 0);
			if constexpr (PROBABILITIES && !FEW) gather(x, 0);
			products_end(y);
			done(u + 1);
			landed(u + 2);
			if constexpr (!FEW) products<PANELS>(x, queries, stage(u + 2));
			fetch(u + 4);
			soften(y, c, 1);
			if constexpr (PROBABILITIES && !FEW) {
				gather(y, 1);
				if (warp < rows) pool(c, warp);
			}
			if constexpr (FEW) { // x is wanted until here
				gather_rows(x, y, c);
				products<PANELS>(x, queries, stage(u + 2));
			}
			products_end(x);
			done(u + 2);
		}
	}
	if (PROBABILITIES) // blocks of which no row sees a window
		for (int c = max(begin, end); c < blocks_end; c++)
			for (int i = 0; i < 16 / a.places; i++)
				if (warp * 16 / a.places + i < rows) pool(c, warp * 16 / a.places + i);
	if (!PROBABILITIES)
#pragma unroll
		for (int r = 0; r < 2; r++) {
			float v = sum[r];
			v += __shfl_xor_sync(~0u, v, 1);
			v += __shfl_xor_sync(~0u, v, 2);
			const int i = warp * 16 + 8 * r + g;
			if (t == 0 && i / a.places < rows && i % a.places < a.group) *(float2 *)(a.part + 2 * ((size_t)blockIdx.x * all + flat(i))) = {top[r], v};
		}
}
// Of sums, of groups of 16 places, and of fewer.
#define SCORE(name, PANELS, PROBABILITIES, FEW) \
	extern "C" __global__ void __launch_bounds__(256, 2) score_tile_##name##_##PANELS(const __grid_constant__ score_tile_args a) { score_tile<PANELS, PROBABILITIES, FEW>(a); }
#define SCORES(PANELS) SCORE(sums, PANELS, false, false) SCORE(blocks, PANELS, true, false) SCORE(blocks_few, PANELS, true, true)
SCORES(1)
SCORES(2)
SCORES(4)
