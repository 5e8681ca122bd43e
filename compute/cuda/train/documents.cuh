// Attention over packed documents: what its kernels share. Twins: compute/documents*.go
//
// Queries are (row, query head of the group), rows outermost, of one document and KV head. Keys lie in
// tiles of 64 tokens, counted from the document's begin: a tile is a block, several smaller ones, or a
// part of a larger one. What rows selected are bits: bits, by row, and columns, by block.
#pragma once
#include "../ptx.cuh"
#include <cuda_bf16.h>
#include <stdint.h>

enum { TOKENS = 64 }; // of a tile of keys

#define LOG2E 1.4426950408889634f
#define LN2 0.6931471805599453f

// As Go's documentWork: what a thread block is for.
struct document_work {
	int begin, end; // rows of the document
	int first;      // the thread block's first query, tile of keys, or 32 rows
	int columns;    // where the document's columns begin
	int tiles;      // its first tile of keys among all
};

// As Go's documentsArgs. heads are KV heads; rows are of all documents.
struct documents_args {
	const __nv_bfloat16 *q, *k, *v;  // [rows, heads·group, dim], [rows, heads, dim] twice
	const float *s;                  // [rows, heads] or none
	__nv_bfloat16 *out;              // [rows, heads·group, dim]
	float *lse;                      // [rows, heads·group]
	const __nv_bfloat16 *dout;       // as out
	__nv_bfloat16 *dq, *dk, *dv;
	float *ds;                       // as s
	float2 *stats;                   // [rows, heads·group]: lse·log2(e) and Σ dout·out
	uint32_t *bits;                  // [rows, heads, words]: a bit for each block that a row sees, or none: all do
	uint32_t *columns;               // [heads, of each document [blocks, rows / 32]]: a bit for each row that sees a block
	const document_work *work;
	const int *selected, *count;     // [rows, heads, places], [rows, heads]; −1: every block
	long long column_words;          // of a head
	int heads, group, dim, block, words, places, rows;
	int shift;                       // tokens of a block that are in a tile: 1 << shift
	float scale, slope;              // 1/√dim; that times log2(e)
	uint32_t reciprocal;             // ⌈2³²/group⌉, where that is more than 1
	int tiles;                       // of keys, of all documents
	uint8_t *image;                  // [heads, tiles]: see documents_attend_group.cu
};

// n / group, of n below 2³² / group.
__device__ __forceinline__ int by_group(const documents_args &a, int n) { return a.group == 1 ? n : (int)((uint64_t)(uint32_t)n * a.reciprocal >> 32); }

// The first block of a tile of keys. A tile is a block mostly.
__device__ __forceinline__ int block_of(const documents_args &a, int u) { return a.block == TOKENS ? u : u * TOKENS / a.block; }

// The first tile from u on of whose blocks any has a bit, of those before tiles.
__device__ __forceinline__ int next_tile(const documents_args &a, const uint32_t *any, int tiles, int u) {
	while (u < tiles) {
		const int b = block_of(a, u);
		const uint32_t rest = any[b / 32] >> b % 32;
		if (rest == 0)
			u = (b / 32 + 1) * 32 * a.block / TOKENS;
		else
			return min(tiles, max(u, (b + __ffs(rest) - 1) * a.block / TOKENS));
	}
	return tiles;
}

__device__ __forceinline__ uint32_t two(float x, float y) {
	const __nv_bfloat162 v = __floats2bfloat162_rn(x, y);
	return *(const uint32_t *)&v;
}

// Rows of 128 bytes in shared memory, of 64 channels, with the next 64 in a panel behind. The pieces of
// 16 bytes change places by the last bits of the row's number, so that those of eight rows lie in all banks.
template <int ROWS> __device__ __forceinline__ int row_at(int r, int piece) { return piece / 8 * (128 * ROWS) + r * 128 + (((piece ^ r) & 7) << 4); }

// Rows are on their way to shared memory, for which a thread block has some threads, each of which has a piece of
// every few rows: from(r, i) is where its i-th row, r, lies, or none, for zeros.
template <int DIM, int THREADS> struct pieces {
	enum { PIECES = DIM / 8, EACH = THREADS / PIECES };
};
template <int DIM, int ROWS, int THREADS, class FROM> __device__ __forceinline__ void bring(uint8_t *to, const void *any, int dim, const FROM &from) {
	using P = pieces<DIM, THREADS>;
	const int c = threadIdx.x % P::PIECES;
	if (dim % 8 == 0) {
#pragma unroll
		for (int i = 0; i < ROWS / P::EACH; i++) {
			const int r = i * P::EACH + threadIdx.x / P::PIECES;
			const __nv_bfloat16 *p = from(r, i);
			const bool there = p && 8 * c < dim;
			cp_async_16(to + row_at<ROWS>(r, c), there ? (const void *)(p + 8 * c) : any, there);
		}
		return;
	}
	// Rows begin at any even byte.
#pragma unroll
	for (int i = 0; i < ROWS / P::EACH; i++) {
		const int r = i * P::EACH + threadIdx.x / P::PIECES;
		const __nv_bfloat16 *p = from(r, i);
		uint8_t *at = to + row_at<ROWS>(r, c);
		uint32_t v[4] = {};
#pragma unroll 1
		for (int e = 0; e < 8 && p && 8 * c + e < dim; e++) v[e / 2] |= (uint32_t)((const uint16_t *)p)[8 * c + e] << e % 2 * 16;
		*(uint4 *)at = {v[0], v[1], v[2], v[3]};
	}
}

// Rows first to first+15 as the left factor of a product, and channels 16·k on.
template <int ROWS> __device__ __forceinline__ void left(uint32_t (&x)[4], const uint8_t *rows, int first, int k) {
	const int lane = threadIdx.x % 32;
	ldmatrix_x4(x, rows + row_at<ROWS>(first + (lane & 15), 2 * k + lane / 16));
}

// Rows first to first+15 as the columns of the right factor, channels 16·k on as its rows: two of mma.
template <int ROWS> __device__ __forceinline__ void right(uint32_t (&y)[4], const uint8_t *rows, int first, int k) {
	const int lane = threadIdx.x % 32;
	ldmatrix_x4(y, rows + row_at<ROWS>(first + (lane & 7) + 8 * (lane >> 4), 2 * k + (lane >> 3 & 1)));
}

// Rows first to first+15 as rows of the right factor, channels 16·d on as its columns: two of mma.
template <int ROWS> __device__ __forceinline__ void right_rows(uint32_t (&y)[4], const uint8_t *rows, int first, int d) {
	const int lane = threadIdx.x % 32;
	ldmatrix_x4_trans(y, rows + row_at<ROWS>(first + (lane & 15), 2 * d + lane / 16));
}

// The queries of a thread block, a warp's 16·MT of them, and the tiles of keys that they see.
template <int MT, int WARPS> struct document_queries {
	enum { M = 16 * MT * WARPS, THREADS = 32 * WARPS };
	const documents_args &a;
	document_work w;
	int h, m0, count;
	int tiles;             // up to the last row's
	uint32_t *any;         // a bit for each block that a query sees
	int pos[MT][2];        // of a lane's queries in the document; −1: no query
	uint32_t bits[MT][2];  // of 32 blocks
	uint32_t one, every;   // of these, what a query of the warp sees, and all do
	int word, low, high;   // which 32 blocks; the warp's least and last position

	__device__ __forceinline__ document_queries(const documents_args &a, uint32_t *any) : a(a), any(any) {
		h = blockIdx.x % a.heads, w = a.work[blockIdx.x / a.heads], m0 = w.first;
		count = min((int)M, (w.end - w.begin) * a.group - m0);
		const int row0 = m0 / a.group, last = (m0 + count - 1) / a.group, words = last / a.block / 32 + 1;
		tiles = last / TOKENS + 1;
		const int tid = threadIdx.x, warp = tid / 32, g = tid % 32 / 4;
#pragma unroll
		for (int m = 0; m < MT; m++)
#pragma unroll
			for (int r = 0; r < 2; r++) {
				const int i = warp * 16 * MT + 16 * m + 8 * r + g;
				pos[m][r] = i < count ? (m0 + i) / a.group : -1;
			}
		low = warp * 16 * MT < count ? (m0 + warp * 16 * MT) / a.group : 0;
		high = warp * 16 * MT < count ? (m0 + min(count, (warp + 1) * 16 * MT) - 1) / a.group : -1;
		word = -1, one = every = 0;
		for (int i = tid; i < words; i += THREADS) any[i] = a.bits ? 0 : ~0u;
		__syncthreads();
		if (a.bits)
			for (int i = tid; i < (last - row0 + 1) * words; i += THREADS) {
				const uint32_t v = a.bits[((size_t)(w.begin + row0 + i / words) * a.heads + h) * a.words + i % words];
				if (v) atomicOr(&any[i % words], v);
			}
		__syncthreads();
	}

	// Where query i of the thread block lies among all.
	__device__ __forceinline__ size_t flat(int i) const {
		const int m = m0 + i;
		return ((size_t)(w.begin + m / a.group) * a.heads + h) * a.group + m % a.group;
	}

	// The first tile from u on that a query sees.
	__device__ __forceinline__ int next(int u) const { return next_tile(a, any, tiles, u); }

	// Whether the warp has to do with tile u.
	__device__ __forceinline__ bool sees(int u) {
		const int b = block_of(a, u);
		if (b / 32 != word) {
			word = b / 32, one = 0, every = ~0u;
#pragma unroll
			for (int m = 0; m < MT; m++)
#pragma unroll
				for (int r = 0; r < 2; r++) {
					uint32_t &v = bits[m][r];
					v = pos[m][r] < 0 ? 0 : a.bits ? a.bits[((size_t)(w.begin + pos[m][r]) * a.heads + h) * a.words + word] : ~0u;
					one |= v, every &= v;
				}
#pragma unroll
			for (int d = 4; d < 32; d *= 2) one |= __shfl_xor_sync(~0u, one, d), every &= __shfl_xor_sync(~0u, every, d);
		}
		return u * TOKENS <= high && one >> b % 32 & part();
	}

	// The bits of a tile's blocks.
	__device__ __forceinline__ uint32_t part() const { return a.shift == 6 ? 1u : a.shift == 1 ? ~0u : (1u << (TOKENS >> a.shift)) - 1; }

	// Whether all queries of the warp see all of tile u.
	__device__ __forceinline__ bool whole(int u) const { return u * TOKENS + TOKENS - 1 <= low && (~every >> block_of(a, u) % 32 & part()) == 0; }

	// How many tokens of tile u a query sees, if it sees all its blocks.
	__device__ __forceinline__ int seen(int m, int r, int u) const {
		return a.shift == 6 && !(bits[m][r] >> block_of(a, u) % 32 & 1) ? 0 : pos[m][r] - u * TOKENS + 1;
	}

	// Whether a query sees the block of a token of tile u, where a tile has several.
	__device__ __forceinline__ bool chosen(int m, int r, int u, int token) const { return bits[m][r] >> (block_of(a, u) % 32 + (token >> a.shift)) & 1; }
};
