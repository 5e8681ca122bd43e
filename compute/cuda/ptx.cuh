// The instructions that C++ has no name for. Kernels have PTX from here alone: each
// function has a second body, for the emulator of compute/cuda/emulator, that does what the
// instruction is documented to do.
//
// All lanes of a warp call those of matrices together.
#pragma once
#include <stdint.h>

#ifndef NOSA_EMULATED

#define PTX __device__ __forceinline__

__device__ __forceinline__ uint32_t shared_address(const void *p) { return (uint32_t)__cvta_generic_to_shared(p); }

// c [16, 8] += a [16, 16] · b [16, 8]. With g = lane / 4 and t = 2 · (lane % 4) a lane has
//   a  rows g, g+8, g, g+8 at columns t, t, t+8, t+8, two neighbours each
//   b  rows t and t+8, two below each other each, of column g
//   c  rows g, g, g+8, g+8 at columns t, t+1, t, t+1
PTX void mma_bf16_m16n8k16(float *c, const uint32_t *a, const uint32_t *b) {
	asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

PTX void mma_f16_m16n8k16(float *c, const uint32_t *a, const uint32_t *b) {
	asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
	    : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
	    : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}

// Matrices of 8 rows of 16 bytes, from shared memory: lane 8i+j names row j of matrix i (of
// x2, lanes 0 to 15). A lane gets of each the elements of 16 bits 2·(lane % 4) and the next
// of row lane / 4; with trans, of column lane / 4.
PTX void ldmatrix_x4(uint32_t *r, const void *row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

PTX void ldmatrix_x4_trans(uint32_t *r, const void *row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
	             : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

PTX void ldmatrix_x2(uint32_t *r, const void *row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

PTX void ldmatrix_x2_trans(uint32_t *r, const void *row) {
	asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

// Copies of a thread from global to shared memory that it goes on beside: 16 bytes, past
// the first cache, or 8 or 4. Where they are not valid zeros come instead, and nothing is read.
PTX void cp_async_16(void *to, const void *from, bool valid = true) {
	asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0) : "memory");
}

PTX void cp_async_8(void *to, const void *from) {
	asm volatile("cp.async.ca.shared.global [%0], [%1], 8;" ::"r"(shared_address(to)), "l"(from) : "memory");
}

PTX void cp_async_4(void *to, const void *from, bool valid) {
	asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 4 : 0) : "memory");
}

// The copies since the last commit become a group.
PTX void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }

// Waits until at most the last N groups of the thread are on their way. Other threads see
// the bytes after a barrier.
template <int N> PTX void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }

// 16 bytes that are read once and that no kernel writes meanwhile: they take no place in
// the first cache.
PTX uint4 load_stream_16(const void *p) {
	uint4 v;
	asm volatile("ld.global.nc.L1::no_allocate.v4.u32 {%0,%1,%2,%3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(p));
	return v;
}

// Products of a warpgroup, four warps of which each has 16 of 64 rows: lanes have of c and a
// what they have of those of m16n8k16, eight columns of c after the other. They are posted,
// and their results are there after wgmma_wait. Matrices in shared memory are rows of 128
// bytes whose pieces of 16 are swapped, piece i of row r being at i ^ (r % 8); they begin at
// multiples of 1024 bytes, or some pieces behind one. Only the machine code of sm_90a has them.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define HAS_WGMMA 1

// A matrix whose groups of 8 rows are 1024 bytes apart, and its next 128 bytes of a row next.
PTX uint64_t wgmma_matrix(const void *p, int next) {
	return (uint64_t)(shared_address(p) >> 4 & 0x3fff) | (uint64_t)(next >> 4 & 0x3fff) << 16 | (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}
PTX void wgmma_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
PTX void wgmma_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most the last LEFT groups are under way; c, of N elements, is one's that was before them.
template <int LEFT, int N> PTX void wgmma_wait(float *c) {
	asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
#pragma unroll
	for (int i = 0; i < N; i++) asm volatile("" : "+f"(c[i])::"memory");
}
// What products will read from registers is in them before the next are posted.
template <int N> PTX void wgmma_keep(uint32_t *a) {
#pragma unroll
	for (int i = 0; i < N; i++) asm volatile("" : "+r"(a[i])::"memory");
}
// What threads wrote to shared memory is there for products that are posted after a barrier.
PTX void wgmma_see_shared() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }

// c [64, 64] = (add ? c : 0) + a [64, 16] · b [16, 64]; rows of a are queries, rows of b are of k.
PTX void wgmma_bf16_m64n64k16(float *c, uint64_t a, uint64_t b, bool add) {
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 1; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
	             : "l"(a), "l"(b), "r"((int)add));
}
// c [64, 64] += a [64, 16] · b [16, 64], a in registers.
PTX void wgmma_bf16_m64n64k16(float *c, const uint32_t *a, uint64_t b) {
	asm volatile("{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, p, 1, 1, 1; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// c [64, 128] += a [64, 16] · b [16, 128], a in registers.
PTX void wgmma_bf16_m64n128k16(float *c, const uint32_t *a, uint64_t b) {
	asm volatile("{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, {%64,%65,%66,%67}, %68, p, 1, 1, 1; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]), "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]), "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]), "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// c [64, 64] = (add ? c : 0) + a [64, 16] · b [16, 64]; rows of a are queries, rows of b are of k.
PTX void wgmma_f16_m64n64k16(float *c, uint64_t a, uint64_t b, bool add) {
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 1; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
	             : "l"(a), "l"(b), "r"((int)add));
}
// c [64, 64] += a [64, 16] · b [16, 64], a in registers.
PTX void wgmma_f16_m64n64k16(float *c, const uint32_t *a, uint64_t b) {
	asm volatile("{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, {%32,%33,%34,%35}, %36, p, 1, 1, 1; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// c [64, 128] += a [64, 16] · b [16, 128], a in registers.
PTX void wgmma_f16_m64n128k16(float *c, const uint32_t *a, uint64_t b) {
	asm volatile("{ .reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31,%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63}, {%64,%65,%66,%67}, %68, p, 1, 1, 1; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31]), "+f"(c[32]), "+f"(c[33]), "+f"(c[34]), "+f"(c[35]), "+f"(c[36]), "+f"(c[37]), "+f"(c[38]), "+f"(c[39]), "+f"(c[40]), "+f"(c[41]), "+f"(c[42]), "+f"(c[43]), "+f"(c[44]), "+f"(c[45]), "+f"(c[46]), "+f"(c[47]), "+f"(c[48]), "+f"(c[49]), "+f"(c[50]), "+f"(c[51]), "+f"(c[52]), "+f"(c[53]), "+f"(c[54]), "+f"(c[55]), "+f"(c[56]), "+f"(c[57]), "+f"(c[58]), "+f"(c[59]), "+f"(c[60]), "+f"(c[61]), "+f"(c[62]), "+f"(c[63])
	             : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
// c [64, 64] = (add ? c : 0) + a [64, 16] · b [16, 64]; rows of a are queries, rows of b are columns of c.
PTX void wgmma_f16_rows_m64n64k16(float *c, uint64_t a, uint64_t b, bool add) {
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %34, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31}, %32, %33, p, 1, 1, 0, 0; }"
	             : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3]), "+f"(c[4]), "+f"(c[5]), "+f"(c[6]), "+f"(c[7]), "+f"(c[8]), "+f"(c[9]), "+f"(c[10]), "+f"(c[11]), "+f"(c[12]), "+f"(c[13]), "+f"(c[14]), "+f"(c[15]), "+f"(c[16]), "+f"(c[17]), "+f"(c[18]), "+f"(c[19]), "+f"(c[20]), "+f"(c[21]), "+f"(c[22]), "+f"(c[23]), "+f"(c[24]), "+f"(c[25]), "+f"(c[26]), "+f"(c[27]), "+f"(c[28]), "+f"(c[29]), "+f"(c[30]), "+f"(c[31])
	             : "l"(a), "l"(b), "r"((int)add));
}
#endif

// A word that the host or another kernel may change at any time.
PTX uint32_t load_system(const uint32_t *p) {
	uint32_t v;
	asm volatile("ld.relaxed.sys.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
	return v;
}

// A word that another kernel may change meanwhile: what that one wrote before it, and fenced,
// is seen by loads past the first cache that come after this one.
PTX int load_acquire(const int *p) {
	int v;
	asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(p) : "memory");
	return v;
}

// 2 to the v, but for two of the last digits; 0 where that is below all normal numbers.
PTX float exp2_approx(float v) {
	float e;
	asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(e) : "f"(v));
	return e;
}

// An array of the thread that stays in memory, where its registers are needed for others.
PTX float4 *in_memory(float4 *p) {
	asm volatile("" : "+l"(p)::"memory");
	return p;
}

// A register that is computed here, and not anew in a loop that uses it.
PTX void computed(uint32_t &v) { asm volatile("" : "+r"(v)); }

// The line of p is on its way to the second cache.
PTX void prefetch_l2(const void *p) { asm volatile("prefetch.global.L2 [%0];" ::"l"(p)); }

// Of a kernel of LaunchEarly. Until wait_for_earlier it touches nothing that kernels before it
// write, and writes nothing; then they have ended. allow_later lets the next one start when all
// blocks have said so. Both mean nothing where the launch does not ask.
PTX void wait_for_earlier() {
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

PTX void allow_later() {
#if __CUDA_ARCH__ >= 900
	asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

// The reverse of ldmatrix_x4.
PTX void stmatrix_x4(void *row, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
#if __CUDA_ARCH__ >= 900
	asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1,%2,%3,%4};" ::"r"(shared_address(row)), "r"(a), "r"(b), "r"(c), "r"(d) : "memory");
#endif
}

// Products of a warpgroup, of sm_90a alone: c [64, N] += a [64, 16] · b [16, N]. Its warps have
// 16 rows each; a lane has its part of each 8 columns as of mma_bf16_m16n8k16. b lies in shared
// memory: 8 elements of k of 8 columns, column after column, are 128 bytes; the next 8 of k are
// behind them, the next 8 columns 1024 bytes on. Without add c is written, not added to.
//
// Between matrix_begin and matrix_end neither a nor c may be touched otherwise, nor b until
// matrix_end. What threads wrote to b they let be seen with matrix_written before a barrier.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
PTX void matrix_written() { asm volatile("fence.proxy.async.shared::cta;" ::: "memory"); }
PTX void matrix_begin() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }
PTX void matrix_commit() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }
// Waits until at most the last LEFT commits are under way; a of those before may be touched, not c.
template <int LEFT> PTX void matrix_wait() { asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory"); }
// c of what has been waited for may be touched.
template <int N> PTX void matrix_has(float *c) {
#pragma unroll
	for (int i = 0; i < N / 2; i++) asm volatile("" : "+f"(c[i])::"memory");
}
template <int N> PTX void matrix_end(float *c) {
	matrix_wait<0>();
	matrix_has<N>(c);
}

#define C8(i) "+f"(c[i]), "+f"(c[i + 1]), "+f"(c[i + 2]), "+f"(c[i + 3]), "+f"(c[i + 4]), "+f"(c[i + 5]), "+f"(c[i + 6]), "+f"(c[i + 7])
#define WGMMA(n, list, a0, a1, a2, a3, desc, add, ...)                                                                      \
	asm volatile("{ .reg .pred p; setp.ne.b32 p, %" add ", 0; wgmma.mma_async.sync.aligned.m64n" n "k16.f32.bf16.bf16 {" list "}, " \
	             "{%" a0 ",%" a1 ",%" a2 ",%" a3 "}, %" desc ", p, 1, 1, 0; }"                                                  \
	             : __VA_ARGS__ : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(d), "r"((int)add_to) : "memory")
#define LIST8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define LIST16 "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15"
#define LIST24 LIST16 ",%16,%17,%18,%19,%20,%21,%22,%23"
#define LIST32 LIST16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define LIST48 LIST32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"
#define LIST64 LIST48 ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define LIST96 LIST64 ",%64,%65,%66,%67,%68,%69,%70,%71,%72,%73,%74,%75,%76,%77,%78,%79,%80,%81,%82,%83,%84,%85,%86,%87,%88,%89,%90,%91,%92,%93,%94,%95"
// A place in b: to go on from it costs one addition.
struct matrix_at {
	uint64_t d;
	__device__ __forceinline__ matrix_at(const void *b) : d((shared_address(b) >> 4 & 0x3fff) | 128ull >> 4 << 16 | 1024ull >> 4 << 32) {}
	__device__ __forceinline__ matrix_at operator+(int bytes) const {
		matrix_at m = *this;
		m.d += bytes >> 4;
		return m;
	}
};
template <int N> PTX void matrix_bf16(float *c, const uint32_t *a, const matrix_at &b, bool add_to) {
	const uint64_t d = b.d;
	if constexpr (N == 16) WGMMA("16", LIST8, "8", "9", "10", "11", "12", "13", C8(0));
	if constexpr (N == 32) WGMMA("32", LIST16, "16", "17", "18", "19", "20", "21", C8(0), C8(8));
	if constexpr (N == 48) WGMMA("48", LIST24, "24", "25", "26", "27", "28", "29", C8(0), C8(8), C8(16));
	if constexpr (N == 64) WGMMA("64", LIST32, "32", "33", "34", "35", "36", "37", C8(0), C8(8), C8(16), C8(24));
	if constexpr (N == 96) WGMMA("96", LIST48, "48", "49", "50", "51", "52", "53", C8(0), C8(8), C8(16), C8(24), C8(32), C8(40));
	if constexpr (N == 128) WGMMA("128", LIST64, "64", "65", "66", "67", "68", "69", C8(0), C8(8), C8(16), C8(24), C8(32), C8(40), C8(48), C8(56));
	if constexpr (N == 192) WGMMA("192", LIST96, "96", "97", "98", "99", "100", "101", C8(0), C8(8), C8(16), C8(24), C8(32), C8(40), C8(48), C8(56), C8(64), C8(72), C8(80), C8(88));
	static_assert(N == 16 || N == 32 || N == 48 || N == 64 || N == 96 || N == 128 || N == 192);
}
#undef C8
#undef WGMMA
#undef LIST8
#undef LIST16
#undef LIST24
#undef LIST32
#undef LIST48
#undef LIST64
#undef LIST96
#endif

// What the blocks of a cluster, copies of whole ranges and their barriers take, of sm_90a alone.
//
// An mbarrier is 8 bytes of shared memory. Its phases end one after the other, each when as many
// arrivals have come as it was made for, and all bytes that those announced. Who waits says whether
// the phase is an even one or an odd one, from 0.
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
PTX void mbarrier_init(uint64_t *b, int arrivals) { asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(arrivals) : "memory"); }
// Copies may arrive at the barriers that a thread has made, and after a barrier of the block all its threads.
PTX void mbarrier_made() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
PTX void mbarrier_arrive(uint64_t *b) { asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory"); }
// The same at the barrier there of the cluster's block rank. A release for the whole cluster would wait
// for all that is on its way; who has waited for products that read shared memory needs none.
PTX void mbarrier_arrive_at(uint64_t *b, int rank) {
	asm volatile("{ .reg .b32 r; mapa.shared::cluster.u32 r, %0, %1; mbarrier.arrive.shared::cluster.b64 _, [r]; }" ::"r"(shared_address(b)), "r"(rank) : "memory");
}
PTX void mbarrier_expect(uint64_t *b, int bytes) {
	asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes) : "memory");
}
PTX void mbarrier_wait(uint64_t *b, int phase) {
	asm volatile("{ .reg .pred p; again: mbarrier.try_wait.parity.shared::cta.b64 p, [%0], %1; @p bra done; bra again; done: }" ::"r"(shared_address(b)), "r"(phase) : "memory");
}

// Copies of one thread from global to shared memory, multiples of 16 bytes at 16, that an mbarrier
// has announced. Streamed bytes are the first to leave the second cache.
PTX void copy_range(void *to, const void *from, int bytes, uint64_t *b) {
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(b)) : "memory");
}
PTX void stream_range(void *to, const void *from, int bytes, uint64_t *b) {
	asm volatile("{ .reg .b64 p; createpolicy.fractional.L2::evict_first.b64 p, 1.0; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint [%0], [%1], %2, [%3], p; }"
	             ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(b)) : "memory");
}
// copy_range to that place of each block of the cluster whose bit is set, and for its barrier there.
PTX void copy_range_to(unsigned blocks, void *to, const void *from, int bytes, uint64_t *b) {
	asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], [%1], %2, [%3], %4;"
	             ::"r"(shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(b)), "h"((uint16_t)blocks) : "memory");
}
// A range is on its way to the second cache.
PTX void prefetch_range_l2(const void *p, int bytes) { asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(p), "r"(bytes) : "memory"); }

// All warps of a warpgroup have so many registers from here on: fewer than before, or more, when
// others have given as many.
template <int N> PTX void registers_give() { asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(N)); }
template <int N> PTX void registers_take() { asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(N)); }

// The barrier of those warps of a block that have THREADS together, where the others never come.
template <int THREADS> PTX void meet_of() { asm volatile("bar.sync 1, %0;" ::"n"(THREADS) : "memory"); }

// The barrier of all threads of a cluster: what they wrote before they came, all see after they have waited.
PTX void cluster_arrive() { asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory"); }
PTX void cluster_wait() { asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory"); }
// What lies at p in the shared memory of the cluster's block rank.
PTX float4 load_of_block(const float4 *p, int rank) {
	float4 v;
	asm volatile("{ .reg .b32 r; mapa.shared::cluster.u32 r, %4, %5; ld.shared::cluster.v4.f32 {%0,%1,%2,%3}, [r]; }"
	             : "=f"(v.x), "=f"(v.y), "=f"(v.z), "=f"(v.w) : "r"(shared_address(p)), "r"(rank) : "memory");
	return v;
}
#endif

#else

#define PTX inline

// What a lane brings to a product of matrices.
struct mma_lane {
	float *c;
	const uint32_t *a, *b;
};

// Products are exact and their sum is rounded once; a tensor core cuts sums where it
// aligns them, and is off by a little more.
template <float OF(uint16_t)> NOSA_UNCHECKED void mma_lanes(void *const *lanes) {
	float a[16][16], b[16][8];
	for (int i = 0; i < 32; i++) {
		const mma_lane &l = *(const mma_lane *)lanes[i];
		const int g = i / 4, t = i % 4 * 2;
		for (int h = 0; h < 2; h++) {
			for (int j = 0; j < 4; j++) a[g + j % 2 * 8][t + j / 2 * 8 + h] = OF(uint16_t(l.a[j] >> 16 * h));
			for (int j = 0; j < 2; j++) b[t + 8 * j + h][g] = OF(uint16_t(l.b[j] >> 16 * h));
		}
	}
	for (int r = 0; r < 16; r++) {
		double sum[8] = {};
		for (int k = 0; k < 16; k++)
			for (int n = 0; n < 8; n++) sum[n] += (double)a[r][k] * b[k][n];
		for (int n = 0; n < 8; n++) {
			float &c = ((const mma_lane *)lanes[r % 8 * 4 + n / 2])->c[r / 8 * 2 + n % 2];
			c = (float)(c + sum[n]);
		}
	}
}

PTX void mma_bf16_m16n8k16(float *c, const uint32_t *a, const uint32_t *b) {
	mma_lane l = {c, a, b};
	emulated::collective(~0u, mma_lanes<emulated::from_bf16>, &l, "mma");
}

PTX void mma_f16_m16n8k16(float *c, const uint32_t *a, const uint32_t *b) {
	mma_lane l = {c, a, b};
	emulated::collective(~0u, mma_lanes<emulated::from_f16>, &l, "mma");
}

struct matrix_lane {
	uint32_t *r;
	const uint16_t *row;
};

template <int N, bool TRANS> NOSA_UNCHECKED void matrix_lanes(void *const *lanes) {
	uint16_t m[N][8][8];
	for (int i = 0; i < 8 * N; i++) {
		const uint16_t *row = ((const matrix_lane *)lanes[i])->row;
		emulated::aligned(row, 16, "ldmatrix");
		for (int j = 0; j < 8; j++) m[i / 8][i % 8][j] = row[j];
	}
	for (int i = 0; i < 32; i++)
		for (int n = 0; n < N; n++) {
			const int g = i / 4, t = i % 4 * 2;
			const uint16_t lo = TRANS ? m[n][t][g] : m[n][g][t], hi = TRANS ? m[n][t + 1][g] : m[n][g][t + 1];
			((const matrix_lane *)lanes[i])->r[n] = lo | (uint32_t)hi << 16;
		}
}

template <int N, bool TRANS> void ldmatrix(uint32_t *r, const void *row) {
	matrix_lane l = {r, (const uint16_t *)row};
	emulated::collective(~0u, matrix_lanes<N, TRANS>, &l, "ldmatrix");
}

PTX void ldmatrix_x4(uint32_t *r, const void *row) { ldmatrix<4, false>(r, row); }
PTX void ldmatrix_x4_trans(uint32_t *r, const void *row) { ldmatrix<4, true>(r, row); }
PTX void ldmatrix_x2(uint32_t *r, const void *row) { ldmatrix<2, false>(r, row); }
PTX void ldmatrix_x2_trans(uint32_t *r, const void *row) { ldmatrix<2, true>(r, row); }

void stmatrix_lanes(void *const *lanes) {
	for (int i = 0; i < 32; i++) {
		uint16_t *row = (uint16_t *)((const matrix_lane *)lanes[i])->row;
		emulated::aligned(row, 16, "stmatrix");
		for (int j = 0; j < 8; j++) row[j] = uint16_t(((const matrix_lane *)lanes[i % 8 * 4 + j / 2])->r[i / 8] >> 16 * (j % 2));
	}
}

PTX void stmatrix_x4(void *row, uint32_t a, uint32_t b, uint32_t c, uint32_t d) {
	uint32_t r[4] = {a, b, c, d};
	matrix_lane l = {r, (const uint16_t *)row};
	emulated::collective(~0u, stmatrix_lanes, &l, "stmatrix");
}

// The warps of a group do their rows one warp after another, each at once.
struct group_lane {
	float *c;
	const uint32_t *a;
	const uint16_t *b;
	bool add;
};

template <int N> void group_lanes(void *const *lanes) {
	for (int n = 0; n < N; n += 8) {
		uint32_t b[32][2];
		mma_lane part[32];
		void *at[32];
		for (int i = 0; i < 32; i++) {
			const group_lane &l = *(const group_lane *)lanes[i];
			emulated::aligned(l.b, 16, "wgmma");
			for (int j = 0; j < 2; j++) memcpy(&b[i][j], l.b + (n / 8) * 512 + j * 64 + i / 4 * 8 + i % 4 * 2, 4);
			for (int j = 0; j < 4 && !l.add; j++) l.c[n / 2 + j] = 0;
			part[i] = {l.c + n / 2, l.a, b[i]};
			at[i] = &part[i];
		}
		mma_lanes<emulated::from_bf16>(at);
	}
}

PTX void matrix_written() {}
PTX void matrix_begin() {}
PTX void matrix_commit() {}
template <int LEFT> PTX void matrix_wait() {}
template <int N> PTX void matrix_has(float *) {}
template <int N> PTX void matrix_end(float *) {}
struct matrix_at {
	const char *b;
	matrix_at(const void *b) : b((const char *)b) {}
	matrix_at operator+(int bytes) const { return b + bytes; }
};
template <int N> PTX void matrix_bf16(float *c, const uint32_t *a, const matrix_at &b, bool add) {
	group_lane l = {c, a, (const uint16_t *)b.b, add};
	emulated::collective(~0u, group_lanes<N>, &l, "wgmma");
}

PTX void cp_async_16(void *to, const void *from, bool valid = true) { emulated::copy_later(to, from, 16, valid); }
PTX void cp_async_8(void *to, const void *from) { emulated::copy_later(to, from, 8, true); }
PTX void cp_async_4(void *to, const void *from, bool valid) { emulated::copy_later(to, from, 4, valid); }
PTX void cp_async_commit() { emulated::copies_commit(); }
template <int N> PTX void cp_async_wait() { emulated::copies_wait(N); }

PTX void mbarrier_init(uint64_t *b, int arrivals) { emulated::mbarrier_init(b, arrivals); }
PTX void mbarrier_made() {}
PTX void mbarrier_arrive(uint64_t *b) { emulated::mbarrier_arrive(b, 0); }
PTX void mbarrier_expect(uint64_t *b, int bytes) { emulated::mbarrier_arrive(b, bytes); }
PTX void mbarrier_arrive_at(uint64_t *b, int rank) { emulated::mbarrier_arrive(emulated::of_rank(b, rank), 0); }
PTX void mbarrier_wait(uint64_t *b, int phase) { emulated::mbarrier_wait(b, phase); }
PTX void copy_range(void *to, const void *from, int bytes, uint64_t *b) { emulated::range_later(to, from, bytes, b); }
PTX void copy_range_to(unsigned blocks, void *to, const void *from, int bytes, uint64_t *b) {
	for (int i = 0; i < 16; i++)
		if (blocks >> i & 1) emulated::range_later(emulated::of_rank(to, i), from, bytes, emulated::of_rank(b, i));
}
PTX void stream_range(void *to, const void *from, int bytes, uint64_t *b) { emulated::range_later(to, from, bytes, b); }
PTX void prefetch_range_l2(const void *, int) {}
template <int N> PTX void registers_give() {}
template <int N> PTX void registers_take() {}
template <int THREADS> PTX void meet_of() { emulated::barrier_of(THREADS); }
PTX void cluster_arrive() { emulated::cluster_arrive(); }
PTX void cluster_wait() { emulated::cluster_wait(); }
PTX float4 load_of_block(const float4 *p, int rank) { return *(const float4 *)emulated::of_rank(p, rank); }

PTX uint4 load_stream_16(const void *p) { return *(const uint4 *)p; }
PTX uint32_t load_system(const uint32_t *p) { return *(const volatile uint32_t *)p; }
PTX int load_acquire(const int *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
PTX float exp2_approx(float v) { return v < -126 ? 0 : exp2f(v); }
PTX float4 *in_memory(float4 *p) { return p; }
PTX void computed(uint32_t &) {}
PTX void prefetch_l2(const void *) {}
PTX void wait_for_earlier() {}
PTX void allow_later() {}

#endif
#undef PTX
