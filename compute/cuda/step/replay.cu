// Selections that were made beforehand, in the place of those that a layer chose. Twin:
// Replay.Selection of replay.go
// bytes   rows·heads·free·2 read, rows·heads·K·4 written: 0.5 MiB in all at 96·2·64
#include "../ptx.cuh"
#include "step.cuh"

struct replay_args {
	step_rows rows;
	step_selection to;    // as choose wrote it
	const uint16_t *data; // [steps, layers, seats, heads, free]
	const int *first;     // [seats] position of the first step; −1: the choice stays
	int steps, layers, layer, seats, heads, free;
	int init, local, block;
};

// grid (n, heads)   block 64
extern "C" __global__ void step_replay(const __grid_constant__ replay_args a) {
	const int row = blockIdx.x, head = blockIdx.y, pos = a.rows.pos[row];
	wait_for_earlier();
	allow_later();
	if (pos < 0) return;
	const int seat = a.rows.seat[row];
	const int first = seat < a.seats ? a.first[seat] : -1;
	if (first < 0 || pos < first) return;
	const int turn = 2 * (a.steps - 1);
	int step = (pos - first) % turn;
	step = min(step, turn - step); // there, and back
	const uint16_t *free = a.data + ((((size_t)step * a.layers + a.layer) * a.seats + seat) * a.heads + head) * a.free;
	int *blocks = a.to.blocks + ((size_t)row * a.heads + head) * a.to.places;
	const int window = a.init + a.free, count = window + a.local + 1, oldest = pos / a.block - a.local;
	for (int i = threadIdx.x; i < count; i += blockDim.x) blocks[i] = i < a.init ? i : i < window ? free[i - a.init] : oldest + i - window;
	if (threadIdx.x == 0) a.to.count[row * a.heads + head] = count;
}
