// CUDA C++ for g++: what kernels find declared when scripts/cuda/emulate compiles them. The
// threads of a block take turns on one thread of the CPU (threads.cpp), so that plain
// variables say who runs, and shared memory is static memory.
#pragma once
#include "threads.h"
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <type_traits>
#include <vector_functions.h>
#include <vector_types.h>

#undef __global__
#undef __device__
#undef __host__
#undef __shared__
#undef __constant__
#undef __forceinline__
#undef __noinline__
#undef __restrict__
#undef __launch_bounds__
#undef __grid_constant__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline
#define __noinline__ __attribute__((noinline))
#define __restrict__ __restrict
#define __grid_constant__
// The script looks for these after the preprocessor, and puts C++ in their place.
#define __global__ NOSA_GLOBAL
#define __shared__ NOSA_SHARED
#define __launch_bounds__(threads, ...) NOSA_BOUNDS(threads)

extern uint3 threadIdx, blockIdx;
extern dim3 blockDim, gridDim;
enum { warpSize = 32 };

// For what is the emulator's own, and right.
#define NOSA_UNCHECKED __attribute__((no_sanitize("undefined")))

namespace emulated {

// What a kernel's thread may ask of the others. where names the place for messages.
void barrier(const char *where);
int barrier_sum(const char *where, int add); // of all threads
typedef void meeting(void *const *lanes);    // what lanes brought, none of those that have ended
void meet(unsigned mask, meeting *op, void *mine, const char *name);
void collective(unsigned mask, meeting *op, void *mine, const char *name); // of 32 lanes that all are there
unsigned active();
void nap();
long long now();

// cp.async: bytes come when they are waited for, and not before.
void copy_later(void *to, const void *from, int bytes, bool valid);
void copies_commit();
void copies_wait(int groups);

// wgmma: products that a warp's lanes post together are done when they are waited for. Until then their n sums are
// nothing that was ever written. What op gets of a lane is a posted.
struct posted {
	float *sums;
	const void *factors;
};
void product_later(meeting *op, float *sums, int n, const void *factors, size_t bytes);
void products_commit();
void products_wait(int groups);

// Of a cluster: its barrier, and the place in another block's dynamic shared memory.
void barrier_of(int threads); // some of the block
void cluster_arrive();
void cluster_wait();
void *of_rank(const void *p, int rank);
int rank(); // of the block in its cluster

// An mbarrier is there for arrivals, and for bytes that range_later brings.
void mbarrier_init(void *bar, int arrivals);
void mbarrier_arrive(void *bar, int bytes);
void mbarrier_wait(void *bar, int phase);
void range_later(void *to, const void *from, int bytes, void *bar);

// Copies of boxes by tensor maps (tensor.cpp): loads are announced as ranges are, and what a thread
// stores is read from shared memory and written when it waits for it.
void box_later(void *to, const void *map, int column, int row, void *bar);
void box_store(const void *map, int column, int row, const void *from);
void stores_commit();
void stores_wait(int groups);

[[noreturn]] void fault(const char *format, ...) __attribute__((format(printf, 1, 2)));
void aligned(const void *p, int to, const char *what);

extern char *dynamic_shared;

// How a kernel finds its parameter.
template <class T> struct parameter;
template <class T> struct parameter<void (*)(T)> { using type = std::remove_const_t<T>; };
template <auto F> void enter(const void *p) { F(*(const typename parameter<decltype(F)>::type *)p); }

inline float from_bf16(uint16_t v) {
	const uint32_t b = (uint32_t)v << 16;
	float f;
	memcpy(&f, &b, 4);
	return f;
}
float from_f16(uint16_t v);

struct shuffle {
	uint64_t value, got;
	int arg, width;
};
template <int KIND> NOSA_UNCHECKED void shuffle_lanes(void *const *lanes) {
	for (int i = 0; i < 32; i++) {
		if (!lanes[i]) continue;
		shuffle &s = *(shuffle *)lanes[i];
		const int first = i / s.width * s.width;
		int from = KIND == 0 ? first + (s.arg & (s.width - 1)) : KIND == 1 ? i ^ s.arg : KIND == 2 ? i - s.arg : i + s.arg;
		if (from < first && KIND == 2) from = i;
		if (from >= first + s.width) from = i; // xor may go to lower parts, not to higher ones
		// Of a lane that takes no part nothing is known.
		s.got = lanes[from] ? ((const shuffle *)lanes[from])->value : 0x7fa07fa07fa07fa0;
	}
}
template <int KIND, class T> NOSA_UNCHECKED T shuffled(unsigned mask, T v, int arg, int width, const char *name) {
	static_assert(sizeof(T) <= 8);
	shuffle s = {0, 0, arg, width};
	memcpy(&s.value, &v, sizeof v);
	meet(mask, shuffle_lanes<KIND>, &s, name);
	memcpy((void *)&v, &s.got, sizeof v);
	return v;
}

struct vote {
	unsigned mine, got;
};
NOSA_UNCHECKED inline void ballot_lanes(void *const *lanes) {
	unsigned all = 0;
	for (int i = 0; i < 32; i++)
		if (lanes[i] && ((vote *)lanes[i])->mine) all |= 1u << i;
	for (int i = 0; i < 32; i++)
		if (lanes[i]) ((vote *)lanes[i])->got = all;
}
template <int KIND> NOSA_UNCHECKED void reduce_lanes(void *const *lanes) {
	bool first = true;
	unsigned sum = 0;
	for (int i = 0; i < 32; i++) {
		if (!lanes[i]) continue;
		const unsigned v = ((vote *)lanes[i])->mine;
		if (first) sum = v;
		else if (KIND == 0) sum += v;
		else if (KIND == 1) sum = v < sum ? v : sum;
		else if (KIND == 2) sum = v > sum ? v : sum;
		else if (KIND == 3) sum = (int)v < (int)sum ? v : sum;
		else if (KIND == 4) sum = (int)v > (int)sum ? v : sum;
		else if (KIND == 5) sum &= v;
		else if (KIND == 6) sum |= v;
		else sum ^= v;
		first = false;
	}
	for (int i = 0; i < 32; i++)
		if (lanes[i]) ((vote *)lanes[i])->got = sum;
}
inline unsigned voted(unsigned mask, meeting *op, unsigned mine, const char *name) {
	vote v = {mine, 0};
	meet(mask, op, &v, name);
	return v.got;
}

struct match {
	uint64_t value;
	unsigned got;
};
NOSA_UNCHECKED inline void match_lanes(void *const *lanes) {
	for (int i = 0; i < 32; i++) {
		if (!lanes[i]) continue;
		match &m = *(match *)lanes[i];
		m.got = 0;
		for (int j = 0; j < 32; j++)
			if (lanes[j] && ((match *)lanes[j])->value == m.value) m.got |= 1u << j;
	}
}

} // namespace emulated

#define NOSA_TEXT_(x) #x
#define NOSA_TEXT(x) NOSA_TEXT_(x)
#define NOSA_HERE __FILE__ ":" NOSA_TEXT(__LINE__)

#define __syncthreads() emulated::barrier(NOSA_HERE)
#define __syncthreads_count(p) emulated::barrier_sum(NOSA_HERE, (p) ? 1 : 0)
#define __syncthreads_or(p) (emulated::barrier_sum(NOSA_HERE, (p) ? 1 : 0) != 0)
#define __syncthreads_and(p) (emulated::barrier_sum(NOSA_HERE, (p) ? 0 : 1) == 0)
inline void __syncwarp(unsigned mask = ~0u) {
	emulated::meet(mask, [](void *const *) {}, &mask, "__syncwarp");
}
template <class T> T __shfl_sync(unsigned mask, T v, int lane, int width = 32) { return emulated::shuffled<0>(mask, v, lane, width, "__shfl_sync"); }
template <class T> T __shfl_xor_sync(unsigned mask, T v, int with, int width = 32) { return emulated::shuffled<1>(mask, v, with, width, "__shfl_xor_sync"); }
template <class T> T __shfl_up_sync(unsigned mask, T v, unsigned by, int width = 32) { return emulated::shuffled<2>(mask, v, (int)by, width, "__shfl_up_sync"); }
template <class T> T __shfl_down_sync(unsigned mask, T v, unsigned by, int width = 32) { return emulated::shuffled<3>(mask, v, (int)by, width, "__shfl_down_sync"); }
inline unsigned __ballot_sync(unsigned mask, int p) { return emulated::voted(mask, emulated::ballot_lanes, p != 0, "__ballot_sync"); }
inline int __any_sync(unsigned mask, int p) { return emulated::voted(mask, emulated::ballot_lanes, p != 0, "__any_sync") != 0; }
inline int __all_sync(unsigned mask, int p) { return emulated::voted(mask, emulated::ballot_lanes, p == 0, "__all_sync") == 0; }
inline unsigned __activemask() { return emulated::active(); }
inline unsigned __reduce_add_sync(unsigned mask, unsigned v) { return emulated::voted(mask, emulated::reduce_lanes<0>, v, "__reduce_add_sync"); }
inline int __reduce_add_sync(unsigned mask, int v) { return (int)emulated::voted(mask, emulated::reduce_lanes<0>, (unsigned)v, "__reduce_add_sync"); }
inline unsigned __reduce_min_sync(unsigned mask, unsigned v) { return emulated::voted(mask, emulated::reduce_lanes<1>, v, "__reduce_min_sync"); }
inline unsigned __reduce_max_sync(unsigned mask, unsigned v) { return emulated::voted(mask, emulated::reduce_lanes<2>, v, "__reduce_max_sync"); }
inline int __reduce_min_sync(unsigned mask, int v) { return (int)emulated::voted(mask, emulated::reduce_lanes<3>, (unsigned)v, "__reduce_min_sync"); }
inline int __reduce_max_sync(unsigned mask, int v) { return (int)emulated::voted(mask, emulated::reduce_lanes<4>, (unsigned)v, "__reduce_max_sync"); }
inline unsigned __reduce_and_sync(unsigned mask, unsigned v) { return emulated::voted(mask, emulated::reduce_lanes<5>, v, "__reduce_and_sync"); }
inline unsigned __reduce_or_sync(unsigned mask, unsigned v) { return emulated::voted(mask, emulated::reduce_lanes<6>, v, "__reduce_or_sync"); }
inline unsigned __reduce_xor_sync(unsigned mask, unsigned v) { return emulated::voted(mask, emulated::reduce_lanes<7>, v, "__reduce_xor_sync"); }
template <class T> unsigned __match_any_sync(unsigned mask, T v) {
	emulated::match m = {0, 0};
	memcpy(&m.value, &v, sizeof v);
	emulated::meet(mask, emulated::match_lanes, &m, "__match_any_sync");
	return m.got;
}

inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __nanosleep(unsigned) { emulated::nap(); }
inline long long clock64() { return emulated::now(); }
inline unsigned long long globaltimer() { return (unsigned long long)emulated::now(); }
[[noreturn]] inline void __trap() { emulated::fault("__trap"); }

// Threads take turns, and the host may look on.
template <class T, class U> T atomicAdd(T *p, U v) {
	if constexpr (std::is_integral_v<T>) return __atomic_fetch_add(p, (T)v, __ATOMIC_SEQ_CST);
	const T old = *p;
	*p = old + (T)v;
	return old;
}
template <class T, class U> T atomicSub(T *p, U v) { return __atomic_fetch_sub(p, (T)v, __ATOMIC_SEQ_CST); }
template <class T, class U> T atomicAnd(T *p, U v) { return __atomic_fetch_and(p, (T)v, __ATOMIC_SEQ_CST); }
template <class T, class U> T atomicOr(T *p, U v) { return __atomic_fetch_or(p, (T)v, __ATOMIC_SEQ_CST); }
template <class T, class U> T atomicXor(T *p, U v) { return __atomic_fetch_xor(p, (T)v, __ATOMIC_SEQ_CST); }
template <class T, class U> T atomicExch(T *p, U v) {
	const T to = (T)v;
	T old;
	__atomic_exchange(p, const_cast<T *>(&to), &old, __ATOMIC_SEQ_CST);
	return old;
}
template <class T, class U, class V> T atomicCAS(T *p, U expected, V v) {
	T old = (T)expected;
	__atomic_compare_exchange_n(p, &old, (T)v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	return old;
}
template <class T, class U> T atomicMin(T *p, U v) {
	T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
	while ((T)v < old && !__atomic_compare_exchange_n(p, &old, (T)v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
	return old;
}
template <class T, class U> T atomicMax(T *p, U v) {
	T old = __atomic_load_n(p, __ATOMIC_SEQ_CST);
	while ((T)v > old && !__atomic_compare_exchange_n(p, &old, (T)v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {}
	return old;
}
inline unsigned atomicInc(unsigned *p, unsigned top) {
	const unsigned old = *p;
	*p = old >= top ? 0 : old + 1;
	return old;
}

template <class T> T __ldg(const T *p) { return *p; }
template <class T> T __ldcs(const T *p) { return *p; }
template <class T> T __ldcg(const T *p) { return *p; }
template <class T> T __ldca(const T *p) { return *p; }
template <class T> T __ldlu(const T *p) { return *p; }
template <class T> T __ldcv(const T *p) {
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
	return *p;
}
template <class T> void __stcs(T *p, T v) { *p = v; }
template <class T> void __stcg(T *p, T v) { *p = v; }
template <class T> void __stwb(T *p, T v) { *p = v; }
template <class T> void __stwt(T *p, T v) { *p = v; }

template <class T, class F> T __nosa_bits(F v) {
	static_assert(sizeof(T) == sizeof(F));
	T t;
	memcpy(&t, &v, sizeof t);
	return t;
}
inline unsigned __float_as_uint(float v) { return __nosa_bits<unsigned>(v); }
inline int __float_as_int(float v) { return __nosa_bits<int>(v); }
inline float __uint_as_float(unsigned v) { return __nosa_bits<float>(v); }
inline float __int_as_float(int v) { return __nosa_bits<float>(v); }
inline long long __double_as_longlong(double v) { return __nosa_bits<long long>(v); }
inline double __longlong_as_double(long long v) { return __nosa_bits<double>(v); }

inline float __fmul_rn(float a, float b) { return a * b; }
inline float __fadd_rn(float a, float b) { return a + b; }
inline float __fsub_rn(float a, float b) { return a - b; }
inline float __fmaf_rn(float a, float b, float c) { return fmaf(a, b, c); }
inline float __fdiv_rn(float a, float b) { return a / b; }
inline float __frcp_rn(float a) { return 1 / a; }
inline float __fsqrt_rn(float a) { return sqrtf(a); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __expf(float a) { return expf(a); }
inline float __exp2f(float a) { return exp2f(a); }
inline float __logf(float a) { return logf(a); }
inline float __log2f(float a) { return log2f(a); }
inline float __sinf(float a) { return sinf(a); }
inline float __cosf(float a) { return cosf(a); }
inline float rsqrtf(float a) { return (float)(1 / sqrt((double)a)); }
inline float __saturatef(float a) { return a > 0 ? (a < 1 ? a : 1) : 0; }
inline double __dadd_rn(double a, double b) { return a + b; }
inline double __dmul_rn(double a, double b) { return a * b; }
inline double __fma_rn(double a, double b, double c) { return fma(a, b, c); }
inline int __float2int_rn(float a) { return a != a ? 0 : a >= 2147483648.0f ? 2147483647 : a <= -2147483648.0f ? -2147483647 - 1 : (int)rintf(a); }
inline int __float2int_rz(float a) { return a != a ? 0 : a >= 2147483648.0f ? 2147483647 : a <= -2147483648.0f ? -2147483647 - 1 : (int)a; }
inline float __int2float_rn(int a) { return (float)a; }
inline float __uint2float_rn(unsigned a) { return (float)a; }
inline float __double2float_rn(double a) { return (float)a; }

inline int __popc(unsigned v) { return __builtin_popcount(v); }
inline int __popcll(unsigned long long v) { return __builtin_popcountll(v); }
inline int __clz(int v) { return v ? __builtin_clz((unsigned)v) : 32; }
inline int __clzll(long long v) { return v ? __builtin_clzll((unsigned long long)v) : 64; }
inline int __ffs(int v) { return __builtin_ffs(v); }
inline int __ffsll(long long v) { return __builtin_ffsll(v); }
inline unsigned __brev(unsigned v) {
	unsigned r = 0;
	for (int i = 0; i < 32; i++) r |= (v >> i & 1) << (31 - i);
	return r;
}
inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
inline int __mul24(int a, int b) { return (a << 8 >> 8) * (b << 8 >> 8); }
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
	const uint64_t all = (uint64_t)y << 32 | x;
	unsigned r = 0;
	for (int i = 0; i < 4; i++) {
		const unsigned c = s >> 4 * i & 15;
		unsigned b = (unsigned)(all >> 8 * (c & 7)) & 255;
		if (c & 8) b = b & 128 ? 255 : 0;
		r |= b << 8 * i;
	}
	return r;
}
inline unsigned __funnelshift_l(unsigned lo, unsigned hi, unsigned s) { return (unsigned)(((uint64_t)hi << 32 | lo) << (s & 31) >> 32); }
inline unsigned __funnelshift_r(unsigned lo, unsigned hi, unsigned s) { return (unsigned)(((uint64_t)hi << 32 | lo) >> (s & 31)); }
inline int __dp4a(int a, int b, int c) {
	for (int i = 0; i < 4; i++) c += (int8_t)(a >> 8 * i) * (int8_t)(b >> 8 * i);
	return c;
}
inline unsigned __dp4a(unsigned a, unsigned b, unsigned c) {
	for (int i = 0; i < 4; i++) c += (a >> 8 * i & 255) * (b >> 8 * i & 255);
	return c;
}
inline size_t __cvta_generic_to_shared(const void *p) { return (size_t)p; }

#define NOSA_MIN_MAX(T)                                  \
	inline T min(T a, T b) { return b < a ? b : a; } \
	inline T max(T a, T b) { return a < b ? b : a; }
NOSA_MIN_MAX(int)
NOSA_MIN_MAX(unsigned)
NOSA_MIN_MAX(long)
NOSA_MIN_MAX(unsigned long)
NOSA_MIN_MAX(long long)
NOSA_MIN_MAX(unsigned long long)
#undef NOSA_MIN_MAX
inline unsigned min(int a, unsigned b) { return min((unsigned)a, b); }
inline unsigned min(unsigned a, int b) { return min(a, (unsigned)b); }
inline unsigned max(int a, unsigned b) { return max((unsigned)a, b); }
inline unsigned max(unsigned a, int b) { return max(a, (unsigned)b); }
inline float min(float a, float b) { return fminf(a, b); }
inline float max(float a, float b) { return fmaxf(a, b); }
inline double min(double a, double b) { return fmin(a, b); }
inline double max(double a, double b) { return fmax(a, b); }

// NVIDIA's headers have these for the device alone.
inline __nv_bfloat162 __hfma2(__nv_bfloat162 a, __nv_bfloat162 b, __nv_bfloat162 c) {
	const float2 x = __bfloat1622float2(a), y = __bfloat1622float2(b), z = __bfloat1622float2(c);
	return __nv_bfloat162(__double2bfloat16((double)x.x * y.x + z.x), __double2bfloat16((double)x.y * y.y + z.y));
}
inline __half2 __hfma2(__half2 a, __half2 b, __half2 c) {
	const float2 x = __half22float2(a), y = __half22float2(b), z = __half22float2(c);
	return __half2(__double2half((double)x.x * y.x + z.x), __double2half((double)x.y * y.y + z.y));
}
