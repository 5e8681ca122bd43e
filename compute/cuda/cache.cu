// Rows into the tail with their means, and full tails into slots.
// Twins: compute/append.go, EncodeBlock of compute/layout.go
#include "encode.cuh"

struct append_args {
	layout l;
	float *tail;          // [heads, 2, block·dim]
	const float *k, *v;   // [N, heads, dim]
	const float *s;       // [N, heads] or none
	uint8_t *means;       // [ids, summary bytes] or none
	float *seg_score;     // [ids, segments] or none
	float *score;         // [ids, block] or none
	const int *ids;       // [heads]: the own block's
	int at, n;            // first token in the block, tokens
};

// grid (heads)   block 256
extern "C" __global__ void append(const __grid_constant__ append_args a) {
	const layout &l = a.l;
	const int h = blockIdx.x, id = a.ids[h];
	float *key = a.tail + (size_t)h * 2 * l.block * l.dim, *val = key + (size_t)l.block * l.dim;
	for (int i = threadIdx.x; i < a.n * l.dim; i += blockDim.x) {
		const int r = i / l.dim, d = i % l.dim;
		const size_t from = ((size_t)r * l.heads + h) * l.dim + d;
		key[d * l.block + a.at + r] = a.k[from];
		val[(a.at + r) * l.dim + d] = a.v[from];
	}
	if (a.score)
		for (int r = threadIdx.x; r < a.n; r += blockDim.x) a.score[(size_t)id * l.block + a.at + r] = a.s[(size_t)r * l.heads + h];
	if (l.segments == 0) return;
	__syncthreads();
	const int stride = l.block / l.segments;
	const int first = a.at / stride, last = (a.at + a.n) / stride; // those that are complete now
	for (int i = threadIdx.x; i < (last - first) * l.dim; i += blockDim.x) {
		const int seg = first + i / l.dim, d = i % l.dim;
		double sum = 0; // in the order of tokens, as it was cut into calls or not
		for (int j = 0; j < stride; j++) sum += (double)key[d * l.block + seg * stride + j];
		float mean = (float)(sum / stride);
		uint8_t *summary = a.means + (size_t)id * l.summary_bytes;
		if (l.kv == KV_F32)
			((float *)summary)[summary_at(l, seg, d)] = mean;
		else
			((__half *)summary)[summary_at(l, seg, d)] = __float2half_rn(smaller(65504, larger(-65504, mean)));
	}
	if (a.seg_score)
		for (int seg = first + threadIdx.x; seg < last; seg += blockDim.x) {
			double sum = 0;
			for (int j = 0; j < stride; j++) sum += (double)a.score[(size_t)id * l.block + seg * stride + j];
			a.seg_score[(size_t)id * l.segments + seg] = (float)(sum / stride);
		}
}

struct seal_args {
	layout l;
	uint8_t *slot;
	const float *tail; // [2, block·dim] of the head
};

// grid (dim + block)   block 32: a warp has a row, of keys and then of values
extern "C" __global__ void seal(const __grid_constant__ seal_args a) { encode_row(a.l, a.slot, a.tail, blockIdx.x); }
