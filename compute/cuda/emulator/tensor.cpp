// Tensor maps, as far as compute/cuda has them: matrices of bf16 whose boxes lie in shared memory in
// lines of 128 bytes with their pieces of 16 swapped.
#include "threads.h"

#include <string.h>

#include "emulator.h"

namespace emulated {
namespace {

// What a map is here: the driver's own form is nobody's business.
struct tensor {
	uint64_t made;
	char *from;
	uint64_t columns, rows, stride; // stride: bytes
	uint32_t box_columns, box_rows;
};
enum : uint64_t { MADE = 0x70616d726f736e74 };
static_assert(sizeof(tensor) <= 128);

enum { BF16 = 9, LINE = 128, SWIZZLE_128 = 3 };

const tensor &known(const void *map) {
	aligned(map, 8, "a tensor map"); // a GPU wants 64; parameters are not so exact here
	const tensor &t = *(const tensor *)map;
	if (t.made != MADE) fault("there is no tensor map at 0x%zx", (size_t)map);
	return t;
}

// Each of a box's pieces of 16 bytes: move(place in shared memory, place in the matrix or null, bytes there).
template <class F> void pieces(const tensor &t, char *shared, int column, int row, F move) {
	for (uint32_t r = 0; r < t.box_rows; r++)
		for (uint32_t p = 0; p < t.box_columns / 8; p++) {
			const int64_t y = (int64_t)row + r, x = (int64_t)column + 8 * p;
			uintptr_t at = (uintptr_t)shared + r * LINE + p * 16;
			at ^= (at >> 7 & 7) << 4;
			const bool inside = y >= 0 && y < (int64_t)t.rows && x >= 0 && x < (int64_t)t.columns;
			move((char *)at, inside ? t.from + (uint64_t)y * t.stride + 2 * (uint64_t)x : nullptr);
		}
}

} // namespace

std::string encode_tensor(void *to, uint32_t type, uint32_t rank, uintptr_t address, const uint64_t *sizes, const uint64_t *strides, const uint32_t *box,
			  const uint32_t *steps, uint32_t interleave, uint32_t swizzle, uint32_t fill) {
	const auto number = [](uint64_t v) { return std::to_string(v); };
	if ((uintptr_t)to % 64) return "the map is not at a multiple of 64 bytes";
	if (type != BF16 || rank != 2 || interleave != 0 || swizzle != SWIZZLE_128 || fill != 0) return "the emulator has maps of bf16 matrices, swapped by 128 bytes, alone";
	if (address == 0 || address % 16) return "the address " + number(address) + " is not a multiple of 16";
	for (int i = 0; i < 2; i++) {
		if (sizes[i] == 0 || sizes[i] > 1ull << 32) return "a size of " + number(sizes[i]);
		if (box[i] == 0 || box[i] > 256) return "a box of " + number(box[i]);
		if (steps[i] != 1) return "the emulator has no steps between elements";
	}
	if (strides[0] % 16 || strides[0] >= 1ull << 40) return "a stride of " + number(strides[0]) + " bytes";
	if (strides[0] < 2 * sizes[0]) return "lines of " + number(sizes[0]) + " elements overlap at a stride of " + number(strides[0]);
	if (2 * box[0] % 16 || 2 * box[0] > LINE) return "a box's line of " + number(2 * box[0]) + " bytes";
	if (sizes[0] % 8) return "the emulator has lines of whole eights alone";
	const tensor t = {MADE, (char *)address, sizes[0], sizes[1], strides[0], box[0], box[1]};
	memset(to, 0, 128);
	memcpy(to, &t, sizeof t);
	return "";
}

// What lies outside comes as zeros, and counts.
void box_later(void *to, const void *map, int column, int row, void *bar) {
	const tensor t = known(map);
	aligned(to, 128, "cp.async.bulk.tensor to");
	if (column % 8) fault("cp.async.bulk.tensor: the emulator has columns of whole eights alone, not %d", column);
	if (t.box_columns * 2 != LINE) fault("cp.async.bulk.tensor: the emulator loads boxes of whole lines alone");
	bring_later(to, (int)t.box_rows * LINE, bar, [=] {
		pieces(t, (char *)to, column, row, [](char *shared, const char *from) {
			if (from)
				memcpy(shared, from, 16);
			else
				memset(shared, 0, 16);
		});
	});
}

void box_store(const void *map, int column, int row, const void *from) {
	const tensor t = known(map);
	aligned(from, 128, "cp.async.bulk.tensor from");
	if (column % 8) fault("cp.async.bulk.tensor: the emulator has columns of whole eights alone, not %d", column);
	store_later([=] {
		pieces(t, (char *)from, column, row, [](const char *shared, char *to) {
			if (to) memcpy(to, shared, 16);
		});
	});
}

} // namespace emulated
