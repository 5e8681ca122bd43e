// What draws want to know of rows of logits: the largest ones, in their order, and the weight of
// all. Twin: compute/peak.go
// how     a row is cut into up to CHUNKS chunks, of which the largest numbers come first. As many
//         chunks as numbers are asked for have one at or above the limit that their largest give,
//         so that what is at or above it has all that is asked for, and little else. It is
//         gathered from those chunks and sorted
// bytes   rows once for the chunks (96 of 128,256: 49 MB, 12 us at the copy rate), once for the
//         weights, and what is gathered from; 8 KB a row come out
// order   keys are all different, so that it does not matter where the gathered lay before they
//         were sorted. A part of the weights is a thread's numbers in turn, then a tree
#include "../ptx.cuh"
#include "step.cuh"

enum {
	CHUNKS = 2048,  // at most; a power of two
	GATHERED = 2048, // numbers at most, of which the largest are sorted out: likewise
	PARTS = 32,     // of the weights' sum
	HEAD = PARTS + 1,
	THREADS = 1024, // of sample_keys
	WEIGHERS = 256,
	BATCH = 8, // loads that a thread has on their way
};

struct ask {
	int most;          // numbers; 0: none
	float temperature; // 0: no weight
};

struct sample_args {
	const float *logits; // [n, vocab]
	const ask *asks;     // [n]
	float *most;         // [n, CHUNKS] of each chunk; −∞ if none of it is a number
	uint64_t *out;       // [n, HEAD + keys]: the weights' parts, how many keys there are, these
	int vocab, chunk, chunks, keys; // chunk: a multiple of 32
};

// As compute.Peak has it.
__device__ __forceinline__ uint64_t key_of(float v, int id) {
	const uint32_t b = v == 0 ? 0 : __float_as_uint(v);
	return (uint64_t)(b >> 31 ? b : ~(b | 1u << 31)) << 32 | (uint32_t)id;
}

// The largest of a row's chunks, of a thread block of N threads. shared is N/32 floats.
template <int N> __device__ __forceinline__ float largest(const sample_args &a, int row, float *shared) {
	float v = -INFINITY;
	for (int i = threadIdx.x; i < a.chunks; i += N) v = fmaxf(v, a.most[(size_t)row * CHUNKS + i]);
#pragma unroll
	for (int d = 16; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
	if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
	__syncthreads();
	v = shared[threadIdx.x % (N / 32)];
#pragma unroll
	for (int d = N / 64; d > 0; d /= 2) v = fmaxf(v, __shfl_xor_sync(~0u, v, d));
	return v;
}

// A warp has EACH chunks.
// grid (⌈chunks/64⌉, n)   block 256
extern "C" __global__ void __launch_bounds__(256) sample_chunks(const __grid_constant__ sample_args a) {
	enum { EACH = 8 };
	const int row = blockIdx.y, from = (blockIdx.x * 8 + threadIdx.x / 32) * EACH, lane = threadIdx.x % 32;
	if (a.asks[row].most == 0) return;
	const float *x = a.logits + (size_t)row * a.vocab;
	float top[EACH];
#pragma unroll
	for (int c = 0; c < EACH; c++) top[c] = -INFINITY;
#pragma unroll 2
	for (int j = lane; j < a.chunk; j += 32) {
#pragma unroll
		for (int c = 0; c < EACH; c++) {
			const int i = (from + c) * a.chunk + j;
			if (i < a.vocab) top[c] = fmaxf(top[c], x[i]);
		}
	}
#pragma unroll
	for (int c = 0; c < EACH; c++) {
#pragma unroll
		for (int d = 16; d > 0; d /= 2) top[c] = fmaxf(top[c], __shfl_xor_sync(~0u, top[c], d));
		if (lane == 0 && from + c < a.chunks) a.most[(size_t)row * CHUNKS + from + c] = top[c];
	}
}

// Sorts n numbers in shared memory, a power of two, the least first.
template <typename T> __device__ __forceinline__ void sort(T *x, int n) {
	for (int size = 2; size <= n; size *= 2)
		for (int apart = size / 2; apart > 0; apart /= 2) {
			__syncthreads();
			for (int p = threadIdx.x; p < n / 2; p += THREADS) {
				const int i = 2 * p - (p & (apart - 1));
				const T low = x[i], high = x[i + apart];
				if ((low > high) == ((i & size) == 0)) x[i] = high, x[i + apart] = low;
			}
		}
	__syncthreads();
}

__device__ __forceinline__ int power_of_two(int n) { return n < 2 ? 1 : 1 << (32 - __clz(n - 1)); }

// A part of a row's weight. It begins beside sample_keys, of which it reads nothing.
// grid (PARTS, n)   block WEIGHERS
extern "C" __global__ void __launch_bounds__(WEIGHERS, 4) sample_weights(const __grid_constant__ sample_args a) {
	__shared__ float tops[WEIGHERS / 32];
	__shared__ double sums[WEIGHERS / 32];
	const int part = blockIdx.x, row = blockIdx.y;
	const float temperature = a.asks[row].temperature, *x = a.logits + (size_t)row * a.vocab;
	if (temperature > 0) {
		const float top = largest<WEIGHERS>(a, row, tops);
		const double scale = 1 / (double)temperature;
		const int each = (a.vocab + PARTS - 1) / PARTS, to = min(a.vocab, (part + 1) * each);
		double sum = 0;
		for (int from = part * each + threadIdx.x; from < to && top - top == 0; from += BATCH * WEIGHERS) {
			float v[BATCH];
#pragma unroll
			for (int b = 0; b < BATCH; b++) v[b] = from + b * WEIGHERS < to ? x[from + b * WEIGHERS] : -INFINITY;
#pragma unroll
			for (int b = 0; b < BATCH; b++) sum += exp((double)((v[b] == v[b] ? v[b] : -INFINITY) - top) * scale);
		}
#pragma unroll
		for (int d = 16; d > 0; d /= 2) sum += __shfl_xor_sync(~0u, sum, d);
		if (threadIdx.x % 32 == 0) sums[threadIdx.x / 32] = sum;
		__syncthreads();
		if (threadIdx.x == 0) {
			for (int i = 1; i < WEIGHERS / 32; i++) sum += sums[i];
			((double *)(a.out + (size_t)row * (HEAD + a.keys)))[part] = sum;
		}
	}
	wait_for_earlier();
}

// The next place of a list for those lanes of a warp that have one to add.
__device__ __forceinline__ int place(bool has, int *count) {
	const int lane = threadIdx.x % 32;
	const unsigned votes = __ballot_sync(~0u, has);
	int at = 0;
	if (votes != 0 && lane == 0) at = atomicAdd(count, __popc(votes));
	return __shfl_sync(~0u, at, 0) + __popc(votes & ((1u << lane) - 1));
}

// What gather works with.
struct gathering {
	float most[CHUNKS];
	uint64_t keys[GATHERED];
	uint16_t chunk[CHUNKS]; // that have something
	int chunks, found;
};

// Gathers the keys of what is at least limit, and returns how many there are: those beyond
// GATHERED are counted only.
__device__ __forceinline__ int gather(const sample_args &a, const float *x, float limit, gathering &s) {
	const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
	if (threadIdx.x == 0) s.chunks = s.found = 0;
	__syncthreads();
	for (int c = threadIdx.x; c < CHUNKS; c += THREADS) {
		const bool has = c < a.chunks && s.most[c] >= limit;
		const int at = place(has, &s.chunks);
		if (has) s.chunk[at] = c;
	}
	__syncthreads();
	for (int from = warp; from < s.chunks; from += BATCH * (THREADS / 32))
		for (int j = lane; j < a.chunk; j += 32) {
			float v[BATCH];
			int i[BATCH];
#pragma unroll
			for (int b = 0; b < BATCH; b++) {
				const int c = from + b * (THREADS / 32);
				i[b] = c < s.chunks ? s.chunk[c] * a.chunk + j : a.vocab;
				v[b] = i[b] < a.vocab ? x[i[b]] : NAN;
			}
#pragma unroll
			for (int b = 0; b < BATCH; b++) {
				const bool has = v[b] >= limit;
				const int at = place(has, &s.found);
				if (has && at < GATHERED) s.keys[at] = key_of(v[b], i[b]);
			}
		}
	__syncthreads();
	const int n = s.found;
	__syncthreads();
	return n;
}

// grid (n)   block THREADS
extern "C" __global__ void __launch_bounds__(THREADS, 1) sample_keys(const __grid_constant__ sample_args a) {
	__shared__ gathering s;
	__shared__ float sorted[CHUNKS], tops[THREADS / 32];
	__shared__ int first;
	allow_later();
	const int row = blockIdx.x, wanted = a.asks[row].most, size = power_of_two(a.chunks);
	const float *const x = a.logits + (size_t)row * a.vocab;
	uint64_t *const out = a.out + (size_t)row * (HEAD + a.keys);
	int n = 0;
	const float top = wanted > 0 ? largest<THREADS>(a, row, tops) : NAN;
	if (top - top == 0) {
		for (int i = threadIdx.x; i < size; i += THREADS) s.most[i] = sorted[i] = i < a.chunks ? a.most[(size_t)row * CHUNKS + i] : -INFINITY;
		if (threadIdx.x == 0) s.found = first = a.vocab;
		__syncthreads();
	}
	if (top - top == 0 && wanted == 1) {
		for (int c = threadIdx.x; c < a.chunks; c += THREADS)
			if (s.most[c] == top) atomicMin(&s.found, c);
		__syncthreads();
		for (int i = s.found * a.chunk + threadIdx.x; i < min(a.vocab, (s.found + 1) * a.chunk); i += THREADS)
			if (x[i] == top) atomicMin(&first, i);
		__syncthreads();
		if (threadIdx.x == 0) s.keys[0] = key_of(top, first);
		__syncthreads();
		n = 1;
	} else if (top - top == 0) {
		sort(sorted, size);
		// Of nearly all chunks the least of the largest says little.
		for (int rank = min(wanted, max(1, a.chunks * 11 / 16)); rank > 0; rank /= 2) {
			n = gather(a, x, a.vocab <= GATHERED ? -INFINITY : sorted[size - rank], s);
			if (n <= GATHERED) break;
			n = 0; // too many are equal, or near each other: fewer of the largest
		}
		const int all = power_of_two(n);
		for (int i = n + threadIdx.x; i < all; i += THREADS) s.keys[i] = ~0ull;
		sort(s.keys, all);
		n = min(n, wanted);
	}
	for (int i = threadIdx.x; i < n; i += THREADS) out[HEAD + i] = s.keys[i];
	if (threadIdx.x == 0) out[PARTS] = n;
}
