// Products of a warpgroup whose factors both lie in shared memory, either way round, of sm_90a alone.
// As ptx.cuh, whose matrix_begin, matrix_commit and matrix_wait they come between; a second body is
// for the emulator.
//
// A factor is lines of 128 bytes, 64 elements, whose pieces of 16 bytes are swapped: piece i of line r
// is at i ^ (r % 8). Eight lines are 1024 bytes, and the first begins at a multiple of that. Along k, a
// line is a row (of a) or a column (of b) with 64 elements of k. Across, a line is one k with 64 rows
// or columns, the next 64 of which are `next` bytes on.
#pragma once
#include "ptx.cuh"

#ifndef NOSA_EMULATED
#define PTX __device__ __forceinline__

#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
// A place in a factor: of elements of k along lines 32 bytes for 16 of them, across 2048.
struct group_at {
	uint64_t d;
	__device__ __forceinline__ group_at(const void *p, int next)
	    : d((uint64_t)(shared_address(p) >> 4 & 0x3fff) | (uint64_t)(next >> 4 & 0x3fff) << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62) {}
	__device__ __forceinline__ group_at operator+(int bytes) const {
		group_at m = *this;
		m.d += bytes >> 4;
		return m;
	}
};

#define C8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
// c [64, 192] = (add ? c : 0) + a [64, 16] · b [16, 192]; a and b across, or along k.
template <bool A_ACROSS, bool B_ACROSS> PTX void group_bf16_m64n192k16(float *c, const group_at &a, const group_at &b, bool add) {
	asm volatile(
	    "{ .reg .pred p; setp.ne.b32 p, %98, 0; wgmma.mma_async.sync.aligned.m64n192k16.f32.bf16.bf16 {"
	    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,"
	    "%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63,"
	    "%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
	    "}, %96, %97, p, 1, 1, %99, %100; }"
	    : C8(0), C8(8), C8(16), C8(24), C8(32), C8(40), C8(48), C8(56), C8(64), C8(72), C8(80), C8(88)
	    : "l"(a.d), "l"(b.d), "r"((int)add), "n"((int)A_ACROSS), "n"((int)B_ACROSS)
	    : "memory");
}
#undef C8
#endif

#else
#define PTX inline

struct group_at {
	const char *p;
	int next;
	group_at(const void *p, int next) : p((const char *)p), next(next) {}
	group_at operator+(int bytes) const { return group_at(p + bytes, next); }
	// Element k of row or column i.
	template <bool ACROSS> float at(int i, int k) const {
		uintptr_t x = (uintptr_t)p;
		x += ACROSS ? (size_t)(i / 64) * next + k / 8 * 1024 + k % 8 * 128 + i % 64 * 2 : (size_t)(i / 8) * 1024 + i % 8 * 128 + k * 2;
		return emulated::from_bf16(*(const uint16_t *)(x ^ (x >> 7 & 7) << 4));
	}
};

struct group_factors {
	float *c;
	const group_at *a, *b;
	bool add;
	int warp;
};

// A warp has 16 rows, by its place in the group. Each sum is rounded once, as in mma_lanes.
template <bool A_ACROSS, bool B_ACROSS> NOSA_UNCHECKED void group_product(void *const *lanes) {
	const group_factors &f = *(const group_factors *)lanes[0];
	float a[16][16], b[16][192];
	for (int k = 0; k < 16; k++) {
		for (int r = 0; r < 16; r++) a[r][k] = f.a->at<A_ACROSS>(16 * f.warp + r, k);
		for (int n = 0; n < 192; n++) b[k][n] = f.b->at<B_ACROSS>(n, k);
	}
	for (int r = 0; r < 16; r++) {
		double sum[192] = {};
		for (int k = 0; k < 16; k++)
			for (int n = 0; n < 192; n++) sum[n] += (double)a[r][k] * b[k][n];
		for (int n = 0; n < 192; n++) {
			const group_factors &to = *(const group_factors *)lanes[r % 8 * 4 + n % 8 / 2];
			float &c = to.c[n / 8 * 4 + r / 8 * 2 + n % 2];
			c = (float)((to.add ? c : 0) + sum[n]);
		}
	}
}

template <bool A_ACROSS, bool B_ACROSS> PTX void group_bf16_m64n192k16(float *c, const group_at &a, const group_at &b, bool add) {
	group_factors f = {c, &a, &b, add, (int)threadIdx.x / 32 % 4};
	emulated::collective(~0u, group_product<A_ACROSS, B_ACROSS>, &f, "wgmma");
}
#endif
#undef PTX
