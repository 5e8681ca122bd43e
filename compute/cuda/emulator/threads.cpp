// The threads of a block, as fibers that take turns: each has a stack, and goes until it
// waits for others. Whoever waits picks the next one.
#include "threads.h"

#include <algorithm>
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

enum { MOST = 1024, STACK = 256 << 10, PAGE = 4096, GUARD = 64 << 10, MARGIN = 1024 };

namespace {

struct copy {
	char *to;
	const char *from;
	int bytes, group;
	bool valid;
};

enum state { NEW, RUNNING, MEETING, BARRIER, NAP, ENDED };

struct fiber {
	void *sp;
	char *stack;
	state is;
	const char *waits; // where
	uint3 at;
	std::vector<copy> copies;
	int group;
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

fiber fibers[MOST];
warp warps[MOST / 32];
uint64_t ready[MOST / 64], living[MOST / 64];
int threads, alive, current, napping;
double napped;

struct {
	int arrived, sum, last;
	const char *where;
} bar;

const kernel *running;
const void *argument;
void *launcher; // the place of run_kernel
std::vector<char *> stacks;
char *stack_area, *ended_stack;
int stacks_made;
char *shared_area; // dynamic shared memory ends where its guard begins
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
	fibers[current].is = s;
	fibers[current].waits = where;
	ready[current / 64] &= ~(1ull << current % 64);
}

int pick() {
	const int words = (threads + 63) / 64;
	switch (in_order) {
	case FORWARD:
		for (int w = 0; w < words; w++)
			if (ready[w]) return 64 * w + __builtin_ctzll(ready[w]);
		return -1;
	case BACKWARD:
		for (int w = words - 1; w >= 0; w--)
			if (ready[w]) return 64 * w + 63 - __builtin_clzll(ready[w]);
		return -1;
	case RANDOM: {
		const int from = (int)(random_number() % (unsigned)threads);
		const uint64_t late = ready[from / 64] >> from % 64;
		if (late) return from + __builtin_ctzll(late);
		for (int i = 1; i <= words; i++) {
			const int w = (from / 64 + i) % words;
			if (ready[w]) return 64 * w + __builtin_ctzll(ready[w]);
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
	const uint3 t = fibers[current].at;
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
		const fiber &f = fibers[i];
		for (j = i + 1; j < threads && fibers[j].is == f.is && (f.is == ENDED || fibers[j].waits == f.waits); j++) {}
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

void start(fiber &f) {
	if (stacks.empty()) {
		if (stacks_made > MOST) abort();
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

// Goes on with the next thread that can.
void next() {
	int i = pick();
	if (i < 0 && napping > 0) {
		// All sleep: for something that the host does, or for ever.
		if (napped == 0) napped = seconds();
		if (seconds() - napped > 10) {
			napping = 0;
			fault("it has slept for 10 s. Blocks run one after the other here: none can wait for a later one");
		}
		usleep(20);
		for (int j = 0; j < threads; j++)
			if (fibers[j].is == NAP) ready[j / 64] |= 1ull << j % 64;
		napping = 0;
		i = pick();
	}
	if (i < 0 && alive > 0) stuck();
	void **from = &fibers[current].sp;
	if (i < 0) {
		void *none;
		emulated_switch(&none, launcher);
	}
	fiber &to = fibers[i];
	if (to.is == NEW) start(to);
	to.is = RUNNING;
	if (i == current) return;
	current = i;
	threadIdx = to.at;
	emulated_switch(from, to.sp);
}

void complete(warp &w, int base, int at) {
	meeting_point &p = w.points[at];
	if (p.whole && p.arrived != ~0u) fault("%s: lanes of the warp are missing, %08x are here", p.name, p.arrived);
	p.op(p.lanes);
	ready[base / 64] |= (uint64_t)p.arrived << base % 64;
	if (at != --w.count) p = w.points[w.count];
}

void complete_barrier() {
	bar.arrived = 0, bar.last = bar.sum, bar.sum = 0, bar.where = nullptr;
	memcpy(ready, living, sizeof ready); // all are here
}

void meet_at(unsigned mask, meeting *op, void *mine, const char *name, bool whole) {
	warp &w = warps[current / 32];
	const int lane = current % 32;
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
	if (p.arrived == (mask & w.alive)) complete(w, current / 32 * 32, at);
	next();
}

void thread_main() {
	running->run(argument);
	fiber &f = fibers[current];
	wait(ENDED, nullptr);
	warp &w = warps[current / 32];
	w.alive &= ~(1u << current % 32);
	living[current / 64] &= ~(1ull << current % 64);
	alive--;
	napped = 0;
	for (int i = w.count - 1; i >= 0; i--)
		if (w.points[i].arrived == (w.points[i].mask & w.alive)) complete(w, current / 32 * 32, i);
	if (alive > 0 && bar.arrived == alive) complete_barrier();
	// This stack is in use until the next thread goes.
	if (ended_stack) stacks.push_back(ended_stack);
	ended_stack = f.stack;
	next();
	__builtin_unreachable();
}

void run_block(const source &s) {
	unwritten(s.from, (size_t)(s.to - s.from));
	const size_t dynamic = (shared_bytes + 127) / 128 * 128;
	dynamic_shared = shared_area + SHARED_BYTES + MARGIN - dynamic;
	// What lies before and behind is looked at afterwards.
	char *const first = dynamic_shared - MARGIN, *const end = shared_area + SHARED_BYTES + MARGIN;
	unwritten(first, (size_t)(end - first));
	threads = (int)(blockDim.x * blockDim.y * blockDim.z);
	alive = threads;
	napping = 0, napped = 0;
	bar = {};
	memset(ready, 0, sizeof ready);
	for (int i = 0; i < threads; i++) {
		fiber &f = fibers[i];
		const unsigned n = (unsigned)i;
		f.at = {n % blockDim.x, n / blockDim.x % blockDim.y, n / blockDim.x / blockDim.y};
		f.copies.clear();
		f.group = 0;
		f.stack = nullptr;
		ready[i / 64] |= 1ull << i % 64;
		f.is = NEW;
	}
	for (int i = 0; i < threads; i += 32) {
		warp &w = warps[i / 32];
		w.count = 0;
		w.alive = threads - i >= 32 ? ~0u : (1u << (threads - i)) - 1;
	}
	memcpy(living, ready, sizeof living);
	current = pick();
	start(fibers[current]);
	fibers[current].is = RUNNING;
	threadIdx = fibers[current].at;
	emulated_switch(&launcher, fibers[current].sp);
	if (ended_stack) stacks.push_back(ended_stack);
	ended_stack = nullptr;
	if (!message.empty()) return;
	const uint32_t u = UNWRITTEN;
	for (char *p = first; p < end; p++) {
		if (p == dynamic_shared && (p += shared_bytes) == end) break;
		if (*p == ((const char *)&u)[(p - first) % 4]) continue;
		message = place() + ": a thread wrote at byte " + std::to_string(p - dynamic_shared) + " of dynamic shared memory, which has " +
			  std::to_string(shared_bytes);
		return;
	}
}

void after_signal() {
	const uintptr_t stack = (uintptr_t)stack_area, shared = (uintptr_t)shared_area;
	char text[200];
	const char *what = caught.number == SIGFPE ? "division by zero" : caught.number == SIGILL ? "illegal instruction" : caught.write ? "write" : "read";
	std::string where;
	const uintptr_t a = caught.address;
	if (caught.number == SIGSEGV || caught.number == SIGBUS) {
		if (a >= stack && a < stack + (size_t)(MOST + 1) * (STACK + PAGE))
			where = ", the end of the thread's stack";
		else if (a >= shared - GUARD && a < shared + SHARED_BYTES + MARGIN + GUARD)
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
	stack_area = map((size_t)(MOST + 1) * (STACK + PAGE), PROT_READ | PROT_WRITE);
	shared_area = map(SHARED_BYTES + MARGIN + 2 * GUARD, PROT_NONE) + GUARD;
	static_assert((SHARED_BYTES + MARGIN) % PAGE == 0);
	mprotect(shared_area, SHARED_BYTES + MARGIN, PROT_READ | PROT_WRITE);

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

std::string run_kernel(const source &s, const kernel &k, size3 grid, size3 block, size_t shared, const void *p) {
	running = &k, argument = p, shared_bytes = shared;
	message.clear();
	gridDim = dim3(grid.x, grid.y, grid.z);
	blockDim = dim3(block.x, block.y, block.z);
	const uint64_t n = (uint64_t)grid.x * grid.y * grid.z;
	std::vector<uint32_t> shuffled;
	if (in_order == RANDOM) {
		shuffled.resize(n);
		for (uint64_t i = 0; i < n; i++) {
			const uint64_t j = random_number() % (i + 1);
			shuffled[i] = shuffled[j], shuffled[j] = (uint32_t)i;
		}
	}
	for (uint64_t i = 0; i < n && message.empty(); i++) {
		const uint64_t b = in_order == FORWARD ? i : in_order == BACKWARD ? n - 1 - i : shuffled[i];
		blockIdx = {(unsigned)(b % grid.x), (unsigned)(b / grid.x % grid.y), (unsigned)(b / grid.x / grid.y)};
		run_block(s);
		if (!message.empty())
			for (int j = 0; j < threads; j++)
				if (fibers[j].stack && fibers[j].is != ENDED) stacks.push_back(fibers[j].stack);
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
	if (bar.arrived > 0 && bar.where != where && strcmp(bar.where, where)) fault("comes to the barrier of %s, others wait at that of %s", where, bar.where);
	bar.where = where;
	bar.sum += add;
	bar.arrived++;
	wait(BARRIER, where);
	if (bar.arrived == alive) complete_barrier();
	next();
	return bar.last;
}

void barrier(const char *where) { barrier_sum(where, 0); }
void meet(unsigned mask, meeting *op, void *mine, const char *name) { meet_at(mask, op, mine, name, false); }
void collective(unsigned mask, meeting *op, void *mine, const char *name) { meet_at(mask, op, mine, name, true); }
unsigned active() { return 1u << current % 32; }

void nap() {
	wait(NAP, "__nanosleep");
	napping++;
	next();
}

long long now() { return (long long)(1e9 * seconds()); }

void copy_later(void *to, const void *from, int bytes, bool valid) {
	aligned(to, bytes, "cp.async to");
	if (valid) aligned(from, bytes, "cp.async from");
	unwritten(to, (size_t)bytes);
	fiber &f = fibers[current];
	f.copies.push_back({(char *)to, (const char *)from, bytes, f.group, valid});
}

void copies_commit() { fibers[current].group++; }

void copies_wait(int groups) {
	fiber &f = fibers[current];
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
