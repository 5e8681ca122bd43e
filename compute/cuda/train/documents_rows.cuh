// The rows that see a tile of keys, for the walks over them: documents_keys_grad.cu and documents_keys_grad_group.cu.
#pragma once
#include "documents.cuh"

// The rows that see one of TILES tiles of keys, ascending, and the queries of them that are still to come. The block's
// first THREADS call it together; MEET is their barrier. With EVERY, rows have not chosen blocks.
template <int TILES, bool EVERY, int THREADS, class MEET> struct document_rows {
	enum { WARPS = THREADS / 32, AT_ONCE = 32 * THREADS, LIST = AT_ONCE + THREADS };
	const documents_args &a;
	document_work w;
	int *list, *sums;        // [LIST] rows of the document; a sum of each warp
	const uint32_t *columns; // of the first tile's first block
	int words, word, blocks; // of a column; the next to read; of the tiles
	int have, used;          // rows of the list; queries of them that are done with

	__device__ __forceinline__ document_rows(const documents_args &a, const document_work &w, int h, int *list, int *sums) : a(a), w(w), list(list), sums(sums) {
		const int rows = w.end - w.begin, b = w.first * TOKENS / a.block;
		words = (rows + 31) / 32, word = w.first * TOKENS / 32, have = used = 0;
		blocks = min(max(1, TILES * TOKENS / a.block), (rows + a.block - 1) / a.block - b);
		columns = a.columns + h * a.column_words + w.columns + (size_t)b * words;
		if (!chosen()) have = rows - w.first * TOKENS; // all from the tiles' first on
	}

	__device__ __forceinline__ bool chosen() const { return !EVERY && a.bits; }

	// How many of the next N queries there are; take lets go of them.
	template <int N> __device__ __forceinline__ int next() {
		while (chosen() && have * a.group - used < N && word < words) {
			const int tid = threadIdx.x, lane = tid % 32, drop = used / a.group, left = have - drop;
			MEET::meet();
			const int kept = tid < left ? list[drop + tid] : 0;
			uint32_t v = 0;
			if (word + tid < words)
				for (int b = 0; b < blocks; b++) v |= columns[(size_t)b * words + word + tid];
			const int own = __popc(v);
			int upto = own;
#pragma unroll
			for (int d = 1; d < 32; d *= 2) {
				const int x = __shfl_up_sync(~0u, upto, d);
				if (lane >= d) upto += x;
			}
			if (lane == 31) sums[tid / 32] = upto;
			MEET::meet();
			if (tid < left) list[tid] = kept;
			int at = left + upto - own, all = 0;
			for (int i = 0; i < WARPS; i++) {
				if (i < tid / 32) at += sums[i];
				all += sums[i];
			}
			for (; v; v &= v - 1) list[at++] = 32 * (word + tid) + __ffs(v) - 1;
			have = left + all, used -= drop * a.group, word += THREADS;
			MEET::meet();
		}
		return min(N, have * a.group - used);
	}
	__device__ __forceinline__ void take(int n) { used += n; }
	// The row of the next queries' i.
	__device__ __forceinline__ int row(int i) const {
		const int r = by_group(a, used + i);
		return chosen() ? list[r] : w.first * TOKENS + r;
	}
	// Where it lies among all queries.
	__device__ __forceinline__ long long flat(int h, int i) const {
		const int r = by_group(a, used + i), row = chosen() ? list[r] : w.first * TOKENS + r;
		return (long long)(w.begin + row) * (a.heads * a.group) + (h * a.group + used + i - r * a.group);
	}
};
