// Package weights turns the files in which models are published into named tensors: Hugging Face folders (config.json
// and safetensors, whole or in shards) and GGUF files of version 2 and 3. Files are mapped, never copied: a [Tensor]'s
// bytes are a view of the file, and the pages that nobody reads are never loaded. A GGUF file may also lie in memory (OpenBytes).
//
//	folder  config.json ──────────────────────────────┐
//	        model.safetensors[.index.json] ─ header ──┤
//	                                                  ├─ Checkpoint: Config, Tensor(name), File, Metadata
//	.gguf   metadata ─ keys put back into config.json ┤
//	        tensor table ─ names put back ────────────┘
//
// Whatever the format, names and configuration are those of Hugging Face's transformers, so that a model reads one
// kind of checkpoint. What GGUF keeps in another order is said, not undone: see Checkpoint.Interleaved.
//
// Files are untrusted. Each count, offset and length is held against the bytes that are there before it is used, sums
// cannot overflow, tensors may not overlap, and opening allocates at most four times the headers' size plus 64 MiB.
// Names in an index are plain names inside the folder, and os.Root keeps links from leading out of it.
//
// # Files that change while they are mapped
//
// The size of a file is checked when it is opened. When another process truncates it afterwards, reading the lost
// pages is an access violation (SIGBUS) that ends a Go program unless the reading goroutine has called
// [runtime/debug.SetPanicOnFault], which turns it into a panic; package convert does so and reports an error. Guard
// does it for a function. Checkpoint.Check compares the sizes again at any time. Replacing a file by renaming another
// one over it, as every well-behaved downloader does, leaves the mapping intact.
//
// This is not the place of layers or devices: it does not know which tensors a model needs, nor expands any.
package weights
