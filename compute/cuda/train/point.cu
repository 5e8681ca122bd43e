// Element by element: conversion, SwiGLU, residuals, rotation, and the optimiser. Activations are
// bf16, the optimiser's float32. Twins: compute/copy.go, swiglu.go, swiglugrad.go, residual.go,
// rotate.go, rotategrad.go, adamw.go
#include "vector.cuh"
#include <type_traits>

struct point_args {
	void *out, *second;        // second: SwiGLU's dup, or none
	const void *x, *y, *third; // [n]
	long long n;
	float scale;
};

// f is called with the first of V elements that a thread has next, and with V; what is left of eights comes
// element by element.
template <int V, class F> __device__ __forceinline__ void points(long long n, const F &f) {
	const long long step = (long long)gridDim.x * blockDim.x, first = (long long)blockIdx.x * blockDim.x + threadIdx.x;
	for (long long i = first; i < n / V; i += step) f(i * V, std::integral_constant<int, V>());
	if constexpr (V > 1)
		for (long long i = n / V * V + first; i < n; i += step) f(i, std::integral_constant<int, 1>());
}

// grid any   block any
template <int V> __device__ __forceinline__ void narrow(const point_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float x[N];
		get<N>((const float *)a.x + i, x);
		put<N>((__nv_bfloat16 *)a.out + i, x);
	});
}

template <int V> __device__ __forceinline__ void widen(const point_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float x[N];
		get<N>((const __nv_bfloat16 *)a.x + i, x);
		put<N>((float *)a.out + i, x);
	});
}

// out = silu(x)·y; out may be x.
template <int V> __device__ __forceinline__ void swiglu(const point_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float x[N], y[N];
		get<N>((const __nv_bfloat16 *)a.x + i, x);
		get<N>((const __nv_bfloat16 *)a.y + i, y);
#pragma unroll
		for (int j = 0; j < N; j++) x[j] = x[j] / (1 + expf(-x[j])) * y[j];
		put<N>((__nv_bfloat16 *)a.out + i, x);
	});
}

// out and second are the gradients of x = gate and y = up, where they may lie, and third that of the result.
template <int V> __device__ __forceinline__ void swiglu_grad(const point_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float g[N], u[N], d[N];
		get<N>((const __nv_bfloat16 *)a.x + i, g);
		get<N>((const __nv_bfloat16 *)a.y + i, u);
		get<N>((const __nv_bfloat16 *)a.third + i, d);
#pragma unroll
		for (int j = 0; j < N; j++) {
			const float s = 1 / (1 + expf(-g[j])), up = u[j];
			u[j] = d[j] * g[j] * s;
			g[j] = d[j] * up * s * (1 + g[j] * (1 - s));
		}
		put<N>((__nv_bfloat16 *)a.out + i, g);
		put<N>((__nv_bfloat16 *)a.second + i, u);
	});
}

// out = x + scale·y, out being x.
template <int V> __device__ __forceinline__ void add_scaled(const point_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float x[N], y[N];
		get<N>((const __nv_bfloat16 *)a.x + i, x);
		get<N>((const __nv_bfloat16 *)a.y + i, y);
#pragma unroll
		for (int j = 0; j < N; j++) x[j] = x[j] + y[j] * a.scale;
		put<N>((__nv_bfloat16 *)a.out + i, x);
	});
}

template <int V> __device__ __forceinline__ void scale(const point_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float x[N];
		get<N>((const __nv_bfloat16 *)a.x + i, x);
#pragma unroll
		for (int j = 0; j < N; j++) x[j] *= a.scale;
		put<N>((__nv_bfloat16 *)a.out + i, x);
	});
}

BOTH(256, narrow, point_args)
BOTH(256, widen, point_args)
BOTH(256, swiglu, point_args)
BOTH(256, swiglu_grad, point_args)
BOTH(256, add_scaled, point_args)
BOTH(256, scale, point_args)

struct rotate_args {
	__nv_bfloat16 *x;    // [rows, heads, dim]
	const float *angles; // [rows, 2, pairs]
	int rows, heads, dim, pairs, interleaved;
	float sign; // −1 turns back
};

// A thread has V pairs next to each other, of halves alone if V is 8.
// grid any   block any
template <int V> __device__ __forceinline__ void rotate(const rotate_args &a) {
	const int each = a.pairs / V;
	const long long n = (long long)a.rows * a.heads * each;
	for (long long at = (long long)blockIdx.x * blockDim.x + threadIdx.x; at < n; at += (long long)gridDim.x * blockDim.x) {
		const int i = (int)(at % each) * V;
		const long long head = at / each, row = head / a.heads;
		const float *cos = a.angles + row * 2 * a.pairs + i, *sin = cos + a.pairs;
		const bool neighbours = V == 1 && a.interleaved;
		__nv_bfloat16 *p = a.x + head * a.dim + (neighbours ? 2 * i : i), *q = p + (neighbours ? 1 : a.pairs);
		float x[V], y[V], c[V], s[V];
		get<V>(p, x);
		get<V>(q, y);
		get<V>(cos, c);
		get<V>(sin, s);
#pragma unroll
		for (int j = 0; j < V; j++) {
			const float u = x[j], w = y[j], t = a.sign * s[j];
			x[j] = u * c[j] - w * t;
			y[j] = w * c[j] + u * t;
		}
		put<V>(p, x);
		put<V>(q, y);
	}
}
BOTH(256, rotate, rotate_args)

struct adamw_args {
	float *weight, *m, *v;
	const float *grad;
	long long n;
	float scale;           // of the gradient
	float beta1, beta2;    // what stays of m and v
	float fresh1, fresh2;  // 1 − beta
	float keep;            // of the weight: 1 − rate·decay
	float rate, eps;       // rate: divided by what m lacks yet
	float second;          // 1 / what v lacks yet
};

// grid any   block any
template <int V> __device__ __forceinline__ void adamw(const adamw_args &a) {
	points<V>(a.n, [&](long long i, auto size) {
		enum { N = decltype(size)::value };
		float w[N], m[N], s[N], g[N];
		get<N>(a.weight + i, w);
		get<N>(a.m + i, m);
		get<N>(a.v + i, s);
		get<N>(a.grad + i, g);
#pragma unroll
		for (int j = 0; j < N; j++) {
			const float d = g[j] * a.scale;
			m[j] = fmaf(a.beta1, m[j], a.fresh1 * d);
			s[j] = fmaf(a.beta2, s[j], a.fresh2 * d * d);
			w[j] = fmaf(w[j], a.keep, -(a.rate * m[j] / (sqrtf(s[j] * a.second) + a.eps)));
		}
		put<N>(a.weight + i, w);
		put<N>(a.m + i, m);
		put<N>(a.v + i, s);
	});
}
BOTH(256, adamw, adamw_args)

struct squares_args {
	const float *x;
	double *out; // [grid]
	long long n;
	int each; // elements of a block
};

// The sum of squares of each block's elements, in float64: a thread adds its own, and threads in a tree.
// grid (ceil(n / each))   block 256
extern "C" __global__ void __launch_bounds__(256) train_squares(const __grid_constant__ squares_args a) {
	__shared__ double sums[256];
	const long long from = (long long)blockIdx.x * a.each, to = min(a.n, from + a.each);
	double sum = 0;
#pragma unroll 8
	for (long long i = from + threadIdx.x; i < to; i += 256) sum = fma((double)a.x[i], (double)a.x[i], sum);
	sums[threadIdx.x] = sum;
	for (int d = 128; d > 0; d /= 2) {
		__syncthreads();
		if (threadIdx.x < d) sums[threadIdx.x] += sums[threadIdx.x + d];
	}
	if (threadIdx.x == 0) a.out[blockIdx.x] = sums[0];
}
