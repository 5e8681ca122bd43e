// Activations as products of many rows read them: see step_arrange of product.cu.
#pragma once
#include <stddef.h>

// Where element i of a row lies among the elements of all, of groups of 8 rows.
__device__ __forceinline__ size_t arranged(int row, int i, int groups) {
	return ((size_t)(i / 64) * groups + row / 8) * 512 + (i % 64 / 32 * 4 + i % 8 / 2) * 64 + row % 8 * 8 + i % 32 / 8 * 2 + i % 2;
}
