// Products on the tensor cores of sm_90a, of wide lines. Twins: compute/linear.go, lineargrad.go
//
// A thread block goes through tiles of 128 rows and 192 columns. One of its three warpgroups brings
// both factors to shared memory, STAGES steps of 64 elements of k ahead, across the ends of tiles; the
// other two have every other tile each, so that one multiplies while the other writes its sums.
// grid    min(work, multiprocessors), work being tiles · splits   block 3 warpgroups
// shared  barriers, and STAGES times 16 KiB of a and 24 of b
// order   16 elements of k at a time, in order; splits are added by fold.cu
// bytes   a once for 192 columns, b once for 128 rows; tiles of NEAR · 128 rows are near in time, so
//         that most come from the second cache
#include "../ptx_group.cuh"
#include "product.cuh"

enum { ROWS = 128, COLUMNS = 192, UNIT = 64, STAGES = 5, LATER = 2, NEAR = 16, A_BYTES = ROWS * 128, STAGE = A_BYTES + COLUMNS * 128 };

struct piece_of_work {
	int row, column, split, from, to; // of k: units
};

__device__ __forceinline__ piece_of_work work_of(const product_args &a, int i) {
	const int down = (a.m + ROWS - 1) / ROWS, over = (a.n + COLUMNS - 1) / COLUMNS, tiles = down * over;
	const int split = i / tiles, tile = i % tiles, band = tile / (NEAR * over), high = min((int)NEAR, down - band * NEAR), in = tile - band * NEAR * over;
	return {(band * NEAR + in % high) * ROWS, in / high * COLUMNS, split, before(a, split, UNIT), before(a, split + 1, UNIT)};
}

// A stage's part of a factor of which a tile has N rows or columns: 20 pieces of 16 bytes for each of
// 128 threads, of both. Eight threads have a line.
template <bool ACROSS, int N> __device__ __forceinline__ void fetch(uint8_t *to, const __nv_bfloat16 *x, int size, int depth, int first, int k, int thread) {
	const int p = thread % 8, line = thread / 8;
	to += line * 128 + ((p ^ line % 8) << 4);
	if constexpr (ACROSS) {
		const __nv_bfloat16 *here = x + (size_t)(k + line) * size + first + 8 * p;
#pragma unroll
		for (int i = 0; i < UNIT / 16; i++, here += 16 * (size_t)size) {
#pragma unroll
			for (int c = 0; c < N / 64; c++) {
				const bool valid = k + line + 16 * i < depth && first + 64 * c + 8 * p < size;
				cp_async_16(to + c * 64 * 128 + i * 16 * 128, valid ? here + 64 * c : x, valid);
			}
		}
	} else {
		const __nv_bfloat16 *here = x + (size_t)(first + line) * depth + k + 8 * p;
		const bool inside = k + 8 * p < depth;
#pragma unroll
		for (int i = 0; i < N / 16; i++, here += 16 * (size_t)depth) {
			const bool valid = inside && first + line + 16 * i < size;
			cp_async_16(to + i * 16 * 128, valid ? here : x, valid);
		}
	}
}

struct place {
	int at = 0, phase = 0;
	__device__ __forceinline__ void next() {
		if (++at == STAGES) at = 0, phase ^= 1;
	}
	__device__ __forceinline__ void skip(int n) {
		phase ^= (at + n) / STAGES & 1;
		at = (at + n) % STAGES;
	}
};

// Four lanes have two neighbours each of four groups of eight columns; then each has a group.
__device__ __forceinline__ void turn(uint32_t (&v)[4]) {
	const int lane = threadIdx.x % 4;
#pragma unroll
	for (int d = 1; d < 4; d *= 2)
#pragma unroll
		for (int i = 0; i < 4; i++) {
			if (i & d) continue;
			const bool upper = lane & d;
			const uint32_t got = __shfl_xor_sync(~0u, upper ? v[i] : v[i + d], d);
			if (upper)
				v[i] = got;
			else
				v[i + d] = got;
		}
}

// The sums of 64 rows of a tile.
__device__ __forceinline__ void write(const product_args &a, const piece_of_work &w, int row, const float *c) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
	row += 16 * warp + lane / 4;
#pragma unroll
	for (int h = 0; h < 2; h++, row += 8) {
		if (a.kind > ADD) {
#pragma unroll
			for (int j = 0; j < COLUMNS / 8; j++) {
				const int column = w.column + 8 * j + lane % 4 * 2;
				if (row < a.m && column < a.n) finish(a, w.split, row, column, c[4 * j + 2 * h], c[4 * j + 2 * h + 1]);
			}
			continue;
		}
#pragma unroll
		for (int j = 0; j < COLUMNS / 8; j += 4) {
			uint32_t v[4];
#pragma unroll
			for (int i = 0; i < 4; i++) {
				const int column = w.column + 8 * (j + i) + lane % 4 * 2;
				__nv_bfloat162 p = {};
				if (row < a.m && column < a.n) p = pair_of(a, row, column, c[4 * (j + i) + 2 * h], c[4 * (j + i) + 2 * h + 1]);
				v[i] = *(const uint32_t *)&p;
			}
			turn(v);
			const int column = w.column + 8 * (j + lane % 4);
			if (row < a.m && column < a.n) *(uint4 *)((__nv_bfloat16 *)a.out + (size_t)row * a.n + column) = make_uint4(v[0], v[1], v[2], v[3]);
		}
	}
}

template <bool A_ACROSS, bool B_ACROSS> __device__ __forceinline__ void product(const product_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	extern __shared__ uint4 memory[];
	uint64_t *const are = (uint64_t *)memory, *const were = are + STAGES; // a stage's factors are there, are read
	uint64_t *const turns = were + STAGES;                               // a warpgroup has the next stages
	uint8_t *const stages = (uint8_t *)(((uintptr_t)(turns + 2) + 1023) & ~(uintptr_t)1023);
	const int group = threadIdx.x / 128, thread = threadIdx.x % 128;
	if (threadIdx.x == 0) {
		for (int i = 0; i < STAGES; i++) mbarrier_init(are + i, 128), mbarrier_init(were + i, 4);
		for (int i = 0; i < 2; i++) mbarrier_init(turns + i, 4);
		mbarrier_made();
	}
	__syncthreads();
	const int all = ((a.m + ROWS - 1) / ROWS) * ((a.n + COLUMNS - 1) / COLUMNS) * a.splits;

	if (group == 2) {
		registers_give<40>();
		place to, there; // the next stage to bring, the next that may be told of
		int asked = 0;
		for (int i = blockIdx.x; i < all; i += gridDim.x) {
			const piece_of_work w = work_of(a, i);
			for (int u = w.from; u < w.to; u++, asked++) {
				if (asked >= STAGES) mbarrier_wait(were + to.at, to.phase ^ 1);
				uint8_t *const stage = stages + to.at * STAGE;
				fetch<A_ACROSS, ROWS>(stage, a.a, a.m, a.k, w.row, u * UNIT, thread);
				fetch<B_ACROSS, COLUMNS>(stage + A_BYTES, a.b, a.n, a.k, w.column, u * UNIT, thread);
				cp_async_commit();
				to.next();
				if (asked < LATER) continue;
				cp_async_wait<LATER>();
				matrix_written();
				mbarrier_arrive(are + there.at);
				there.next();
			}
		}
		cp_async_wait<0>();
		matrix_written();
		for (int i = min(asked, (int)LATER); i > 0; i--) {
			mbarrier_arrive(are + there.at);
			there.next();
		}
		return;
	}

	registers_take<232>();
	place at, read; // the next stage to multiply, the next whose products are done
	int i = blockIdx.x, turn = 0;
	const auto skip = [&] { // the other warpgroup's work
		if (i < all) {
			const piece_of_work w = work_of(a, i);
			at.skip(w.to - w.from), read.skip(w.to - w.from);
		}
		i += gridDim.x;
	};
	if (group == 1) skip();
	while (i < all) {
		const piece_of_work w = work_of(a, i);
		float c[192];
		// A stage's phases are told apart by twos: nobody waits for one before the other group has had those before it.
		if (group == 1 || i > (int)blockIdx.x) {
			mbarrier_wait(turns + group, turn);
			turn ^= 1;
		}
		for (int u = w.from; u < w.to; u++) {
			mbarrier_wait(are + at.at, at.phase);
			const uint8_t *const stage = stages + at.at * STAGE;
			const group_at x(stage, 64 * 128), y(stage + A_BYTES, 64 * 128);
			matrix_begin();
#pragma unroll
			for (int k = 0; k < UNIT / 16; k++)
#pragma unroll
				for (int h = 0; h < 2; h++)
					group_bf16_m64n192k16<A_ACROSS, B_ACROSS>(c + 96 * h, x + (h * 64 * 128 + k * (A_ACROSS ? 2048 : 32)), y + k * (B_ACROSS ? 2048 : 32), u > w.from || k > 0);
			matrix_commit();
			at.next();
			if (u == w.from) continue;
			matrix_wait<1>();
			if (thread % 32 == 0) mbarrier_arrive(were + read.at);
			read.next();
		}
		if (thread % 32 == 0) mbarrier_arrive(turns + (group ^ 1));
		matrix_end<384>(c);
		if (thread % 32 == 0) mbarrier_arrive(were + read.at);
		read.next();
#pragma unroll
		for (int h = 0; h < 2; h++) write(a, w, w.row + 64 * h, c + 96 * h);
		i += gridDim.x;
		skip();
	}
#endif
}

#define PRODUCT(name, A_ACROSS, B_ACROSS) \
	extern "C" __global__ void __launch_bounds__(384, 1) train_group_##name(const __grid_constant__ product_args a) { product<A_ACROSS, B_ACROSS>(a); }
PRODUCT(nt, false, false)
PRODUCT(nn, false, true)
PRODUCT(tn, true, true)
