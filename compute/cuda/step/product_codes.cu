// Products of more rows with weights of codes, of sm_90a: see product.cuh for the weights and the
// order of sums. Twin: product_test.go
//
// cost    For 64 outputs, 32 elements of k and R rows: R cycles of the multiprocessor's matrices and,
//         of each warp, R/2 instructions that add sums by their scale, 28 (q8_0) or 22 that turn codes
//         into numbers, and about 25 others. On an H200 these hide each other little: together it takes
//         60 + 1.6·R cycles, whether 2, 3 or 4 warpgroups share the multiprocessor.
#include "product.cuh"
#include <type_traits>

// Fragments as fragments() has them, with fewer instructions: magic is 0x43004300 in a register, as an
// instruction has room for one constant beside it.
__device__ __forceinline__ void numbers(const piece<Q8_0> &p, uint32_t (&a)[2][4], uint32_t magic) {
	const uint32_t w[4] = {p.v.x, p.v.z, p.v.y, p.v.w};
	const auto two = [&](uint32_t w) { return less((w & 0x007f007f) | magic, (w & 0x00800080) | magic); };
#pragma unroll
	for (int i = 0; i < 4; i++) a[i / 2][i % 2] = two(w[i]), a[i / 2][2 + i % 2] = two(w[i] >> 8);
}

__device__ __forceinline__ void numbers(const piece<Q4_0> &p, uint32_t (&a)[2][4], uint32_t magic) {
	const uint32_t w[2] = {p.v.x, p.v.y};
#pragma unroll
	for (int i = 0; i < 8; i++) a[i / 4][i % 4] = less((w[i % 2] >> (8 * (i / 4) + 4 * (i / 2 % 2)) & 0x000f000f) | magic, 0x43084308);
}

// A block has G warpgroups, each 4 tiles, and 8·N rows, and four warps that bring steps of K units of
// weights and activations, arranged, to shared memory, S steps ahead: one would not ask fast enough. A
// warpgroup multiplies 8·N/PARTS rows by half a unit at a time, and meanwhile adds the sums of those
// before and turns the codes of the next half. With gridDim.y pieces of k each block has one, and those
// of a tile are a cluster: each adds an equal part of the sums of all, which it reads in their shared
// memory. Else k is not cut.
// grid    (tiles / (4·G) · rows / (8·N), 1 or splits)   block 4·G + 4 warps
// shared  barriers, S steps of weights, of activations; or the sums of a piece
template <int T, int G, int N, int PARTS, int K, int S> __device__ __forceinline__ void codes(const product_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	enum { TILES = 4 * G, ROWS = 8 * N, PART = ROWS / PARTS, UNIT = unit<T>::bytes, STEP = TILES * K * UNIT, X = ROWS * 128, THREADS = 128 * G, SUMS = 4 * N };
	static_assert(8 * 2 * S <= 256 && K <= 4 && S * (STEP + K * X) >= SUMS * 4 * THREADS);
	extern __shared__ uint4 memory[];
	uint64_t *const full = (uint64_t *)memory, *const empty = full + S;
	uint8_t *const weights = (uint8_t *)memory + 256, *const rows = weights + S * STEP;
	const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32;
	const placed at = place(a, TILES, ROWS);
	const bool whole = gridDim.y == 1;
	const int s = blockIdx.y, from = s * a.units / a.splits, n = (s + 1) * a.units / a.splits - from;
	if (thread == 0) {
		for (int i = 0; i < S; i++) mbarrier_init(full + i, 4), mbarrier_init(empty + i, TILES);
		mbarrier_made();
	}
	__syncthreads();
	allow_later();

	if (warp >= TILES) {
		registers_give<32>();
		// Each of these warps fetches G tiles, and the first K a unit of activations.
		const int mine = warp - TILES, tile = at.tile + mine * G, groups = (a.rows + 7) / 8, bytes = min(N, groups - at.row / 8) * 1024;
		const uint8_t *const w = a.weight + ((size_t)min(tile, a.tiles - 1) * a.units + from) * UNIT;
		const uint8_t *const x = (const uint8_t *)a.x + ((size_t)(from + mine) * groups + at.row / 8) * 1024;
		const auto fetch_weights = [&](int u, int to) {
			const int units = min((int)K, n - u);
			mbarrier_expect(full + to, units * G * UNIT + (mine < units ? bytes : 0));
			uint8_t *there = weights + (to * TILES + mine * G) * K * UNIT;
			const uint8_t *here = w + (size_t)u * UNIT;
#pragma unroll 1
			for (int j = 0; j < G; j++) {
				stream_range(there, here, units * UNIT, full + to);
				there += K * UNIT;
				if (tile + j + 1 < a.tiles) here += (size_t)a.units * UNIT;
			}
		};
		const auto fetch_rows = [&](int u, int to) {
			if (mine < min((int)K, n - u)) copy_range(rows + (to * K + mine) * X, x + (size_t)u * groups * 1024, bytes, full + to);
		};
		if (lane == 0)
			for (int i = 0; i < S && i * K < n; i++) fetch_weights(i * K, i);
		wait_for_earlier();
		if (lane == 0) {
			for (int i = 0; i < S && i * K < n; i++) fetch_rows(i * K, i);
			ring<S> r;
			for (int u = S * K; u < n; u += K) {
				mbarrier_wait(empty + r.at, r.phase);
				fetch_weights(u, r.at);
				fetch_rows(u, r.at);
				r.next();
			}
		}
		__syncwarp();
		for (int i = 0; i < 2 && !whole; i++) {
			cluster_arrive();
			cluster_wait();
		}
		return;
	}
	registers_take<G == 2 ? 232 : G == 3 ? 160 : 112>();
	wait_for_earlier();
	// t[i] has sums of half a unit, f[h] and d[h] are half h's numbers and scales.
	float acc[SUMS], t[2][PART / 2], d[2][2];
	uint32_t f[2][2][4];
#pragma unroll
	for (int i = 0; i < SUMS; i++) acc[i] = 0;
	const uint32_t magic = 0x43004300u * gridDim.z; // no compiler knows that it is 1
	const uint8_t *p; // the unit that is turned
	ring<S> r;        // its step
	const auto have = [&] {
		mbarrier_wait(full + r.at, r.phase);
		p = weights + r.at * STEP + warp * K * UNIT;
	};
	const auto turn = [&](int h) {
		numbers(half_at<T>(p, h, lane), f[h], magic);
		const uint2 scales = *(const uint2 *)(p + 512 * unit<T>::vectors + 8 * (lane / 4));
		d[h][0] = scale_of(scales.x, h), d[h][1] = scale_of(scales.y, h);
	};
	// Units from u on, of which the first half is turned; then that of the unit behind them is. No
	// product is under way before and after.
	const auto some = [&](auto count, int u) {
		enum { UNITS = decltype(count)::value, POSTS = 2 * PARTS * UNITS };
		static_assert(UNITS == 1 || UNITS % K == 0);
		const auto ends = [&](int i) { return (UNITS == 1 ? u + 1 : i + 1) % K == 0; }; // a step, with unit i
		const auto add = [&](int i) {
			float *const c = acc + i % PARTS * (PART / 2);
			matrix_has<PART>(t[i % 2]);
#pragma unroll
			for (int j = 0; j < PART / 2; j++) c[j] = fmaf(d[i / PARTS % 2][j % 4 / 2], t[i % 2][j], c[j]);
		};
		int spent = 0; // the step before that of the unit that is turned
		const auto release = [&] {
			__syncwarp();
			if (lane == 0) mbarrier_arrive(empty + spent);
		};
		matrix_at x = rows + (r.at * K + u % K) * X;
#pragma unroll
		for (int i = 0; i < POSTS; i++) {
			const int unit = i / (2 * PARTS), h = i / PARTS % 2, at = unit % K * X + 512 * h + i % PARTS * PART * 128;
			const bool begins = i > 0 && i % (2 * PARTS) == 0 && unit % K == 0;
			if (begins) x = rows + r.at * K * X;
			matrix_begin();
			matrix_bf16<PART>(t[i % 2], f[h][0], x + at, false);
			matrix_bf16<PART>(t[i % 2], f[h][1], x + (at + 256), true);
			matrix_commit();
			if (i > 0) {
				matrix_wait<1>();
				add(i - 1);
			}
			if (begins) release();
			if (i % PARTS) continue;
			if (h == 0) {
				turn(1);
			} else if (unit + 1 < UNITS || u + UNITS < n) {
				p += UNIT;
				if (ends(unit)) {
					spent = r.at;
					r.next();
					have();
				}
				turn(0);
			}
		}
		matrix_wait<0>();
		add(POSTS - 1);
		if (ends(UNITS - 1) && u + UNITS < n) release();
	};
	enum { AT_ONCE = 4 };
	have();
	turn(0);
	int u = 0;
	for (; u + AT_ONCE <= n; u += AT_ONCE) some(std::integral_constant<int, AT_ONCE>(), u);
	for (; u < n; u++) some(std::integral_constant<int, 1>(), u);

	// Sums go through shared memory, each lane's where it alone writes; those of all of k too, as the
	// loop over rows that finishes them is then short, and code that runs once is slow to fetch.
	float4 *const piece = (float4 *)weights + thread;
	meet_of<THREADS>(); // nobody reads weights and activations any more
#pragma unroll
	for (int i = 0; i < N; i++) piece[i * THREADS] = make_float4(acc[4 * i], acc[4 * i + 1], acc[4 * i + 2], acc[4 * i + 3]);
	if (!whole) cluster_arrive();
	const int tile = at.tile + warp, row = at.row + 2 * (lane % 4), first = s * N / a.splits, last = tile < a.tiles ? (s + 1) * N / a.splits : first;
	enum { OLD = 4 };
	float old[OLD][4];
	const auto before = [&](int i) {
#pragma unroll
		for (int j = 0; j < OLD; j++)
			if (i + j < last) earlier(a, tile, row + 8 * (i + j), old[j]);
	};
	before(first);
	if (!whole) cluster_wait();
#pragma unroll 1
	for (int i = first; i < last; i += OLD) {
		if (i > first) before(i);
#pragma unroll
		for (int j = 0; j < OLD; j++) {
			if (i + j >= last) break;
			float4 v[8];
			if (whole) v[0] = piece[(i + j) * THREADS];
#pragma unroll
			for (int p = 0; p < 8; p++)
				if (!whole && p < a.splits) v[p] = load_of_block(piece + (i + j) * THREADS, p);
			float c[4] = {v[0].x, v[0].y, v[0].z, v[0].w};
#pragma unroll
			for (int p = 1; p < 8; p++)
				if (p < a.splits) c[0] += v[p].x, c[1] += v[p].y, c[2] += v[p].z, c[3] += v[p].w;
			finish(a, tile, row + 8 * (i + j), c, old[j]);
		}
	}
	if (whole) return;
	cluster_arrive(); // a block's shared memory is there until all have read it
	cluster_wait();
#endif
}

#define PRODUCT(name, T, suffix, G, N, PARTS, K, S) \
	extern "C" __global__ void __launch_bounds__(128 * G + 128, 1) step_codes_##name##_##suffix(const __grid_constant__ product_args a) { codes<T, G, N, PARTS, K, S>(a); }
PRODUCT(q8_0, Q8_0, 32, 3, 4, 1, 4, 3) PRODUCT(q8_0, Q8_0, 32b, 4, 4, 1, 2, 5)
PRODUCT(q8_0, Q8_0, 64, 3, 8, 1, 2, 5) PRODUCT(q8_0, Q8_0, 64b, 4, 8, 2, 2, 4)
PRODUCT(q8_0, Q8_0, 96, 3, 12, 2, 2, 4) PRODUCT(q8_0, Q8_0, 96b, 2, 12, 1, 2, 5)
PRODUCT(q8_0, Q8_0, 128, 3, 16, 4, 2, 3) PRODUCT(q8_0, Q8_0, 128b, 2, 16, 2, 2, 4)
PRODUCT(q4_0, Q4_0, 32, 3, 4, 1, 4, 5) PRODUCT(q4_0, Q4_0, 32b, 4, 4, 1, 2, 8)
PRODUCT(q4_0, Q4_0, 64, 3, 8, 1, 2, 7) PRODUCT(q4_0, Q4_0, 64b, 4, 8, 2, 2, 6)
PRODUCT(q4_0, Q4_0, 96, 3, 12, 2, 2, 6) PRODUCT(q4_0, Q4_0, 96b, 2, 12, 1, 2, 6)
PRODUCT(q4_0, Q4_0, 128, 3, 16, 4, 2, 4) PRODUCT(q4_0, Q4_0, 128b, 2, 16, 2, 2, 5)
