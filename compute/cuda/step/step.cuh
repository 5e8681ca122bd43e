// What the kernels of a decode step share. A step is one row for each of up to n
// sequences, of any lengths. Everything that differs from step to step (positions, block
// tables, slots, what is missing) lies in memory of the GPU, so that the same launches,
// recorded once as a graph, serve every step: a launch knows only how many rows and blocks
// there may be.
//
// The rule of all kernels here: what a row computes depends neither on the rows beside it
// nor on n, most, slots or anything else of the launch. Sums are cut at places that the
// row's own length gives, and added in their order.
#pragma once
#include "../layout.cuh"
#include "../sum.cuh"

// The rows of a step.
struct step_rows {
	int n;           // rows of the launch
	const int *pos;  // [n] position of the row's token; −1: nobody's row, which computes nothing
	const int *seat; // [n] whose row it is: the place of its sequence's table and tails
};

// The cache, as one layer sees it. The id of the block of a seat's sequence, KV head and
// block number is first + (layer·heads + head)·columns + table[seat·most + number]: a column
// is a block number's blocks of all layers and heads, which a sequence gets and gives back
// together, and may share with others. columns may be negative: the ids of the first layer
// are then the last.
struct step_cache {
	layout l;
	int layer, seats, most, columns, first;
	const int *table;  // [seats, most]
	int *slot_of;      // [ids] slot of a block, or −1
	uint8_t *slots;    // [slots, block_bytes]
	float *tails;      // [layers, seats, heads, 2, dim·block] f32: the open block of each sequence
	uint8_t *means;    // [ids, summary_bytes]
	float *seg_score;  // [ids, segments], or none
	float *score;      // [ids, block], or none
};

__device__ __forceinline__ int block_id(const step_cache &c, int seat, int head, int number) {
	return c.first + (c.layer * c.l.heads + head) * c.columns + c.table[(size_t)seat * c.most + number];
}

// Keys [dim, block], then values [block, dim].
__device__ __forceinline__ float *tail_of(const step_cache &c, int seat, int head) {
	return c.tails + (((size_t)c.layer * c.seats + seat) * c.l.heads + head) * 2 * c.l.dim * c.l.block;
}

// What rows attend to.
struct step_selection {
	int places;  // of a row and KV head
	int *blocks; // [n, heads, places] block numbers, ascending; the own block, which is open, is the last
	int *count;  // [n, heads] how many; −1: every block up to the own one, whatever is in blocks
};

// Threads of a thread block count: the sum of n before this one's, and over all. shared is
// 32 ints.
__device__ __forceinline__ int before(int n, int *shared, int &all) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, warps = blockDim.x / 32;
	int sum = n;
	for (int d = 1; d < 32; d *= 2) {
		const int v = __shfl_up_sync(~0u, sum, d);
		if (lane >= d) sum += v;
	}
	__syncthreads();
	if (lane == 31) shared[warp] = sum;
	__syncthreads();
	int total = lane < warps ? shared[lane] : 0;
	for (int d = 1; d < 32; d *= 2) {
		const int v = __shfl_up_sync(~0u, total, d);
		if (lane >= d) total += v;
	}
	all = __shfl_sync(~0u, total, 31);
	return (warp > 0 ? __shfl_sync(~0u, total, warp - 1) : 0) + sum - n;
}
