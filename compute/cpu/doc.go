// Package cpu is the processor of this machine as a compute.Device.
//
// Every op of the definition that is worth it exists here again, faster: cut into
// pieces for a team of threads, with kernels in assembly that are chosen once, in
// New, by what the processor can do. A level is a set of kernels with a name:
//
//	amx    avx512, and AMX with bfloat16: x86-64 since 2023 (Sapphire Rapids), on Linux
//	avx512 AVX-512 (F, BW, DQ, VL) and VNNI: x86-64 since 2019 (Ice Lake) and 2022 (Zen 4)
//	avx2   AVX2, FMA and F16C: x86-64 since 2013 (Haswell) and 2017 (Zen)
//	neon   arm64; products in integers where there is SDOT: ARMv8.2 and on (Apple's M1, Graviton 2)
//	go     plain Go, for every other machine and for builds with -tags noasm
//
// neon is checked in an emulator, with SDOT and without, and has not been measured
// on hardware: how its work is cut is reasoned, not tuned.
//
// Options.Level names another than the best, and the environment's NOSA_CPU_LEVEL
// does for the command line.
//
// What a file is called says what it is: attend.go is the op, product.go the kernel
// that it calls in plain Go, product_avx2_amd64.s and product_neon_arm64.s the same in
// assembly, product_amd64.go and product_arm64.go their declarations.
//
// # The same bits
//
// On one level the result for a row is the same to the last bit, however many
// rows run beside it, on however many threads, and wherever a walk over blocks is
// cut. It follows from three rules:
//
//   - A product of a row and an output is summed in one order by every kernel, in
//     tiles of any shape and for one row: panel.go says which.
//   - Threads share out rows, outputs and heads, never a sum. The one exception,
//     the splits of attention, is part of the definition (compute.Split).
//   - What a kernel reads is expanded to float32 by one function, whose values are
//     those of the definition. Blocks of codes are not expanded on x86-64 and by
//     plain Go: many rows and few ones meet their codes in integers (coded.go).
//
// Gradients have one order of summation as well, whatever the number of threads: a product
// of matrices by matrixproduct.go, and sums over the rows of a batch in pieces of sumRows,
// which are added one after the other.
//
// Levels differ from each other in the last bits, but for products of quantised
// weights in integers (packed.go), which have the same bits on all of them, and of whole
// matrices, on all in assembly.
//
// The room ends at memory and arithmetic: it knows no sequence, no tier and no
// model, and its goroutines are the team's alone (workers.go), from New to Close.
//
//go:generate go run ./gen
package cpu
