// Tails that are full into their slots and host pages. Twin: EncodeBlock of compute/layout.go
// order   step_want_full gives slots, step_seal encodes, step_store writes through; the last
//         may run beside what comes next
#include "../encode.cuh"
#include "pool.cuh"

struct seal_args {
	pool p;
	step_cache c;
	step_rows r;
	int layers; // from the cache's on
};

constexpr int most_rows = 1024; // of a launch

// The rows whose blocks are full, in their order, into shared memory; how many.
__device__ __forceinline__ int full_rows(const seal_args &a, int *rows) {
	__shared__ int shared[32];
	int n = 0;
	for (int from = 0; from < a.r.n; from += blockDim.x) {
		const int row = from + threadIdx.x;
		const bool full = row < a.r.n && is_full(a.r, row, a.c.l.block);
		int all;
		const int at = n + before(full, shared, all);
		if (full) rows[at] = row;
		n += all;
	}
	__syncthreads();
	return n;
}

// One of the blocks that are full: where it comes from and goes to, or null.
struct full_block {
	const float *tail;
	uint8_t *slot, *page;
};

__device__ __forceinline__ full_block full_at(const seal_args &a, const int *rows, int i) {
	const int heads = a.c.l.heads, head = i % heads, row = rows[i / heads / a.layers], seat = a.r.seat[row];
	step_cache c = a.c;
	c.layer += i / heads % a.layers;
	const int id = block_id(c, seat, head, a.r.pos[row] / c.l.block), slot = c.slot_of[id], page = a.p.page_of[id];
	return {tail_of(c, seat, head), slot < 0 ? nullptr : c.slots + (size_t)slot * c.l.block_bytes,
	        page < 0 ? nullptr : a.p.pages + page * a.p.stride};
}

// A warp has a row of a block. What has found no slot goes to its page straight away.
// grid any   block 256
extern "C" __global__ void step_seal(const __grid_constant__ seal_args a) {
	__shared__ int rows[most_rows];
	const int each = a.c.l.dim + a.c.l.block, n = full_rows(a, rows) * a.layers * a.c.l.heads * each;
	for (int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; i < n; i += gridDim.x * (blockDim.x / 32)) {
		const full_block b = full_at(a, rows, i / each);
		uint8_t *to = b.slot ? b.slot : b.page;
		if (to) encode_row(a.c.l, to, b.tail, i % each);
	}
}

// grid any   block 256
extern "C" __global__ void step_store(const __grid_constant__ seal_args a) {
	__shared__ int rows[most_rows];
	constexpr int loads = 8, piece = loads * 32 * 16;
	const int bytes = a.c.l.block_bytes, pieces = (bytes + piece - 1) / piece, lane = threadIdx.x % 32;
	const bool whole = bytes % 16 == 0 && a.p.stride % 16 == 0;
	const int n = full_rows(a, rows) * a.layers * a.c.l.heads * pieces;
	for (int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; i < n; i += gridDim.x * (blockDim.x / 32)) {
		const full_block b = full_at(a, rows, i / pieces);
		if (!b.slot || !b.page) continue;
		const int from = i % pieces * piece, to = min(from + piece, bytes);
		if (!whole) {
			for (int at = from + lane; at < to; at += 32) b.page[at] = b.slot[at];
			continue;
		}
		uint4 v[loads];
#pragma unroll
		for (int j = 0; j < loads; j++) {
			const int at = from + (j * 32 + lane) * 16;
			if (at < to) v[j] = *(const uint4 *)(b.slot + at);
		}
#pragma unroll
		for (int j = 0; j < loads; j++) {
			const int at = from + (j * 32 + lane) * 16;
			if (at < to) *(uint4 *)(b.page + at) = v[j];
		}
	}
}
