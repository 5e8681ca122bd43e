// Products on the tensor cores of sm_90a whose factors and results travel by tensor maps. Twins:
// compute/linear.go, lineargrad.go
//
// A thread block goes through tiles of 192 columns. One thread of its third warpgroup has boxes of both
// factors brought to shared memory, STAGES steps of 64 elements of k ahead, across the ends of tiles.
// The other two warpgroups have every other tile of 128 rows each, so that one multiplies while the
// other writes (turns), or 128 rows each of a tile of 256 (together). Each warp lays 16 rows of bf16
// results out in shared memory and has them stored from there.
//
// In clusters of two, blocks have tiles below each other: each brings half of the columns' factor, to
// both.
//
// grid    min(work, blocks that there is room for), work being tiles · splits   block 3 warpgroups
// shared  barriers, STAGES times 16 or 32 KiB of a and 24 of b, 24 KiB of results for each warpgroup
// order   16 elements of k at a time, in order; splits are added by fold.cu
//
// What bounds, on an H200: 790 TFLOP/s, 4.2 TB/s. Microseconds of 16,384 rows of the 135M model, as
// operations and as bytes of memory would have them (dx has the same of the transposed shape; dW too, but
// its result is small and k is split):
//
//	q, o       576 ·   576     14   9      up, gate  576 · 1,536   37  17
//	k, v       576 ·   192      5   6      down    1,536 ·   576   37  17
//	head       576 · 49,152 (4,096 rows)  294 110
//
// Operations nearly everywhere, so what counts is that tensor cores never wait. For 64 of k a tile of
// 128 rows multiplies 768 cycles and brings 40 KiB, 53 bytes a cycle from the second cache (12 TB/s for
// all multiprocessors, more than it is known to give); in clusters of two that is 37 bytes read of
// it, in tiles of 256 rows 37, with both 29. A tile's results are 48 KiB, 36 exchanges with shared
// memory of each lane and some 1,600 cycles of stores: by turns they lie behind 6,900 cycles of the
// other's products at k = 576; together nobody multiplies meanwhile, which pays where k is long.
// k's and v's products have one tile for each block, which nothing hides the ends of.
#include "../ptx_group.cuh"
#include "../ptx_tensor.cuh"
#include "product.cuh"

enum { COLUMNS = 192, UNIT = 64, NEAR = 2048, LINE = 128, GROUP_ROWS = 128, CHUNK = 64 * LINE, B_BYTES = COLUMNS * LINE };

struct tensor_args {
	tensor_map a, b, out; // boxes as product_tensor.go has them; out where it is bf16
	product_args of;
};

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
template <int CLUSTER, bool TOGETHER> struct form {
	enum {
		ROWS = TOGETHER ? 2 * GROUP_ROWS : GROUP_ROWS, // of a block's tile
		STAGES = TOGETHER ? 3 : 4,
		A_BYTES = ROWS * LINE,
		STAGE = A_BYTES + B_BYTES,
		READERS = 4 * CLUSTER * (TOGETHER ? 2 : 1), // warps that a stage waits for
	};
};

struct piece_of_work {
	int row, column, split, from, to; // row: of the cluster's first block; from, to: units of k
};

// Tiles of NEAR rows are near in time, so that most factors come from the second cache.
template <int ROWS> __device__ __forceinline__ piece_of_work work_of(const product_args &a, int i) {
	const int down = (a.m + ROWS - 1) / ROWS, over = (a.n + COLUMNS - 1) / COLUMNS, tiles = down * over, near = NEAR / ROWS;
	const int split = i / tiles, tile = i % tiles, band = tile / (near * over), high = min(near, down - band * near), in = tile - band * near * over;
	return {(band * near + in % high) * ROWS, in / high * COLUMNS, split, before(a, split, UNIT), before(a, split + 1, UNIT)};
}

template <int STAGES> struct place {
	int at = 0, phase = 0;
	__device__ __forceinline__ void next() {
		if (++at == STAGES) at = 0, phase ^= 1;
	}
	__device__ __forceinline__ void skip(int n) {
		phase ^= (at + n) / STAGES & 1;
		at = (at + n) % STAGES;
	}
};

// One thread brings all stages of a block, or its share of the cluster's.
template <bool A_ACROSS, bool B_ACROSS, int CLUSTER, bool TOGETHER>
__device__ __forceinline__ void bring(const tensor_args &t, uint64_t *are, uint64_t *were, uint8_t *stages, int all, int rank) {
	using f = form<CLUSTER, TOGETHER>;
	const product_args &a = t.of;
	enum { SHARE = COLUMNS / CLUSTER, DEEP = UNIT / CLUSTER };
	tensor_prefetch(&t.a), tensor_prefetch(&t.b);
	const auto both = [&](void *to, int column, int row, uint64_t *there) {
		if constexpr (CLUSTER == 1)
			tensor_load(to, &t.b, column, row, there);
		else
			tensor_load_to((1 << CLUSTER) - 1, to, &t.b, column, row, there);
	};
	place<f::STAGES> to;
	int asked = 0;
	for (int i = blockIdx.x / CLUSTER; i < all; i += gridDim.x / CLUSTER) {
		const piece_of_work w = work_of<f::ROWS * CLUSTER>(a, i);
		const int row = w.row + rank * f::ROWS;
		for (int u = w.from; u < w.to; u++, asked++) {
			if (asked >= f::STAGES) mbarrier_wait(were + to.at, to.phase ^ 1);
			uint8_t *const x = stages + to.at * f::STAGE, *const y = x + f::A_BYTES;
			uint64_t *const there = are + to.at;
			mbarrier_expect(there, f::STAGE);
			if constexpr (A_ACROSS) {
				for (int c = 0; c < f::ROWS / 64; c++) tensor_load(x + c * CHUNK, &t.a, row + 64 * c, u * UNIT, there);
			} else {
				for (int c = 0; c < f::ROWS / GROUP_ROWS; c++) tensor_load(x + c * 2 * CHUNK, &t.a, u * UNIT, row + GROUP_ROWS * c, there);
			}
			if constexpr (B_ACROSS) {
				for (int c = 0; c < COLUMNS / 64; c++) both(y + c * CHUNK + rank * DEEP * LINE, w.column + 64 * c, u * UNIT + rank * DEEP, there);
			} else {
				both(y + rank * SHARE * LINE, u * UNIT, w.column + rank * SHARE, there);
			}
			to.next();
		}
	}
}

// float32 results of 64 rows of a tile, of which a warp has 16. A place is one thread's alone: what is added
// to needs no order.
__device__ __forceinline__ void write_floats(const product_args &a, int split, int row, int column, const float *c) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32 % 4;
	row += 16 * warp + lane / 4, column += lane % 4 * 2;
#pragma unroll
	for (int h = 0; h < 2; h++) {
		if (row + 8 * h >= a.m) continue;
		float *const to = (float *)a.out + ((size_t)(a.kind == PART ? split * a.m : 0) + row + 8 * h) * a.n + column;
#pragma unroll
		for (int j = 0; j < COLUMNS / 8; j++) {
			if (column + 8 * j >= a.n) continue;
			const float x = c[4 * j + 2 * h], y = c[4 * j + 2 * h + 1];
			if (a.kind == SUM)
				add_to_global(to + 8 * j, x, y);
			else
				*(float2 *)(to + 8 * j) = make_float2(x, y);
		}
	}
}

// bf16 results likewise: they leave by the warp's place in shared memory, to which what they are added to
// comes first. old tells of that, for the PHASE'th 64 rows of a tile.
template <int PHASE> __device__ __forceinline__ void write(const tensor_args &t, int row, int column, const float *c, uint8_t *results, uint64_t *old) {
	const product_args &a = t.of;
	const int lane = threadIdx.x % 32;
	row += 16 * (threadIdx.x / 32 % 4);
	const auto box = [&](int p) { return results + p * 16 * LINE; };
	if (lane == 0) {
		tensor_store_read();
		if (a.kind == ADD) {
			mbarrier_expect(old, B_BYTES / 4);
			for (int p = 0; p < COLUMNS / 64; p++) tensor_load(box(p), &t.out, column + 64 * p, row, old);
		}
	}
	__syncwarp();
	if (a.kind == ADD) mbarrier_wait(old, PHASE);
#pragma unroll
	for (int j = 0; j < COLUMNS / 16; j++) {
		const int line = lane % 16, piece = 2 * j + lane / 16;
		uint8_t *const place = box(piece / 8) + line * LINE + ((piece % 8 ^ line % 8) << 4);
		float add[8]; // to two neighbours each: of rows, of rows 8 on; of the same 8 columns on
		if (a.kind == ADD) {
			uint32_t v[4];
			ldmatrix_x4(v, place);
#pragma unroll
			for (int i = 0; i < 8; i++) add[i] = __uint_as_float(i % 2 ? v[i / 2] & 0xffff0000 : v[i / 2] << 16);
		} else {
#pragma unroll
			for (int i = 0; i < 8; i++) {
				const int at = column + 16 * j + i / 4 * 8 + lane % 4 * 2 + i % 2;
				add[i] = a.bias && at < a.n ? *(const volatile float *)(a.bias + at) : -0.f; // changes no number
			}
		}
		uint32_t v[4];
#pragma unroll
		for (int i = 0; i < 4; i++) {
			const __nv_bfloat162 p = __floats2bfloat162_rn(c[8 * j + 2 * i] + add[2 * i], c[8 * j + 2 * i + 1] + add[2 * i + 1]);
			v[i] = *(const uint32_t *)&p;
		}
		stmatrix_x4(place, v[0], v[1], v[2], v[3]);
	}
	matrix_written();
	__syncwarp();
	if (lane == 0) {
		for (int p = 0; p < COLUMNS / 64; p++) tensor_store(&t.out, column + 64 * p, row, box(p));
		tensor_store_commit();
	}
}

template <bool A_ACROSS, bool B_ACROSS, int CLUSTER, bool TOGETHER>
__device__ __forceinline__ void multiply(const tensor_args &t, uint64_t *are, uint64_t *were, uint64_t *turns, uint64_t *olds, const uint8_t *stages, uint8_t *results, int all, int rank) {
	using f = form<CLUSTER, TOGETHER>;
	const product_args &a = t.of;
	const int group = threadIdx.x / 128, thread = threadIdx.x % 128;
	const auto done = [&](int stage) {
		if constexpr (CLUSTER == 1) {
			if (thread % 32 == 0) mbarrier_arrive(were + stage);
		} else {
			if (thread % 32 < CLUSTER) mbarrier_arrive_at(were + stage, thread % 32);
		}
	};
	const auto units = [&](int i) {
		const piece_of_work w = work_of<f::ROWS * CLUSTER>(a, i);
		return w.to - w.from;
	};
	place<f::STAGES> at; // the next stage to multiply
	int i = blockIdx.x / CLUSTER, turn = 0;
	const int step = gridDim.x / CLUSTER;
	const auto skip = [&] { // the other warpgroup's work
		if (TOGETHER) return;
		if (i < all) at.skip(units(i));
		i += step;
	};
	if (group == 1) skip();
	bool first = group == 0;
	while (i < all) {
		float c[192];
		// A stage's phases are told apart by twos: nobody waits for one before the other group has had those before it.
		if (!TOGETHER && !first) {
			mbarrier_wait(turns + group, turn);
			turn ^= 1;
		}
		first = false;
		int before = -1; // the stage whose products may be under way
		for (int u = units(i); u > 0; u--) {
			mbarrier_wait(are + at.at, at.phase);
			const uint8_t *const stage = stages + at.at * f::STAGE;
			const group_at x(stage + (TOGETHER ? group * 2 * CHUNK : 0), CHUNK), y(stage + f::A_BYTES, CHUNK);
			matrix_begin();
#pragma unroll
			for (int k = 0; k < UNIT / 16; k++)
#pragma unroll
				for (int h = 0; h < 2; h++)
					group_bf16_m64n192k16<A_ACROSS, B_ACROSS>(c + 96 * h, x + (h * CHUNK + k * (A_ACROSS ? 2048 : 32)), y + k * (B_ACROSS ? 2048 : 32), before >= 0 || k > 0);
			matrix_commit();
			if (before >= 0) {
				matrix_wait<1>();
				done(before);
			}
			before = at.at;
			at.next();
		}
		if (!TOGETHER && thread % 32 == 0) mbarrier_arrive(turns + (group ^ 1));
		matrix_end<384>(c);
		done(before);
		const piece_of_work w = work_of<f::ROWS * CLUSTER>(a, i);
		const int row = w.row + rank * f::ROWS + (TOGETHER ? group * GROUP_ROWS : 0), warp = threadIdx.x / 32;
		if (a.kind > ADD) {
			write_floats(a, w.split, row, w.column, c);
			write_floats(a, w.split, row + 64, w.column, c + 96);
		} else {
			write<0>(t, row, w.column, c, results + warp * (B_BYTES / 4), olds + warp);
			write<1>(t, row + 64, w.column, c + 96, results + warp * (B_BYTES / 4), olds + warp);
		}
		i += step;
		skip();
	}
	if (thread % 32 == 0) tensor_store_wait();
}

#endif

template <bool A_ACROSS, bool B_ACROSS, int CLUSTER, bool TOGETHER> __device__ __forceinline__ void product(const tensor_args &t) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	using f = form<CLUSTER, TOGETHER>;
	extern __shared__ uint4 memory[];
	// The same place in all blocks of a cluster: their dynamic shared memory begins alike.
	uint8_t *const stages = (uint8_t *)(((uintptr_t)memory + 1023) & ~(uintptr_t)1023), *const results = stages + f::STAGES * f::STAGE;
	uint64_t *const are = (uint64_t *)(results + 2 * B_BYTES), *const were = are + f::STAGES; // a stage's factors are there, are read
	uint64_t *const turns = were + f::STAGES;                                                  // a warpgroup has the next stages
	uint64_t *const olds = turns + 2;                                                          // what a warp's results are added to is there
	const product_args &a = t.of;
	const int rank = CLUSTER > 1 ? cluster_rank() : 0;
	if (threadIdx.x == 0) {
		for (int i = 0; i < f::STAGES; i++) mbarrier_init(are + i, 1), mbarrier_init(were + i, f::READERS);
		for (int i = 0; i < 2; i++) mbarrier_init(turns + i, 4);
		for (int i = 0; i < 8; i++) mbarrier_init(olds + i, 1);
		mbarrier_made();
	}
	__syncthreads();
	if constexpr (CLUSTER > 1) cluster_arrive(), cluster_wait();
	const int all = (a.m + f::ROWS * CLUSTER - 1) / (f::ROWS * CLUSTER) * ((a.n + COLUMNS - 1) / COLUMNS) * a.splits;
	if (threadIdx.x / 128 == 2) {
		registers_give<40>();
		if (threadIdx.x == 256) bring<A_ACROSS, B_ACROSS, CLUSTER, TOGETHER>(t, are, were, stages, all, rank);
		__syncwarp();
	} else {
		registers_take<232>();
		multiply<A_ACROSS, B_ACROSS, CLUSTER, TOGETHER>(t, are, were, turns, olds, stages, results, all, rank);
		__syncwarp();
	}
	// What another block brings here, and says here, has come before this one ends.
	if constexpr (CLUSTER > 1) cluster_arrive(), cluster_wait();
#endif
}

#define PRODUCT(name, A_ACROSS, B_ACROSS, CLUSTER, TOGETHER) \
	extern "C" __global__ void __launch_bounds__(384, 1) train_##name(const __grid_constant__ tensor_args t) { product<A_ACROSS, B_ACROSS, CLUSTER, TOGETHER>(t); }
#define PRODUCTS(name, CLUSTER, TOGETHER)              \
	PRODUCT(name##_nt, false, false, CLUSTER, TOGETHER) \
	PRODUCT(name##_nn, false, true, CLUSTER, TOGETHER)  \
	PRODUCT(name##_tn, true, true, CLUSTER, TOGETHER)
PRODUCTS(turns, 1, false)
PRODUCTS(turns_pair, 2, false)
PRODUCTS(together_pair, 2, true)
