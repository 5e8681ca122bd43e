// What the kernels of score.cu and choose.cu agree on.
#pragma once
#include "step.cuh"

// Windows of a chunk: a row's windows are cut at multiples of it.
constexpr int CHUNK = 128;

struct scoring {
	step_cache c;
	step_rows rows;
	float *weight; // [n, heads, chunks, group, CHUNK]: 2 to a window's logit less its chunk's largest
	float2 *total; // [n, heads, chunks, group] or [n, heads, group, chunks]: the largest logit of a chunk, of base 2, the sum of its weights
	int group, chunks, kernel, stride;
	int dense_len, k;
	int of_chunk, of_query; // how far totals of the next chunk are, and of the next query
	int part;               // blocks that a thread block of choose has
};

// Whether a row attends to every block, so that nobody asks for scores.
__device__ __forceinline__ bool sees_all(const scoring &s, int pos) { return pos < s.dense_len || pos < s.k * s.c.l.block; }

// The complete windows that a row sees.
__device__ __forceinline__ int windows(const scoring &s, int pos) { return pos + 1 < s.kernel ? 0 : (pos + 1 - s.kernel) / s.stride + 1; }
