// What block scores and importance are taken from, of a document's keys and scores: the summaries that
// inference keeps (../cache.cu), and queries as its kernels read them. Twins: compute/append.go, the
// definition in compute/documents_choose.go
#include "../layout.cuh"
#include "../sum.cuh"

struct summary_args {
	layout l;
	const __nv_bfloat16 *k; // [rows, heads, dim]: the document's
	const float *s;         // [rows, heads] or none
	uint8_t *means;         // [heads, blocks, summary bytes]
	float *seg_score;       // [heads, blocks, segments]
	int rows, blocks, dim;  // dim: channels of k; those beyond, up to the layout's, are 0
};

// grid (blocks, heads)   block 128
extern "C" __global__ void __launch_bounds__(128) train_summary(const __grid_constant__ summary_args a) {
	const layout &l = a.l;
	const int b = blockIdx.x, h = blockIdx.y, stride = l.block / l.segments, id = h * a.blocks + b;
	const int whole = min(l.segments, (a.rows - b * l.block) / stride); // segments that are complete
	for (int i = threadIdx.x; i < whole * l.dim; i += blockDim.x) {
		const int seg = i / l.dim, d = i % l.dim;
		const size_t row = (size_t)b * l.block + seg * stride;
		double sum = 0;
		for (int j = 0; j < stride && d < a.dim; j++) sum += (double)__bfloat162float(a.k[((row + j) * l.heads + h) * a.dim + d]);
		const float mean = (float)(sum / stride);
		((__half *)(a.means + (size_t)id * l.summary_bytes))[summary_at(l, seg, d)] = __float2half_rn(smaller(65504, larger(-65504, mean)));
	}
	if (a.s)
		for (int seg = threadIdx.x; seg < whole; seg += blockDim.x) {
			double sum = 0;
			for (int j = 0; j < stride; j++) sum += (double)a.s[((size_t)b * l.block + seg * stride + j) * l.heads + h];
			a.seg_score[(size_t)id * l.segments + seg] = (float)(sum / stride);
		}
}

struct summary_queries_args {
	float *out;             // [n, to]
	const __nv_bfloat16 *x; // [n, from]
	long long n;
	int from, to;
	float scale;
};

// Rows of heads to float32, with zeros behind, times scale.
// grid any   block any
extern "C" __global__ void train_summary_queries(const __grid_constant__ summary_queries_args a) {
	const long long all = a.n * a.to;
	for (long long i = (long long)blockIdx.x * blockDim.x + threadIdx.x; i < all; i += (long long)gridDim.x * blockDim.x) {
		const int c = i % a.to;
		a.out[i] = c < a.from ? __bfloat162float(a.x[i / a.to * a.from + c]) * a.scale : 0;
	}
}
