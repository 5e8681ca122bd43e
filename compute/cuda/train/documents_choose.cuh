// What the kernels that choose blocks for rows of packed documents are told.
#pragma once
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

// Warps of a thread block that has rows, each of which has chooseArgs.per_warp of them.
enum { CHOOSE_WARPS = 8 };

// As Go's chooseWork: a document, or some of its rows, of which a thread block scores or chooses.
struct choose_work {
	int begin, end; // rows of the document
	int first;      // the thread block's first row, from begin on
	int at;         // its scores: 8 times so many numbers into them
};

// As Go's chooseArgs. heads are KV heads; rows are of all documents.
struct choose_args {
	const __nv_bfloat16 *q, *k;          // [rows, heads·group, dim], [rows, heads, dim]
	const float *s;                      // [rows, heads] or none
	__half *means;                       // [heads, windows, wide]: a document's begin at begin / stride
	float *window_score, *block_score;   // [heads, windows], [heads, blocks]: importance; a document's begin at begin / block
	int *order;                          // as block_score: a document's blocks, the most important first
	float *scores;                       // of some rows [rows, heads, pitch]: by query
	int *selected, *count;               // [rows, heads, places], [rows, heads]
	const choose_work *documents, *work;
	int heads, group, dim, wide, block, kernel, stride, segments, span;
	int windows, blocks, places, per_warp;
	int words;                           // of a bit for each block of the longest document, or more
	int by_query, by_score, init, local, most_by_query, most; // blocks in all that may be chosen: by the query, and at the end
	int dense;                           // rows of a document that see every block
	float slope;                         // log2(e) / √dim
};

// The complete windows in a document's first n tokens.
__device__ __forceinline__ int windows_of(const choose_args &a, int n) { return n < a.kernel ? 0 : (n - a.kernel) / a.stride + 1; }

// Rows of a thread block.
__device__ __forceinline__ int rows_of(const choose_args &a, const choose_work &w) { return min(CHOOSE_WARPS * a.per_warp, w.end - w.begin - w.first); }

// Numbers that a row and KV head of so many blocks has room for.
__device__ __forceinline__ int pitch_of(int blocks) { return (blocks + 7) / 8 * 8; }

// A number of the same order as a score, above 0: what is not a number lowest, both zeros one.
__device__ __forceinline__ uint32_t rank(float v) {
	if (v != v) return 1;
	const uint32_t b = __float_as_uint(v == 0 ? 0.0f : v);
	return b >> 31 ? ~b : b | 0x80000000u;
}
