// Products of activations with weights on tensor cores, exact in float32: each activation
// is split into three bfloat16 whose sum it is, and a weight of the formats here is one
// (bf16) or a scale times one (q8_0, q4_0), so that every product is exact and sums are
// rounded as float32 sums are. Twin: compute/linear.go
// grid    (n / (16·M), rows / (8·N))   block 8 warps: a block has 16·M outputs and 8·N rows, a
//         warp every eighth 64 or 128 elements of k
// reads   weight [n, k] in its format, k a multiple of 32; x [rows, k] f32; bias [n] f32 or none
// writes  out [rows, n] f32, each element once
// order   a warp adds its elements 16 at a time, the three parts in turn; then warps are added in
//         their order. It knows neither rows nor M nor N: a row has the same bits alone and among
//         others.
// bytes   a weight once for 8·N rows
// A sum that is not a number is taken again in plain order: with infinite weights or
// activations the parts are none where their sum is.
#include "linear.cuh"
#include "ptx.cuh"

// Two activations as three pairs of bfloat16, largest first: upper halves, each cut off and
// not rounded. A float32 has 24 bits and a bfloat16 8, so that nothing is left.
__device__ __forceinline__ void split(float x, float y, uint32_t &a, uint32_t &b, uint32_t &c) {
	const uint32_t upper = 0xffff0000u;
	a = __byte_perm(__float_as_uint(x), __float_as_uint(y), 0x7632);
	x -= __uint_as_float(__float_as_uint(x) & upper), y -= __uint_as_float(__float_as_uint(y) & upper);
	b = __byte_perm(__float_as_uint(x), __float_as_uint(y), 0x7632);
	x -= __uint_as_float(__float_as_uint(x) & upper), y -= __uint_as_float(__float_as_uint(y) & upper);
	c = __byte_perm(__float_as_uint(x), __float_as_uint(y), 0x7632);
}

// Four integers v − c as bfloat16, v below 128 and c at most 128: 0x4300 and a byte are 128
// and that many, or 256 with the byte's highest bit; their difference is exact.
__device__ __forceinline__ void four(uint32_t v, uint32_t c, uint32_t *w) {
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const uint32_t places = i == 0 ? 0x4140 : 0x4342;
		const uint32_t x = __byte_perm(v, 0x43434343, places), y = __byte_perm(c, 0x43434343, places);
		const __nv_bfloat162 d = __hsub2(*(const __nv_bfloat162 *)&x, *(const __nv_bfloat162 *)&y);
		w[i] = *(const uint32_t *)&d;
	}
}

// Elements 8·part to 8·part+7 of the 32 from i on of a row, as bfloat16, and what they are
// to be multiplied by.
template <int T> __device__ __forceinline__ float codes(const uint8_t *row, int i, int part, uint32_t *w) {
	if constexpr (T == BF16) {
		const uint4 v = __ldcs((const uint4 *)(row + 2 * (size_t)(i + 8 * part)));
		w[0] = v.x, w[1] = v.y, w[2] = v.z, w[3] = v.w;
		return 1;
	} else {
		const uint8_t *b = row + (size_t)(i / 32) * format<T>::bytes;
		const uint16_t *q = (const uint16_t *)(b + 2 + (T == Q8_0 ? 8 * part : 8 * (part & 1)));
#pragma unroll
		for (int j = 0; j < 2; j++) {
			const uint32_t v = q[2 * j] | (uint32_t)q[2 * j + 1] << 16; // four bytes
			if constexpr (T == Q8_0)
				four(v & 0x7f7f7f7f, v & 0x80808080, w + 2 * j);
			else
				four(v >> (part < 2 ? 0 : 4) & 0x0f0f0f0f, 0x08080808, w + 2 * j);
		}
		return half_at(b);
	}
}

template <int T, int M, int N> __device__ __forceinline__ void product(const linear_args &a) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, eighth = lane / 4, part = lane % 4;
	const int first = blockIdx.x * 16 * M, row0 = blockIdx.y * 8 * N;
	float acc[M][N][4] = {};
	const uint8_t *w[M][2];
	const float *x[N];
#pragma unroll
	for (int m = 0; m < M; m++)
#pragma unroll
		for (int i = 0; i < 2; i++) w[m][i] = a.weight + (size_t)min(first + 16 * m + 8 * i + eighth, a.n - 1) * a.row_bytes;
#pragma unroll
	for (int n = 0; n < N; n++) x[n] = a.x + (size_t)min(row0 + 8 * n + eighth, a.rows - 1) * a.k;

	// 32 elements of the weights, which lie in the rows of from at at.
	struct tile {
		uint32_t c[M][2][4];
		float d[M][2];
	};
	const auto load = [&](tile &w, const uint8_t *const(&from)[M][2], int at) {
#pragma unroll
		for (int m = 0; m < M; m++)
#pragma unroll
			for (int i = 0; i < 2; i++) w.d[m][i] = codes<T>(from[m][i], at, part, w.c[m][i]);
	};
	// Their products with the activations from k on.
	const auto multiply = [&](const tile &w, int k) {
#pragma unroll
		for (int n = 0; n < N; n++) {
			const float4 p = *(const float4 *)(x[n] + k + 8 * part), q = *(const float4 *)(x[n] + k + 8 * part + 4);
			uint32_t b[3][4];
			split(p.x, p.y, b[0][0], b[1][0], b[2][0]);
			split(p.z, p.w, b[0][1], b[1][1], b[2][1]);
			split(q.x, q.y, b[0][2], b[1][2], b[2][2]);
			split(q.z, q.w, b[0][3], b[1][3], b[2][3]);
#pragma unroll
			for (int m = 0; m < M; m++) {
				float t[4] = {};
				float *to = T == BF16 ? acc[m][n] : t;
#pragma unroll
				for (int s = 0; s < 2; s++) {
					const uint32_t c[4] = {w.c[m][0][2 * s], w.c[m][1][2 * s], w.c[m][0][2 * s + 1], w.c[m][1][2 * s + 1]};
#pragma unroll
					for (int i = 0; i < 3; i++) mma_bf16_m16n8k16(to, c, &b[i][2 * s]);
				}
				if (T != BF16)
#pragma unroll
					for (int i = 0; i < 4; i++) acc[m][n][i] = fmaf(w.d[m][i / 2], t[i], acc[m][n][i]);
			}
		}
	};
	enum { CHUNK = T == BF16 ? 64 : 128 }; // elements of k that a warp takes at a time
	enum { STAGED = T != BF16 && M == 1 && N <= 2 };
	if (STAGED && a.k % CHUNK == 0 && a.row_bytes % 8 == 0) {
		// Few rows of quantised weights, whose blocks have odd places: a chunk of 16 rows comes to
		// shared memory as it lies, in whole words, and the next one meanwhile.
		enum { BYTES = CHUNK / format<T>::block * format<T>::bytes, PIECES = BYTES / 8, STRIDE = 144 };
		__shared__ __align__(16) uint8_t raw[STAGED ? 8 : 1][2][16 * STRIDE];
		const auto fetch = [&](int k, int stage) {
			if (k < a.k)
				for (int i = lane; i < 16 * PIECES; i += 32) {
					const int r = i / PIECES, at = i % PIECES * 8;
					const uint8_t *src = a.weight + (size_t)min(first + r, a.n - 1) * a.row_bytes + (size_t)(k / CHUNK) * BYTES + at;
					cp_async_8(&raw[warp][stage][r * STRIDE + at], src);
				}
			cp_async_commit();
		};
		int k = CHUNK * warp, stage = 0;
		fetch(k, 0);
		fetch(k + 8 * CHUNK, 1);
		for (; k < a.k; k += 8 * CHUNK, stage ^= 1) {
			cp_async_wait<1>();
			__syncwarp();
			const uint8_t *const rows[M][2] = {{&raw[warp][stage][eighth * STRIDE], &raw[warp][stage][(8 + eighth) * STRIDE]}};
#pragma unroll
			for (int j = 0; j < CHUNK; j += 32) {
				tile c;
				load(c, rows, j);
				multiply(c, k + j);
			}
			__syncwarp();
			fetch(k + 16 * CHUNK, stage);
		}
	} else {
		int k = CHUNK * warp;
		if constexpr (T == BF16 && M * N <= 2) { // few rows: much of the weight on its way at once
			for (; k + 9 * CHUNK <= a.k; k += 16 * CHUNK) {
				tile c[4];
#pragma unroll
				for (int j = 0; j < 4; j++) load(c[j], w, k + j / 2 * 8 * CHUNK + j % 2 * 32);
#pragma unroll
				for (int j = 0; j < 4; j++) multiply(c[j], k + j / 2 * 8 * CHUNK + j % 2 * 32);
			}
		}
#pragma unroll 1
		for (; k < a.k; k += 8 * CHUNK)
#pragma unroll 1
			for (int j = k; j < a.k && j < k + CHUNK; j += 32) {
				tile c;
				load(c, w, j);
				multiply(c, j);
			}
	}

	// Warps in their order.
	__shared__ float sums[8 * N][16 * M + 1];
	for (int i = 0; i < 8; i++) {
		if (warp == i)
#pragma unroll
			for (int m = 0; m < M; m++)
#pragma unroll
				for (int n = 0; n < N; n++)
#pragma unroll
					for (int j = 0; j < 4; j++) {
						float *s = &sums[8 * n + 2 * part + j % 2][16 * m + 8 * (j / 2) + eighth];
						*s = i == 0 ? acc[m][n][j] : *s + acc[m][n][j];
					}
		__syncthreads();
	}
	for (int i = threadIdx.x; i < 8 * N * 16 * M; i += 256) {
		const int o = first + i % (16 * M), r = row0 + i / (16 * M);
		if (o >= a.n || r >= a.rows) continue;
		float v = sums[i / (16 * M)][i % (16 * M)];
		if (v != v) {
			v = 0;
			for (int j = 0; j < a.k; j += 8) {
				float e[8];
				eight<T>(a.weight + (size_t)o * a.row_bytes, j, e);
				for (int l = 0; l < 8; l++) v = fmaf(e[l], a.x[(size_t)r * a.k + j + l], v);
			}
		}
		a.out[(size_t)r * a.n + o] = a.bias ? v + a.bias[o] : v;
	}
}

#define PRODUCT(name, T, rows, M, N) \
	extern "C" __global__ void __launch_bounds__(256) product_##name##_##rows(const __grid_constant__ linear_args a) { product<T, M, N>(a); }
#define PRODUCTS(name, T) PRODUCT(name, T, 8, 1, 1) PRODUCT(name, T, 16, 1, 2) PRODUCT(name, T, 32, 1, 4) PRODUCT(name, T, 64, 2, 8)
PRODUCTS(bf16, BF16)
PRODUCTS(q8_0, Q8_0)
PRODUCTS(q4_0, Q4_0)
