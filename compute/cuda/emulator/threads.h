// What the driver's half of the emulator asks of the half that runs kernels.
#pragma once
#include <functional>
#include <stddef.h>
#include <stdint.h>
#include <string>

namespace emulated {

// An entry of the table of kernels.
struct kernel {
	const char *name;
	size_t bytes; // of its parameter
	int threads;  // that a block may have
	void (*run)(const void *parameter);
};

// The kernels of a source, and its part of static shared memory.
struct source {
	const char *name; // of its fatbin
	unsigned long long hash;
	const kernel *kernels;
	int count;
	char *from, *to;
};

struct size3 {
	unsigned x, y, z;
};

// In which order threads, blocks and streams go where more than one order is right.
enum order { FORWARD, BACKWARD, RANDOM };
extern order in_order;
uint64_t random_number();

// Runs a kernel, or bytes that are copied, on the thread that calls it. What a thread of
// the kernel does wrong comes back as text.
std::string run_kernel(const source &s, const kernel &k, size3 grid, size3 block, size3 cluster, size_t shared, const void *parameter);
std::string run_guarded(void (*f)(void *), void *arg);

// To be called on the thread that runs kernels, before the first.
void open_threads();

// Says what lies at an address, for messages. The driver's half has it.
std::string describe(uintptr_t address);

// What memory is full of that nobody has written: not a number in three formats, and
// an index that is out of every range.
enum : uint32_t { UNWRITTEN = 0x7fa07fa0 };
void unwritten(void *p, size_t n);

// Encodes a tensor map as cuTensorMapEncodeTiled is asked to; what is wrong with it comes back as text.
std::string encode_tensor(void *to, uint32_t type, uint32_t rank, uintptr_t address, const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,
			  const uint32_t *steps, uint32_t interleave, uint32_t swizzle, uint32_t fill);

// Of tensor.cpp: bytes that bring() puts into shared memory later, for an mbarrier, and a write of the
// own thread that is done when it waits.
void bring_later(void *to, int bytes, void *bar, std::function<void()> bring);
void store_later(std::function<void()> store);

enum : size_t { SHARED_BYTES = 227 << 10, SHARED_DEFAULT = 48 << 10 };

} // namespace emulated
