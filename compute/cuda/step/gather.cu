// Blocks of the host pool into their slots, over the bus, beside other kernels: a few thread
// blocks with many loads on their way take all that the bus gives.
#include "pool.cuh"

struct gather_args {
	pool p;
	uint8_t *slots;
	int bytes; // of a block
};

// A warp has a piece of a block: loads of 16 bytes for each lane, all of them before the first
// is stored.
// grid any   block 512
extern "C" __global__ void step_gather(const __grid_constant__ gather_args a) {
	constexpr int loads = 8, piece = loads * 32 * 16;
	const int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32);
	const int pieces = (a.bytes + piece - 1) / piece, n = a.p.state->fetch * pieces;
	const bool whole = a.bytes % 16 == 0 && a.p.stride % 16 == 0;
	for (int i = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32; i < n; i += warps) {
		const missing_block m = a.p.missing[i / pieces];
		const int from = i % pieces * piece, to = min(from + piece, a.bytes);
		const uint8_t *page = a.p.pages + m.page * a.p.stride;
		uint8_t *slot = a.slots + (size_t)m.slot * a.bytes;
		if (!whole) { // blocks of odd shapes begin anywhere
			for (int at = from + lane; at < to; at += 32) slot[at] = page[at];
			continue;
		}
		uint4 v[loads];
#pragma unroll
		for (int j = 0; j < loads; j++) {
			const int at = from + (j * 32 + lane) * 16;
			if (at < to) v[j] = load_stream_16(page + at);
		}
#pragma unroll
		for (int j = 0; j < loads; j++) {
			const int at = from + (j * 32 + lane) * 16;
			if (at < to) *(uint4 *)(slot + at) = v[j];
		}
	}
}
