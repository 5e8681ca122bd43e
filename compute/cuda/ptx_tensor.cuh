// Copies of boxes of a matrix by its tensor map (compute/cuda/driver has what a box is), of sm_90a
// alone. As ptx.cuh, with a second body for the emulator.
#pragma once
#include "ptx.cuh"

#ifndef NOSA_EMULATED
#define PTX __device__ __forceinline__

// A map lies in a kernel's parameter, which no thread copies.
struct alignas(64) tensor_map {
	uint8_t opaque[128];
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// The map is read, before the first copy needs it.
PTX void tensor_prefetch(const tensor_map *m) { asm volatile("prefetch.tensormap [%0];" ::"l"(m) : "memory"); }

// The box whose first element is [row, column] comes to shared memory, for an mbarrier that has
// announced all its bytes: those outside of the matrix too, which are zeros.
PTX void tensor_load(void *to, const tensor_map *m, int column, int row, uint64_t *b) {
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], [%2];"
	             ::"r"(shared_address(to)), "l"(m), "r"(shared_address(b)), "r"(column), "r"(row) : "memory");
}

// The same to that place of each block of the cluster whose bit is set, and for its barrier there.
PTX void tensor_load_to(unsigned blocks, void *to, const tensor_map *m, int column, int row, uint64_t *b) {
	asm volatile("cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1, {%4, %5}], [%2], %3;"
	             ::"r"(shared_address(to)), "l"(m), "r"(shared_address(b)), "h"((uint16_t)blocks), "r"(column), "r"(row) : "memory");
}

// A box leaves shared memory, after matrix_written and a barrier of those who wrote it. The stores of a thread
// since the last commit become a group.
PTX void tensor_store(const tensor_map *m, int column, int row, const void *from) {
	asm volatile("cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%2, %3}], [%1];" ::"l"(m), "r"(shared_address(from)), "r"(column), "r"(row) : "memory");
}
PTX void tensor_store_commit() { asm volatile("cp.async.bulk.commit_group;" ::: "memory"); }
// All that the thread has stored has been read from shared memory, which may be written again.
PTX void tensor_store_read() { asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory"); }
// It has been written.
PTX void tensor_store_wait() { asm volatile("cp.async.bulk.wait_group 0;" ::: "memory"); }

// Adds to two neighbours in global memory, at 8 bytes, which no thread but this one touches meanwhile.
PTX void add_to_global(float *p, float x, float y) { asm volatile("red.relaxed.gpu.global.add.v2.f32 [%0], {%1, %2};" ::"l"(p), "f"(x), "f"(y) : "memory"); }

// The block's place in its cluster.
PTX int cluster_rank() {
	int r;
	asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(r));
	return r;
}
#endif

#else
#define PTX inline
struct tensor_map {
	uint64_t opaque[16];
};
PTX void tensor_prefetch(const tensor_map *) {}
PTX void tensor_load(void *to, const tensor_map *m, int column, int row, uint64_t *b) { emulated::box_later(to, m, column, row, b); }
PTX void tensor_load_to(unsigned blocks, void *to, const tensor_map *m, int column, int row, uint64_t *b) {
	for (int i = 0; i < 16; i++)
		if (blocks >> i & 1) emulated::box_later(emulated::of_rank(to, i), m, column, row, emulated::of_rank(b, i));
}
PTX void tensor_store(const tensor_map *m, int column, int row, const void *from) { emulated::box_store(m, column, row, from); }
PTX void tensor_store_commit() { emulated::stores_commit(); }
PTX void tensor_store_read() { emulated::stores_wait(0); }
PTX void tensor_store_wait() { emulated::stores_wait(0); }
PTX void add_to_global(float *p, float x, float y) {
	emulated::aligned(p, 8, "red.v2");
	p[0] += x, p[1] += y;
}
PTX int cluster_rank() { return emulated::rank(); }
#endif
#undef PTX
