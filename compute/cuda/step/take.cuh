// The best of a list of keys, exactly. Twin: compute/selection.go
// how     keys are in shared memory. Where the last one that is taken lies a count of the upper
//         bits tells of what they are above the least; among those that share them each is held
//         against all, or, if they are many, their next bits are counted. Of equal ones the
//         first are taken
#pragma once
#include "keys.cuh"

enum {
	DIGIT = 11, DIGITS = 2048, // bits that are counted at a time; a thread has four of their values
	FEW = THREADS / 4,         // that are held against each other
};

struct list {
	int n;
	const uint32_t *key; // [n]; 0: none
	uint32_t *in;        // [words] a bit for each that is taken
	uint32_t *equal;     // [words]
	int *before;         // [words + 1]
};

// What the threads share beside it.
struct counting {
	uint32_t digit[DIGITS]; // how many have it; 0 between takes
	uint2 few[FEW];         // key and place
	int sums[32];
	int last, above, count; // the digit of the last one taken, how many are above it and have it
	int found;              // of few
	uint32_t least, most;   // of the keys; ~0 and 0 between takes
};

__device__ __forceinline__ void blank(counting &s) {
	((uint4 *)s.digit)[threadIdx.x] = {};
	if (threadIdx.x == 0) s.least = ~0u, s.most = 0;
}

__device__ __forceinline__ bool has(const list &c, int i) { return c.in[i / 32] >> (i % 32) & 1; }

// The key that a choice goes by: what is not a number is below all others, and 0 is left for
// those that are in.
__device__ __forceinline__ uint32_t rank(const list &c, int i) {
	const uint32_t key = c.key[i];
	return has(c, i) ? 0 : key == ~0u ? 1 : key;
}

// Goes through n of something with whole warps; f may see numbers beyond the last.
template <typename F> __device__ __forceinline__ void each(int n, F f) {
	for (int i = threadIdx.x; i / 32 <= (n - 1) / 32; i += THREADS) f(i);
}

// Sets to, for words of n bits, to how many are set before each, and in all. sums is 32 ints.
__device__ void count_before(int *to, const uint32_t *words, int n, int *sums) {
	n = (n + 31) / 32;
	int sum = 0;
	__syncthreads();
	if (n > 32) {
		for (int from = 0; from < n; from += THREADS) {
			const int i = from + threadIdx.x;
			int all;
			const int up = before(i < n ? __popc(words[i]) : 0, sums, all);
			if (i < n) to[i] = sum + up;
			sum += all;
		}
		if (threadIdx.x == 0) to[n] = sum;
	} else if (threadIdx.x < 32) {
		const int own = (int)threadIdx.x < n ? __popc(words[threadIdx.x]) : 0;
		int up = own;
		for (int d = 1; d < 32; d *= 2) {
			const int v = __shfl_up_sync(~0u, up, d);
			if ((int)threadIdx.x >= d) up += v;
		}
		if ((int)threadIdx.x < n) to[threadIdx.x] = up - own;
		if (threadIdx.x == 31) to[n] = up;
	}
	__syncthreads();
}

// take adds the best rest of a list, which has as many. Keys and bits are there for all to see.
__device__ void take(list &c, counting &s, int rest) {
	if (rest <= 0) return;
	uint32_t least = ~0u, most = 0;
	each(c.n, [&](int i) {
		const uint32_t key = i < c.n ? rank(c, i) : 0;
		if (key > 0) least = min(least, key), most = max(most, key);
	});
	for (int d = 16; d > 0; d /= 2) least = min(least, __shfl_xor_sync(~0u, least, d)), most = max(most, __shfl_xor_sync(~0u, most, d));
	if (threadIdx.x % 32 == 0 && most > 0) atomicMin(&s.least, least), atomicMax(&s.most, most);
	__syncthreads();
	least = s.least;
	int shift = max(0, 32 - __clz((int)(s.most - least)) - DIGIT), bits = DIGIT;
	uint32_t last = 0; // bits from shift on of the last that is taken
	int count;         // how many have them; rest is of those
	bool first = true;
	for (;;) {
		each(c.n, [&](int i) {
			const uint32_t key = i < c.n ? rank(c, i) : 0;
			if (key > 0 && (first || (key - least) >> (shift + bits) == last)) atomicAdd(s.digit + ((key - least) >> shift & ((1 << bits) - 1)), 1);
		});
		__syncthreads();
		if (threadIdx.x == 0) s.least = ~0u, s.most = 0;
		first = false;
		uint4 *const mine = (uint4 *)s.digit + (THREADS - 1 - threadIdx.x); // from the largest on
		const uint4 d = *mine;
		*mine = {};
		int all, sum = before(d.x + d.y + d.z + d.w, s.sums, all);
		const uint32_t four[4] = {d.w, d.z, d.y, d.x};
#pragma unroll
		for (int j = 0; j < 4; j++) {
			if (sum < rest && rest <= sum + (int)four[j]) s.last = 4 * (THREADS - 1 - threadIdx.x) + 3 - j, s.above = sum, s.count = four[j], s.found = 0;
			sum += four[j];
		}
		__syncthreads();
		last = last << bits | s.last, rest -= s.above, count = s.count;
		if (count == rest || count <= FEW || shift == 0) break;
		bits = min((int)DIGIT, shift), shift -= bits;
		__syncthreads(); // all have read
	}
	// Those above are in, and where all that share the bits are, those too.
	const bool whole = count == rest, few = !whole && count <= FEW;
	each(c.n, [&](int i) {
		const uint32_t key = i < c.n ? rank(c, i) : 0, top = (key - least) >> shift;
		const bool same = key > 0 && top == last;
		if (few && same) s.few[atomicAdd(&s.found, 1)] = make_uint2(key, i);
		const unsigned votes = __ballot_sync(~0u, key > 0 && (top > last || whole && same)), equal = __ballot_sync(~0u, same);
		if (threadIdx.x % 32 == 0) c.in[i / 32] |= votes, c.equal[i / 32] = equal;
	});
	if (few) {
		__syncthreads();
		const int i = threadIdx.x / 4;
		const uint2 own = s.few[min(i, count - 1)];
		int better = 0;
		for (int j = threadIdx.x % 4; j < count; j += 4) {
			const uint2 other = s.few[j];
			better += other.x > own.x || other.x == own.x && other.y < own.y;
		}
		better += __shfl_xor_sync(~0u, better, 1);
		better += __shfl_xor_sync(~0u, better, 2);
		if (i < count && threadIdx.x % 4 == 0 && better < rest) atomicOr(c.in + own.y / 32, 1u << own.y % 32);
	} else if (!whole) { // many that are equal
		count_before(c.before, c.equal, c.n, s.sums);
		each(c.n, [&](int i) {
			const uint32_t equal = c.equal[i / 32], bit = 1u << i % 32;
			const unsigned votes = __ballot_sync(~0u, equal & bit && c.before[i / 32] + __popc(equal & (bit - 1)) < rest);
			if (threadIdx.x % 32 == 0) c.in[i / 32] |= votes;
		});
	}
	__syncthreads();
}
