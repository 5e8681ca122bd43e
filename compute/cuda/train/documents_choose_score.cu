// How much rows of packed documents ask for blocks: by their queries, and by importance.
// Twins: compute/score.go, compute/append.go
//
// how     A first kernel takes the means of windows from the keys, and importance of windows and blocks,
//         which no query enters. The second has queries, (row, query head of the group), as the rows of
//         products with the means of windows: a warp has the 16 / group rows whose queries fit in 16, and
//         keeps them in registers; windows come 64 at a time through a ring, for all warps. They come
//         twice: for the sums of the softmax, then for its probabilities, which are added over the group
//         and of which a block has the largest of its windows.
// bound   For each layer of 16,384 tokens, 9 heads of 64 channels, 64 of 256 blocks: rows that see more
//         than 64 blocks have 71 M (query, window) pairs. Products 2 · 9 GFLOP: 0.03 ms at 600 TFLOP/s
//         of mma.sync. Powers 2 · 71 M: 0.04 ms, at 16 a clock of each of 132 SMs. Instructions: 370 of a
//         warp for each 480 pairs (150 for sums, 190 for probabilities and blocks, 30 for the ring), 55 M
//         in all, 0.06 ms at four a clock and SM, and there lies the bound. Means come from the second
//         cache for each 40 rows: 2 · 75 MB, 0.03 ms, beside the others. Scores go to memory as they are,
//         24 MB, 0.01 ms, and mostly no further than the second cache.
// order   a window's mean is summed over its tokens; a logit 16 channels at a time; a softmax by
//         lanes, each over its windows as they come. Nothing of it depends on the rows beside.
// numbers queries and means are float16, sums float32
#include "../sum.cuh"
#include "documents.cuh"
#include "documents_choose.cuh"

enum { THREADS = 32 * CHOOSE_WARPS, CHUNK = 64, PART = 32, STAGES = 3, PITCH = PART + 8 };

// Two channels of a row: as they lie, where these begin at even ones of all.
template <bool EVEN> __device__ __forceinline__ uint32_t channels(const __nv_bfloat16 *row, int d, int dim) {
	if (d >= dim) return 0;
	if (EVEN) return *(const uint32_t *)(row + d);
	const uint16_t *x = (const uint16_t *)row + d;
	return x[0] | (d + 1 < dim ? (uint32_t)x[1] << 16 : 0);
}

__device__ __forceinline__ float2 wide(uint32_t x) { return {__uint_as_float(x << 16), __uint_as_float(x & 0xffff0000)}; }

// As float16, as far as that reaches.
__device__ __forceinline__ uint32_t near(float2 v) {
	const __half2 x = __floats2half2_rn(smaller(65504, larger(-65504, v.x)), smaller(65504, larger(-65504, v.y)));
	return *(const uint32_t *)&x;
}

// grid (blocks of the longest document, heads, documents)   block 128
// shared  importance of segments
extern "C" __global__ void __launch_bounds__(128) train_choose_windows(const __grid_constant__ choose_args a) {
	extern __shared__ float segment[];
	__shared__ float largest[32];
	const choose_work w = a.documents[blockIdx.z];
	const int b = blockIdx.x, h = blockIdx.y, tid = threadIdx.x, rows = w.end - w.begin;
	if (b * a.block >= rows) return;
	const int first = b * a.segments, end = min(windows_of(a, rows), first + a.segments);
	const size_t at = (size_t)h * a.windows + w.begin / a.stride;
	const int pairs = a.wide / 2;
	for (int i = tid; a.by_query && i < (end - first) * pairs; i += 128) {
		const int m = first + i / pairs, d = i % pairs * 2;
		const __nv_bfloat16 *row = a.k + ((size_t)(w.begin + m * a.stride) * a.heads + h) * a.dim;
		float2 sum = {};
		const auto add = [&](uint32_t x) {
			const float2 v = wide(x);
			sum.x += v.x, sum.y += v.y;
		};
		if (a.dim % 2 == 0) {
#pragma unroll 16
			for (int j = 0; j < a.kernel; j++) add(channels<true>(row + (size_t)j * a.heads * a.dim, d, a.dim));
		} else
			for (int j = 0; j < a.kernel; j++) add(channels<false>(row + (size_t)j * a.heads * a.dim, d, a.dim));
		*(uint32_t *)(a.means + (at + m) * a.wide + d) = near({sum.x / a.kernel, sum.y / a.kernel});
	}
	if (!a.s) return;
	const int low = max(0, first - a.span + 1), high = min(rows / a.stride, first + a.segments + a.span - 1);
	for (int i = low + tid; i < high; i += 128) {
		double sum = 0;
		for (int j = 0; j < a.stride; j++) sum += (double)a.s[(size_t)(w.begin + i * a.stride + j) * a.heads + h];
		segment[i - low] = (float)(sum / a.stride);
	}
	__syncthreads();
	float best = -INFINITY;
	for (int m = low + tid; m < end; m += 128) {
		double sum = 0;
		for (int i = m; i < m + a.span; i++) sum += (double)segment[i - low];
		const float v = (float)(sum / a.span);
		best = larger(best, v);
		if (m >= first) a.window_score[at + m] = v;
	}
	best = block_max(best, largest);
	// Rows of the next block do not see all windows of this one yet, and take its importance anew.
	if (tid == 0 && b < rows / a.block) a.block_score[(size_t)h * a.blocks + w.begin / a.block + b] = best;
}

// grid (128s of the longest document's blocks, heads, documents)   block 128
extern "C" __global__ void __launch_bounds__(128) train_choose_order(const __grid_constant__ choose_args a) {
	const choose_work w = a.documents[blockIdx.z];
	const int b = blockIdx.x * 128 + threadIdx.x, count = (w.end - w.begin) / a.block;
	if (b >= count) return;
	const size_t at = (size_t)blockIdx.y * a.blocks + w.begin / a.block;
	const uint32_t mine = rank(a.block_score[at + b]);
	int place = 0;
#pragma unroll 8
	for (int i = 0; i < count; i++) {
		const uint32_t other = rank(a.block_score[at + i]);
		place += other > mine || (other == mine && i < b);
	}
	a.order[at + place] = b;
}

// A warp's rows and their scores.
struct scored {
	const choose_args &a;
	int row0, rows; // the first in the document; how many
	float *out;     // of row0
	int pitch;      // from row to row

	__device__ __forceinline__ void set(int i, int b, float v) const {
		if (b * a.block <= row0 + i) out[i * pitch + b] = v; // no later than the own one
	}

	// Weights [16, PART] of windows from w0 on are summed over groups, and each block of each row gets its
	// largest. Here blocks have 4 windows of their own and the one before: four rows at once, a lane has the
	// block of its number's last bits. carry is what the windows before w0 leave behind.
	__device__ __forceinline__ void usual(const float *weights, int w0, float (&carry)[4]) const {
		const int lane = threadIdx.x % 32, k = lane % 8;
#pragma unroll
		for (int j = 0; j < 4; j++) {
			if (4 * j >= rows) break;
			const int i = 4 * j + lane / 8;
			const float *row = weights + i * a.group * PITCH + 4 * k;
			float4 v = {};
			if (i < rows) {
				const auto add = [&](int g) {
					const float4 x = *(const float4 *)(row + g * PITCH);
					v.x += x.x, v.y += x.y, v.z += x.z, v.w += x.w;
				};
				v = *(const float4 *)row;
#pragma unroll
				for (int g = 1; g < 4; g++)
					if (g < a.group) add(g);
#pragma unroll 1
				for (int g = 4; g < a.group; g++) add(g);
			}
			const float up = __shfl_sync(~0u, v.w, (lane & 24) | ((lane + 7) & 7));
			const float before = k ? up : carry[j];
			carry[j] = up;
			if (i < rows) set(i, w0 / 4 + k, fmaxf(fmaxf(fmaxf(v.x, v.y), fmaxf(v.z, v.w)), before));
		}
	}

	// Here blocks have any number of windows, and go on where the weights before have left them.
	__device__ __forceinline__ void any(const float *weights, int w0) const {
		const int b0 = w0 / a.segments, n = (w0 + PART + a.span - 2) / a.segments - b0 + 1;
#pragma unroll 1
		for (int x = threadIdx.x % 32; x < rows * n; x += 32) {
			const int i = x / n, b = b0 + x % n, first = b * a.segments - a.span + 1;
			float best = w0 > 0 && first < w0 && b * a.block <= row0 + i ? out[i * pitch + b] : 0;
#pragma unroll 1
			for (int m = max(w0, first); m < min(w0 + PART, (b + 1) * a.segments); m++) {
				float v = 0;
#pragma unroll 1
				for (int g = 0; g < a.group; g++) v += weights[(i * a.group + g) * PITCH + m - w0];
				best = fmaxf(best, v);
			}
			set(i, b, best);
		}
	}
};

// grid (thread blocks of rows · heads)   block 256
// shared  a ring of means [STAGES, CHUNK, DIM], then weights [warps, 16, PITCH] f32
template <int DIM> __device__ __forceinline__ void score(const choose_args &a) {
	extern __shared__ uint4 shared[];
	constexpr int BYTES = CHUNK * DIM * 2;
	uint8_t *const ring = (uint8_t *)shared;
	const int tid = threadIdx.x, lane = tid % 32, warp = tid / 32, g = lane / 4, t = lane % 4 * 2;
	float *const weights = (float *)(ring + STAGES * BYTES) + warp * 16 * PITCH;
	const int h = blockIdx.x % a.heads;
	const choose_work w = a.work[blockIdx.x / a.heads];
	const int rows = rows_of(a, w);
	if (w.first + rows <= a.dense) return;

	// A chunk of means, of which a thread has the same pieces of each. Those behind a document's last are of
	// anything.
	const int chunks = (windows_of(a, w.first + rows) + CHUNK - 1) / CHUNK;
	constexpr int PIECES = DIM / 8, EACH = THREADS / PIECES; // of a row, and rows at once
	const __half *const piece = a.means + ((size_t)h * a.windows + w.begin / a.stride + tid / PIECES) * DIM + tid % PIECES * 8;
	const auto fetch = [&](int u, int stage) {
		if (u < 2 * chunks) {
			const __half *const from = piece + (size_t)(u < chunks ? u : u - chunks) * (CHUNK * DIM);
			uint8_t *const to = ring + stage * BYTES;
#pragma unroll
			for (int i = 0; i < CHUNK / EACH; i++) cp_async_16(to + row_at<CHUNK>(tid / PIECES + i * EACH, tid % PIECES), from + i * EACH * DIM);
		}
		cp_async_commit();
	};
	fetch(0, 0), fetch(1, 1);

	const int pitch = pitch_of((w.first + rows - 1) / a.block + 1), from = warp * a.per_warp;
	const scored mine = {a, w.first + from, min(a.per_warp, rows - from), a.scores + 8 * (size_t)w.at + (size_t)(from * a.heads + h) * pitch, a.heads * pitch};
	// A lane's queries of the warp, 2 of 16; where there are less it has some again, which nobody reads.
	uint32_t x[DIM / 16][4];
	int seen[2]; // windows
	const __nv_bfloat16 *q[2];
#pragma unroll
	for (int r = 0; r < 2; r++) {
		const int i = min(8 * r + g, max(1, mine.rows) * a.group - 1), row = min(from + i / a.group, rows - 1);
		seen[r] = windows_of(a, w.first + row + 1);
		q[r] = a.q + (((size_t)(w.begin + w.first + row) * a.heads + h) * a.group + i % a.group) * a.dim;
	}
	const auto each = [&](const auto &f) { // element of x, and where its channels begin
#pragma unroll
		for (int k = 0; k < DIM / 16; k++)
#pragma unroll
			for (int j = 0; j < 4; j++) f(x[k][j], q[j % 2], 16 * k + j / 2 * 8 + t);
	};
	if (a.dim % 2 == 0)
		each([&](uint32_t &v, const __nv_bfloat16 *q, int d) { v = channels<true>(q, d, a.dim); });
	else
		each([&](uint32_t &v, const __nv_bfloat16 *q, int d) { v = channels<false>(q, d, a.dim); });
	each([&](uint32_t &v, const __nv_bfloat16 *, int) { v = near(wide(v)); });
	const int fewest = __reduce_min_sync(~0u, min(seen[0], seen[1]));
	const int most = mine.rows > 0 ? windows_of(a, w.first + from + mine.rows) : 0; // that a row of the warp sees

	float top[2] = {-INFINITY, -INFINITY}, sum[2] = {}, level[2] = {}, carry[4] = {};
	const bool usual = a.segments == 4 && a.span == 2;
	int stage = 0, w0 = 0;
	for (int u = 0; u < 2 * chunks; u++) {
		cp_async_wait<1>();
		__syncthreads();
		fetch(u + 2, stage ? stage - 1 : STAGES - 1);
		const bool second = u >= chunks;
		const uint8_t *const means = ring + stage * BYTES;
		if (u == chunks) {
			w0 = 0;
#pragma unroll
			for (int r = 0; r < 2; r++) {
#pragma unroll
				for (int d = 1; d < 4; d *= 2) {
					const float other = __shfl_xor_sync(~0u, top[r], d), more = __shfl_xor_sync(~0u, sum[r], d);
					const float high = fmaxf(top[r], other), shift = high == -INFINITY ? 0 : high;
					sum[r] = sum[r] * exp2_approx(top[r] - shift) + more * exp2_approx(other - shift);
					top[r] = high;
				}
				level[r] = sum[r] == 0 ? INFINITY : top[r] + log2f(sum[r]);
			}
		}
#pragma unroll 1
		for (int p = 0; p < CHUNK / PART; p++, w0 += PART) {
			if (w0 >= most) continue;
			float s[PART / 8][4] = {};
#pragma unroll
			for (int k = 0; k < DIM / 16; k++)
#pragma unroll
				for (int j = 0; j < PART / 16; j++) {
					uint32_t y[4];
					right<CHUNK>(y, means + PART * 128 * p, 16 * j, k); // of rows whose numbers' last bits are the same
					mma_f16_m16n8k16(s[2 * j], x[k], y), mma_f16_m16n8k16(s[2 * j + 1], x[k], y + 2);
				}
			if (w0 + PART > fewest) // mostly it is the last part alone
#pragma unroll
				for (int j = 0; j < PART / 8; j++)
#pragma unroll
					for (int e = 0; e < 4; e++)
						if (w0 + 8 * j + t + e % 2 >= seen[e / 2]) s[j][e] = -INFINITY;
			if (!second) {
#pragma unroll
				for (int r = 0; r < 2; r++) {
					float high = -INFINITY, more[2] = {};
#pragma unroll
					for (int j = 0; j < PART / 8; j++) high = fmaxf(high, fmaxf(s[j][2 * r], s[j][2 * r + 1]));
					high = fmaxf(top[r], high * a.slope);
					const float shift = high == -INFINITY ? 0 : high;
#pragma unroll
					for (int j = 0; j < PART / 8; j++)
#pragma unroll
						for (int e = 0; e < 2; e++) more[e] += exp2_approx(fmaf(s[j][2 * r + e], a.slope, -shift));
					sum[r] = fmaf(sum[r], exp2_approx(top[r] - shift), more[0] + more[1]);
					top[r] = high;
				}
				continue;
			}
#pragma unroll
			for (int j = 0; j < PART / 8; j++)
#pragma unroll
				for (int r = 0; r < 2; r++)
					*(float2 *)(weights + (8 * r + g) * PITCH + 8 * j + t) = {exp2_approx(fmaf(s[j][2 * r], a.slope, -level[r])), exp2_approx(fmaf(s[j][2 * r + 1], a.slope, -level[r]))};
			__syncwarp();
			if (usual)
				mine.usual(weights, w0, carry);
			else
				mine.any(weights, w0);
			__syncwarp();
		}
		stage = stage + 1 < STAGES ? stage + 1 : 0;
	}
}

extern "C" __global__ void __launch_bounds__(THREADS, 3) train_choose_score_64(const __grid_constant__ choose_args a) { score<64>(a); }
extern "C" __global__ void __launch_bounds__(THREADS, 2) train_choose_score_128(const __grid_constant__ choose_args a) { score<128>(a); }
