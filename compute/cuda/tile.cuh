// Tiles of a launch that has several, all of one layer of one sequence.
#pragma once
#include <stdint.h>

// As Go's tileArgs.
struct tile {
	float *tail;  // [heads, 2, block·dim]: the own block
	int from;     // its first row of q, k, v and out
	int first;    // its first row of what there is of the launch's rows alone: scores, selections
	int rows;
	int pos;      // of its first row
};
