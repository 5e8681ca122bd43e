// Products of bf16 weights with more than 8 rows, of sm_90a: see product.cuh. Twin: product_test.go
//
// bytes   weights once for each 8·N rows, from memory; activations for each 64·G outputs, from the second
//         cache, which gives little more than memory does: rows / (64·G) of the weights' bytes, and a
//         part of that where blocks share them
// Steps of weights are what counts: about 2 us of them must be on their way on every multiprocessor
// while others are multiplied. Then activations must never be late.
#include "product.cuh"

// A block has 8·N rows, and G warpgroups of 4 tiles each that multiply, with R registers a thread. Their
// weights come to shared memory W steps of K units ahead, each warp's by itself. Another warp fetches
// the activations, arranged, A steps ahead, as soon as all have read those before. A warpgroup has
// weights in registers, of F units, and activations in shared memory for its products; with two units
// it gets the next while it still multiplies, with F = 0 it has 16 elements of k. A block may have fewer
// tiles (a.wide), so that there are blocks for more multiprocessors: the warps without one multiply what lies there. A cluster's a.beside blocks in x have the same rows, and
// different tiles: each fetches a part of the rows for all. With gridDim.y pieces of k each block has
// one, and the cluster has those of its tiles: each block adds an equal part of the sums of all, which
// it reads in their shared memory. Else k has but one piece.
// grid    (beside · ceil(tiles / (wide·beside)) · ceil(rows / (8·N)), splits)   block 4·G + 4 warps
// shared  barriers, W steps of weights, A of activations; or the sums of a piece
template <int G, int N, int K, int W, int A, int F, int R> __device__ __forceinline__ void flow(const product_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	enum { TILES = 4 * G, ROWS = 8 * N, UNIT = unit<BF16>::bytes, STEP = TILES * K * UNIT, X = ROWS * 128, THREADS = 128 * G, C = 4 * N, PARTS = N > 24 ? 2 : 1 };
	extern __shared__ uint4 memory[];
	uint64_t *const weights_are = (uint64_t *)memory, *const rows_are = weights_are + W, *const rows_were = rows_are + A;
	static_assert(8 * (W + 2 * A) <= 512);
	uint8_t *const weights = (uint8_t *)memory + 512, *const activations = weights + W * STEP;
	const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
	const int beside = a.beside, which = blockIdx.x % beside, wide = G == 3 ? a.wide : (int)TILES;
	const placed at = place(a, wide * beside, ROWS, blockIdx.x / beside);
	const bool idle = G == 3 && warp >= wide;
	const int row0 = at.row, tile = idle ? a.tiles : at.tile + which * wide + warp;
	const bool whole = gridDim.y == 1;
	const int s = whole ? 0 : blockIdx.y;
	const int rank0 = beside * s; // of the blocks that share rows
	static_assert(A > 1);
	const int from = s * a.units / a.splits, n = (whole ? a.units : (s + 1) * a.units / a.splits) - from;
	if (thread == 0) {
		for (int i = 0; i < W; i++) mbarrier_init(weights_are + i, wide);
		for (int i = 0; i < A; i++) mbarrier_init(rows_are + i, 1), mbarrier_init(rows_were + i, TILES * beside);
		mbarrier_made();
	}
	__syncthreads();
	if (beside > 1) cluster_arrive();
	allow_later();

	// Units are counted from the block's first one. Each fetch is one lane's.
	const int groups = (a.rows + 7) / 8, some = min(N, groups - row0 / 8);
	const uint8_t *const w = a.weight + ((size_t)min(tile, a.tiles - 1) * a.units + from) * UNIT;
	const uint8_t *const x = (const uint8_t *)a.x + ((size_t)from * groups + row0 / 8) * 1024;
	int weights_asked = 0, rows_asked = 0; // units
	const auto fetch_weights = [&](int to) {
		if (weights_asked >= n) return;
		const int bytes = min((int)K, n - weights_asked) * UNIT;
		mbarrier_expect(weights_are + to, bytes);
		stream_range(weights + to * STEP + warp * K * UNIT, w + (size_t)weights_asked * UNIT, bytes, weights_are + to);
		weights_asked += K;
	};
	const auto fetch_rows = [&](int to) {
		const int units = min((int)K, n - rows_asked), first = which * some / beside, bytes = ((which + 1) * some / beside - first) * 1024;
		mbarrier_expect(rows_are + to, units * some * 1024);
		for (int i = 0; i < units && bytes > 0; i++) {
			uint8_t *const there = activations + (to * K + i) * X + first * 1024;
			const uint8_t *const here = x + ((size_t)(rows_asked + i) * groups + first) * 1024;
			if (beside == 1)
				copy_range(there, here, bytes, rows_are + to);
			else
				copy_range_to(((1 << beside) - 1) << rank0, there, here, bytes, rows_are + to);
		}
		rows_asked += K;
	};
	if (warp < wide && lane == 0)
		for (int i = 0; i < W; i++) fetch_weights(i);
	wait_for_earlier();
	if (beside > 1) cluster_wait(); // the barriers of all are made

	if (warp >= TILES) {
		registers_give<32>();
		if (warp == TILES && lane == 0)
			for (ring<A> to; rows_asked < n; to.next()) {
				if (rows_asked >= A * K) mbarrier_wait(rows_were + to.at, to.phase ^ 1);
				fetch_rows(to.at);
			}
		__syncwarp();
		if (!whole) {
			cluster_arrive();
			cluster_wait();
		}
		if (!whole || beside > 1) {
			cluster_arrive();
			cluster_wait();
		}
		return;
	}
	registers_take<R>();
	float acc[C];
#pragma unroll
	for (int i = 0; i < C; i++) acc[i] = 0;
	ring<W> wr, spent;        // the next step of weights, that whose place gets new ones
	ring<A> xr, read;         // the next step of rows, that which is read
	const auto have_rows = [&](int u) {
		if (u % K == 0) mbarrier_wait(rows_are + xr.at, xr.phase);
		const uint8_t *const x = activations + (xr.at * K + u % K) * X;
		if ((u + 1) % K == 0) xr.next();
		return x;
	};
	// A unit's weights are in registers: products of them have been posted, so that no lane's
	// reading is under way any more when others come in their place.
	const auto weights_read = [&](int u) {
		if ((u + 1) % K) return;
		__syncwarp();
		if (lane == 0 && !idle) fetch_weights(spent.at);
		spent.next();
	};
	const auto rows_read = [&](int u) {
		if ((u + 1) % K) return;
		if (beside > 1) {
			if (lane < beside) mbarrier_arrive_at(rows_were + read.at, rank0 + lane);
		} else if (lane == 0)
			mbarrier_arrive(rows_were + read.at);
		read.next();
	};
	const uint8_t *v;
	const auto get = [&](uint32_t (&f)[2][2][4], int u) {
		if (u % K == 0 && !idle) mbarrier_wait(weights_are + wr.at, wr.phase);
#pragma unroll
		for (int h = 0; h < 2; h++) fragments(half_at<BF16>(weights + wr.at * STEP + (warp * K + u % K) * UNIT, h, lane), f[h]);
		if ((u + 1) % K == 0) wr.next();
	};
	if constexpr (F == 0) {
		for (int u = 0; u < n; u++) {
			if (u % K == 0 && !idle) mbarrier_wait(weights_are + wr.at, wr.phase);
			v = have_rows(u);
			const uint4 *const p = (const uint4 *)(weights + wr.at * STEP + (warp * K + u % K) * UNIT) + lane;
#pragma unroll
			for (int j = 0; j < 4; j++) {
				const uint4 w = p[32 * j];
				const uint32_t f[4] = {w.x, w.z, w.y, w.w};
				matrix_begin();
#pragma unroll
				for (int i = 0; i < PARTS; i++) matrix_bf16<ROWS / PARTS>(acc + i * (C / PARTS), f, v + 256 * j + i * (X / PARTS), true);
				matrix_commit();
				matrix_end<ROWS>(acc);
			}
			if ((u + 1) % K == 0) wr.next();
			weights_read(u);
			rows_read(u);
		}
	} else {
		const auto one = [&](int u, uint32_t (&f)[2][2][4], uint32_t (&next)[2][2][4]) {
			matrix_begin();
#pragma unroll
			for (int j = 0; j < 4; j++) matrix_bf16<ROWS>(acc, f[j / 2][j % 2], v + 256 * j, true);
			matrix_commit();
			matrix_wait<F - 1>();
			if (u + 1 < n) get(next, u + 1);
			weights_read(u);
			if (u + 1 >= F) rows_read(u + 1 - F);
			if (u + 1 < n) v = have_rows(u + 1);
		};
		uint32_t f[F][2][2][4];
		get(f[0], 0);
		v = have_rows(0);
		for (int u = 0; u < n; u += F) {
			one(u, f[0], f[F - 1]);
			if constexpr (F == 2)
				if (u + 1 < n) one(u + 1, f[1], f[0]);
		}
		matrix_end<ROWS>(acc);
	}

	const int row = row0 + 2 * (lane % 4);
	enum { AT_ONCE = N % 4 == 0 ? 4 : N };
	if (whole) {
		if (beside > 1) cluster_arrive(); // a block's barriers are there until all have arrived at them
		if (tile < a.tiles)
#pragma unroll
			for (int i = 0; i < N; i += AT_ONCE) {
				float old[AT_ONCE][4];
#pragma unroll
				for (int j = 0; j < AT_ONCE; j++) earlier(a, tile, row + 8 * (i + j), old[j]);
#pragma unroll
				for (int j = 0; j < AT_ONCE; j++) finish(a, tile, row + 8 * (i + j), acc + 4 * (i + j), old[j]);
			}
		if (beside > 1) cluster_wait();
		return;
	}
	float4 *const piece = (float4 *)weights + thread;
	meet_of<THREADS>(); // nobody reads weights and activations any more
#pragma unroll
	for (int i = 0; i < N; i++) piece[i * THREADS] = make_float4(acc[4 * i], acc[4 * i + 1], acc[4 * i + 2], acc[4 * i + 3]);
	cluster_arrive();
	const int mine = s * N / a.splits, others = tile < a.tiles ? (s + 1) * N / a.splits : mine;
	float old[AT_ONCE][4];
	const auto before = [&](int i) {
#pragma unroll
		for (int j = 0; j < AT_ONCE; j++)
			if (i + j < others) earlier(a, tile, row + 8 * (i + j), old[j]);
	};
	before(mine);
	cluster_wait();
	for (int i = mine; i < others; i += AT_ONCE) {
		if (i > mine) before(i);
#pragma unroll
		for (int j = 0; j < AT_ONCE; j++) {
			if (i + j >= others) break;
			float4 t[8];
#pragma unroll
			for (int p = 0; p < 8; p++)
				if (p < a.splits) t[p] = load_of_block(piece + (i + j) * THREADS, which + beside * p);
			float c[4] = {t[0].x, t[0].y, t[0].z, t[0].w};
#pragma unroll
			for (int p = 1; p < 8; p++)
				if (p < a.splits) c[0] += t[p].x, c[1] += t[p].y, c[2] += t[p].z, c[3] += t[p].w;
			finish(a, tile, row + 8 * (i + j), c, old[j]);
		}
	}
	cluster_arrive(); // a block's shared memory is there until all have read it
	cluster_wait();
#endif
}

#define FLOW(suffix, G, N, K, W, A, F, R) \
	extern "C" __global__ void __launch_bounds__(128 * G + 128, 1) step_flow_bf16_##suffix(const __grid_constant__ product_args a) { flow<G, N, K, W, A, F, R>(a); }
FLOW(16c, 3, 2, 2, 4, 8, 2, 160) FLOW(16d, 4, 2, 2, 3, 8, 2, 112)
FLOW(32c, 3, 4, 2, 4, 4, 2, 160) FLOW(32d, 4, 4, 2, 3, 4, 2, 112)
FLOW(64c, 3, 8, 2, 3, 4, 2, 160) FLOW(64d, 4, 8, 1, 5, 8, 2, 112)
FLOW(96c, 3, 12, 2, 3, 3, 2, 160) FLOW(96d, 4, 12, 1, 5, 5, 1, 112)
FLOW(128c, 3, 16, 1, 6, 5, 2, 160) FLOW(128d, 4, 16, 1, 5, 4, 1, 112)
FLOW(192c, 3, 24, 1, 4, 5, 1, 160) FLOW(256c, 3, 32, 1, 4, 4, 0, 160)
