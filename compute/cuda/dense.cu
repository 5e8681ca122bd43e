// The ops between products: embedding, norm, rotation, SwiGLU, residuals, importance.
// Twins: compute/embed.go, norm.go, rotate.go, swiglu.go, residual.go, importance.go
// order   a row's sums know its length and the block's size alone
#include "decode.cuh"
#include "sum.cuh"

struct embed_args {
	float *out;           // [rows, width]
	const uint8_t *table; // [vocab, width]
	const int *ids;       // [rows]
	int width, row_bytes;
};

// grid (rows)   block 128
template <int T> __device__ void embed(const embed_args &a) {
	const uint8_t *row = a.table + (size_t)a.ids[blockIdx.x] * a.row_bytes;
	float *out = a.out + (size_t)blockIdx.x * a.width;
	if constexpr (format<T>::block == 1) {
		for (int i = threadIdx.x; i < a.width; i += blockDim.x) out[i] = one<T>(row, i);
	} else {
		for (int i = 8 * threadIdx.x; i < a.width; i += 8 * blockDim.x) {
			float w[8];
			eight<T>(row, i, w);
			for (int j = 0; j < 8; j++) out[i + j] = w[j];
		}
	}
}
#define EMBED(name, T) \
	extern "C" __global__ void embed_##name(const __grid_constant__ embed_args a) { embed<T>(a); }
EACH_FORMAT(EMBED)

struct norm_args {
	float *out;
	const float *x, *weight;
	int width;
	float eps;
};

// grid (rows)   block 256   out may be x
extern "C" __global__ void rms_norm(const __grid_constant__ norm_args a) {
	__shared__ float shared[32];
	const float *x = a.x + (size_t)blockIdx.x * a.width;
	float *out = a.out + (size_t)blockIdx.x * a.width;
	float sum = 0;
	for (int i = threadIdx.x; i < a.width; i += blockDim.x) sum = fmaf(x[i], x[i], sum);
	sum = block_sum(sum, shared);
	const float inv = 1 / sqrtf(sum / a.width + a.eps);
	for (int i = threadIdx.x; i < a.width; i += blockDim.x) out[i] = a.weight[i] * (x[i] * inv);
}

struct angles_args {
	float *out;       // [rows, 2, pairs]
	const int *pos;   // [rows]
	const float *inv; // [pairs]
	int pairs;
	float factor;
};

// grid (rows)   block 128
extern "C" __global__ void angles(const __grid_constant__ angles_args a) {
	float *out = a.out + (size_t)blockIdx.x * 2 * a.pairs;
	for (int i = threadIdx.x; i < a.pairs; i += blockDim.x) {
		const float angle = (float)a.pos[blockIdx.x] * a.inv[i]; // as checkpoints are trained
		double s, c;
		sincos((double)angle, &s, &c);
		out[i] = (float)c * a.factor;
		out[a.pairs + i] = (float)s * a.factor;
	}
}

struct rotate_args {
	float *x;            // [rows, heads, dim]
	const float *angles; // [rows, 2, pairs]
	int heads, dim, pairs, interleaved;
};

// grid (rows)   block 256
extern "C" __global__ void rotate(const __grid_constant__ rotate_args a) {
	const float *cos = a.angles + (size_t)blockIdx.x * 2 * a.pairs, *sin = cos + a.pairs;
	float *row = a.x + (size_t)blockIdx.x * a.heads * a.dim;
	for (int at = threadIdx.x; at < a.heads * a.pairs; at += blockDim.x) {
		const int h = at / a.pairs, i = at % a.pairs;
		float *p = row + h * a.dim + (a.interleaved ? 2 * i : i), *q = p + (a.interleaved ? 1 : a.pairs);
		const float x = *p, y = *q;
		*p = __fadd_rn(__fmul_rn(x, cos[i]), -__fmul_rn(y, sin[i]));
		*q = __fadd_rn(__fmul_rn(y, cos[i]), __fmul_rn(x, sin[i]));
	}
}

struct point_args {
	float *out;
	const float *x, *y;
	long long n;
	float scale;
};

#define POINTS for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < a.n; i += (long long)gridDim.x * blockDim.x)

// grid any   block any   out may be x
extern "C" __global__ void swiglu(const __grid_constant__ point_args a) {
	POINTS { a.out[i] = a.x[i] / (1 + expf(-a.x[i])) * a.y[i]; }
}

extern "C" __global__ void add_scaled(const __grid_constant__ point_args a) {
	POINTS { a.out[i] = __fadd_rn(a.out[i], __fmul_rn(a.y[i], a.scale)); }
}

extern "C" __global__ void scale(const __grid_constant__ point_args a) {
	POINTS { a.out[i] = a.out[i] * a.scale; }
}

struct importance_args {
	float *out;                        // [rows, heads]
	const float *v, *delta, *bias, *a; // [rows, width], [heads, width], [heads] or none, [heads]
	int heads, width;
};

// grid (rows, heads)   block 32
extern "C" __global__ void importance(const __grid_constant__ importance_args a) {
	const float *v = a.v + (size_t)blockIdx.x * a.width, *d = a.delta + (size_t)blockIdx.y * a.width;
	float sum = 0;
	for (int i = threadIdx.x; i < a.width; i += 32) sum = fmaf(d[i], v[i], sum);
	sum = warp_sum(sum);
	if (threadIdx.x == 0) {
		if (a.bias) sum += a.bias[blockIdx.y];
		const float soft = larger(sum, 0) + log1pf(expf(-fabsf(sum)));
		a.out[(size_t)blockIdx.x * a.heads + blockIdx.y] = a.a[blockIdx.y] * soft;
	}
}
