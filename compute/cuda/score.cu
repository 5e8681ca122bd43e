// How much rows ask for blocks. Twin: compute/score.go
// order   a window's sums are its own; the softmax of a row is summed over its windows in an
//         order that depends on their number alone
#include "layout.cuh"
#include "sum.cuh"
#include "tile.cuh"

struct score_args {
	layout l;
	float *out;             // [N, heads, blocks]
	const float *q;         // [N, heads·group, dim]: the tile's rows
	const uint8_t *means;   // [ids, summary bytes]
	const int *tables;      // [heads, blocks]: ids
	float *part;            // [N, heads, group, blocks·segments]: products with means
	float *window;          // [N, heads, blocks·segments]
	int blocks, group, pos, kernel, stride;
};

// The complete windows that a row sees.
__device__ __forceinline__ int windows(const score_args &a, int row) {
	const int n = a.pos + row + 1;
	return n < a.kernel ? 0 : (n - a.kernel) / a.stride + 1;
}

// grid (segments / 8, N, heads)   block 8 warps: a warp has a segment
extern "C" __global__ void score_parts(const __grid_constant__ score_args a) {
	const int row = blockIdx.y, h = blockIdx.z, lane = threadIdx.x % 32;
	const int seg = blockIdx.x * 8 + threadIdx.x / 32;
	const int m = windows(a, row);
	if (m == 0 || seg >= m + a.l.span - 1) return;
	const uint8_t *summary = a.means + (size_t)a.tables[h * a.blocks + seg / a.l.segments] * a.l.summary_bytes;
	for (int g = 0; g < a.group; g++) {
		const float *q = a.q + (((size_t)row * a.l.heads + h) * a.group + g) * a.l.dim;
		float sum = 0;
		for (int d = lane; d < a.l.dim; d += 32) sum = fmaf(q[d], mean_value(a.l, summary, seg % a.l.segments, d), sum);
		sum = warp_sum(sum);
		if (lane == 0) a.part[(((size_t)row * a.l.heads + h) * a.group + g) * a.blocks * a.l.segments + seg] = sum;
	}
}

// grid (N, heads)   block 256
extern "C" __global__ void score_blocks(const __grid_constant__ score_args a) {
	__shared__ float shared[32];
	const int row = blockIdx.x, h = blockIdx.y, all = a.blocks * a.l.segments, m = windows(a, row);
	const size_t at = (size_t)row * a.l.heads + h;
	float *sum = a.window + at * all;
	const float scale = a.l.span * sqrtf((float)a.l.dim);
	for (int w = threadIdx.x; w < m; w += blockDim.x) sum[w] = 0;
	for (int g = 0; g < a.group; g++) {
		const float *part = a.part + (at * a.group + g) * all;
		auto logit = [&](int w) {
			float v = 0;
			for (int i = w; i < w + a.l.span; i++) v += part[i];
			return v / scale;
		};
		float top = -INFINITY;
		for (int w = threadIdx.x; w < m; w += blockDim.x) top = larger(top, logit(w));
		top = block_max(top, shared);
		float total = 0;
		for (int w = threadIdx.x; w < m; w += blockDim.x) total += expf(logit(w) - top);
		total = block_sum(total, shared);
		for (int w = threadIdx.x; w < m; w += blockDim.x) sum[w] += expf(logit(w) - top) / total;
	}
	__syncthreads();
	for (int b = threadIdx.x; b < a.blocks; b += blockDim.x) {
		float best = -INFINITY;
		for (int w = max(0, a.l.segments * b - a.l.span + 1); w < min(m, a.l.segments * (b + 1)); w++) best = larger(best, sum[w]);
		a.out[at * a.blocks + b] = best;
	}
}

struct importance_args {
	layout l;
	float *out;             // [rows, heads, most]
	const float *seg_score; // [ids, segments]
	const int *tables;      // [heads, most]: ids
	const tile *tiles;
	int most, kernel, stride;
};

// grid (blocks / 256, rows of a tile, tiles · heads)   block 256
extern "C" __global__ void score_importance(const __grid_constant__ importance_args a) {
	const int b = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y, h = blockIdx.z % a.l.heads, segs = a.l.segments;
	const tile &t = a.tiles[blockIdx.z / a.l.heads];
	if (row >= t.rows || b > t.pos / a.l.block) return;
	const int n = t.pos + row + 1, m = n < a.kernel ? 0 : (n - a.kernel) / a.stride + 1;
	float best = -INFINITY;
	for (int w = max(0, segs * b - a.l.span + 1); w < min(m, segs * (b + 1)); w++) {
		double sum = 0;
		for (int i = w; i < w + a.l.span; i++) sum += (double)a.seg_score[(size_t)a.tables[h * a.most + i / segs] * segs + i % segs];
		best = larger(best, (float)(sum / a.l.span));
	}
	a.out[((size_t)(t.first + row) * a.l.heads + h) * a.most + b] = best;
}
