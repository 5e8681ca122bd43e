// Rows into the tail with their means, and full tails into slots.
// Twins: compute/append.go, EncodeBlock of compute/layout.go
#include "encode.cuh"
#include "tile.cuh"

struct append_args {
	layout l;
	const tile *tiles;
	const float *k, *v;   // [.., heads, dim]
	const float *s;       // [.., heads] or none
	uint8_t *means;       // [ids, summary bytes] or none
	float *seg_score;     // [ids, segments] or none
	float *score;         // [ids, block] or none
	const int *ids;       // [tiles, heads]: the own block's
};

// grid (heads, tiles, channels / 32)   block 256
extern "C" __global__ void append(const __grid_constant__ append_args a) {
	const layout &l = a.l;
	const tile &t = a.tiles[blockIdx.y];
	const int h = blockIdx.x, id = a.ids[blockIdx.y * l.heads + h], n = t.rows, at = t.pos % l.block;
	const int d0 = blockIdx.z * 32, dims = min(32, l.dim - d0);
	float *key = t.tail + (size_t)h * 2 * l.block * l.dim, *val = key + (size_t)l.block * l.dim;
	for (int i = threadIdx.x; i < n * dims; i += blockDim.x) {
		const int r = i / dims, d = d0 + i % dims;
		const size_t from = ((size_t)(t.from + r) * l.heads + h) * l.dim + d;
		key[d * l.block + at + r] = a.k[from];
		val[(at + r) * l.dim + d] = a.v[from];
	}
	const bool scores = a.score && d0 == 0; // of tokens: once
	if (scores)
		for (int r = threadIdx.x; r < n; r += blockDim.x) a.score[(size_t)id * l.block + at + r] = a.s[(size_t)(t.from + r) * l.heads + h];
	if (l.segments == 0) return;
	__syncthreads();
	const int stride = l.block / l.segments;
	const int first = at / stride, last = (at + n) / stride; // those that are complete now
	for (int i = threadIdx.x; i < (last - first) * dims; i += blockDim.x) {
		const int seg = first + i / dims, d = d0 + i % dims;
		double sum = 0; // in the order of tokens, as it was cut into calls or not
		for (int j = 0; j < stride; j++) sum += (double)key[d * l.block + seg * stride + j];
		float mean = (float)(sum / stride);
		uint8_t *summary = a.means + (size_t)id * l.summary_bytes;
		if (l.kv == KV_F32)
			((float *)summary)[summary_at(l, seg, d)] = mean;
		else
			((__half *)summary)[summary_at(l, seg, d)] = __float2half_rn(smaller(65504, larger(-65504, mean)));
	}
	if (scores && a.seg_score)
		for (int seg = first + threadIdx.x; seg < last; seg += blockDim.x) {
			double sum = 0;
			for (int j = 0; j < stride; j++) sum += (double)a.score[(size_t)id * l.block + seg * stride + j];
			a.seg_score[(size_t)id * l.segments + seg] = (float)(sum / stride);
		}
}

struct seal_args {
	layout l;
	uint8_t *slots;
	const tile *tiles;
	const int *slot_of; // [tiles, heads]; −1: nothing to do
};

// grid (dim + block, heads, tiles)   block 32: a warp has a row, of keys and then of values
extern "C" __global__ void seal(const __grid_constant__ seal_args a) {
	const int h = blockIdx.y, slot = a.slot_of[blockIdx.z * a.l.heads + h];
	if (slot < 0) return;
	encode_row(a.l, a.slots + (size_t)slot * a.l.block_bytes, a.tiles[blockIdx.z].tail + (size_t)h * 2 * a.l.block * a.l.dim, blockIdx.x);
}
