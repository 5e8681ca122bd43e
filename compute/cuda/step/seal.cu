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

// Where a block's numbers are encoded each by itself: many on their way at once.
constexpr int fours = 4, slice_numbers = fours * 4 * 256; // of a thread

__device__ __forceinline__ void encode_slice(const layout &l, uint8_t *to, const float *tail, int from) {
	const int n = 2 * l.dim * l.block;
	float4 v[fours];
#pragma unroll
	for (int j = 0; j < fours; j++) {
		const int i = from + 4 * (j * 256 + threadIdx.x);
		if (i < n) v[j] = __ldcs((const float4 *)(tail + i));
	}
#pragma unroll
	for (int j = 0; j < fours; j++) {
		const int i = from + 4 * (j * 256 + threadIdx.x);
		if (i >= n) continue;
		if (l.kv == KV_F32) {
			((float4 *)to)[i / 4] = v[j];
			continue;
		}
		auto bits = [&](float x) { return (uint32_t)(l.kv == KV_F16 ? __half_as_ushort(__float2half_rn(x)) : bf16_bits(x)); };
		((uint2 *)to)[i / 4] = make_uint2(bits(v[j].x) | bits(v[j].y) << 16, bits(v[j].z) | bits(v[j].w) << 16);
	}
}

// A thread block has a slice of a block: numbers, or rows, of which each is a warp's. What has
// found no slot goes to its page straight away.
// grid any   block 256
extern "C" __global__ void __launch_bounds__(256, 5) step_seal(const __grid_constant__ seal_args a) {
	constexpr int slice_rows = 32;
	__shared__ int rows[most_rows];
	const layout &l = a.c.l;
	// A block of odd shape begins anywhere.
	const bool numbers = l.kv != KV_Q8 && l.kv != KV_Q4 && l.dim * l.block % 4 == 0 && a.p.stride % 16 == 0;
	const int all = numbers ? 2 * l.dim * l.block : l.dim + l.block, slice = numbers ? slice_numbers : slice_rows;
	const int slices = (all + slice - 1) / slice, n = full_rows(a, rows) * a.layers * l.heads * slices;
	for (int i = blockIdx.x; i < n; i += gridDim.x) {
		const full_block b = full_at(a, rows, i / slices);
		uint8_t *to = b.slot ? b.slot : b.page;
		const int from = i % slices * slice;
		if (!to) continue;
		if (numbers) {
			encode_slice(l, to, b.tail, from);
			continue;
		}
		for (int r = from + threadIdx.x / 32; r < min(from + slice, all); r += 8) encode_row(l, to, b.tail, r);
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
