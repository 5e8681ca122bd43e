// Rows into the tail with their means, and full tails into slots.
// Twins: compute/append.go, EncodeBlock of compute/layout.go
#include "layout.cuh"
#include "sum.cuh"

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
extern "C" __global__ void seal(const __grid_constant__ seal_args a) {
	const layout &l = a.l;
	const bool values = (int)blockIdx.x >= l.dim;
	const int r = values ? blockIdx.x - l.dim : blockIdx.x, n = values ? l.dim : l.block;
	const size_t at = (values ? (size_t)l.dim * l.block : 0) + (size_t)r * n;
	const float *x = a.tail + at;
	if (l.kv == KV_F32 || l.kv == KV_BF16 || l.kv == KV_F16) {
		for (int i = threadIdx.x; i < n; i += 32) {
			if (l.kv == KV_F32) {
				((float *)a.slot)[at + i] = x[i];
			} else if (l.kv == KV_F16) {
				((__half *)a.slot)[at + i] = __float2half_rn(x[i]);
			} else { // to the nearest, ties to even; what is no number stays none
				const uint32_t b = __float_as_uint(x[i]);
				((uint16_t *)a.slot)[at + i] = (b & 0x7fffffff) > 0x7f800000 ? (b >> 16) | 0x40 : (b + 0x7fff + (b >> 16 & 1)) >> 16;
			}
		}
		return;
	}
	float lo = x[0], hi = x[0];
	for (int i = threadIdx.x; i < n; i += 32) lo = smaller(lo, x[i]), hi = larger(hi, x[i]);
	lo = warp_min(lo), hi = warp_max(hi);
	const float top = l.kv == KV_Q8 ? 255 : 15;
	const float scale = 2 * ((hi / 2 - lo / 2) / top);
	const int kbytes = l.dim * code_bytes(l, l.block), size = code_bytes(l, n);
	uint8_t *codes = a.slot + (values ? kbytes : 0) + r * size;
	auto code = [&](float v) {
		if (scale == 0) return 0;
		const double c = rint((double)(v / 2 - lo / 2) / ((double)scale / 2));
		return c != c ? 0 : (int)fmin(fmax(c, 0.0), (double)top);
	};
	for (int i = threadIdx.x; i < size; i += 32) {
		int c = code(x[i]);
		if (l.kv == KV_Q4 && i + size < n) c |= code(x[i + size]) << 4;
		codes[i] = c;
	}
	if (threadIdx.x < 8) {
		const uint32_t word = __float_as_uint(threadIdx.x < 4 ? lo : scale);
		uint8_t *p = a.slot + kbytes + l.block * code_bytes(l, l.dim) + 8 * ((values ? l.dim : 0) + r);
		p[threadIdx.x] = word >> (8 * (threadIdx.x % 4));
	}
}
