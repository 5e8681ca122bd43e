// What the gradients of attention by queries and by keys share on sm_90a: a ring of stages that the block's first
// warpgroup fills, and left factors. Twin: compute/documents_grad.go
#pragma once
#include "documents_group.cuh"
#include "documents.cuh"

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)

enum { BRINGERS = 128 }; // threads of the first warpgroup

// The next multiple of 1024 bytes of shared memory.
__device__ __forceinline__ uint8_t *whole_kib(void *p) { return (uint8_t *)p + (-(uintptr_t)p & 1023); }

// A place in a ring, and which of its phases are told apart.
template <int STAGES> struct ring_place {
	int at = 0, phase = 0;
	__device__ __forceinline__ void next() {
		if (++at == STAGES) at = 0, phase ^= 1;
	}
};

// The two barriers of each stage: it is there, and it was read, which each warp of the other warpgroups says.
template <int STAGES> struct ring {
	uint64_t *there, *read;

	__device__ __forceinline__ ring(void *barriers) : there((uint64_t *)barriers), read(there + STAGES) {}
	__device__ __forceinline__ void make(int readers) const {
		for (int i = 0; i < STAGES; i++) mbarrier_init(there + i, BRINGERS), mbarrier_init(read + i, readers);
		mbarrier_made();
	}
	// All lanes of a warp have read what they will of a stage.
	__device__ __forceinline__ void let_go(int stage) const {
		__syncwarp();
		if (threadIdx.x % 32 == 0) mbarrier_arrive(read + stage);
	}
};

// A ring as those see it who fill it. Stages are told of when LATER more are on their way.
template <int STAGES, int LATER = 2> struct ring_filler {
	const ring<STAGES> &of;
	ring_place<STAGES> to, told;
	int asked = 0;

	__device__ __forceinline__ ring_filler(const ring<STAGES> &of) : of(of) {}
	// The next stage is free.
	__device__ __forceinline__ int begin() {
		if (asked >= STAGES) mbarrier_wait(of.read + to.at, to.phase ^ 1);
		return to.at;
	}
	// What fills it is on its way.
	__device__ __forceinline__ void end() {
		cp_async_commit();
		to.next();
		if (asked++ < LATER) return;
		cp_async_wait<LATER>();
		tell();
	}
	// There is no other stage.
	__device__ __forceinline__ void last() {
		cp_async_wait<0>();
		for (int i = min(asked, (int)LATER); i > 0; i--) tell();
	}
	__device__ __forceinline__ void tell() {
		matrix_written();
		mbarrier_arrive(of.there + told.at);
		told.next();
	}
};

// 64 rows of x, and the same of y behind them, are on their way to shared memory: at(r) is where row r lies in both, in
// elements, or below 0, for zeros. Rows are whole pieces of 8 channels.
template <int DIM, class AT> __device__ __forceinline__ void bring_both(uint8_t *to, const __nv_bfloat16 *x, const __nv_bfloat16 *y, int dim, const AT &at) {
	enum { PIECES = DIM / 8, EACH = BRINGERS / PIECES, BYTES = 128 * DIM };
	const int c = threadIdx.x % PIECES, line = threadIdx.x / PIECES; // rows of a thread are whole eights apart
	to += row_at<64>(line, c);
	x += 8 * c, y += 8 * c;
#pragma unroll 4
	for (int i = 0; i < 64 / EACH; i++) {
		const long long from = at(i * EACH + line);
		const bool there = from >= 0 && 8 * c < dim;
		cp_async_16(to + i * EACH * 128, there ? x + from : x - 8 * c, there);
		cp_async_16(to + BYTES + i * EACH * 128, there ? y + from : x - 8 * c, there);
	}
}

// 64 rows of a warpgroup as the left factor: in registers, or where they lie in shared memory.
template <int DIM, bool HELD> struct group_left;
template <int DIM> struct group_left<DIM, true> {
	uint32_t x[DIM / 16][4];
	__device__ __forceinline__ void take(const uint8_t *rows) {
#pragma unroll
		for (int k = 0; k < DIM / 16; k++) left<64>(x[k], rows, threadIdx.x / 32 % 4 * 16, k);
	}
	// c [64, N] = rows · N of the rows of y, transposed; posted.
	template <int N> __device__ __forceinline__ void times(float *c, const uint8_t *y) const {
		const group_at right(y, 0);
#pragma unroll
		for (int k = 0; k < DIM / 16; k++) group_bf16<N, false>(c, x[k], group_on(right, k / 4 * 8192 + k % 4 * 32), k > 0);
	}
};
template <int DIM> struct group_left<DIM, false> {
	const uint8_t *rows;
	__device__ __forceinline__ void take(const uint8_t *of) { rows = of; }
	template <int N> __device__ __forceinline__ void times(float *c, const uint8_t *y) const {
		const group_at x(rows, 0), right(y, 0);
#pragma unroll
		for (int k = 0; k < DIM / 16; k++) group_bf16<N, false, false>(c, group_on(x, k / 4 * 8192 + k % 4 * 32), group_on(right, k / 4 * 8192 + k % 4 * 32), k > 0);
	}
};

// c [64, DIM] += x [64, 16·K] · y [16·K, DIM], x in registers; posted.
template <int DIM, int K> __device__ __forceinline__ void group_add(float *c, const uint32_t (&x)[K][4], const uint8_t *y) {
	const group_at right(y, 8192);
#pragma unroll
	for (int k = 0; k < K; k++) group_bf16<DIM, true>(c, x[k], group_on(right, k * 2048), true);
}

// Sums [64, 16·K] of a product, narrowed to the left factor of the next.
template <int K> __device__ __forceinline__ void group_narrow(uint32_t (&x)[K][4], const float (&c)[8 * K]) {
#pragma unroll
	for (int k = 0; k < K; k++)
#pragma unroll
		for (int i = 0; i < 4; i++) x[k][i] = two(c[8 * k + i / 2 * 4 + i % 2 * 2], c[8 * k + i / 2 * 4 + i % 2 * 2 + 1]);
}

#endif
