// Products of a step on tensor cores: activations bf16 [rows, k], sums float32. Weights lie as
// step_pack puts them, so that a lane reads its part of a fragment as one vector; product.cuh has
// how, and the order of sums. Twin: product_test.go
#include "product.cuh"

// Few rows: every warp has a tile and a piece of k for itself, and reads its units D ahead,
// activations A ahead.
// grid    (tiles / (warps / splits), rows / (8·N))   block any multiple of splits warps, at most 8
// bytes   a weight once for 8·N rows
template <int T, int N, int D, int A> __device__ __forceinline__ void few(const product_args &a) {
	const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, s = warp % a.splits, per = blockDim.x / 32 / a.splits;
	const int tile = blockIdx.x * per + warp / a.splits, row0 = blockIdx.y * 8 * N;
	const int from = s * a.units / a.splits, to = (s + 1) * a.units / a.splits;
	const uint8_t *w = a.weight + (size_t)min(tile, a.tiles - 1) * a.units * unit<T>::bytes;
	held<T> ring[D];
#pragma unroll
	for (int j = 0; j < D; j++)
		if (from + j < to) ring[j] = load<T>(w + (size_t)(from + j) * unit<T>::bytes, lane);

	allow_later();
	wait_for_earlier();
	const __nv_bfloat16 *x[N];
	bool row[N];
#pragma unroll
	for (int n = 0; n < N; n++) {
		const int r = row0 + 8 * n + lane / 4;
		row[n] = r < a.rows;
		x[n] = a.x + (size_t)(row[n] ? r : 0) * a.k + 8 * (lane % 4);
	}
	const auto activations = [&](uint4 (&v)[N][2], int u) {
#pragma unroll
		for (int n = 0; n < N; n++)
#pragma unroll
			for (int h = 0; h < 2; h++) v[n][h] = row[n] && 64 * u + 32 * h < a.k ? *(const uint4 *)(x[n] + 64 * u + 32 * h) : make_uint4(0, 0, 0, 0);
	};
	float acc[N][4] = {};
	static_assert(D % A == 0);
	uint4 next[A][N][2];
#pragma unroll
	for (int j = 0; j < A; j++) activations(next[j], from + j);
	for (int u = from; u < to; u += D)
#pragma unroll
		for (int j = 0; j < D; j++) {
			if (u + j >= to) break;
			uint4 v[N][2];
#pragma unroll
			for (int n = 0; n < N; n++) v[n][0] = next[j % A][n][0], v[n][1] = next[j % A][n][1];
			activations(next[j % A], u + j + A);
#pragma unroll
			for (int h = 0; h < 2; h++) {
				uint32_t f[2][4];
				fragments(half_of<T>(ring[j], h), f);
				const float d0 = T == BF16 ? 0 : scale_of(ring[j].d.x, h), d1 = T == BF16 ? 0 : scale_of(ring[j].d.y, h);
#pragma unroll
				for (int n = 0; n < N; n++) multiply<T>(acc[n], f, v[n][h], d0, d1);
			}
			if (u + j + D < to) ring[j] = load<T>(w + (size_t)(u + j + D) * unit<T>::bytes, lane);
		}

	float old[N][4];
	if (s == 0 && tile < a.tiles)
#pragma unroll
		for (int n = 0; n < N; n++) earlier(a, tile, row0 + 8 * n + 2 * (lane % 4), old[n]);
	if (a.splits > 1) {
		__shared__ float4 sums[8][N][32];
#pragma unroll
		for (int n = 0; n < N; n++) sums[warp][n][lane] = make_float4(acc[n][0], acc[n][1], acc[n][2], acc[n][3]);
		__syncthreads();
		if (s > 0) return;
#pragma unroll
		for (int n = 0; n < N; n++)
			for (int i = 1; i < a.splits; i++) {
				const float4 v = sums[warp + i][n][lane];
				acc[n][0] += v.x, acc[n][1] += v.y, acc[n][2] += v.z, acc[n][3] += v.w;
			}
	}
	if (tile >= a.tiles) return;
#pragma unroll
	for (int n = 0; n < N; n++) finish(a, tile, row0 + 8 * n + 2 * (lane % 4), acc[n], old[n]);
}

// The sums of piece s, of a block that has but it, go to a.parts; the last block of the tiles and
// rows gets the sums of all. flag is in shared memory that nobody reads any more.
template <int C> __device__ __forceinline__ bool last_of(const product_args &a, int s, float (&c)[C], bool *flag) {
	const int thread = threadIdx.x, threads = blockDim.x, part = C / 4 * threads;
	float4 *const parts = (float4 *)a.parts + (size_t)blockIdx.x * a.splits * part + thread;
#pragma unroll
	for (int i = 0; i < C / 4; i++) __stcg(parts + (size_t)s * part + i * threads, make_float4(c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3]));
	__threadfence();
	__syncthreads();
	if (thread == 0) *flag = atomicInc(a.counts + blockIdx.x, a.splits - 1) == a.splits - 1;
	__syncthreads();
	if (!*flag) return false;
	__threadfence();
	enum { AT_ONCE = C / 4 % 8 == 0 ? 8 : C / 4 % 4 == 0 ? 4 : C / 4 % 2 == 0 ? 2 : 1 };
#pragma unroll
	for (int i = 0; i < C / 4; i += AT_ONCE) {
		float4 t[AT_ONCE];
#pragma unroll
		for (int j = 0; j < AT_ONCE; j++) t[j] = __ldcg(parts + (i + j) * threads);
#pragma unroll 2
		for (int p = 1; p < a.splits; p++)
#pragma unroll
			for (int j = 0; j < AT_ONCE; j++) {
				const float4 v = __ldcg(parts + (size_t)p * part + (i + j) * threads);
				t[j].x += v.x, t[j].y += v.y, t[j].z += v.z, t[j].w += v.w;
			}
#pragma unroll
		for (int j = 0; j < AT_ONCE; j++) c[4 * (i + j)] = t[j].x, c[4 * (i + j) + 1] = t[j].y, c[4 * (i + j) + 2] = t[j].z, c[4 * (i + j) + 3] = t[j].w;
	}
	return true;
}

// More rows: a block has WM·MT tiles and 8·WN·NT rows, a warp MT tiles and 8·NT of the rows; both
// come to shared memory STAGES units ahead. With gridDim.y pieces of k each block has one, and the
// last of a tile adds them; else a block has all, and their sum lies in shared memory meanwhile.
// grid    (tiles / (WM·MT) · rows / (8·WN·NT), 1 or splits)   block WM·WN warps
// shared  STAGES stages, and 16·WM·MT·8·WN·NT floats where a block has several pieces
template <int T, int WM, int WN, int MT, int NT, int STAGES> __device__ __forceinline__ void tiles(const product_args &a) {
	enum { WARPS = WM * WN, THREADS = 32 * WARPS, TILES = WM * MT, ROWS = 8 * WN * NT, UNIT = unit<T>::bytes, STAGE = TILES * UNIT + ROWS * 128 };
	extern __shared__ uint4 memory[];
	uint8_t *const shared = (uint8_t *)memory;
	float4 *const totals = (float4 *)(shared + STAGES * STAGE);
	const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, wm = warp % WM, wn = warp / WM;

	const placed at = place(a, TILES, ROWS);
	const int first = at.tile, row0 = at.row;

	const bool whole = gridDim.y == 1;
	int s = whole ? 0 : blockIdx.y;
	const int from = s * a.units / a.splits, to = whole ? a.units : (s + 1) * a.units / a.splits;

	const auto fetch_weights = [&](int u) {
		if (u >= to) return;
		uint8_t *stage = shared + (u - from) % STAGES * STAGE;
#pragma unroll
		for (int m = warp; m < TILES; m += WARPS) {
			const uint8_t *w = a.weight + ((size_t)min(first + m, a.tiles - 1) * a.units + u) * UNIT;
#pragma unroll
			for (int i = 0; i < UNIT / 16; i += 32)
				if (i + lane < UNIT / 16) cp_async_16(stage + m * UNIT + 16 * (i + lane), w + 16 * (i + lane));
		}
	};
	const auto fetch_activations = [&](int u) {
		if (u < to) {
			uint8_t *stage = shared + (u - from) % STAGES * STAGE + TILES * UNIT;
#pragma unroll
			for (int i = thread; i < 8 * ROWS; i += THREADS) {
				const int r = i / 8, c = i % 8; // odd rows have their halves swapped: eight lanes read all banks
				const bool valid = row0 + r < a.rows && 64 * u + 8 * c < a.k;
				cp_async_16(stage + 128 * r + 16 * (c ^ (r & 1) * 4), valid ? a.x + (size_t)(row0 + r) * a.k + 64 * u + 8 * c : a.x, valid);
			}
		}
		cp_async_commit();
	};

	float acc[4 * MT * NT] = {};
	for (int i = 0; i < STAGES - 1; i++) fetch_weights(from + i);
	allow_later();
	wait_for_earlier();
	for (int i = 0; i < STAGES - 1; i++) fetch_activations(from + i);
	int end = (s + 1) * a.units / a.splits;
	for (int u = from; u < to; u++) {
		cp_async_wait<STAGES - 2>();
		__syncthreads();
		fetch_weights(u + STAGES - 1);
		fetch_activations(u + STAGES - 1);
		const uint8_t *stage = shared + (u - from) % STAGES * STAGE, *w = stage + wm * MT * UNIT, *x = stage + TILES * UNIT + wn * NT * 8 * 128;
#pragma unroll
		for (int h = 0; h < 2; h++) {
			uint4 v[NT];
#pragma unroll
			for (int n = 0; n < NT; n++) v[n] = *(const uint4 *)(x + 128 * (8 * n + lane / 4) + 16 * ((4 * h + lane % 4) ^ (lane / 4 & 1) * 4));
#pragma unroll
			for (int m = 0; m < MT; m++) {
				uint32_t f[2][4];
				fragments(half_at<T>(w + m * UNIT, h, lane), f);
				uint2 d = {};
				if constexpr (T != BF16) d = *(const uint2 *)(w + m * UNIT + 512 * unit<T>::vectors + 8 * (lane / 4));
				const float d0 = scale_of(d.x, h), d1 = scale_of(d.y, h);
#pragma unroll
				for (int n = 0; n < NT; n++) multiply<T>(acc + 4 * (m * NT + n), f, v[n], d0, d1);
			}
		}
		if (whole && u + 1 == end && a.splits > 1) {
#pragma unroll
			for (int i = 0; i < MT * NT; i++) carry(acc + 4 * i, totals + i * THREADS + thread, s > 0, s + 1 < a.splits);
			s++;
			end = (s + 1) * a.units / a.splits;
		}
	}

	if (!whole && !last_of(a, s, acc, (bool *)shared)) return;
#pragma unroll
	for (int m = 0; m < MT; m++) {
		const int tile = first + wm * MT + m;
		if (tile >= a.tiles) break;
#pragma unroll
		for (int n = 0; n < NT; n++) {
			const int row = row0 + 8 * (wn * NT + n) + 2 * (lane % 4);
			float old[4];
			earlier(a, tile, row, old);
			finish(a, tile, row, acc + 4 * (m * NT + n), old);
		}
	}
}

struct arrange_args {
	uint32_t *out;          // [units, ceil(rows / 8)] of 256
	const __nv_bfloat16 *x; // [rows, k]
	int rows, k, units;
};

// Activations as deep reads them: a unit of 8 rows and 64 elements of k is 1 KiB, in which word j
// of what a lane reads in few lies behind all words before it, lane after lane. What there is no
// row or no k for is zero.
// grid (ceil(units · ceil(rows / 8) / 4))   block 256: a warp has half a unit
extern "C" __global__ void __launch_bounds__(256) step_arrange(const __grid_constant__ arrange_args a) {
	allow_later();
	wait_for_earlier();
	const int groups = (a.rows + 7) / 8, i = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32;
	if (i >= 2 * a.units * groups) return;
	const int h = i % 2, u = i / 2 % a.units, group = i / 2 / a.units, row = 8 * group + lane / 4, at = 64 * u + 32 * h;
	const uint4 v = row < a.rows && at < a.k ? *(const uint4 *)(a.x + (size_t)row * a.k + at + 8 * (lane % 4)) : make_uint4(0, 0, 0, 0);
	uint32_t *out = a.out + ((size_t)u * groups + group) * 256 + 128 * h + lane;
	out[0] = v.x, out[32] = v.y, out[64] = v.z, out[96] = v.w;
}

// More rows with weights of bf16, of sm_90a: a block has G warpgroups, each 4 tiles, and 8·N rows. Its weights come to
// shared memory W steps of K units ahead, each warp's by itself, the activations, arranged, A steps
// ahead. A warpgroup has weights in registers and activations in shared memory for its products,
// and gets the next weights while it still multiplies. With gridDim.y pieces of k each block has
// one, and those of a tile are a cluster: each adds an equal part of the sums of all, which it
// reads in their shared memory. Else a block has all pieces, their sum in registers (SUMS).
// grid    (tiles / (4·G) · rows / (8·N), 1 or splits)   block 4·G warps
// shared  barriers, W steps of weights, A of activations; or the sums of a piece
template <int G, int N, int K, int W, int A, bool SUMS> __device__ __forceinline__ void deep(const product_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	enum { TILES = 4 * G, ROWS = 8 * N, UNIT = unit<BF16>::bytes, STEP = TILES * K * UNIT, X = ROWS * 128, THREADS = 128 * G, C = 4 * N };
	extern __shared__ uint4 memory[];
	uint64_t *const weights_are = (uint64_t *)memory, *const rows_are = weights_are + W, *const rows_were = rows_are + A;
	static_assert(8 * (W + 2 * A) <= 256);
	uint8_t *const weights = (uint8_t *)memory + 256, *const activations = weights + W * STEP;
	const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
	const placed at = place(a, TILES, ROWS);
	const int row0 = at.row, tile = at.tile + warp;
	const bool whole = gridDim.y == 1;
	int s = whole ? 0 : blockIdx.y;
	static_assert(K == 1 || K == 2);
	const int from = s * a.units / a.splits, n = (whole ? a.units : (s + 1) * a.units / a.splits) - from;
	if (thread == 0) {
		for (int i = 0; i < W; i++) mbarrier_init(weights_are + i, TILES);
		for (int i = 0; i < A; i++) mbarrier_init(rows_are + i, 1), mbarrier_init(rows_were + i, TILES);
		mbarrier_made();
	}
	__syncthreads();
	allow_later();

	// Units are counted from the block's first one. Each fetch is one lane's.
	const int groups = (a.rows + 7) / 8, x_bytes = min(N, groups - row0 / 8) * 1024;
	const uint8_t *const w = a.weight + ((size_t)min(tile, a.tiles - 1) * a.units + from) * UNIT;
	const uint8_t *const x = (const uint8_t *)a.x + ((size_t)from * groups + row0 / 8) * 1024;
	const auto fetch_weights = [&](int u, int to) {
		const int bytes = min((int)K, n - u) * UNIT;
		mbarrier_expect(weights_are + to, bytes);
		stream_range(weights + to * STEP + warp * K * UNIT, w + (size_t)u * UNIT, bytes, weights_are + to);
	};
	const auto fetch_rows = [&](int u, int to) {
		const int units = min((int)K, n - u);
		mbarrier_expect(rows_are + to, units * x_bytes);
		for (int i = 0; i < units; i++) copy_range(activations + (to * K + i) * X, x + (size_t)(u + i) * groups * 1024, x_bytes, rows_are + to);
	};
	if (lane == 0)
		for (int i = 0; i < W && i * K < n; i++) fetch_weights(i * K, i);
	wait_for_earlier();
	if (thread == 0)
		for (int i = 0; i < A && i * K < n; i++) fetch_rows(i * K, i);

	float acc[C], sums[SUMS ? C : 1];
#pragma unroll
	for (int i = 0; i < C; i++) acc[i] = 0;
	ring<W> wr, spent;        // the next step of weights, that whose place gets new ones
	ring<A> xr, read, refill; // the next step of rows, that which is read, that whose place gets new ones
	int end = (s + 1) * a.units / a.splits - from;
	const auto weights_at = [&](int u) { return weights + wr.at * STEP + (warp * K + u % K) * UNIT; };
	const auto have_weights = [&](int u) {
		if (u % K == 0) mbarrier_wait(weights_are + wr.at, wr.phase);
	};
	// A unit's weights are in registers: products of them have been posted, so that no lane's
	// reading is under way any more when others come in their place.
	const auto weights_read = [&](int u) {
		if ((u + 1) % K) return;
		__syncwarp();
		const int next = u + 1 - K + W * K;
		if (lane == 0 && next < n) fetch_weights(next, spent.at);
		spent.next();
	};
	const auto have_rows = [&](int u) {
		if (u % K == 0) mbarrier_wait(rows_are + xr.at, xr.phase);
		const uint8_t *const x = activations + (xr.at * K + u % K) * X;
		if ((u + 1) % K == 0) xr.next();
		return x;
	};
	// A unit is multiplied. Others are about as far: in the place of the step before come new rows.
	const auto rows_read = [&](int u) {
		if ((u + 1) % K == 0) {
			if (lane == 0) mbarrier_arrive(rows_were + read.at);
			read.next();
		}
		if (thread != 0 || u % K || u < K) return;
		if (u - K + A * K < n) {
			mbarrier_wait(rows_were + refill.at, refill.phase);
			fetch_rows(u - K + A * K, refill.at);
		}
		refill.next();
	};
	const auto piece_ends = [&](int u) { return SUMS && whole && a.splits > 1 && u + 1 == end; };
	const auto next_piece = [&] {
		if constexpr (SUMS) {
#pragma unroll
			for (int i = 0; i < C; i++) {
				sums[i] = s > 0 ? sums[i] + acc[i] : acc[i];
				acc[i] = s + 1 < a.splits ? 0 : sums[i];
			}
		}
		s++;
		end = (s + 1) * a.units / a.splits - from;
	};
	const uint8_t *here; // rows
	const auto get = [&](uint32_t (&f)[2][2][4], int u) {
		have_weights(u);
#pragma unroll
		for (int h = 0; h < 2; h++) fragments(half_at<BF16>(weights_at(u), h, lane), f[h]);
		if ((u + 1) % K == 0) wr.next();
	};
	const auto one = [&](int u, uint32_t (&f)[2][2][4], uint32_t (&next)[2][2][4]) {
		matrix_begin();
#pragma unroll
		for (int j = 0; j < 4; j++) matrix_bf16<ROWS>(acc, f[j / 2][j % 2], here + 256 * j, true);
		matrix_commit();
		matrix_wait<1>();
		if (u + 1 < n) get(next, u + 1);
		weights_read(u);
		if (u > 0) rows_read(u - 1);
		if (u + 1 < n) here = have_rows(u + 1);
		if (piece_ends(u)) {
			matrix_end<ROWS>(acc);
			next_piece();
		}
	};
	uint32_t f[2][2][4], g[2][2][4];
	get(f, 0);
	here = have_rows(0);
	for (int u = 0; u < n; u += 2) {
		one(u, f, g);
		if (u + 1 < n) one(u + 1, g, f);
	}
	matrix_end<ROWS>(acc);

	const int row = row0 + 2 * (lane % 4);
	if (whole) {
		if (tile >= a.tiles) return;
		enum { AT_ONCE = 4 };
#pragma unroll
		for (int i = 0; i < N; i += AT_ONCE) {
			float old[AT_ONCE][4];
#pragma unroll
			for (int j = 0; j < AT_ONCE; j++) earlier(a, tile, row + 8 * (i + j), old[j]);
#pragma unroll
			for (int j = 0; j < AT_ONCE; j++) finish(a, tile, row + 8 * (i + j), acc + 4 * (i + j), old[j]);
		}
		return;
	}
	float4 *const piece = (float4 *)weights + thread;
	__syncthreads(); // nobody reads weights and activations any more
#pragma unroll
	for (int i = 0; i < N; i++) piece[i * THREADS] = make_float4(acc[4 * i], acc[4 * i + 1], acc[4 * i + 2], acc[4 * i + 3]);
	cluster_arrive();
	const int mine = s * N / a.splits, others = tile < a.tiles ? (s + 1) * N / a.splits : mine;
	enum { AT_ONCE = 4 };
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
			float4 v[8];
#pragma unroll
			for (int p = 0; p < 8; p++)
				if (p < a.splits) v[p] = load_of_block(piece + (i + j) * THREADS, p);
			float c[4] = {v[0].x, v[0].y, v[0].z, v[0].w};
#pragma unroll
			for (int p = 1; p < 8; p++)
				if (p < a.splits) c[0] += v[p].x, c[1] += v[p].y, c[2] += v[p].z, c[3] += v[p].w;
			finish(a, tile, row + 8 * (i + j), c, old[j]);
		}
	}
	cluster_arrive(); // a block's shared memory is there until all have read it
	cluster_wait();
#endif
}

struct pack_args {
	uint8_t *out;
	const uint8_t *parts[4]; // [n[i], k] in the weight's format
	int n[4], row_bytes, k, units, pair;
};

// The weight's bytes in the order of units; where there is no output or no k, zeros.
// grid (tiles, units / 8)   block 256: a warp has a unit
template <int T> __device__ void pack(const pack_args &a) {
	const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4, u = blockIdx.y * 8 + threadIdx.x / 32;
	if (u >= a.units) return;
	const uint8_t *rows[2];
#pragma unroll
	for (int i = 0; i < 2; i++) {
		rows[i] = nullptr;
		if (a.pair) {
			const int r = blockIdx.x * 8 + g;
			if (r < a.n[i]) rows[i] = a.parts[i] + (size_t)r * a.row_bytes;
		} else {
			int r = blockIdx.x * 16 + 8 * i + g;
#pragma unroll
			for (int p = 0; p < 4; p++) {
				if (r >= 0 && r < a.n[p]) rows[i] = a.parts[p] + (size_t)r * a.row_bytes;
				r -= a.n[p];
			}
		}
	}
	uint8_t *out = a.out + ((size_t)blockIdx.x * a.units + u) * unit<T>::bytes;
	uint4 vectors[unit<T>::vectors];
	uint32_t *words = (uint32_t *)vectors;
	for (int h = 0; h < 2; h++)
		for (int i = 0; i < 2; i++) {
			const int at = 64 * u + 32 * h;
			const bool none = !rows[i] || at >= a.k;
			if constexpr (T == BF16) {
				for (int j = 0; j < 4; j++) { // elements 2j and 2j+1 of eight
					const uint32_t v = none ? 0 : *(const uint32_t *)(rows[i] + 2 * (at + 8 * t + 2 * j));
					words[4 * (2 * h + j / 2) + 2 * i + j % 2] = v;
				}
			} else {
				const uint8_t *block = none ? nullptr : rows[i] + (size_t)(at / 32) * format<T>::bytes;
				const auto byte = [&](int j) -> uint32_t { return none ? 0 : block[2 + j]; };
				if constexpr (T == Q8_0) {
					for (int j = 0; j < 8; j += 4) // bytes 0 2 1 3
						words[4 * h + 2 * i + j / 4] = byte(8 * t + j) | byte(8 * t + j + 1) << 16 | byte(8 * t + j + 2) << 8 | byte(8 * t + j + 3) << 24;
				} else {
					uint32_t v = 0;
					for (int j = 0; j < 8; j++) { // even elements in the lower half
						const int e = 8 * t + j;
						const uint32_t code = none ? 8 : byte(e % 16) >> (e < 16 ? 0 : 4) & 15;
						v |= code << (16 * (j % 2) + 4 * (j / 2));
					}
					words[2 * h + i] = v;
				}
				if (t == 0) ((uint16_t *)(out + 512 * unit<T>::vectors))[4 * g + 2 * i + h] = none ? 0 : *(const uint16_t *)block;
			}
		}
	for (int i = 0; i < unit<T>::vectors; i++) ((uint4 *)out)[32 * i + lane] = vectors[i];
}

#define FEW(name, T, N, D, A, suffix) \
	extern "C" __global__ void __launch_bounds__(256) step_few_##name##_##suffix(const __grid_constant__ product_args a) { few<T, N, D, A>(a); }
#define TILES(name, T, suffix, WM, WN, MT, NT, STAGES, LEAST) \
	extern "C" __global__ void __launch_bounds__(32 * WM * WN, LEAST) step_tiles_##name##_##suffix(const __grid_constant__ product_args a) { tiles<T, WM, WN, MT, NT, STAGES>(a); }
#define DEEP(suffix, G, N, K, W, A, SUMS, LEAST) \
	extern "C" __global__ void __launch_bounds__(128 * G, LEAST) step_deep_bf16_##suffix(const __grid_constant__ product_args a) { deep<G, N, K, W, A, SUMS>(a); }
#define PRODUCTS(name, T)                                                                              \
	TILES(name, T, 32b, 8, 1, 1, 4, 4, 2) TILES(name, T, 64b, 8, 1, 1, 8, 4, 2) TILES(name, T, 128b, 4, 2, 2, 8, 3, 1) \
	extern "C" __global__ void __launch_bounds__(256) step_pack_##name(const __grid_constant__ pack_args a) { pack<T>(a); }
#define CODES(name, T)                                                                                 \
	FEW(name, T, 1, 4, 2, 1a) FEW(name, T, 1, 8, 4, 1b) FEW(name, T, 2, 4, 2, 2a) FEW(name, T, 2, 8, 2, 2b)  \
	PRODUCTS(name, T)
FEW(bf16, BF16, 1, 4, 2, 1a) FEW(bf16, BF16, 1, 8, 4, 1b) FEW(bf16, BF16, 2, 2, 1, 2a) FEW(bf16, BF16, 2, 8, 2, 2b)
PRODUCTS(bf16, BF16)
DEEP(96, 4, 12, 2, 2, 3, false, 1) DEEP(192, 2, 24, 2, 2, 3, true, 1)
CODES(q8_0, Q8_0)
CODES(q4_0, Q4_0)
