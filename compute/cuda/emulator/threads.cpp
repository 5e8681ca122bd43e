// The threads of a block, as fibers that take turns: each has a stack, and goes until it
// waits for others. Whoever waits picks the next one.
#include "threads.h"

#include <algorithm>
#include <functional>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>
#include <vector>

#include "emulator.h"

uint3 threadIdx, blockIdx;
dim3 blockDim, gridDim;

// Saves the caller's place in *from and goes on at to. What C keeps over calls lies on the
// stacks.
extern "C" void emulated_switch(void **from, void *to);
asm(R"(
	.text
	.type emulated_switch, @function
emulated_switch:
	push %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	mov %rsp, (%rdi)
	mov %rsi, %rsp
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	ret
	.size emulated_switch, .-emulated_switch
)");

namespace emulated {

order in_order = FORWARD;
char *dynamic_shared;

enum { MOST = 1024, CLUSTER = 8, STACK = 256 << 10, PAGE = 4096, GUARD = 64 << 10, MARGIN = 1024 };
enum : size_t { SHARED_STRIDE = SHARED_BYTES + MARGIN + GUARD };

namespace {

struct copy {
	char *to;
	const char *from;
	int bytes, group;
	bool valid;
};

// Sums of products that are under way, and such a product.
struct sums {
	float *to;
	int products;
	std::vector<float> v;
};
struct product {
	meeting *op;
	float *to;
	std::vector<char> factors;
	int group;
};

// A write from shared memory that is under way.
struct store {
	std::function<void()> write;
	int group;
};

enum state { NEW, RUNNING, MEETING, BARRIER, CLUSTER_BARRIER, MBARRIER, NAP, ENDED };

struct fiber {
	void *sp;
	char *stack;
	state is;
	const char *waits; // where
	uint3 at;
	std::vector<copy> copies;
	int group;
	std::vector<sums> held;
	std::vector<product> products;
	int products_group;
	std::vector<store> stores;
	int stores_group;
	unsigned phase; // of the cluster's barrier, when it came there
	bool arrived;
};

// Lanes that wait for others of their warp.
struct meeting_point {
	unsigned mask, arrived;
	meeting *op;
	const char *name;
	bool whole;
	void *lanes[32];
};

struct warp {
	unsigned alive;
	int count;
	meeting_point points[32];
};

// A block of a cluster. Static shared memory is one for all; that of the others is kept.
struct block {
	fiber fibers[MOST];
	warp warps[MOST / 32];
	uint64_t ready[MOST / 64], living[MOST / 64];
	int alive, current, napping;
	uint3 at;
	char *shared; // dynamic
	std::string kept;
	struct {
		int arrived, sum, last;
		const char *where;
	} bar;
	struct {
		int arrived;
		unsigned phase;
	} some; // the barrier of a part of the threads
};

block blocks[CLUSTER];
block *own = blocks; // that of the thread that goes
int threads, cluster, living_blocks;
double napped;
const source *from_source;

struct {
	int arrived;
	unsigned phase;
} together; // the cluster's barrier

// Copies of a whole range that are under way, and the mbarriers that wait for them.
struct range_copy {
	char *to;
	const char *from;
	int bytes;
	void *bar;
	std::function<void()> bring; // in place of from
};
std::vector<range_copy> ranges;

const kernel *running;
const void *argument;
void *launcher; // the place of run_kernel
std::vector<char *> stacks;
char *stack_area, *ended_stack;
int stacks_made;
char *shared_area; // of CLUSTER blocks: dynamic shared memory ends where its guard begins
size_t shared_bytes;
pid_t thread_id;
std::string message;
sigjmp_buf *guarded;

// What a signal found.
struct {
	int number;
	uintptr_t address, code;
	bool write;
} caught;

uint64_t seed = 1;

// A thread that waits keeps its state until it goes on.
void wait(state s, const char *where) {
	own->fibers[own->current].is = s;
	own->fibers[own->current].waits = where;
	own->ready[own->current / 64] &= ~(1ull << own->current % 64);
}

int pick() {
	const int words = (threads + 63) / 64;
	switch (in_order) {
	case FORWARD:
		for (int w = 0; w < words; w++)
			if (own->ready[w]) return 64 * w + __builtin_ctzll(own->ready[w]);
		return -1;
	case BACKWARD:
		for (int w = words - 1; w >= 0; w--)
			if (own->ready[w]) return 64 * w + 63 - __builtin_clzll(own->ready[w]);
		return -1;
	case RANDOM: {
		const int from = (int)(random_number() % (unsigned)threads);
		const uint64_t late = own->ready[from / 64] >> from % 64;
		if (late) return from + __builtin_ctzll(late);
		for (int i = 1; i <= words; i++) {
			const int w = (from / 64 + i) % words;
			if (own->ready[w]) return 64 * w + __builtin_ctzll(own->ready[w]);
		}
		return -1;
	}
	}
	return -1;
}

std::string dims(unsigned x, unsigned y, unsigned z) {
	return "(" + std::to_string(x) + "," + std::to_string(y) + "," + std::to_string(z) + ")";
}

std::string place() { return std::string("kernel ") + running->name + ", block " + dims(blockIdx.x, blockIdx.y, blockIdx.z); }

std::string thread_place() {
	const uint3 t = own->fibers[own->current].at;
	return place() + ", thread " + dims(t.x, t.y, t.z) + ": ";
}

// Leaves the block for good. What its threads hold lies on their stacks, which are used
// again.
[[noreturn]] void abandon() {
	void *none;
	emulated_switch(&none, launcher);
	__builtin_unreachable();
}

// Nobody can go on.
[[noreturn]] void stuck() {
	message = place() + ": its threads wait for each other.";
	int groups = 0;
	for (int i = 0, j; i < threads; i = j) {
		const fiber &f = own->fibers[i];
		for (j = i + 1; j < threads && own->fibers[j].is == f.is && (f.is == ENDED || own->fibers[j].waits == f.waits); j++) {}
		if (++groups > 12) {
			message += " …";
			break;
		}
		message += " " + std::to_string(i) + (j > i + 1 ? "-" + std::to_string(j - 1) : "");
		message += f.is == ENDED ? " have ended;" : std::string(f.is == BARRIER ? " at the barrier of " : " in ") + f.waits + ";";
	}
	abandon();
}

void thread_main();
void mbarrier_done(void *bar, int arrivals, int bytes);

void start(fiber &f) {
	if (stacks.empty()) {
		if (stacks_made > MOST * CLUSTER) abort();
		// Tops lie at different places of a page, so that they do not share lines of the cache.
		char *s = stack_area + (size_t)stacks_made * (STACK + PAGE);
		mprotect(s, PAGE, PROT_NONE);
		stacks.push_back(s + PAGE + STACK - stacks_made % 16 * 192);
		stacks_made++;
	}
	f.stack = stacks.back();
	stacks.pop_back();
	void **top = (void **)((uintptr_t)f.stack & ~(uintptr_t)63);
	*--top = nullptr;
	*--top = (void *)thread_main;
	for (int i = 0; i < 6; i++) *--top = nullptr;
	f.sp = top;
}

double seconds() {
	timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

bool can_go(const block &b) {
	for (int w = 0; w < (threads + 63) / 64; w++)
		if (b.ready[w]) return true;
	return false;
}

// Static shared memory becomes that of another block of the cluster.
void turn_to(block *b) {
	if (b == own) return;
	const size_t n = (size_t)(from_source->to - from_source->from);
	own->kept.assign(from_source->from, n);
	own = b;
	memcpy(from_source->from, own->kept.data(), n);
	blockIdx = own->at;
	dynamic_shared = own->shared;
}

// Threads that wait in a state look again.
void wake(state s) {
	for (int i = 0; i < cluster; i++)
		for (int j = 0; j < threads; j++)
			if (blocks[i].fibers[j].is == s) blocks[i].ready[j / 64] |= 1ull << j % 64;
}

void land(size_t i) {
	const range_copy c = ranges[i];
	ranges.erase(ranges.begin() + (ptrdiff_t)i);
	if (c.bring)
		c.bring();
	else
		memcpy(c.to, c.from, (size_t)c.bytes);
	mbarrier_done(c.bar, 0, c.bytes);
}

// Finds a block with a thread that can go on, where the own has none. Copies of ranges come
// when nobody can, or in any order, or have come at once.
bool find() {
	for (;;) {
		const int from = in_order == RANDOM ? (int)(random_number() % (unsigned)cluster) : in_order == BACKWARD ? cluster - 1 : 0;
		for (int i = 0; i < cluster; i++) {
			block *b = &blocks[(from + (in_order == BACKWARD ? cluster - i : i)) % cluster];
			if (!can_go(*b)) continue;
			turn_to(b);
			return true;
		}
		if (ranges.empty()) return false;
		land(in_order == BACKWARD ? ranges.size() - 1 : random_number() % ranges.size());
	}
}

// Goes on with the next thread that can.
void next() {
	void **from = &own->fibers[own->current].sp;
	const block *const before = own;
	if (in_order == RANDOM && cluster > 1 && random_number() % 64 == 0) {
		block *b = &blocks[random_number() % (unsigned)cluster];
		if (can_go(*b)) turn_to(b);
	}
	if (in_order == RANDOM && !ranges.empty() && random_number() % 16 == 0) land(random_number() % ranges.size());
	int i = pick();
	if (i < 0 && find()) i = pick();
	if (i < 0) {
		int asleep = 0;
		for (int b = 0; b < cluster; b++) asleep += blocks[b].napping;
		if (asleep > 0) {
			// All sleep: for something that the host does, or for ever.
			if (napped == 0) napped = seconds();
			if (seconds() - napped > 10) {
				for (int b = 0; b < cluster; b++) blocks[b].napping = 0;
				fault("it has slept for 10 s. Blocks run one after the other here: none can wait for a later one");
			}
			usleep(20);
			wake(NAP);
			for (int b = 0; b < cluster; b++) blocks[b].napping = 0;
			find();
			i = pick();
		}
	}
	if (i < 0 && living_blocks > 0) stuck();
	if (i < 0) {
		void *none;
		emulated_switch(&none, launcher);
	}
	fiber &to = own->fibers[i];
	if (to.is == NEW) start(to);
	to.is = RUNNING;
	if (own == before && i == own->current) return;
	own->current = i;
	threadIdx = to.at;
	emulated_switch(from, to.sp);
}

void complete(warp &w, int base, int at) {
	meeting_point &p = w.points[at];
	if (p.whole && p.arrived != ~0u) fault("%s: lanes of the warp are missing, %08x are here", p.name, p.arrived);
	p.op(p.lanes);
	own->ready[base / 64] |= (uint64_t)p.arrived << base % 64;
	if (at != --w.count) p = w.points[w.count];
}

void complete_barrier() {
	own->bar.arrived = 0, own->bar.last = own->bar.sum, own->bar.sum = 0, own->bar.where = nullptr;
	memcpy(own->ready, own->living, sizeof own->ready); // all are here
}

// All threads that there are have come to the cluster's barrier.
void complete_cluster() {
	int all = 0;
	for (int i = 0; i < cluster; i++) all += blocks[i].alive;
	if (together.arrived == 0 || together.arrived < all) return;
	together.arrived = 0;
	together.phase++;
	wake(CLUSTER_BARRIER);
}

void meet_at(unsigned mask, meeting *op, void *mine, const char *name, bool whole) {
	warp &w = own->warps[own->current / 32];
	const int lane = own->current % 32;
	if (!(mask >> lane & 1)) fault("%s: its mask %08x does not have the lane itself, %d", name, mask, lane);
	int at = 0;
	while (at < w.count && !(w.points[at].mask == mask && w.points[at].op == op)) at++;
	meeting_point &p = w.points[at];
	if (at == w.count) {
		if ((mask & w.alive) != ~0u) memset(p.lanes, 0, sizeof p.lanes);
		p.mask = mask, p.arrived = 0, p.op = op, p.name = name, p.whole = whole;
		w.count++;
	}
	p.lanes[lane] = mine;
	p.arrived |= 1u << lane;
	wait(MEETING, name);
	if (p.arrived == (mask & w.alive)) complete(w, own->current / 32 * 32, at);
	next();
}

void thread_main() {
	running->run(argument);
	fiber &f = own->fibers[own->current];
	if (f.arrived) fault("has come to the barrier of the cluster, and does not wait there");
	if (!f.products.empty()) fault("ends, and %d products (wgmma) that it posted are not waited for", (int)f.products.size());
	if (!f.stores.empty()) fault("ends, and %d stores of boxes are not waited for", (int)f.stores.size());
	wait(ENDED, nullptr);
	warp &w = own->warps[own->current / 32];
	w.alive &= ~(1u << own->current % 32);
	own->living[own->current / 64] &= ~(1ull << own->current % 64);
	if (--own->alive == 0) living_blocks--;
	napped = 0;
	for (int i = w.count - 1; i >= 0; i--)
		if (w.points[i].arrived == (w.points[i].mask & w.alive)) complete(w, own->current / 32 * 32, i);
	if (own->alive > 0 && own->bar.arrived == own->alive) complete_barrier();
	if (own->alive == 0)
		for (const range_copy &c : ranges)
			if (c.bar >= own->shared && c.bar < own->shared + shared_bytes) fault("the block has ended, and a copy to its shared memory has not come");
	complete_cluster();
	// This stack is in use until the next thread goes.
	if (ended_stack) stacks.push_back(ended_stack);
	ended_stack = f.stack;
	next();
	__builtin_unreachable();
}

void prepare(block &b, int rank) {
	const size_t dynamic = (shared_bytes + 127) / 128 * 128;
	char *const end = shared_area + (size_t)rank * SHARED_STRIDE + SHARED_BYTES + MARGIN;
	b.shared = end - dynamic;
	unwritten(b.shared - MARGIN, dynamic + MARGIN);
	b.kept.assign(from_source->from, (size_t)(from_source->to - from_source->from));
	b.alive = threads;
	b.napping = 0;
	b.bar = {};
	b.some = {};
	memset(b.ready, 0, sizeof b.ready);
	for (int i = 0; i < threads; i++) {
		fiber &f = b.fibers[i];
		const unsigned n = (unsigned)i;
		f.at = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
		f.copies.clear();
		f.group = 0;
		f.held.clear();
		f.products.clear();
		f.products_group = 0;
		f.stores.clear();
		f.stores_group = 0;
		f.arrived = false;
		f.stack = nullptr;
		b.ready[i / 64] |= 1ull << i % 64;
		f.is = NEW;
	}
	for (int i = 0; i < threads; i += 32) {
		warp &w = b.warps[i / 32];
		w.count = 0;
		w.alive = threads - i >= 32 ? ~0u : (1u << (threads - i)) - 1;
	}
	memcpy(b.living, b.ready, sizeof b.living);
}

// The blocks of a cluster, whose places are in at.
void run_cluster() {
	unwritten(from_source->from, (size_t)(from_source->to - from_source->from));
	threads = (int)(blockDim.x * blockDim.y * blockDim.z);
	living_blocks = cluster;
	napped = 0;
	together = {};
	ranges.clear();
	for (int i = 0; i < cluster; i++) prepare(blocks[i], i);
	own = &blocks[0];
	blockIdx = own->at, dynamic_shared = own->shared;
	find();
	own->current = pick();
	start(own->fibers[own->current]);
	own->fibers[own->current].is = RUNNING;
	threadIdx = own->fibers[own->current].at;
	emulated_switch(&launcher, own->fibers[own->current].sp);
	if (ended_stack) stacks.push_back(ended_stack);
	ended_stack = nullptr;
	if (!message.empty()) return;
	// What lies before and behind of dynamic shared memory is looked at now.
	const uint32_t u = UNWRITTEN;
	for (int i = 0; i < cluster; i++) {
		char *const first = blocks[i].shared - MARGIN, *const end = blocks[i].shared + (shared_bytes + 127) / 128 * 128;
		for (char *p = first; p < end; p++) {
			if (p == blocks[i].shared && (p += shared_bytes) == end) break;
			if (*p == ((const char *)&u)[(p - first) % 4]) continue;
			turn_to(&blocks[i]);
			message = place() + ": a thread wrote at byte " + std::to_string(p - dynamic_shared) + " of dynamic shared memory, which has " +
				  std::to_string(shared_bytes);
			return;
		}
	}
}

void after_signal() {
	const uintptr_t stack = (uintptr_t)stack_area, shared = (uintptr_t)shared_area;
	char text[200];
	const char *what = caught.number == SIGFPE ? "division by zero" : caught.number == SIGILL ? "illegal instruction" : caught.write ? "write" : "read";
	std::string where;
	const uintptr_t a = caught.address;
	if (caught.number == SIGSEGV || caught.number == SIGBUS) {
		if (a >= stack && a < stack + (size_t)(MOST * CLUSTER + 1) * (STACK + PAGE))
			where = ", the end of the thread's stack";
		else if (a >= shared - GUARD && a < shared + CLUSTER * SHARED_STRIDE)
			where = ", byte " + std::to_string((intptr_t)a - (intptr_t)dynamic_shared) + " of dynamic shared memory, which has " + std::to_string(shared_bytes);
		else
			where = describe(a);
		snprintf(text, sizeof text, "%s at 0x%zx", what, (size_t)a);
	} else {
		snprintf(text, sizeof text, "%s", what);
	}
	message = thread_place() + text + where;
	snprintf(text, sizeof text, " (code at libcuda.so.1+0x%zx)", (size_t)caught.code);
	message += text;
	abandon();
}

struct sigaction before[NSIG];
extern "C" const char __ehdr_start[] __attribute__((visibility("hidden")));

void on_signal(int number, siginfo_t *info, void *context) {
	ucontext_t *u = (ucontext_t *)context;
	if (syscall(SYS_gettid) == thread_id && (running || guarded)) {
		caught.number = number;
		caught.address = number == SIGSEGV || number == SIGBUS ? (uintptr_t)info->si_addr : 0;
		caught.code = (uintptr_t)u->uc_mcontext.gregs[REG_RIP] - (uintptr_t)__ehdr_start;
		caught.write = u->uc_mcontext.gregs[REG_ERR] & 2;
		if (guarded) siglongjmp(*guarded, 1);
		// Goes on in after_signal, on a stack that holds: another thread's, which has
		// no more to say.
		static char spare[64 << 10] __attribute__((aligned(64)));
		u->uc_mcontext.gregs[REG_RIP] = (greg_t)after_signal;
		u->uc_mcontext.gregs[REG_RSP] = (greg_t)(spare + sizeof spare - 8);
		return;
	}
	const struct sigaction &b = before[number];
	if (b.sa_flags & SA_SIGINFO)
		b.sa_sigaction(number, info, context);
	else if (b.sa_handler != SIG_DFL && b.sa_handler != SIG_IGN)
		b.sa_handler(number);
	else
		sigaction(number, &b, nullptr);
}

} // namespace

uint64_t random_number() {
	seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1d >> 32;
}

void unwritten(void *p, size_t n) {
	const uint32_t v = UNWRITTEN;
	std::fill((uint32_t *)p, (uint32_t *)p + n / 4, v);
	memcpy((char *)p + n / 4 * 4, &v, n % 4);
}

void open_threads() {
	if (const char *e = getenv("NOSA_EMULATED_ORDER")) {
		if (!strcmp(e, "backward"))
			in_order = BACKWARD;
		else if (!strncmp(e, "random", 6)) {
			in_order = RANDOM;
			const uint64_t n = e[6] == ':' ? strtoull(e + 7, nullptr, 10) : (uint64_t)time(nullptr);
			seed = n * 0x9e3779b97f4a7c15 + 1;
			if (!seed) seed = 1;
			if (e[6] != ':') fprintf(stderr, "NOSA_EMULATED_ORDER=random:%llu\n", (unsigned long long)n);
		} else if (strcmp(e, "forward")) {
			fprintf(stderr, "NOSA_EMULATED_ORDER is forward, backward or random:SEED, not %s\n", e);
			_exit(2);
		}
	}
	const auto map = [](size_t n, int prot) {
		void *p = mmap(nullptr, n, prot, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
		if (p == MAP_FAILED) perror("emulator: mmap"), _exit(2);
		return (char *)p;
	};
	stack_area = map((size_t)(MOST * CLUSTER + 1) * (STACK + PAGE), PROT_READ | PROT_WRITE);
	shared_area = map(CLUSTER * SHARED_STRIDE + GUARD, PROT_NONE) + GUARD;
	static_assert((SHARED_BYTES + MARGIN) % PAGE == 0);
	for (int i = 0; i < CLUSTER; i++) mprotect(shared_area + (size_t)i * SHARED_STRIDE, SHARED_BYTES + MARGIN, PROT_READ | PROT_WRITE);

	thread_id = (pid_t)syscall(SYS_gettid);
	stack_t alt = {};
	alt.ss_size = 64 << 10;
	alt.ss_sp = map(alt.ss_size, PROT_READ | PROT_WRITE);
	sigaltstack(&alt, nullptr);
	sigset_t ours;
	sigemptyset(&ours);
	for (int n : {SIGSEGV, SIGBUS, SIGFPE, SIGILL}) {
		struct sigaction a = {};
		a.sa_sigaction = on_signal;
		a.sa_flags = SA_SIGINFO | SA_ONSTACK;
		sigfillset(&a.sa_mask);
		sigaction(n, &a, &before[n]);
		sigaddset(&ours, n);
	}
	pthread_sigmask(SIG_UNBLOCK, &ours, nullptr);
}

std::string run_guarded(void (*f)(void *), void *arg) {
	sigjmp_buf here;
	std::string failed;
	guarded = &here;
	if (sigsetjmp(here, 1) == 0)
		f(arg);
	else
		failed = std::string(caught.write ? "write" : "read") + describe(caught.address);
	guarded = nullptr;
	return failed;
}

std::string run_kernel(const source &s, const kernel &k, size3 grid, size3 block, size3 of, size_t shared, const void *p) {
	running = &k, argument = p, shared_bytes = shared, from_source = &s;
	message.clear();
	gridDim = dim3(grid.x, grid.y, grid.z);
	blockDim = dim3(block.x, block.y, block.z);
	cluster = (int)(of.x * of.y * of.z);
	const size3 clusters = {grid.x / of.x, grid.y / of.y, grid.z / of.z};
	const uint64_t n = (uint64_t)clusters.x * clusters.y * clusters.z;
	std::vector<uint32_t> shuffled;
	if (in_order == RANDOM) {
		shuffled.resize(n);
		for (uint64_t i = 0; i < n; i++) {
			const uint64_t j = random_number() % (i + 1);
			shuffled[i] = shuffled[j], shuffled[j] = (uint32_t)i;
		}
	}
	for (uint64_t i = 0; i < n && message.empty(); i++) {
		const uint64_t c = in_order == FORWARD ? i : in_order == BACKWARD ? n - 1 - i : shuffled[i];
		const unsigned x = (unsigned)(c % clusters.x), y = (unsigned)(c / clusters.x % clusters.y), z = (unsigned)(c / clusters.x / clusters.y);
		for (unsigned j = 0; j < (unsigned)cluster; j++) blocks[j].at = {x * of.x + j % of.x, y * of.y + j / of.x % of.y, z * of.z + j / of.x / of.y};
		run_cluster();
		if (message.empty()) continue;
		for (int j = 0; j < cluster; j++)
			for (int t = 0; t < threads; t++)
				if (blocks[j].fibers[t].stack && blocks[j].fibers[t].is != ENDED) stacks.push_back(blocks[j].fibers[t].stack);
	}
	running = nullptr;
	return message;
}

void fault(const char *format, ...) {
	char text[600];
	va_list list;
	va_start(list, format);
	vsnprintf(text, sizeof text, format, list);
	va_end(list);
	message = thread_place() + text;
	abandon();
}

void aligned(const void *p, int to, const char *what) {
	if ((uintptr_t)p % (unsigned)to) fault("%s: 0x%zx is not a multiple of %d", what, (size_t)p, to);
}

int barrier_sum(const char *where, int add) {
	if (own->bar.arrived > 0 && own->bar.where != where && strcmp(own->bar.where, where)) fault("comes to the barrier of %s, others wait at that of %s", where, own->bar.where);
	own->bar.where = where;
	own->bar.sum += add;
	own->bar.arrived++;
	wait(BARRIER, where);
	if (own->bar.arrived == own->alive) complete_barrier();
	next();
	return own->bar.last;
}

void barrier(const char *where) { barrier_sum(where, 0); }
void meet(unsigned mask, meeting *op, void *mine, const char *name) { meet_at(mask, op, mine, name, false); }
void collective(unsigned mask, meeting *op, void *mine, const char *name) { meet_at(mask, op, mine, name, true); }
unsigned active() { return 1u << own->current % 32; }

void nap() {
	wait(NAP, "__nanosleep");
	own->napping++;
	next();
}

long long now() { return (long long)(1e9 * seconds()); }

void copy_later(void *to, const void *from, int bytes, bool valid) {
	aligned(to, bytes, "cp.async to");
	if (valid) aligned(from, bytes, "cp.async from");
	unwritten(to, (size_t)bytes);
	fiber &f = own->fibers[own->current];
	f.copies.push_back({(char *)to, (const char *)from, bytes, f.group, valid});
}

void copies_commit() { own->fibers[own->current].group++; }

void copies_wait(int groups) {
	fiber &f = own->fibers[own->current];
	size_t kept = 0;
	for (const copy &c : f.copies) {
		if (c.group >= f.group - groups)
			f.copies[kept++] = c;
		else if (c.valid)
			memcpy(c.to, c.from, (size_t)c.bytes);
		else
			memset(c.to, 0, (size_t)c.bytes);
	}
	f.copies.resize(kept);
}

void product_later(meeting *op, float *to, int n, const void *factors, size_t bytes) {
	fiber &f = own->fibers[own->current];
	size_t i = 0;
	while (i < f.held.size() && f.held[i].to != to) i++;
	if (i == f.held.size()) {
		f.held.push_back({to, 0, std::vector<float>(to, to + n)});
		unwritten(to, sizeof *to * (size_t)n);
	}
	if ((int)f.held[i].v.size() != n) fault("wgmma: %d sums, of which %d others are under way", n, (int)f.held[i].v.size());
	f.held[i].products++;
	f.products.push_back({op, to, std::vector<char>((const char *)factors, (const char *)factors + bytes), f.products_group});
}

void products_commit() { own->fibers[own->current].products_group++; }

void products_wait(int groups) {
	fiber &f = own->fibers[own->current];
	while (!f.products.empty() && f.products[0].group < f.products_group - groups) {
		const product p = f.products[0];
		f.products.erase(f.products.begin());
		size_t i = 0;
		while (f.held[i].to != p.to) i++;
		posted mine = {f.held[i].v.data(), p.factors.data()};
		collective(~0u, p.op, &mine, "wgmma");
		if (--f.held[i].products > 0) continue;
		memcpy(p.to, f.held[i].v.data(), sizeof(float) * f.held[i].v.size());
		f.held.erase(f.held.begin() + (ptrdiff_t)i);
	}
}

void barrier_of(int all) {
	block &b = *own;
	const unsigned phase = b.some.phase;
	if (++b.some.arrived == all) {
		b.some.arrived = 0, b.some.phase++;
		wake(MBARRIER);
	}
	while (b.some.phase == phase) {
		wait(MBARRIER, "the barrier of a part of the block");
		next();
	}
}

void cluster_arrive() {
	fiber &f = own->fibers[own->current];
	if (f.arrived) fault("comes to the barrier of the cluster again, before it has waited there");
	f.arrived = true;
	f.phase = together.phase;
	together.arrived++;
	complete_cluster();
}

void cluster_wait() {
	fiber &f = own->fibers[own->current];
	if (!f.arrived) fault("waits at the barrier of the cluster, where it has not come");
	while (together.phase == f.phase) {
		wait(CLUSTER_BARRIER, "the barrier of the cluster");
		next();
	}
	f.arrived = false;
}

int rank() { return (int)(own - blocks); }

void *of_rank(const void *p, int rank) {
	const ptrdiff_t at = (const char *)p - own->shared;
	if (at < 0 || at >= (ptrdiff_t)shared_bytes || rank < 0 || rank >= cluster) fault("0x%zx is not in dynamic shared memory, or there is no block %d in a cluster of %d", (size_t)p, rank, cluster);
	if (blocks[rank].alive == 0) fault("block %d of the cluster has ended, and its shared memory with it", rank);
	return blocks[rank].shared + at;
}

namespace {
// An mbarrier, as it lies in shared memory.
struct mbarrier {
	uint32_t made : 9, phase : 1, all : 11, missing : 11;
	int32_t bytes; // that have yet to come
};
enum { MADE = 0x155 };

mbarrier &made(void *bar) {
	aligned(bar, 8, "mbarrier");
	mbarrier &m = *(mbarrier *)bar;
	if (m.made != MADE) fault("there is no mbarrier at 0x%zx", (size_t)bar);
	return m;
}

void mbarrier_done(void *bar, int arrivals, int bytes) {
	mbarrier &m = *(mbarrier *)bar;
	if ((int)m.missing < arrivals) fault("an mbarrier for %d has more that come", (int)m.all);
	m.missing = (m.missing - (unsigned)arrivals) & 2047;
	m.bytes -= bytes;
	if (m.missing != 0 || m.bytes != 0) return;
	m.phase ^= 1;
	m.missing = m.all;
	wake(MBARRIER);
}
} // namespace

void mbarrier_init(void *bar, int arrivals) {
	aligned(bar, 8, "mbarrier");
	*(mbarrier *)bar = {MADE, 0, (unsigned)arrivals & 2047, (unsigned)arrivals & 2047, 0};
}

void mbarrier_arrive(void *bar, int bytes) {
	made(bar).bytes += bytes;
	mbarrier_done(bar, 1, 0);
}

void mbarrier_wait(void *bar, int phase) {
	while (made(bar).phase == (unsigned)phase) {
		wait(MBARRIER, "a wait for an mbarrier");
		next();
	}
}

void range_later(void *to, const void *from, int bytes, void *bar) {
	aligned(to, 16, "cp.async.bulk to");
	aligned(from, 16, "cp.async.bulk from");
	if (bytes <= 0 || bytes % 16) fault("cp.async.bulk: %d bytes", bytes);
	made(bar);
	unwritten(to, (size_t)bytes);
	ranges.push_back({(char *)to, (const char *)from, bytes, bar, nullptr});
	if (in_order == FORWARD) land(ranges.size() - 1);
}

void bring_later(void *to, int bytes, void *bar, std::function<void()> bring) {
	made(bar);
	unwritten(to, (size_t)bytes);
	ranges.push_back({(char *)to, nullptr, bytes, bar, std::move(bring)});
	if (in_order == FORWARD) land(ranges.size() - 1);
}

void store_later(std::function<void()> write) {
	fiber &f = own->fibers[own->current];
	f.stores.push_back({std::move(write), f.stores_group});
}

void stores_commit() { own->fibers[own->current].stores_group++; }

void stores_wait(int groups) {
	fiber &f = own->fibers[own->current];
	size_t kept = 0;
	for (store &s : f.stores) {
		if (s.group >= f.stores_group - groups)
			f.stores[kept++] = std::move(s);
		else
			s.write();
	}
	f.stores.resize(kept);
}

float from_f16(uint16_t v) { return __half2float(__ushort_as_half(v)); }

} // namespace emulated

// What -fsanitize calls. The place is the first thing of what it is given.
namespace {
struct place_in {
	const char *file;
	uint32_t line, column;
};
[[noreturn]] void wrong(const void *data, const char *what) {
	const place_in *p = (const place_in *)data;
	emulated::fault("%s (%s:%u)", what, p->file, p->line);
}
} // namespace

extern "C" {
struct type_mismatch {
	place_in at;
	const void *type;
	unsigned char log_alignment, kind;
};
void __ubsan_handle_type_mismatch_v1_abort(const type_mismatch *m, uintptr_t p) {
	const place_in &at = m->at;
	if (p == 0) emulated::fault("no memory: the pointer is null (%s:%u)", at.file, at.line);
	emulated::fault("the address 0x%zx is not a multiple of %d (%s:%u)", (size_t)p, 1 << m->log_alignment, at.file, at.line);
}
void __ubsan_handle_out_of_bounds_abort(const place_in *at, uintptr_t index) {
	emulated::fault("index %lld is outside of the array (%s:%u)", (long long)index, at->file, at->line);
}
void __ubsan_handle_shift_out_of_bounds_abort(const void *d, uintptr_t, uintptr_t by) {
	const place_in *at = (const place_in *)d;
	emulated::fault("a shift by %lld (%s:%u)", (long long)by, at->file, at->line);
}
void __ubsan_handle_divrem_overflow_abort(const void *d, uintptr_t, uintptr_t) { wrong(d, "division by zero"); }
}
