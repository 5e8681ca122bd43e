// Package compute is the op set: what a device can do with tensors, and what
// each op means.
//
// An op exists once here, as plain Go that is meant to be read (float32 data,
// float64 sums where they matter, no goroutine), and once per device, fast. The
// definitions are ordinary functions on slices ([RMSNorm], [Attend], …);
// [Device] is the same list over device memory; [Reference] is the device that
// runs the definitions, and the twin that every other device is compared with.
//
// What holds on every device, and what the rest of nosa relies on:
//
//   - The result for a row depends on that row alone: not on how many other
//     rows run beside it, nor on threads.
//   - Attention walks the selected blocks in ascending block number, in splits
//     of [Split] blocks. Where a block lives, and in how many parts a walk is
//     cut, does not enter the sum.
//
// So the same request gives the same bits on the same device, wherever its
// blocks live. Between devices results agree within the tolerances of
// computetest, since each sums in its own order.
//
// A device that trains is a [Trainer]: it has the gradients of the same ops too, and the
// optimiser, all of them defined here and compared in the same way. scripts/oracles/gradients.py
// writes what PyTorch's autograd makes of them.
//
// Ops take shapes for granted: a wrong one is a bug of the caller and panics. A
// device that can fail while it runs (a GPU) keeps its first error for Sync.
//
// This package never enters threads, assembly or CUDA: see compute/cpu.
package compute
