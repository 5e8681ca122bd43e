// Products of activations with weights on the float32 units: every format, every shape.
// product.cu has those that tensor cores do. Twin: compute/linear.go
// grid    (outputs / (warps · C), rows / R)   block 8 warps: a warp has C outputs and R rows
// reads   weight [n, k] in its format, x [rows, k] f32, bias [n] f32 or none
// writes  out [rows, n] f32, each element once
// order   lane l of a warp adds the products of elements 8l to 8l+7, 256+8l …, one after the
//         other; then lanes are added in a butterfly. It knows neither rows nor R nor C, so that a
//         row has the same bits alone and among others.
#include "linear.cuh"
#include "sum.cuh"

template <int T, int R, int C> __device__ __forceinline__ void linear(const linear_args &a) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
	const int first = (blockIdx.x * 8 + warp) * C, row0 = blockIdx.y * R;
	if (first >= a.n) return;
	float acc[R][C] = {};
	const float *x[R];
	const uint8_t *w[C];
#pragma unroll
	for (int r = 0; r < R; r++) x[r] = a.x + (size_t)min(row0 + r, a.rows - 1) * a.k;
#pragma unroll
	for (int c = 0; c < C; c++) w[c] = a.weight + (size_t)min(first + c, a.n - 1) * a.row_bytes;

	if (a.wide || format<T>::block > 1) {
#pragma unroll(R *C <= 2 ? 4 : 1)
		for (int i = 8 * lane; i < a.k; i += 256) {
			float wv[C][8];
#pragma unroll
			for (int c = 0; c < C; c++) eight<T>(w[c], i, wv[c]);
#pragma unroll
			for (int r = 0; r < R; r++) {
				const float4 p = *(const float4 *)(x[r] + i), q = *(const float4 *)(x[r] + i + 4);
				const float xv[8] = {p.x, p.y, p.z, p.w, q.x, q.y, q.z, q.w};
#pragma unroll
				for (int c = 0; c < C; c++)
#pragma unroll
					for (int j = 0; j < 8; j++) acc[r][c] = fmaf(wv[c][j], xv[j], acc[r][c]);
			}
		}
	} else {
		for (int i = 8 * lane; i < a.k; i += 256)
			for (int j = i; j < min(i + 8, a.k); j++)
#pragma unroll
				for (int c = 0; c < C; c++) {
					const float wv = one<T>(w[c], j);
#pragma unroll
					for (int r = 0; r < R; r++) acc[r][c] = fmaf(wv, x[r][j], acc[r][c]);
				}
	}
#pragma unroll
	for (int r = 0; r < R; r++)
#pragma unroll
		for (int c = 0; c < C; c++) {
			const float sum = warp_sum(acc[r][c]);
			if (lane == 0 && row0 + r < a.rows && first + c < a.n)
				a.out[(size_t)(row0 + r) * a.n + first + c] = a.bias ? sum + a.bias[first + c] : sum;
		}
}

#define LINEAR(name, T)                                                                                                      \
	extern "C" __global__ void __launch_bounds__(256) linear_##name##_1(const __grid_constant__ linear_args a) { linear<T, 1, 1>(a); } \
	extern "C" __global__ void __launch_bounds__(256) linear_##name##_4(const __grid_constant__ linear_args a) { linear<T, 4, 1>(a); } \
	extern "C" __global__ void __launch_bounds__(256) linear_##name##_8(const __grid_constant__ linear_args a) { linear<T, 8, 4>(a); }
EACH_FORMAT(LINEAR)
