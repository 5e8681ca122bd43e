// The blocks that rows attend to: scores of blocks from the windows', then the best, exactly;
// with ties, infinities and what is not a number. Twins: compute/score.go, selection.go
// how     a row and KV head has one thread block; of many blocks each of its parts has one, which
//         leaves as many of its best by the query, and by importance, as there could be among the
//         best of all, and another kernel takes those. What the query takes may be among the best
//         by importance: so many more of those are left
#include "take.cuh"

__device__ __forceinline__ bool forced(const choose_args &a, int own, int b) { return b <= own && (b < a.init || b >= own - a.local); }

// How many blocks are in whatever the scores say, and how many are to be chosen beside them:
// by the query, and in all.
struct wants {
	int forced, query, all;
};

__device__ __forceinline__ wants wants_of(const choose_args &a, int own) {
	const int local = min(a.local, own) + 1, in = local + min(a.init, own + 1 - local), k = a.s.k;
	const int query = !a.use_query ? 0 : a.use_score ? min(k, a.init + a.local + a.query) : k;
	return {in, max(0, query - in), max(0, k - in)};
}

// Cuts what a list of n needs from memory.
__device__ __forceinline__ uint32_t *bits_of(list &c, uint32_t *memory) {
	const int words = (c.n + 31) / 32;
	c.in = memory, c.equal = c.in + words, c.before = (int *)(c.equal + words);
	return memory + 3 * words + 1;
}

// Sets the bits of forced blocks alone.
__device__ __forceinline__ void begin(const choose_args &a, const list &c, int own, int first) {
	each(c.n, [&](int i) {
		const unsigned votes = __ballot_sync(~0u, i < c.n && forced(a, own, first + i));
		if (threadIdx.x % 32 == 0) c.in[i / 32] = votes;
	});
}

// Writes a row's blocks, whose bits are set in chosen.
__device__ __forceinline__ void put(const choose_args &a, size_t at, const uint32_t *chosen, int *before, int *sums, int blocks, int count) {
	count_before(before, chosen, blocks, sums);
	int *out = a.to.blocks + at * a.to.places;
	each(blocks, [&](int b) {
		const uint32_t word = chosen[b / 32], bit = 1u << b % 32;
		if (word & bit) out[before[b / 32] + __popc(word & (bit - 1))] = b;
	});
	for (int i = count + threadIdx.x; i < a.to.places; i += THREADS) out[i] = -1;
	if (threadIdx.x == 0) a.to.count[at] = count;
}

// A row that sees all, or nobody's.
__device__ __forceinline__ void put_all(const choose_args &a, size_t at, bool some) {
	wait_for_earlier();
	if (some && threadIdx.x == 0) a.to.count[at] = -1;
}

// grid (n, heads)   block THREADS   shared  what chooseBytes of choose.go says
extern "C" __global__ void __launch_bounds__(THREADS, 2) step_choose(const __grid_constant__ choose_args a) {
	extern __shared__ uint32_t memory[];
	__shared__ __align__(16) counting counted;
	const scoring &s = a.s;
	const int row = blockIdx.x, h = blockIdx.y, pos = s.rows.pos[row], seat = s.rows.seat[row];
	const size_t at = (size_t)row * s.c.l.heads + h;
	if ((pos | seat) < 0 || sees_all(s, pos)) return put_all(a, at, (pos | seat) >= 0); // the one load does not wait for the other
	const int own = pos / s.c.l.block, blocks = own + 1;
	const wants w = wants_of(a, own);
	const stretch keys = stretch_of(s, row, h, seat, pos, 0, blocks, memory);
	list c = {blocks, keys.by_query};
	bits_of(c, memory + 2 * blocks);
	begin(a, c, own, 0);
	blank(counted);
	find_keys<false>(a, keys);
	take(c, counted, w.query);
	c.key = keys.by_score;
	if (a.use_score) take(c, counted, w.all - w.query);
	put(a, at, c.in, c.before, counted.sums, blocks, w.forced + w.all);
}

// What parts of a row leave: places for the best by the query of each, then for those by
// importance. A part leaves as many as are wanted, or as it may have blocks.
struct lists {
	int parts, by_query, by_score; // places of a part
	uint2 *best;
};

__device__ __forceinline__ lists lists_of(const choose_args &a, const wants &w, size_t at, int own) {
	return {own / a.s.part + 1, min(a.s.part, w.query), a.use_score ? min(a.s.part, w.all) : 0, a.best + at * a.room};
}

// Leaves the best of a list of blocks, from first on: their keys and numbers, in the order of
// these, and nothing in places that are too many.
__device__ __forceinline__ void leave(const choose_args &a, list &c, counting &counted, int own, int first, int wanted, uint2 *to, int places) {
	begin(a, c, own, first);
	__syncthreads();
	const int head = min(max(a.init - first, 0), c.n), tail = min(max(own - a.local - first, 0), c.n); // those between are not forced
	take(c, counted, min(wanted, max(0, tail - head)));
	each(c.n, [&](int i) {
		const unsigned taken = __ballot_sync(~0u, i < c.n && has(c, i) && !forced(a, own, first + i));
		if (threadIdx.x % 32 == 0) c.equal[i / 32] = taken;
	});
	count_before(c.before, c.equal, c.n, counted.sums);
	each(c.n, [&](int i) {
		const uint32_t word = c.equal[i / 32], bit = 1u << i % 32;
		if (word & bit) to[c.before[i / 32] + __popc(word & (bit - 1))] = make_uint2(c.key[i], first + i);
	});
	for (int i = c.before[(c.n + 31) / 32] + threadIdx.x; i < places; i += THREADS) to[i] = {};
}

// grid (parts, heads, n)   block THREADS   shared  what chooseBytes says of a part
extern "C" __global__ void __launch_bounds__(THREADS, 1) step_choose_part(const __grid_constant__ choose_args a) {
	extern __shared__ uint32_t memory[];
	__shared__ __align__(16) counting counted;
	const scoring &s = a.s;
	const int part = blockIdx.x, first = part * a.s.part, h = blockIdx.y, row = blockIdx.z, pos = s.rows.pos[row], seat = s.rows.seat[row];
	if ((pos | seat) < 0 || sees_all(s, pos)) return wait_for_earlier();
	const size_t at = (size_t)row * s.c.l.heads + h;
	const int own = pos / s.c.l.block, blocks = min(a.s.part, own + 1 - first);
	if (blocks <= 0) return wait_for_earlier();
	const wants w = wants_of(a, own);
	const stretch keys = stretch_of(s, row, h, seat, pos, first, blocks, memory);
	list c = {blocks, keys.by_query};
	bits_of(c, memory + 2 * blocks);
	blank(counted);
	find_keys<true>(a, keys);
	const lists l = lists_of(a, w, at, own);
	if (a.use_query) leave(a, c, counted, own, first, w.query, l.best + part * l.by_query, l.by_query);
	c.key = keys.by_score;
	if (a.use_score) leave(a, c, counted, own, first, w.all, l.best + l.parts * l.by_query + part * l.by_score, l.by_score);
}

// Takes the best of what parts have left, without those that are chosen, and chooses them.
__device__ __forceinline__ void take_left(list &c, counting &counted, const int *number, uint32_t *chosen, int rest) {
	each(c.n, [&](int i) {
		const unsigned votes = __ballot_sync(~0u, i < c.n && c.key[i] > 0 && chosen[number[i] / 32] >> number[i] % 32 & 1);
		if (threadIdx.x % 32 == 0) c.in[i / 32] = votes;
	});
	__syncthreads();
	take(c, counted, rest);
	for (int i = threadIdx.x; i < c.n; i += THREADS)
		if (has(c, i)) atomicOr(chosen + number[i] / 32, 1u << number[i] % 32);
	__syncthreads();
}

// grid (n, heads)   block THREADS   shared  what bestBytes of choose.go says
extern "C" __global__ void __launch_bounds__(THREADS, 1) step_choose_best(const __grid_constant__ choose_args a) {
	extern __shared__ uint32_t memory[];
	__shared__ __align__(16) counting counted;
	const scoring &s = a.s;
	const int row = blockIdx.x, h = blockIdx.y, pos = s.rows.pos[row], seat = s.rows.seat[row];
	const size_t at = (size_t)row * s.c.l.heads + h;
	if ((pos | seat) < 0 || sees_all(s, pos)) return put_all(a, at, (pos | seat) >= 0);
	const int own = pos / s.c.l.block, blocks = own + 1;
	const wants w = wants_of(a, own);
	list all = {blocks};
	uint32_t *const rest = bits_of(all, memory);
	begin(a, all, own, 0);
	blank(counted);
	wait_for_earlier();
	allow_later();
	const lists l = lists_of(a, w, at, own);
	const int by_query = l.parts * l.by_query, left = by_query + l.parts * l.by_score;
	uint32_t *const key = rest, *const bits = key + 2 * left;
	int *const number = (int *)key + left;
	for (int from = threadIdx.x; from < left; from += BATCH * THREADS) {
		uint2 v[BATCH];
#pragma unroll
		for (int j = 0; j < BATCH; j++)
			if (from + j * THREADS < left) v[j] = __ldcg(l.best + from + j * THREADS);
#pragma unroll
		for (int j = 0; j < BATCH; j++)
			if (from + j * THREADS < left) key[from + j * THREADS] = v[j].x, number[from + j * THREADS] = v[j].y;
	}
	__syncthreads();
	if (a.use_query) {
		list c = {by_query, key};
		bits_of(c, bits);
		take_left(c, counted, number, all.in, w.query);
	}
	if (a.use_score) {
		list c = {left - by_query, key + by_query};
		bits_of(c, bits);
		take_left(c, counted, number + by_query, all.in, w.all - w.query);
	}
	put(a, at, all.in, all.before, counted.sums, blocks, w.forced + w.all);
}
