// libcuda.so.1, as far as compute/cuda/driver calls it. Streams are queues that one thread
// works off, as a GPU would: beside the caller, and in any order that events allow.
#include "threads.h"

#include <algorithm>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <string>
#include <sys/mman.h>
#include <thread>
#include <time.h>
#include <vector>

namespace emulated {
extern const source *const sources[];
extern const int source_count;
}
using namespace emulated;

namespace {

enum result : uint32_t {
	SUCCESS = 0, INVALID_VALUE = 1, OUT_OF_MEMORY = 2, INVALID_DEVICE = 101, INVALID_IMAGE = 200,
	INVALID_CONTEXT = 201, ALREADY_REGISTERED = 712, NOT_REGISTERED = 713, INVALID_HANDLE = 400, NOT_FOUND = 500, NOT_READY = 600,
	ILLEGAL_ADDRESS = 700, OUT_OF_RESOURCES = 701, CAPTURE_UNSUPPORTED = 900, CAPTURE_INVALIDATED = 901,
	CAPTURE_UNMATCHED = 903, CAPTURE_UNJOINED = 904, CAPTURE_ISOLATION = 905, CAPTURED_EVENT = 907, UPDATE_FAILURE = 910,
	INVALID_CLUSTER_SIZE = 912,
};

struct {
	result code;
	const char *name, *text;
} const results[] = {
	{SUCCESS, "CUDA_SUCCESS", "no error"},
	{INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
	{OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
	{INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
	{INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE", "device kernel image is invalid"},
	{INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
	{ALREADY_REGISTERED, "CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED", "part or all of the requested memory range is already mapped"},
	{NOT_REGISTERED, "CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED", "pointer does not correspond to a registered memory region"},
	{INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
	{NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
	{NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
	{ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS", "an illegal memory access was encountered"},
	{OUT_OF_RESOURCES, "CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", "too many resources requested for launch"},
	{CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED", "operation not permitted when stream is capturing"},
	{CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED", "operation failed due to a previous error during capture"},
	{CAPTURE_UNMATCHED, "CUDA_ERROR_STREAM_CAPTURE_UNMATCHED", "capture was not ended in the same stream as it began"},
	{CAPTURE_UNJOINED, "CUDA_ERROR_STREAM_CAPTURE_UNJOINED", "capturing stream has unjoined work"},
	{CAPTURE_ISOLATION, "CUDA_ERROR_STREAM_CAPTURE_ISOLATION", "dependency created on uncaptured work in another stream"},
	{CAPTURED_EVENT, "CUDA_ERROR_CAPTURED_EVENT", "operation not permitted on an event last recorded in a capturing stream"},
	{UPDATE_FAILURE, "CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE", "the graph update was not performed because it included changes which violated constraints"},
	{INVALID_CLUSTER_SIZE, "CUDA_ERROR_INVALID_CLUSTER_SIZE", "cluster misconfiguration"},
};

// Memory. Each allocation ends at a page that can not be touched, as nearly as its
// alignment allows, and its addresses are never given twice.

enum : size_t { PAGE = 4096, ALIGN = 16 };

struct allocation {
	size_t n, mapped;
	char *base;
	bool host, freed;
};

struct arena {
	char *from = nullptr, *at = nullptr, *end = nullptr;
} arenas[2];

std::mutex memory_lock;
std::map<uintptr_t, allocation> memory;         // by address
std::map<uintptr_t, size_t> registered;         // memory of others that is pinned
size_t memory_total = 8ull << 30, memory_used;

// Filling takes time: of large memory the ends are filled, and the middle is zero.
void fill(char *base, size_t n, bool host) {
	const size_t most = host ? 256 << 10 : 16 << 20;
	if (n <= 2 * most) return unwritten(base, n);
	unwritten(base, most);
	unwritten(base + n - most, most);
}

uintptr_t allocate(size_t n, bool host) {
	std::lock_guard<std::mutex> l(memory_lock);
	if (!host && n > memory_total - memory_used) return 0;
	arena &a = arenas[host];
	const size_t mapped = (n + PAGE - 1) / PAGE * PAGE;
	if (!a.from) {
		const size_t all = 4ull << 40;
		void *p = mmap(nullptr, all, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED) return 0;
		a.from = a.at = (char *)p;
		a.end = a.from + all;
	}
	if (mapped + 2 * PAGE > (size_t)(a.end - a.at)) return 0;
	char *base = a.at + PAGE;
	if (mprotect(base, mapped, PROT_READ | PROT_WRITE)) return 0;
	a.at = base + mapped;
	char *p = base + mapped - (n + ALIGN - 1) / ALIGN * ALIGN;
	fill(base, mapped, host);
	memory[(uintptr_t)p] = {n, mapped, base, host, false};
	if (!host) memory_used += n;
	return (uintptr_t)p;
}

// The allocation that an address lies in or after.
std::map<uintptr_t, allocation>::iterator before(uintptr_t p) {
	auto i = memory.upper_bound(p);
	return i == memory.begin() ? memory.end() : --i;
}

bool within(uintptr_t p, size_t n, bool host_too) {
	std::lock_guard<std::mutex> l(memory_lock);
	auto i = before(p);
	if (i != memory.end() && !i->second.freed && p + n <= i->first + i->second.n && p + n >= p) return host_too || !i->second.host;
	if (!host_too) return false;
	auto r = registered.upper_bound(p);
	return r != registered.begin() && (--r, p + n <= r->first + r->second);
}

// False where bytes before or behind it have been written.
bool release(uintptr_t p, bool host, bool &known) {
	std::lock_guard<std::mutex> l(memory_lock);
	auto i = memory.find(p);
	known = i != memory.end() && !i->second.freed && i->second.host == host;
	if (!known) return true;
	allocation &a = i->second;
	bool whole = true;
	const uint32_t u = UNWRITTEN;
	const auto untouched = [&](const char *c, const char *end) {
		for (; c < end; c++) whole &= *c == ((const char *)&u)[(c - a.base) % 4];
	};
	untouched(a.base, (const char *)p);
	untouched((const char *)p + a.n, a.base + a.mapped);
	mprotect(a.base, a.mapped, PROT_NONE);
	madvise(a.base, a.mapped, MADV_DONTNEED);
	a.freed = true;
	if (!host) memory_used -= a.n;
	return whole;
}

// Work.

struct mark {
	bool done = false;
	double at = 0;
};

// One thing that is done on the GPU.
struct node {
	enum kind { KERNEL, COPY, FILL } is;
	const source *from;
	const kernel *what;
	size3 grid, block, cluster;
	size_t shared;
	std::vector<char> parameter;
	uintptr_t dst, src;
	size_t n;
	int value;
	std::vector<int> after; // in a graph
};
using nodes = std::vector<node>;

struct op {
	std::shared_ptr<const nodes> work;
	std::shared_ptr<mark> records, waits;
	uint64_t number = 0; // ops of all streams are counted
};

struct capture;

struct stream {
	std::vector<op> queue;
	size_t at = 0;
	bool busy = false;
	std::shared_ptr<capture> in;
	std::vector<int> last; // what the next node comes after
	bool idle() const { return !busy && at == queue.size(); }
};

struct capture {
	stream *origin;
	nodes all;
	bool bad = false;
	std::set<stream *> streams;
};

struct event {
	bool timed;
	std::shared_ptr<mark> last;
	std::shared_ptr<capture> in; // where it was last recorded
	std::vector<int> after;
};

struct module {
	const source *only;
};
struct function {
	const source *from;
	const kernel *what;
	int most_shared = SHARED_DEFAULT, carveout = -1;
};
struct graph {
	std::shared_ptr<const nodes> all;
};
struct executable {
	std::shared_ptr<const nodes> all;
};

// Handles are addresses of what they stand for.
template <class T> struct table {
	std::map<uintptr_t, std::unique_ptr<T>> all;
	T *add(T t) {
		auto p = std::make_unique<T>(std::move(t));
		T *raw = p.get();
		all[(uintptr_t)raw] = std::move(p);
		return raw;
	}
	T *find(uintptr_t h) {
		auto i = all.find(h);
		return i == all.end() ? nullptr : i->second.get();
	}
	void remove(T *t) { all.erase((uintptr_t)t); }
};

std::mutex lock; // of all that follows
std::condition_variable work, done;
std::vector<stream *> all_streams; // as they were made
table<stream> streams;
table<event> events;
table<module> modules;
table<function> functions;
table<graph> graphs;
table<executable> executables;
stream default_stream;
std::set<std::shared_ptr<capture>> captures;
int retained, waiting;
double posted; // when work came last
bool initialized;
result sticky;
std::string sticky_text, detail;
std::thread gpu;
char context;

double seconds() {
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

// Why the call that failed failed, for cuGetErrorString.
result refuse(result r, std::string why) {
	detail = std::move(why);
	return r;
}

std::string do_node(const node &n) {
	switch (n.is) {
	case node::KERNEL: return run_kernel(*n.from, *n.what, n.grid, n.block, n.cluster, n.shared, n.parameter.data());
	case node::COPY: {
		std::string s = run_guarded([](void *p) { memmove((void *)((const node *)p)->dst, (const void *)((const node *)p)->src, ((const node *)p)->n); }, (void *)&n);
		return s.empty() ? s : "copy of " + std::to_string(n.n) + " bytes: " + s;
	}
	case node::FILL: {
		std::string s = run_guarded([](void *p) { memset((void *)((const node *)p)->dst, ((const node *)p)->value, ((const node *)p)->n); }, (void *)&n);
		return s.empty() ? s : "memset of " + std::to_string(n.n) + " bytes: " + s;
	}
	}
	return "";
}

// Nodes of a graph, each after those that it waits for.
std::string do_all(const nodes &all) {
	if (in_order == FORWARD) {
		for (const node &n : all)
			if (std::string s = do_node(n); !s.empty()) return s;
		return "";
	}
	std::vector<bool> is_done(all.size());
	for (size_t left = all.size(); left > 0; left--) {
		std::vector<size_t> can;
		for (size_t i = 0; i < all.size(); i++) {
			bool ok = !is_done[i];
			for (int a : all[i].after) ok = ok && is_done[(size_t)a];
			if (ok) can.push_back(i);
		}
		const size_t i = in_order == BACKWARD ? can.back() : can[random_number() % can.size()];
		if (std::string s = do_node(all[i]); !s.empty()) return s;
		is_done[i] = true;
	}
	return "";
}

// A stream whose next op can be done.
stream *choose() {
	std::vector<stream *> can;
	for (stream *s : all_streams)
		if (!s->idle() && (!s->queue[s->at].waits || s->queue[s->at].waits->done)) can.push_back(s);
	if (can.empty()) return nullptr;
	if (in_order == RANDOM) return can[random_number() % can.size()];
	if (in_order == BACKWARD) return can.back();
	return *std::min_element(can.begin(), can.end(), [](stream *a, stream *b) { return a->queue[a->at].number < b->queue[b->at].number; });
}

void gpu_main() {
	open_threads();
	std::unique_lock<std::mutex> l(lock);
	for (;;) {
		stream *s = choose();
		if (!s) {
			work.wait(l);
			continue;
		}
		// A GPU may be late, which shows who relies on its haste.
		if (in_order != FORWARD && waiting == 0 && seconds() - posted < 1e-3) {
			work.wait_for(l, std::chrono::milliseconds(1));
			continue;
		}
		op o = std::move(s->queue[s->at++]);
		if (s->at == s->queue.size()) s->queue.clear(), s->at = 0;
		s->busy = true;
		const bool well = sticky == SUCCESS;
		l.unlock();
		std::string failed = well && o.work ? do_all(*o.work) : "";
		l.lock();
		s->busy = false;
		if (!failed.empty()) {
			sticky = ILLEGAL_ADDRESS;
			sticky_text = failed;
			fprintf(stderr, "emulated GPU: %s\n", failed.c_str());
		}
		if (o.records) o.records->done = true, o.records->at = seconds();
		done.notify_all();
	}
}

void post(stream *s, op o) {
	static uint64_t number;
	o.number = number++;
	s->queue.push_back(std::move(o));
	posted = seconds();
	work.notify_one();
}

template <class F> void wait_for(std::unique_lock<std::mutex> &l, F f) {
	waiting++;
	work.notify_one();
	done.wait(l, f);
	waiting--;
}

void wait_all(std::unique_lock<std::mutex> &l) {
	wait_for(l, [] {
		for (stream *s : all_streams)
			if (!s->idle()) return false;
		return true;
	});
}

stream *stream_of(uintptr_t h) { return h == 0 ? &default_stream : streams.find(h); }

// Adds a node to a capture, or posts it.
result give(uintptr_t h, node n) {
	stream *s = stream_of(h);
	if (!s) return INVALID_HANDLE;
	if (sticky) return sticky;
	if (s->in) {
		if (s->in->bad) return CAPTURE_INVALIDATED;
		n.after = s->last;
		s->last = {(int)s->in->all.size()};
		s->in->all.push_back(std::move(n));
		return SUCCESS;
	}
	op o;
	auto one = std::make_shared<nodes>();
	one->push_back(std::move(n));
	o.work = one;
	post(s, std::move(o));
	return SUCCESS;
}

// What a thread that captures may not do meanwhile.
result capturing(const char *call) {
	for (auto &c : captures) c->bad = true;
	return captures.empty() ? SUCCESS : refuse(CAPTURE_UNSUPPORTED, std::string(call) + " while a stream captures");
}

std::string hex(uintptr_t p) {
	char s[32];
	snprintf(s, sizeof s, "0x%zx", (size_t)p);
	return s;
}

result copy_node(uintptr_t h, uintptr_t dst, uintptr_t src, size_t n, bool to, bool from) {
	if (n == 0) return SUCCESS;
	if (to && !within(dst, n, true)) return refuse(INVALID_VALUE, "copy of " + std::to_string(n) + " bytes to " + hex(dst) + describe(dst));
	if (from && !within(src, n, true)) return refuse(INVALID_VALUE, "copy of " + std::to_string(n) + " bytes from " + hex(src) + describe(src));
	node c = {};
	c.is = node::COPY, c.dst = dst, c.src = src, c.n = n;
	return give(h, std::move(c));
}

} // namespace

std::string emulated::describe(uintptr_t p) {
	std::lock_guard<std::mutex> l(memory_lock);
	// The nearest one.
	auto i = before(p), next = memory.upper_bound(p);
	if (i == memory.end() || (next != memory.end() && next->first - p < p - i->first - std::min(p - i->first, i->second.n))) i = next;
	if (i == memory.end() || p + (1ull << 32) < i->first || p > i->first + (1ull << 32)) return ", where nothing is";
	const allocation &a = i->second;
	const std::string what = std::to_string(a.n) + (a.host ? " bytes of pinned memory" : " bytes of the GPU's memory") + (a.freed ? ", which have been freed" : "");
	return ", byte " + std::to_string((intptr_t)(p - i->first)) + " of " + what;
}

#define API extern "C" __attribute__((visibility("default"))) uint32_t
#define LOCKED std::unique_lock<std::mutex> l(lock)

API cuInit(unsigned) {
	LOCKED;
	if (initialized) return SUCCESS;
	if (const char *e = getenv("NOSA_EMULATED_MEMORY")) {
		char *unit;
		memory_total = strtoull(e, &unit, 10);
		memory_total <<= *unit == 'G' ? 30 : *unit == 'M' ? 20 : *unit == 'K' ? 10 : 0;
	}
	all_streams.push_back(&default_stream);
	initialized = true;
	gpu = std::thread(gpu_main);
	gpu.detach();
	return SUCCESS;
}

API cuDriverGetVersion(int *v) {
	*v = 13000;
	return SUCCESS;
}

API cuGetErrorName(uint32_t code, const char **s) {
	for (auto &r : results)
		if (r.code == code) {
			*s = r.name;
			return SUCCESS;
		}
	*s = nullptr;
	return INVALID_VALUE;
}

API cuGetErrorString(uint32_t code, const char **s) {
	static std::string kept;
	LOCKED;
	for (auto &r : results)
		if (r.code == code) {
			kept = r.text;
			const std::string &more = code == sticky ? sticky_text : detail;
			if (!more.empty()) kept += ": " + more;
			detail.clear();
			*s = kept.c_str();
			return SUCCESS;
		}
	*s = nullptr;
	return INVALID_VALUE;
}

API cuDeviceGetCount(int *n) {
	*n = 1;
	return SUCCESS;
}

API cuDeviceGet(int *device, int n) {
	*device = n;
	return n == 0 ? SUCCESS : INVALID_DEVICE;
}

API cuDeviceGetName(char *s, int n, int) {
	snprintf(s, (size_t)n, "emulated GPU");
	return SUCCESS;
}

API cuDeviceGetAttribute(int *v, int which, int) {
	static const std::map<int, int> values = {
		{91, 1}, {1, 1024}, {2, 1024}, {3, 1024}, {4, 64}, {5, 2147483647}, {6, 65535}, {7, 65535}, // threads and blocks
		{8, SHARED_DEFAULT}, {97, SHARED_BYTES}, {81, SHARED_BYTES + 1024},                  // shared memory
		{10, 32}, {13, 1000000}, {16, 4}, {39, 2048}, {75, 9}, {76, 0}, {40, 2}, {38, 50 << 20},
	};
	auto i = values.find(which);
	if (i == values.end()) return INVALID_VALUE;
	*v = i->second;
	return SUCCESS;
}

API cuDeviceTotalMem_v2(size_t *n, int) {
	*n = memory_total;
	return SUCCESS;
}

API cuDevicePrimaryCtxRetain(void **c, int device) {
	LOCKED;
	if (device != 0) return INVALID_DEVICE;
	retained++;
	*c = &context;
	return SUCCESS;
}

API cuDevicePrimaryCtxRelease_v2(int) {
	LOCKED;
	if (retained == 0) return INVALID_CONTEXT;
	if (--retained > 0) return SUCCESS;
	// The last one ends the context, and everything of it.
	wait_all(l);
	sticky = SUCCESS;
	captures.clear();
	all_streams.assign(1, &default_stream);
	streams.all.clear(), events.all.clear(), modules.all.clear(), functions.all.clear(), graphs.all.clear(), executables.all.clear();
	std::vector<std::pair<uintptr_t, bool>> left;
	{
		std::lock_guard<std::mutex> m(memory_lock);
		for (auto &i : memory)
			if (!i.second.freed) left.push_back({i.first, i.second.host});
		registered.clear();
	}
	for (auto &i : left) {
		bool known;
		release(i.first, i.second, known);
	}
	return SUCCESS;
}

API cuCtxSetCurrent(void *c) { return c == &context || !c ? SUCCESS : INVALID_CONTEXT; }

API cuMemGetInfo_v2(size_t *free, size_t *total) {
	std::lock_guard<std::mutex> m(memory_lock);
	*total = memory_total;
	*free = memory_total - memory_used;
	return SUCCESS;
}

API cuMemAlloc_v2(uintptr_t *p, size_t n) {
	LOCKED;
	if (n == 0) return INVALID_VALUE;
	if (sticky) return sticky;
	if (result r = capturing("cuMemAlloc")) return r;
	*p = allocate(n, false);
	return *p ? SUCCESS : OUT_OF_MEMORY;
}

static uint32_t free_memory(uintptr_t p, bool host) {
	LOCKED;
	if (p == 0 && !host) return SUCCESS;
	if (result r = capturing(host ? "cuMemFreeHost" : "cuMemFree")) return r;
	wait_all(l);
	bool known;
	const std::string what = describe(p);
	const bool whole = release(p, host, known);
	if (!known) return refuse(INVALID_VALUE, hex(p) + what);
	if (!whole) {
		sticky = ILLEGAL_ADDRESS;
		sticky_text = "bytes before or behind " + hex(p) + what + ", have been written";
		fprintf(stderr, "emulated GPU: %s\n", sticky_text.c_str());
	}
	return sticky;
}

API cuMemFree_v2(uintptr_t p) { return free_memory(p, false); }

API cuMemHostAlloc(uintptr_t *p, size_t n, unsigned) {
	LOCKED;
	if (n == 0) return INVALID_VALUE;
	if (sticky) return sticky;
	if (result r = capturing("cuMemHostAlloc")) return r;
	*p = allocate(n, true);
	return *p ? SUCCESS : OUT_OF_MEMORY;
}

API cuMemFreeHost(uintptr_t p) { return free_memory(p, true); }

API cuMemHostRegister_v2(uintptr_t p, size_t n, unsigned) {
	LOCKED;
	if (p == 0 || n == 0) return INVALID_VALUE;
	std::lock_guard<std::mutex> m(memory_lock);
	auto i = registered.upper_bound(p);
	if (i != registered.end() && i->first < p + n) return ALREADY_REGISTERED;
	if (i != registered.begin() && (--i, p < i->first + i->second)) return ALREADY_REGISTERED;
	registered[p] = n;
	return SUCCESS;
}

API cuMemHostUnregister(uintptr_t p) {
	LOCKED;
	wait_all(l);
	std::lock_guard<std::mutex> m(memory_lock);
	return registered.erase(p) ? SUCCESS : NOT_REGISTERED;
}

API cuMemcpyHtoDAsync_v2(uintptr_t dst, uintptr_t src, size_t n, uintptr_t s) {
	LOCKED;
	return copy_node(s, dst, src, n, true, false);
}

API cuMemcpyDtoHAsync_v2(uintptr_t dst, uintptr_t src, size_t n, uintptr_t s) {
	LOCKED;
	return copy_node(s, dst, src, n, false, true);
}

API cuMemcpyDtoDAsync_v2(uintptr_t dst, uintptr_t src, size_t n, uintptr_t s) {
	LOCKED;
	return copy_node(s, dst, src, n, true, true);
}

API cuMemsetD8Async(uintptr_t dst, unsigned char value, size_t n, uintptr_t s) {
	LOCKED;
	if (n == 0) return SUCCESS;
	if (!within(dst, n, true)) return refuse(INVALID_VALUE, "memset of " + std::to_string(n) + " bytes at " + hex(dst) + describe(dst));
	node c = {};
	c.is = node::FILL, c.dst = dst, c.n = n, c.value = value;
	return give(s, std::move(c));
}

API cuStreamCreateWithPriority(uintptr_t *h, unsigned, int) {
	LOCKED;
	stream *s = streams.add({});
	all_streams.push_back(s);
	*h = (uintptr_t)s;
	return SUCCESS;
}

API cuStreamDestroy_v2(uintptr_t h) {
	LOCKED;
	stream *s = streams.find(h);
	if (!s) return INVALID_HANDLE;
	wait_for(l, [&] { return s->idle(); });
	for (size_t i = 0; i < all_streams.size(); i++)
		if (all_streams[i] == s) all_streams.erase(all_streams.begin() + (long)i--);
	streams.remove(s);
	return SUCCESS;
}

API cuStreamSynchronize(uintptr_t h) {
	LOCKED;
	stream *s = stream_of(h);
	if (!s) return INVALID_HANDLE;
	if (s->in) {
		s->in->bad = true;
		return refuse(CAPTURE_UNSUPPORTED, "cuStreamSynchronize");
	}
	wait_for(l, [&] { return s->idle(); });
	return sticky;
}

API cuStreamWaitEvent(uintptr_t h, uintptr_t eh, unsigned) {
	LOCKED;
	stream *s = stream_of(h);
	event *e = events.find(eh);
	if (!s || !e) return INVALID_HANDLE;
	if (e->in) {
		if (e->in->bad) return CAPTURE_INVALIDATED;
		if (s->in && s->in != e->in) return CAPTURE_ISOLATION;
		if (!s->in) s->last.clear();
		s->in = e->in;
		e->in->streams.insert(s);
		for (int a : e->after) {
			bool have = false;
			for (int b : s->last) have = have || a == b;
			if (!have) s->last.push_back(a);
		}
		return SUCCESS;
	}
	if (s->in) {
		s->in->bad = true;
		return CAPTURE_ISOLATION;
	}
	if (!e->last) return SUCCESS;
	op o;
	o.waits = e->last;
	post(s, std::move(o));
	return SUCCESS;
}

API cuEventCreate(uintptr_t *h, unsigned flags) {
	LOCKED;
	*h = (uintptr_t)events.add({!(flags & 2), nullptr, nullptr, {}});
	return SUCCESS;
}

API cuEventDestroy_v2(uintptr_t h) {
	LOCKED;
	event *e = events.find(h);
	if (!e) return INVALID_HANDLE;
	events.remove(e);
	return SUCCESS;
}

API cuEventRecord(uintptr_t eh, uintptr_t h) {
	LOCKED;
	stream *s = stream_of(h);
	event *e = events.find(eh);
	if (!s || !e) return INVALID_HANDLE;
	if (s->in) {
		if (s->in->bad) return CAPTURE_INVALIDATED;
		e->in = s->in;
		e->after = s->last;
		return SUCCESS;
	}
	e->in = nullptr;
	e->last = std::make_shared<mark>();
	op o;
	o.records = e->last;
	post(s, std::move(o));
	return sticky;
}

API cuEventSynchronize(uintptr_t h) {
	LOCKED;
	event *e = events.find(h);
	if (!e) return INVALID_HANDLE;
	if (e->in) return CAPTURED_EVENT;
	if (result r = capturing("cuEventSynchronize")) return r;
	std::shared_ptr<mark> m = e->last;
	if (m) wait_for(l, [&] { return m->done; });
	return sticky;
}

API cuEventElapsedTime(float *ms, uintptr_t from, uintptr_t to) {
	LOCKED;
	event *a = events.find(from), *b = events.find(to);
	if (!a || !b || !a->timed || !b->timed || !a->last || !b->last) return INVALID_HANDLE;
	if (!a->last->done || !b->last->done) return NOT_READY;
	*ms = (float)(1e3 * (b->last->at - a->last->at));
	return SUCCESS;
}

// The image is not run: its hash names the source that it was compiled from. One that is
// not known is of a source that was compiled again, and may be any.
API cuModuleLoadData(uintptr_t *h, const unsigned char *image) {
	LOCKED;
	uint32_t magic;
	memcpy(&magic, image, 4);
	if (magic != 0xba55ed50) return INVALID_IMAGE;
	uint16_t header;
	uint64_t size;
	memcpy(&header, image + 6, 2);
	memcpy(&size, image + 8, 8);
	unsigned long long hash = 0xcbf29ce484222325;
	for (size_t i = 0; i < header + size; i++) hash = (hash ^ image[i]) * 0x100000001b3;
	const source *only = nullptr;
	for (int i = 0; i < source_count; i++)
		if (sources[i]->hash == hash) only = sources[i];
	*h = (uintptr_t)modules.add({only});
	return SUCCESS;
}

API cuModuleUnload(uintptr_t h) {
	LOCKED;
	module *m = modules.find(h);
	if (!m) return INVALID_HANDLE;
	wait_all(l);
	modules.remove(m);
	return SUCCESS;
}

API cuModuleGetFunction(uintptr_t *f, uintptr_t h, const char *name) {
	LOCKED;
	module *m = modules.find(h);
	if (!m) return INVALID_HANDLE;
	for (int i = 0; i < source_count; i++) {
		const source *s = sources[i];
		if (m->only && m->only != s) continue;
		for (int k = 0; k < s->count; k++)
			if (!strcmp(s->kernels[k].name, name)) {
				function made;
				made.from = s, made.what = &s->kernels[k];
				*f = (uintptr_t)functions.add(made);
				return SUCCESS;
			}
	}
	return refuse(NOT_FOUND, std::string(name) + (m->only ? std::string(" is not in ") + m->only->name : ""));
}

API cuTensorMapEncodeTiled(void *to, uint32_t type, uint32_t rank, uintptr_t address, const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,
			  const uint32_t *steps, uint32_t interleave, uint32_t swizzle, uint32_t, uint32_t fill) {
	LOCKED;
	const std::string wrong = encode_tensor(to, type, rank, address, sizes, strides, box, steps, interleave, swizzle, fill);
	return wrong.empty() ? SUCCESS : refuse(INVALID_VALUE, "a tensor map: " + wrong);
}

enum { MAX_THREADS = 0, STATIC_SHARED = 1, MAX_DYNAMIC_SHARED = 8, CARVEOUT = 9 };

API cuFuncGetAttribute(int *v, int which, uintptr_t h) {
	LOCKED;
	function *f = functions.find(h);
	if (!f) return INVALID_HANDLE;
	switch (which) {
	case MAX_THREADS: *v = f->what->threads; return SUCCESS;
	case STATIC_SHARED: *v = f->from->to - f->from->from; return SUCCESS; // of all kernels of the source
	case MAX_DYNAMIC_SHARED: *v = f->most_shared; return SUCCESS;
	case CARVEOUT: *v = f->carveout; return SUCCESS;
	}
	return refuse(INVALID_VALUE, "the emulator knows nothing of attribute " + std::to_string(which) + " of functions");
}

API cuFuncSetAttribute(uintptr_t h, int which, int v) {
	LOCKED;
	function *f = functions.find(h);
	if (!f) return INVALID_HANDLE;
	if (which == MAX_DYNAMIC_SHARED && v >= 0 && v <= (int)SHARED_BYTES)
		f->most_shared = v;
	else if (which == CARVEOUT && v >= -1 && v <= 100)
		f->carveout = v;
	else
		return INVALID_VALUE;
	return SUCCESS;
}

static result launch(uintptr_t h, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, size3 cluster, unsigned shared,
		     uintptr_t s, void **parameters, void **extra) {
	LOCKED;
	function *f = functions.find(h);
	if (!f) return INVALID_HANDLE;
	const std::string name = f->what->name;
	const uint64_t threads = (uint64_t)bx * by * bz;
	if (gx == 0 || gy == 0 || gz == 0 || gx > 2147483647u || gy > 65535 || gz > 65535)
		return refuse(INVALID_VALUE, name + ": a grid of " + std::to_string(gx) + "," + std::to_string(gy) + "," + std::to_string(gz));
	if (threads == 0 || threads > 1024 || bx > 1024 || by > 1024 || bz > 64)
		return refuse(INVALID_VALUE, name + ": a block of " + std::to_string(bx) + "," + std::to_string(by) + "," + std::to_string(bz));
	if (threads > (uint64_t)f->what->threads)
		return refuse(OUT_OF_RESOURCES, name + ": " + std::to_string(threads) + " threads, compiled for " + std::to_string(f->what->threads));
	if (shared > (unsigned)f->most_shared)
		return refuse(INVALID_VALUE, name + ": " + std::to_string(shared) + " bytes of dynamic shared memory, it may have " + std::to_string(f->most_shared));
	if (cluster.x == 0 || cluster.y == 0 || cluster.z == 0 || (uint64_t)cluster.x * cluster.y * cluster.z > 8 || gx % cluster.x || gy % cluster.y || gz % cluster.z)
		return refuse(INVALID_CLUSTER_SIZE, name + ": clusters of " + std::to_string(cluster.x) + "," + std::to_string(cluster.y) + "," + std::to_string(cluster.z));
	if (!parameters || extra) return INVALID_VALUE;
	node n = {};
	n.is = node::KERNEL, n.from = f->from, n.what = f->what, n.grid = {gx, gy, gz}, n.block = {bx, by, bz}, n.cluster = cluster, n.shared = shared;
	n.parameter.assign((const char *)parameters[0], (const char *)parameters[0] + f->what->bytes);
	return give(s, std::move(n));
}

API cuLaunchKernel(uintptr_t h, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by, unsigned bz, unsigned shared, uintptr_t s,
		   void **parameters, void **extra) {
	return launch(h, gx, gy, gz, bx, by, bz, {1, 1, 1}, shared, s, parameters, extra);
}

// As the headers of CUDA have it.
struct launch_attribute {
	uint32_t id, pad;
	uint32_t value[16];
};
struct launch_config {
	uint32_t grid[3], block[3], shared;
	uintptr_t stream;
	const launch_attribute *attributes;
	uint32_t count;
};

// A kernel that may start early starts when it would without that.
API cuLaunchKernelEx(const launch_config *c, uintptr_t h, void **parameters, void **extra) {
	size3 cluster = {1, 1, 1};
	for (uint32_t i = 0; i < c->count; i++) {
		const launch_attribute &a = c->attributes[i];
		if (a.id == 4) // cluster dimension
			cluster = {a.value[0], a.value[1], a.value[2]};
		else if (a.id != 6) // programmatic stream serialization
			return INVALID_VALUE;
	}
	return launch(h, c->grid[0], c->grid[1], c->grid[2], c->block[0], c->block[1], c->block[2], cluster, c->shared, c->stream, parameters, extra);
}

API cuStreamBeginCapture_v2(uintptr_t h, int) {
	LOCKED;
	stream *s = streams.find(h); // the default stream can not
	if (!s) return h == 0 ? CAPTURE_UNSUPPORTED : INVALID_HANDLE;
	if (s->in) return refuse(INVALID_VALUE, "the stream captures already");
	s->in = std::make_shared<capture>();
	s->in->origin = s;
	s->in->streams.insert(s);
	s->last.clear();
	captures.insert(s->in);
	return SUCCESS;
}

API cuStreamEndCapture(uintptr_t h, uintptr_t *g) {
	LOCKED;
	stream *s = streams.find(h);
	*g = 0;
	if (!s) return INVALID_HANDLE;
	if (!s->in) return refuse(INVALID_VALUE, "the stream does not capture");
	std::shared_ptr<capture> c = s->in;
	if (c->origin != s) {
		c->bad = true;
		return CAPTURE_UNMATCHED;
	}
	// What the other streams did has to have come back to this one.
	std::set<int> joined;
	std::vector<int> todo = s->last;
	while (!todo.empty()) {
		const int i = todo.back();
		todo.pop_back();
		if (!joined.insert(i).second) continue;
		for (int a : c->all[(size_t)i].after) todo.push_back(a);
	}
	bool whole = true;
	for (stream *o : c->streams) {
		for (int i : o->last) whole = whole && joined.count(i);
		o->in = nullptr;
		o->last.clear();
	}
	for (auto &e : events.all)
		if (e.second->in == c) e.second->in = nullptr;
	captures.erase(c);
	if (c->bad) return CAPTURE_INVALIDATED;
	if (!whole) return CAPTURE_UNJOINED;
	*g = (uintptr_t)graphs.add({std::make_shared<const nodes>(std::move(c->all))});
	return SUCCESS;
}

API cuGraphInstantiateWithFlags(uintptr_t *x, uintptr_t h, unsigned long long) {
	LOCKED;
	graph *g = graphs.find(h);
	if (!g) return INVALID_HANDLE;
	*x = (uintptr_t)executables.add({g->all});
	return SUCCESS;
}

struct update_info {
	int result;
	void *node, *from;
};

API cuGraphExecUpdate_v2(uintptr_t xh, uintptr_t gh, update_info *info) {
	LOCKED;
	executable *x = executables.find(xh);
	graph *g = graphs.find(gh);
	if (!x || !g) return INVALID_HANDLE;
	*info = {};
	const nodes &a = *x->all, &b = *g->all;
	bool same = a.size() == b.size();
	for (size_t i = 0; same && i < a.size(); i++) same = a[i].is == b[i].is && a[i].after == b[i].after;
	if (!same) {
		info->result = 2; // the topology has changed
		return UPDATE_FAILURE;
	}
	x->all = g->all;
	return SUCCESS;
}

API cuGraphLaunch(uintptr_t xh, uintptr_t h) {
	LOCKED;
	executable *x = executables.find(xh);
	stream *s = stream_of(h);
	if (!x || !s) return INVALID_HANDLE;
	if (sticky) return sticky;
	if (s->in) {
		s->in->bad = true;
		return refuse(CAPTURE_UNSUPPORTED, "a graph in a graph is not emulated");
	}
	op o;
	o.work = x->all;
	post(s, std::move(o));
	return SUCCESS;
}

API cuGraphExecDestroy(uintptr_t h) {
	LOCKED;
	executable *x = executables.find(h);
	if (!x) return INVALID_HANDLE;
	executables.remove(x);
	return SUCCESS;
}

API cuGraphDestroy(uintptr_t h) {
	LOCKED;
	graph *g = graphs.find(h);
	if (!g) return INVALID_HANDLE;
	graphs.remove(g);
	return SUCCESS;
}
