// Package cuda is an NVIDIA GPU as a compute.Device.
//
// The driver is found at run time, from a binary that stays static (package driver says
// how); kernels are CUDA C++ in the .cu files here, compiled by scripts/cuda/build to
// fatbins that are committed and embedded, so that a user needs the driver and nothing
// else, and a developer who does not touch a kernel no compiler:
//
//	attend.cu    contract, kernels                 compute/attend.go    what they compute
//	attend.go    lengths, grids, launches          fatbin/attend.fatbin what is embedded
//
// CI compiles them again and compares to the byte. Where there is no GPU the tests run on
// the driver of the folder emulator, which has the kernels compiled for the CPU.
//
// Activations are float32, as compute says, and weights are expanded in the kernels. An op
// posts its kernels to one stream and returns; lists that lie on the host (token ids,
// tables of blocks, slots) travel before it through a ring of pinned memory (staging.go).
// The first error of a kernel or a call is kept for Sync.
//
// # The same bits
//
// A result depends on its row and its blocks alone, as compute promises: sums of products
// go by lanes of a warp, whose number is fixed; attention by the splits of its definition,
// which run beside each other and are added in order. No kernel adds by atomics. Only
// fmaf is fused (-fmad=false). So a device of one compute capability gives the same bits
// however rows are batched and calls are cut.
//
// # Attention on tensor cores
//
// Attention and block scores of caches other than float32 run on tensor cores
// (attend_tile.cu, score_tile.cu), for a tile's rows at once: a block is read once for all
// rows that selected it. Their factors are bfloat16, or float16, their sums float32. With
// Options.Numerics of compute.NumericsF32, and for layouts that they do not take (tiles,
// scoreTiles), all is float32, and a block is read once for each row (attend.cu, score.cu).
//
// # Tiles together
//
// A prompt's step has many tiles of a layer, and each would leave most of a GPU empty. As a
// compute.TilesDevice it takes them in one launch an op (tiles.go): keys and values of all are
// appended and sealed, their blocks scored and chosen, and attended to, without a word to the
// host. Thread blocks walk the same runs in the same order as those of single tiles do, so
// that the bits are the same.
//
// # What is not here yet
//
// Package step has the products of models whose weights are packed. The ones here, which
// serve all others, are slow: on tensor cores with bf16, q8_0 and q4_0 weights (product.cu),
// where activations are three bf16 numbers, else on the float32 units. Tables and selections
// are kept by the host between ops, so that a step is not one graph. docs/measurements says
// what the ops reach.
package cuda
