// What the kernels of products share: weights and their fragments, and what becomes of the sums.
//
// A weight is cut into units of 16 outputs and 64 elements of k, a tile's units one after the
// other. Lane 4g+t has of a unit the outputs g and g+8 at elements 8t to 8t+7 of both halves of
// 32. An mma takes 16 elements in any order that both sides share: here 4 of each lane.
//
// order   k is cut into a.splits pieces of whole units. In a piece, bf16: 16 elements at a time
//         are added to a sum; q8_0 and q4_0: 32 codes at a time are added from zero, and the sum
//         gets them with one fmaf by their scale. Then pieces are added in their order. Kernels
//         and their grids differ in nothing else: a row has the same bits in all of them.
#pragma once
#include "../decode.cuh"
#include "../ptx.cuh"
#include "arranged.cuh"

enum { STORE, ADD, SWIGLU };

struct product_args {
	void *out;               // [rows, n] f32; SWIGLU: [rows, n/2] bf16, or arranged
	const __nv_bfloat16 *x;  // [rows, k]; deep: as step_arrange writes it
	const uint8_t *weight;   // [tiles, units] of unit<T>::bytes
	const float *bias;       // [n] or none
	float *parts;            // sums of pieces, where a block has but one
	unsigned *counts;        // [gridDim.x] how many blocks of a tile are done; 0 between launches
	float scale;             // ADD: out += scale · product
	int rows, n, k, tiles, units, splits, epilogue;
	int groups;              // SWIGLU: of 8 rows, where out is arranged, else 0
	int beside;              // flow: blocks of a cluster that share rows
	int wide;                // flow: tiles of a block, at most as many as it has warps for
};

// What a lane has of 16 outputs and 32 elements of k.
template <int T> struct piece;
template <> struct piece<BF16> { uint4 v[2]; };
template <> struct piece<Q8_0> { uint4 v; };
template <> struct piece<Q4_0> { uint2 v; };

// A unit: 16 bytes of each lane, some times; then scales [8][2][2] of output g, g+8 and half.
template <int T> struct unit;
template <> struct unit<BF16> { enum { vectors = 4, bytes = 2048 }; };
template <> struct unit<Q8_0> { enum { vectors = 2, bytes = 1088 }; };
template <> struct unit<Q4_0> { enum { vectors = 1, bytes = 576 }; };

template <int T> struct held {
	uint4 v[unit<T>::vectors];
	uint2 d;
};

template <int T> __device__ __forceinline__ held<T> load(const uint8_t *p, int lane) {
	held<T> u;
#pragma unroll
	for (int i = 0; i < unit<T>::vectors; i++) u.v[i] = load_stream_16(p + 512 * i + 16 * lane);
	if constexpr (T != BF16) u.d = __ldg((const uint2 *)(p + 512 * unit<T>::vectors + 8 * (lane / 4)));
	return u;
}

template <int T> __device__ __forceinline__ piece<T> half_of(const held<T> &u, int half) {
	if constexpr (T == BF16) return {{u.v[2 * half], u.v[2 * half + 1]}};
	if constexpr (T == Q8_0) return {u.v[half]};
	if constexpr (T == Q4_0) return {half ? make_uint2(u.v[0].z, u.v[0].w) : make_uint2(u.v[0].x, u.v[0].y)};
}

// The same of a unit in shared memory.
template <int T> __device__ __forceinline__ piece<T> half_at(const uint8_t *p, int half, int lane) {
	if constexpr (T == BF16) return {{*(const uint4 *)(p + 1024 * half + 16 * lane), *(const uint4 *)(p + 1024 * half + 512 + 16 * lane)}};
	if constexpr (T == Q8_0) return {*(const uint4 *)(p + 512 * half + 16 * lane)};
	if constexpr (T == Q4_0) return {*(const uint2 *)(p + 16 * lane + 8 * half)};
}

__device__ __forceinline__ float scale_of(uint32_t pair, int half) {
	return __half2float(__ushort_as_half(half ? pair >> 16 : pair & 0xffff));
}

__device__ __forceinline__ uint32_t less(uint32_t x, uint32_t y) {
	const __nv_bfloat162 d = __hsub2(*(const __nv_bfloat162 *)&x, *(const __nv_bfloat162 *)&y);
	return *(const uint32_t *)&d;
}

// Two signed bytes, the lower ones of both halves of a word: 0x4300 and seven bits are 128 and
// that many, or, with the sign, 256; their difference is exact.
__device__ __forceinline__ uint32_t two_bytes(uint32_t w) {
	return less((w & 0x007f007f) | 0x43004300, (w & 0x00800080) | 0x43004300);
}

// Two codes of four bits, the lowest of both halves, less 8.
__device__ __forceinline__ uint32_t two_fours(uint32_t w) { return less((w & 0x000f000f) | 0x43004300, 0x43084308); }

// The fragments of both mma of a piece.
__device__ __forceinline__ void fragments(const piece<BF16> &p, uint32_t (&a)[2][4]) {
#pragma unroll
	for (int h = 0; h < 2; h++) a[h][0] = p.v[h].x, a[h][1] = p.v[h].z, a[h][2] = p.v[h].y, a[h][3] = p.v[h].w;
}

__device__ __forceinline__ void fragments(const piece<Q8_0> &p, uint32_t (&a)[2][4]) {
	const uint32_t w[4] = {p.v.x, p.v.z, p.v.y, p.v.w};
#pragma unroll
	for (int i = 0; i < 4; i++) a[i / 2][i % 2] = two_bytes(w[i]), a[i / 2][2 + i % 2] = two_bytes(w[i] >> 8);
}

__device__ __forceinline__ void fragments(const piece<Q4_0> &p, uint32_t (&a)[2][4]) {
	const uint32_t w[2] = {p.v.x, p.v.y};
#pragma unroll
	for (int i = 0; i < 8; i++) a[i / 4][i % 4] = two_fours(w[i % 2] >> (8 * (i / 4) + 4 * (i / 2 % 2)));
}

// acc += 16 outputs · 8 rows over 32 elements.
template <int T> __device__ __forceinline__ void multiply(float *acc, const uint32_t (&a)[2][4], const uint4 &x, float d0, float d1) {
	const uint32_t b[4] = {x.x, x.y, x.z, x.w};
	if constexpr (T == BF16) {
		mma_bf16_m16n8k16(acc, a[0], b);
		mma_bf16_m16n8k16(acc, a[1], b + 2);
	} else {
		float t[4] = {};
		mma_bf16_m16n8k16(t, a[0], b);
		mma_bf16_m16n8k16(t, a[1], b + 2);
		acc[0] = fmaf(d0, t[0], acc[0]), acc[1] = fmaf(d0, t[1], acc[1]);
		acc[2] = fmaf(d1, t[2], acc[2]), acc[3] = fmaf(d1, t[3], acc[3]);
	}
}

// What a lane has of 16 outputs and 8 rows: of output g, rows row and row+1, then of output g+8.
// What is there before, for ADD.
__device__ __forceinline__ void earlier(const product_args &a, int tile, int row, float (&old)[4]) {
	if (a.epilogue != ADD) return;
#pragma unroll
	for (int i = 0; i < 4; i++) {
		const int o = 16 * tile + 8 * (i / 2) + threadIdx.x % 32 / 4, r = row + i % 2;
		if (r < a.rows && o < a.n) old[i] = ((const float *)a.out)[(size_t)r * a.n + o];
	}
}

// It goes where it belongs.
__device__ __forceinline__ void finish(const product_args &a, int tile, int row, const float *c, const float (&old)[4]) {
	const int g = threadIdx.x % 32 / 4;
	if (a.epilogue == SWIGLU) { // g is gate, g+8 is up of the same output
		const int o = 8 * tile + g, n = a.n / 2;
		__nv_bfloat16 v[2], *const out = (__nv_bfloat16 *)a.out;
#pragma unroll
		for (int j = 0; j < 2; j++) v[j] = __float2bfloat16_rn(c[j] / (1 + expf(-c[j])) * c[2 + j]);
		if (a.groups) { // two lanes have two outputs of two rows: each takes a row
			const bool odd = g % 2;
			const uint32_t first = __bfloat16_as_ushort(v[0]), second = __bfloat16_as_ushort(v[1]), own = odd ? second : first;
			const uint32_t other = __shfl_xor_sync(~0u, odd ? first : second, 4);
			if (row + odd >= a.rows || o >= n) return;
			uint32_t *const at = (uint32_t *)(out + arranged(row + odd, o - odd, a.groups));
			*at = odd ? other | own << 16 : own | other << 16;
			if (n % 64 && o >= n - 32) at[256 / 2] = 0; // the unit's other half
			return;
		}
#pragma unroll
		for (int j = 0; j < 2; j++)
			if (row + j < a.rows && o < n) out[(size_t)(row + j) * n + o] = v[j];
		return;
	}
#pragma unroll
	for (int i = 0; i < 2; i++) {
		const int o = 16 * tile + 8 * i + g;
		if (o >= a.n) continue;
		const float bias = a.bias ? __ldg(a.bias + o) : 0;
#pragma unroll
		for (int j = 0; j < 2; j++) {
			if (row + j >= a.rows) continue;
			const float v = a.bias ? c[2 * i + j] + bias : c[2 * i + j];
			((float *)a.out)[(size_t)(row + j) * a.n + o] = a.epilogue == ADD ? __fadd_rn(old[2 * i + j], __fmul_rn(v, a.scale)) : v;
		}
	}
}

// Where a block begins. Blocks that run together share rows and weights: eight groups of rows,
// then the next tiles.
struct placed {
	int tile, row;
};

__device__ __forceinline__ placed place(const product_args &a, int tiles, int rows, int block = blockIdx.x) {
	enum { GROUPS = 8 };
	const int across = (a.tiles + tiles - 1) / tiles, groups = (a.rows + rows - 1) / rows;
	const int band = block / (GROUPS * across), in = block % (GROUPS * across), wide = min((int)GROUPS, groups - band * GROUPS);
	return {in / wide * tiles, (band * GROUPS + in % wide) * rows};
}

// A piece's sums are added to those of the pieces before it, and where others follow lie there
// for them.
__device__ __forceinline__ void carry(float *c, float4 *total, bool before, bool behind) {
	if (before) {
		const float4 t = *total;
		c[0] = t.x + c[0], c[1] = t.y + c[1], c[2] = t.z + c[2], c[3] = t.w + c[3];
	}
	if (behind) {
		*total = make_float4(c[0], c[1], c[2], c[3]);
		c[0] = c[1] = c[2] = c[3] = 0;
	}
}

// A ring of N places in shared memory, and which of its rounds is on.
template <int N> struct ring {
	int at = 0, phase = 0;
	__device__ __forceinline__ void next() {
		if (++at == N) at = 0, phase ^= 1;
	}
};
