// Blocks of the host pool into their slots, over the bus, beside other kernels: a few thread
// blocks with many loads on their way take all that the bus gives.
#include "pool.cuh"

struct gather_args {
	pool p;
	uint8_t *slots;
	int bytes; // of a block
	int turn;  // of state's gathered; −1: nobody waits beside
	int hold;  // whether what comes next starts when slots are given, not before
};

// A warp has a piece of a block: loads of 16 bytes for each lane, all of them before the first
// is stored. The last piece says that the block has come.
// grid any   block 512
extern "C" __global__ void step_gather(const __grid_constant__ gather_args a) {
	if (!a.hold) allow_later();
	wait_for_earlier();
	if (a.hold) allow_later();
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
		} else {
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
		if (a.turn < 0) continue;
		__syncwarp();
		if (lane == 0) {
			__threadfence();
			if (atomicAdd(&a.p.missing[i / pieces].pieces, 1) == pieces - 1) {
				__threadfence();
				*(volatile uint8_t *)(a.p.late + m.slot) = 2;
			}
		}
	}
	if (a.turn < 0) return;
	__syncthreads();
	if (threadIdx.x > 0) return;
	__threadfence();
	atomicAdd(a.p.state->gathered + a.turn, 1);
}
