// What rows selected as bits. Twin: keys of compute/documents.go
// grid    (32 rows of a document each · heads)   block 128   shared  a word for each block
// reads   selected, count   writes  bits, and columns where they are wanted: each word once
#include "documents.cuh"

enum { WARPS = 4, THREADS = 32 * WARPS };

extern "C" __global__ void __launch_bounds__(THREADS) train_list(const __grid_constant__ documents_args a) {
	extern __shared__ uint32_t column[]; // [blocks]: the rows that see a block
	__shared__ uint32_t every;           // the rows that see all
	const int h = blockIdx.x % a.heads, tid = threadIdx.x, lane = tid % 32;
	const document_work w = a.work[blockIdx.x / a.heads];
	const int rows = w.end - w.begin, blocks = (rows + a.block - 1) / a.block, r0 = 32 * w.first, n = min(32, rows - r0);
	const size_t at = (size_t)(w.begin + r0) * a.heads + h; // of the first row's count
	for (int b = tid; b < blocks; b += THREADS) column[b] = 0;
	if (tid < 32) {
		const uint32_t votes = __ballot_sync(~0u, lane < n && a.count[at + (size_t)min(lane, n - 1) * a.heads] < 0);
		if (lane == 0) every = votes;
	}
	__syncthreads();
#pragma unroll 8
	for (int i = tid; i < n * a.places; i += THREADS) {
		const int r = i / a.places, p = i % a.places;
		const size_t row = at + (size_t)r * a.heads;
		const int b = a.selected[row * a.places + p]; // of anything where the row has not so many
		if (p < a.count[row] && b >= 0 && b < blocks) atomicOr(&column[b], 1u << r);
	}
	__syncthreads();
	for (int b = tid; b <= (r0 + n - 1) / a.block; b += THREADS) {
		const int before = max(0, b * a.block - r0); // rows that the block lies behind
		column[b] |= every & ~0u << before;
	}
	__syncthreads();
	if (a.columns) {
		const int words = (rows + 31) / 32;
		uint32_t *to = a.columns + h * a.column_words + w.columns + w.first;
		for (int b = tid; b < blocks; b += THREADS) to[(size_t)b * words] = column[b];
	}
	for (int word = tid / 32; word < a.words; word += WARPS) {
		const uint32_t mine = 32 * word + lane < blocks ? column[32 * word + lane] : 0;
		uint32_t row = 0;
		for (int r = 0; r < 32; r++) {
			const uint32_t v = __ballot_sync(~0u, mine >> r & 1);
			if (lane == r) row = v;
		}
		if (lane < n) a.bits[(at + (size_t)lane * a.heads) * a.words + word] = row;
	}
}
