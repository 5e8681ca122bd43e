// Attention to blocks in slots, in fixed splits. Twin: compute/attend.go
// order   blocks of a row in the order of its own selection, keys of a block at once, splits of
//         16 blocks by themselves, then into the total one after the other. Where a block lies and
//         how the walk is cut into calls does not enter: a split that a call ends in stays in the
//         state, to the bit.
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
	float *part;         // [N, heads, splits, group, 2+dim]
	int blocks, group, places, own, pos, most, splits;
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

// One split: its blocks one after the other, for all query heads of a KV head.
// grid (splits, heads, N)   block 128   shared  (group·(2·dim + block + 2)) floats
template <int KV> __device__ void split(const attend_args &a) {
	extern __shared__ float shared[];
	const layout &l = a.l;
	const int dim = l.dim, group = a.group, tid = threadIdx.x, h = blockIdx.y, row = blockIdx.z;
	const size_t at = (size_t)row * l.heads + h;
	const int *list = a.list + at * (1 + a.most), n = list[0];
	float *state = a.state + at * group * state_len(dim);
	// The state's running split has started this many blocks before the call.
	const int before = (int)state[0], from = max(0, (int)blockIdx.x * SPLIT - before), to = min(n, ((int)blockIdx.x + 1) * SPLIT - before);
	if (from >= to) return;

	float *q = shared, *acc = q + group * dim, *logits = acc + group * dim, *top = logits + group * l.block, *sum = top + group;
	const bool goes_on = blockIdx.x == 0; // the first split continues the state's
	for (int i = tid; i < group * dim; i += THREADS) {
		q[i] = a.q[at * group * dim + i];
		acc[i] = goes_on ? state[i / dim * state_len(dim) + 3 + i % dim] : 0;
	}
	for (int g = tid; g < group; g += THREADS) {
		top[g] = goes_on ? state[g * state_len(dim) + 1] : -INFINITY;
		sum[g] = goes_on ? state[g * state_len(dim) + 2] : 0;
	}
	const float root = sqrtf((float)dim);
	const int *wanted = a.wanted + (size_t)h * (1 + 2 * a.most);
	for (int i = from; i < to; i++) {
		const int which = list[1 + i], b = wanted[1 + which], slot = wanted[1 + a.most + which];
		const bool own = b == a.own;
		const int seen = min(l.block, a.pos + row + 1 - b * l.block);
		const float *tail = a.tail + (size_t)h * 2 * l.block * dim;
		const uint8_t *block = a.slots + (size_t)(own ? 0 : slot) * l.block_bytes;
		const float *bias = a.score ? a.score + (size_t)a.tables[h * a.blocks + b] * l.block : nullptr;
		__syncthreads();
		// Logits: a thread has a key and four heads.
		const int fours = (group + 3) / 4;
		for (int p = tid; p < fours * l.block; p += THREADS) {
			const int j = p % l.block, g0 = p / l.block * 4;
			if (j >= seen) continue;
			float x[4] = {};
			for (int d = 0; d < dim; d++) {
				const float k = own ? tail[d * l.block + j] : block_value<KV>(l, block, false, d, j);
#pragma unroll
				for (int g = 0; g < 4; g++) x[g] = fmaf(q[min(g0 + g, group - 1) * dim + d], k, x[g]);
			}
#pragma unroll
			for (int g = 0; g < 4; g++)
				if (g0 + g < group) logits[(g0 + g) * l.block + j] = bias ? x[g] / root + bias[j] : x[g] / root;
		}
		__syncthreads();
		// Weights: a warp has a head. What was summed before fades by the new maximum.
		for (int g = tid / 32; g < group; g += THREADS / 32) {
			const int lane = tid % 32;
			float most = top[g];
			for (int j = lane; j < seen; j += 32) most = larger(most, logits[g * l.block + j]);
			most = warp_max(most);
			const float shift = shift_of(most), decay = expf(top[g] - shift);
			float s = 0;
			for (int j = lane; j < seen; j += 32) {
				const float p = expf(logits[g * l.block + j] - shift);
				logits[g * l.block + j] = p;
				s += p;
			}
			s = warp_sum(s);
			__syncwarp();
			for (int d = lane; d < dim; d += 32) acc[g * dim + d] *= decay;
			if (lane == 0) top[g] = most, sum[g] = sum[g] * decay + s;
		}
		__syncthreads();
		// Values: a thread has a channel and four heads.
		for (int p = tid; p < fours * dim; p += THREADS) {
			const int d = p % dim, g0 = p / dim * 4;
			float x[4];
#pragma unroll
			for (int g = 0; g < 4; g++) x[g] = acc[min(g0 + g, group - 1) * dim + d];
			for (int j = 0; j < seen; j++) {
				const float v = own ? tail[l.block * dim + j * dim + d] : block_value<KV>(l, block, true, j, d);
#pragma unroll
				for (int g = 0; g < 4; g++) x[g] = fmaf(logits[min(g0 + g, group - 1) * l.block + j], v, x[g]);
			}
#pragma unroll
			for (int g = 0; g < 4; g++)
				if (g0 + g < group) acc[(g0 + g) * dim + d] = x[g];
		}
	}
	__syncthreads();
	float *part = a.part + ((at * a.splits + blockIdx.x) * group) * (2 + dim);
	for (int i = tid; i < group * dim; i += THREADS) part[i / dim * (2 + dim) + 2 + i % dim] = acc[i];
	for (int g = tid; g < group; g += THREADS) part[g * (2 + dim)] = top[g], part[g * (2 + dim) + 1] = sum[g];
}
#define SPLITS(name, KV) \
	extern "C" __global__ void __launch_bounds__(THREADS) attend_split_##name(const __grid_constant__ attend_args a) { split<KV>(a); }
SPLITS(f32, KV_F32)
SPLITS(bf16, KV_BF16)
SPLITS(f16, KV_F16)
SPLITS(q8, KV_Q8)
SPLITS(q4, KV_Q4)

// merge adds a split to the total. Threads have channels.
__device__ __forceinline__ void merge(float *tot, const float *cur, int dim) {
	const float ta = tot[0], ca = cur[0], top = larger(ta, ca), shift = shift_of(top);
	const float a = expf(ta - shift), b = expf(ca - shift);
	__syncthreads(); // all have read the maxima
	for (int i = 1 + threadIdx.x; i < 2 + dim; i += blockDim.x) tot[i] = tot[i] * a + cur[i] * b;
	if (threadIdx.x == 0) tot[0] = top;
	__syncthreads();
}

// The splits of a call into the state.
// grid (N, heads·group)   block 128
extern "C" __global__ void attend_fold(const __grid_constant__ attend_args a) {
	const int row = blockIdx.x, dim = a.l.dim, h = blockIdx.y / a.group, g = blockIdx.y % a.group;
	const size_t at = (size_t)row * a.l.heads + h;
	const int n = a.list[at * (1 + a.most)];
	if (n == 0) return;
	float *s = a.state + (at * a.group + g) * state_len(dim);
	const int before = (int)s[0], all = before + n;
	__syncthreads();
	for (int i = 0; i * SPLIT < all; i++) {
		const float *part = a.part + ((at * a.splits + i) * a.group + g) * (2 + dim);
		if ((i + 1) * SPLIT <= all) {
			merge(s + 3 + dim, part, dim);
			continue;
		}
		for (int j = threadIdx.x; j < 2 + dim; j += blockDim.x) s[1 + j] = part[j];
	}
	__syncthreads();
	if (all % SPLIT == 0)
		for (int j = threadIdx.x; j < 2 + dim; j += blockDim.x) s[1 + j] = j == 0 ? -INFINITY : 0;
	if (threadIdx.x == 0) s[0] = all % SPLIT;
}

// The end: what is left of a split, then the quotient. Zeros where nothing was seen.
// grid (N, heads·group)   block 128
extern "C" __global__ void attend_end(const __grid_constant__ attend_args a) {
	const int dim = a.l.dim;
	const size_t at = (size_t)blockIdx.x * a.l.heads * a.group + blockIdx.y;
	float *s = a.state + at * state_len(dim), *tot = s + 3 + dim;
	if (s[0] != 0) merge(tot, s + 1, dim);
	const float sum = tot[1];
	for (int d = threadIdx.x; d < dim; d += blockDim.x) a.out[at * dim + d] = sum != 0 ? tot[2 + d] / sum : 0;
}
