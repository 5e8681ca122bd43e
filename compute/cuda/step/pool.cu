// Slots for wanted blocks, exactly by last use. Twin: compute/pool.go
// order   a want is one launch: its thread blocks look their blocks up side by side, and the
//         last of them to come to the end gives slots to what had none
#include "pool.cuh"
#include <limits.h>

enum { SELECTED, LISTED, FULL };

struct want_args {
	pool p;
	step_cache c;
	step_rows r;
	step_selection s;
	const int *list; // LISTED: ids
	int span;        // blocks that may be wanted, and times that are used up
	int width;       // SELECTED: of a row and head
	int fetch;       // blocks come from their pages: one without a page is not served
};

// The block that place w of the range wants, or −1, and whose it is.
template <int SOURCE> __device__ __forceinline__ int wanted(const want_args &a, int w, int &layer, int &row) {
	const int heads = a.c.l.heads;
	layer = a.p.layers, row = -1;
	if constexpr (SOURCE == LISTED) return a.list[w];
	const int at = SOURCE == SELECTED ? w / a.width : w, place = SOURCE == SELECTED ? w - at * a.width : 0;
	const int head = at % heads, pair = SOURCE == SELECTED ? at : at % (heads * a.r.n);
	row = pair / heads;
	const int pos = a.r.pos[row], seat = a.r.seat[row];
	wait_for_earlier();
	allow_later();
	// Loads that do not wait for each other, whether all of them are needed or not.
	int count = 0, chosen = 0;
	if constexpr (SOURCE == SELECTED) {
		count = a.s.count[pair];
		if (place < a.s.places) chosen = a.s.blocks[(size_t)pair * a.s.places + place];
	}
	if (pos < 0) return -1;
	if constexpr (SOURCE == FULL) {
		if (!is_full(a.r, row, a.c.l.block)) return -1;
		step_cache c = a.c;
		layer = c.layer += at / (heads * a.r.n);
		atomicAdd(&a.p.layer[layer].sealed, 1);
		atomicAdd(&a.p.row[row].sealed, 1);
		return block_id(c, seat, head, pos / c.l.block);
	}
	layer = a.c.layer;
	const int own = pos / a.c.l.block, n = count < 0 ? own : count - 1;
	if (place == 0) {
		atomicAdd(&a.p.layer[layer].selected, n + 1);
		atomicAdd(&a.p.row[row].selected, n + 1);
		if (n > a.width) {
			atomicAdd(&a.p.layer[layer].overflow, n - a.width);
			atomicAdd(&a.p.row[row].overflow, n - a.width);
		}
	}
	if (place >= n) return -1;
	return block_id(a.c, seat, head, count < 0 ? place : chosen);
}

__device__ __forceinline__ void fault(const want_args &a, unsigned pool_count::*kind, int layer, int row, int id) {
	atomicAdd(&(a.p.layer[layer].*kind), 1);
	a.p.layer[layer].faulty = id;
	if (row < 0) return;
	atomicAdd(&(a.p.row[row].*kind), 1);
	a.p.row[row].faulty = id;
}

// While a want runs, slot_of of a block that it misses says which place wants it: the last
// one that does, as for those that have a slot. Such a number is below all others.
__device__ __forceinline__ int mark_of(int span, int w) { return INT_MIN + (span - 1 - w); }
__device__ __forceinline__ int place_of(int span, int mark) { return span - 1 - (int)((unsigned)mark - (unsigned)INT_MIN); }

// Whose block a place wants.
template <int SOURCE> __device__ __forceinline__ void owner(const want_args &a, int w, int &layer, int &row) {
	const int heads = a.c.l.heads;
	layer = SOURCE == LISTED ? a.p.layers : SOURCE == FULL ? a.c.layer + w / (heads * a.r.n) : a.c.layer;
	row = SOURCE == LISTED ? -1 : SOURCE == FULL ? w / heads % a.r.n : w / a.width / heads;
}

// What serve knows of the first claims before it gives them slots.
struct known_claims {
	enum { MOST = 2048 };
	int id[MOST], page[MOST], place[MOST];
};

// Claim i gets a slot, which block old has to leave.
template <int SOURCE> __device__ __forceinline__ void give(const want_args &a, const known_claims &k, int i, int slot, int old, long long base) {
	const pool &p = a.p;
	int id, page, w;
	if (i < k.MOST) {
		id = k.id[i], page = k.page[i], w = k.place[i];
	} else {
		const int2 claim = __ldcg(p.claim + i);
		id = claim.x, page = claim.y, w = place_of(a.span, __ldcg(p.slot_of + id));
	}
	if (old >= 0) p.slot_of[old] = -1;
	p.block[slot] = id;
	p.used[slot] = base + w;
	p.ring[(base + w) & p.mask] = slot;
	p.missing[i] = {id, slot, page, 0};
	if (SOURCE == SELECTED) {
		p.late[slot] = 1;
		__threadfence(); // who sees the slot sees that
	}
	p.slot_of[id] = slot;
	if (SOURCE != SELECTED) return;
	int layer, row;
	owner<SOURCE>(a, w, layer, row);
	atomicAdd(&p.row[row].misses, 1);
}

// Entries of the ring that a thread looks at in a round, at most: 32 neighbours are a warp's, and
// so on for each of its rounds. Whose they are lies anywhere, and one multiprocessor asks for
// it: for few claims few are looked at first.
constexpr int each = 12;

// What a thread block does alone, when all the others are done: slots for all claims, free
// ones first. Blocks of this want have times from base on, and never go. There are three
// loads that wait for each other: claims and entries; who has the entries' slots, since when,
// and where claims are marked; and no more.
template <int SOURCE> __device__ __forceinline__ void serve(const want_args &a, long long front, long long base, int claims) {
	__shared__ int shared[32];
	__shared__ long long next;
	__shared__ known_claims known;
	const pool &p = a.p;
	pool_state &s = *p.state;
	int have = 0, from_free = 0, free = 0;
	long long at = front;
	if (claims > 0) {
		free = __ldcg(&s.free);
		const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
		int slot[each], turns = min((int)each, 1 + 4 * claims / (int)blockDim.x); // of this round
		auto look = [&] {
#pragma unroll
			for (int j = 0; j < each; j++) {
				const long long time = at + (warp * turns + j) * 32 + lane;
				slot[j] = j < turns && time < base ? __ldcg(p.ring + (time & p.mask)) : -1;
			}
		};
		look();
		for (int i = threadIdx.x; i < min(claims, (int)known.MOST); i += blockDim.x) {
			const int2 claim = __ldcg(p.claim + i);
			known.id[i] = claim.x, known.page[i] = claim.y;
			known.place[i] = place_of(a.span, __ldcg(p.slot_of + claim.x));
		}
		__syncthreads();
		have = from_free = min(claims, free);
		for (int i = threadIdx.x; i < have; i += blockDim.x) give<SOURCE>(a, known, i, __ldcg(p.free + free - 1 - i), -1, base);
		while (have < claims && at < base) {
			const long long first = at + warp * turns * 32 + lane;
			int old[each], n = 0, all;
#pragma unroll
			for (int j = 0; j < each; j++)
				if (slot[j] >= 0) {
					old[j] = __ldcg(p.block + slot[j]);
					if (__ldcg(p.used + slot[j]) != first + 32 * j) slot[j] = -1;
				}
#pragma unroll
			for (int j = 0; j < each; j++) n += __popc(__ballot_sync(~0u, slot[j] >= 0));
			int i = have + __shfl_sync(~0u, before(lane == 0 ? n : 0, shared, all), 0);
#pragma unroll
			for (int j = 0; j < each; j++) {
				const unsigned votes = __ballot_sync(~0u, slot[j] >= 0);
				if (slot[j] >= 0) {
					const int own = i + __popc(votes & ((1u << lane) - 1));
					if (own < claims) give<SOURCE>(a, known, own, slot[j], old[j], base);
					if (own == claims - 1) next = first + 32 * j + 1;
				}
				i += __popc(votes);
			}
			if (all >= claims - have) {
				__syncthreads();
				at = next;
				have = claims;
			} else {
				have += all;
				at += turns * blockDim.x;
				turns = each;
				look();
			}
		}
		for (int i = have + threadIdx.x; i < claims; i += blockDim.x) { // no slot is left for these
			const int2 claim = __ldcg(p.claim + i);
			int layer, row;
			owner<SOURCE>(a, place_of(a.span, __ldcg(p.slot_of + claim.x)), layer, row);
			p.slot_of[claim.x] = -1;
			if (SOURCE != FULL || claim.y < 0) fault(a, &pool_count::slotless, layer, row, claim.x);
		}
		__syncthreads();
	}
	if (threadIdx.x > 0) return;
	s.tail = base + a.span;
	s.fetch = a.fetch ? have : 0;
	// What the next layer's gather counts up and waits for. A step ends with what is full.
	if (SOURCE == SELECTED) s.gathered[(a.c.layer + 1) % 2] = s.claimed[(a.c.layer + 1) % 2] = 0;
	if (SOURCE == FULL) s.gathered[0] = s.gathered[1] = s.claimed[0] = s.claimed[1] = 0;
	s.arrived = 0;
	if (claims == 0) return;
	s.front = min(at, base);
	s.free = free - from_free;
	s.claims = 0;
	pool_count &count = p.layer[SOURCE == LISTED ? p.layers : a.c.layer];
	count.evicted += have - from_free;
	if (SOURCE != FULL) count.misses += have;
}

template <int SOURCE> __device__ __forceinline__ void want(const want_args &a) {
	const pool &p = a.p;
	const int w = blockIdx.x * blockDim.x + threadIdx.x;
	int layer, row, id = -1;
	if (w < a.span)
		id = wanted<SOURCE>(a, w, layer, row);
	else
		wait_for_earlier();
	const long long base = p.state->tail, front = p.state->front;
	const int all = gridDim.x * blockDim.x, fetched = p.state->fetch; // by the want before
	const int was_late = w < fetched ? p.missing[w].slot : -1;
	// What serve will read of those that may go is far from all caches: it is on its way while
	// wants are looked up.
	const int gone = front + w < base ? __ldcg(p.ring + ((front + w) & p.mask)) : -1;

	bool claimed = false;
	int2 claim;
	if (w < a.span) {
		int entry = -1;
		if (id >= 0) {
			const int slot = __ldcg(p.slot_of + id), page = p.page_of[id];
			if (slot >= 0) {
				const long long old = atomicMax(p.used + slot, base + w);
				if (old < base + w) {
					entry = slot;
					p.ring[old & p.mask] = -1; // or the store of who had it comes after this one
				}
			} else if (a.fetch && page < 0) {
				fault(a, &pool_count::pageless, layer, row, id);
			} else {
				claimed = atomicMin(p.slot_of + id, mark_of(a.span, w)) == -1;
				claim = make_int2(id, page);
			}
		}
		p.ring[(base + w) & p.mask] = entry;
	}
	const unsigned votes = __ballot_sync(~0u, claimed);
	if (votes) {
		const int lane = threadIdx.x % 32, leader = __ffs(votes) - 1;
		int at = lane == leader ? atomicAdd(&p.state->claims, __popc(votes)) : 0;
		at = __shfl_sync(~0u, at, leader) + __popc(votes & ((1u << lane) - 1));
		if (claimed) p.claim[at] = claim;
	}
	if (gone >= 0) prefetch_l2(p.used + gone), prefetch_l2(p.block + gone);
	if (was_late >= 0) p.late[was_late] = 0;
	for (int i = w + all; i < fetched; i += all) p.late[p.missing[i].slot] = 0;

	__shared__ bool last;
	__shared__ int claims;
	__threadfence();
	const int own = __syncthreads_count(claimed);
	if (threadIdx.x == 0) {
		const unsigned long long sum = atomicAdd(&p.state->arrived, 1 + ((unsigned long long)own << 32)) + ((unsigned long long)own << 32);
		last = (unsigned)sum == gridDim.x - 1;
		claims = (int)(sum >> 32);
	}
	__syncthreads();
	if (!last) return;
	__threadfence();
	if (SOURCE == SELECTED && threadIdx.x == 0) atomicExch(p.state->claimed + a.c.layer % 2, 1 + claims); // gather begins
	serve<SOURCE>(a, front, base, claims);
}

// Blocks that rows have selected, but for the open own ones.
// grid (span / block)   block 1024 or less, whole warps
extern "C" __global__ void __launch_bounds__(1024) step_want_selected(const __grid_constant__ want_args a) { want<SELECTED>(a); }

// Blocks that the host lists.
extern "C" __global__ void __launch_bounds__(1024) step_want_listed(const __grid_constant__ want_args a) { want<LISTED>(a); }

// Blocks that are full after this step, of one or several layers: slots to encode them into.
extern "C" __global__ void __launch_bounds__(1024) step_want_full(const __grid_constant__ want_args a) { want<FULL>(a); }

struct trim_args {
	pool p;
	step_cache c;
	int span; // of the layer's want
};

// Slots of the layer's blocks that its last want did not name are given up.
// grid (slots / block)   block 256
extern "C" __global__ void step_trim(const __grid_constant__ trim_args a) {
	const pool &p = a.p;
	const int slot = blockIdx.x * blockDim.x + threadIdx.x;
	if (slot >= p.slots || p.used[slot] >= p.state->tail - a.span) return;
	const int id = p.block[slot];
	if (id < 0) return;
	for (int h = 0; h < a.c.l.heads; h++) {
		const int column = id - (block_id(a.c, 0, h, 0) - a.c.table[0]); // if it were this head's
		if (column < 0 || column >= abs(a.c.columns)) continue;
		p.slot_of[id] = -1;
		drop(p, slot);
		atomicAdd(&p.layer[a.c.layer].evicted, 1);
	}
}

struct list_args {
	pool p;
	const int *list; // [n], for pages [2, n]
	int n, columns;
	int *page_of;
};

// Slots of the blocks of columns, in all layers and heads, are free again, and they have no
// pages.
// grid (n · ids / columns / block)   block 256
extern "C" __global__ void step_drop(const __grid_constant__ list_args a) {
	const int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i / a.n >= a.p.ids / a.columns) return;
	const int id = i / a.n * a.columns + a.list[i % a.n];
	a.page_of[id] = -1;
	const int slot = atomicExch(a.p.slot_of + id, -1);
	if (slot >= 0) drop(a.p, slot);
}

// Blocks have these pages: ids, then pages.
// grid (n / block)   block 256
extern "C" __global__ void step_pages(const __grid_constant__ list_args a) {
	const int i = blockIdx.x * blockDim.x + threadIdx.x;
	if (i < a.n) a.page_of[a.list[i]] = a.list[a.n + i];
}

struct compact_args {
	pool p;
	uint32_t *valid; // a bit for each entry of the ring that counts
	int *counts;     // of each piece
	int rows;        // of the counters, or 0: they stay as they are
};

// The ring is written once more behind its end, without what is passed over: step_mark says
// what that is, step_pack writes. A thread block has a piece of entries.
constexpr int piece = 4096;

// grid (at most entries / piece)   block 1024
extern "C" __global__ void step_mark(const __grid_constant__ compact_args a) {
	__shared__ int shared[32];
	const pool &p = a.p;
	const long long front = p.state->front, n = p.state->tail - front, at = (long long)blockIdx.x * piece;
	if (a.rows > 0 && blockIdx.x == gridDim.x - 1) { // a step begins: nothing is counted yet
		for (int i = threadIdx.x; i < p.layers; i += blockDim.x) p.layer[i] = {};
		for (int i = threadIdx.x; i < a.rows; i += blockDim.x) p.row[i] = {};
	}
	if (at >= n) return;
	int slot[piece / 1024], sum = 0;
	bool valid[piece / 1024];
#pragma unroll
	for (int j = 0; j < piece / 1024; j++) {
		const long long i = at + j * 1024 + threadIdx.x;
		slot[j] = i < n ? p.ring[(front + i) & p.mask] : -1;
	}
#pragma unroll
	for (int j = 0; j < piece / 1024; j++) valid[j] = slot[j] >= 0 && p.used[slot[j]] == front + at + j * 1024 + threadIdx.x;
#pragma unroll
	for (int j = 0; j < piece / 1024; j++) {
		const unsigned votes = __ballot_sync(~0u, valid[j]);
		if (threadIdx.x % 32 == 0) a.valid[(at + j * 1024 + threadIdx.x) / 32] = votes;
		sum += valid[j];
	}
	int all;
	before(sum, shared, all);
	if (threadIdx.x == 0) a.counts[blockIdx.x] = all;
}

// grid and block as of step_mark
extern "C" __global__ void step_pack(const __grid_constant__ compact_args a) {
	__shared__ int shared[32], to[piece / 32];
	__shared__ uint32_t words[piece / 32];
	const pool &p = a.p;
	const long long front = p.state->front, tail = p.state->tail, n = tail - front, at = (long long)blockIdx.x * piece;
	if (at < n) {
		int sum = 0, base, all;
		for (int i = threadIdx.x; i < (int)blockIdx.x; i += blockDim.x) sum += a.counts[i];
		before(sum, shared, base);
		const uint32_t word = threadIdx.x < piece / 32 ? a.valid[at / 32 + threadIdx.x] : 0;
		const int first = before(__popc(word), shared, all);
		if (threadIdx.x < piece / 32) words[threadIdx.x] = word, to[threadIdx.x] = base + first;
		__syncthreads();
#pragma unroll
		for (int j = 0; j < piece / 1024; j++) {
			const int i = j * 1024 + threadIdx.x;
			const uint32_t word = words[i / 32], bit = 1u << (i % 32);
			if (!(word & bit)) continue;
			const int slot = p.ring[(front + at + i) & p.mask];
			const long long time = tail + to[i / 32] + __popc(word & (bit - 1));
			p.ring[time & p.mask] = slot;
			p.used[slot] = time;
		}
	}
	__syncthreads(); // all have read where the ring begins and ends
	if (threadIdx.x > 0 || atomicAdd(&p.state->arrived, 1ull) < gridDim.x - 1) return;
	p.state->arrived = 0;
	p.state->front = tail;
	p.state->tail = tail + p.slots - p.state->free; // each block has one entry that counts
}
