// Blocks of the host pool into their slots, over the bus, beside other kernels: a few thread
// blocks with many loads on their way take all that the bus gives.
#include "pool.cuh"

struct gather_args {
	pool p;
	uint8_t *slots;
	int bytes; // of a block
	int turn;  // of state's gathered; −1: nobody waits beside
	int hold;  // whether what comes next starts when it is known which blocks are there, not before
};

// A warp has a piece of a block: loads of 16 bytes for each lane, all of them before the first
// is stored. The last piece says that the block has come. What a block's slot is, is found out
// while the first pieces are on their way: where attention runs beside it, gather starts when
// want's thread blocks run, the last of which tells what is claimed before it gives slots.
// grid any   block 512
extern "C" __global__ void step_gather(const __grid_constant__ gather_args a) {
	if (!a.hold) allow_later();
	constexpr int loads = 8, piece = loads * 32 * 16;
	const int lane = threadIdx.x % 32, warps = gridDim.x * (blockDim.x / 32), first = blockIdx.x * (blockDim.x / 32) + threadIdx.x / 32;
	const int pieces = (a.bytes + piece - 1) / piece;
	const bool whole = a.bytes % 16 == 0 && a.p.stride % 16 == 0;
	uint4 v[loads];
	auto load = [&](int i, int page) {
		const int from = i % pieces * piece, to = min(from + piece, a.bytes);
#pragma unroll
		for (int j = 0; j < loads; j++) {
			const int at = from + (j * 32 + lane) * 16;
			if (at < to) v[j] = load_stream_16(a.p.pages + page * a.p.stride + at);
		}
	};
	int loaded = -1; // the piece that v holds
	if (a.turn >= 0 && whole) {
		__shared__ int claims;
		if (threadIdx.x == 0) {
			int n;
			while ((n = load_acquire(a.p.state->claimed + a.turn)) == 0) __nanosleep(100);
			claims = n - 1;
		}
		__syncthreads();
		if (first < claims * pieces) load(loaded = first, __ldcg(a.p.claim + first / pieces).y);
		allow_later();
	}
	wait_for_earlier();
	allow_later();
	const int n = a.p.state->fetch * pieces;
	for (int i = first; i < n; i += warps) {
		const missing_block m = a.p.missing[i / pieces];
		const int from = i % pieces * piece, to = min(from + piece, a.bytes);
		const uint8_t *page = a.p.pages + m.page * a.p.stride;
		uint8_t *slot = a.slots + (size_t)m.slot * a.bytes;
		if (!whole) { // blocks of odd shapes begin anywhere
			for (int at = from + lane; at < to; at += 32) slot[at] = page[at];
		} else {
			if (i != loaded) load(i, m.page);
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
