// What the product of queries, keys and values becomes: rotated queries, and, of a step, in
// the cache the tails, importance scores and means of segments.
// Twins: compute/norm.go, rotate.go, importance.go, append.go
// order   a head's sum of squares knows dim alone, a score's sum heads·dim; means are summed
//         token by token
#include "../ptx.cuh"
#include "step.cuh"

struct angles_args {
	step_rows rows;
	float *out;       // [n, 2, pairs]: cosines, sines
	const float *inv; // [pairs]
	int pairs;
	float factor;
};

// Once a step, for all layers.
// grid (n)   block 128
extern "C" __global__ void step_angles(const __grid_constant__ angles_args a) {
	const int pos = a.rows.pos[blockIdx.x];
	if (pos < 0) return;
	float *out = a.out + (size_t)blockIdx.x * 2 * a.pairs;
	for (int i = threadIdx.x; i < a.pairs; i += blockDim.x) {
		const float angle = (float)pos * a.inv[i]; // as checkpoints are trained
		double s, c;
		sincos((double)angle, &s, &c);
		out[i] = (float)c * a.factor;
		out[a.pairs + i] = (float)s * a.factor;
	}
}

struct append_args {
	step_cache c;
	step_rows rows;
	const float *qkv;                  // [n, (heads·group + 2·heads)·dim]: queries, keys, values
	float *q;                          // [n, heads·group, dim]
	const float *angles;               // [n, 2, pairs]
	const float *q_norm, *k_norm;      // [dim], or none
	const float *delta, *bias, *scale; // [heads, heads·dim], [heads] or none, [heads]: of the importance score, or none
	int group, pairs, interleaved;
	float eps;
};

// A warp's head of queries or keys: norm, then rotation; put gets each channel once. Loads
// go four at a time, and by __ldg, so that none waits for a store.
template <typename A, typename F> __device__ __forceinline__ void head(const A &a, int dim, const float *x, const float *norm, const float *angles, F put) {
	const int lane = threadIdx.x % 32;
	float inv = 1;
	if (norm) {
		float sum = 0;
		for (int from = lane; from < dim; from += 128) {
			float v[4];
#pragma unroll
			for (int j = 0; j < 4; j++) v[j] = from + 32 * j < dim ? __ldg(x + from + 32 * j) : 0;
#pragma unroll
			for (int j = 0; j < 4; j++) sum = fmaf(v[j], v[j], sum);
		}
		inv = 1 / sqrtf(warp_sum(sum) / dim + a.eps);
	}
	auto value = [&](int i) { return norm ? __ldg(norm + i) * (__ldg(x + i) * inv) : __ldg(x + i); };
	const int step = a.interleaved ? 2 : 1, beside = a.interleaved ? 1 : a.pairs;
	for (int from = lane; from < a.pairs; from += 128) {
		float u[4], v[4], cos[4], sin[4];
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const int i = from + 32 * j;
			if (i < a.pairs) u[j] = value(step * i), v[j] = value(step * i + beside), cos[j] = __ldg(angles + i), sin[j] = __ldg(angles + a.pairs + i);
		}
#pragma unroll
		for (int j = 0; j < 4; j++) {
			const int i = from + 32 * j;
			if (i >= a.pairs) break;
			put(step * i, __fadd_rn(__fmul_rn(u[j], cos[j]), -__fmul_rn(v[j], sin[j])));
			put(step * i + beside, __fadd_rn(__fmul_rn(v[j], cos[j]), __fmul_rn(u[j], sin[j])));
		}
	}
	for (int i = 2 * a.pairs + lane; i < dim; i += 32) put(i, value(i));
}

// grid (n, heads)   block a warp for each query of the group, one for the key and one for
// the value, up to 1024 threads
extern "C" __global__ void __launch_bounds__(1024) step_append(const __grid_constant__ append_args a) {
	const int row = blockIdx.x, h = blockIdx.y, pos = a.rows.pos[row], seat = a.rows.seat[row];
	if ((pos | seat) < 0) { // the one load does not wait for the other
		wait_for_earlier(); // the kernel after this one takes it for granted
		return;
	}
	const layout &l = a.c.l;
	const int dim = l.dim, group = a.group, lane = threadIdx.x % 32, at = pos % l.block;
	const float *qkv = a.qkv + (size_t)row * l.heads * (group + 2) * dim, *angles = a.angles + (size_t)row * 2 * a.pairs;
	const float *keys = qkv + l.heads * group * dim, *values = keys + l.heads * dim;
	const int id = block_id(a.c, seat, h, pos / l.block), stride = l.segments > 0 ? l.block / l.segments : 0, seg = stride > 0 ? at / stride : 0;
	const bool full = stride > 0 && (at + 1) % stride == 0; // a segment, whose mean wants what came before
	float *tail = tail_of(a.c, seat, h);
	if (full)
		for (int d = threadIdx.x; d < dim; d += blockDim.x) prefetch_l2(tail + (size_t)d * l.block + seg * stride);
	// The importance score's numbers do not wait for the product.
	const int width = l.heads * dim;
	const float *delta = a.delta ? a.delta + (size_t)h * width : nullptr;
	const bool scores = delta && threadIdx.x / 32 == 1;
	float bias = 0, scale = 0;
	if (scores) {
		for (int i = 32 * lane; i < width; i += 1024) prefetch_l2(delta + i);
		if (a.bias) bias = __ldg(a.bias + h);
		scale = __ldg(a.scale + h);
	}
	wait_for_earlier();
	allow_later();

	for (int u = threadIdx.x / 32; u < group + 2; u += blockDim.x / 32) {
		if (u == 0) { // [dim, block]
			head(a, dim, keys + h * dim, a.k_norm, angles, [&](int i, float v) { tail[(size_t)i * l.block + at] = v; });
		} else if (u == 1) { // [block, dim]
			float *to = tail + (size_t)dim * l.block + (size_t)at * dim;
			float sum = 0;
#pragma unroll 4
			for (int i = lane; i < dim; i += 32) to[i] = __ldg(values + h * dim + i);
			if (!scores) continue;
#pragma unroll 8
			for (int i = lane; i < width; i += 32) sum = fmaf(__ldg(delta + i), __ldg(values + i), sum);
			sum = warp_sum(sum) + bias;
			if (lane == 0) a.c.score[(size_t)id * l.block + at] = scale * (larger(sum, 0) + log1pf(expf(-fabsf(sum))));
		} else {
			const int g = h * group + u - 2;
			float *to = a.q + ((size_t)row * l.heads * group + g) * dim;
			head(a, dim, qkv + g * dim, a.q_norm, angles, [&](int i, float v) { to[i] = v; });
		}
	}
	if (!full) return;
	__syncthreads();
	for (int d = threadIdx.x; d < dim; d += blockDim.x) {
		const float *key = tail + (size_t)d * l.block + seg * stride;
		double sum = 0;
#pragma unroll 16
		for (int j = 0; j < stride; j++) sum += (double)key[j];
		const float mean = (float)(sum / stride);
		uint8_t *summary = a.c.means + (size_t)id * l.summary_bytes;
		if (l.kv == KV_F32)
			((float *)summary)[summary_at(l, seg, d)] = mean;
		else
			((__half *)summary)[summary_at(l, seg, d)] = __float2half_rn(smaller(65504, larger(-65504, mean)));
	}
	if (a.delta && threadIdx.x == blockDim.x - 32) {
		const float *score = a.c.score + (size_t)id * l.block + seg * stride;
		double sum = 0;
#pragma unroll 16
		for (int j = 0; j < stride; j++) sum += (double)score[j];
		a.c.seg_score[(size_t)id * l.segments + seg] = (float)(sum / stride);
	}
}

struct heads_args {
	const float *qkv;             // [n, (heads + 2·kv_heads)·dim]: queries, keys, values
	float *q, *k, *v;             // [n − skip, heads, dim], [n, kv_heads, dim]
	const float *angles;          // [n, 2, pairs]
	const float *q_norm, *k_norm; // [dim], or none
	int heads, kv_heads, dim, pairs, interleaved;
	int skip; // rows without queries
	float eps;
};

// Where head u of a row goes.
__device__ __forceinline__ float *place_of(const heads_args &a, int row, int u) {
	if (u < a.heads) return a.q + ((size_t)(row - a.skip) * a.heads + u) * a.dim;
	u -= a.heads;
	return u < a.kv_heads ? a.k + ((size_t)row * a.kv_heads + u) * a.dim : a.v + ((size_t)row * a.kv_heads + u - a.kv_heads) * a.dim;
}

// The same product taken apart for the ordinary ops of a cache: no tails, no scores.
// grid (n)   block any number of warps: each has a head at a time
extern "C" __global__ void step_heads(const __grid_constant__ heads_args a) {
	const int row = blockIdx.x, lane = threadIdx.x % 32, all = a.heads + 2 * a.kv_heads;
	const float *qkv = a.qkv + (size_t)row * all * a.dim, *angles = a.angles + (size_t)row * 2 * a.pairs;
	for (int u = threadIdx.x / 32 + (row < a.skip ? a.heads : 0); u < all; u += blockDim.x / 32) {
		const float *x = qkv + u * a.dim;
		float *to = place_of(a, row, u);
		if (u < a.heads + a.kv_heads) {
			head(a, a.dim, x, u < a.heads ? a.q_norm : a.k_norm, angles, [&](int i, float v) { to[i] = v; });
		} else {
			for (int i = lane; i < a.dim; i += 32) to[i] = __ldg(x + i);
		}
	}
}

// step_heads of 128 channels in pairs of 64, without norms, to the bit: a lane has four
// neighbours, whose pairs the lane 16 further has.
extern "C" __global__ void step_heads_128(const __grid_constant__ heads_args a) {
	enum { AHEAD = 3 };
	const int row = blockIdx.x, lane = threadIdx.x % 32, all = a.heads + 2 * a.kv_heads, warps = blockDim.x / 32;
	const float4 *qkv = (const float4 *)(a.qkv + (size_t)row * all * 128) + lane, *angles = (const float4 *)(a.angles + (size_t)row * 128) + lane % 16;
	const float4 cos = __ldg(angles), sin = __ldg(angles + 16);
	const auto turn = [&](float v, float c, float s) {
		const float other = __shfl_xor_sync(~0u, v, 16);
		return __fadd_rn(__fmul_rn(v, c), lane < 16 ? -__fmul_rn(other, s) : __fmul_rn(other, s));
	};
	for (int from = threadIdx.x / 32 + (row < a.skip ? a.heads : 0); from < all; from += AHEAD * warps) {
		float4 x[AHEAD];
#pragma unroll
		for (int j = 0; j < AHEAD; j++)
			if (from + j * warps < all) x[j] = __ldg(qkv + 32 * (from + j * warps));
#pragma unroll
		for (int j = 0; j < AHEAD; j++) {
			const int u = from + j * warps;
			if (u >= all) break;
			if (u < a.heads + a.kv_heads) x[j] = make_float4(turn(x[j].x, cos.x, sin.x), turn(x[j].y, cos.y, sin.y), turn(x[j].z, cos.z, sin.z), turn(x[j].w, cos.w, sin.w));
			((float4 *)place_of(a, row, u))[lane] = x[j];
		}
	}
}
