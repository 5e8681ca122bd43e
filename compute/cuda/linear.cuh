// What products are told, as Go's linearArgs.
#pragma once
#include "decode.cuh"

struct linear_args {
	float *out;
	const float *x;
	const uint8_t *weight;
	const float *bias;
	int rows, n, k, row_bytes;
	int wide; // rows of x and weight begin at 16 bytes, and k is a multiple of 8
};
