// Products on tensor cores, of every GPU and of any shape. Twins: compute/linear.go, lineargrad.go
// grid    (n / 128, m / 128, splits)   block 8 warps: a warp has 64 rows and 32 columns
// shared  3 stages of 32 elements of k, on their way by cp.async where lines are wide; else threads
//         bring them element by element
// order   16 elements of k at a time, in order; splits are added by fold.cu
#include "../ptx.cuh"
#include "product.cuh"

enum { TILE = 128, UNIT = 32, STAGES = 3, THREADS = 256 };

// A factor's part in shared memory: 128 lines of 32 elements of k, or 32 across of 128, with a piece
// of 16 bytes behind each line so that eight lines lie in different banks.
template <bool ACROSS> struct factor {
	enum { LINES = ACROSS ? UNIT : TILE, LENGTH = ACROSS ? TILE : UNIT, STRIDE = LENGTH + 8, BYTES = LINES * STRIDE * 2 };

	// Lines and columns from first and k on of x [size, k], or across [k, size].
	static __device__ __forceinline__ void fetch(__nv_bfloat16 *to, const __nv_bfloat16 *x, int size, int depth, int first, int k, bool wide) {
		const int line0 = ACROSS ? k : first, at0 = ACROSS ? first : k, lines = ACROSS ? depth : size, length = ACROSS ? size : depth;
#pragma unroll
		for (int i = threadIdx.x; i < LINES * LENGTH / 8; i += THREADS) {
			const int line = line0 + i / (LENGTH / 8), at = at0 + i % (LENGTH / 8) * 8;
			__nv_bfloat16 *const there = to + i / (LENGTH / 8) * STRIDE + i % (LENGTH / 8) * 8;
			const __nv_bfloat16 *const here = x + (size_t)line * length + at;
			if (wide) {
				const bool valid = line < lines && at < length;
				cp_async_16(there, valid ? here : x, valid);
			} else {
				alignas(16) __nv_bfloat16 v[8];
#pragma unroll
				for (int j = 0; j < 8; j++) v[j] = line < lines && at + j < length ? here[j] : __ushort_as_bfloat16(0);
				*(uint4 *)there = *(const uint4 *)v;
			}
		}
	}
};

template <bool A_ACROSS, bool B_ACROSS> __device__ __forceinline__ void product(const product_args &a) {
	using left = factor<A_ACROSS>;
	using right = factor<B_ACROSS>;
	enum { STAGE = left::BYTES + right::BYTES };
	extern __shared__ uint4 memory[];
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, row0 = blockIdx.y * TILE, column0 = blockIdx.x * TILE, split = blockIdx.z;
	const int from = before(a, split, UNIT), to = before(a, split + 1, UNIT);
	const auto stage = [&](int u) { return (uint8_t *)memory + (u - from) % STAGES * STAGE; };
	const auto fetch = [&](int u) {
		if (u < to) {
			left::fetch((__nv_bfloat16 *)stage(u), a.a, a.m, a.k, row0, u * UNIT, a.wide);
			right::fetch((__nv_bfloat16 *)(stage(u) + left::BYTES), a.b, a.n, a.k, column0, u * UNIT, a.wide);
		}
		cp_async_commit();
	};
	float acc[4][4][4] = {};
	for (int i = 0; i < STAGES - 1; i++) fetch(from + i);
	const int m0 = warp / 4 * 64, n0 = warp % 4 * 32;
	for (int u = from; u < to; u++) {
		cp_async_wait<STAGES - 2>();
		__syncthreads();
		fetch(u + STAGES - 1);
		const __nv_bfloat16 *const x = (const __nv_bfloat16 *)stage(u), *const y = (const __nv_bfloat16 *)(stage(u) + left::BYTES);
#pragma unroll
		for (int k = 0; k < UNIT; k += 16) {
			uint32_t f[4][4], g[2][4];
#pragma unroll
			for (int i = 0; i < 4; i++) {
				if constexpr (A_ACROSS)
					ldmatrix_x4_trans(f[i], x + (k + lane % 8 + lane / 16 * 8) * left::STRIDE + m0 + 16 * i + lane / 8 % 2 * 8);
				else
					ldmatrix_x4(f[i], x + (m0 + 16 * i + lane % 16) * left::STRIDE + k + lane / 16 * 8);
			}
#pragma unroll
			for (int j = 0; j < 2; j++) {
				if constexpr (B_ACROSS)
					ldmatrix_x4_trans(g[j], y + (k + lane % 16) * right::STRIDE + n0 + 16 * j + lane / 16 * 8);
				else
					ldmatrix_x4(g[j], y + (n0 + 16 * j + lane % 8 + lane / 16 * 8) * right::STRIDE + k + lane / 8 % 2 * 8);
			}
#pragma unroll
			for (int i = 0; i < 4; i++)
#pragma unroll
				for (int j = 0; j < 4; j++) mma_bf16_m16n8k16(acc[i][j], f[i], &g[j / 2][j % 2 * 2]);
		}
	}
	const bool pairs = a.wide;
#pragma unroll
	for (int i = 0; i < 4; i++)
#pragma unroll
		for (int j = 0; j < 4; j++)
#pragma unroll
			for (int h = 0; h < 2; h++) {
				const int row = row0 + m0 + 16 * i + 8 * h + lane / 4, column = column0 + n0 + 8 * j + lane % 4 * 2;
				if (row >= a.m || column >= a.n) continue;
				if (pairs) {
					finish(a, split, row, column, acc[i][j][2 * h], acc[i][j][2 * h + 1]);
					continue;
				}
				finish(a, split, row, column, acc[i][j][2 * h]);
				if (column + 1 < a.n) finish(a, split, row, column + 1, acc[i][j][2 * h + 1]);
			}
}

#define PRODUCT(name, A_ACROSS, B_ACROSS) \
	extern "C" __global__ void __launch_bounds__(THREADS, 2) train_product_##name(const __grid_constant__ product_args a) { product<A_ACROSS, B_ACROSS>(a); }
PRODUCT(nt, false, false)
PRODUCT(nn, false, true)
PRODUCT(tn, true, true)
