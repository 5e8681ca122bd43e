// Products of a warpgroup for attention over packed documents, of sm_90a alone: ptx_group.cuh's, with the left
// factor in registers too and 32, 64 or 128 columns. A second body is for the emulator.
//
// c [64, N] = (add ? c : 0) + a [64, 16] · b [16, N]. A lane has of c and of a in registers what it has of those of
// mma_bf16_m16n8k16, 16 rows a warp, eight columns of c after the other; so sums become a left factor by being
// narrowed in pairs. Products are posted between group_begin and group_commit, and done in order: after
// group_wait<LEFT> all but those of the last LEFT commits. Until then their sums may not be touched, nor
// shared memory that they read be written; group_has says from where on sums may be read.
#pragma once
#include "../ptx_group.cuh"

#ifndef NOSA_EMULATED
#define PTX __device__ __forceinline__
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
PTX void group_begin() { matrix_begin(); }
PTX void group_commit() { matrix_commit(); }
template <int LEFT> PTX void group_wait() { matrix_wait<LEFT>(); }
// So many bytes on from a place: as +, in half of the steps.
PTX group_at group_on(const group_at &p, int bytes) {
	group_at m = p;
	m.d = (p.d & ~(uint64_t)0xffffffff) | (uint32_t)((uint32_t)p.d + (bytes >> 4));
	return m;
}
template <int COUNT> PTX void group_has(float *c) {
#pragma unroll
	for (int i = 0; i < COUNT; i++) asm volatile("" : "+f"(c[i])::"memory");
}

#define C8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define C16(i) C8(i), C8(i + 8)
#define C32(i) C16(i), C16(i + 16)
#define LIST16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define LIST32 LIST16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LIST64 LIST32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
// The operands behind c, by their numbers.
#define OF_SHARED(n, list, a, b, add, a_across, b_across, ...)                                                                                              \
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %" add ", 0; wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" list "}, %" a ", %" b ", p, 1, 1, %" \
	             a_across ", %" b_across "; }"                                                                                                             \
	             : __VA_ARGS__ : "l"(x.d), "l"(y.d), "r"((int)add_to), "n"((int)A_ACROSS), "n"((int)B_ACROSS) : "memory")
#define OF_REGISTERS(n, list, a0, a1, a2, a3, b, add, b_across, ...)                                                                   \
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %" add ", 0; wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" list "}, {%" a0 \
	             ",%" a1 ",%" a2 ",%" a3 "}, %" b ", p, 1, 1, %" b_across "; }"                                                        \
	             : __VA_ARGS__ : "r"(x[0]), "r"(x[1]), "r"(x[2]), "r"(x[3]), "l"(y.d), "r"((int)add_to), "n"((int)B_ACROSS) : "memory")

template <int N, bool A_ACROSS, bool B_ACROSS> PTX void group_bf16(float *c, const group_at &x, const group_at &y, bool add_to) {
	static_assert(N == 32 || N == 64 || N == 128);
	if constexpr (N == 32) OF_SHARED("32", LIST16, "16", "17", "18", "19", "20", C16(0));
	if constexpr (N == 64) OF_SHARED("64", LIST32, "32", "33", "34", "35", "36", C32(0));
	if constexpr (N == 128) OF_SHARED("128", LIST64, "64", "65", "66", "67", "68", C32(0), C32(32));
}
template <int N, bool B_ACROSS> PTX void group_bf16(float *c, const uint32_t *x, const group_at &y, bool add_to) {
	static_assert(N == 32 || N == 64 || N == 128);
	if constexpr (N == 32) OF_REGISTERS("32", LIST16, "16", "17", "18", "19", "20", "21", "22", C16(0));
	if constexpr (N == 64) OF_REGISTERS("64", LIST32, "32", "33", "34", "35", "36", "37", "38", C32(0));
	if constexpr (N == 128) OF_REGISTERS("128", LIST64, "64", "65", "66", "67", "68", "69", "70", C32(0), C32(32));
}
#undef C8
#undef C16
#undef C32
#undef LIST16
#undef LIST32
#undef LIST64
#undef OF_SHARED
#undef OF_REGISTERS
#endif

#else
#define PTX inline

PTX void group_begin() {}
PTX void group_commit() { emulated::products_commit(); }
template <int LEFT> PTX void group_wait() { emulated::products_wait(LEFT); }
template <int COUNT> PTX void group_has(float *) {}
PTX group_at group_on(const group_at &p, int bytes) { return p + bytes; }

// What a lane knows of the factors of a product. Registers are read when it is posted, shared memory when it is done.
struct group_operands {
	uint32_t registers[4];
	group_at a, b;
	bool add, in_registers;
	int warp; // of the group
};

template <int N, bool A_ACROSS, bool B_ACROSS> NOSA_UNCHECKED void group_sums(void *const *lanes) {
	const auto of = [&](int lane) -> const emulated::posted & { return *(const emulated::posted *)lanes[lane]; };
	const group_operands &f = *(const group_operands *)of(0).factors;
	float a[16][16], b[16][N];
	for (int k = 0; k < 16; k++) {
		for (int r = 0; r < 16; r++) {
			const group_operands &lane = *(const group_operands *)of(r % 8 * 4 + k % 8 / 2).factors;
			a[r][k] = f.in_registers ? emulated::from_bf16(uint16_t(lane.registers[k / 8 * 2 + r / 8] >> k % 2 * 16)) : f.a.at<A_ACROSS>(16 * f.warp + r, k);
		}
		for (int n = 0; n < N; n++) b[k][n] = f.b.at<B_ACROSS>(n, k);
	}
	for (int r = 0; r < 16; r++) {
		double sum[N] = {};
		for (int k = 0; k < 16; k++)
			for (int n = 0; n < N; n++) sum[n] += (double)a[r][k] * b[k][n];
		for (int n = 0; n < N; n++) {
			float &c = of(r % 8 * 4 + n % 8 / 2).sums[n / 8 * 4 + r / 8 * 2 + n % 2];
			c = (float)((f.add ? c : 0) + sum[n]);
		}
	}
}

template <int N, bool A_ACROSS, bool B_ACROSS> PTX void group_post(float *c, const group_operands &f) {
	emulated::aligned(f.b.p, 16, "wgmma");
	if (!f.in_registers) emulated::aligned(f.a.p, 16, "wgmma");
	emulated::product_later(group_sums<N, A_ACROSS, B_ACROSS>, c, N / 2, &f, sizeof f);
}
template <int N, bool A_ACROSS, bool B_ACROSS> PTX void group_bf16(float *c, const group_at &x, const group_at &y, bool add) {
	group_post<N, A_ACROSS, B_ACROSS>(c, {{}, x, y, add, false, (int)threadIdx.x / 32 % 4});
}
template <int N, bool B_ACROSS> PTX void group_bf16(float *c, const uint32_t *x, const group_at &y, bool add) {
	group_post<N, false, B_ACROSS>(c, {{x[0], x[1], x[2], x[3]}, y, y, add, true, (int)threadIdx.x / 32 % 4});
}
#endif
#undef PTX
