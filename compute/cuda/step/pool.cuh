// The pool of slots on the GPU: which block lies in which slot, and which goes next.
//
// Times. Every want gets a range of numbers that none had before, one for each block that
// it may name; the number under which a block was wanted last is its time, and the place of
// its entry in a ring. So to use a slot again is one maximum and one store, and nothing has
// to be taken out of the ring: an entry whose number is not its slot's time is an old one,
// and is passed over; most old ones are emptied, so that who looks for the others finds them
// soon, but none has to be. The entries from front on, in their order, are the slots by last use;
// times are all different, and so what goes does not depend on how threads race.
#pragma once
#include "../ptx.cuh"
#include "step.cuh"

struct pool_state {
	long long front, tail;      // entries that count have the numbers front to tail−1
	unsigned long long arrived; // thread blocks that have done their part, and 2³² for each claim of theirs
	int free;                   // slots in the list of those without a block
	int claims;                 // blocks without a slot that the running want has met
	int fetch;                  // entries of missing that gather is to copy
	int gathered[2];            // thread blocks of gather that are done, of even layers and odd ones
	int claimed[2];             // likewise: 1 + claims, when all are there and get slots; 0: not yet
	int unused;
};

// What a layer or a row has counted; Go's poolCount. Own blocks are among the selected.
struct pool_count {
	unsigned selected, misses, evicted, sealed;
	unsigned pageless, slotless, overflow; // wanted and not served: see pool.go
	int faulty;                            // a block that was not
};

struct missing_block { int id, slot, page, pieces; }; // pieces: that have come

// As Go's poolArgs.
struct pool {
	int slots, ids, mask, layers; // mask: places of the ring − 1
	int *slot_of;                 // [ids] or −1
	const int *page_of;           // [ids] place in the host pool, or −1
	int *block;                   // [slots] id, or −1
	long long *used;              // [slots] time; −1: no block
	int *ring;                    // [mask + 1] slots, or −1
	int *free;                    // [slots] a stack
	int2 *claim;                  // ids and their pages
	missing_block *missing;
	pool_state *state;
	pool_count *layer, *row;      // [layers + 1], the last for what comes between steps; [rows]
	uint8_t *pages;               // the host pool: a block at the start of each stride bytes
	size_t stride;
	uint8_t *late;                // [slots] of the last resolve: 1: gather brings the block, 2: it has
};

// Whether a row's block is full with its token.
__device__ __forceinline__ bool is_full(const step_rows &r, int row, int block) {
	const int pos = r.pos[row];
	return pos >= 0 && pos % block == block - 1;
}

// A slot loses its block. Others may drop other slots meanwhile.
__device__ __forceinline__ void drop(const pool &p, int slot) {
	p.block[slot] = -1;
	p.used[slot] = -1;
	p.free[atomicAdd(&p.state->free, 1)] = slot;
}
