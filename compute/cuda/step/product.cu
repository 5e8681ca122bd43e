// Products of a step on tensor cores: activations bf16 [rows, k], sums float32. Weights lie as
// step_pack puts them, so that a lane reads its part of a fragment as one vector. Twin:
// product_test.go
//
// A weight is cut into units of 16 outputs and 64 elements of k, a tile's units one after the
// other. Lane 4g+t has of a unit the outputs g and g+8 at elements 8t to 8t+7 of both halves of
// 32. An mma takes 16 elements in any order that both sides share: here 4 of each lane.
//
// order   k is cut into a.splits pieces of whole units. In a piece, bf16: 16 elements at a time
//         are added to a sum; q8_0 and q4_0: 32 codes at a time are added from zero, and the sum
//         gets them with one fmaf by their scale. Then pieces are added in their order. Kernels
//         and their grids differ in nothing else: a row has the same bits in all of them.
#include "../decode.cuh"
#include "../ptx.cuh"

enum { STORE, ADD, SWIGLU };

struct product_args {
	void *out;               // [rows, n] f32; SWIGLU: [rows, n/2] bf16
	const __nv_bfloat16 *x;  // [rows, k]
	const uint8_t *weight;   // [tiles, units] of unit<T>::bytes
	const float *bias;       // [n] or none
	float *parts;            // sums of pieces, where a block has but one
	unsigned *counts;        // [gridDim.x] how many blocks of a tile are done; 0 between launches
	float scale;             // ADD: out += scale · product
	int rows, n, k, tiles, units, splits, epilogue;
};

// What a lane has of 16 outputs and 32 elements of k.
template <int T> struct piece;
template <> struct piece<BF16> { uint4 v[2]; };
template <> struct piece<Q8_0> { uint4 v; };
template <> struct piece<Q4_0> { uint2 v; };

// A unit: 16 bytes of each lane, some times; then scales [8][2][2] of output g, g+8 and half.
template <int T> struct unit;
template <> struct unit<BF16> { enum { vectors = 4, bytes = 2048 }; };
template <> struct unit<Q8_0> { enum { vectors = 2, bytes = 1088 }; };
template <> struct unit<Q4_0> { enum { vectors = 1, bytes = 576 }; };

template <int T> struct held {
	uint4 v[unit<T>::vectors];
	uint2 d;
};

template <int T> __device__ __forceinline__ held<T> load(const uint8_t *p, int lane) {
	held<T> u;
#pragma unroll
	for (int i = 0; i < unit<T>::vectors; i++) u.v[i] = load_stream_16(p + 512 * i + 16 * lane);
	if constexpr (T != BF16) u.d = __ldg((const uint2 *)(p + 512 * unit<T>::vectors + 8 * (lane / 4)));
	return u;
}

template <int T> __device__ __forceinline__ piece<T> half_of(const held<T> &u, int half) {
	if constexpr (T == BF16) return {{u.v[2 * half], u.v[2 * half + 1]}};
	if constexpr (T == Q8_0) return {u.v[half]};
	if constexpr (T == Q4_0) return {half ? make_uint2(u.v[0].z, u.v[0].w) : make_uint2(u.v[0].x, u.v[0].y)};
}

// The same of a unit in shared memory.
template <int T> __device__ __forceinline__ piece<T> half_at(const uint8_t *p, int half, int lane) {
	if constexpr (T == BF16) return {{*(const uint4 *)(p + 1024 * half + 16 * lane), *(const uint4 *)(p + 1024 * half + 512 + 16 * lane)}};
	if constexpr (T == Q8_0) return {*(const uint4 *)(p + 512 * half + 16 * lane)};
	if constexpr (T == Q4_0) return {*(const uint2 *)(p + 16 * lane + 8 * half)};
}

__device__ __forceinline__ float scale_of(uint32_t pair, int half) {
	return __half2float(__ushort_as_half(half ? pair >> 16 : pair & 0xffff));
}

__device__ __forceinline__ uint32_t less(uint32_t x, uint32_t y) {
	const __nv_bfloat162 d = __hsub2(*(const __nv_bfloat162 *)&x, *(const __nv_bfloat162 *)&y);
	return *(const uint32_t *)&d;
}

// Two signed bytes, the lower ones of both halves of a word: 0x4300 and seven bits are 128 and
// that many, or, with the sign, 256; their difference is exact.
__device__ __forceinline__ uint32_t two_bytes(uint32_t w) {
	return less((w & 0x007f007f) | 0x43004300, (w & 0x00800080) | 0x43004300);
}

// Two codes of four bits, the lowest of both halves, less 8.
__device__ __forceinline__ uint32_t two_fours(uint32_t w) { return less((w & 0x000f000f) | 0x43004300, 0x43084308); }

// The fragments of both mma of a piece.
__device__ __forceinline__ void fragments(const piece<BF16> &p, uint32_t (&a)[2][4]) {
#pragma unroll
	for (int h = 0; h < 2; h++) a[h][0] = p.v[h].x, a[h][1] = p.v[h].z, a[h][2] = p.v[h].y, a[h][3] = p.v[h].w;
}

__device__ __forceinline__ void fragments(const piece<Q8_0> &p, uint32_t (&a)[2][4]) {
	const uint32_t w[4] = {p.v.x, p.v.z, p.v.y, p.v.w};
#pragma unroll
	for (int i = 0; i < 4; i++) a[i / 2][i % 2] = two_bytes(w[i]), a[i / 2][2 + i % 2] = two_bytes(w[i] >> 8);
}

__device__ __forceinline__ void fragments(const piece<Q4_0> &p, uint32_t (&a)[2][4]) {
	const uint32_t w[2] = {p.v.x, p.v.y};
#pragma unroll
	for (int i = 0; i < 8; i++) a[i / 4][i % 4] = two_fours(w[i % 2] >> (8 * (i / 4) + 4 * (i / 2 % 2)));
}

// acc += 16 outputs · 8 rows over 32 elements.
template <int T> __device__ __forceinline__ void multiply(float *acc, const uint32_t (&a)[2][4], const uint4 &x, float d0, float d1) {
	const uint32_t b[4] = {x.x, x.y, x.z, x.w};
	if constexpr (T == BF16) {
		mma_bf16_m16n8k16(acc, a[0], b);
		mma_bf16_m16n8k16(acc, a[1], b + 2);
	} else {
		float t[4] = {};
		mma_bf16_m16n8k16(t, a[0], b);
		mma_bf16_m16n8k16(t, a[1], b + 2);
		acc[0] = fmaf(d0, t[0], acc[0]), acc[1] = fmaf(d0, t[1], acc[1]);
		acc[2] = fmaf(d1, t[2], acc[2]), acc[3] = fmaf(d1, t[3], acc[3]);
	}
}

// What a lane has of 16 outputs and 8 rows goes where it belongs: c is of output g, rows row and
// row+1, then of output g+8.
__device__ __forceinline__ void finish(const product_args &a, int tile, int row, const float *c) {
	const int g = threadIdx.x % 32 / 4;
#pragma unroll
	for (int j = 0; j < 2; j++) {
		if (row + j >= a.rows) return;
		if (a.epilogue == SWIGLU) { // g is gate, g+8 is up of the same output
			const int o = 8 * tile + g;
			if (2 * o < a.n) ((__nv_bfloat16 *)a.out)[(size_t)(row + j) * (a.n / 2) + o] = __float2bfloat16_rn(c[j] / (1 + expf(-c[j])) * c[2 + j]);
			continue;
		}
#pragma unroll
		for (int i = 0; i < 2; i++) {
			const int o = 16 * tile + 8 * i + g;
			if (o >= a.n) continue;
			float *out = (float *)a.out + (size_t)(row + j) * a.n + o;
			const float v = a.bias ? c[2 * i + j] + a.bias[o] : c[2 * i + j];
			*out = a.epilogue == ADD ? __fadd_rn(*out, __fmul_rn(v, a.scale)) : v;
		}
	}
}

// Few rows: every warp has a tile and a piece of k for itself, and reads its units D ahead.
// grid    (tiles / (warps / splits), rows / (8·N))   block any multiple of splits warps, at most 8
// bytes   a weight once for 8·N rows
template <int T, int N, int D> __device__ __forceinline__ void few(const product_args &a) {
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
	uint4 next[N][2];
	activations(next, from);
	for (int u = from; u < to; u += D)
#pragma unroll
		for (int j = 0; j < D; j++) {
			if (u + j >= to) break;
			uint4 v[N][2];
#pragma unroll
			for (int n = 0; n < N; n++) v[n][0] = next[n][0], v[n][1] = next[n][1];
			activations(next, u + j + 1);
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
	for (int n = 0; n < N; n++) finish(a, tile, row0 + 8 * n + 2 * (lane % 4), acc[n]);
}

// Where a block begins. Blocks that run together share rows and weights: eight groups of rows,
// then the next tiles.
struct placed {
	int tile, row;
};

__device__ __forceinline__ placed place(const product_args &a, int tiles, int rows) {
	enum { GROUPS = 8 };
	const int across = (a.tiles + tiles - 1) / tiles, groups = (a.rows + rows - 1) / rows;
	const int band = blockIdx.x / (GROUPS * across), in = blockIdx.x % (GROUPS * across), wide = min((int)GROUPS, groups - band * GROUPS);
	return {in / wide * tiles, (band * GROUPS + in % wide) * rows};
}

// A piece's sums are added to those of the pieces before it, and where others follow lie there
// for them.
__device__ __forceinline__ void carry(float *c, float4 *total, bool before, bool behind) {
	if (before) {
		const float4 t = *total;
		c[0] = t.x + c[0], c[1] = t.y + c[1], c[2] = t.z + c[2], c[3] = t.w + c[3];
	}
	if (behind) {
		*total = make_float4(c[0], c[1], c[2], c[3]);
		c[0] = c[1] = c[2] = c[3] = 0;
	}
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
		for (int n = 0; n < NT; n++) finish(a, tile, row0 + 8 * (wn * NT + n) + 2 * (lane % 4), acc + 4 * (m * NT + n));
	}
}

// Many rows, of sm_90a: a block has 4·WM tiles and 8·WN·NT rows, a warpgroup 4 of the tiles and
// 8·NT of the rows. Weights come to shared memory STAGES units ahead. Activations go by registers,
// from where stmatrix puts them into the order that the units have: the matrix of word j of the
// lanes is what an mma of few has as its word j. Pieces are as of tiles; SUMS: those of a block
// that has several lie in registers.
// grid    as of tiles   block 4·WM·WN warps
// shared  2 units of activations, STAGES of weights, 16·4·WM·8·WN·NT floats as of tiles
template <int T, int WM, int WN, int NT, int STAGES, bool SUMS> __device__ __forceinline__ void wide(const product_args &a) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || defined(NOSA_EMULATED)
	enum { WARPS = 4 * WM * WN, THREADS = 32 * WARPS, TILES = 4 * WM, ROWS = 8 * WN * NT, UNIT = unit<T>::bytes, X = ROWS * 128, W = TILES * UNIT, N = 8 * NT };
	enum { HALVES = ROWS / 4, MOVES = (HALVES + WARPS - 1) / WARPS }; // of 8 rows and half a unit
	extern __shared__ uint4 memory[];
	uint8_t *const shared = (uint8_t *)memory, *const weights = shared + 2 * X;
	float4 *const totals = (float4 *)(weights + STAGES * W);
	const int thread = threadIdx.x, lane = thread % 32, warp = thread / 32, wm = warp / 4 % WM, wn = warp / 4 / WM;
	const placed at = place(a, TILES, ROWS);
	const int first = at.tile, row0 = at.row;

	const bool whole = gridDim.y == 1;
	int s = whole ? 0 : blockIdx.y;
	const int from = s * a.units / a.splits, to = whole ? a.units : (s + 1) * a.units / a.splits;

	static_assert(TILES <= WARPS);
	const uint8_t *const own = a.weight + (size_t)min(first + warp % TILES, a.tiles - 1) * a.units * UNIT + 16 * lane;
	const auto fetch = [&](int u) {
		if (u < to && warp < TILES) {
			uint8_t *stage = weights + (u - from) % STAGES * W + warp * UNIT + 16 * lane;
#pragma unroll
			for (int i = 0; i < UNIT; i += 512)
				if (i + 512 <= UNIT || i + 16 * lane < UNIT) cp_async_16(stage + i, own + (unsigned)(u * UNIT) + i);
		}
		cp_async_commit();
	};
	uint4 moved[MOVES];
	const unsigned row = warp / 2 * 8 + lane / 4, column = warp % 2 * 32 + lane % 4 * 8;
	const __nv_bfloat16 *const mine = a.x + (size_t)(row0 + row) * a.k + column;
	const auto read = [&](int u) {
#pragma unroll
		for (int i = 0; i < MOVES; i++) {
			const bool valid = u < to && row0 + row + i * WARPS * 4 < a.rows && 64 * u + column < a.k;
			moved[i] = valid ? *(const uint4 *)(mine + (unsigned)(i * WARPS * 4 * a.k + 64 * u)) : make_uint4(0, 0, 0, 0);
		}
	};
	const auto write = [&](int u) {
#pragma unroll
		for (int i = 0; i < MOVES; i++)
			if (HALVES % WARPS == 0 || i * WARPS + warp < HALVES) stmatrix_x4(shared + (u - from) % 2 * X + 512 * (i * WARPS + warp) + 16 * lane, moved[i].x, moved[i].y, moved[i].z, moved[i].w);
	};

	float acc[4 * NT] = {}, sums[SUMS ? 4 * NT : 1] = {};
	for (int i = 0; i < STAGES - 1; i++) fetch(from + i);
	allow_later();
	wait_for_earlier();
	read(from);
	write(from);
	read(from + 1);
	matrix_written();
	cp_async_wait<STAGES - 2>();
	__syncthreads();
	// With one block on a multiprocessor a warp gets its fragments while it still multiplies those
	// before: a lane reads what it has copied itself.
	constexpr bool EAGER = SUMS && WN == 1 && T == BF16 && NT <= 16; // else registers run out
	const auto weight_at = [&](int u) { return weights + (u - from) % STAGES * W + (4 * wm + warp % 4) * UNIT; };
	const auto get = [&](uint32_t (&f)[2][2][4], int u) {
#pragma unroll
		for (int h = 0; h < 2; h++) fragments(half_at<T>(weight_at(u), h, lane), f[h]);
	};
	int end = (s + 1) * a.units / a.splits;
	const auto one = [&](int u, uint32_t (&f)[2][2][4], uint32_t (&next)[2][2][4]) {
		const uint8_t *x = shared + (u - from) % 2 * X + wn * NT * 1024;
		const auto ahead = [&] {
			fetch(u + STAGES - 1);
			write(u + 1);
			read(u + 2);
			matrix_written();
			cp_async_wait<STAGES - 2>();
		};
		if constexpr (T == BF16) {
			if constexpr (!EAGER) get(f, u);
			matrix_begin();
#pragma unroll
			for (int j = 0; j < 4; j++) matrix_bf16<N>(acc, f[j / 2][j % 2], x + 256 * j, true);
			matrix_commit();
			ahead();
			if constexpr (EAGER) get(next, u + 1);
			matrix_end<N>(acc);
		} else {
			enum { PART = N < 96 ? N : N / 2 }; // of the rows at once
			const uint8_t *w = weight_at(u);
			const uint2 d = *(const uint2 *)(w + 512 * unit<T>::vectors + 8 * (lane / 4));
#pragma unroll
			for (int h = 0; h < 2; h++) {
				fragments(half_at<T>(w, h, lane), f[h]);
				const float d0 = scale_of(d.x, h), d1 = scale_of(d.y, h);
#pragma unroll
				for (int p = 0; p < N; p += PART) {
					float t[PART / 2];
					matrix_begin();
					matrix_bf16<PART>(t, f[h][0], x + 128 * p + 512 * h, false);
					matrix_bf16<PART>(t, f[h][1], x + 128 * p + 512 * h + 256, true);
					matrix_commit();
					if (h + p == 0) ahead();
					matrix_end<PART>(t);
#pragma unroll
					for (int i = 0; i < PART / 2; i++) acc[p / 2 + i] = fmaf(i % 4 < 2 ? d0 : d1, t[i], acc[p / 2 + i]);
				}
			}
		}
		if (whole && u + 1 == end && a.splits > 1) {
			if constexpr (SUMS) {
#pragma unroll
				for (int i = 0; i < 4 * NT; i++) {
					sums[i] = s > 0 ? sums[i] + acc[i] : acc[i];
					acc[i] = s + 1 < a.splits ? 0 : sums[i];
				}
			} else {
#pragma unroll
				for (int i = 0; i < NT; i++) carry(acc + 4 * i, totals + i * THREADS + thread, s > 0, s + 1 < a.splits);
			}
			s++;
			end = (s + 1) * a.units / a.splits;
		}
		__syncthreads();
	};
	uint32_t f[2][2][4], g[2][2][4];
	if constexpr (EAGER) {
		get(f, from);
		for (int u = from; u < to; u += 2) {
			one(u, f, g);
			if (u + 1 < to) one(u + 1, g, f);
		}
	} else {
		for (int u = from; u < to; u++) one(u, f, f);
	}
	if (!whole && !last_of(a, s, acc, (bool *)shared)) return;
	const int tile = first + 4 * wm + warp % 4;
	if (tile >= a.tiles) return;
#pragma unroll
	for (int n = 0; n < NT; n++) finish(a, tile, row0 + 8 * (wn * NT + n) + 2 * (lane % 4), acc + 4 * n);
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

#define FEW(name, T, N, D, suffix) \
	extern "C" __global__ void __launch_bounds__(256) step_few_##name##_##suffix(const __grid_constant__ product_args a) { few<T, N, D>(a); }
#define TILES(name, T, suffix, WM, WN, MT, NT, STAGES, LEAST) \
	extern "C" __global__ void __launch_bounds__(32 * WM * WN, LEAST) step_tiles_##name##_##suffix(const __grid_constant__ product_args a) { tiles<T, WM, WN, MT, NT, STAGES>(a); }
#define WIDE(name, T, suffix, WM, WN, NT, STAGES, SUMS, LEAST) \
	extern "C" __global__ void __launch_bounds__(128 * WM * WN, LEAST) step_wide_##name##_##suffix(const __grid_constant__ product_args a) { wide<T, WM, WN, NT, STAGES, SUMS>(a); }
#define PRODUCTS(name, T, D)                                                                           \
	FEW(name, T, 1, D, 1a) FEW(name, T, 1, 2 * D, 1b) FEW(name, T, 2, D, 2a)                              \
	TILES(name, T, 32b, 8, 1, 1, 4, 4, 2) TILES(name, T, 64b, 8, 1, 1, 8, 4, 2) TILES(name, T, 128b, 4, 2, 2, 8, 3, 1) \
	extern "C" __global__ void __launch_bounds__(256) step_pack_##name(const __grid_constant__ pack_args a) { pack<T>(a); }
#define WIDES(name, T) \
	WIDE(name, T, 64b, 2, 1, 8, 4, false, 2) WIDE(name, T, 96b, 2, 1, 12, 4, false, 2) WIDE(name, T, 96c, 4, 1, 12, 3, false, 1) \
	WIDE(name, T, 128d, 2, 1, 16, 6, true, 1)
PRODUCTS(bf16, BF16, 2)
PRODUCTS(q8_0, Q8_0, 4)
PRODUCTS(q4_0, Q4_0, 8)
WIDES(bf16, BF16)
WIDE(bf16, BF16, 64c, 4, 1, 8, 4, false, 1) WIDE(bf16, BF16, 128c, 4, 1, 16, 4, false, 1) WIDE(bf16, BF16, 160a, 2, 1, 20, 5, true, 1)
WIDES(q8_0, Q8_0)
WIDES(q4_0, Q4_0)
