// Kernels that do what they must not, for the tests of the emulator, and some that are
// right. They are compiled for it alone.
#include "../../train/documents_group.cuh"
#include "../../ptx_tensor.cuh"

struct fault_args {
	int *out;
	const int *in;
	int n;
};

// grid any   block any   shared 4·n bytes where it says dynamic
#define FAULT(name) extern "C" __global__ void fault_##name(const __grid_constant__ fault_args a)

FAULT(write) { a.out[a.n + (int)threadIdx.x] = 1; }
FAULT(read) { a.out[0] = a.in[a.n]; }
FAULT(null) { *(volatile int *)nullptr = 1; }
FAULT(copy) { a.out[threadIdx.x] = a.in[threadIdx.x]; }

FAULT(index) {
	__shared__ int s[32];
	s[threadIdx.x % 32] = 1;
	a.out[threadIdx.x] = s[a.n];
}

FAULT(dynamic) {
	extern __shared__ int s[];
	s[threadIdx.x] = threadIdx.x;
	__syncthreads();
	a.out[threadIdx.x] = s[a.n - 1 - threadIdx.x];
}

FAULT(aligned) { a.out[0] = ((const int4 *)(a.in + a.n))->x; }
FAULT(shift) { a.out[0] = 1 << a.n; }
FAULT(divide) { a.out[0] = 1 / a.n; }

// A neighbour's word without waiting for it, and with.
template <bool WAIT> __device__ void neighbour(const fault_args &a) {
	__shared__ int s[256];
	s[threadIdx.x] = threadIdx.x;
	if (WAIT) __syncthreads();
	a.out[threadIdx.x] = s[(threadIdx.x + a.n) % blockDim.x];
}
FAULT(no_barrier) { neighbour<false>(a); }
FAULT(barrier) { neighbour<true>(a); }

FAULT(two_barriers) {
	if (threadIdx.x < 32)
		__syncthreads();
	else
		__syncthreads();
}

FAULT(missing_lane) {
	if (threadIdx.x != 5) a.out[threadIdx.x] = __shfl_xor_sync(~0u, 1, 1);
	__syncthreads();
}

FAULT(no_mask) { a.out[threadIdx.x] = __shfl_sync(1, 1, 0); }

FAULT(half_a_warp) {
	float c[4] = {};
	uint32_t r[4] = {};
	if (threadIdx.x < 16) return;
	mma_bf16_m16n8k16(c, r, r);
	a.out[0] = (int)c[0];
}

// Copies that are waited for by N groups too few, and by enough.
template <int N> __device__ void later(const fault_args &a) {
	__shared__ __align__(16) int s[2][4];
	if (threadIdx.x == 0) {
		for (int i = 0; i < 2; i++) {
			cp_async_16(s[i], a.in + 4 * i, i == 0);
			cp_async_commit();
		}
		cp_async_wait<N>();
	}
	__syncthreads();
	if (threadIdx.x < 8) a.out[threadIdx.x] = s[threadIdx.x / 4][threadIdx.x % 4];
}
FAULT(no_wait) { later<2>(a); }
FAULT(wait_one) { later<1>(a); }
FAULT(wait_all) { later<0>(a); }

// A range that an mbarrier waits for: as right as it says, or never made, or short of an arrival.
template <bool MADE, int ARRIVALS> __device__ void ranged(const fault_args &a) {
	extern __shared__ uint4 memory[];
	uint64_t *const room = (uint64_t *)memory;
	if (threadIdx.x == 0) {
		if (MADE) mbarrier_init(room, ARRIVALS);
		mbarrier_made();
	}
	__syncthreads();
	if (threadIdx.x == 0) {
		mbarrier_expect(room, 32);
		copy_range(room + 2, a.in, 32, room);
	}
	if (a.n) mbarrier_wait(room, 0);
	if (threadIdx.x < 8) a.out[threadIdx.x] = ((const int *)(room + 2))[threadIdx.x];
}
FAULT(range) { ranged<true, 1>(a); }
FAULT(range_unmade) { ranged<false, 1>(a); }
FAULT(range_short) { ranged<true, 2>(a); }

struct box_args {
	tensor_map from, to;
	int column, row, bytes; // announced
	int at;                 // in shared memory, from a multiple of 1024 on
};

// A box of 8 lines of 128 bytes goes from one matrix to another by shared memory.
template <bool WAIT> __device__ void boxes(const box_args &a) {
	extern __shared__ uint4 memory[];
	uint8_t *const there = (uint8_t *)(((uintptr_t)memory + 1023) & ~(uintptr_t)1023);
	uint64_t *const room = (uint64_t *)(there + 2048);
	if (threadIdx.x == 0) {
		mbarrier_init(room, 1);
		mbarrier_made();
		mbarrier_expect(room, a.bytes);
		tensor_load(there + a.at, &a.from, a.column, a.row, room);
	}
	__syncthreads();
	mbarrier_wait(room, 0);
	if (threadIdx.x > 0) return;
	tensor_store(&a.to, a.column, a.row, there + a.at);
	tensor_store_commit();
	if (WAIT) tensor_store_wait();
}
extern "C" __global__ void fault_box(const __grid_constant__ box_args a) { boxes<true>(a); }
extern "C" __global__ void fault_box_left(const __grid_constant__ box_args a) { boxes<false>(a); }

// The first 64 threads sum what each has written, without the others; n of them come to the barrier.
FAULT(part) {
	__shared__ int v[64];
	if (threadIdx.x >= 64) return;
	v[threadIdx.x] = threadIdx.x;
	if ((int)threadIdx.x < a.n) meet_of<64>();
	a.out[threadIdx.x] = v[threadIdx.x ^ 63];
}

// Blocks of a cluster read each other's words, with both barriers or one.
template <bool BEFORE, bool AFTER> __device__ void clustered(const fault_args &a) {
	extern __shared__ float4 words[];
	words[threadIdx.x].x = (float)(int)(100 * blockIdx.x + threadIdx.x);
	if (BEFORE) cluster_arrive(), cluster_wait();
	a.out[blockIdx.x * blockDim.x + threadIdx.x] = (int)load_of_block(words + threadIdx.x, (int)(blockIdx.x + 1) % a.n).x;
	if (AFTER) cluster_arrive(), cluster_wait();
}
FAULT(cluster) { clustered<true, true>(a); }
FAULT(cluster_before) { clustered<false, true>(a); }
FAULT(cluster_after) { clustered<true, false>(a); }

extern "C" __global__ void __launch_bounds__(64) fault_bounds(const __grid_constant__ fault_args a) { a.out[threadIdx.x] = 1; }

// The blocks add what they find: the order of blocks shows.
FAULT(order) {
	if (threadIdx.x == 0) a.out[blockIdx.x] = atomicAdd((int *)a.in, 1);
}

struct matrix_args {
	float *c;          // [16, 8]
	const uint16_t *a; // [16, 16]
	const uint16_t *b; // [16, 8], or [8, 16]
};

// c = a · b on one warp: a comes as four matrices of 8 × 8, b as two, read along its rows or
// its columns.
template <bool BF16, bool TRANS> __device__ void product(const matrix_args &m) {
	__shared__ __align__(16) uint16_t a[16][16], b[TRANS ? 16 : 8][TRANS ? 8 : 16];
	const int lane = threadIdx.x;
	for (int i = lane; i < 256; i += 32) a[i / 16][i % 16] = m.a[i];
	for (int i = lane; i < 128; i += 32) ((uint16_t *)b)[i] = m.b[i];
	__syncwarp();
	uint32_t x[4], y[2];
	float c[4] = {};
	ldmatrix_x4(x, &a[lane % 16][lane / 16 * 8]);
	const int l = lane % 16;
	if constexpr (TRANS)
		ldmatrix_x2_trans(y, &b[l][0]);
	else
		ldmatrix_x2(y, &b[l % 8][l / 8 * 8]);
	if constexpr (BF16)
		mma_bf16_m16n8k16(c, x, y);
	else
		mma_f16_m16n8k16(c, x, y);
	for (int i = 0; i < 4; i++) m.c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = c[i];
}
extern "C" __global__ void product_bf16(const __grid_constant__ matrix_args m) { product<true, false>(m); }
extern "C" __global__ void product_f16_trans(const __grid_constant__ matrix_args m) { product<false, true>(m); }

// Products whose sums are read N groups of them too early, or which nobody waits for; what they read of shared memory
// is read when they are done.
template <int N> __device__ void products(const fault_args &a) {
	extern __shared__ uint4 memory[];
	uint16_t *const b = (uint16_t *)(((uintptr_t)memory + 1023) & ~(uintptr_t)1023);
	for (int i = threadIdx.x; i < 32 * 64; i += 128) b[i] = 0x3f80;
	__syncthreads();
	const uint32_t ones[4] = {0x3f803f80, 0x3f803f80, 0x3f803f80, 0x3f803f80};
	float c[16], d[16];
	group_begin();
	group_bf16<32, false>(c, ones, group_at(b, 0), false);
	group_commit();
	group_bf16<32, false>(d, ones, group_at(b, 0), false);
	group_bf16<32, false>(d, ones, group_at(b, 0), true);
	group_commit();
	if (N < 3) group_wait<N < 3 ? N : 0>();
	if (a.n) __syncthreads();
	for (int i = threadIdx.x; i < 32 * 64 * a.n; i += 128) b[i] = 0;
	if (a.n) __syncthreads();
	a.out[2 * threadIdx.x] = (int)c[threadIdx.x % 16];
	a.out[2 * threadIdx.x + 1] = (int)d[threadIdx.x % 16];
	group_wait<0>();
	if (a.n) a.out[2 * threadIdx.x + 1] = (int)d[threadIdx.x % 16];
}
FAULT(products) { products<0>(a); }
FAULT(products_early) { products<1>(a); }
FAULT(products_left) {
	extern __shared__ uint4 memory[];
	float c[16];
	const uint32_t none[4] = {};
	group_bf16<32, false>(c, none, group_at(memory, 0), false);
	group_commit();
}
