// Attention to blocks in slots, in fixed splits. Twin: compute/attend.go
// how     every block is attended to by itself, all beside each other; then those of a row are
//         added in the order of its own selection, 16 to a split, splits to the total
// order   that of block numbers. Where a block lies and how the walk is cut into calls does not
//         enter: a split that a call ends in stays in the state, to the bit.
// bytes   a block once for each row and KV head that selected it, and group·(2+dim) floats of it
//         written and read again: a quarter of a bfloat16 block at 16 heads of 128
#include "layout.cuh"
#include "sum.cuh"

enum { SPLIT = 16, THREADS = 128 };

struct attend_args {
	layout l;
	float *state;        // [N, heads·group, 1 + 2·(2+dim)]
	float *out;          // [N, heads·group, dim]
	const float *q;      // [N, heads·group, dim]: the tile's rows
	const uint8_t *slots;
	const float *score;  // [ids, block] or none
	const float *tail;   // [heads, 2, block·dim]
	const int *tables;   // [heads, blocks]: ids
	const int *selected; // [N, heads, places]
	const int *count;    // [N, heads]; −1: every block
	const int *wanted;   // [heads, 1 + 2·most]: number, block numbers, slots
	int *list;           // [N, heads, 1 + most]: how many of wanted the row selected, and which
	float *part;         // [N, heads, most, group, 2+dim]: maximum, sum and weighted values
	int blocks, group, places, own, pos, most;
};

__device__ __forceinline__ int state_len(int dim) { return 1 + 2 * (2 + dim); }

// grid (N·heads·group)   block 128
extern "C" __global__ void attend_begin(const __grid_constant__ attend_args a) {
	float *s = a.state + (size_t)blockIdx.x * state_len(a.l.dim);
	for (int i = threadIdx.x; i < state_len(a.l.dim); i += blockDim.x) s[i] = i == 1 || i == 3 + a.l.dim ? -INFINITY : 0;
}

// Which of the call's blocks a row selected, in order.
// grid (N, heads)   block 128
extern "C" __global__ void attend_list(const __grid_constant__ attend_args a) {
	__shared__ int counts[4];
	const int row = blockIdx.x, h = blockIdx.y, lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	const size_t at = (size_t)row * a.l.heads + h;
	const int *wanted = a.wanted + (size_t)h * (1 + 2 * a.most), n = wanted[0], chosen = a.count[at];
	const int *selected = a.selected + at * a.places;
	int *list = a.list + at * (1 + a.most), all = 0;
	for (int from = 0; from < n; from += THREADS) {
		const int i = from + threadIdx.x;
		bool in = i < n;
		if (in && chosen >= 0) {
			const int b = wanted[1 + i];
			int lo = 0, hi = chosen;
			while (lo < hi) {
				const int mid = (lo + hi) / 2;
				if (selected[mid] < b) lo = mid + 1; else hi = mid;
			}
			in = lo < chosen && selected[lo] == b;
		}
		const unsigned votes = __ballot_sync(~0u, in);
		__syncthreads();
		if (lane == 0) counts[warp] = __popc(votes);
		__syncthreads();
		int place = all + __popc(votes & ((1u << lane) - 1));
		for (int w = 0; w < 4; w++) {
			if (w < warp) place += counts[w];
			all += counts[w];
		}
		if (in) list[1 + place] = i;
	}
	if (threadIdx.x == 0) list[0] = all;
}

// What is taken from logits before they are exponentiated.
__device__ __forceinline__ float shift_of(float top) { return top == -INFINITY ? 0 : top; }

// Two neighbouring elements of a row of n of a block, i even.
template <int KV> __device__ __forceinline__ float2 block_pair(const layout &l, const uint8_t *b, bool values, int r, int i, int n) {
	if (n % 2 == 0 && (KV == KV_F32 || KV == KV_BF16 || KV == KV_F16)) {
		const int at = (values ? l.dim * l.block : 0) + r * n + i;
		if constexpr (KV == KV_F32) return *(const float2 *)((const float *)b + at);
		const uint32_t v = *(const uint32_t *)((const uint16_t *)b + at);
		if constexpr (KV == KV_BF16) return {__uint_as_float(v << 16), __uint_as_float(v & 0xffff0000u)};
		if constexpr (KV == KV_F16) return __half22float2(*(const __half2 *)&v);
	}
	return {block_value<KV>(l, b, values, r, i), i + 1 < n ? block_value<KV>(l, b, values, r, i + 1) : 0};
}

// What a thread block has of the block that it attends to.
struct scene {
	const float4 *q; // [fours, dim]: heads go by four, as neighbours
	float4 *weight;  // [fours, block]
	const float *bias;
	float *part; // [group, 2+dim]
	int group, seen;
};

template <int KV> __device__ __forceinline__ void attend_data(const layout &l, const uint8_t *data, const scene &s) {
	const int dim = l.dim, tid = threadIdx.x, fours = (s.group + 3) / 4, seen = s.seen;
	const float root = sqrtf((float)dim);

	// Logits: a thread has two keys and four heads.
	const int pairs = (l.block + 1) / 2, twos = (dim + 1) / 2;
	for (int p = tid; p < fours * pairs; p += THREADS) {
		const int j = p % pairs * 2;
		if (j >= seen) continue;
		const float4 *q = s.q + p / pairs * dim;
		float4 x = {}, y = {};
#pragma unroll 8
		for (int d = 0; d < dim; d++) {
			const float2 k = block_pair<KV>(l, data, false, d, j, l.block);
			const float4 v = q[d];
			x.x = fmaf(v.x, k.x, x.x), x.y = fmaf(v.y, k.x, x.y), x.z = fmaf(v.z, k.x, x.z), x.w = fmaf(v.w, k.x, x.w);
			y.x = fmaf(v.x, k.y, y.x), y.y = fmaf(v.y, k.y, y.y), y.z = fmaf(v.z, k.y, y.z), y.w = fmaf(v.w, k.y, y.w);
		}
		float4 *w = s.weight + p / pairs * l.block + j;
		const float bx = s.bias ? s.bias[j] : 0, by = s.bias && j + 1 < seen ? s.bias[j + 1] : 0;
		w[0] = {x.x / root + bx, x.y / root + bx, x.z / root + bx, x.w / root + bx};
		if (j + 1 < seen) w[1] = {y.x / root + by, y.y / root + by, y.z / root + by, y.w / root + by};
	}
	__syncthreads();

	// Weights: a warp has a head.
	for (int g = tid / 32; g < s.group; g += THREADS / 32) {
		const int lane = tid % 32;
		float *w = (float *)(s.weight + g / 4 * l.block) + g % 4;
		float top = -INFINITY, sum = 0;
		for (int j = lane; j < seen; j += 32) top = larger(top, w[4 * j]);
		top = warp_max(top);
		const float shift = shift_of(top);
		for (int j = lane; j < seen; j += 32) {
			const float p = expf(w[4 * j] - shift);
			w[4 * j] = p;
			sum += p;
		}
		sum = warp_sum(sum);
		if (lane == 0) s.part[g * (2 + dim)] = top, s.part[g * (2 + dim) + 1] = sum;
	}
	__syncthreads();

	// Values: a thread has two channels and four heads.
	for (int p = tid; p < fours * twos; p += THREADS) {
		const int d = p % twos * 2;
		const float4 *weight = s.weight + p / twos * l.block;
		float4 x = {}, y = {};
#pragma unroll 8
		for (int j = 0; j < seen; j++) {
			const float2 v = block_pair<KV>(l, data, true, j, d, dim);
			const float4 w = weight[j];
			x.x = fmaf(w.x, v.x, x.x), x.y = fmaf(w.y, v.x, x.y), x.z = fmaf(w.z, v.x, x.z), x.w = fmaf(w.w, v.x, x.w);
			y.x = fmaf(w.x, v.y, y.x), y.y = fmaf(w.y, v.y, y.y), y.z = fmaf(w.z, v.y, y.z), y.w = fmaf(w.w, v.y, y.w);
		}
		const float xs[4] = {x.x, x.y, x.z, x.w}, ys[4] = {y.x, y.y, y.z, y.w};
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const int g = p / twos * 4 + i;
			if (g >= s.group) break;
			s.part[g * (2 + dim) + 2 + d] = xs[i];
			if (d + 1 < dim) s.part[g * (2 + dim) + 3 + d] = ys[i];
		}
	}
}

// Attention to one block by itself, for all query heads of a KV head: maximum, sum and
// weighted values. The block comes to shared memory in one go; the own one, which is
// float32 and one of many, is read where it lies.
// grid (blocks of the call, heads, N)   block 128
// shared  fours·16·(dim + block) bytes, then the block
template <int KV> __device__ void one_block(const attend_args &a) {
	extern __shared__ float4 shared[];
	const layout &l = a.l;
	const int dim = l.dim, group = a.group, tid = threadIdx.x, h = blockIdx.y, row = blockIdx.z;
	const size_t at = (size_t)row * l.heads + h;
	const int *list = a.list + at * (1 + a.most);
	if ((int)blockIdx.x >= list[0]) return;
	const int fours = (group + 3) / 4;
	const int *wanted = a.wanted + (size_t)h * (1 + 2 * a.most);
	const int which = list[1 + blockIdx.x], b = wanted[1 + which];
	float4 *weight = shared + fours * dim, *data = weight + fours * l.block;
	if (b != a.own) {
		const uint8_t *from = a.slots + (size_t)wanted[1 + a.most + which] * l.block_bytes;
		const int n = l.block_bytes;
		if (n % 16 == 0) {
#pragma unroll 8
			for (int i = tid; i < n / 16; i += THREADS) data[i] = ((const float4 *)from)[i];
		} else {
			for (int i = tid; i < n; i += THREADS) ((uint8_t *)data)[i] = from[i];
		}
	}
	for (int i = tid; i < 4 * fours * dim; i += THREADS) {
		const int g = i / dim, d = i % dim;
		((float *)shared)[(g / 4 * dim + d) * 4 + g % 4] = g < group ? a.q[(at * group + g) * dim + d] : 0;
	}
	__syncthreads();
	scene s;
	s.q = shared, s.weight = weight, s.group = group;
	s.bias = a.score ? a.score + (size_t)a.tables[h * a.blocks + b] * l.block : nullptr;
	s.part = a.part + (at * a.most + blockIdx.x) * group * (2 + dim);
	s.seen = min(l.block, a.pos + row + 1 - b * l.block);
	if (b == a.own)
		attend_data<KV_F32>(l, (const uint8_t *)(a.tail + (size_t)h * 2 * l.block * dim), s);
	else
		attend_data<KV>(l, (const uint8_t *)data, s);
}
#define BLOCKS(name, KV) \
	extern "C" __global__ void __launch_bounds__(THREADS) attend_block_##name(const __grid_constant__ attend_args a) { one_block<KV>(a); }
BLOCKS(f32, KV_F32)
BLOCKS(bf16, KV_BF16)
BLOCKS(f16, KV_F16)
BLOCKS(q8, KV_Q8)
BLOCKS(q4, KV_Q4)

// What has been summed of a row and head, as far as one channel is concerned.
struct running {
	float top, sum, value;
	__device__ __forceinline__ void clear() { top = -INFINITY, sum = 0, value = 0; }
	__device__ __forceinline__ void add(const running &o) {
		const float most = larger(top, o.top), shift = shift_of(most);
		const float a = expf(top - shift), b = expf(o.top - shift);
		top = most, sum = sum * a + o.sum * b, value = value * a + o.value * b;
	}
};

// The blocks of a call into the state, one after the other. A thread has a channel.
// grid (N, heads·group)   block 128
extern "C" __global__ void attend_fold(const __grid_constant__ attend_args a) {
	const int row = blockIdx.x, dim = a.l.dim, h = blockIdx.y / a.group, g = blockIdx.y % a.group;
	const size_t at = (size_t)row * a.l.heads + h;
	const int n = a.list[at * (1 + a.most)];
	if (n == 0) return;
	float *s = a.state + (at * a.group + g) * state_len(dim);
	const int count0 = (int)s[0];
	const running cur0 = {s[1], s[2], 0}, tot0 = {s[3 + dim], s[4 + dim], 0};
	__syncthreads(); // all have read what the first will write
	for (int d = threadIdx.x; d < dim; d += THREADS) {
		running cur = cur0, tot = tot0;
		cur.value = s[3 + d], tot.value = s[5 + dim + d];
		int count = count0;
#pragma unroll 8
		for (int i = 0; i < n; i++) {
			const float *part = a.part + ((at * a.most + i) * a.group + g) * (2 + dim);
			cur.add({part[0], part[1], part[2 + d]});
			if (++count == SPLIT) tot.add(cur), cur.clear(), count = 0;
		}
		s[3 + d] = cur.value, s[5 + dim + d] = tot.value;
		if (d == 0) s[0] = count, s[1] = cur.top, s[2] = cur.sum, s[3 + dim] = tot.top, s[4 + dim] = tot.sum;
	}
}

// The end: what is left of a split joins the total, then the quotient. Zeros where nothing
// was seen.
// grid (N, heads·group)   block 128
extern "C" __global__ void attend_end(const __grid_constant__ attend_args a) {
	const int dim = a.l.dim;
	const size_t at = (size_t)blockIdx.x * a.l.heads * a.group + blockIdx.y;
	const float *s = a.state + at * state_len(dim);
	for (int d = threadIdx.x; d < dim; d += THREADS) {
		running tot = {s[3 + dim], s[4 + dim], s[5 + dim + d]};
		if (s[0] != 0) tot.add({s[1], s[2], s[3 + d]});
		a.out[at * dim + d] = tot.sum != 0 ? tot.value / tot.sum : 0;
	}
}
