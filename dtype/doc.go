// Package dtype names the number formats in which tensors are stored and defines what their bytes mean.
//
// Each format has its definition here, in plain Go: [Decode] gives the float32 values that a run of bytes stands for,
// with the formula and the order of operations that ggml uses, so that a file means the same number here and there.
// [Encode] is the way back for the formats that nosa writes. Kernels of the devices expand the same formats faster;
// what they compute is compared with this package.
//
//	F32 F16 BF16      one element is one little-endian float
//	I32 I64 U8        integers; read only, they decode to the nearest float32
//	Q8_0 … Q5_1       blocks of 32 elements that share a scale, or a scale and a minimum
//	Q4_K Q5_K Q6_K    blocks of 256 elements with 8 or 16 smaller scales inside
//
// This is not the place of file formats: the numbers by which GGUF or safetensors call a format belong to package
// weights. It imports nothing of nosa, so every room may import it.
package dtype
